"""The tables of stock. They live in the database of the worker's books, so that one transaction spans both.

Belongs here: the tables, making them, and the rules kept with them. Does not belong here: arithmetic (shelf.py).

    stock_items         what is stocked: variant, SKU, whether it is counted, its tier
    stock_facts         what the warehouse said, by its key
    stock_orders        what each order's newest document means for stock
    stock_postings      what changed when: units on hand and committed, by warehouse movements and orders
    stock_shelves       one row an item and location: counts, sums, what the storefront shows, what it should show
    stock_reservations  units set aside
    stock_safety        units held back, where they differ from the default
    stock_targets       the outbox: what the storefront is to be told
    stock_pushes        calls to the storefront, written down before they are made
    stock_push_rows     their rows; `taken_at` to `acknowledged_at` is the latency of a change
    stock_drift         differences that others made on the storefront, from suspicion to end
    stock_unknown       variants and SKUs that nobody could name an item for yet
    stock_rules         the settings that the arithmetic needs, one row

Moments are aware datetimes in UTC, in and out. Quantities are whole units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from commerce_assets.events.database import INSTANT, is_sqlite, make_tables, reading

METADATA = sa.MetaData()
T = TypeVar("T")
ANYWHERE = 0
"""The location of a safety stock that holds for every location of an item."""
ROWS_A_QUERY = 400
"""Rows named in one statement: SQLite takes 32,766 parameters, PostgreSQL's planner likes short lists."""
BOOKS_LOCK = 7_240_501
"""Advisory lock of PostgreSQL under which the sums of shelves are read and written; on SQLite there is one writer anyway."""


