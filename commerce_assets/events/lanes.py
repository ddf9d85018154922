"""The lanes: each takes its topics' events from the inbox, has them decided, and lands what is to be landed; its fetcher reads notices' objects.

Belongs here: the two transactions around a landing, retries, coming back after a crash. Does not belong here: the rules (decide.py), the
shape of landings (batches.py), threads and their rhythm (worker.py).

A cycle: read the inbox beyond the cursor -> decide -> ONE transaction (states, documents, parts, stock, batch, cursor) -> land -> ONE
transaction (outcomes, report). Dying in between leaves the batch open: it is landed again under the same id when the lane starts anew, and
the lake replaces what was there. A fetcher works the same way, with a fetch before the landing; one that cannot be done now goes back.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from commerce_assets.events.batches import (
    DELETIONS,
    DELETIONS_FAMILY,
    DOCUMENTS_KIND,
    PAYLOADS,
    Batch,
    BatchIds,
    Outcome,
    Retries,
    Rider,
    finish_batch,
    load_known,
    open_batch,
    open_batches,
    order_lines,
    outcomes_of,
    release_batch,
    save_known,
    seqs_of,
    settle,
)
from commerce_assets.events.books import (
    APPLIED,
    BATCHED,
    COMPLIANCE,
    CONTROL,
    CURSORS,
    DEAD,
    DECIDE,
    FETCH,
    FINAL_STATES,
    PENDING,
    STATES,
    SUPERSEDED,
    as_utc,
    in_batches,
    now,
    upsert,
)
from commerce_assets.events.database import reading
from commerce_assets.events.decide import READ_SINCE, WAS_DELETED, Decided, Held, HeldPart, Known, Rules, Verdict, decide, refetch
from commerce_assets.events.inbox import Inbox, InboxError
from commerce_assets.events.ports import FetchedDocuments, Folding, Landed, Landing, Storefront, StorefrontUnavailableError
from commerce_assets.events.reading import Read, Transaction, UnreadableError, one_line, read_event, read_transaction
from commerce_assets.events.records import StoredEvent
from commerce_assets.events.stock.ports import Verdict as StockVerdict
from commerce_assets.events.topics import TOPICS, Carries

_LOG = logging.getLogger(__name__)
_COMPLIANCE_DAYS = timedelta(days=30)
_CURSOR_REST = timedelta(seconds=5)
GONE_FROM_INBOX = "gone: the inbox no longer has the event's bytes"
_DELETED_TYPES = {"Order": "order", "Customer": "customer", "Product": "product"}
_FETCHED_TYPE = {"orders": "Order", "customers": "Customer", "products": "Product", "inventory": "InventoryItem"}
FETCHING_LANES = tuple(_FETCHED_TYPE)


class StockBooks(Protocol):
    """The books of stock, written inside the worker's transactions."""

    def take_facts(self, connection: sa.Connection, bodies: Sequence[bytes]) -> Sequence[StockVerdict]:
        """Take a warehouse system's facts; one verdict a body, in order."""

    def take_orders(self, connection: sa.Connection, bodies: Sequence[bytes]) -> None:
        """Take orders in the shape of orders/* payloads."""

    def drop_orders(self, connection: sa.Connection, deletions: Mapping[int, datetime]) -> None:
        """Forget what orders had committed that were deleted at these moments."""

    def observe_levels(self, connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None]) -> None:
        """Take bodies of inventory_levels/* topics as observations of what the storefront shows, with when each was triggered."""


