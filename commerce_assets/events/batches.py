"""Landings: which events go into the lake together, what their lines look like, and how a landing begins, ends or is taken back.

Belongs here: batch ids, lines of whole orders, the rows of `event_batches`, the outcomes of riding events. Does not belong here: deciding
(decide.py), and when a landing happens (lanes.py).
"""

import random
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commerce_assets.events.books import (
    APPLIED,
    BATCHED,
    BATCHES,
    DEAD,
    DOCUMENTS,
    PARTS,
    PENDING,
    REPORTS,
    STATES,
    as_utc,
    in_batches,
    now,
    upsert,
)
from commerce_assets.events.decide import Held, HeldPart, Known
from commerce_assets.events.ports import Landed
from commerce_assets.events.records import StoredEvent

PAYLOADS, DOCUMENTS_KIND, DELETIONS = "payloads", "documents", "deletions"
OPEN, LANDED, RELEASED = "open", "landed", "released"
DELETIONS_FAMILY = "deletions"
_PART_LISTS = (("transactions", "OrderTransaction"), ("refunds", "Refund"), ("fulfillments", "Fulfillment"))


class BatchIds:
    """Makes batch ids that rise with time, each once, whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)

    def next(self, lane: str) -> tuple[str, datetime]:
        """(`YYYYMMDDTHHMMSSffffff-<lane>`, the moment in it)"""
        with self._lock:
            self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
            return f"{self._last:%Y%m%dT%H%M%S%f}-{lane}", self._last


@dataclass(frozen=True, slots=True)
class Rider:
    """An event whose object is landed by a batch."""

    seq: int
    object_type: str
    object_id: int
    topic: str
    attempts: int = 0
    waits: int = 0


@dataclass(eq=False)
class Batch:
    """A landing that is open. More events may join it until it is landed, unless it is `is_alone`."""

    batch_id: str
    lane: str
    family: str
    kind: str
    opened_at: datetime
    riders: list[Rider] = field(default_factory=list)
    events: int = 0
    is_alone: bool = False
    """For events that failed before: their company is chosen."""
    bodies: dict[int, tuple[StoredEvent, bytes]] = field(default_factory=dict)
    """seq -> event and payload on one line, of those that need not be read again."""

    @property
    def object_ids(self) -> list[int]:
        """The objects of the riders, each once, in their order."""
        return list(dict.fromkeys(rider.object_id for rider in self.riders))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a rider. `need` and `next_try_at` are of one that is pending again."""

    seq: int
    state: str
    reason: str | None = None
    need: str | None = None
    next_try_at: datetime | None = None
    attempts: int = 0
    waits: int = 0
    source_file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Retries:
    """How often a failed event is tried, and how long it rests in between: doubling from `base`, at most `cap`, half of it by chance."""

    attempts: int = 5
    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(minutes=5)

    def rest(self, attempts: int) -> timedelta:
        """How long an event rests after so many failed tries."""
        return min(self.cap, self.base * 2 ** min(attempts - 1, 20)) * (0.5 + random.random() / 2)

    def after_failure(self, rider: Rider, need: str, reason: str, at: datetime) -> Outcome:
        """Pending again, or dead when this was the last try."""
        attempts = rider.attempts + 1
        if attempts >= self.attempts:
            return Outcome(rider.seq, DEAD, reason, attempts=attempts)
        return Outcome(rider.seq, PENDING, reason, need, at + self.rest(attempts), attempts, rider.waits)


def order_lines(order_ids: Collection[int], known: Known, bodies: Mapping[int, tuple[StoredEvent, bytes]]) -> Iterator[bytes]:
    """The line of each order: its payload and its parts, spliced as they came. `bodies`: seq -> (event, payload on one line)."""
    for order_id in order_ids:
        held = known.documents[("Order", order_id)]
        assert held.seq is not None
        event, body = bodies[held.seq]
        webhook_id, topic = _text(event.delivery.webhook_id), _text(event.delivery.topic)
        parts = known.parts.get(order_id, {})
        lists = b",".join(
            b'"%s":[%s]' % (name.encode(), b",".join(_part_bodies(parts, part_type, bodies))) for name, part_type in _PART_LISTS
        )
        yield b'{"id":"gid://shopify/Order/%d","webhook":%s,"topic":%s,"order":%s,%s}' % (order_id, webhook_id, topic, body, lists)


