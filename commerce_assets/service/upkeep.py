"""What keeps the service's databases bounded: events and books that ended long ago are forgotten."""

from datetime import UTC, datetime, timedelta

from commerce_assets.config import Settings
from commerce_assets.events.books import METADATA, cursor_seqs, forget, unfinished_seqs
from commerce_assets.events.database import make_tables, open_engine
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.topics import LANES


def forget_old_events(settings: Settings, now: datetime | None = None) -> dict[str, int]:
    """Forget events stored, and books ended, more than `events_keep_days` ago; rows by table. What is open or dead stays."""
    before = (now or datetime.now(UTC)) - timedelta(days=settings.events_keep_days)
    engine = open_engine(settings.events_database)
    try:
        make_tables(engine, METADATA)
        cursors = cursor_seqs(engine)
        worked = min((cursors.get(lane, 0) for lane in LANES), default=0)
        with Inbox(settings.inbox_database) as inbox:
            pruned = inbox.prune(before, worked, unfinished_seqs(engine))
        return {"inbox_events": pruned, **forget(engine, before)}
    finally:
        engine.dispose()
