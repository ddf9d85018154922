"""The lanes: each takes its topics' events from the inbox, has them decided, and writes down what becomes of them.

Belongs here: the cursor, retries, the transaction of a decision and all its effects. Does not belong here: the rules (decide.py), landing
(lander.py), fetching (fetcher.py), threads and their rhythm (worker.py).

A cycle: read the inbox beyond the cursor -> decide -> ONE transaction (states, documents, parts, stock, batch, cursor). What is to be
landed joins a batch; the lane's lander lands it and writes the outcomes in a second transaction. Dying in between leaves the batch open in
the books, from which it is landed under the same id when the lane starts anew, and the lake replaces what was there.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from commerce_assets.events.batches import (
    DELETIONS,
    DELETIONS_FAMILY,
    PAYLOADS,
    Batch,
    Outcome,
    Rider,
    load_known,
    open_batch,
    open_batches,
    save_known,
    settle,
)
from commerce_assets.events.books import (
    APPLIED,
    BATCHED,
    BATCHES,
    COMPLIANCE,
    CONTROL,
    CURSORS,
    DEAD,
    DECIDE,
    FETCH,
    FINAL_STATES,
    STATES,
    now,
    upsert,
)
from commerce_assets.events.database import reading
from commerce_assets.events.decide import Decided, Known, Verdict, decide
from commerce_assets.events.desk import Desk, StockVerdict, WorkerOptions, due_events, log_failure
from commerce_assets.events.reading import Read, UnreadableError, read_event
from commerce_assets.events.records import StoredEvent
from commerce_assets.events.topics import TOPICS, Carries

__all__ = ["Lane", "WorkerOptions"]

_LOG = logging.getLogger(__name__)
_COMPLIANCE_DAYS = timedelta(days=30)
_CURSOR_REST = timedelta(seconds=5)
_BATCHES_AHEAD = 4
"""So many times `batch_rows` events may wait for their landing; then the lane waits as well."""
GONE_FROM_INBOX = "gone: the inbox no longer has the event's bytes"
LANDING_LANES = ("orders", "customers", "products")
_LANES_WITH_OBJECTS = (*LANDING_LANES, "inventory")


@dataclass
class _Plan:
    """What a cycle found out before its transaction. `joins`: the batches that events join, by kind, and those events."""

    decided: Decided
    known: Known
    foretold: dict[int, Outcome]
    """Outcomes that no rule decides: unreadable events, and what the books of stock say."""
    joins: list[tuple[Batch, list[Read]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Tried:
    """An event to be worked, and what it has behind it."""

    event: StoredEvent
    attempts: int = 0
    waits: int = 0
    is_known: bool = False
    """Whether the books have it already."""


class Lane:
    """One lane. `step` does one cycle; not for two threads at once, but beside its lander and fetcher."""

    def __init__(self, name: str, desk: Desk, wake: Callable[[str], None]) -> None:
        self.name, self.desk = name, desk
        self.topics = frozenset(topic.name for topic in TOPICS.values() if topic.lane == name)
        self.lock = threading.Lock()
        """Held while documents of this lane are read, decided and written, and while batches are joined or taken."""
        self.cursor = 0
        self.waiting: deque[Batch] = deque()
        """Batches to be landed, oldest first."""
        self.landing: Batch | None = None
        self._saved_cursor, self._saved_at = 0, now()
        self._is_recovered = False
        self._wake = wake

    def step(self) -> bool:
        """Decide what is there, one batch of new events and one of due retries; whether there was anything."""
        if not self._is_recovered:
            self._recover()
            self._is_recovered = True
        if sum(batch.events for batch in tuple(self.waiting)) > _BATCHES_AHEAD * self.desk.options.batch_rows:
            return False
        try:
            worked = self._take_new()
            return self._take_due() or worked
        except BaseException:
            self._is_recovered = False
            raise

    def _recover(self) -> None:
        """Find the cursor, and the batches that were left open."""
        with self.lock, reading(self.desk.engine) as connection:
            self.cursor = connection.scalar(sa.select(CURSORS.c.seq).where(CURSORS.c.name == self.name)) or 0
            self._saved_cursor = self.cursor
            here = {batch.batch_id for batch in (*self.waiting, *([self.landing] if self.landing else []))}
            left = open_batches(connection, self.name, (PAYLOADS, DELETIONS))
            self.waiting.extend(batch for batch in left if batch.batch_id not in here)
        if self.waiting:
            self._wake(f"land {self.name}")

    def _take_new(self) -> bool:
        top = self.desk.inbox.last_seq()
        if top <= self.cursor:
            return False
        events = self.desk.inbox.read(self.cursor, self.desk.options.batch_rows, self.topics)
        if not events:
            # Other lanes' events: nothing of ours lay below `top` when we looked.
            self._pass(top)
            return False
        self._work([_Tried(event) for event in events], events[-1].seq)
        return True

    def _pass(self, seq: int) -> None:
        self.cursor = seq
        if now() - self._saved_at > _CURSOR_REST:
            with self.desk.writing() as connection:
                self._save_cursor(connection, seq)
            self._saved_at = now()

    def save_cursor(self) -> None:
        """Write down how far the lane has come, where it only passed over others' events."""
        if self._is_recovered and self.cursor > self._saved_cursor:
            with self.desk.writing() as connection:
                self._save_cursor(connection, self.cursor)

    def _save_cursor(self, connection: sa.Connection, seq: int) -> None:
        upsert(connection, CURSORS, [{"name": self.name, "seq": seq, "updated_at": now()}])
        self._saved_cursor = seq

    def _take_due(self) -> bool:
        tried = due_events(self.desk, self.name, DECIDE, self.desk.options.batch_rows)
        if not tried:
            return False
        events = {event.seq: event for event in self.desk.inbox.get([row.seq for row in tried])}
        gone = [row for row in tried if row.seq not in events]
        if gone:
            with self.desk.writing() as connection:
                settle(connection, [Outcome(row.seq, DEAD, GONE_FROM_INBOX, attempts=row.attempts) for row in gone], None, now())
        there = [_Tried(events[row.seq], row.attempts, row.waits, is_known=True) for row in tried if row.seq in events]
        if there:
            self._work(sorted(there, key=lambda one: one.event.seq), None)
        return True

    def _work(self, tried: Sequence[_Tried], cursor: int | None) -> None:
        """Decide and write down. An event that breaks this is found by halving and fails alone."""
        try:
            with self.lock:
                plan = self._plan(tried)
                self._begin(plan, tried, cursor)
                self._joined(plan)
        except self.desk.unavailable:
            raise
        except Exception as error:
            if len(tried) > 1:
                middle = len(tried) // 2
                self._work(tried[:middle], tried[middle - 1].event.seq if cursor is not None else None)
                self._work(tried[middle:], cursor)
            else:
                log_failure(_LOG, error, "event %s (%s) broke its lane", tried[0].event.seq, tried[0].event.delivery.topic)
                self._fail(tried[0], cursor, f"error: {type(error).__name__}")
            return
        if cursor is not None:
            self.cursor = cursor
        if self.name in ("stock", "inventory") or plan.decided.new_orders or plan.decided.deleted:
            self.desk.on_stock()
        if any(verdict.need == FETCH for verdict in plan.decided.verdicts.values()):
            self._wake(f"fetch {self.name}")
        if plan.joins:
            self._wake(f"land {self.name}")

    def _fail(self, tried: _Tried, cursor: int | None, reason: str) -> None:
        at, delivery = now(), tried.event.delivery
        rider = Rider(tried.event.seq, "", delivery.object_id or 0, delivery.topic, tried.attempts, tried.waits)
        outcome = self.desk.options.retries.after_failure(rider, DECIDE, reason, at)
        with self.desk.writing() as connection:
            _write_states(connection, self.name, [(tried, outcome, None)], {}, at)
            if cursor is not None:
                self._save_cursor(connection, cursor)
        if cursor is not None:
            self.cursor = cursor

    def _plan(self, tried: Sequence[_Tried]) -> _Plan:
        """Read the events, look up what is held, decide, and choose the batches. Nothing is written."""
        reads, unreadable = [], {}
        for one in tried:
            try:
                reads.append(read_event(one.event, one.attempts, one.waits))
            except UnreadableError as error:
                unreadable[one.event.seq] = Outcome(one.event.seq, DEAD, str(error), attempts=one.attempts + 1)
        keys = {(read.object_type, read.object_id) for read in reads if read.object_id is not None}
        with reading(self.desk.engine) as connection:
            known = load_known(connection, keys if self.name in _LANES_WITH_OBJECTS else ())
        plan = _Plan(decide(reads, known, now(), self.desk.options.rules), known, unreadable)
        riders = [verdict.read for verdict in plan.decided.verdicts.values() if verdict.state == BATCHED]
        landing = [read for read in riders if read.topic.carries is not Carries.DELETION]
        deleting = [read for read in riders if read.topic.carries is Carries.DELETION]
        is_alone = any(read.attempts for read in riders)
        if landing:
            batch = self._batch_for(self.name, PAYLOADS, is_alone)
            plan.joins.append((batch, landing))
            for order_id in plan.decided.landing:
                known.documents[("Order", order_id)].batch_id = batch.batch_id
        if deleting:
            plan.joins.append((self._batch_for(DELETIONS_FAMILY, DELETIONS, is_alone), deleting))
        return plan

    def _batch_for(self, family: str, kind: str, is_alone: bool) -> Batch:
        """The waiting batch that more events may join, or a new one."""
        for batch in self.waiting:
            is_open = batch.kind == kind and not batch.is_alone and batch.events < _BATCHES_AHEAD * self.desk.options.batch_rows
            if is_open and not is_alone:
                return batch
        batch_id, opened_at = self.desk.ids.next(self.name)
        return Batch(batch_id, self.name, family, kind, opened_at, is_alone=is_alone)

    def _joined(self, plan: _Plan) -> None:
        """What is written holds in memory too."""
        for batch, reads in plan.joins:
            batch.events += len(reads)
            batch.bodies.update({read.seq: (read.event, read.body) for read in reads})
            if batch not in self.waiting:
                self.waiting.append(batch)

    def _begin(self, plan: _Plan, tried: Sequence[_Tried], cursor: int | None) -> None:
        """The transaction of a decision and all its effects."""
        at = now()
        verdicts = plan.decided.verdicts
        batch_of = {read.seq: batch.batch_id for batch, reads in plan.joins for read in reads}
        beside = plan.joins[0][0].batch_id if plan.joins else None
        with self.desk.writing() as connection:
            facts = [verdicts[one.event.seq].read for one in tried if self.name == "stock" and one.event.seq in verdicts]
            if facts:
                said = self.desk.stock.take_facts(connection, [read.body for read in facts])
                plan.foretold.update({read.seq: self._stock_outcome(read, verdict, at) for read, verdict in zip(facts, said, strict=True)})
            rows = []
            for one in tried:
                seq = one.event.seq
                outcome = plan.foretold.get(seq) or _outcome(verdicts[seq])
                rows.append((one, outcome, verdicts[seq].read if seq in verdicts else None))
            _write_states(connection, self.name, rows, batch_of, at, beside)
            save_known(connection, plan.known, plan.decided.documents, plan.decided.parts)
            self._take_stock(connection, plan)
            _write_duties(connection, [verdict.read for verdict in verdicts.values() if verdict.state == APPLIED])
            for batch, reads in plan.joins:
                if batch in self.waiting:
                    more = {"events": batch.events + len(reads)}
                    connection.execute(BATCHES.update().where(BATCHES.c.batch_id == batch.batch_id), more)
                else:
                    open_batch(connection, batch, len(reads))
            if cursor is not None:
                self._save_cursor(connection, cursor)

    def _stock_outcome(self, read: Read, verdict: StockVerdict, at: datetime) -> Outcome:
        if verdict.outcome == "retry":
            rider = Rider(read.seq, read.object_type, 0, read.topic.name, read.attempts, read.waits)
            return self.desk.options.retries.after_failure(rider, DECIDE, f"stock: {verdict.reason}", at)
        if verdict.outcome == "refused":
            return Outcome(read.seq, DEAD, f"stock: {verdict.reason}", attempts=read.attempts + 1)
        return Outcome(read.seq, verdict.outcome, verdict.reason, attempts=read.attempts)

    def _take_stock(self, connection: sa.Connection, plan: _Plan) -> None:
        stock, decided = self.desk.stock, plan.decided
        if decided.new_orders:
            stock.take_orders(connection, [read.body for read in decided.new_orders.values()])
        deletions = {object_id: at for (object_type, object_id), at in decided.deleted.items() if object_type == "Order"}
        if deletions:
            stock.drop_orders(connection, deletions)
        levels = [verdict.read for verdict in decided.verdicts.values() if verdict.read.topic.name.startswith("inventory_levels/")]
        if levels:
            stock.observe_levels(connection, [read.body for read in levels], [read.triggered_at for read in levels])


