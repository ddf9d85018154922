"""The fetchers: they read the objects of notices from the storefront and land them whole.

Belongs here: coalescing, the fetch, the two transactions around it. Does not belong here: deciding which events need it (decide.py).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from commerce_assets.events.batches import (
    DOCUMENTS_KIND,
    Batch,
    Outcome,
    Rider,
    finish_batch,
    load_known,
    open_batch,
    open_batches,
    outcomes_of,
    riders_of,
    save_known,
    settle,
)
from commerce_assets.events.books import APPLIED, BATCHED, DECIDE, FETCH, PENDING, STATES, SUPERSEDED, as_utc, in_batches, now
from commerce_assets.events.database import reading
from commerce_assets.events.decide import READ_SINCE, WAS_DELETED, Held, HeldPart, Known
from commerce_assets.events.desk import company, due_events, release
from commerce_assets.events.lanes import Lane
from commerce_assets.events.ports import FetchedDocuments, Landed
from commerce_assets.events.reading import Transaction, read_transaction
from commerce_assets.events.topics import TOPICS, Carries

_FETCHED_TYPE = {"orders": "Order", "customers": "Customer", "products": "Product", "inventory": "InventoryItem"}
FETCHING_LANES = tuple(_FETCHED_TYPE)
_LARGEST_CAUTION = 5
_INVENTORY_SHARE = 4
"""After a fetch of items the fetcher rests so many times as long: the rest of the rate budget is for pushing stock."""


class Fetcher:
    """Reads the objects of a lane's notices from the storefront and lands them. `step` does one batch."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.desk = lane, lane.desk
        self.object_type, self.family = _FETCHED_TYPE[lane.name], lane.name
        self._is_recovered = False
        self._failures = 0
        self._caution = 0
        """How much smaller than usual its batches are: two powers of two a step."""
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
                        batch.riders = riders_of(connection, batch.batch_id)
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
        # After failures in smaller company: should one object be the cause, the others get past it, for it comes last then.
        objects = max(1, self.desk.options.fetch_objects >> (2 * self._caution))
        due = due_events(self.desk, self.lane.name, FETCH, objects * 20)
        chosen = set(list(dict.fromkeys(row.object_id for row in due))[: company(due, objects, self.desk.options)])
        due = [row for row in due if row.object_id in chosen]
        if not due:
            return None
        batch_id, at = self.desk.ids.next(self.lane.name)
        batch = Batch(batch_id, self.lane.name, self.family, DOCUMENTS_KIND, at)
        with self.lane.lock, self.desk.writing() as connection:
            documents = load_known(connection, {(self.object_type, row.object_id) for row in due}).documents
            answered = []
            for row in due:
                held, received_at = documents.get((self.object_type, row.object_id)), as_utc(row.received_at)
                if held is not None and held.deleted_at is not None:
                    answered.append(Outcome(row.seq, SUPERSEDED, WAS_DELETED, attempts=row.attempts))
                elif (
                    held is not None
                    and held.is_fetched
                    and held.fetched_at is not None
                    and received_at is not None
                    and received_at <= held.fetched_at
                    and not row.waits
                ):
                    answered.append(Outcome(row.seq, SUPERSEDED, READ_SINCE, attempts=row.attempts))
                else:
                    batch.riders.append(Rider(row.seq, self.object_type, row.object_id, row.topic, row.attempts, row.waits))
            settle(connection, answered, None, now())
            if batch.riders:
                taken = [{"of_seq": rider.seq, "state": BATCHED, "batch_id": batch_id, "need": None} for rider in batch.riders]
                connection.execute(STATES.update().where(STATES.c.seq == sa.bindparam("of_seq")), taken)
                open_batch(connection, batch, len(batch.riders))
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
            release(self.desk, batch, error, FETCH)
            self._failures, self._caution = self._failures + 1, min(self._caution + 1, _LARGEST_CAUTION)
            if isinstance(error, self.desk.unavailable):
                rest = self.desk.options.unavailable_rest * 2 ** min(self._failures - 1, 10)
                self.rests_until = now() + min(rest, self.desk.options.unavailable_cap)
            return
        self._failures, self._caution, self.rests_until = 0, max(self._caution - 1, 0), None
        self._finish(batch, fetched, landed, fetched_at)
        if self.lane.name == "inventory" and not self.desk.is_hurried:
            self.rests_until = now() + _INVENTORY_SHARE * (now() - fetched_at)

    def _finish(self, batch: Batch, fetched: FetchedDocuments, landed: Landed, fetched_at: datetime) -> None:
        """The second transaction: documents, parts, stock, outcomes, report."""
        # What a contract refused is not held: its event is to be replayed, and must then not look as if it were covered.
        found = {object_id: at for object_id, at in fetched.versions.items() if object_id not in landed.refused}
        with self.lane.lock, self.desk.writing() as connection:
            known = load_known(connection, {(self.object_type, object_id) for object_id in found})
            versions = _versions_of(connection, batch)
            transactions = {order_id: [read_transaction(body) for body in bodies] for order_id, bodies in fetched.transactions.items()}
            unseen = _unseen_transactions(known, transactions)
            contested = self._contested(connection, batch, known, found, fetched_at)
            outcomes = self._outcomes(batch, fetched, landed, versions, known, unseen, contested)
            parts = set()
            for object_id, version_at in found.items():
                held, is_contested = known.document(self.object_type, object_id), object_id in contested
                is_held = held.hold_fetched(version_at, fetched_at, batch.batch_id, is_contested)
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

    def _contested(
        self, connection: sa.Connection, batch: Batch, known: Known, found: Mapping[int, datetime], fetched_at: datetime
    ) -> set[int]:
        """Objects of which a payload of the same version came while they were read: nobody can tell which is newer, so they are read again."""
        held = {
            document.seq: document
            for document in known.documents.values()
            if document.seq is not None and document.deleted_at is None and document.version_at == found[document.object_id]
        }
        came = sa.select(STATES.c.seq).where(STATES.c.received_at > fetched_at)
        late: set[int] = set()
        for some in in_batches(held):
            late.update(connection.scalars(came.where(STATES.c.seq.in_(some))))
        return {one.object_id for seq, one in held.items() if seq in late or (one.batch_id or "") > batch.batch_id}

    def _outcomes(
        self,
        batch: Batch,
        fetched: FetchedDocuments,
        landed: Landed,
        versions: Mapping[int, datetime | None],
        known: Known,
        unseen: Collection[int],
        contested: Collection[int],
    ) -> list[Outcome]:
        at, outcomes = now(), []
        applied = {outcome.seq: outcome for outcome in outcomes_of(batch, landed)}
        for rider in batch.riders:
            version_at = fetched.versions.get(rider.object_id)
            if version_at is not None:
                outcome = applied[rider.seq]
                is_behind = rider.seq in unseen or rider.object_id in contested or _is_behind(rider, versions[rider.seq], version_at)
                if outcome.state == APPLIED and is_behind:
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


def _versions_of(connection: sa.Connection, batch: Batch) -> dict[int, datetime | None]:
    """seq -> the version that the event tells of."""
    rows = connection.execute(sa.select(STATES.c.seq, STATES.c.version_at).where(STATES.c.batch_id == batch.batch_id))
    return {row.seq: as_utc(row.version_at) for row in rows}


def _is_behind(rider: Rider, event_version_at: datetime | None, version_at: datetime) -> bool:
    """Whether a document is older than the event says it should be: it was read from a replica that lags."""
    topic = TOPICS[rider.topic]
    is_comparable = topic.version_key == "updated_at" and topic.carries is not Carries.PART and "levels" not in topic.name
    return is_comparable and event_version_at is not None and version_at < event_version_at


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