def seqs_of(order_ids: Collection[int], known: Known) -> set[int]:
    """The events whose bytes the lines of these orders are made of."""
    seqs: set[int] = set()
    for order_id in order_ids:
        held = known.documents[("Order", order_id)]
        if held.seq is not None:
            seqs.add(held.seq)
        seqs.update(part.seq for part in known.parts.get(order_id, {}).values() if part.seq is not None)
    return seqs


def _part_bodies(
    parts: Mapping[tuple[str, int], HeldPart], part_type: str, bodies: Mapping[int, tuple[StoredEvent, bytes]]
) -> Iterator[bytes]:
    for key in sorted(key for key in parts if key[0] == part_type):
        part = parts[key]
        if part.seq is not None:
            yield bodies[part.seq][1]
        elif part.body is not None:
            yield part.body


def _text(value: str) -> bytes:
    """A header's value as JSON text: printable by the ways in, so only quotes and backslashes need care."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()


def load_known(connection: sa.Connection, keys: Collection[tuple[str, int]]) -> Known:
    """What the books hold of these objects, an order's parts with it."""
    known = Known()
    by_type: dict[str, list[int]] = {}
    for object_type, object_id in keys:
        by_type.setdefault(object_type, []).append(object_id)
    for object_type, ids in by_type.items():
        for some in in_batches(ids):
            rows = connection.execute(_DOCUMENTS_OF, {"object_type": object_type, "ids": some})
            for row in rows:
                known.documents[(row[0], row[1])] = Held(*map(_aware, row))
            if object_type == "Order":
                for row in connection.execute(_PARTS_OF, {"ids": some}):
                    known.parts.setdefault(row[0], {})[(row[1], row[2])] = HeldPart(*map(_aware, row))
    return known


def save_known(
    connection: sa.Connection, known: Known, documents: Collection[tuple[str, int]], parts: Collection[tuple[int, tuple[str, int]]]
) -> None:
    """Write what is held of these objects and parts."""
    upsert(connection, DOCUMENTS, [_row(known.documents[key]) for key in documents])
    upsert(connection, PARTS, [_row(known.parts[order_id][key]) for order_id, key in parts])


def _row(held: Held | HeldPart) -> dict[str, Any]:
    # dataclasses.asdict copies deeply, which is a tenth of the worker's time.
    return {name: getattr(held, name) for name in held.__slots__}


def _aware(value: Any) -> Any:
    return as_utc(value) if isinstance(value, datetime) else value


def open_batches(connection: sa.Connection, lane: str, kinds: Collection[str]) -> list[Batch]:
    """Landings of a lane that were begun and not ended, oldest first: a process died, or its database was away."""
    query = (
        sa.select(BATCHES).where(BATCHES.c.status == OPEN, BATCHES.c.lane == lane, BATCHES.c.kind.in_(kinds)).order_by(BATCHES.c.batch_id)
    )
    return [
        Batch(row.batch_id, row.lane, row.family, row.kind, as_utc(row.opened_at) or now(), events=row.events, is_alone=True)
        for row in connection.execute(query)
    ]


def riders_of(connection: sa.Connection, batch_id: str) -> list[Rider]:
    """The events that ride along with an open batch, by `seq`."""
    columns = (STATES.c.seq, STATES.c.object_type, STATES.c.object_id, STATES.c.topic, STATES.c.attempts, STATES.c.waits)
    riding = sa.select(*columns).where(STATES.c.batch_id == batch_id, STATES.c.state == BATCHED).order_by(STATES.c.seq)
    return [Rider(row.seq, row.object_type, row.object_id, row.topic, row.attempts, row.waits) for row in connection.execute(riding)]


def open_batch(connection: sa.Connection, batch: Batch, events: int) -> None:
    """Write down that a landing is to be, with so many events at first."""
    connection.execute(
        BATCHES.insert(),
        {
            "batch_id": batch.batch_id,
            "lane": batch.lane,
            "family": batch.family,
            "kind": batch.kind,
            "status": OPEN,
            "events": events,
            "objects": 0,
            "opened_at": batch.opened_at,
        },
    )


