"""The worker's books: what became of every event, which version of each object is held, and what is still to be done.

Belongs here: the tables and the small accesses that several modules need. Does not belong here: deciding (decide.py), working (lanes.py).

    event_states           one row an event that a lane has taken from the inbox, by the inbox's `seq`
    event_documents        one row an object: the version held, and how it was come by
    event_parts            one row a transaction, refund or fulfillment of an order: the version held
    event_batches          one row a landing: what went into the lake together
    event_reports          outbox of reports about landings
    event_cursors          how far each lane has read the inbox, and each reconciliation the storefront
    event_reconciliations  one row a look at what changed without an event
    event_actions          what people did by hand: replays and discards
    compliance_requests    duties about people's data, queued for the privacy room
    control_events         about the app, the shop or a job

An event beyond its lane's cursor is still to be taken. One that was taken has exactly one state: on the way `pending` (tried again, or
fetched for, from `next_try_at` on) or `batched` (its landing is open); at the end one of `FINAL_STATES`. Bodies are not copied: they are
in the inbox under `seq`; once pruned there, an order's next part has it fetched. Instants are UTC; SQLite gives them back without a zone.
"""

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from commerce_assets.events.database import INSTANT, is_sqlite, reading

METADATA = sa.MetaData()

PENDING, BATCHED = "pending", "batched"
APPLIED, SUPERSEDED, DUPLICATE, DEAD, DISCARDED = "applied", "superseded", "duplicate", "dead", "discarded"
OPEN_STATES = (PENDING, BATCHED)
FINAL_STATES = (APPLIED, SUPERSEDED, DUPLICATE, DEAD, DISCARDED)

DECIDE, FETCH = "decide", "fetch"
"""What a pending event needs: to be decided (again), or its object to be read from the storefront."""

KEYS_A_QUERY = 500
# On SQLite only INTEGER, not BIGINT, makes the key the row's own number: no second index to keep.
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

STATES = sa.Table(
    "event_states",
    METADATA,
    sa.Column("seq", _ROW_NUMBER, primary_key=True, autoincrement=False, comment="The event's number in the inbox."),
    sa.Column("webhook_id", sa.String(255), nullable=False),
    sa.Column("source", sa.String(20), nullable=False, comment="webhook, sqs, kafka, folder, wms or reconcile."),
    sa.Column("lane", sa.String(20), nullable=False),
    sa.Column("topic", sa.String(80), nullable=False),
    sa.Column("event_id", sa.String(255), comment="The merchant's action that caused it."),
    sa.Column("object_type", sa.String(40), nullable=False, comment="Order, Customer, Product, InventoryItem, …; of a part Order."),
    sa.Column("object_id", sa.BigInteger, comment="Null where the body does not say."),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("need", sa.String(8), comment="Of a pending event: decide or fetch."),
    sa.Column("reason", sa.Text, comment="Why it waits, is superseded, a duplicate or dead; rule names, never values."),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="Failed tries."),
    sa.Column("waits", sa.Integer, nullable=False, server_default="0", comment="Times it waited for its order to be known."),
    sa.Column("version_at", INSTANT, comment="The object's own version in the payload."),
    sa.Column("triggered_at", INSTANT),
    sa.Column("received_at", INSTANT, nullable=False),
    sa.Column("stored_at", INSTANT, nullable=False),
    sa.Column("first_tried_at", INSTANT, nullable=False, comment="When a lane first took it: first seen."),
    sa.Column("decided_at", INSTANT, nullable=False, comment="When it was last decided: last seen."),
    sa.Column("next_try_at", INSTANT, comment="Of a pending event: not before."),
    sa.Column("landed_at", INSTANT, comment="When the lake had it."),
    sa.Column("finished_at", INSTANT, comment="When it came into its final state."),
    sa.Column("batch_id", sa.String(60), comment="The landing it went along with, or was decided beside."),
    sa.Column("source_file", sa.Text, comment="`_source_file` of its object's row in the lake."),
    sa.Column("line", sa.BigInteger, comment="`_line` of its object's row in the lake."),
)
sa.Index("event_states_object", STATES.c.object_type, STATES.c.object_id)
sa.Index("event_states_batch", STATES.c.batch_id)
_IS_PENDING, _IS_DEAD = STATES.c.state == PENDING, STATES.c.state == DEAD
sa.Index(
    "event_states_pending",
    *(STATES.c.lane, STATES.c.need, STATES.c.next_try_at),
    sqlite_where=_IS_PENDING,
    postgresql_where=_IS_PENDING,
)
sa.Index("event_states_dead", STATES.c.topic, sqlite_where=_IS_DEAD, postgresql_where=_IS_DEAD)

