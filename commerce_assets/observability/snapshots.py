"""The books of events and stock as Parquet, for the figures in the warehouse: `lake/observability/<table>/data.parquet`.

Belongs here: what is copied, its types, writing it whole or not at all. Does not belong here: what the figures mean
(dbt_project/models/ops) and when copies are made (defs/observability).

No body of an event, no header, no free text of people is copied. Every table has its typed empty file when there is nothing to copy,
so that dbt always builds. Copies reach `KEPT_DAYS` back; memory is bounded by pages.
"""

import fcntl
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.ledger import CHANGES, RUNS
from commerce_assets.config import Settings
from commerce_assets.events.books import (
    ACTIONS,
    APPLIED,
    BATCHES,
    CURSORS,
    DISCARDED,
    DUPLICATE,
    RECONCILIATIONS,
    REPORTS,
    STATES,
    SUPERSEDED,
    in_batches,
)
from commerce_assets.events.inbox import INBOX_COUNTS, INBOX_EVENTS
from commerce_assets.events.stock.tables import DRIFT, ITEMS, PUSH_ROWS, SHELVES, TARGETS
from commerce_assets.events.topics import TOPICS
from commerce_assets.lake import Lake
from commerce_assets.observability.facts import NOT_TAKEN, ORDER_SYNC, is_push, looking
from commerce_assets.observability.tables import EVENT_TABLES, FLOW_TABLES, FOLDERS, STOCK_TABLES, TABLES, Schema
from commerce_assets.warehouse import reading as reading_warehouse

KEPT_DAYS = 30
PAGE_ROWS = 50_000
ENDED = (APPLIED, SUPERSEDED, DUPLICATE, DISCARDED)
"""States that an event never leaves."""
NOWHERE = 0
"""Location of units promised to orders that nobody knows a location for yet; no shelf that the storefront could show."""
Frames = Iterable[pl.DataFrame]


@dataclass(frozen=True)
class LandedEvents:
    """What micro-batches landed in one family."""

    rows: int = 0
    quarantined: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0


def place(lake_root: Path, name: str, folder: str = "observability") -> Path:
    """Where a copy lies."""
    return lake_root / folder / name / "data.parquet"


def ensure(lake_root: Path) -> None:
    """Give every table that was never copied, or whose columns changed, its typed empty file; those of the activation log (activation_log.py) too."""
    for folder, tables in FOLDERS.items():
        for name, schema in tables.items():
            path = place(lake_root, name, folder)
            if not path.exists() or dict(pl.read_parquet_schema(path)) != schema:
                write(path, schema, ())


def read(lake_root: Path, name: str) -> pl.DataFrame:
    """A copy as it was last made; typed empty before the first."""
    path = place(lake_root, name)
    return pl.read_parquet(path) if path.exists() else pl.DataFrame(schema=TABLES[name])


def take_event_log(settings: Settings, now: datetime | None = None) -> dict[str, int]:
    """Copy what became of events, and what else an order's flight passes; rows by table."""
    since = (now or datetime.now(UTC)) - timedelta(days=KEPT_DAYS)
    sources: dict[str, Callable[[], Frames]] = {
        "events": lambda: _events(settings, since),
        "webhook_hours": lambda: _webhook_hours(settings, since),
        "landings": lambda: _landings(settings, since),
        "reconciliations": lambda: _reconciliations(settings, since),
        "interventions": lambda: _interventions(settings, since),
        "loads": lambda: [_loads(settings.lake_root, since)],
        "refused_rows": lambda: _refused_rows(Lake(settings.lake_root)),
        "publishes": lambda: _publishes(settings.published_path),
        "customer_scores": lambda: _customer_scores(settings.lake_root),
        "push_runs": lambda: _push_runs(settings, since),
        "pushes": lambda: _pushes(settings, since),
    }
    return _take(settings.lake_root, sources, now)


def take_stock(settings: Settings, now: datetime | None = None) -> dict[str, int]:
    """Copy the books of stock; rows by table."""
    since = (now or datetime.now(UTC)) - timedelta(days=KEPT_DAYS)
    sources: dict[str, Callable[[], Frames]] = {
        "stock_shelves": lambda: _shelves(settings),
        "stock_syncs": lambda: _syncs(settings, since),
        "stock_incidents": lambda: _incidents(settings, since),
    }
    return _take(settings.lake_root, sources, now)


