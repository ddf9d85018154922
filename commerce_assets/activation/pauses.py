"""Syncs that are not to be pushed for now, and why. A pause holds for every process, and until somebody lifts it."""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from commerce_assets.activation.errors import SyncPausedError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Sync
from commerce_assets.activation.tables import PAUSES


@dataclass(frozen=True)
class Pause:
    """Since when, by whom and why."""

    paused_at: datetime
    paused_by: str
    reason: str


def pause(ledger: Ledger, sync: Sync, by: str, reason: str) -> None:
    """Refuse pushes of the sync from now on; a push under way goes on. A pause that is there is replaced."""
    row = {"destination": sync.destination, "sync": sync.name, "paused_at": datetime.now(UTC), "paused_by": by, "reason": reason}
    with ledger.engine.begin() as connection:
        connection.execute(PAUSES.delete().where(_of(sync)))
        connection.execute(PAUSES.insert(), row)


def resume(ledger: Ledger, sync: Sync) -> bool:
    """Lift the pause; False where there was none."""
    with ledger.engine.begin() as connection:
        return connection.execute(PAUSES.delete().where(_of(sync))).rowcount > 0


def pause_of(ledger: Ledger, sync: Sync) -> Pause | None:
    """The pause in force, if there is one."""
    with ledger.engine.connect() as connection:
        row = connection.execute(sa.select(PAUSES.c.paused_at, PAUSES.c.paused_by, PAUSES.c.reason).where(_of(sync))).first()
    # SQLite keeps no zone; every moment in the ledger is UTC.
    return Pause(row.paused_at.replace(tzinfo=UTC), row.paused_by, row.reason) if row else None


def refuse_when_paused(ledger: Ledger, sync: Sync) -> None:
    """Raise `SyncPausedError` where the sync is paused."""
    if found := pause_of(ledger, sync):
        raise SyncPausedError(
            f"{sync.destination}/{sync.name} is paused since {found.paused_at:%Y-%m-%d %H:%M} UTC by {found.paused_by} ({found.reason}); "
            f"nothing was written: `commerce sync resume {sync.name}` lifts it"
        )


def _of(sync: Sync) -> sa.ColumnElement[bool]:
    return sa.and_(PAUSES.c.destination == sync.destination, PAUSES.c.sync == sync.name)
