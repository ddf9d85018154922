"""What each room knows about one order: events, lake, warehouse files, scores, activation ledger. Reading only; nothing is created.

Belongs here: one reader a room, each giving plain records. Does not belong here: what it means for the order's flight (trace.py).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from commerce_assets.activation.ledger import CHANGES, RUNS, STATE
from commerce_assets.config import Settings
from commerce_assets.contracts import family
from commerce_assets.events.books import STATES, as_utc
from commerce_assets.events.database import is_sqlite, open_engine, reading
from commerce_assets.events.inbox import INBOX_EVENTS
from commerce_assets.lake import Lake, LoadReport
from commerce_assets.warehouse import WarehouseBusyError
from commerce_assets.warehouse import reading as reading_warehouse

NOT_TAKEN = "stored"
"""Of an event in the inbox that no lane has taken yet."""
ORDER_SYNC = ("shopify", "customer_scores")
"""Destination and sync that bring an order's effect back to the storefront."""
_NAMES_SOUGHT = 20_000
"""Newest order events whose bodies are searched for an order's name, when nothing else knows it."""


@dataclass(frozen=True)
class EventFact:
    """One event about an order: where it came from, what became of it."""

    seq: int
    webhook_id: str
    source: str
    topic: str
    state: str
    reason: str | None
    attempts: int
    triggered_at: datetime | None
    received_at: datetime
    stored_at: datetime
    decided_at: datetime | None
    landed_at: datetime | None
    batch_id: str | None
    source_file: str | None
    line: int | None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class LandedFact:
    """The newest version of an order in the lake."""

    order_name: str
    customer_id: int | None
    partition: str
    source_file: str
    line: int
    loaded_at: datetime
    """When the reading of the pull began, or the micro-batch."""
    landed_at: datetime | None
    """When its load was complete; None where its report is gone (a folded micro-batch)."""
    version_at: datetime


@dataclass(frozen=True)
class RefusedFact:
    """A row of an order that is in quarantine."""

    table: str
    rules: tuple[str, ...]
    load_id: str
    source_file: str
    line: int
    loaded_at: datetime


@dataclass(frozen=True)
class WarehouseFact:
    """What one DuckDB file holds of an order. `version_at` is the `updated_at` of the version held; None where there is no row."""

    file: str
    is_build: bool
    staged_version_at: datetime | None = None
    mart_version_at: datetime | None = None
    built_at: datetime | None = None
    build_id: str | None = None
    is_backfilled: bool = False
    """The build found it there already: it does not say when it came."""
    published_version: str | None = None
    published_at: datetime | None = None
    first_published_version: str | None = None
    first_published_at: datetime | None = None
    is_reportable: bool | None = None


@dataclass(frozen=True)
class ScoreFact:
    """The newest score of a customer."""

    scored_at: datetime
    as_of_on: date


@dataclass(frozen=True)
class PushFact:
    """What activation holds of a customer. `values` is what the storefront holds as far as is known; None where nothing was pushed."""

    values: Mapping[str, Any] | None = None
    held_since: datetime | None = None
    outcome: str | None = None
    """Of the newest change: succeeded, failed or skipped; None while it is open, or where there was none."""
    reason: str | None = None
    changed_fields: tuple[str, ...] = ()
    intended_at: datetime | None = None
    compared_at: datetime | None = None
    """Start of the newest push that ended well: what it found unchanged was right then."""


@contextmanager
def looking(url: str, table: sa.Table) -> Iterator[sa.Connection | None]:
    """A connection that only reads, of one state of the database; None where it or the table is not there: nothing is made by looking."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        yield None
        return
    engine = open_engine(url)
    if not is_sqlite(engine):
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    try:
        with reading(engine) as connection:
            yield connection if sa.inspect(connection).has_table(table.name) else None
    finally:
        engine.dispose()


def is_push(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Of a run in the ledger: that it is a push, no undo and no resync. All are in a ledger that an older version left, without the column."""
    columns = {column["name"] for column in sa.inspect(connection).get_columns(RUNS.name)}
    return RUNS.c.kind == "push" if RUNS.c.kind.name in columns else sa.true()


def find_order_id(settings: Settings, order: str) -> int | None:
    """The id of an order given as id, gid or name; None when nobody knows it."""
    text = order.strip()
    gid = text.removeprefix("gid://shopify/Order/")
    if gid != text:
        return _number(gid)
    number = _number(text)
    if number is not None and _is_known_id(settings, number):
        return number
    return _id_in_lake(settings, text) or _id_in_inbox(settings, text)