def landed_events(events_database: str, family: str, hours: float) -> LandedEvents:
    """What micro-batches of the last hours reported about a family."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    query = sa.select(REPORTS.c.rows, REPORTS.c.quarantined, REPORTS.c.events).where(
        REPORTS.c.family == family, REPORTS.c.batch_id >= since.strftime("%Y%m%dT%H%M%S")
    )
    rows = quarantined = batches = 0
    events: Counter[str] = Counter()
    with looking(events_database, REPORTS) as connection:
        for row in connection.execute(query) if connection else ():
            rows, quarantined, batches = rows + row.rows, quarantined + row.quarantined, batches + 1
            events.update(row.events)
    return LandedEvents(rows, quarantined, dict(events), batches)


def _take(lake_root: Path, sources: Mapping[str, Callable[[], Frames]], now: datetime | None) -> dict[str, int]:
    ensure(lake_root)
    with (lake_root / "observability" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one copier at a time; let go by itself when it dies
        return _take_alone(lake_root, sources, now)


def _take_alone(lake_root: Path, sources: Mapping[str, Callable[[], Frames]], now: datetime | None) -> dict[str, int]:
    counts = {name: write(place(lake_root, name), TABLES[name], make()) for name, make in sources.items()}
    taken = pl.DataFrame(
        {"name": list(counts), "taken_at": [now or datetime.now(UTC)] * len(counts), "row_count": list(counts.values())},
        schema=TABLES["snapshots"],
    )
    others = read(lake_root, "snapshots").filter(~pl.col("name").is_in(list(counts)))
    write(place(lake_root, "snapshots"), TABLES["snapshots"], [others, taken])
    return counts


def write(path: Path, schema: Schema, frames: Frames) -> int:
    """Replace a table's file atomically, page by page; its rows."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    empty = pl.DataFrame(schema=schema).to_arrow()
    rows = 0
    with pq.ParquetWriter(draft, empty.schema, compression="snappy") as writer:
        writer.write_table(empty)
        for frame in frames:
            if frame.height:
                writer.write_table(frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).to_arrow().cast(empty.schema))
                rows += frame.height
    draft.replace(path)
    return rows


# Events


def _events(settings: Settings, since: datetime) -> Iterator[pl.DataFrame]:
    """Events that came to their end before the last copy, as it has them; the others, and those that came since, from the databases.

    An event's end is for ever, but a dead letter may be replayed. So a copy costs what happened since the last one, not what is kept.
    """
    last = place(settings.lake_root, "events")
    cursors: dict[str, int] = {}
    newest = _newest_copied(settings, last)
    with looking(settings.events_database, STATES) as connection:
        if connection is not None:
            # Of the same state of the books as the events: else one that is taken right now would be in neither part, or in both.
            query = sa.select(CURSORS.c.name, CURSORS.c.seq).where(CURSORS.c.moment.is_(None))
            cursors = {row.name: row.seq for row in connection.execute(query)}
            if newest is not None:
                yield from _copied_events(last, since)
                yield from _moved_events(connection, last)
            yield from _taken_events(connection, since, after_seq=newest or 0)
    yield from _waiting_events(settings, cursors)


def _newest_copied(settings: Settings, last: Path) -> int | None:
    """The greatest `seq` of the last copy; None where there is none, or it is of other databases than these."""
    newest = (
        pl.scan_parquet(last).select("seq", "webhook_id").filter(pl.col("seq") == pl.col("seq").max()).collect()
        if last.exists()
        else pl.DataFrame()
    )
    if newest.is_empty():
        return None
    seq, webhook_id = newest.row(0)
    for url, table in ((settings.events_database, STATES), (settings.inbox_database, INBOX_EVENTS)):
        with looking(url, table) as connection:
            if connection is not None and connection.scalar(sa.select(table.c.webhook_id).where(table.c.seq == seq)) == webhook_id:
                return int(seq)
    return None


def _copied_events(last: Path, since: datetime) -> Iterator[pl.DataFrame]:
    """The last copy's events that were at their end."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(last) as file:
        for batch in file.iter_batches(PAGE_ROWS):
            page = pl.DataFrame(batch)
            yield page.filter(pl.col("state").is_in(ENDED), pl.col("received_at") >= since)


def _moved_events(connection: sa.Connection, last: Path) -> Iterator[pl.DataFrame]:
    """What became of the last copy's other events, as far as lanes took them."""
    schema = EVENT_TABLES["events"]
    open_seqs = pl.scan_parquet(last).filter(~pl.col("state").is_in(ENDED)).select("seq").collect()["seq"].sort().to_list()
    for seqs in in_batches(open_seqs):
        yield frame(connection, sa.select(*(STATES.c[name] for name in schema)).where(STATES.c.seq.in_(seqs)), schema)


