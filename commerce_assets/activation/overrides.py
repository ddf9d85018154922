"""Permissions to pass a gate that is shut: one gate of one sync, once, by somebody, for a reason, on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args
from uuid import uuid4

import sqlalchemy as sa

from commerce_assets.activation.errors import OverrideError
from commerce_assets.activation.guards import Tripped
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Gate, Sync
from commerce_assets.activation.tables import GATES, OVERRIDES

GATE_NAMES: tuple[str, ...] = get_args(Gate)


@dataclass(frozen=True)
class Override:
    """A permission that was not used yet."""

    override_id: str
    gate: str
    made_by: str
    reason: str


def allow(ledger: Ledger, sync: Sync, gate: str, by: str, reason: str) -> Override:
    """Let the sync's next run that finds this gate shut pass it. Raises `OverrideError` for a gate there is not, or without a reason."""
    if gate not in GATE_NAMES:
        raise OverrideError(f"there is no gate {gate!r}; there are {', '.join(GATE_NAMES)}")
    if not reason.strip():
        raise OverrideError("an override needs a reason: it stays on record")
    override = Override(f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}", gate, by, reason)
    row = {"override_id": override.override_id, "destination": sync.destination, "sync": sync.name, "gate": gate}
    with ledger.engine.begin() as connection:
        connection.execute(OVERRIDES.insert(), {**row, "made_at": datetime.now(UTC), "made_by": by, "reason": reason})
    return override


def unused(ledger: Ledger, sync: Sync) -> list[Override]:
    """Permissions that no run used yet, oldest first."""
    query = (
        sa.select(OVERRIDES.c.override_id, OVERRIDES.c.gate, OVERRIDES.c.made_by, OVERRIDES.c.reason)
        .where(OVERRIDES.c.destination == sync.destination, OVERRIDES.c.sync == sync.name, OVERRIDES.c.used_by_run.is_(None))
        .order_by(OVERRIDES.c.override_id)
    )
    with ledger.engine.connect() as connection:
        return [Override(row.override_id, row.gate, row.made_by, row.reason) for row in connection.execute(query)]


def pass_or_refuse(ledger: Ledger, sync: Sync, run_id: str, shut: Sequence[Tripped]) -> list[Tripped]:
    """Write down which gates the run found shut; the ones that stop it. With a permission for each of them, none does, and they are used up."""
    if not shut:
        return []
    held: dict[str, str] = {}
    for override in unused(ledger, sync):
        held.setdefault(override.gate, override.override_id)
    stopping = [one for one in shut if one.gate not in held]
    _record(ledger, sync, run_id, shut, {} if stopping else held)
    return stopping


def _record(ledger: Ledger, sync: Sync, run_id: str, shut: Sequence[Tripped], used: Mapping[str, str]) -> None:
    now = datetime.now(UTC)
    by_gate: dict[str, list[str]] = {}
    for one in shut:
        by_gate.setdefault(one.gate, []).append(one.message)
    rows = [
        {
            "run_id": run_id,
            "gate": gate,
            "destination": sync.destination,
            "sync": sync.name,
            "message": "; ".join(messages),
            "outcome": "overridden" if gate in used else "refused",
            "override_id": used.get(gate),
            "tripped_at": now,
        }
        for gate, messages in by_gate.items()
    ]
    with ledger.engine.begin() as connection:
        connection.execute(GATES.insert(), rows)
        for gate in by_gate:
            if gate in used:
                connection.execute(OVERRIDES.update().where(OVERRIDES.c.override_id == used[gate]).values(used_by_run=run_id, used_at=now))
