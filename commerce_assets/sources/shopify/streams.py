"""The streams of a shop: which documents, which filter, which files. Every function leaves complete files or raises.

Filters are half-open ranges on `updated_at` in UTC, so that neighbouring windows neither overlap nor leave a gap; deltas start a little
before the last one, because the shop's search index lags behind its data (what comes twice is merged by id).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from commerce_assets.sources.shopify.bulk import BulkOptions, BulkResult, run_query, with_filter
from commerce_assets.sources.shopify.client import Meter, ShopifyClient, document, missing_scopes
from commerce_assets.sources.shopify.download import PartWriter, Progress
from commerce_assets.sources.shopify.drain import FULFILLMENT_LINES, REFUND_LINES, Drained, drain
from commerce_assets.sources.shopify.errors import ShopifyConfigurationError, UnexpectedAnswerError

DELTA_OVERLAP = timedelta(minutes=15)
RECENT_ORDERS = timedelta(days=60)
"""How far back `read_orders` reaches; older ones need `read_all_orders`."""
LOCATIONS_PAGE = 50

ObjectType = Literal["Order", "Customer", "Product"]
ID_QUERIES: Mapping[ObjectType, str] = MappingProxyType(
    {"Order": "order_ids_bulk", "Customer": "customer_ids_bulk", "Product": "product_ids_bulk"}
)


@dataclass(frozen=True)
class Fetched:
    """What one fetch left on disk, and what the shop said about it.

    `declared_objects` and `declared_roots` are the shop's own counts of what is in `bulk_files`; None where it gives none (locations).
    `started_at` is the shop's clock when the reading began: the next delta's `updated_since`.
    """

    files: tuple[Path, ...]
    bulk_files: tuple[Path, ...]
    declared_objects: int | None
    declared_roots: int | None
    lines: int
    bytes: int
    drained: Mapping[str, Drained]
    api_version: str | None
    requests: int
    cost: float
    seconds: float
    started_at: datetime
    warnings: tuple[str, ...] = field(default=())


def silent(_: str) -> None:
    """A progress callback for those who do not want to know."""


def fetch_orders(
    client: ShopifyClient,
    dest: Path,
    start: date,
    end: date,
    progress: Progress = silent,
    options: BulkOptions | None = None,
) -> Fetched:
    """Orders updated on the UTC days `start` to `end` (both included), by one bulk operation, with the lines it cannot nest drained."""
    if end < start:
        raise ShopifyConfigurationError(f"{client.shop}: orders: the range ends ({end}) before it starts ({start}); give the days in order")
    work = _Work(client, dest, "orders", progress, options)
    warnings = _missing_history(client, start)
    for warning in warnings:
        progress(f"orders: {warning}")
    result = work.bulk("orders_bulk", "orders", days_filter(start, end))
    drained = {
        kind.name: drain(client, kind, result.written.files, dest, progress=progress, meter=work.meter)
        for kind in (REFUND_LINES, FULFILLMENT_LINES)
    }
    return work.fetched(result, drained, warnings)


def fetch_customers(
    client: ShopifyClient,
    dest: Path,
    updated_since: datetime | None = None,
    progress: Progress = silent,
    options: BulkOptions | None = None,
) -> Fetched:
    """Customers updated since a moment (less the overlap), or all."""
    work = _Work(client, dest, "customers", progress, options)
    return work.fetched(work.bulk("customers_bulk", "customers", since_filter(updated_since)))


def fetch_products(
    client: ShopifyClient,
    dest: Path,
    updated_since: datetime | None = None,
    progress: Progress = silent,
    options: BulkOptions | None = None,
) -> Fetched:
    """Products updated since a moment (less the overlap), or all."""
    work = _Work(client, dest, "products", progress, options)
    return work.fetched(work.bulk("products_bulk", "products", since_filter(updated_since)))


def fetch_inventory(client: ShopifyClient, dest: Path, progress: Progress = silent, options: BulkOptions | None = None) -> Fetched:
    """Every inventory item with its levels, as they are now."""
    work = _Work(client, dest, "inventory", progress, options)
    return work.fetched(work.bulk("inventory_bulk", "inventoryItems", ""))


def fetch_ids(
    client: ShopifyClient, dest: Path, object_type: ObjectType, progress: Progress = silent, options: BulkOptions | None = None
) -> Fetched:
    """The id of every object of a type: what is not among them was deleted."""
    if object_type not in ID_QUERIES:
        raise ShopifyConfigurationError(f"{client.shop}: no sweep of {object_type!r}; known: {', '.join(ID_QUERIES)}")
    work = _Work(client, dest, f"{object_type} ids", progress, options)
    return work.fetched(work.bulk(ID_QUERIES[object_type], None, None))


def fetch_all_ids(
    client: ShopifyClient,
    dest: Path,
    progress: Progress = silent,
    object_types: tuple[ObjectType, ...] = ("Order", "Customer", "Product"),
    options: BulkOptions | None = None,
) -> dict[ObjectType, Fetched]:
    """The sweeps of several types side by side, each into a folder of its own."""
    with ThreadPoolExecutor(max_workers=len(object_types), thread_name_prefix="sweep") as executor:
        futures = {kind: executor.submit(fetch_ids, client, dest / kind.lower(), kind, progress, options) for kind in object_types}
        try:
            return {kind: future.result() for kind, future in futures.items()}
        except KeyboardInterrupt:
            client.interrupt()  # so that the other threads cancel their operations and end
            raise


def fetch_locations(client: ShopifyClient, dest: Path, progress: Progress = silent) -> Fetched:
    """All locations, inactive ones too, page by page."""
    work = _Work(client, dest, "locations", progress, None)
    with PartWriter(dest, "part") as writer:
        for node in location_pages(client, work.meter):
            writer.write(json.dumps(node, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        written = writer.commit()
    progress(f"locations: {written.lines:,} read")
    return work.finish(written.files, written.files, None, written.lines, written.bytes)


def days_filter(start: date, end: date) -> str:
    """Search text for `updated_at` on the UTC days `start` to `end`, both included."""
    return f"updated_at:>='{start.isoformat()}T00:00:00Z' AND updated_at:<'{(end + timedelta(days=1)).isoformat()}T00:00:00Z'"


def since_filter(updated_since: datetime | None, overlap: timedelta = DELTA_OVERLAP) -> str:
    """Search text for `updated_at` since a moment less the overlap; "" for all."""
    if updated_since is None:
        return ""
    if updated_since.tzinfo is None:
        raise ShopifyConfigurationError(f"updated_since {updated_since.isoformat()} has no time zone; give it one")
    return f"updated_at:>='{(updated_since.astimezone(UTC) - overlap).strftime('%Y-%m-%dT%H:%M:%SZ')}'"


class _Work:
    """One fetch under way."""

    def __init__(self, client: ShopifyClient, dest: Path, label: str, progress: Progress, options: BulkOptions | None) -> None:
        self.client, self.dest, self.label, self.progress, self.options = client, dest, label, progress, options
        self.meter = Meter()
        self.clock = time.monotonic()
        self.started_at = datetime.now(UTC)

    def bulk(self, name: str, root: str | None, search: str | None) -> BulkResult:
        """Run `queries/<name>.graphql`; a filter is tried on `root` first."""
        query = document(name)
        if search is not None:
            query = with_filter(query, search)
            self.client.execute(document("filter_check"), {"filter": search, root or "": True}, meter=self.meter)
        self.progress(f"{self.label}: asking for {search or 'all'}")
        return run_query(self.client, query, self.dest, label=self.label, progress=self.progress, meter=self.meter, options=self.options)

    def fetched(self, result: BulkResult, drained: Mapping[str, Drained] | None = None, warnings: tuple[str, ...] = ()) -> Fetched:
        written = result.written
        files = (*written.files, *(path for part in (drained or {}).values() for path in part.files))
        return self.finish(files, written.files, result, written.lines, written.bytes, drained, warnings)

    def finish(
        self,
        files: tuple[Path, ...],
        bulk_files: tuple[Path, ...],
        result: BulkResult | None,
        lines: int,
        size: int,
        drained: Mapping[str, Drained] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Fetched:
        operation = result.operation if result else None
        return Fetched(
            files=files,
            bulk_files=bulk_files,
            declared_objects=operation.object_count if operation else None,
            declared_roots=operation.root_object_count if operation else None,
            lines=lines,
            bytes=size,
            drained=dict(drained or {}),
            api_version=self.client.version_answered,
            requests=self.meter.requests,
            cost=self.meter.cost,
            seconds=time.monotonic() - self.clock,
            started_at=(operation.created_at if operation else None) or self.started_at,
            warnings=warnings,
        )


def location_pages(client: ShopifyClient, meter: Meter | None = None) -> Iterator[dict[str, Any]]:
    """All locations, inactive ones too."""
    cursor: str | None = None
    while True:
        page = client.execute(document("locations"), {"first": LOCATIONS_PAGE, "after": cursor}, meter=meter)["locations"]
        for edge in page["edges"]:
            yield edge["node"]
        if not page["pageInfo"]["hasNextPage"]:
            return
        following = page["pageInfo"]["endCursor"]
        if following is None or following == cursor:
            raise UnexpectedAnswerError(f"{client.shop}: locations: the pages do not go on; run again")
        cursor = following


def _missing_history(client: ShopifyClient, start: date) -> tuple[str, ...]:
    """Say so when the shop will silently leave out old orders."""
    if start >= (datetime.now(UTC) - RECENT_ORDERS).date() or not missing_scopes(client.access_scopes(), ("read_all_orders",)):
        return ()
    return (
        f"{client.shop}: without the scope read_all_orders the shop leaves out orders older than {RECENT_ORDERS.days} days; "
        "ask for it in the app's configuration to have them",
    )
