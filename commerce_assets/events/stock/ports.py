"""What stock needs of other rooms, as protocols, and the plain records that travel.

Belongs here: protocols and records. Does not belong here: implementations; Shopify's is `sources/shopify/stock.py`, which knows nothing of
this room: its records fit these protocols by their attributes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

Key = tuple[int, int]
"""A shelf: inventory item and location."""


@dataclass(frozen=True)
class Verdict:
    """What became of one body. `retry`: not now, perhaps later (an SKU nobody knows yet); `refused`: never, a person must look."""

    outcome: Literal["applied", "superseded", "duplicate", "retry", "refused"]
    reason: str | None = None


@dataclass(frozen=True)
class Item:
    """Something stocked, as the catalogue knows it. `revenue` decides its tier."""

    item_id: int
    variant_id: int | None
    sku: str | None
    is_tracked: bool = True
    revenue: Decimal | None = None


class Catalogue(Protocol):
    """Which inventory item belongs to which variant and SKU: the lake's variants, or a test's list."""

    def items(self) -> Iterable[Item]:
        """All items that are known."""


class Level(Protocol):
    """Stock of an item at a location as the storefront says, and when any of it last changed there."""

    @property
    def item_id(self) -> int: ...
    @property
    def location_id(self) -> int: ...
    @property
    def is_active(self) -> bool: ...
    @property
    def available(self) -> int: ...
    @property
    def committed(self) -> int: ...
    @property
    def on_hand(self) -> int: ...
    @property
    def updated_at(self) -> datetime: ...


class ReadItem(Protocol):
    """An item read from the storefront, with all its levels."""

    @property
    def item_id(self) -> int: ...
    @property
    def variant_id(self) -> int | None: ...
    @property
    def sku(self) -> str | None: ...
    @property
    def is_tracked(self) -> bool: ...
    @property
    def levels(self) -> Sequence[Level]: ...


@dataclass(frozen=True)
class Change:
    """One row of a push: show `quantity`, if it shows `change_from` now."""

    item_id: int
    location_id: int
    quantity: int
    change_from: int | None


class RowError(Protocol):
    """An error of a push: the row it names (None: no row), and Shopify's code."""

    @property
    def row(self) -> int | None: ...
    @property
    def code(self) -> str | None: ...


class SetAnswer(Protocol):
    """The answer to a push: done when there are no errors; `set_at` is the storefront's own moment of it, where it changed anything."""

    @property
    def errors(self) -> Sequence[RowError]: ...
    @property
    def set_at(self) -> datetime | None: ...


class StockStorefront(Protocol):
    """The storefront's stock, within its budget."""

    @property
    def troubles(self) -> tuple[type[Exception], ...]:
        """Errors that mean: no answer; the same call is to be made again later."""

    def read_items(self, item_ids: Sequence[int]) -> Sequence[ReadItem]:
        """Items with all their levels; those that do not exist are left out."""

    def find_items(self, skus: Sequence[str], variant_ids: Sequence[int]) -> Sequence[ReadItem]:
        """Items by SKU and by variant; levels may be left out."""

    def set_available(self, changes: Sequence[Change], key: str) -> SetAnswer:
        """Set `available` of up to 250 shelves, all or none; `key` is the idempotency key. Safe to repeat."""


def revenue_tiers(items: Iterable[Item], share: float = 0.2) -> dict[int, int]:
    """Item id -> tier: 1 for the `share` of all items that bring most revenue, 2 for the rest; items without revenue are never tier 1."""
    ranked = sorted(items, key=lambda item: (-(item.revenue or Decimal(0)), item.item_id))
    first = round(len(ranked) * share)
    return {item.item_id: 1 if place < first and (item.revenue or 0) > 0 else 2 for place, item in enumerate(ranked)}


@dataclass(frozen=True)
class Observation:
    """`available` of a level as an `inventory_levels/*` event says it; None where the item is no longer stocked there."""

    item_id: int
    location_id: int
    available: int | None
    seen_at: datetime
