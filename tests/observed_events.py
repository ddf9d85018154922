"""An inbox and the worker's books with events in known states, made by their own tables, for tests of what observes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from commerce_assets.config import Settings
from commerce_assets.events import books
from commerce_assets.events.database import make_tables, open_engine
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.records import Delivery
from commerce_assets.events.stock import tables as stock
from commerce_assets.events.topics import TOPICS

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SHOP = "sandbox-store.myshopify.com"


@dataclass(frozen=True)
class Observed:
    """A data root with both databases."""

    settings: Settings
    inbox: Inbox
    books: sa.Engine

    def receive(
        self, webhook_id: str, topic: str = "orders/create", object_id: int | None = 1, *, name: str = "#1001", ago: float = 60
    ) -> int:
        """Put one event into the inbox; its `seq`."""
        received_at = NOW - timedelta(seconds=ago)
        body = orjson.dumps({"id": object_id, "name": name})
        delivery = Delivery(
            *("webhook", webhook_id, topic, SHOP, body, received_at, received_at - timedelta(seconds=2)),
            event_id=f"e-{webhook_id}",
            object_type=TOPICS[topic].object_type if TOPICS[topic].owner_key is None else "Order",
            object_id=object_id,
        )
        self.inbox.append([delivery])
        stored = self.inbox.by_webhook_id(webhook_id)
        assert stored is not None
        return stored.seq

    def decide(self, seq: int, state: str, **values: Any) -> None:
        """Write down what became of an event, as its lane would."""
        (event,) = self.inbox.get([seq])
        delivery = event.delivery
        at = delivery.received_at + timedelta(seconds=1)
        row = {
            **{name: getattr(delivery, name) for name in ("webhook_id", "source", "topic", "event_id", "object_type", "object_id")},
            **{name: getattr(delivery, name) for name in ("triggered_at", "received_at")},
            "seq": seq,
            "lane": TOPICS[delivery.topic].lane,
            "state": state,
            "stored_at": event.stored_at,
            "first_tried_at": at,
            "decided_at": at,
            "landed_at": at + timedelta(seconds=1) if state == books.APPLIED else None,
            "finished_at": at + timedelta(seconds=1) if state in books.FINAL_STATES else None,
            **values,
        }
        self.write(books.STATES, [row])
        with self.books.begin() as connection:
            books.upsert(connection, books.CURSORS, [{"name": row["lane"], "seq": seq, "moment": None, "updated_at": at}])

    def write(self, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert rows; required columns that a row does not name are 0, true, empty or `NOW`."""
        with self.books.begin() as connection:
            connection.execute(sa.insert(table), [{**_blank(table), **row} for row in rows])


def _blank(table: sa.Table) -> dict[str, Any]:
    blanks: dict[type, Any] = {bool: True, int: 0, float: 0.0, str: "", datetime: NOW, bytes: b"", object: {}}
    return {
        column.name: blanks[getattr(column.type, "impl_instance", column.type).python_type]
        for column in table.columns
        if not column.nullable and not column.primary_key and column.server_default is None
    }


def observed(root: Path, settings: Settings | None = None) -> Observed:
    """Empty databases under a data root, or where the settings say."""
    settings = settings or Settings(data_root=root, _env_file=None)
    engine = open_engine(settings.events_database)
    make_tables(engine, books.METADATA)
    make_tables(engine, stock.METADATA)
    return Observed(settings, Inbox(settings.inbox_database), engine)
