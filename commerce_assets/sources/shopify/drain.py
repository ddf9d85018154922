"""What a bulk operation cannot nest: line items of refunds and fulfillments, read page by page within the budget, written in bulk shape.

Belongs here, too: reading many objects by id in batches, a few side by side.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import duckdb

from commerce_assets.sources.shopify.client import Meter, ShopifyClient, document
from commerce_assets.sources.shopify.download import PART_BYTES, PartWriter, Progress, Written
from commerce_assets.sources.shopify.errors import QueryTooExpensiveError, UnexpectedAnswerError

WORKERS = 4
MAX_IDS = 250
"""Shopify's limit on input arrays."""
BATCH_POINTS = 800
"""What one query may ask for: below the 1,000 that Shopify allows, since costs are estimated."""
SCAN_MEMORY = "256MB"
Answer_co = TypeVar("Answer_co", covariant=True)
FILES_A_SCAN = 4
"""DuckDB's JSON reader keeps a buffer of each file of a query until its end (measured: 1.1 GB for 45 files, 0.2 GB for one)."""


@dataclass(frozen=True)
class Drain:
    """How one kind of lines is read. `first` covers nearly all parents (further pages are read one by one)."""

    name: str
    scan: str
    parents: str
    query: str
    page_query: str
    root: str
    connection: str
    first: int = 10
    page_first: int = 50


REFUND_LINES = Drain("refund_lines", "refunds_scan", "refunds_to_drain", "refund_lines", "refund_lines_page", "refund", "refundLineItems")
FULFILLMENT_LINES = Drain(
    "fulfillment_lines",
    "fulfillments_scan",
    "fulfillments_to_drain",
    "fulfillment_lines",
    "fulfillment_lines_page",
    "fulfillment",
    "fulfillmentLineItems",
)


@dataclass(frozen=True)
class Drained:
    """What was read: `missing` parents were deleted between the bulk operation and now."""

    parents: int
    rows: int
    missing: int
    files: tuple[Path, ...]


def drain(
    client: ShopifyClient,
    kind: Drain,
    order_files: Sequence[Path],
    folder: Path,
    *,
    progress: Progress,
    meter: Meter | None = None,
    workers: int = WORKERS,
    part_bytes: int = PART_BYTES,
) -> Drained:
    """Read all lines of the parents found in `order_files` into `folder/drain-<name>-*.jsonl`."""
    parents = missing = rows = told = 0
    with PartWriter(folder, f"drain-{kind.name}", part_bytes) as writer:
        for count, (lost, lines) in side_by_side(LineReader(client, kind, meter), ids_to_drain(kind, order_files, folder), workers):
            parents, missing, rows = parents + count, missing + lost, rows + len(lines)
            if lines:
                writer.write(b"".join(lines))
            if parents >= told + 1_000:
                told = parents
                progress(f"{kind.name}: {rows:,} lines of {parents:,} {kind.root}s")
        written: Written = writer.commit()
    if parents:
        deleted = f", {missing:,} were deleted meanwhile" if missing else ""
        progress(f"{kind.name}: {rows:,} lines of {parents:,} {kind.root}s{deleted}")
    return Drained(parents, rows, missing, written.files)


def ids_to_drain(kind: Drain, order_files: Sequence[Path], scratch: Path) -> Iterator[str]:
    """The parents in the downloaded files whose lines must be read; scanned by DuckDB, so memory does not grow with the files."""
    if not order_files:
        return
    with TemporaryDirectory(prefix="scan-", dir=scratch) as spill, closing(duckdb.connect()) as scan:
        scan.execute(f"SET memory_limit = '{SCAN_MEMORY}'")
        scan.execute("SET temp_directory = $folder", {"folder": spill})
        for first in range(0, len(order_files), FILES_A_SCAN):
            into = "INSERT INTO scanned" if first else "CREATE TABLE scanned AS"
            files = [str(path) for path in order_files[first : first + FILES_A_SCAN]]
            scan.execute(f"{into} {_sql(kind.scan)}", {"files": files})
        found = scan.execute(_sql(kind.parents))
        while batch := found.fetchmany(10_000):
            for row in batch:
                yield row[0]


class Reader(Protocol[Answer_co]):
    """Reads objects by id, in any thread."""

    @property
    def name(self) -> str:
        """What it reads, for the threads' names."""

    def batch_size(self) -> int:
        """How many ids the next batch may hold."""

    def read(self, ids: list[str]) -> Answer_co:
        """Read one batch."""