def event_facts(settings: Settings, order_id: int) -> list[EventFact]:
    """Every event about an order, oldest first; those of the inbox that no lane took yet included."""
    found: dict[int, EventFact] = {}
    with looking(settings.inbox_database, INBOX_EVENTS) as connection:
        columns = INBOX_EVENTS.c
        names = ("seq", "webhook_id", "source", "topic", "triggered_at", "received_at", "stored_at")
        query = sa.select(*(columns[name] for name in names)).where(columns.object_type == "Order", columns.object_id == order_id)
        for row in connection.execute(query).mappings() if connection else ():
            times = {name: as_utc(row[name]) for name in ("triggered_at", "received_at", "stored_at")}
            nothing_yet = dict.fromkeys(("reason", "decided_at", "landed_at", "batch_id", "source_file", "line"))
            found[row["seq"]] = EventFact(**{**row, **times, **nothing_yet}, state=NOT_TAKEN, attempts=0)
    with looking(settings.events_database, STATES) as connection:
        columns_told = tuple(EventFact.__dataclass_fields__)
        query = sa.select(*(STATES.c[name] for name in columns_told)).where(STATES.c.object_type == "Order", STATES.c.object_id == order_id)
        for row in connection.execute(query).mappings() if connection else ():
            moments = {name: as_utc(row[name]) for name in columns_told if name.endswith("_at")}
            found[row["seq"]] = EventFact(**{**row, **moments})
    return [found[seq] for seq in sorted(found)]


def landed_fact(settings: Settings, order_id: int) -> LandedFact | None:
    """The newest version of an order in the lake, None before it landed."""
    lake = Lake(settings.lake_root)
    row = _first_order(lake, "order_versions", {"order_id": order_id})
    if row is None:
        return None
    _, name, customer_id, partition, source_file, line, loaded_at, version_at = row
    return LandedFact(name, customer_id, partition, source_file, line, loaded_at, _landed_at(lake, source_file), version_at)


def refused_facts(settings: Settings, order_id: int) -> list[RefusedFact]:
    """Rows of an order in quarantine, newest load first."""
    lake = Lake(settings.lake_root)
    files = [
        str(path)
        for table in family("orders")
        for path in sorted(lake.quarantine_folder(table, "x").parent.glob("partition=*/*.parquet"))
        if path.parent.name != "partition=empty"
    ]
    return [
        RefusedFact(table, tuple(rules), load, source_file, line, loaded_at)
        for table, rules, load, source_file, line, loaded_at in _rows(files, "order_refused", {"order_id": order_id})
    ]


def build_fact(settings: Settings, order_id: int) -> WarehouseFact | None:
    """What the build file holds; None when there is none or a writer holds it (it is never waited for)."""
    if not settings.build_path.exists():
        return None
    try:
        with reading_warehouse(settings.build_path, wait_seconds=0) as connection:
            return _warehouse_fact(connection, settings.build_path, order_id, is_build=True)
    except WarehouseBusyError:
        return None


def published_fact(settings: Settings, order_id: int) -> WarehouseFact | None:
    """What the published file holds; None before the first publish."""
    if not settings.published_path.exists():
        return None
    with reading_warehouse(settings.published_path) as connection:
        return _warehouse_fact(connection, settings.published_path, order_id, is_build=False)


def score_fact(settings: Settings, customer_id: int) -> ScoreFact | None:
    """The newest score of a customer; None without one."""
    files = [str(path) for path in sorted((settings.lake_root / "scores" / "customer_rfm").glob("*.parquet"))]
    row = next(iter(_rows(files, "customer_score", {"customer_id": customer_id})), None)
    return ScoreFact(*row) if row else None


def push_fact(settings: Settings, customer_id: int) -> PushFact:
    """What the ledger knows of a customer."""
    destination, sync = ORDER_SYNC
    key = f"gid://shopify/Customer/{customer_id}"
    state = sa.select(STATE.c.fields, STATE.c.updated_at).where(
        STATE.c.destination == destination, STATE.c.sync == sync, STATE.c.record_key == key
    )
    change = (
        sa.select(CHANGES.c.outcome, CHANGES.c.reason, CHANGES.c.changed_fields, CHANGES.c.intended_at)
        .where(CHANGES.c.destination == destination, CHANGES.c.sync == sync, CHANGES.c.record_key == key)
        .order_by(CHANGES.c.intended_at.desc())
        .limit(1)
    )
    compared = sa.select(sa.func.max(RUNS.c.started_at)).where(
        RUNS.c.destination == destination, RUNS.c.sync == sync, RUNS.c.status.in_(("succeeded", "partial"))
    )
    with looking(settings.ops_url, STATE) as connection:
        if connection is None:
            return PushFact()
        pushed = is_push(connection)
        of_push = CHANGES.c.run_id.in_(sa.select(RUNS.c.run_id).where(pushed))
        held, changed = connection.execute(state).first(), connection.execute(change.where(of_push)).first()
        compared_at = connection.scalar(compared.where(pushed))
    return PushFact(
        json.loads(held.fields) if held else None,
        as_utc(held.updated_at) if held else None,
        changed.outcome if changed else None,
        changed.reason if changed else None,
        tuple(changed.changed_fields.split(",")) if changed else (),
        as_utc(changed.intended_at) if changed else None,
        as_utc(compared_at),
    )