def _taken_events(connection: sa.Connection, since: datetime, after_seq: int) -> Iterator[pl.DataFrame]:
    """Events that lanes took, beyond a `seq`: newest page first, until one is older than `since`."""
    schema = EVENT_TABLES["events"]
    newest = sa.select(*(STATES.c[name] for name in schema)).where(STATES.c.seq > after_seq).order_by(STATES.c.seq.desc()).limit(PAGE_ROWS)
    query = newest
    while True:
        page = frame(connection, query, schema)
        recent = page.filter(pl.col("received_at") >= since)
        yield recent
        if page.height < PAGE_ROWS or recent.is_empty():
            return
        query = newest.where(STATES.c.seq < page["seq"].min())


def _waiting_events(settings: Settings, cursors: Mapping[str, int]) -> Iterator[pl.DataFrame]:
    """Events beyond their lane's cursor."""
    names = ("seq", "webhook_id", "source", "topic", "event_id", "object_type", "object_id", "triggered_at", "received_at", "stored_at")
    columns = INBOX_EVENTS.c
    schema = EVENT_TABLES["events"]
    read_schema = {name: schema[name] for name in names}
    nothing_yet = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in (*names, "lane", "state", "attempts")]
    with looking(settings.inbox_database, INBOX_EVENTS) as connection:
        for topic in TOPICS.values() if connection is not None else ():
            assert connection is not None
            of_topic = (
                sa.select(*(columns[name] for name in names)).where(columns.topic == topic.name).order_by(columns.seq).limit(PAGE_ROWS)
            )
            beyond = cursors.get(topic.lane, 0)
            while True:
                page = frame(connection, of_topic.where(columns.seq > beyond), read_schema)
                yield page.with_columns(*nothing_yet, lane=pl.lit(topic.lane), state=pl.lit(NOT_TAKEN), attempts=pl.lit(0, pl.Int64))
                if page.height < PAGE_ROWS:
                    break
                beyond = page["seq"].to_list()[-1]


def _webhook_hours(settings: Settings, since: datetime) -> Frames:
    columns = INBOX_COUNTS.c
    query = sa.select(
        columns.hour.label("hour_at"),
        columns.source,
        columns.topic,
        columns.outcome,
        columns.reason,
        columns["count"].label("delivery_count"),
    ).where(columns.hour >= since)
    return _table(settings.inbox_database, INBOX_COUNTS, query, "webhook_hours")


def _landings(settings: Settings, since: datetime) -> Frames:
    """Micro-batches, summed up by day: there may be ten a second."""
    columns = BATCHES.c
    day = sa.func.substr(columns.batch_id, 1, 8).label("day")
    groups = (day, columns.family, columns.lane, columns.kind, columns.status)
    query = (
        sa.select(
            *groups,
            sa.func.count().label("batch_count"),
            *(
                sa.func.coalesce(sa.func.sum(columns[name]), 0).label(label)
                for name, label in (
                    ("events", "event_count"),
                    ("objects", "object_count"),
                    ("rows", "row_count"),
                    ("quarantined", "quarantined_count"),
                )
            ),
        )
        .where(columns.batch_id >= since.strftime("%Y%m%d"))
        .group_by(*groups)
    )
    return _table(settings.events_database, BATCHES, query, "landings")


def _reconciliations(settings: Settings, since: datetime) -> Frames:
    columns = RECONCILIATIONS.c
    query = sa.select(
        columns.object_type,
        columns.since.label("since_at"),
        columns.until.label("until_at"),
        columns.started_at,
        columns.finished_at,
        columns.seen.label("seen_count"),
        columns.missed.label("missed_count"),
    ).where(columns.started_at >= since)
    return _table(settings.events_database, RECONCILIATIONS, query, "reconciliations")


