"""The service's databases stay bounded: what ended long ago is forgotten, what is open or dead is not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from commerce_assets.config import Settings
from commerce_assets.events.books import CURSORS, METADATA, STATES
from commerce_assets.events.database import make_tables, open_engine
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.records import Delivery
from commerce_assets.events.topics import LANES
from commerce_assets.service.upkeep import forget_old_events

NOW = datetime.now(UTC)


def _state(seq: int, state: str, at: datetime) -> dict[str, object]:
    moments = dict.fromkeys(("received_at", "stored_at", "first_tried_at", "decided_at"), at)
    named = {"webhook_id": f"w{seq}", "source": "webhook", "lane": "orders", "topic": "orders/create", "object_type": "Order"}
    return {"seq": seq, "state": state, "finished_at": at, **named, **moments}


@pytest.mark.parametrize(("worked", "left"), [(4, {"w2", "w4"}), (0, {"w1", "w2", "w3", "w4"})])
def test_only_what_ended_is_forgotten(tmp_path: Path, worked: int, left: set[str]) -> None:
    settings = Settings(data_root=tmp_path, events_keep_days=30)
    long_ago = NOW - timedelta(days=31)
    with Inbox(settings.inbox_database) as inbox:
        inbox.append([Delivery("webhook", f"w{number}", "orders/create", "shop", b"{}", NOW) for number in (1, 2, 3, 4)])
        with inbox.engine.begin() as connection:
            connection.execute(sa.text("update inbox_events set stored_at = :at where webhook_id <> 'w4'"), {"at": str(long_ago)[:26]})
    engine = open_engine(settings.events_database)
    make_tables(engine, METADATA)
    with engine.begin() as connection:
        connection.execute(
            STATES.insert(), [_state(seq, state, long_ago) for seq, state in ((1, "applied"), (2, "dead"), (3, "superseded"))]
        )
        connection.execute(CURSORS.insert(), [{"name": lane, "seq": worked, "updated_at": NOW} for lane in LANES])

    forget_old_events(settings, NOW)

    with Inbox(settings.inbox_database) as inbox:
        assert {event.delivery.webhook_id for event in inbox.read(0, 10)} == left
    with engine.connect() as connection:
        assert list(connection.scalars(sa.select(STATES.c.seq))) == [2]
