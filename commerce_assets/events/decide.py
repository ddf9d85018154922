"""What becomes of each event, given what is held of its object: pure, nothing is read or written here.

Belongs here: the rules of versions, parts, notices and deletions. Does not belong here: payloads (reading.py), tables (books.py), landing.

Newer wins. A whole order's version is (`updated_at`, `triggered_at`); a part's the same by its own clock. An older event is superseded;
the same version with the same body is a duplicate; an event that holds already (it comes again after a failed landing) goes on. A document
fetched from the storefront covers whatever was received before the fetch began, and what its version says is older; what came within
the same second and cannot be ordered is fetched again rather than guessed. A whole order lands from its payload only if its life is known
(`orders/create` came, or it was fetched once): before, it waits shortly, for events overtake each other, and is then fetched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from commerce_assets.events.books import APPLIED, BATCHED, DECIDE, DUPLICATE, FETCH, PENDING, SUPERSEDED
from commerce_assets.events.reading import ANY, Read
from commerce_assets.events.topics import Carries

ObjectKey = tuple[str, int]
"""(object type, id)"""
PartKey = tuple[str, int]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

READ_SINCE = "the storefront was read after it"
NEWER_HELD = "a newer version is held"
SAME_HELD = "the same version with the same body is held"
WAS_DELETED = "the object was deleted"


@dataclass(frozen=True)
class Rules:
    """`waits`: how long an event waits for its order to be known, try by try. `clock_margin`: how far the shop's clock may be off ours."""

    waits: tuple[timedelta, ...] = (timedelta(seconds=0.5), timedelta(seconds=1.5))
    clock_margin: timedelta = timedelta(seconds=2)
    level_rest: timedelta = timedelta(seconds=10)
    """How long levels of stock gather before their item is fetched for the lake: every sale and every push of ours changes some, the books
    of stock see them at once, and the rate budget is for pushing."""


@dataclass(slots=True)
class Held:
    """What is held of an object; `seq` is the event whose payload holds, None where a fetched document does or none."""

    object_type: str
    object_id: int
    version_at: datetime | None = None
    triggered_at: datetime | None = None
    digest: str | None = None
    seq: int | None = None
    is_whole: bool = False
    is_with_carrier: bool = False
    lacks_since: datetime | None = None
    awaits: str | None = None
    fetched_at: datetime | None = None
    deleted_at: datetime | None = None
    batch_id: str | None = None

    @property
    def is_fetched(self) -> bool:
        """Whether a fetched document holds."""
        return self.seq is None and self.fetched_at is not None

    def hold_fetched(self, version_at: datetime, fetched_at: datetime, batch_id: str, is_contested: bool = False) -> bool:
        """Take a fetched document in, unless a newer payload holds, or one of the same version that may be newer; whether it holds now."""
        self.is_whole = True
        if self.deleted_at is not None or is_contested or (self.version_at is not None and version_at < self.version_at):
            return False
        self.version_at, self.fetched_at, self.batch_id = version_at, fetched_at, batch_id
        self.triggered_at = self.digest = self.seq = self.lacks_since = self.awaits = None
        self.is_with_carrier = False
        return True


@dataclass(slots=True)
class HeldPart:
    """The version held of a part; `body` only where it was fetched."""

    order_id: int
    part_type: str
    part_id: int
    digest: str
    version_at: datetime | None = None
    triggered_at: datetime | None = None
    seq: int | None = None
    body: bytes | None = None


@dataclass
class Known:
    """What is held of the objects a decision is about; deciding changes it in place."""

    documents: dict[ObjectKey, Held] = field(default_factory=dict)
    parts: dict[int, dict[PartKey, HeldPart]] = field(default_factory=dict)

    def document(self, object_type: str, object_id: int) -> Held:
        """What is held; nothing yet is held of an object not met before."""
        key = (object_type, object_id)
        if key not in self.documents:
            self.documents[key] = Held(object_type, object_id)
        return self.documents[key]


@dataclass(slots=True)
class Verdict:
    """What becomes of an event now."""

    read: Read
    state: str
    reason: str | None = None
    need: str | None = None
    next_try_at: datetime | None = None
    waits: int = 0


@dataclass
class Decided:
    """Verdicts by `seq`, and what changed: documents, parts, the orders to land (with the event that holds if it is among these), deletions."""

    verdicts: dict[int, Verdict] = field(default_factory=dict)
    documents: set[ObjectKey] = field(default_factory=set)
    parts: set[tuple[int, PartKey]] = field(default_factory=set)
    landing: dict[int, None] = field(default_factory=dict)
    deleted: dict[ObjectKey, datetime] = field(default_factory=dict)
    new_orders: dict[int, Read] = field(default_factory=dict)
    """Order id -> the payload that has come to hold."""


