"""Shopify's side of stock: reading items with their levels, setting what is available.

Belongs here: calls and the shape of their answers. Does not belong here: what should be available, when to read, what a conflict means
(`events/stock`, whose protocols these records fit by their attributes).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from commerce_assets.sources.shopify.client import ShopifyClient, document
from commerce_assets.sources.shopify.errors import ShopifyError, UnexpectedAnswerError

T = TypeVar("T")
ROWS_A_PUSH = 250
"""The longest list an input may hold."""
ITEMS_A_READ = 40
LOCATIONS_A_READ = 10
"""40 items with up to 10 levels each are asked for at some 720 points, of the 1,000 that a query may cost; items at more locations are
read again, one at a time."""
ALL_LOCATIONS = 250
SKUS_A_READ = 50
VARIANTS_A_READ = 250
REASON = "correction"
"""One of Shopify's reasons for a change of stock."""


class PushRow(Protocol):
    """One level to be set: `quantity`, if `change_from` is what is there now (None: whatever is there)."""

    @property
    def item_id(self) -> int: ...
    @property
    def location_id(self) -> int: ...
    @property
    def quantity(self) -> int: ...
    @property
    def change_from(self) -> int | None: ...


@dataclass(frozen=True)
class StockLevel:
    """Stock of an item at a location."""

    item_id: int
    location_id: int
    is_active: bool
    available: int
    committed: int
    on_hand: int
    updated_at: datetime


@dataclass(frozen=True)
class StockItem:
    """An inventory item; `levels` are all of its levels where they were asked for."""

    item_id: int
    variant_id: int | None
    sku: str | None
    is_tracked: bool
    levels: tuple[StockLevel, ...] = ()


@dataclass(frozen=True)
class StockError:
    """A userError of a push, and the row it names."""

    row: int | None
    code: str | None
    message: str


@dataclass(frozen=True)
class StockAnswer:
    """The answer to a push. `set_at` is the storefront's moment of the change; None where everything was so already, or nothing was done."""

    errors: tuple[StockError, ...] = ()
    set_at: datetime | None = None


@dataclass
class ShopifyStock:
    """The stock of one shop. Errors are the client's; after any of them the same call may be made again."""

    client: ShopifyClient
    troubles: tuple[type[Exception], ...] = field(default=(ShopifyError,))

    def read_items(self, item_ids: Sequence[int]) -> list[StockItem]:
        """Items with all their levels; those that do not exist are left out."""
        found: list[StockItem] = []
        for some in _chunks(item_ids, ITEMS_A_READ):
            found += self._read(some, LOCATIONS_A_READ)
        return found

    def find_items(self, skus: Sequence[str], variant_ids: Sequence[int]) -> list[StockItem]:
        """Items of these SKUs (exactly so written) and of these variants, without levels."""
        found: dict[int, StockItem] = {}
        for some in _chunks(skus, SKUS_A_READ):
            query = " OR ".join(f"sku:{_quoted(sku)}" for sku in some)
            nodes = self.client.execute(document("stock_items_by_sku"), {"query": query, "first": ALL_LOCATIONS})["inventoryItems"]["nodes"]
            found |= {item.item_id: item for node in nodes if (item := _item(node)).sku in some}
        for ids in _chunks(variant_ids, VARIANTS_A_READ):
            gids = [_gid("ProductVariant", number) for number in ids]
            for node in self.client.execute(document("stock_items_by_variant"), {"ids": gids})["nodes"]:
                if node and node.get("inventoryItem"):
                    item = _item(node["inventoryItem"] | {"variants": {"nodes": [{"id": node["id"]}]}})
                    found[item.item_id] = item
        return list(found.values())

    def set_available(self, changes: Sequence[PushRow], key: str) -> StockAnswer:
        """Set `available` of up to 250 levels, all or none. The key makes it safe to repeat."""
        rows = [
            {
                "inventoryItemId": _gid("InventoryItem", change.item_id),
                "locationId": _gid("Location", change.location_id),
                "quantity": change.quantity,
                "changeFromQuantity": change.change_from,
            }
            for change in changes
        ]
        variables = {"input": {"name": "available", "reason": REASON, "quantities": rows}, "key": key}
        payload = self.client.execute(document("stock_set_quantities"), variables, idempotent=True)["inventorySetQuantities"]
        if payload is None:
            raise UnexpectedAnswerError(f"{self.client.shop}: inventorySetQuantities answered nothing; the same call may be made again")
        group = payload["inventoryAdjustmentGroup"]
        return StockAnswer(tuple(_error(error) for error in payload["userErrors"]), _moment(group["createdAt"]) if group else None)

    def _read(self, item_ids: Sequence[int], locations: int) -> Iterator[StockItem]:
        gids = [_gid("InventoryItem", number) for number in item_ids]
        for node in self.client.execute(document("stock_items"), {"ids": gids, "locations": locations})["nodes"]:
            if not node:
                continue
            if node["inventoryLevels"]["pageInfo"]["hasNextPage"]:
                if locations == ALL_LOCATIONS:
                    raise UnexpectedAnswerError(f"{self.client.shop}: an item is stocked at more than {ALL_LOCATIONS} locations")
                yield from self._read([_number(node["id"])], ALL_LOCATIONS)
            else:
                yield _item(node)


def _item(node: dict[str, Any]) -> StockItem:
    number = _number(node["id"])
    variants = (node.get("variants") or {}).get("nodes") or []
    levels = (node.get("inventoryLevels") or {}).get("nodes") or []
    return StockItem(
        number,
        _number(variants[0]["id"]) if variants else None,
        node.get("sku") or None,
        bool(node["tracked"]),
        tuple(_level(number, level) for level in levels),
    )


def _level(item_id: int, node: dict[str, Any]) -> StockLevel:
    quantities = {entry["name"]: entry for entry in node["quantities"]}
    moments = [node["updatedAt"], *(entry["updatedAt"] for entry in quantities.values() if entry.get("updatedAt"))]
    return StockLevel(
        item_id,
        _number(node["location"]["id"]),
        bool(node["isActive"]),
        int(quantities["available"]["quantity"]),
        int(quantities["committed"]["quantity"]),
        int(quantities["on_hand"]["quantity"]),
        max(_moment(moment) for moment in moments),
    )


def _error(error: dict[str, Any]) -> StockError:
    row = next((int(part) for part in error.get("field") or () if str(part).isdigit()), None)
    return StockError(row, error.get("code"), str(error.get("message") or "no message")[:200])


def _gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def _number(gid: str) -> int:
    return int(gid.rpartition("/")[2].partition("?")[0])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _chunks(values: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
