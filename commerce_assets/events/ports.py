"""What the worker needs of other rooms, as protocols: this room knows no sibling, `commerce_assets/service` puts them together.

Belongs here: the protocols and what travels through them. Does not belong here: any implementation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Landed:
    """What became of a micro-batch in the lake."""

    load_id: str
    rows: int
    quarantined: int
    partitions: tuple[str, ...]
    refused: Mapping[int, str] = field(default_factory=dict)
    """Root documents that a contract refused: object id -> the rules they broke, joined by commas."""
    source_files: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Object id -> (`_source_file`, `_line`) where the line is known."""
    refused_parts: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """As `refused`, of an order's parts: (OrderTransaction, Refund or Fulfillment; its id) -> rules. The order itself may have landed."""


class Landing(Protocol):
    """The lake. Landing the same batch again replaces what it left, so that a killed batch can be done anew."""

    def land_payloads(self, family: str, batch_id: str, lines: Iterable[bytes]) -> Landed:
        """Land event documents (JSON lines in the shape of `sources/shopify/webhook_mapping.py`)."""

    def land_documents(self, family: str, batch_id: str, files: Sequence[Path]) -> Landed:
        """Land documents as the Admin API gave them (bulk-shaped JSON lines)."""

    def land_deletions(self, batch_id: str, deletions: Sequence[tuple[str, int, datetime]]) -> Landed:
        """Land (object type: order, customer or product; id; moment) of what was deleted."""

    def folder(self, family: str, batch_id: str) -> Path:
        """The folder of a batch's raw files, made anew; documents are fetched into it."""


@dataclass(frozen=True)
class FetchedDocuments:
    """Documents read from the storefront: files of bulk-shaped lines, and for each object found its `updatedAt`."""

    files: tuple[Path, ...]
    versions: Mapping[int, datetime]
    missing: frozenset[int] = frozenset()
    """Asked for and not there: deleted, or never existed."""
    transactions: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    """Of orders: each transaction as `order_transactions/create` would have brought it."""
    bodies: Mapping[int, bytes] = field(default_factory=dict)
    """Of orders: the document in the shape of an orders/* payload where it could be made, for the books of stock."""


class StorefrontUnavailableError(Exception):
    """The storefront cannot be asked now; try again later."""


class Storefront(Protocol):
    """The Admin API, within its budget. Raises `StorefrontUnavailableError` when it cannot be asked now."""

    def fetch(self, object_type: str, ids: Sequence[int], folder: Path) -> FetchedDocuments:
        """Read whole documents (Order, Customer, Product, InventoryItem) by id."""

    def changed_since(self, object_type: str, since: datetime, limit: int) -> list[tuple[int, datetime]]:
        """(id, updatedAt) of what changed since a moment, oldest first, at most `limit`."""


@dataclass(frozen=True)
class Report:
    """What a micro-batch did, for whoever shows it (Dagster): one entry a family and partition."""

    batch_id: str
    family: str
    partitions: tuple[str, ...]
    rows: int
    quarantined: int
    events: Mapping[str, int]
    """Outcome -> count."""
    finished_at: datetime


class Reporter(Protocol):
    """Shows reports; raising leaves them in the outbox for the next try."""

    def report(self, reports: Sequence[Report]) -> None:
        """Show what these micro-batches did. The same report may come twice after a crash."""


class Folding(Protocol):
    """The lake's housekeeping: the partitions of many micro-batches become one. Readers see the same rows."""

    def fold(self, family: str) -> None:
        """Fold the partitions `events-*` of a family's tables; nothing happens where others hold them."""
