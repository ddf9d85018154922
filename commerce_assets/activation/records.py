"""What travels between engine, ledger and destinations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID, uuid5

Fields = Mapping[str, str | None]
"""Field -> value as canonical text; None where the record has none. A set of tags is one field: sorted, joined by commas."""
Operation = Literal["create", "update", "remove"]
Outcome = Literal["succeeded", "failed", "skipped", "unknown"]

Mode = Literal["upsert", "update_only", "insert_only", "mirror", "append"]
"""What a sync does about records that are new, changed, or no longer wanted:

upsert       writes new and changed ones, leaves what left the set
update_only  as upsert, but never makes a record that is not there
insert_only  writes only records that are not there yet, each once
mirror       as upsert, and takes away what left the set, where this sync itself wrote it
append       each record is an event, sent once under its key and never read back, changed or taken away
"""
Expectation = Literal["any", "present", "absent"]
"""Whether a record has to be there, or must not, when a change is written; else the change is skipped."""
Gate = Literal[
    "upstream_checks",
    "model_freshness",
    "score_receipts",
    "destination_ready",
    "null_keys",
    "min_rows",
    "max_rows",
    "max_changed_share",
    "max_removed_share",
    "values",
    "canary",
]
"""What may stand in the way of a write, by name; each may be overridden once, on record."""

CHANGED_SINCE = "changed since by somebody else"
"""Why a destination left a record alone that no longer held what was read of it."""
CANARY_COLUMN = "_canary"
"""Beside the fields of desired records: whether a record is of the part that is written first."""
CONSENT_COLUMN = "_consents"
"""Beside the fields of desired records: whether the customer agrees, as far as the warehouse knows."""
ConsentCheck = Callable[[Sequence[str]], set[str]]
"""Customer gids -> those of them who agree now, as the system that holds the consents says."""

_NAMESPACE = UUID("5b1f5d0e-6f43-5c0c-9f5a-3a3c0a4c7a10")


@dataclass(frozen=True)
class ValueRange:
    """Bounds that a number in a field has to keep, both included; None for none."""

    field: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Guards:
    """What a plan may be. Shares are of the records that the ledger knows."""

    max_rows: int | None = None
    """Records that one run may write or remove."""
    min_rows: int = 0
    """Desired records below which the model is taken for broken."""
    max_changed_share: float = 1.0
    """Of known records, the share that one run may update."""
    max_removed_share: float = 0.2
    """Of known records, the share that one run may remove; at most `always_allowed` are never questioned."""
    always_allowed: int = 20
    """So many updates and so many removals are never questioned, whatever their share."""
    max_null_keys: int | None = None
    """Desired rows without a usable key above which the model is taken for broken; None: they are skipped and counted."""
    values: tuple[ValueRange, ...] = ()


@dataclass(frozen=True)
class Canary:
    """A part of the plan that is written first, looked at, and only then followed by the rest."""

    share: float
    """Of the plan's records, chosen by a hash of the key: the same ones every time."""
    column: str | None = None
    """A boolean column of the model that marks the part instead (a segment, a store)."""
    at_least: int = 10
    """Records; a plan that has no more is written as one."""
    max_failed_rate: float = 0.02
    """Of the part, failed rows above which the run stops."""
    max_differing_rate: float = 0.0
    """Of the part, records that read back differently above which the run stops."""


@dataclass(frozen=True)
class Holdout:
    """A stable random share of keys that is never written, so that the effect of writing can be measured."""

    share: float
    salt: str
    """Syncs with the same salt hold out the same keys."""


@dataclass(frozen=True)
class Consent:
    """The consent without which a record never leaves; the record's key is the customer's gid."""

    channel: Literal["email", "sms"]


@dataclass(frozen=True)
class Sync:
    """What is kept equal where. `mapped` fields decide whether a record changed; `carried` fields are only written along."""

    destination: str
    name: str
    mapped: tuple[str, ...]
    carried: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    """Fields that are sets, written element by element: they may be found half-written."""
    kept_when_null: tuple[str, ...] = ()
    """Fields that keep what is held where the desired value is null; others are cleared then."""
    mode: Mode = "mirror"
    guards: Guards = field(default_factory=Guards)
    canary: Canary | None = None
    holdout: Holdout | None = None
    consent: Consent | None = None

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
    expects: Expectation = "any"
    """A destination that can make or find records itself skips the change where this does not hold."""

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
    seconds: float | None = None
    """How long it should take, where the destination can tell."""


@dataclass
class Meter:
    """What one push asked of its destination."""

    requests: int = 0
    by_operation: dict[str, int] = field(default_factory=dict)
    points: int = 0
    """Spent of a budget, where the destination has one."""
    throttled: int = 0
    """Answers that said to come back later."""
    points_a_second: float | None = None
    """What the destination restores of its budget."""


class Destination(Protocol):
    """Where records are written. Every call may be repeated with no further effect.

    All of them pass tests/unit/activation/test_destination_contract.py.
    """

    meter: Meter
    can_read: bool
    """Whether `read` tells what is held. Where not, a write of unknown outcome counts as failed and is sent again under the same
    idempotency key, by which the receiver knows it."""

    def problems(self) -> Sequence[str]:
        """Why it cannot be written to now (not reachable, scopes or rights that are missing), each with what to do; empty when it can."""

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

    def finish(self) -> None:
        """Called when all of a run's changes were loaded, also when there were none: what is made of the whole is made here."""

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        """Path, chunks and cost of a plan of that size."""


def idempotency_key(sync: Sync, record_key: str, fingerprint: str | None) -> str:
    """The same for the same content, whoever computes it and however often: UUIDv5 of destination, sync, key, content."""
    return str(uuid5(_NAMESPACE, "\x1f".join((sync.destination, sync.name, record_key, fingerprint or "removed"))))