def _interventions(settings: Settings, since: datetime) -> Iterator[pl.DataFrame]:
    """What people did by hand: replays and discards of dead letters, replays of quarantined rows. Their words (`why`) stay in the books."""
    columns = ACTIONS.c
    query = sa.select(
        columns.action.label("kind"),
        *(columns[name] for name in ("taken_at", "taken_by", "topic", "object_type", "object_id", "was_reason")),
        sa.literal(1).label("row_count"),
    ).where(columns.taken_at >= since)
    yield from _table(settings.events_database, ACTIONS, query, "interventions")
    replays = _loads(settings.lake_root, since).filter("is_replay")
    yield replays.select(
        pl.lit("quarantine_replay").alias("kind"),
        pl.col("loaded_at").alias("taken_at"),
        *(pl.lit(None, pl.String).alias(name) for name in ("taken_by", "topic")),
        pl.col("family").alias("object_type"),
        pl.lit(None, pl.Int64).alias("object_id"),
        pl.lit(None, pl.String).alias("was_reason"),
        pl.col("read_count").alias("row_count"),
    )


# The rest of an order's flight


def _loads(lake_root: Path, since: datetime) -> pl.DataFrame:
    """Pulls and replays, by their reports; micro-batches are counted by their own books."""
    rows: list[dict[str, Any]] = []
    for path in sorted((lake_root / "loads").glob("*.json"), reverse=True):
        is_replay = path.name.startswith("replay-")
        if path.name.removeprefix("replay-") < since.strftime("%Y%m%d"):
            continue
        report = json.loads(path.read_text(encoding="utf-8"))
        counts = Counter[str]()
        for table in report["tables"].values():
            counts.update({name: table[name] for name in ("read", "accepted", "quarantined", "duplicates")})
        rows.append(
            {
                "load_id": report["load_id"],
                "family": report["family"],
                "is_replay": is_replay,
                "loaded_at": datetime.fromisoformat(report["loaded_at"]),
                "read_count": counts["read"],
                "accepted_count": counts["accepted"],
                "quarantined_count": counts["quarantined"],
                "duplicate_count": counts["duplicates"],
            }
        )
    return pl.DataFrame(rows, schema=FLOW_TABLES["loads"], orient="row")


def _refused_rows(lake: Lake) -> Iterator[pl.DataFrame]:
    """Where refused rows are and what they broke; none of their values."""
    for path in sorted((lake.root / "quarantine").glob("*/*/partition=*/*.parquet")):
        if path.parent.name != "partition=empty":
            yield pl.read_parquet(path, hive_partitioning=False).select(
                pl.col("table").alias("table_name"),
                *("load_id", "root_id", "failed_rules"),
                pl.col("_source_file").alias("source_file"),
                pl.col("_line").alias("line"),
                pl.col("_loaded_at").alias("loaded_at"),
            )


def _publishes(published_path: Path) -> Iterator[pl.DataFrame]:
    """The versions that were published, as the published file itself remembers them."""
    if not published_path.exists():
        return
    with reading_warehouse(published_path) as connection:
        if connection.execute("select 1 from duckdb_tables() where schema_name = 'main' and table_name = 'publishes'").fetchone():
            yield connection.execute("select version, published_at, run_id from main.publishes").pl()


def _customer_scores(lake_root: Path) -> Iterator[pl.DataFrame]:
    for path in sorted((lake_root / "scores" / "customer_rfm").glob("*.parquet")):
        yield pl.read_parquet(path, columns=["customer_id", "scored_at"])


def _push_runs(settings: Settings, since: datetime) -> Iterator[pl.DataFrame]:
    destination, sync = ORDER_SYNC
    query = sa.select(RUNS.c.run_id, RUNS.c.status, RUNS.c.started_at, RUNS.c.finished_at).where(
        RUNS.c.destination == destination, RUNS.c.sync == sync, RUNS.c.started_at >= since
    )
    with looking(settings.ops_url, RUNS) as connection:
        if connection is not None:
            yield from frames(connection, query.where(is_push(connection)), TABLES["push_runs"])


def _pushes(settings: Settings, since: datetime) -> Iterator[pl.DataFrame]:
    """Changes that pushes set out to make (what an undo or a resync wrote is none); names of the fields, none of their values."""
    destination, sync = ORDER_SYNC
    names = ("run_id", "operation", "outcome", "changed_fields", "intended_at", "resolved_at")
    query = sa.select(CHANGES.c.record_key, *(CHANGES.c[name] for name in names)).where(
        CHANGES.c.destination == destination, CHANGES.c.sync == sync, CHANGES.c.intended_at >= since
    )
    schema = {"record_key": pl.String(), **{name: FLOW_TABLES["pushes"][name] for name in names}}
    with looking(settings.ops_url, CHANGES) as connection:
        if connection is None:
            return
        of_pushes = query.where(CHANGES.c.run_id.in_(sa.select(RUNS.c.run_id).where(is_push(connection))))
        for page in frames(connection, of_pushes, schema):
            key = pl.col("record_key").str.extract(r"^gid://shopify/Customer/(\d+)$").cast(pl.Int64)
            yield page.with_columns(customer_id=key).filter(pl.col("customer_id").is_not_null())