class NoStock:
    """No books of stock: facts are applied to nothing."""

    def take_facts(self, connection: sa.Connection, bodies: Sequence[bytes]) -> Sequence[StockVerdict]:  # noqa: ARG002
        """All applied."""
        return [StockVerdict("applied") for _ in bodies]

    def take_orders(self, connection: sa.Connection, bodies: Sequence[bytes]) -> None:
        """Nothing."""

    def drop_orders(self, connection: sa.Connection, deletions: Mapping[int, datetime]) -> None:
        """Nothing."""

    def observe_levels(self, connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class WorkerOptions:
    """How the worker works. `fold_batches`: landings of a family between two folds; `unavailable`: further errors that use up no attempt."""

    shop: str = ""
    batch_rows: int = 2_000
    retries: Retries = field(default_factory=Retries)
    rules: Rules = field(default_factory=Rules)
    fetch_objects: int = 250
    fold_batches: int = 64
    poll_seconds: float = 0.05
    reconcile_minutes: float = 15
    reconcile_overlap: timedelta = timedelta(minutes=2)
    reconcile_grace: timedelta = timedelta(seconds=60)
    """What changed later than this is given time to come as an event."""
    reconcile_limit: int = 5_000
    unavailable_rest: timedelta = timedelta(seconds=1)
    unavailable_cap: timedelta = timedelta(minutes=1)
    unavailable: tuple[type[Exception], ...] = ()


class Desk:
    """What all lanes work with: inbox, books, ports, options; and one writer of the books at a time."""

    def __init__(
        self,
        inbox: Inbox,
        engine: sa.Engine,
        landing: Landing,
        storefront: Storefront,
        options: WorkerOptions,
        stock: StockBooks | None = None,
        folding: Folding | None = None,
        on_stock: Callable[[], None] = lambda: None,
    ) -> None:
        self.inbox, self.engine, self.landing, self.storefront, self.options = inbox, engine, landing, storefront, options
        self.stock: StockBooks = stock or NoStock()
        self.folding, self.on_stock = folding, on_stock
        self.ids = BatchIds()
        self.unavailable: tuple[type[Exception], ...] = (
            *(OSError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, InboxError, StorefrontUnavailableError),
            *options.unavailable,
        )
        self._writing = threading.Lock()
        self._landed: dict[str, int] = {}

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction of the books. Threads queue here rather than at SQLite's lock, which lets the luckiest through."""
        with self._writing, self.engine.begin() as connection:
            yield connection

    def has_landed(self, family: str) -> None:
        """Count a landing, and have the family folded when enough came together. A fold that fails is one for the next time."""
        self._landed[family] = self._landed.get(family, 0) + 1
        if self.folding is None or self._landed[family] < self.options.fold_batches:
            return
        self._landed[family] = 0
        try:
            self.folding.fold(family)
        except Exception:
            _LOG.exception("folding %s failed; it is tried again after the next landings", family)


@dataclass
class _Plan:
    """What a cycle found out before its first transaction."""

    events: Mapping[int, StoredEvent]
    decided: Decided
    known: Known
    foretold: dict[int, Outcome]
    """Outcomes that no rule decides: unreadable events, and what the books of stock say."""
    batches: list[Batch] = field(default_factory=list)
    bodies: dict[int, tuple[StoredEvent, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Tried:
    """An event to be worked, and what it has behind it."""

    event: StoredEvent
    attempts: int = 0
    waits: int = 0
    is_known: bool = False
    """Whether the books have it already."""


class Lane:
    """One lane. `step` does one cycle; not for two threads at once, but beside its fetcher."""

    def __init__(self, name: str, desk: Desk, wake_fetcher: Callable[[], None] = lambda: None) -> None:
        self.name, self.desk = name, desk
        self.topics = frozenset(topic.name for topic in TOPICS.values() if topic.lane == name)
        self.lock = threading.Lock()
        """Held while documents of this lane are read, decided and written, by the lane or its fetcher."""
        self.cursor = 0
        self._saved_cursor, self._saved_at = 0, now()
        self._is_recovered = False
        self._wake_fetcher = wake_fetcher

    def step(self) -> bool:
        """Work what is there, one batch of new events and one of due retries; whether there was anything."""
        if not self._is_recovered:
            self._recover()
            self._is_recovered = True
        try:
            worked = self._take_new()
            return self._take_due() or worked
        except BaseException:
            self._is_recovered = False
            raise

    def _recover(self) -> None:
        """Land again what was open, and find the cursor."""
        with reading(self.desk.engine) as connection:
            self.cursor = connection.scalar(sa.select(CURSORS.c.seq).where(CURSORS.c.name == self.name)) or 0
            self._saved_cursor = self.cursor
            left = open_batches(connection, self.name, (PAYLOADS, DELETIONS))
            known = load_known(
                connection, {("Order", rider.object_id) for batch in left if batch.kind == PAYLOADS for rider in batch.riders}
            )
            for batch in left:
                if batch.kind == DELETIONS:
                    batch.deletions = self._deletions_of(connection, batch)
        for batch in left:
            if batch.kind == DELETIONS:
                self._land(batch, known, {})
                continue
            # An order that a fetch holds meanwhile is in the lake in that version or a newer one.
            landing = [order_id for order_id in batch.object_ids if _is_landable(known, order_id)]
            bodies, missing = self._bodies(landing, known, {})
            if missing:
                at = now()
                gone = [Outcome(rider.seq, PENDING, None, FETCH, at, rider.attempts, rider.waits) for rider in batch.riders]
                with self.desk.writing() as connection:
                    release_batch(connection, batch, gone, "the inbox no longer has the events' bytes", at)
                continue
            self._land(batch, known, bodies, landing)

    @staticmethod
    def _deletions_of(connection: sa.Connection, batch: Batch) -> list[tuple[str, int, datetime]]:
        rows = connection.execute(sa.select(STATES.c.seq, STATES.c.object_type).where(STATES.c.batch_id == batch.batch_id))
        types = {row.seq: row.object_type for row in rows}
        keys = {(types[rider.seq], rider.object_id) for rider in batch.riders}
        held = load_known(connection, keys).documents
        return [
            (_DELETED_TYPES[object_type], object_id, one.deleted_at)
            for (object_type, object_id), one in held.items()
            if one.deleted_at is not None
        ]

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
        tried = _due(self.desk, self.name, DECIDE, self.desk.options.batch_rows)
        if not tried:
            return False
        events = {event.seq: event for event in self.desk.inbox.get([row.seq for row in tried])}
        gone = [row for row in tried if row.seq not in events]
        if gone:
            with self.desk.writing() as connection:
                settle(connection, [Outcome(row.seq, DEAD, GONE_FROM_INBOX, attempts=row.attempts) for row in gone], None, now())
        there = [_Tried(events[row.seq], row.attempts, row.waits, is_known=True) for row in tried if row.seq in events]
        if there:
            self._work(there, None)
        return True

    def _work(self, tried: Sequence[_Tried], cursor: int | None) -> None:
        """Decide, write down, land. An event that breaks this is found by halving and fails alone."""
        try:
            with self.lock:
                plan = self._plan(tried)
                self._begin(plan, tried, cursor)
        except self.desk.unavailable:
            raise
        except Exception as error:
            if len(tried) > 1:
                middle = len(tried) // 2
                self._work(tried[:middle], tried[middle - 1].event.seq if cursor is not None else None)
                self._work(tried[middle:], cursor)
            else:
                _LOG.exception("event %s (%s) broke its lane", tried[0].event.seq, tried[0].event.delivery.topic)
                self._fail(tried[0], cursor, f"error: {type(error).__name__}")
            return
        if cursor is not None:
            self.cursor = cursor
        if self.name in ("stock", "inventory") or plan.decided.new_orders or plan.decided.deleted:
            self.desk.on_stock()
        if any(verdict.need == FETCH for verdict in plan.decided.verdicts.values()):
            self._wake_fetcher()
        for batch in plan.batches:
            self._land(batch, plan.known, plan.bodies, list(plan.decided.landing))

    def _fail(self, tried: _Tried, cursor: int | None, reason: str) -> None:
        at = now()
        rider = Rider(tried.event.seq, tried.event.delivery.object_id or 0, tried.attempts, tried.waits)
        outcome = self.desk.options.retries.after_failure(rider, DECIDE, reason, at)
        with self.desk.writing() as connection:
            _write_states(connection, self.name, [(tried, outcome, None)], None, at)
            if cursor is not None:
                self._save_cursor(connection, cursor)
        if cursor is not None:
            self.cursor = cursor

    def _plan(self, tried: Sequence[_Tried]) -> _Plan:
        """Read the events, look up what is held, decide, and lay out the landings. Nothing is written."""
        at, reads, unreadable = now(), [], {}
        for one in tried:
            try:
                reads.append(read_event(one.event, one.attempts, one.waits))
            except UnreadableError as error:
                unreadable[one.event.seq] = Outcome(one.event.seq, DEAD, str(error), attempts=one.attempts + 1)
        keys = {(read.object_type, read.object_id) for read in reads if read.object_id is not None}
        with reading(self.desk.engine) as connection:
            known = load_known(connection, keys if self.name in FETCHING_LANES else ())
        decided = decide(reads, known, at, self.desk.options.rules)
        here = {read.seq: (read.event, read.body) for read in reads}
        bodies, missing = self._bodies(list(decided.landing), known, here)
        if missing:
            refetch(decided, known, missing, at)
        plan = _Plan({one.event.seq: one.event for one in tried}, decided, known, unreadable, bodies=bodies)
        self._lay_out(plan)
        return plan

    def _bodies(
        self, order_ids: Sequence[int], known: Known, here: Mapping[int, tuple[StoredEvent, bytes]]
    ) -> tuple[dict[int, tuple[StoredEvent, bytes]], set[int]]:
        """(seq -> bytes for the lines of these orders; the orders some bytes of which are gone)"""
        seqs = seqs_of(order_ids, known)
        found = {seq: here[seq] for seq in seqs if seq in here}
        for some in in_batches(sorted(seqs - found.keys())):
            found.update({event.seq: (event, one_line(event.delivery.body)) for event in self.desk.inbox.get(some)})
        if len(found) == len(seqs):
            return found, set()
        return found, {order_id for order_id in order_ids if not seqs_of([order_id], known) <= found.keys()}

    def _lay_out(self, plan: _Plan) -> None:
        """One batch for the orders, one for what was deleted."""
        landing: list[Rider] = []
        deleting: list[Rider] = []
        for seq, verdict in plan.decided.verdicts.items():
            if verdict.state == BATCHED:
                riders = deleting if verdict.read.topic.carries is Carries.DELETION else landing
                riders.append(Rider(seq, verdict.read.object_id or 0, verdict.read.attempts, verdict.waits))
        if landing:
            batch_id, opened_at = self.desk.ids.next(self.name)
            plan.batches.append(Batch(batch_id, self.name, self.name, PAYLOADS, opened_at, landing))
            for order_id in plan.decided.landing:
                plan.known.documents[("Order", order_id)].batch_id = batch_id
        if deleting:
            batch_id, opened_at = self.desk.ids.next(self.name)
            deletions = [(_DELETED_TYPES[key[0]], key[1], at) for key, at in plan.decided.deleted.items()]
            plan.batches.append(Batch(batch_id, self.name, DELETIONS_FAMILY, DELETIONS, opened_at, deleting, deletions))

    def _begin(self, plan: _Plan, tried: Sequence[_Tried], cursor: int | None) -> None:
        """The first transaction."""
        at, stock = now(), self.desk.stock
        verdicts = plan.decided.verdicts
        batch_of = {rider.seq: batch.batch_id for batch in plan.batches for rider in batch.riders}
        beside = plan.batches[0].batch_id if plan.batches else None
        with self.desk.writing() as connection:
            facts = [verdicts[one.event.seq].read for one in tried if self.name == "stock" and one.event.seq in verdicts]
            if facts:
                for read, verdict in zip(facts, stock.take_facts(connection, [read.body for read in facts]), strict=True):
                    plan.foretold[read.seq] = self._stock_outcome(read, verdict, at)
            rows = []
            for one in tried:
                seq = one.event.seq
                outcome = plan.foretold.get(seq) or _outcome(verdicts[seq])
                rows.append((one, outcome, verdicts[seq].read if seq in verdicts else None))
            _write_states(connection, self.name, rows, batch_of, at, beside)
            save_known(connection, plan.known, plan.decided.documents, plan.decided.parts)
            self._take_stock(connection, plan)
            _write_duties(connection, [verdict.read for verdict in verdicts.values() if verdict.state == APPLIED])
            for batch in plan.batches:
                open_batch(connection, batch)
            if cursor is not None:
                self._save_cursor(connection, cursor)

    def _stock_outcome(self, read: Read, verdict: StockVerdict, at: datetime) -> Outcome:
        if verdict.outcome == "retry":
            rider = Rider(read.seq, 0, read.attempts, read.waits)
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

    def _land(
        self, batch: Batch, known: Known, bodies: Mapping[int, tuple[StoredEvent, bytes]], order_ids: Sequence[int] | None = None
    ) -> None:
        """Land a batch and write down what became of it; a landing that fails sends its events back, in smaller company."""
        landing = self.desk.landing
        try:
            landed = Landed("", 0, 0, ())
            if batch.kind == DELETIONS:
                landed = landing.land_deletions(batch.batch_id, batch.deletions)
            elif order_ids:
                landed = landing.land_payloads(batch.family, batch.batch_id, order_lines(order_ids, known, bodies))
        except Exception as error:
            _release(self.desk, batch, error, DECIDE)
            return
        with self.desk.writing() as connection:
            finish_batch(connection, batch, landed, outcomes_of(batch, landed), now())
        self.desk.has_landed(batch.family)


class Fetcher:
    """Reads the objects of a lane's notices from the storefront and lands them. `step` does one batch."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.desk = lane, lane.desk
        self.object_type, self.family = _FETCHED_TYPE[lane.name], lane.name
        self._is_recovered = False
        self._failures = 0
        self.rests_until: datetime | None = None
        """Not before: the storefront could not be asked."""

    def step(self) -> bool:
        """Fetch and land what is due; whether there was anything. While the storefront rests there is nothing."""
        if self.rests_until is not None and now() < self.rests_until:
            return False
        try:
            if not self._is_recovered:
                with reading(self.desk.engine) as connection:
                    left = open_batches(connection, self.lane.name, (DOCUMENTS_KIND,))
                for batch in left:
                    self._fetch(batch)
                self._is_recovered = True
            opened = self._open()
            if opened is None:
                return False
            if opened.riders:
                self._fetch(opened)
        except BaseException:
            self._is_recovered = False
            raise
        return True

    def _open(self) -> Batch | None:
        """Take due events of at most so many objects; those the books can answer by now need no fetch. A batch may have no riders left."""
        due = _due(self.desk, self.lane.name, FETCH, self.desk.options.fetch_objects * 20)
        chosen = set(list(dict.fromkeys(row.object_id for row in due))[: _company(due, self.desk.options.fetch_objects, self.desk.options)])
        due = [row for row in due if row.object_id in chosen]
        if not due:
            return None
        batch_id, at = self.desk.ids.next(self.lane.name)
        batch = Batch(batch_id, self.lane.name, self.family, DOCUMENTS_KIND, at)
        with self.lane.lock, self.desk.writing() as connection:
            documents = load_known(connection, {(self.object_type, row.object_id) for row in due}).documents
            answered = []
            for row in due:
                held = documents.get((self.object_type, row.object_id))
                if held is not None and held.deleted_at is not None:
                    answered.append(Outcome(row.seq, SUPERSEDED, WAS_DELETED, attempts=row.attempts))
                elif (
                    held is not None
                    and held.is_fetched
                    and held.fetched_at is not None
                    and row.received_at <= held.fetched_at
                    and not row.waits
                ):
                    answered.append(Outcome(row.seq, SUPERSEDED, READ_SINCE, attempts=row.attempts))
                else:
                    batch.riders.append(Rider(row.seq, row.object_id, row.attempts, row.waits))
            settle(connection, answered, None, now())
            if batch.riders:
                taken = [{"of_seq": rider.seq, "state": BATCHED, "batch_id": batch_id, "need": None} for rider in batch.riders]
                connection.execute(STATES.update().where(STATES.c.seq == sa.bindparam("of_seq")), taken)
                open_batch(connection, batch)
        return batch

    def _fetch(self, batch: Batch) -> None:
        """Fetch, land, and write down; what cannot be had now goes back."""
        fetched_at = now()
        try:
            folder = self.desk.landing.folder(self.family, batch.batch_id)
            fetched = self.desk.storefront.fetch(self.object_type, batch.object_ids, folder)
            landed = Landed("", 0, 0, ())
            if fetched.versions:
                landed = self.desk.landing.land_documents(self.family, batch.batch_id, fetched.files)
        except Exception as error:
            _release(self.desk, batch, error, FETCH)
            self._failures += 1
            if isinstance(error, self.desk.unavailable):
                rest = self.desk.options.unavailable_rest * 2 ** min(self._failures - 1, 10)
                self.rests_until = now() + min(rest, self.desk.options.unavailable_cap)
            return
        self._failures, self.rests_until = 0, None
        self._finish(batch, fetched, landed, fetched_at)

    def _finish(self, batch: Batch, fetched: FetchedDocuments, landed: Landed, fetched_at: datetime) -> None:
        """The second transaction: documents, parts, stock, outcomes, report."""
        # What a contract refused is not held: its event is to be replayed, and must then not look as if it were covered.
        found = {object_id: at for object_id, at in fetched.versions.items() if object_id not in landed.refused}
        with self.lane.lock, self.desk.writing() as connection:
            known = load_known(connection, {(self.object_type, object_id) for object_id in found})
            events = self._events_of(connection, batch)
            transactions = {order_id: [read_transaction(body) for body in bodies] for order_id, bodies in fetched.transactions.items()}
            unseen = _unseen_transactions(known, transactions)
            outcomes = self._outcomes(batch, fetched, landed, events, known, unseen)
            parts = set()
            for object_id, version_at in found.items():
                is_held = known.document(self.object_type, object_id).hold_fetched(version_at, fetched_at, batch.batch_id)
                parts |= _keep_transactions(known, object_id, transactions.get(object_id, ()), is_held)
            save_known(connection, known, {(self.object_type, object_id) for object_id in found}, parts)
            if fetched.bodies:
                self.desk.stock.take_orders(connection, list(fetched.bodies.values()))
            finish_batch(connection, batch, landed, outcomes, now())
            self._call_waiting(connection, list(found))
        if fetched.bodies:
            self.desk.on_stock()
        if landed.partitions:
            self.desk.has_landed(self.family)

    @staticmethod
    def _events_of(connection: sa.Connection, batch: Batch) -> dict[int, sa.Row[Any]]:
        columns = (STATES.c.seq, STATES.c.topic, STATES.c.version_at)
        return {row.seq: row for row in connection.execute(sa.select(*columns).where(STATES.c.batch_id == batch.batch_id))}

    def _outcomes(
        self,
        batch: Batch,
        fetched: FetchedDocuments,
        landed: Landed,
        events: Mapping[int, sa.Row[Any]],
        known: Known,
        unseen: Collection[int],
    ) -> list[Outcome]:
        at, outcomes = now(), []
        applied = {outcome.seq: outcome for outcome in outcomes_of(batch, landed)}
        for rider in batch.riders:
            version_at = fetched.versions.get(rider.object_id)
            if version_at is not None:
                outcome = applied[rider.seq]
                if outcome.state == APPLIED and (rider.seq in unseen or _is_behind(events[rider.seq], version_at)):
                    held = known.document(self.object_type, rider.object_id)
                    outcome = self._behind(rider, held, outcome, at)
            elif rider.object_id in fetched.missing:
                reason = f"missing: the storefront has no such {self.object_type}"
                outcome = self.desk.options.retries.after_failure(rider, FETCH, reason, at)
            else:
                outcome = Outcome(rider.seq, PENDING, None, FETCH, at + self.desk.options.unavailable_rest, rider.attempts, rider.waits)
            outcomes.append(outcome)
        return outcomes

    def _behind(self, rider: Rider, held: Held, applied: Outcome, at: datetime) -> Outcome:
        """The storefront gave less than the event told of: asked a few times more; then what holds lands, or what it gave is enough."""
        waits = self.desk.options.rules.waits
        is_holder = held.seq == rider.seq
        if rider.waits < len(waits) and (held.is_with_carrier or not is_holder):
            reason = "the storefront gave an older version"
            return Outcome(rider.seq, PENDING, reason, FETCH, at + waits[rider.waits], rider.attempts, rider.waits + 1)
        if is_holder:
            held.is_with_carrier = False
            return Outcome(rider.seq, PENDING, None, DECIDE, at, rider.attempts, rider.waits + 1)
        return applied

    def _call_waiting(self, connection: sa.Connection, object_ids: Sequence[int]) -> None:
        """Events that wait for one of these objects are decided anew: covered now, or free to land."""
        for some in in_batches(object_ids):
            waiting = (STATES.c.state == PENDING, STATES.c.lane == self.lane.name, STATES.c.attempts == 0, STATES.c.waits == 0)
            connection.execute(
                STATES.update()
                .where(*waiting, STATES.c.object_type == self.object_type, STATES.c.object_id.in_(some))
                .values(need=DECIDE, next_try_at=now())
            )


def _due(desk: Desk, lane: str, need: str, limit: int) -> list[sa.Row[Any]]:
    """Due events of a lane, in company no larger than those that failed before should keep: the last try is alone."""
    columns = (STATES.c.seq, STATES.c.object_id, STATES.c.attempts, STATES.c.waits, STATES.c.received_at)
    due = (STATES.c.state == PENDING, STATES.c.lane == lane, STATES.c.need == need, STATES.c.next_try_at <= now())
    with reading(desk.engine) as connection:
        rows = list(connection.execute(sa.select(*columns).where(*due).order_by(STATES.c.next_try_at, STATES.c.seq).limit(limit)))
    rows = [row for row in rows if row.attempts == rows[0].attempts]
    return sorted(rows[: _company(rows, limit, desk.options)], key=lambda row: row.seq)


def _company(rows: Sequence[sa.Row[Any]], limit: int, options: WorkerOptions) -> int:
    """How many events go together that have failed as often as the first of these: a sixteenth each time, at last one."""
    attempts = rows[0].attempts if rows else 0
    return 1 if attempts and attempts >= options.retries.attempts - 1 else max(1, limit >> (4 * attempts))


def _release(desk: Desk, batch: Batch, error: Exception, need: str) -> None:
    """Send the riders of a batch that could not be landed back; what is unavailable now costs them no attempt."""
    at, name = now(), type(error).__name__
    if isinstance(error, desk.unavailable):
        _LOG.warning("batch %s waits: %s", batch.batch_id, name)
        rest = at + desk.options.unavailable_rest
        outcomes = [Outcome(rider.seq, PENDING, f"unavailable: {name}", need, rest, rider.attempts, rider.waits) for rider in batch.riders]
    else:
        _LOG.error("batch %s of %d events failed", batch.batch_id, len(batch.riders), exc_info=error)
        outcomes = [desk.options.retries.after_failure(rider, need, f"error: {name}", at) for rider in batch.riders]
    with desk.writing() as connection:
        release_batch(connection, batch, outcomes, name, at)


def _outcome(verdict: Verdict) -> Outcome:
    read = verdict.read
    return Outcome(read.seq, verdict.state, verdict.reason, verdict.need, verdict.next_try_at, read.attempts, verdict.waits)


def _write_states(
    connection: sa.Connection,
    lane: str,
    rows: Sequence[tuple[_Tried, Outcome, Read | None]],
    batch_of: Mapping[int, str] | None,
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
            "batch_id": (batch_of or {}).get(outcome.seq, beside if outcome.state in FINAL_STATES else None),
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


def _is_behind(event: sa.Row[Any], version_at: datetime) -> bool:
    """Whether a document is older than the event says it should be: it was read from a replica that lags."""
    topic, event_version = TOPICS[event.topic], as_utc(event.version_at)
    is_comparable = topic.version_key == "updated_at" and topic.carries is not Carries.PART and "levels" not in topic.name
    return is_comparable and event_version is not None and version_at < event_version


def _unseen_transactions(known: Known, transactions: Mapping[int, Sequence[Transaction]]) -> set[int]:
    """Events that brought transactions which a fetch of their orders does not have."""
    unseen = set()
    for order_id, fetched in transactions.items():
        there = {transaction.part_id for transaction in fetched}
        for (part_type, part_id), part in known.parts.get(order_id, {}).items():
            if part_type == "OrderTransaction" and part.seq is not None and part_id not in there:
                unseen.add(part.seq)
    return unseen


def _keep_transactions(known: Known, order_id: int, transactions: Sequence[Transaction], is_held: bool) -> set[tuple[int, tuple[str, int]]]:
    """Keep the transactions of a fetched order as parts; what an event brought stays unless the fetch holds."""
    parts = known.parts.setdefault(order_id, {})
    changed = set()
    for one in transactions:
        key = ("OrderTransaction", one.part_id)
        if is_held or key not in parts:
            parts[key] = HeldPart(order_id, *key, one.digest, one.version_at, body=one.body)
            changed.add((order_id, key))
    return changed


def _is_landable(known: Known, order_id: int) -> bool:
    held = known.documents.get(("Order", order_id))
    return held is not None and held.seq is not None and held.deleted_at is None
