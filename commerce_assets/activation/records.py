"""What travels between engine, ledger and destinations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID, uuid5

Fields = Mapping[str, str | None]
"""Field -> value as canonical text; None where the record has none. A set of tags is one field: sorted, joined by commas."""
Operation = Literal["create", "update", "remove"]
Outcome = Literal["succeeded", "failed", "skipped", "unknown"]

_NAMESPACE = UUID("5b1f5d0e-6f43-5c0c-9f5a-3a3c0a4c7a10")


@dataclass(frozen=True)
class Sync:
    """What is kept equal where. `mapped` fields decide whether a record changed; `carried` fields are only written along."""

    destination: str
    name: str
    mapped: tuple[str, ...]
    carried: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    """Fields that are sets, written element by element: they may be found half-written."""
    max_removed_share: float = 0.2
    """Share of the ledger's records that one run may remove; at most `always_removable` are never questioned."""
    always_removable: int = 20

    @property
    def fields(self) -> tuple[str, ...]:
        """Mapped, then carried."""
        return (*self.mapped, *self.carried)


@dataclass(frozen=True)
class Change:
    """One record to be written. `held` is what the destination holds, as the ledger knows or as was just read; None where nobody looked."""

    record_key: str
    operation: Operation
    fields: Fields
    held: Fields | None
    old_fingerprint: str | None
    new_fingerprint: str | None
    idempotency_key: str
    is_whole: bool = False
    """To be written also where nothing but carried fields differ."""

    @property
    def changed_fields(self) -> tuple[str, ...]:
        held = self.held or {}
        return tuple(sorted(name for name in {*self.fields, *held} if self.fields.get(name) != held.get(name)))


@dataclass(frozen=True)
class RowResult:
    """What became of one change. `held`: what the destination is now known to hold (None: as before).

    `unknown` means that no answer came: the engine reads the destination back. `is_gone`: the record does not exist there.
    """

    record_key: str
    outcome: Outcome
    reason: str | None = None
    held: Fields | None = None
    is_gone: bool = False
    prior: Fields | None = None
    """What was held before, where that is better known than when the change was intended."""


@dataclass(frozen=True)
class Estimate:
    """How a destination would carry out a plan, and what that costs there."""

    path: str
    chunk_rows: int
    requests: int
    points: int
    reads_new: bool = False
    """Whether records new to the ledger are read before they are written."""


@dataclass
class Meter:
    """Requests sent by one push."""

    requests: int = 0
    by_operation: dict[str, int] = field(default_factory=dict)


class Destination(Protocol):
    """Where records are written. Every call may be repeated with no further effect."""

    meter: Meter

    def prepare(self) -> None:
        """Make ready what the records need there (definitions); called before the first write."""

    def settle(self) -> None:
        """Return when nothing that an earlier run started is still being written there."""

    def read(self, keys: Sequence[str]) -> Iterable[tuple[str, Fields | None]]:
        """What is held under each key, in the sync's canonical form; None where the record is gone."""

    def load(self, changes: Sequence[Change], path: str) -> Iterable[RowResult]:
        """Write the changes; one result each, in any order, as they become known. One bad record never stops another.

        Raises `DestinationUnavailableError` when it gives up: changes without a result are then of unknown outcome.
        """

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        """Path, chunks and cost of a plan of that size."""


def idempotency_key(sync: Sync, record_key: str, fingerprint: str | None) -> str:
    """The same for the same content, whoever computes it and however often: UUIDv5 of destination, sync, key, content."""
    return str(uuid5(_NAMESPACE, "\x1f".join((sync.destination, sync.name, record_key, fingerprint or "removed"))))