def outcomes_of(batch: Batch, landed: Landed) -> list[Outcome]:
    """Riders of a landing: applied, or dead where a contract refused their object (another try would be refused as well)."""
    outcomes = []
    for rider in batch.riders:
        source_file, line = landed.source_files.get(rider.object_id, (None, None))
        refused = landed.refused.get(rider.object_id)
        if refused is not None:
            outcome = Outcome(rider.seq, DEAD, f"contract: {refused}", attempts=rider.attempts + 1, source_file=source_file, line=line)
        else:
            outcome = Outcome(rider.seq, APPLIED, attempts=rider.attempts, waits=rider.waits, source_file=source_file, line=line)
        outcomes.append(outcome)
    return outcomes


def finish_batch(connection: sa.Connection, batch: Batch, landed: Landed, outcomes: Sequence[Outcome], at: datetime) -> None:
    """Write down that a landing ended: its events' outcomes, and the report for whoever shows it."""
    settle(connection, outcomes, at, at)
    connection.execute(
        BATCHES.update().where(BATCHES.c.batch_id == batch.batch_id),
        {
            "status": LANDED,
            "events": len(batch.riders),
            "objects": len(batch.object_ids),
            "finished_at": at,
            "load_id": landed.load_id,
            "rows": landed.rows,
            "quarantined": landed.quarantined,
            "partitions": list(landed.partitions),
        },
    )
    if not landed.rows and not landed.quarantined:
        return
    counted = sa.select(STATES.c.state, sa.func.count()).where(STATES.c.batch_id == batch.batch_id).group_by(STATES.c.state)
    events = {row[0]: row[1] for row in connection.execute(counted)}
    connection.execute(
        REPORTS.insert(),
        {
            "batch_id": batch.batch_id,
            "family": batch.family,
            "partitions": list(landed.partitions),
            "rows": landed.rows,
            "quarantined": landed.quarantined,
            "events": events,
            "finished_at": at,
            "attempts": 0,
        },
    )


def release_batch(connection: sa.Connection, batch: Batch, outcomes: Sequence[Outcome], error: str, at: datetime) -> None:
    """Write down that nothing landed and what becomes of the riders."""
    settle(connection, outcomes, None, at)
    connection.execute(
        BATCHES.update().where(BATCHES.c.batch_id == batch.batch_id),
        {"status": RELEASED, "events": len(batch.riders), "objects": len(batch.object_ids), "finished_at": at, "error": error[:500]},
    )


def settle(connection: sa.Connection, outcomes: Sequence[Outcome], landed_at: datetime | None, at: datetime) -> None:
    """Write what became of riders."""
    if not outcomes:
        return
    rows = [
        {
            "of_seq": one.seq,
            "state": one.state,
            "reason": one.reason,
            "need": one.need,
            "next_try_at": one.next_try_at,
            "attempts": one.attempts,
            "waits": one.waits,
            "source_file": one.source_file,
            "line": one.line,
            "landed_at": landed_at if one.state == APPLIED else None,
            "finished_at": at if one.state != PENDING else None,
        }
        for one in outcomes
    ]
    connection.execute(STATES.update().where(STATES.c.seq == sa.bindparam("of_seq")), rows)


_DOCUMENT_COLUMNS = (
    *(DOCUMENTS.c.object_type, DOCUMENTS.c.object_id, DOCUMENTS.c.version_at, DOCUMENTS.c.triggered_at, DOCUMENTS.c.digest),
    *(DOCUMENTS.c.seq, DOCUMENTS.c.is_whole, DOCUMENTS.c.is_with_carrier, DOCUMENTS.c.lacks_since, DOCUMENTS.c.awaits),
    *(DOCUMENTS.c.fetched_at, DOCUMENTS.c.deleted_at, DOCUMENTS.c.batch_id),
)
_DOCUMENTS_OF = sa.select(*_DOCUMENT_COLUMNS).where(
    DOCUMENTS.c.object_type == sa.bindparam("object_type"), DOCUMENTS.c.object_id.in_(sa.bindparam("ids", expanding=True))
)
_PART_COLUMNS = (
    *(PARTS.c.order_id, PARTS.c.part_type, PARTS.c.part_id, PARTS.c.digest),
    *(PARTS.c.version_at, PARTS.c.triggered_at, PARTS.c.seq, PARTS.c.body),
)
_PARTS_OF = sa.select(*_PART_COLUMNS).where(PARTS.c.order_id.in_(sa.bindparam("ids", expanding=True)))