DOCUMENTS = sa.Table(
    "event_documents",
    METADATA,
    sa.Column("object_type", sa.String(40), primary_key=True),
    sa.Column("object_id", sa.BigInteger, primary_key=True),
    sa.Column("version_at", INSTANT, comment="The newest version known: of a payload, or of a fetched document its updatedAt."),
    sa.Column("triggered_at", INSTANT, comment="Of the payload that holds; orders versions of one second."),
    sa.Column("digest", sa.String(32), comment="Of the payload that holds."),
    sa.Column("seq", sa.BigInteger, comment="The event whose payload holds; null where a fetched document does, or none."),
    sa.Column("is_whole", sa.Boolean, nullable=False, comment="Of an order: its whole life was seen, or it was fetched."),
    sa.Column("is_with_carrier", sa.Boolean, nullable=False, comment="Of an order: its payload lacks what a carrier reported; fetch."),
    sa.Column("lacks_since", INSTANT, comment="Of an order: since when transactions of its payments are awaited."),
    sa.Column("awaits", sa.Text, comment="Of an order: ids of these transactions, joined by commas; 'any' where none is known."),
    sa.Column("fetched_at", INSTANT, comment="When the last fetch that held began, on our clock."),
    sa.Column("deleted_at", INSTANT, comment="When it was deleted; nothing holds after that."),
    sa.Column("batch_id", sa.String(60), comment="The landing of the newest version."),
)
sa.Index(
    "event_documents_lacking",
    DOCUMENTS.c.lacks_since,
    sqlite_where=DOCUMENTS.c.lacks_since.is_not(None),
    postgresql_where=DOCUMENTS.c.lacks_since.is_not(None),
)

PARTS = sa.Table(
    "event_parts",
    METADATA,
    sa.Column("order_id", sa.BigInteger, primary_key=True),
    sa.Column("part_type", sa.String(20), primary_key=True, comment="OrderTransaction, Refund or Fulfillment."),
    sa.Column("part_id", sa.BigInteger, primary_key=True),
    sa.Column("version_at", INSTANT),
    sa.Column("triggered_at", INSTANT),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("seq", sa.BigInteger, comment="The event whose body holds; null where it was fetched."),
    sa.Column("body", sa.LargeBinary, comment="Only where it was fetched: no event has it."),
)

BATCHES = sa.Table(
    "event_batches",
    METADATA,
    sa.Column("batch_id", sa.String(60), primary_key=True, comment="Sorts by time; the lake's partition is events-<batch_id>."),
    sa.Column("lane", sa.String(20), nullable=False),
    sa.Column("family", sa.String(40), nullable=False, comment="orders, customers, products, inventory or deletions."),
    sa.Column("kind", sa.String(12), nullable=False, comment="payloads, documents or deletions."),
    sa.Column("status", sa.String(10), nullable=False, comment="open, landed, or released (nothing landed; its events are pending again)."),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("objects", sa.Integer, nullable=False),
    sa.Column("opened_at", INSTANT, nullable=False),
    sa.Column("finished_at", INSTANT),
    sa.Column("load_id", sa.String(120)),
    sa.Column("rows", sa.BigInteger),
    sa.Column("quarantined", sa.BigInteger),
    sa.Column("partitions", sa.JSON, comment="Names of the lake's partitions."),
    sa.Column("error", sa.Text, comment="Why it was released."),
)
sa.Index(
    "event_batches_open",
    BATCHES.c.lane,
    sqlite_where=BATCHES.c.status == "open",
    postgresql_where=BATCHES.c.status == "open",
)