def side_by_side(reader: Reader[Answer_co], ids: Iterable[str], workers: int = WORKERS) -> Iterator[tuple[int, Answer_co]]:
    """(ids of the batch, its answer) in the order of the ids; a few batches at once, never many ahead of who takes the answers."""
    executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=f"drain-{reader.name}")
    running: deque[tuple[int, Future[Answer_co]]] = deque()
    ahead = 0  # the first batch goes alone: its answer tells what the others cost
    try:
        for batch in _batches(reader, ids):
            running.append((len(batch), executor.submit(reader.read, batch)))
            if len(running) > ahead:
                count, future = running.popleft()
                yield count, future.result()
            ahead = workers
        while running:
            count, future = running.popleft()
            yield count, future.result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def ids_a_query(client: ShopifyClient, query: str, **variables: Any) -> int:
    """As many ids as `query` may hold, by what Shopify charged for it before."""
    points = client.throttle.estimate(query, {"ids": ["x"] * 100, **variables})
    return max(1, min(MAX_IDS, int(BATCH_POINTS * 100 / points)))


def _batches(reader: Reader[Any], ids: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = reader.batch_size()
    for parent_id in ids:
        batch.append(parent_id)
        if len(batch) >= size:
            yield batch
            batch, size = [], reader.batch_size()
    if batch:
        yield batch


class LineReader:
    """Reads one kind of lines; its methods run in several threads."""

    def __init__(self, client: ShopifyClient, kind: Drain, meter: Meter | None) -> None:
        self.client, self.kind, self.meter = client, kind, meter
        self.query, self.page_query = document(kind.query), document(kind.page_query)

    @property
    def name(self) -> str:
        return self.kind.name

    def batch_size(self) -> int:
        """As many ids as one query may hold, by what Shopify charged for the last ones."""
        return ids_a_query(self.client, self.query, first=self.kind.first)

    def read(self, ids: list[str]) -> tuple[int, list[bytes]]:
        """Missing parents, and the lines of all the others."""
        try:
            nodes = self.client.execute(self.query, {"ids": ids, "first": self.kind.first}, meter=self.meter)["nodes"]
        except QueryTooExpensiveError:
            if len(ids) == 1:
                raise
            half = len(ids) // 2
            (lost_left, left), (lost_right, right) = self.read(ids[:half]), self.read(ids[half:])
            return lost_left + lost_right, left + right
        if len(nodes) != len(ids):
            raise UnexpectedAnswerError(
                f"{self.client.shop}: {self.kind.name}: {len(ids)} ids were asked for, {len(nodes)} answered; run again, and report it when it stays"
            )
        missing = 0
        lines: list[bytes] = []
        for parent_id, node in zip(ids, nodes, strict=True):
            if node is None:
                missing += 1
            elif self.kind.connection not in node:
                raise UnexpectedAnswerError(
                    f"{self.client.shop}: {self.kind.name}: {parent_id} is a {node.get('__typename')}, not a {self.kind.root}; report it"
                )
            else:
                lines.extend(self._all_lines(parent_id, node[self.kind.connection]))
        return missing, lines

    def _all_lines(self, parent_id: str, connection: dict[str, Any]) -> Iterator[bytes]:
        cursor: str | None = None
        while True:
            for edge in connection["edges"]:
                yield _line(edge["node"], parent_id)
            page = connection["pageInfo"]
            if not page["hasNextPage"]:
                return
            if page["endCursor"] is None or page["endCursor"] == cursor:
                raise UnexpectedAnswerError(f"{self.client.shop}: {self.kind.name}: the pages of {parent_id} do not go on; run again")
            cursor = page["endCursor"]
            variables = {"id": parent_id, "first": self.kind.page_first, "after": cursor}
            parent = self.client.execute(self.page_query, variables, meter=self.meter)[self.kind.root]
            if parent is None:
                return  # deleted while we read: its order goes with it, in the next sweep
            connection = parent[self.kind.connection]


def _line(node: dict[str, Any], parent_id: str) -> bytes:
    return json.dumps({**node, "__parentId": parent_id}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@cache
def _sql(name: str) -> str:
    return (package_files("commerce_assets.sources.shopify") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
