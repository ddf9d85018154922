"""The inbox: every event that came in, whole, in the order of storing, once per webhook id; and counts of what came, by the hour.

Belongs here: storing, reading, counting and forgetting of deliveries. Does not belong here: what they mean, and what became of them
(the worker keeps that in its own database, so that it never waits for the receiver's lock).

An append-only log: rows are written once (only `deliveries` and `last_received_at` change, when an event comes again) and pruned by
age. A reader that remembers the last `seq` it saw misses none: SQLite knows one writer at a time, and on PostgreSQL appends are
serialised by an advisory lock, so no row with a smaller `seq` becomes visible later.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from commerce_assets.events.database import INSTANT, is_sqlite, make_tables, open_engine, reading
from commerce_assets.events.records import Delivery, StoredEvent

METADATA = sa.MetaData()
# SQLite counts rows in its own integer type only.
_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")

INBOX_EVENTS = sa.Table(
    "inbox_events",
    METADATA,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True, comment="Rises in the order of storing, is never used again."),
    sa.Column("webhook_id", sa.String(255), nullable=False, unique=True, comment="Key of deduplication."),
    sa.Column("source", sa.String(20), nullable=False, comment="webhook, sqs, kafka, folder, wms or reconcile."),
    sa.Column("topic", sa.String(80), nullable=False),
    sa.Column("shop", sa.String(255), nullable=False),
    sa.Column("event_id", sa.String(255), comment="Shared by all deliveries of one action in the shop."),
    sa.Column("api_version", sa.String(40)),
    sa.Column("object_type", sa.String(40), comment="As in gids; of a part, its owner's."),
    sa.Column("object_id", sa.BigInteger, comment="Of a part, its owner's. Null where the body does not say."),
    sa.Column("triggered_at", INSTANT),
    sa.Column("received_at", INSTANT, nullable=False, comment="First time it came."),
    sa.Column("last_received_at", INSTANT, nullable=False, comment="Last time it came."),
    sa.Column("stored_at", INSTANT, nullable=False),
    sa.Column("deliveries", sa.Integer, nullable=False, comment="How often it came."),
    sa.Column("headers", sa.Text, nullable=False, comment="Headers that matter beside these, as JSON."),
    sa.Column("body_bytes", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False, comment="What was signed, byte for byte."),
    # Without it SQLite would use the number of a pruned last row again, and a reader's cursor would be beyond it.
    sqlite_autoincrement=True,
)
sa.Index("inbox_events_topic", INBOX_EVENTS.c.topic, INBOX_EVENTS.c.seq)
sa.Index("inbox_events_object", INBOX_EVENTS.c.object_type, INBOX_EVENTS.c.object_id, INBOX_EVENTS.c.seq)

INBOX_COUNTS = sa.Table(
    "inbox_counts",
    METADATA,
    sa.Column("hour", INSTANT, primary_key=True, comment="Start of the UTC hour of receiving."),
    sa.Column("source", sa.String(20), primary_key=True),
    sa.Column("topic", sa.String(80), primary_key=True),
    sa.Column("outcome", sa.String(20), primary_key=True, comment="stored, duplicate or rejected; received = stored + duplicate."),
    sa.Column("reason", sa.String(40), primary_key=True, comment="Of what was rejected; else empty."),
    sa.Column("count", sa.BigInteger, nullable=False),
)

STORED, DUPLICATE, REJECTED = "stored", "duplicate", "rejected"
ROWS_A_STATEMENT = 100
KEYS_A_QUERY = 1_000
PRUNE_ROWS = 500
READ_BYTES = 64 * 2**20
# Any number does, as long as it is the same in every process that appends.
_APPEND_LOCK = 4_242_001
_SQLITE_FULL = 13
_POSTGRES_DISK_FULL = "53100"
_COLUMNS = tuple(column.name for column in INBOX_EVENTS.columns if column.name != "seq")
_Item = TypeVar("_Item")


class InboxError(Exception):
    """The inbox could not do what was asked."""


class InboxFullError(InboxError):
    """No room is left where the inbox lies."""


class InboxUnavailableError(InboxError):
    """The inbox cannot be read or written now."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many deliveries of an hour had an outcome; `reason` is set for rejected ones."""

    hour: datetime
    source: str
    topic: str
    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Deliveries that were not stored: what is counted about them. `topic` is one that is known, or `other`."""

    source: str
    topic: str
    reason: str
    received_at: datetime
    count: int = 1


@dataclass(frozen=True, slots=True)
class TopicBacklog:
    """Events of a topic beyond a cursor."""

    topic: str
    events: int
    oldest_received_at: datetime


class Inbox:
    """The inbox of one database. Safe for many threads; any number of processes may read and append."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._mark = "?" if is_sqlite(self.engine) else "%s"
        with self._named_errors("opened"):
            make_tables(self.engine, METADATA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    def append(self, deliveries: Sequence[Delivery], rejections: Sequence[Rejection] = ()) -> list[bool]:
        """Store deliveries in one transaction, durable on return; for each, whether it is new (False: it came before, and is counted).

        Rejections are counted in the same transaction. `InboxFullError` or `InboxUnavailableError`: nothing was stored or counted, as
        far as is known; appending again is safe, for what was stored after all is then a duplicate.
        """
        if not deliveries and not rejections:
            return []
        with self._named_errors("written"), self.engine.begin() as connection:
            if not is_sqlite(self.engine):
                connection.execute(_serialise())
            first: dict[str, Delivery] = {}
            for delivery in deliveries:
                first.setdefault(delivery.webhook_id, delivery)
            stored = self._insert(connection, list(first.values()))
            pending = set(stored)
            is_new, repeated = [], []
            for delivery in deliveries:
                is_new.append(delivery.webhook_id in pending)
                if is_new[-1]:
                    pending.remove(delivery.webhook_id)
                else:
                    repeated.append(delivery)
            if repeated:
                self._repeat(connection, repeated)
            self._count(connection, [first[webhook_id] for webhook_id in stored], repeated, rejections)
        return is_new

    def read(self, after_seq: int, limit: int, topics: Collection[str] | None = None, max_bytes: int = READ_BYTES) -> list[StoredEvent]:
        """Events beyond a `seq`, in order; of some topics only, if given. At most `limit`, and no more once their bodies exceed `max_bytes`."""
        with self._named_errors("read"), reading(self.engine) as connection:
            seqs: list[int] = []
            size = 0
            for row in connection.execute(_beyond(after_seq, limit, topics)):
                seqs.append(row.seq)
                size += row.body_bytes
                if size >= max_bytes:
                    break
            return _fetch(connection, seqs)

    def get(self, seqs: Collection[int]) -> list[StoredEvent]:
        """The events with these numbers that are there, by `seq`."""
        with self._named_errors("read"), reading(self.engine) as connection:
            return _fetch(connection, sorted(seqs))

    def find(self, object_type: str, object_id: int) -> list[StoredEvent]:
        """All events about an object, by `seq`; an order's include those of its parts."""
        columns = INBOX_EVENTS.c
        return self._select(columns.object_type == object_type, columns.object_id == object_id)

    def by_webhook_id(self, webhook_id: str) -> StoredEvent | None:
        """The event with this webhook id, if it is there."""
        return next(iter(self._select(INBOX_EVENTS.c.webhook_id == webhook_id)), None)

    def last_seq(self) -> int:
        """The number of the newest event; 0 when there is none. Cheap: what a waiting reader asks."""
        with self._named_errors("read"), reading(self.engine) as connection:
            return connection.scalar(sa.select(sa.func.max(INBOX_EVENTS.c.seq))) or 0

    def depth(self, after_seq: int, topics: Collection[str] | None = None) -> int:
        """How many events lie beyond a `seq`."""
        count = sa.select(sa.func.count()).select_from(INBOX_EVENTS).where(INBOX_EVENTS.c.seq > after_seq)
        if topics is not None:
            count = count.where(INBOX_EVENTS.c.topic.in_(sorted(topics)))
        with self._named_errors("read"), reading(self.engine) as connection:
            return connection.scalar(count) or 0

    def backlog(self, cursors: Mapping[str, int]) -> list[TopicBacklog]:
        """What lies beyond each topic's cursor (topic -> `seq`); topics without any are left out."""
        found = []
        with self._named_errors("read"), reading(self.engine) as connection:
            for topic, after_seq in cursors.items():
                columns = INBOX_EVENTS.c
                beyond = sa.select(sa.func.count(), sa.func.min(columns.seq)).where(columns.topic == topic, columns.seq > after_seq)
                row = connection.execute(beyond).one()
                if row[0]:
                    oldest: datetime = connection.execute(sa.select(columns.received_at).where(columns.seq == row[1])).scalar_one()
                    found.append(TopicBacklog(topic, row[0], _utc(oldest)))
        return found

    def counts(self, since: datetime | None = None) -> list[Count]:
        """What came, by hour, source, topic and outcome; from the hour of a moment on, if given."""
        query = sa.select(INBOX_COUNTS).order_by(*INBOX_COUNTS.primary_key)
        if since is not None:
            query = query.where(INBOX_COUNTS.c.hour >= _hour(since))
        with self._named_errors("read"), reading(self.engine) as connection:
            return [Count(_utc(row.hour), row.source, row.topic, row.outcome, row.reason, row[5]) for row in connection.execute(query)]

    def totals(self) -> dict[tuple[str, str, str, str], int]:
        """(source, topic, outcome, reason) -> how many deliveries ever."""
        columns = INBOX_COUNTS.c
        keys = (columns.source, columns.topic, columns.outcome, columns.reason)
        query = sa.select(*keys, sa.func.sum(columns["count"])).group_by(*keys)
        with self._named_errors("read"), reading(self.engine) as connection:
            return {(row[0], row[1], row[2], row[3]): int(row[4]) for row in connection.execute(query)}

    def prune(self, before: datetime, through_seq: int | None = None, keep: Collection[int] = frozenset()) -> int:
        """Forget events stored before a moment, no further than `through_seq` (what is worked), but not those to `keep`; how many.

        In steps of few rows, so that nobody waits. A pruned event that comes again is taken for a new one: keep more than the 4 hours
        for which a shop tries again.
        """
        columns, pruned, cursor = INBOX_EVENTS.c, 0, 0
        while True:
            oldest = sa.select(columns.seq).where(columns.seq > cursor, columns.stored_at < before.astimezone(UTC))
            if through_seq is not None:
                oldest = oldest.where(columns.seq <= through_seq)
            with self._named_errors("pruned"), self.engine.begin() as connection:
                seqs: list[int] = list(connection.scalars(oldest.order_by(columns.seq).limit(PRUNE_ROWS)))
                going = [seq for seq in seqs if seq not in keep]
                connection.execute(sa.delete(INBOX_EVENTS).where(columns.seq.in_(going)))
            pruned += len(going)
            if len(seqs) < PRUNE_ROWS:
                return pruned
            cursor = seqs[-1]

    def _select(self, *conditions: sa.ColumnElement[bool]) -> list[StoredEvent]:
        with self._named_errors("read"), reading(self.engine) as connection:
            rows = connection.execute(sa.select(INBOX_EVENTS).where(*conditions).order_by(INBOX_EVENTS.c.seq))
            return [_event(row) for row in rows]

    def _insert(self, connection: sa.Connection, deliveries: Sequence[Delivery]) -> set[str]:
        """Store what is new; its webhook ids. Many rows a statement, for each statement lets go of Python's lock and waits for it again."""
        moment: Any = _sqlite_moment if is_sqlite(self.engine) else _utc
        stored_at = moment(datetime.now(UTC))
        stored: set[str] = set()
        for some in _in_batches(deliveries, ROWS_A_STATEMENT):
            values: list[Any] = []
            for one in some:
                received_at = moment(one.received_at)
                values += (
                    *(one.webhook_id, one.source, one.topic, one.shop, one.event_id, one.api_version, one.object_type, one.object_id),
                    *(one.triggered_at and moment(one.triggered_at), received_at, received_at, stored_at, 1),
                    *(json.dumps(dict(one.headers)) if one.headers else "{}", len(one.body), one.body),
                )
            count = connection.exec_driver_sql(_insert_statement(len(some), self._mark), tuple(values)).rowcount
            if count == len(some):
                stored.update(one.webhook_id for one in some)
            else:  # nobody else appends now: the newest rows are those of this statement
                stored.update(connection.scalars(_NEWEST, {"count": count}))
        return stored

    def _repeat(self, connection: sa.Connection, repeated: Sequence[Delivery]) -> None:
        """Count what came again; as a rule one statement for all."""
        last = max(_utc(one.received_at) for one in repeated)
        by_times: dict[int, list[str]] = {}
        for webhook_id, times in Counter(one.webhook_id for one in repeated).items():
            by_times.setdefault(times, []).append(webhook_id)
        for times, webhook_ids in by_times.items():
            for some in _in_batches(webhook_ids, KEYS_A_QUERY):
                values = {"deliveries": INBOX_EVENTS.c.deliveries + times, "last_received_at": last}
                connection.execute(sa.update(INBOX_EVENTS).where(INBOX_EVENTS.c.webhook_id.in_(some)).values(values))

    def _count(
        self, connection: sa.Connection, fresh: Collection[Delivery], repeated: Sequence[Delivery], rejections: Sequence[Rejection]
    ) -> None:
        counts: Counter[tuple[datetime, str, str, str, str]] = Counter()
        for outcome, deliveries in ((STORED, fresh), (DUPLICATE, repeated)):
            counts.update((_hour(delivery.received_at), delivery.source, delivery.topic, outcome, "") for delivery in deliveries)
        for one in rejections:
            counts[_hour(one.received_at), one.source, one.topic, REJECTED, one.reason] += one.count
        moment: Any = _sqlite_moment if is_sqlite(self.engine) else _utc
        for some in _in_batches(list(counts.items()), ROWS_A_STATEMENT):
            values = [value for (hour, *names), count in some for value in (moment(hour), *names, count)]
            connection.exec_driver_sql(_count_statement(len(some), self._mark), tuple(values))

    @contextmanager
    def _named_errors(self, done: str) -> Iterator[None]:
        """The database's errors as ours, without its text (which may hold values); connections are opened anew after one."""
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            self.engine.dispose()
            code = _error_code(error)
            if code in (_SQLITE_FULL, _POSTGRES_DISK_FULL):
                raise InboxFullError(f"the inbox cannot be {done}: no room is left; free space where it lies, senders try again") from None
            raise InboxUnavailableError(
                f"the inbox cannot be {done} now (database error {code}); see that its database is up and writable, senders try again"
            ) from None


_NEWEST = sa.select(INBOX_EVENTS.c.webhook_id).order_by(INBOX_EVENTS.c.seq.desc()).limit(sa.bindparam("count"))


def _serialise() -> sa.Select[Any]:
    """On PostgreSQL: one appending transaction at a time, and durable on commit whatever the server's default is."""
    setting = sa.func.current_setting("synchronous_commit")
    durable = sa.case((setting == "off", sa.func.set_config("synchronous_commit", "on", True)), else_=setting)
    return sa.select(sa.func.pg_advisory_xact_lock(_APPEND_LOCK), durable)


def _beyond(after_seq: int, limit: int, topics: Collection[str] | None) -> sa.Select[Any]:
    """(seq, body_bytes) of the next events. A select a topic, each along its index: sorting all that lie beyond would cost the backlog's size."""
    columns = INBOX_EVENTS.c
    if topics is None:
        return sa.select(columns.seq, columns.body_bytes).where(columns.seq > after_seq).order_by(columns.seq).limit(limit)
    each = [
        sa.select(columns.seq).where(columns.topic == topic, columns.seq > after_seq).order_by(columns.seq).limit(limit).subquery()
        for topic in sorted(topics)
    ]
    if not each:
        return sa.select(columns.seq, columns.body_bytes).where(sa.false())
    first = sa.union_all(*(sa.select(one.c.seq) for one in each)).subquery()
    chosen = sa.select(first.c.seq).order_by(first.c.seq).limit(limit).subquery()
    return sa.select(columns.seq, columns.body_bytes).join(chosen, chosen.c.seq == columns.seq).order_by(columns.seq)


def _fetch(connection: sa.Connection, seqs: Sequence[int]) -> list[StoredEvent]:
    return [
        _event(row)
        for some in _in_batches(seqs, KEYS_A_QUERY)
        for row in connection.execute(sa.select(INBOX_EVENTS).where(INBOX_EVENTS.c.seq.in_(some)).order_by(INBOX_EVENTS.c.seq))
    ]


def _event(row: sa.Row[Any]) -> StoredEvent:
    delivery = Delivery(
        source=row.source,
        webhook_id=row.webhook_id,
        topic=row.topic,
        shop=row.shop,
        body=bytes(row.body),
        received_at=_utc(row.received_at),
        triggered_at=row.triggered_at and _utc(row.triggered_at),
        event_id=row.event_id,
        api_version=row.api_version,
        object_type=row.object_type,
        object_id=row.object_id,
        headers={} if row.headers == "{}" else json.loads(row.headers),
    )
    return StoredEvent(row.seq, delivery, _utc(row.stored_at), row.deliveries)


@lru_cache(maxsize=2 * ROWS_A_STATEMENT)
def _insert_statement(rows: int, mark: str) -> str:
    row = f"({', '.join([mark] * len(_COLUMNS))})"
    return f"INSERT INTO inbox_events ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * rows)} ON CONFLICT (webhook_id) DO NOTHING"


@lru_cache(maxsize=2 * ROWS_A_STATEMENT)
def _count_statement(rows: int, mark: str) -> str:
    names = [column.name for column in INBOX_COUNTS.columns]
    row = f"({', '.join([mark] * len(names))})"
    adding = f"ON CONFLICT ({', '.join(names[:-1])}) DO UPDATE SET count = inbox_counts.count + excluded.count"
    return f"INSERT INTO inbox_counts ({', '.join(names)}) VALUES {', '.join([row] * rows)} {adding}"


def _sqlite_moment(moment: datetime) -> str:
    """As SQLAlchemy writes moments to SQLite."""
    return _utc(moment).isoformat(sep=" ", timespec="microseconds")[:26]


def _utc(moment: datetime) -> datetime:
    """SQLite gives moments without their zone, which is UTC."""
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _hour(moment: datetime) -> datetime:
    return _utc(moment).replace(minute=0, second=0, microsecond=0)


def _error_code(error: sa.exc.SQLAlchemyError) -> int | str:
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorcode", None)
    return code & 0xFF if code is not None else getattr(original, "pgcode", None) or type(original or error).__name__


def _in_batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
