"""The landers: they land a lane's batches, one after the other, beside the deciding of further events.

Belongs here: laying out a batch from the books, landing it, its second transaction. Does not belong here: what joins a batch (lanes.py).

A batch is landed from what the books hold when its turn comes, whether it was just opened or left by a process that died: an order that
changed since lands in its newest version, and events overtaken meanwhile are superseded.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from commerce_assets.events.batches import (
    DELETIONS,
    Batch,
    Outcome,
    Rider,
    finish_batch,
    load_known,
    order_lines,
    outcomes_of,
    riders_of,
    seqs_of,
)
from commerce_assets.events.books import DEAD, DECIDE, FETCH, PENDING, SUPERSEDED, in_batches, now
from commerce_assets.events.database import reading
from commerce_assets.events.decide import NEWER_HELD, READ_SINCE, WAS_DELETED, Known
from commerce_assets.events.desk import release
from commerce_assets.events.lanes import Lane
from commerce_assets.events.ports import Landed
from commerce_assets.events.reading import one_line
from commerce_assets.events.records import StoredEvent
from commerce_assets.events.topics import TOPICS, Carries

_DELETED_TYPES = {"Order": "order", "Customer": "customer", "Product": "product"}


class Lander:
    """Lands the batches of a lane. `step` lands one."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.desk = lane, lane.desk

    def step(self) -> bool:
        """Land the oldest batch; whether there was one. What is unavailable now is raised, and the batch keeps its turn."""
        with self.lane.lock:
            if not self.lane.waiting:
                return False
            batch = self.lane.landing = self.lane.waiting.popleft()
        try:
            self._land(batch)
        except BaseException:
            with self.lane.lock:
                batch.is_alone = True
                self.lane.waiting.appendleft(batch)
            raise
        finally:
            self.lane.landing = None
        self.desk.has_landed(batch.family)
        return True

    def _land(self, batch: Batch) -> None:
        """Land a batch and write down what became of it; a landing that fails sends its events back, in smaller company."""
        with reading(self.desk.engine) as connection:
            batch.riders = riders_of(connection, batch.batch_id)
            known = load_known(connection, {(rider.object_type, rider.object_id) for rider in batch.riders})
        outcomes: dict[int, Outcome] = {}
        try:
            if batch.kind == DELETIONS:
                landed = self.desk.landing.land_deletions(batch.batch_id, _deletions(known))
            else:
                order_ids = [order_id for order_id in batch.object_ids if _is_landable(known, order_id)]
                bodies, gone = self._bodies(batch, order_ids, known)
                order_ids = [order_id for order_id in order_ids if order_id not in gone]
                outcomes = _left_out(batch.riders, known, gone)
                landed = Landed("", 0, 0, ())
                if order_ids:
                    landed = self.desk.landing.land_payloads(batch.family, batch.batch_id, order_lines(order_ids, known, bodies))
        except self.desk.unavailable:
            raise
        except Exception as error:
            release(self.desk, batch, error, DECIDE)
            return
        outcomes.update(_refused_parts(batch.riders, known, landed))
        with self.desk.writing() as connection:
            ended = [outcomes.get(outcome.seq, outcome) for outcome in outcomes_of(batch, landed)]
            finish_batch(connection, batch, landed, _looked_at_again(ended, batch.riders, known), now())

    def _bodies(self, batch: Batch, order_ids: Sequence[int], known: Known) -> tuple[Mapping[int, tuple[StoredEvent, bytes]], set[int]]:
        """(seq -> what the lines of these orders are made of; the orders some bytes of which the inbox no longer has)"""
        seqs = seqs_of(order_ids, known)
        found = {seq: batch.bodies[seq] for seq in seqs if seq in batch.bodies}
        for some in in_batches(sorted(seqs - found.keys())):
            found.update({event.seq: (event, one_line(event.delivery.body)) for event in self.desk.inbox.get(some)})
        if len(found) == len(seqs):
            return found, set()
        return found, {order_id for order_id in order_ids if not seqs_of([order_id], known) <= found.keys()}


def _is_landable(known: Known, order_id: int) -> bool:
    held = known.documents.get(("Order", order_id))
    return held is not None and held.seq is not None and held.deleted_at is None


def _left_out(riders: Sequence[Rider], known: Known, gone: set[int]) -> dict[int, Outcome]:
    """Riders that do not land: their order was deleted or read meanwhile, their version overtaken, or its bytes are gone."""
    outcomes, at = {}, now()
    for rider in riders:
        held = known.documents[("Order", rider.object_id)]
        is_whole = TOPICS[rider.topic].carries is Carries.WHOLE
        if held.deleted_at is not None:
            outcomes[rider.seq] = Outcome(rider.seq, SUPERSEDED, WAS_DELETED, attempts=rider.attempts)
        elif held.seq is None:
            outcomes[rider.seq] = Outcome(rider.seq, SUPERSEDED, READ_SINCE, attempts=rider.attempts)
        elif rider.object_id in gone:
            outcomes[rider.seq] = Outcome(rider.seq, PENDING, None, FETCH, at, rider.attempts, rider.waits)
        elif is_whole and held.seq != rider.seq:
            outcomes[rider.seq] = Outcome(rider.seq, SUPERSEDED, NEWER_HELD, attempts=rider.attempts)
    return outcomes


def _refused_parts(riders: Sequence[Rider], known: Known, landed: Landed) -> dict[int, Outcome]:
    """Riders whose own part a contract refused, though its order landed without it."""
    if not landed.refused_parts:
        return {}
    attempts = {rider.seq: rider.attempts for rider in riders}
    return {
        part.seq: Outcome(part.seq, DEAD, f"contract: {landed.refused_parts[key]}", attempts=attempts[part.seq] + 1)
        for parts in known.parts.values()
        for key, part in parts.items()
        if key in landed.refused_parts and part.seq is not None and part.seq in attempts
    }


def _looked_at_again(outcomes: Sequence[Outcome], riders: Sequence[Rider], known: Known) -> list[Outcome]:
    """A contract's refusal of an order whose payments have not all come may be for their want: such an order is read from the shop, once."""
    of, at = {rider.seq: rider for rider in riders}, now()
    looked = []
    for outcome in outcomes:
        rider = of[outcome.seq]
        held = known.documents.get((rider.object_type, rider.object_id))
        is_incomplete = held is not None and held.lacks_since is not None
        if outcome.state == DEAD and is_incomplete and rider.attempts == 0:
            outcome = Outcome(outcome.seq, PENDING, outcome.reason, FETCH, at, outcome.attempts, rider.waits)
        looked.append(outcome)
    return looked


def _deletions(known: Known) -> list[tuple[str, int, datetime]]:
    return [
        (_DELETED_TYPES[object_type], object_id, held.deleted_at)
        for (object_type, object_id), held in known.documents.items()
        if held.deleted_at is not None
    ]
