"""The arithmetic of a shelf, and many shelves loaded, changed and written as one piece of work.

Belongs here: sums and what follows from them (what the storefront should show, whether it must be told). Does not belong here: what makes
postings (facts.py, commitments.py), and talking to the storefront (pusher.py).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from commerce_assets.events.stock.ports import Key
from commerce_assets.events.stock.tables import (
    ANYWHERE,
    DRIFT,
    FACTS,
    ITEMS,
    POSTINGS,
    RESERVATIONS,
    SAFETY,
    SHELVES,
    TARGETS,
    chunks,
    hold_books,
    rules_of,
    upsert,
)

Cause = Literal["fact", "order", "seen", "reading", "push"]
UNALLOCATED = 0
"""The location of units of which nobody knows yet where they will come from."""
DUE, HELD, SETTLED, REFUSED = "due", "held", "settled", "refused"


@dataclass
class Target:
    """A row of the outbox. Columns as in tables.TARGETS."""

    item_id: int
    location_id: int
    quantity: int
    version: int
    state: str
    not_before: datetime | None = None
    occurred_at: datetime | None = None
    taken_at: datetime | None = None
    changed_at: datetime | None = None
    push_id: str | None = None
    acknowledged_version: int | None = None
    acknowledged_at: datetime | None = None
    conflicts: int = 0
    reason: str | None = None


@dataclass
class Shelf:
    """One item at one location. Columns as in tables.SHELVES."""

    item_id: int
    location_id: int
    is_active: bool = True
    counted_quantity: int | None = None
    counted_at: datetime | None = None
    counted_key: str | None = None
    moved_quantity: int = 0
    on_hand_quantity: int | None = None
    committed_quantity: int = 0
    unknown_committed_quantity: int = 0
    reserved_quantity: int = 0
    set_aside_quantity: int = 0
    safety_quantity: int = 0
    available_quantity: int | None = None
    confirmed_at: datetime | None = None
    seen_quantity: int | None = None
    seen_at: datetime | None = None
    seen_by: str | None = None
    expected_quantity: int | None = None
    read_committed_quantity: int | None = None
    read_at: datetime | None = None
    checked_at: datetime | None = None
    tolerated_difference: int = 0
    suspected_at: datetime | None = None
    trusted_quantity: int | None = None
    trusted_at: datetime | None = None
    posted_at: datetime | None = None
    # Not columns: what belongs to the piece of work.
    is_tracked: bool = True
    target: Target | None = None
    is_touched: bool = False
    is_held_back_stale: bool = False
    is_target_touched: bool = False
    cause: Cause = "order"
    fact_at: datetime | None = None
    refusal: str | None = None
    to_sum: set[str] = field(default_factory=set)

    @property
    def key(self) -> Key:
        return self.item_id, self.location_id

    def work_out(self) -> None:
        """On hand and available from their parts."""
        self.on_hand_quantity = None if self.counted_quantity is None else self.counted_quantity + self.moved_quantity
        committed = self.committed_quantity + max(0, self.unknown_committed_quantity)
        held_back = committed + self.reserved_quantity + self.set_aside_quantity + self.safety_quantity
        self.available_quantity = None if self.on_hand_quantity is None else self.on_hand_quantity - held_back

    @property
    def free(self) -> int:
        """Units that the storefront would allocate from, as far as is known."""
        self.work_out()
        if self.available_quantity is not None:
            return self.available_quantity
        return self.expected_quantity or 0

    def post(self, at: datetime, on_hand: int, committed: int, *, is_order: bool) -> None:
        """Add (or with turned signs take out) one posting. Sums that begin at a moment take only what came after it."""
        self.committed_quantity += committed
        if self.counted_at is not None and at > self.counted_at:
            self.moved_quantity += on_hand
        if is_order:
            if self.read_at is not None and at <= self.read_at:
                self.unknown_committed_quantity -= committed
            if self.expected_quantity is not None and self.seen_at is not None and at > self.seen_at:
                self.expected_quantity += on_hand - committed
            if self.trusted_quantity is not None and self.trusted_at is not None and at > self.trusted_at:
                self.trusted_quantity += on_hand - committed
        if self.posted_at is None or at > self.posted_at:
            self.posted_at = at
        self.is_touched = True

    def count(self, quantity: int, at: datetime, key: str) -> bool:
        """Take a count of the warehouse; False where a later one is known."""
        if self.counted_at is not None and (at, key) <= (self.counted_at, self.counted_key or ""):
            return False
        self.counted_quantity, self.counted_at, self.counted_key = quantity, at, key
        self._sum_after(at, "moved")
        return True

    def see(self, available: int, at: datetime, by: str) -> None:
        """Take what the storefront shows as available."""
        self.seen_quantity, self.seen_at, self.seen_by, self.expected_quantity = available, at, by, available
        self._sum_after(at, "expected")

    def read(self, committed: int, set_aside: int, at: datetime) -> None:
        """Take what the storefront says is committed and set aside: what no order we know accounts for is committed to orders we do not
        know."""
        self.read_committed_quantity, self.set_aside_quantity, self.read_at = committed, set_aside, at
        self._sum_after(at, "unknown")

    def suspect(self, since: datetime, trusted: int | None, trusted_at: datetime | None) -> None:
        """Something unexplained shows; `trusted` is what should. A suspicion that is open stays as it began."""
        if self.suspected_at is None:
            self.suspected_at, self.trusted_quantity, self.trusted_at = since, trusted, trusted_at

    def trust(self, quantity: int, at: datetime) -> None:
        """A push went through: what was unexplained before it is no more, it was our own write or is overwritten."""
        if self.suspected_at is not None:
            self.trusted_quantity, self.trusted_at = quantity, at
            if self.expected_quantity == quantity:
                self.forgive()

    def forgive(self) -> None:
        """End the suspicion."""
        self.suspected_at = self.trusted_quantity = self.trusted_at = None

    def _sum_after(self, at: datetime, what: str) -> None:
        self.is_touched = True
        if self.posted_at is not None and self.posted_at > at:
            self.to_sum.add(what)
            return
        self.to_sum.discard(what)
        if what == "moved":
            self.moved_quantity = 0
        elif what == "unknown":
            self.unknown_committed_quantity = (self.read_committed_quantity or 0) - self.committed_quantity

    def sum_up(self, postings: Iterable[tuple[datetime, int, int, bool]]) -> None:
        """The sums asked for, out of (moment, on hand, committed, of an order), which hold every posting after the moments in question."""
        rows = list(postings)
        if "moved" in self.to_sum:
            self.moved_quantity = sum(on_hand for at, on_hand, _, _ in rows if self.counted_at is None or at > self.counted_at)
        if "expected" in self.to_sum and self.seen_at is not None:
            later = sum(on_hand - committed for at, on_hand, committed, is_order in rows if is_order and at > self.seen_at)
            self.expected_quantity = (self.seen_quantity or 0) + later
        if "unknown" in self.to_sum and self.read_at is not None:
            later = sum(committed for at, _, committed, is_order in rows if is_order and at > self.read_at)
            self.unknown_committed_quantity = (self.read_committed_quantity or 0) - (self.committed_quantity - later)
        self.to_sum.clear()

    @property
    def sums_from(self) -> datetime:
        """The earliest moment after which postings are needed."""
        bounds = {"moved": self.counted_at, "expected": self.seen_at, "unknown": self.read_at}
        return min(bound for what in self.to_sum if (bound := bounds[what]) is not None)

    @property
    def difference(self) -> int | None:
        """Units that the storefront shows more than it should; None where one of both is not known."""
        if self.expected_quantity is None or self.available_quantity is None:
            return None
        return self.expected_quantity - self.available_quantity


SHELF_COLUMNS = tuple(column.name for column in SHELVES.columns)
TARGET_COLUMNS = tuple(column.name for column in TARGETS.columns)
_TARGET_FIELDS = tuple(item.name for item in fields(Target))
_LOAD = sa.select(
    *SHELVES.columns,
    sa.func.coalesce(ITEMS.c.is_tracked, sa.true()).label("is_tracked"),
    *(TARGETS.c[name].label(f"target_{name}") for name in _TARGET_FIELDS),
).select_from(
    SHELVES.outerjoin(ITEMS, ITEMS.c.item_id == SHELVES.c.item_id).outerjoin(
        TARGETS, sa.and_(TARGETS.c.item_id == SHELVES.c.item_id, TARGETS.c.location_id == SHELVES.c.location_id)
    )
)


class Shelves:
    """All shelves of some items as one piece of work inside the caller's transaction: load, change, save."""

    def __init__(self, connection: sa.Connection, now: datetime | None = None) -> None:
        hold_books(connection)
        self.connection, self.now = connection, now or datetime.now(UTC)
        self.rules = rules_of(connection)
        self.by_key: dict[Key, Shelf] = {}
        self.by_item: dict[int, list[Shelf]] = defaultdict(list)
        self._loaded: set[int] = set()

    def load(self, items: Iterable[int]) -> None:
        """All shelves of these items."""
        wanted = sorted(set(items) - self._loaded)
        self._loaded.update(wanted)
        for some in chunks(wanted):
            for row in self.connection.execute(_LOAD.where(SHELVES.c.item_id.in_(some))).mappings():
                shelf = Shelf(**{name: row[name] for name in SHELF_COLUMNS}, is_tracked=bool(row["is_tracked"]))
                if row["target_version"] is not None:
                    shelf.target = Target(**{name: row[f"target_{name}"] for name in _TARGET_FIELDS})
                self._add(shelf)

    def at(self, key: Key) -> Shelf:
        """The shelf; a new one where there was none. Its item must have been loaded."""
        shelf = self.by_key.get(key)
        if shelf is None:
            shelf = Shelf(*key, is_touched=True, is_held_back_stale=True)
            siblings = self.by_item[key[0]]
            shelf.is_tracked = siblings[0].is_tracked if siblings else True
            self._add(shelf)
        return shelf

    def of(self, item: int) -> list[Shelf]:
        """The shelves of an item that the storefront may allocate from, by location."""
        return [shelf for shelf in self.by_item.get(item, ()) if shelf.is_active and shelf.location_id != UNALLOCATED]

    def complete(self, shelves: list[Shelf]) -> None:
        """Everything about these shelves that takes a query. Postings must have been written before."""
        self._sum_up([shelf for shelf in shelves if shelf.to_sum])
        self._hold_back([shelf for shelf in shelves if shelf.is_held_back_stale])

    def first_of(self, item: int) -> int | None:
        """The first location that stocks an item; None where none is known."""
        return next((shelf.location_id for shelf in self.of(item)), None)

    def save(self) -> None:
        """Complete what was touched, decide what the storefront must be told, write."""
        touched = [shelf for shelf in self.by_key.values() if shelf.is_touched]
        self.complete(touched)
        for shelf in touched:
            self.decide(shelf)
        self._write(touched)

    def decide(self, shelf: Shelf) -> None:
        """Whether the storefront must be told, and when."""
        shelf.work_out()
        is_ours = shelf.available_quantity is not None and self.rules.owner == "wms" and shelf.is_tracked
        if not is_ours or shelf.difference == shelf.tolerated_difference:
            self._settle(shelf)
            return
        quantity, target = shelf.available_quantity or 0, shelf.target
        was_due = target is not None and target.state == DUE
        is_changed = target is None or target.quantity != quantity
        if target is None:
            target = shelf.target = Target(*shelf.key, quantity=quantity, version=1, state=SETTLED, changed_at=self.now)
        elif is_changed or target.state == SETTLED:
            target.quantity, target.version, target.changed_at = quantity, target.version + 1, self.now
        elif target.state == REFUSED and shelf.cause != "reading" and shelf.refusal is None:
            return
        if shelf.cause == "fact" and target.taken_at is None:
            target.occurred_at, target.taken_at = shelf.fact_at, self.now
        target.state, target.not_before = self._when(shelf, target, was_due)
        target.reason = shelf.refusal
        shelf.is_target_touched = True

    def _when(self, shelf: Shelf, target: Target, was_due: bool) -> tuple[str, datetime | None]:
        """State of a target that is needed. What is unexplained is read again before anything is written over it."""
        settled_at = (shelf.suspected_at or self.now) + timedelta(seconds=self.rules.settle_seconds)
        if shelf.refusal is not None:
            return REFUSED, None
        if shelf.suspected_at is not None:
            # A fact of ours should not wait for the suspicion to settle: read at once, to know whether it may be written.
            is_urgent = target.taken_at is not None and shelf.cause != "reading"
            return HELD, self.now if is_urgent else settled_at
        if was_due or shelf.cause in ("fact", "reading") or shelf.expected_quantity is None:
            return DUE, None
        return HELD, target.not_before if target.state == HELD else settled_at

    def _settle(self, shelf: Shelf) -> None:
        shelf.forgive()
        target = shelf.target
        if target is None or target.state == SETTLED:
            return
        target.state, target.not_before, target.conflicts, target.reason = SETTLED, None, 0, None
        target.occurred_at = target.taken_at = None
        if shelf.available_quantity is not None and target.quantity != shelf.available_quantity:
            target.quantity, target.version, target.changed_at = shelf.available_quantity, target.version + 1, self.now
        shelf.is_target_touched = True

    def _add(self, shelf: Shelf) -> None:
        self.by_key[shelf.key] = shelf
        siblings = self.by_item[shelf.item_id]
        siblings.append(shelf)
        siblings.sort(key=lambda other: other.location_id)

    def _sum_up(self, shelves: list[Shelf]) -> None:
        """The tails of postings that some shelves need, in a few queries."""
        for some in chunks(shelves):
            since = min(shelf.sums_from for shelf in some)
            query = sa.select(
                POSTINGS.c.item_id,
                POSTINGS.c.location_id,
                POSTINGS.c.occurred_at,
                POSTINGS.c.on_hand_change,
                POSTINGS.c.committed_change,
                POSTINGS.c.order_id,
            ).where(POSTINGS.c.item_id.in_({shelf.item_id for shelf in some}), POSTINGS.c.occurred_at > since)
            tails: dict[Key, list[tuple[datetime, int, int, bool]]] = defaultdict(list)
            for row in self.connection.execute(query):
                posting = (row.occurred_at, row.on_hand_change, row.committed_change, row.order_id is not None)
                tails[row.item_id, row.location_id].append(posting)
            for shelf in some:
                shelf.sum_up(tails[shelf.key])

    def _hold_back(self, shelves: list[Shelf]) -> None:
        """Reservations and safety stock of shelves that are new or whose figures changed."""
        for some in chunks(shelves):
            items = {shelf.item_id for shelf in some}
            reserved = reserved_quantities(self.connection, items)
            safety = safety_quantities(self.connection, items)
            for shelf in some:
                shelf.reserved_quantity = reserved.get(shelf.key, 0)
                own = safety.get(shelf.key, safety.get((shelf.item_id, ANYWHERE)))
                shelf.safety_quantity = self.rules.safety_stock if own is None else own
                shelf.is_held_back_stale = False

    def _write(self, shelves: list[Shelf]) -> None:
        upsert(self.connection, SHELVES, [{name: getattr(shelf, name) for name in SHELF_COLUMNS} for shelf in shelves])
        targets = [shelf.target for shelf in shelves if shelf.is_target_touched and shelf.target is not None]
        upsert(self.connection, TARGETS, [{name: getattr(target, name) for name in TARGET_COLUMNS} for target in targets])
        for shelf in shelves:
            shelf.is_touched = shelf.is_target_touched = False