def decide(reads: Sequence[Read], known: Known, at: datetime, rules: Rules | None = None) -> Decided:
    """Decide events of one lane in the order given (by `seq`); `at` is now."""
    return _Decision(known, at, rules or Rules()).of(reads)


class _Decision:
    """One pass over events; keeps who rides along with which object."""

    def __init__(self, known: Known, at: datetime, rules: Rules) -> None:
        self.known, self.at, self.rules = known, at, rules
        self.decided = Decided()
        self.riders: dict[ObjectKey, dict[int, Read]] = {}
        self.to_fetch: set[ObjectKey] = set()

    def of(self, reads: Sequence[Read]) -> Decided:
        for read in reads:
            match read.topic.carries:
                case Carries.WHOLE:
                    self._whole(read)
                case Carries.PART:
                    self._part(read)
                case Carries.NOTICE:
                    self._notice(read)
                case Carries.DELETION:
                    self._deletion(read)
                case _:
                    self._say(read, APPLIED)
        for key, riders in self.riders.items():
            self._settle(key, list(riders.values()))
        return self.decided

    def _whole(self, read: Read) -> None:
        held = self._held(read)
        if held.deleted_at is not None:
            return self._say(read, SUPERSEDED, WAS_DELETED)
        if read.is_birth and not held.is_whole:
            held.is_whole = True
            self._changed(held)
        if held.seq != read.seq:
            if held.is_fetched:
                order = self._against_fetched(read, held)
                if order is None:
                    self.to_fetch.add((held.object_type, held.object_id))
                    return self._ride(read)
                if order < 0:
                    return self._say(read, SUPERSEDED, READ_SINCE)
            elif held.seq is not None:
                order = _compare(read, held.version_at, held.triggered_at, held.digest)
                if read.version_at == held.version_at and read.digest == held.digest:
                    return self._say(read, DUPLICATE, SAME_HELD)
                if order < 0:
                    return self._say(read, SUPERSEDED, NEWER_HELD)
                self._overtake(held)
            self._hold(read, held)
        return self._ride(read)

    def _hold(self, read: Read, held: Held) -> None:
        held.version_at, held.triggered_at, held.digest, held.seq = read.version_at, read.triggered_at, read.digest, read.seq
        held.is_with_carrier = read.is_with_carrier
        there = {str(part_id) for part_type, part_id in self.known.parts.get(held.object_id, ()) if part_type == "OrderTransaction"}
        # Once fetched, an order without any transaction has none (it may have been imported as paid).
        awaited = read.awaits - there - ({ANY} if there or held.fetched_at else set())
        held.awaits = ",".join(sorted(awaited)) or None
        held.lacks_since = (held.lacks_since or self.at) if awaited else None
        self.decided.new_orders[held.object_id] = read
        self._changed(held)

    def _overtake(self, held: Held) -> None:
        """The payload that held so far rides no longer, if it is among these events."""
        previous = self.riders.get((held.object_type, held.object_id), {}).pop(held.seq or 0, None)
        if previous is not None:
            self._say(previous, SUPERSEDED, NEWER_HELD)

    def _against_fetched(self, read: Read, held: Held) -> int | None:
        """-1 where the fetched document covers the event, 1 where the event is newer, None where nobody can tell."""
        if read.version_at is not None and held.version_at is not None and _is_comparable(read):
            if read.version_at < held.version_at:
                return -1
            if read.version_at > held.version_at:
                return 1
        return -1 if self._is_covered(read, held) else None

    def _is_covered(self, read: Read, held: Held) -> bool:
        """Whether it happened before the fetch began: it was here by then, or the shop's clock says so beyond doubt."""
        if held.fetched_at is None or not held.is_fetched:
            return False
        if read.received_at <= held.fetched_at:
            return True
        return read.triggered_at is not None and read.triggered_at + self.rules.clock_margin <= held.fetched_at

    def _part(self, read: Read) -> None:
        held = self._held(read)
        assert read.part_type is not None
        assert read.part_id is not None
        if held.deleted_at is not None:
            return self._say(read, SUPERSEDED, WAS_DELETED)
        parts = self.known.parts.setdefault(held.object_id, {})
        key = (read.part_type, read.part_id)
        part = parts.get(key)
        if part is None or part.seq != read.seq:
            if part is not None:
                if read.version_at == part.version_at and read.digest == part.digest:
                    return self._say(read, DUPLICATE, SAME_HELD)
                # Of a fetched part no trigger is known: only a version that is older is beyond doubt.
                is_older = _compare(read, part.version_at, part.triggered_at, part.digest) < 0 and part.seq is not None
                if is_older or (part.seq is None and (read.version_at or _LONG_AGO) < (part.version_at or _LONG_AGO)):
                    return self._say(read, SUPERSEDED, NEWER_HELD)
            if self._is_covered(read, held):
                return self._say(read, SUPERSEDED, READ_SINCE)
            if part is not None:
                self._overtake_part(held, part)
            parts[key] = HeldPart(held.object_id, *key, read.digest, read.version_at, read.triggered_at, read.seq)
            self.decided.parts.add((held.object_id, key))
            self._arrived(held, read)
        if read.is_with_carrier:
            self.to_fetch.add((held.object_type, held.object_id))
        return self._ride(read)

    def _overtake_part(self, held: Held, part: HeldPart) -> None:
        previous = self.riders.get((held.object_type, held.object_id), {}).pop(part.seq or 0, None)
        if previous is not None:
            self._say(previous, SUPERSEDED, NEWER_HELD)

    def _arrived(self, held: Held, read: Read) -> None:
        """Strike a transaction off what the order awaits."""
        if read.part_type == "OrderTransaction" and held.awaits is not None:
            awaited = set(held.awaits.split(",")) - {ANY, str(read.part_id)}
            held.awaits = ",".join(sorted(awaited)) or None
            held.lacks_since = held.lacks_since if awaited else None
            self._changed(held)

    def _notice(self, read: Read) -> None:
        held = self._held(read)
        if held.deleted_at is not None:
            return self._say(read, SUPERSEDED, WAS_DELETED)
        if read.topic.name.startswith("reconcile/") and read.version_at and held.version_at and held.version_at >= read.version_at:
            return self._say(read, SUPERSEDED, NEWER_HELD)
        if held.is_fetched and (self._against_fetched(read, held) or 0) < 0:
            return self._say(read, SUPERSEDED, READ_SINCE)
        rest = self.rules.level_rest if read.topic.name.startswith("inventory_levels/") else timedelta(0)
        self.decided.verdicts[read.seq] = Verdict(read, PENDING, None, FETCH, self.at + rest)
        return None

    def _deletion(self, read: Read) -> None:
        held = self._held(read)
        key = (held.object_type, held.object_id)
        if held.deleted_at is not None and held.seq != read.seq:
            return self._say(read, DUPLICATE, WAS_DELETED)
        for rider in self.riders.pop(key, {}).values():
            self._say(rider, SUPERSEDED, WAS_DELETED)
        for verdict in self.decided.verdicts.values():
            if verdict.state == PENDING and (verdict.read.object_type, verdict.read.object_id) == key:
                self._say(verdict.read, SUPERSEDED, WAS_DELETED)
        held.deleted_at = held.deleted_at or read.triggered_at or read.received_at
        held.seq, held.digest, held.triggered_at = read.seq, read.digest, read.triggered_at
        held.lacks_since = held.awaits = None
        self.decided.new_orders.pop(held.object_id, None)
        self._changed(held)
        self.decided.deleted[key] = held.deleted_at
        return self._say(read, BATCHED)

    def _settle(self, key: ObjectKey, riders: list[Read]) -> None:
        """What becomes of an order, and of the events that ride along with it."""
        if not riders:
            return
        held = self.known.documents[key]
        if key in self.to_fetch or (held.seq is not None and held.is_with_carrier):
            need, at, waits = FETCH, self.at, max(read.waits for read in riders)
        elif held.is_whole and held.seq is not None:
            self.decided.landing[held.object_id] = None
            self._changed(held)
            for read in riders:
                self._say(read, BATCHED)
            return
        else:
            waited = max(read.waits for read in riders)
            if waited < len(self.rules.waits):
                need, at, waits = DECIDE, self.at + self.rules.waits[waited], waited + 1
            else:
                need, at, waits = FETCH, self.at, 0
        for read in riders:
            reason = "waits for its order to be known" if need == DECIDE else None
            self.decided.verdicts[read.seq] = Verdict(read, PENDING, reason, need, at, waits)

    def _held(self, read: Read) -> Held:
        assert read.object_id is not None
        return self.known.document(read.object_type, read.object_id)

    def _ride(self, read: Read) -> None:
        assert read.object_id is not None
        self.riders.setdefault((read.object_type, read.object_id), {})[read.seq] = read

    def _changed(self, held: Held) -> None:
        self.decided.documents.add((held.object_type, held.object_id))

    def _say(self, read: Read, state: str, reason: str | None = None) -> None:
        self.decided.verdicts[read.seq] = Verdict(read, state, reason)


def _compare(read: Read, version_at: datetime | None, triggered_at: datetime | None, digest: str | None) -> int:
    """-1, 0 or 1 as the event is older or newer than what is held; where no clock decides the digest does, whichever came first."""
    mine = (read.version_at or _LONG_AGO, read.triggered_at or _LONG_AGO, read.digest)
    theirs = (version_at or _LONG_AGO, triggered_at or _LONG_AGO, digest or "")
    return (mine > theirs) - (mine < theirs)


def _is_comparable(read: Read) -> bool:
    """Whether the event's version is the object's own `updatedAt`: an inventory level's is the level's, an edit's the edit's."""
    return read.topic.version_key == "updated_at" and not read.topic.name.startswith("inventory_levels/")