def _warehouse_fact(connection: duckdb.DuckDBPyConnection, path: Path, order_id: int, *, is_build: bool) -> WarehouseFact:
    tables = {f"{schema}.{name}" for schema, name in connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()}
    facts: dict[str, Any] = {}

    def read(table: str, columns: Mapping[str, str]) -> None:
        if table in tables:
            row = connection.execute(f"select {', '.join(columns.values())} from {table} where order_id = ?", [order_id]).fetchone()
            facts.update(zip(columns, map(_zoned, row), strict=True) if row else {})

    read("staging.stg_storefront__orders", {"staged_version_at": "_version_at"})
    read("marts.fct_order", {"mart_version_at": "updated_at", "is_reportable": "is_reportable"})
    read("ops.order_builds", {"built_at": "built_at", "build_id": "build_id", "is_backfilled": "is_backfilled"})
    if not is_build:
        newest = connection.execute("select version, published_at from main.published order by version desc limit 1").fetchone()
        if newest:
            facts |= {"published_version": newest[0], "published_at": _zoned(newest[1])}
        if "main.publishes" in tables and facts.get("built_at"):
            first = connection.execute(
                "select version, published_at from main.publishes where published_at >= ? order by version limit 1", [facts["built_at"]]
            ).fetchone()
            if first:
                facts |= {"first_published_version": first[0], "first_published_at": _zoned(first[1])}
    return WarehouseFact(path.name, is_build, **facts)


def _number(text: str) -> int | None:
    """An id as the databases hold it; None for anything else."""
    return int(text) if re.fullmatch("[0-9]{1,19}", text) and int(text) < 2**63 else None


def _is_known_id(settings: Settings, order_id: int) -> bool:
    is_landed = bool(_first_order(Lake(settings.lake_root), "order_versions", {"order_id": order_id}))
    return is_landed or bool(event_facts(settings, order_id) or refused_facts(settings, order_id))


def _id_in_lake(settings: Settings, name: str) -> int | None:
    row = _first_order(Lake(settings.lake_root), "order_named", {"name": name})
    return int(row[0]) if row else None


def _id_in_inbox(settings: Settings, name: str) -> int | None:
    """An order that never landed is known by the bodies of its events only."""
    columns = INBOX_EVENTS.c
    query = (
        sa.select(columns.object_id, columns.body)
        .where(columns.topic.in_(("orders/create", "orders/updated")), columns.object_id.is_not(None))
        .order_by(columns.seq.desc())
        .limit(_NAMES_SOUGHT)
    )
    sought = {json.dumps(shown).encode() for shown in (name, f"#{name}")}
    with looking(settings.inbox_database, INBOX_EVENTS) as connection:
        for row in connection.execution_options(yield_per=500).execute(query) if connection else ():
            body = bytes(row.body)
            if any(b'"name":' + text in body or b'"name": ' + text in body for text in sought):
                return int(row.object_id)
    return None


def _landed_at(lake: Lake, source_file: str) -> datetime | None:
    """When the report of the load that a raw file belongs to was written."""
    parts = Path(source_file).parts
    for place in (f"loads/{parts[2]}.json", f"loads/events/{parts[1]}/{parts[2]}.json") if len(parts) > 2 else ():
        report = lake.root / place
        if report.exists():
            loaded = LoadReport.from_json(report.read_text(encoding="utf-8"))
            return max(datetime.fromtimestamp(report.stat().st_mtime, UTC), loaded.loaded_at)
    return None


def _first_order(lake: Lake, query: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The first row of a query over the lake's orders; folds wait for it, or a file could go while it is read."""
    folder = lake.table_folder(family("orders")[0])
    if not folder.exists():  # looking makes nothing
        return None
    with lake.reading():
        return next(iter(_rows([str(path) for path in sorted(folder.glob("partition=*/*.parquet"))], query, parameters)), None)


def _rows(files: Sequence[str], query: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    if not files:
        return []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(_sql(query), {"files": list(files), **parameters}).fetchall()


@cache
def _sql(name: str) -> str:
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _zoned(value: Any) -> Any:
    """The warehouse's times are UTC without saying so."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
