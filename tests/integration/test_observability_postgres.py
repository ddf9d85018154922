"""Traces, copies and figures of events on PostgreSQL are those of SQLite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from observed_events import NOW, Observed, observed
from observed_orders import ORDER, land
from postgres_server import running_postgres

from commerce_assets.config import Settings
from commerce_assets.defs.events.sensor import landed_since
from commerce_assets.events import books
from commerce_assets.events.stock import tables as stock
from commerce_assets.observability import snapshots
from commerce_assets.observability.trace import trace_order

pytestmark = pytest.mark.xdist_group("observability")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_postgres() as url:
        yield url


def happened(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER, ago=30), books.APPLIED, batch_id="20261121T115902000000-orders", line=3)
    root.decide(root.receive("w2", "orders/updated", ORDER, ago=20), books.DEAD, reason="OrderShape", attempts=5)
    root.receive("w3", "customers/update", 7, ago=10)
    batch = {"lane": "orders", "family": "orders", "kind": "payloads", "status": "landed", "finished_at": NOW, "rows": 3, "quarantined": 1}
    root.write(books.BATCHES, [{**batch, "batch_id": "20261121T115902000000-orders"}])
    root.write(stock.ITEMS, [{"item_id": 1, "sku": "MUG", "is_tracked": True, "tier": 1, "learnt_at": NOW}])
    root.write(stock.SHELVES, [{"item_id": 1, "location_id": 2, "is_active": False, "available_quantity": 7, "seen_at": NOW}])
    land(root)


def seen(root: Observed) -> dict[str, object]:
    """All that is copied and traced, without what differs between any two runs."""
    for _ in range(2):
        snapshots.take_event_log(root.settings, NOW)
    snapshots.take_stock(root.settings, NOW)
    lake = root.settings.lake_root
    copies = {
        name: snapshots.read(lake, name).drop("stored_at", strict=False).sort(list(snapshots.TABLES[name])[:3]).to_dicts()
        for name in ("events", "webhook_hours", "landings", "stock_shelves")
    }
    trace = trace_order(root.settings, "#1001")
    since = NOW.replace(hour=0)
    return {
        **copies,
        "trace": (trace.order_id, trace.stopped_at, trace.next_command, [hop.outcome for hop in trace.hops]),
        "events_of_trace": [(event["topic"], event["state"], event["received_at"]) for event in trace.events],
        "landed": landed_since(root.settings.events_database, since),
    }


def test_what_is_seen_on_postgresql_is_what_is_seen_on_sqlite(tmp_path: Path, database: str) -> None:
    on_sqlite = observed(tmp_path / "sqlite")
    settings = Settings(data_root=tmp_path / "postgres", database_url=database, _env_file=None)
    on_postgres = observed(tmp_path / "postgres", settings)
    for root in (on_sqlite, on_postgres):
        happened(root)
    found = seen(on_postgres)
    assert found == seen(on_sqlite)
    assert found["trace"][:2] == (ORDER, "validated")  # type: ignore[index]
