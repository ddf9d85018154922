"""The reference: a destination over a dict, with every trait. What the others do over a wire, it does in plain sight."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from commerce_assets.activation.errors import DestinationUnavailableError
from commerce_assets.activation.records import Change, Estimate, Fields, Meter, RowResult, Sync
from rigs.base import Trait

SYNC = Sync("memory", "audience", mapped=("segment", "value"), carried=("as_of",))
LONGEST_VALUE = 40
ROWS_A_CALL = 5
CALLS_TRIED = 3


class _LostError(Exception):
    """The connection was cut."""


class _LaterError(Exception):
    """Come back later."""


class World:
    """Records by key, and what goes wrong on the way to them."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, str]] = {}
        self.refused: set[str] = set()
        self.later = 0
        self.cuts: list[Literal["before", "after"]] = []
        self.writes = 0

    def write(self, changes: Sequence[Change], fields: Sequence[str]) -> dict[str, str | None]:
        """One call: why each record was refused, None where it was not."""
        if self.later:
            self.later -= 1
            raise _LaterError
        cut = self.cuts.pop(0) if self.cuts else None
        if cut == "before":
            raise _LostError
        answers = {change.record_key: self._write_one(change, fields) for change in changes}
        if cut == "after":
            raise _LostError
        return answers

    def _write_one(self, change: Change, fields: Sequence[str]) -> str | None:
        key, held = change.record_key, self.records.get(change.record_key, {})
        if key in self.refused:
            return "refused"
        if any(len(value) > LONGEST_VALUE for value in change.fields.values() if value):
            return "too long"
        if (change.expects == "present" and not held) or (change.expects == "absent" and held):
            return change.expects
        now = {name: value for name in fields if (value := change.fields.get(name)) is not None}
        self.writes += sum(held.get(name) != now.get(name) for name in fields)
        self.records[key] = now
        if not now:
            del self.records[key]
        return None


class MemoryDestination:
    can_read = True

    def __init__(self, world: World, sync: Sync) -> None:
        self.world, self.sync = world, sync
        self.meter = Meter()

    def problems(self) -> Sequence[str]:
        return ()

    def prepare(self) -> None: ...

    def settle(self) -> None: ...

    def finish(self) -> None: ...

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        self.meter.requests += 1
        yield from ((key, {name: self.world.records.get(key, {}).get(name) for name in self.sync.fields}) for key in keys)

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        writing = []
        for change in changes:
            held, is_forced = change.held, change.is_whole or change.operation == "remove"
            if held is not None and not is_forced and all(held.get(name) == change.fields.get(name) for name in self.sync.mapped):
                yield RowResult(change.record_key, "succeeded", "already held", held)
            else:
                writing.append(change)
        for start in range(0, len(writing), ROWS_A_CALL):
            yield from self._call(writing[start : start + ROWS_A_CALL])

    def _call(self, changes: Sequence[Change]) -> Iterator[RowResult]:
        for _ in range(CALLS_TRIED):
            self.meter.requests += 1
            try:
                answers = self.world.write(changes, self.sync.fields)
            except _LaterError:
                self.meter.throttled += 1
            except _LostError:
                yield from (RowResult(change.record_key, "unknown", "no answer") for change in changes)
                return
            else:
                yield from (self._result(change, answers[change.record_key]) for change in changes)
                return
        raise DestinationUnavailableError("it says later each time")

    def _result(self, change: Change, answer: str | None) -> RowResult:
        if answer in ("present", "absent"):
            reason = "not at the destination" if answer == "present" else "already there"
            return RowResult(change.record_key, "skipped", reason)
        if answer is not None:
            return RowResult(change.record_key, "failed", answer)
        return RowResult(change.record_key, "succeeded", None, {name: change.fields.get(name) for name in self.sync.fields})

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        return Estimate("plain", 1_000, requests=creates + updates + removals, points=0, reads_new=True)


class MemoryRig:
    name = "memory"
    traits: frozenset[Trait] = frozenset({"reads", "refuses", "throttles", "cuts", "makes_records", "loses_records"})
    longest_value = LONGEST_VALUE
    rows_a_call = ROWS_A_CALL

    def __init__(self, root: Path | None = None) -> None:
        self.sync = SYNC
        self.world = World()

    def destination(self) -> MemoryDestination:
        return MemoryDestination(self.world, self.sync)

    def keys(self, count: int) -> list[str]:
        return [f"key-{number:05}" for number in range(count)]

    def held(self) -> dict[str, dict[str, str]]:
        return {key: dict(fields) for key, fields in self.world.records.items() if fields}

    def change(self, key: str, field: str, value: str | None) -> None:
        record = self.world.records.setdefault(key, {})
        if value is None:
            record.pop(field, None)
        else:
            record[field] = value

    def delete(self, key: str) -> None:
        self.world.records.pop(key, None)

    def refuse(self, keys: set[str]) -> None:
        self.world.refused = set(keys)

    def throttle(self, calls: int) -> None:
        self.world.later = calls

    def cut(self, when: Literal["before", "after"], calls: int = 1) -> None:
        self.world.cuts = [when] * calls

    @property
    def writes(self) -> int:
        return self.world.writes

    def close(self) -> None: ...