def _outcome(verdict: Verdict) -> Outcome:
    read = verdict.read
    return Outcome(read.seq, verdict.state, verdict.reason, verdict.need, verdict.next_try_at, read.attempts, verdict.waits)


def _write_states(
    connection: sa.Connection,
    lane: str,
    rows: Sequence[tuple[_Tried, Outcome, Read | None]],
    batch_of: Mapping[int, str],
    at: datetime,
    beside: str | None = None,
) -> None:
    """States of events just decided: new rows, and new words in those that the books had."""
    new, known = [], []
    for tried, outcome, read in rows:
        delivery = tried.event.delivery
        state = {
            "state": outcome.state,
            "need": outcome.need,
            "reason": outcome.reason,
            "attempts": outcome.attempts,
            "waits": outcome.waits,
            "version_at": read.version_at if read else None,
            "decided_at": at,
            "next_try_at": outcome.next_try_at,
            "finished_at": at if outcome.state in FINAL_STATES else None,
            "batch_id": batch_of.get(outcome.seq, beside if outcome.state in FINAL_STATES else None),
        }
        if tried.is_known:
            known.append({"of_seq": outcome.seq, **state})
            continue
        topic = TOPICS.get(delivery.topic)
        new.append(
            {
                "seq": outcome.seq,
                "webhook_id": delivery.webhook_id,
                "source": delivery.source,
                "lane": lane,
                "topic": delivery.topic,
                "event_id": delivery.event_id,
                "object_type": delivery.object_type or (topic.object_type if topic else "Unknown"),
                "object_id": delivery.object_id,
                "triggered_at": delivery.triggered_at,
                "received_at": delivery.received_at,
                "stored_at": tried.event.stored_at,
                "first_tried_at": at,
                **state,
            }
        )
    if new:
        connection.execute(STATES.insert(), new)
    if known:
        connection.execute(STATES.update().where(STATES.c.seq == sa.bindparam("of_seq")), known)


def _write_duties(connection: sa.Connection, reads: Sequence[Read]) -> None:
    """Queue duties about people's data, and note what concerns the app or the shop."""
    duties, notes = [], []
    for read in reads:
        delivery = read.event.delivery
        row = {
            "seq": read.seq,
            "topic": read.topic.name,
            "shop": delivery.shop,
            "object_type": read.object_type,
            "object_id": read.object_id,
        }
        if read.topic.carries is Carries.COMPLIANCE:
            due_at = delivery.received_at + _COMPLIANCE_DAYS
            status = {
                "body": delivery.body,
                "requested_at": delivery.received_at,
                "due_at": due_at,
                "status": "queued",
                "finished_at": None,
            }
            duties.append({**row, **status})
        elif read.topic.carries is Carries.CONTROL:
            notes.append({**row, "triggered_at": delivery.triggered_at, "received_at": delivery.received_at})
    upsert(connection, COMPLIANCE, duties)
    upsert(connection, CONTROL, notes)