def reserved_quantities(connection: sa.Connection, items: Iterable[int]) -> dict[Key, int]:
    """Units set aside, by shelf."""
    total = sa.func.sum(RESERVATIONS.c.quantity).label("total")
    query = sa.select(RESERVATIONS.c.item_id, RESERVATIONS.c.location_id, total).where(RESERVATIONS.c.item_id.in_(list(items)))
    rows = connection.execute(query.group_by(RESERVATIONS.c.item_id, RESERVATIONS.c.location_id))
    return {(row.item_id, row.location_id): int(row.total) for row in rows}


def safety_quantities(connection: sa.Connection, items: Iterable[int]) -> dict[Key, int]:
    """Units held back where they differ from the default, by shelf; location 0 is any."""
    rows = connection.execute(sa.select(SAFETY).where(SAFETY.c.item_id.in_(list(items))))
    return {(row.item_id, row.location_id): int(row.quantity) for row in rows}


def forget_old(connection: sa.Connection, before: datetime) -> None:
    """Drop facts and postings from before a moment that no sum needs any more: parts of a later count; orders that hold nothing, all of it
    before the shelf's count. Should such an order come again, what it did then changes no sum now."""
    connection.execute(sa.delete(FACTS).where(FACTS.c.taken_at < before))
    is_counted = sa.exists().where(
        SHELVES.c.item_id == POSTINGS.c.item_id,
        SHELVES.c.location_id == POSTINGS.c.location_id,
        SHELVES.c.counted_at >= POSTINGS.c.occurred_at,
    )
    connection.execute(sa.delete(POSTINGS).where(POSTINGS.c.order_id.is_(None), POSTINGS.c.occurred_at < before, is_counted))
    ended = (
        sa.select(POSTINGS.c.order_id)
        .where(POSTINGS.c.order_id.is_not(None))
        .group_by(POSTINGS.c.order_id)
        .having(sa.func.sum(POSTINGS.c.committed_change) == 0, sa.func.max(POSTINGS.c.occurred_at) < before)
        .having(sa.func.sum(sa.case((is_counted, 0), else_=1)) == 0)
    )
    connection.execute(sa.delete(POSTINGS).where(POSTINGS.c.order_id.in_(ended)))