REPORTS = sa.Table(
    "event_reports",
    METADATA,
    sa.Column("batch_id", sa.String(60), primary_key=True),
    sa.Column("family", sa.String(40), nullable=False),
    sa.Column("partitions", sa.JSON, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("quarantined", sa.BigInteger, nullable=False),
    sa.Column("events", sa.JSON, nullable=False, comment="Outcome -> count."),
    sa.Column("finished_at", INSTANT, nullable=False),
    sa.Column("reported_at", INSTANT, comment="Null while it is to be shown."),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
)
sa.Index(
    "event_reports_open",
    REPORTS.c.batch_id,
    sqlite_where=REPORTS.c.reported_at.is_(None),
    postgresql_where=REPORTS.c.reported_at.is_(None),
)

CURSORS = sa.Table(
    "event_cursors",
    METADATA,
    sa.Column("name", sa.String(40), primary_key=True, comment="A lane, or reconcile:<object type>."),
    sa.Column("seq", sa.BigInteger, nullable=False, server_default="0", comment="Of a lane: the last event it took from the inbox."),
    sa.Column("moment", INSTANT, comment="Of a reconciliation: what changed before this is accounted for."),
    sa.Column("updated_at", INSTANT, nullable=False),
)

RECONCILIATIONS = sa.Table(
    "event_reconciliations",
    METADATA,
    sa.Column("reconciliation_id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    sa.Column("object_type", sa.String(40), nullable=False),
    sa.Column("since", INSTANT, nullable=False),
    sa.Column("until", INSTANT, nullable=False),
    sa.Column("started_at", INSTANT, nullable=False),
    sa.Column("finished_at", INSTANT, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False, comment="Objects that the storefront said changed."),
    sa.Column("missed", sa.Integer, nullable=False, comment="Of these, those no event had told of: missed webhooks."),
)

ACTIONS = sa.Table(
    "event_actions",
    METADATA,
    sa.Column("action_id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("action", sa.String(10), nullable=False, comment="replay or discard."),
    sa.Column("taken_by", sa.String(120), nullable=False),
    sa.Column("taken_at", INSTANT, nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("topic", sa.String(80), nullable=False),
    sa.Column("object_type", sa.String(40), nullable=False),
    sa.Column("object_id", sa.BigInteger),
    sa.Column("was_reason", sa.Text, comment="Why it had been dead."),
)
sa.Index("event_actions_object", ACTIONS.c.object_type, ACTIONS.c.object_id)

COMPLIANCE = sa.Table(
    "compliance_requests",
    METADATA,
    sa.Column("seq", _ROW_NUMBER, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(80), nullable=False, comment="customers/redact, customers/data_request or shop/redact."),
    sa.Column("shop", sa.String(255), nullable=False),
    sa.Column("object_type", sa.String(40), nullable=False),
    sa.Column("object_id", sa.BigInteger),
    sa.Column("body", sa.LargeBinary, nullable=False, comment="As it came: it must outlive the inbox. Holds personal data."),
    sa.Column("requested_at", INSTANT, nullable=False),
    sa.Column("due_at", INSTANT, nullable=False, comment="30 days after it was received."),
    sa.Column("status", sa.String(12), nullable=False, comment="queued until the privacy room has done it."),
    sa.Column("finished_at", INSTANT),
)

CONTROL = sa.Table(
    "control_events",
    METADATA,
    sa.Column("seq", _ROW_NUMBER, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(80), nullable=False),
    sa.Column("shop", sa.String(255), nullable=False),
    sa.Column("object_type", sa.String(40), nullable=False),
    sa.Column("object_id", sa.BigInteger),
    sa.Column("triggered_at", INSTANT),
    sa.Column("received_at", INSTANT, nullable=False),
)


class WorkerBusyError(Exception):
    """Another process works on these books."""


@contextmanager
def exclusive(engine: sa.Engine) -> Iterator[None]:
    """Hold the books against every other worker; let go by itself when this process dies. Raises `WorkerBusyError`."""
    busy = WorkerBusyError("another worker holds these books; stop it (it may run under `commerce serve`) or let it do the work")
    if not is_sqlite(engine):
        with engine.connect() as connection:
            name = sa.func.hashtext("commerce:events-worker")
            if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(name))):
                raise busy
            connection.commit()
            try:
                yield
            finally:
                connection.scalar(sa.select(sa.func.pg_advisory_unlock(name)))
        return
    if engine.url.database in (None, "", ":memory:"):
        yield
        return
    with Path(f"{engine.url.database}.worker.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows or replace those with the same primary key. All rows name the same columns; columns not named stay."""
    if not rows:
        return
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    written = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=written), list(rows))


def in_batches(keys: Iterable[Any], size: int = KEYS_A_QUERY) -> Iterator[list[Any]]:
    """Keys in lists that fit one query."""
    batch: list[Any] = []
    for key in keys:
        batch.append(key)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def as_utc(moment: datetime | None) -> datetime | None:
    """An instant with its zone, as SQLite lost it and PostgreSQL gives it."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


def cursor_seqs(engine: sa.Engine) -> dict[str, int]:
    """Lane -> the last `seq` it took from the inbox; a lane that never ran is absent."""
    with reading(engine) as connection:
        return {row.name: row.seq for row in connection.execute(sa.select(CURSORS.c.name, CURSORS.c.seq).where(CURSORS.c.moment.is_(None)))}


def state_counts(engine: sa.Engine) -> dict[str, int]:
    """State -> number of events that lanes have taken."""
    query = sa.select(STATES.c.state, sa.func.count().label("events")).group_by(STATES.c.state)
    with reading(engine) as connection:
        return {row.state: row.events for row in connection.execute(query)}


def unfinished_seqs(engine: sa.Engine) -> frozenset[int]:
    """Events that are pending, batched or dead: the inbox must keep them."""
    with reading(engine) as connection:
        return frozenset(connection.scalars(sa.select(STATES.c.seq).where(STATES.c.state.in_((*OPEN_STATES, DEAD)))))


def forget(engine: sa.Engine, before: datetime) -> dict[str, int]:
    """Delete what ended before a moment, in steps of few rows; rows by table. Dead letters, tombstones and interventions stay.

    An order whose version and parts are forgotten counts as unknown: its next event has it fetched.
    """
    ended = STATES.c.state.in_((APPLIED, SUPERSEDED, DUPLICATE, DISCARDED)) & (STATES.c.finished_at < before)
    old = (DOCUMENTS.c.version_at < before) & DOCUMENTS.c.deleted_at.is_(None) & DOCUMENTS.c.lacks_since.is_(None)
    is_open = sa.exists().where(
        STATES.c.object_type == DOCUMENTS.c.object_type, STATES.c.object_id == DOCUMENTS.c.object_id, STATES.c.state.in_(OPEN_STATES)
    )
    is_held = sa.exists().where(DOCUMENTS.c.object_type == "Order", DOCUMENTS.c.object_id == PARTS.c.order_id)
    going: tuple[tuple[sa.Table, sa.ColumnElement[bool]], ...] = (
        (STATES, ended),
        (DOCUMENTS, old & ~is_open),
        (PARTS, (PARTS.c.version_at < before) & ~is_held),
        (BATCHES, (BATCHES.c.status != "open") & (BATCHES.c.finished_at < before)),
        (REPORTS, REPORTS.c.reported_at < before),
        (RECONCILIATIONS, RECONCILIATIONS.c.finished_at < before),
    )
    return {table.name: _delete(engine, table, condition) for table, condition in going}


def _delete(engine: sa.Engine, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    keys = list(table.primary_key)
    deleted = 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(sa.select(*keys).where(condition).limit(KEYS_A_QUERY)).all()
            if rows:
                same = sa.and_(*(key == sa.bindparam(f"of_{key.name}") for key in keys))
                connection.execute(table.delete().where(same), [{f"of_{key.name}": row._mapping[key] for key in keys} for row in rows])
        deleted += len(rows)
        if len(rows) < KEYS_A_QUERY:
            return deleted