class Moment(sa.TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no zone: what comes back is given one."""

    impl = INSTANT
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC; a moment without a zone is a mistake."""
        if value is None or value.tzinfo is UTC:
            return value
        if value.tzinfo is None:
            raise ValueError("a moment needs a zone: give an aware datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """From the database, aware."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


ITEMS = sa.Table(
    "stock_items",
    METADATA,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="Inventory item."),
    sa.Column("variant_id", sa.BigInteger, index=True),
    sa.Column("sku", sa.String(255), index=True),
    sa.Column("is_tracked", sa.Boolean, nullable=False, comment="Its stock is counted; of others nothing is booked or pushed."),
    sa.Column("tier", sa.Integer, nullable=False, server_default="2", comment="1: among the top 20 % by revenue, pushed first; else 2."),
    sa.Column("learnt_at", Moment, nullable=False),
)
FACTS = sa.Table(
    "stock_facts",
    METADATA,
    sa.Column("key", sa.String(255), primary_key=True, comment="The warehouse's own key: a fact counts once."),
    sa.Column("kind", sa.String(10), nullable=False, comment="count or movement."),
    sa.Column("item_id", sa.BigInteger, nullable=False),
    sa.Column("location_id", sa.BigInteger, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False, comment="Units counted, or units more (less: negative)."),
    sa.Column("occurred_at", Moment, nullable=False, comment="By the warehouse's clock."),
    sa.Column("reason", sa.String(120)),
    sa.Column("outcome", sa.String(12), nullable=False, comment="applied, or superseded: a later count was known."),
    sa.Column("taken_at", Moment, nullable=False, comment="When it was booked here."),
)
sa.Index("stock_facts_shelf", FACTS.c.item_id, FACTS.c.location_id, FACTS.c.occurred_at)
ORDERS = sa.Table(
    "stock_orders",
    METADATA,
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version_at", Moment, nullable=False, comment="The document's updated_at."),
    sa.Column("progress", sa.Integer, nullable=False, comment="Shipments, refunds and cancellation: orders versions of one second."),
    sa.Column("state", sa.Text, nullable=False, comment="What stock needs of the document, and where each line is allocated (JSON)."),
)
POSTINGS = sa.Table(
    "stock_postings",
    METADATA,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("order_id", sa.BigInteger, index=True, comment="Null: a movement of the warehouse."),
    sa.Column("item_id", sa.BigInteger, nullable=False),
    sa.Column("location_id", sa.BigInteger, nullable=False),
    sa.Column("occurred_at", Moment, nullable=False),
    sa.Column("on_hand_change", sa.BigInteger, nullable=False),
    sa.Column("committed_change", sa.BigInteger, nullable=False),
)
sa.Index("stock_postings_shelf", POSTINGS.c.item_id, POSTINGS.c.location_id, POSTINGS.c.occurred_at)
SHELVES = sa.Table(
    "stock_shelves",
    METADATA,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("location_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="0: not known yet."),
    sa.Column("is_active", sa.Boolean, nullable=False, comment="The storefront stocks the item there, as far as is known."),
    sa.Column("counted_quantity", sa.BigInteger, comment="The last count of the warehouse; null: it never counted this shelf."),
    sa.Column("counted_at", Moment),
    sa.Column("counted_key", sa.String(255), comment="Of two counts of one moment the greater key holds."),
    sa.Column("moved_quantity", sa.BigInteger, nullable=False, comment="Units on hand more or less since the count."),
    sa.Column("on_hand_quantity", sa.BigInteger, comment="Count and what moved since; null where there is no count."),
    sa.Column("committed_quantity", sa.BigInteger, nullable=False, comment="Units promised to orders we know."),
    sa.Column(
        "unknown_committed_quantity", sa.BigInteger, nullable=False, comment="Committed by the last reading and by no order we know."
    ),
    sa.Column("reserved_quantity", sa.BigInteger, nullable=False, comment="Units set aside here (stock_reservations)."),
    sa.Column(
        "set_aside_quantity", sa.BigInteger, nullable=False, comment="Units set aside on the storefront (reserved, damaged …), as read."
    ),
    sa.Column("safety_quantity", sa.BigInteger, nullable=False),
    sa.Column("available_quantity", sa.BigInteger, comment="What the storefront should show; null where nothing is known to tell it."),
    sa.Column("confirmed_at", Moment, comment="Of the newest fact of the warehouse."),
    sa.Column("seen_quantity", sa.BigInteger, comment="Available as the storefront last said."),
    sa.Column("seen_at", Moment, comment="When the storefront said so."),
    sa.Column("seen_by", sa.String(12), comment="event, reading or push."),
    sa.Column("expected_quantity", sa.BigInteger, comment="What the storefront should say by now, given the orders since."),
    sa.Column("read_committed_quantity", sa.BigInteger, comment="Committed by the storefront's own count, when last read."),
    sa.Column("read_at", Moment, comment="The storefront's moment of that reading."),
    sa.Column("checked_at", Moment, comment="When it was last read, by our clock."),
    sa.Column("tolerated_difference", sa.BigInteger, nullable=False, comment="Units by which others may differ: reported, not corrected."),
    sa.Column("suspected_at", Moment, comment="Since when it shows something unexplained; null: it does not."),
    sa.Column("trusted_quantity", sa.BigInteger, comment="Of a suspicion: what it should say by now but for the unexplained."),
    sa.Column("trusted_at", Moment),
    sa.Column("posted_at", Moment, comment="Moment of the newest posting."),
)
sa.Index("stock_shelves_checked", SHELVES.c.checked_at)
RESERVATIONS = sa.Table(
    "stock_reservations",
    METADATA,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("item_id", sa.BigInteger, nullable=False),
    sa.Column("location_id", sa.BigInteger, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(120)),
    sa.Column("reserved_at", Moment, nullable=False),
)
sa.Index("stock_reservations_shelf", RESERVATIONS.c.item_id, RESERVATIONS.c.location_id)
SAFETY = sa.Table(
    "stock_safety",
    METADATA,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("location_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="0: every location that has no row of its own."),
    sa.Column("quantity", sa.BigInteger, nullable=False),
)
TARGETS = sa.Table(
    "stock_targets",
    METADATA,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("location_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("quantity", sa.BigInteger, nullable=False, comment="What the storefront should show as available."),
    sa.Column("version", sa.BigInteger, nullable=False, comment="Rises with every decision; part of the idempotency key."),
    sa.Column("state", sa.String(10), nullable=False, comment="due, held (a suspicion settles), settled or refused."),
    sa.Column("not_before", Moment, comment="Of a held target: when it is looked into."),
    sa.Column("occurred_at", Moment, comment="Of the oldest fact of the warehouse that the storefront was not told yet."),
    sa.Column("taken_at", Moment, comment="When that fact was booked."),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("push_id", sa.String(36), comment="The call that is on its way with it."),
    sa.Column("acknowledged_version", sa.BigInteger),
    sa.Column("acknowledged_at", Moment),
    sa.Column(
        "conflicts", sa.Integer, nullable=False, server_default="0", comment="Times in a row that the storefront showed something else."
    ),
    sa.Column("reason", sa.Text, comment="Why it was refused."),
)
# A literal, not a parameter: SQLite uses a partial index only where the query says the very same.
IS_OPEN = TARGETS.c.state != sa.literal_column("'settled'")
sa.Index("stock_targets_open", TARGETS.c.state, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
PUSHES = sa.Table(
    "stock_pushes",
    METADATA,
    sa.Column("push_id", sa.String(36), primary_key=True, comment="The idempotency key: UUIDv5 of the rows."),
    sa.Column("state", sa.String(10), nullable=False, comment="open, done (acknowledged) or refused."),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("made_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("reason", sa.Text, comment="Codes of the refusal."),
)
IS_ON_ITS_WAY = PUSHES.c.state == sa.literal_column("'open'")
sa.Index("stock_pushes_open", PUSHES.c.made_at, sqlite_where=IS_ON_ITS_WAY, postgresql_where=IS_ON_ITS_WAY)
PUSH_ROWS = sa.Table(
    "stock_push_rows",
    METADATA,
    sa.Column("push_id", sa.String(36), primary_key=True),
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("location_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("change_from", sa.BigInteger),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column(
        "outcome", sa.String(12), comment="acknowledged, conflict, again (an other row spoilt the call) or refused; null on the way."
    ),
    sa.Column("occurred_at", Moment, comment="Of the oldest fact of the warehouse it carries; null: the cause was another."),
    sa.Column("taken_at", Moment),
    sa.Column("sent_at", Moment),
    sa.Column("acknowledged_at", Moment),
)
sa.Index("stock_push_rows_acknowledged", PUSH_ROWS.c.acknowledged_at)
DRIFT = sa.Table(
    "stock_drift",
    METADATA,
    sa.Column("drift_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("item_id", sa.BigInteger, nullable=False),
    sa.Column("location_id", sa.BigInteger, nullable=False),
    sa.Column("writer", sa.String(20), nullable=False, comment="Who: storefront (somebody there, nobody says who)."),
    sa.Column("seen_at", Moment, nullable=False, comment="When the storefront said so."),
    sa.Column("noticed_at", Moment, nullable=False),
    sa.Column("expected_quantity", sa.BigInteger, nullable=False),
    sa.Column("found_quantity", sa.BigInteger, nullable=False),
    sa.Column("difference_units", sa.BigInteger, nullable=False, comment="Found less expected."),
    sa.Column("state", sa.String(12), nullable=False, comment="reported, correcting, corrected, or overtaken by a newer figure of ours."),
    sa.Column("ended_at", Moment),
)
sa.Index("stock_drift_shelf", DRIFT.c.item_id, DRIFT.c.location_id)
UNKNOWN = sa.Table(
    "stock_unknown",
    METADATA,
    sa.Column("kind", sa.String(10), primary_key=True, comment="variant (of an order's line) or sku (of a fact)."),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The order to book again; 0 for a SKU."),
    sa.Column("since", Moment, nullable=False),
    sa.Column("asked_at", Moment, comment="When the storefront was last asked about it."),
)
RULES = sa.Table(
    "stock_rules",
    METADATA,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(12), nullable=False),
    sa.Column("drift_policy", sa.String(10), nullable=False),
    sa.Column("safety_stock", sa.BigInteger, nullable=False),
    sa.Column("settle_seconds", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Rules:
    """What the arithmetic is told by the settings."""

    owner: Literal["wms", "storefront"] = "wms"
    """Whose units on hand hold. Where it is the storefront nothing is pushed: the books only compare."""
    drift_policy: Literal["correct", "report"] = "correct"
    safety_stock: int = 0
    settle_seconds: float = 5.0
    """How long an unexplained change on the storefront may be one whose event is still on its way."""


def prepare(engine: sa.Engine, rules: Rules) -> bool:
    """Make the tables and keep the rules; True where they changed, so that every shelf must be worked out anew (shelf.recompute)."""
    make_tables(engine, METADATA)
    with reading(engine) as connection:
        before = rules_of(connection)
        is_kept = connection.execute(sa.select(sa.func.count()).select_from(RULES)).scalar_one() > 0
    if is_kept and before == rules:
        return False
    with engine.begin() as connection:
        connection.execute(sa.delete(RULES))
        connection.execute(sa.insert(RULES).values(one=1, **asdict(rules)))
    return is_kept


def rules_of(connection: sa.Connection) -> Rules:
    """The rules that were kept; the defaults where there are none."""
    row = connection.execute(sa.select(RULES)).mappings().first()
    return Rules(**{name: value for name, value in row.items() if name != "one"}) if row else Rules()


def hold_books(connection: sa.Connection) -> None:
    """Let no other transaction change the sums of shelves until this one ends."""
    if not is_sqlite(connection.engine):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(BOOKS_LOCK)))


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, replacing those with the same primary key; every row has the same columns."""
    if not rows:
        return
    insert = (sqlite if is_sqlite(connection.engine) else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    statement = insert.on_conflict_do_update(index_elements=keys, set_=others) if others else insert.on_conflict_do_nothing()
    connection.execute(statement, rows)


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, as many at a time as one statement names."""
    for start in range(0, len(values), ROWS_A_QUERY):
        yield values[start : start + ROWS_A_QUERY]