def recompute(engine: sa.Engine) -> None:
    """Work out every shelf anew: after the rules changed."""
    with engine.begin() as connection:
        everything = [row[0] for row in connection.execute(sa.select(SHELVES.c.item_id).distinct().order_by(SHELVES.c.item_id))]
    for some in chunks(everything):
        with engine.begin() as connection:
            hold_back_anew(connection, some)


def hold_back_anew(connection: sa.Connection, items: Iterable[int]) -> None:
    """Take reservations and safety stock of these items as they are now."""
    shelves = Shelves(connection)
    shelves.load(items)
    for shelf in shelves.by_key.values():
        shelf.is_held_back_stale, shelf.is_touched, shelf.cause = True, True, "fact"
    shelves.save()


def reserve(connection: sa.Connection, key: str, shelf: Key, quantity: int, reason: str | None = None) -> None:
    """Set units aside under a key; 0 gives them back."""
    connection.execute(sa.delete(RESERVATIONS).where(RESERVATIONS.c.key == key))
    if quantity:
        row = {"key": key, "item_id": shelf[0], "location_id": shelf[1], "quantity": quantity, "reason": reason}
        connection.execute(sa.insert(RESERVATIONS).values(row | {"reserved_at": datetime.now(UTC)}))
    hold_back_anew(connection, [shelf[0]])


def hold_safety(connection: sa.Connection, item: int, location: int | None, quantity: int | None) -> None:
    """Hold back units of an item at a location (None: at each); None units: as by default again."""
    place = ANYWHERE if location is None else location
    connection.execute(sa.delete(SAFETY).where(SAFETY.c.item_id == item, SAFETY.c.location_id == place))
    if quantity is not None:
        connection.execute(sa.insert(SAFETY).values(item_id=item, location_id=place, quantity=quantity))
    hold_back_anew(connection, [item])


def close_drift(connection: sa.Connection, keys: Iterable[Key], state: str, now: datetime) -> None:
    """End the drift being corrected on these shelves."""
    rows = [{"item": item, "location": location} for item, location in keys]
    if not rows:
        return
    statement = (
        sa.update(DRIFT)
        .where(DRIFT.c.item_id == sa.bindparam("item"), DRIFT.c.location_id == sa.bindparam("location"), DRIFT.c.state == "correcting")
        .values(state=state, ended_at=now)
    )
    connection.execute(statement, rows)