# Stock


def _shelves(settings: Settings) -> Frames:
    columns = SHELVES.c
    unknown, none = columns.unknown_committed_quantity, sa.literal(0)
    # So that on hand less what is held back is what is available: with the units promised and set aside that only the storefront knows.
    summed = {
        "committed_quantity": columns.committed_quantity + sa.case((unknown > 0, unknown), else_=none),
        "reserved_quantity": columns.reserved_quantity + columns.set_aside_quantity,
    }
    own = [summed.get(name, columns[name]).label(name) for name in STOCK_TABLES["stock_shelves"] if name in columns]
    target = ("quantity", "state", "changed_at", "acknowledged_at")
    is_its = sa.and_(TARGETS.c.item_id == columns.item_id, TARGETS.c.location_id == columns.location_id)
    query = (
        sa.select(*own, ITEMS.c.sku, ITEMS.c.tier, *(TARGETS.c[name].label(f"target_{name}") for name in target))
        .select_from(SHELVES.outerjoin(ITEMS, ITEMS.c.item_id == columns.item_id).outerjoin(TARGETS, is_its))
        .where(columns.location_id != NOWHERE)
    )
    return _table(settings.events_database, SHELVES, query, "stock_shelves")


def _syncs(settings: Settings, since: datetime) -> Frames:
    columns = PUSH_ROWS.c
    own = [columns[name] for name in STOCK_TABLES["stock_syncs"] if name in columns]
    query = (
        sa.select(*own, ITEMS.c.sku, ITEMS.c.tier)
        .select_from(PUSH_ROWS.outerjoin(ITEMS, ITEMS.c.item_id == columns.item_id))
        .where(sa.or_(columns.acknowledged_at >= since, sa.and_(columns.acknowledged_at.is_(None), columns.sent_at >= since)))
    )
    return _table(settings.events_database, PUSH_ROWS, query, "stock_syncs")


def _incidents(settings: Settings, since: datetime) -> Frames:
    columns = DRIFT.c
    own = [columns[name] for name in STOCK_TABLES["stock_incidents"] if name in columns]
    query = (
        sa.select(*own, ITEMS.c.sku)
        .select_from(DRIFT.outerjoin(ITEMS, ITEMS.c.item_id == columns.item_id))
        .where(sa.or_(columns.noticed_at >= since, columns.ended_at.is_(None)))
    )
    return _table(settings.events_database, DRIFT, query, "stock_incidents")


# From rows to frames


def _table(url: str, table: sa.Table, query: sa.Select[Any], name: str) -> Iterator[pl.DataFrame]:
    """The pages of a query, none where the database or the table is not there."""
    with looking(url, table) as connection:
        if connection is not None:
            yield from frames(connection, query, TABLES[name])


def frame(connection: sa.Connection, query: sa.Select[Any], schema: Schema) -> pl.DataFrame:
    """The whole result of a query, its columns (in any order) of these types."""
    return pl.concat([pl.DataFrame(schema=schema), *frames(connection, query, schema)])


def frames(connection: sa.Connection, query: sa.Select[Any], schema: Schema) -> Iterator[pl.DataFrame]:
    """The result of a query in pages. SQLite's moments are text; they are read as such, because making each a Python object costs more than the rest."""
    names = [column.name for column in query.selected_columns]
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        text = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
        result = connection.execution_options(stream_results=True).exec_driver_sql(text)
    else:
        result = connection.execution_options(stream_results=True).execute(query)
    raw = {pl.Datetime: pl.String(), pl.Boolean: pl.Int64()} if is_sqlite else {}
    as_read = {name: raw.get(type(schema[name]), schema[name]) for name in names}
    for rows in result.partitions(PAGE_ROWS):
        page = pl.DataFrame([tuple(row) for row in rows], schema=as_read, orient="row")
        if is_sqlite:
            page = page.with_columns(pl.col(name).cast(schema[name]) for name in names if isinstance(schema[name], pl.Boolean))
            moments = [name for name in names if isinstance(schema[name], pl.Datetime)]
            page = page.with_columns(pl.col(moments).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", time_zone="UTC"))
        yield page.select(list(schema))
