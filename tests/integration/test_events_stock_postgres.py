"""The books of stock on PostgreSQL: the same sums, also where several lanes book at once."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from postgres_server import running_postgres
from stock_fakes import STARTED, FakeStorefront

from commerce_assets.events.database import open_engine
from commerce_assets.events.stock import commitments, drift, facts, items, tables
from commerce_assets.events.stock.ports import Item
from commerce_assets.events.stock.pusher import Pusher, PusherOptions
from commerce_assets.events.stock.shelf import forget_old
from commerce_assets.events.stock.tables import FACTS, PUSH_ROWS, SHELVES, Rules

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stock")]


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    with running_postgres() as url:
        engine = open_engine(url)
        tables.prepare(engine, Rules(settle_seconds=0.0))
        items.learn_catalogue(engine, [Item(n, 1000 + n, f"SKU-{n}") for n in range(1, 4)])
        yield engine
        engine.dispose()


def body(kind: str, item: int, quantity: int, key: str, after: float) -> bytes:
    at = (STARTED + timedelta(seconds=after)).isoformat()
    entry = {"key": key, "kind": kind, "inventory_item_id": item, "location_id": 1, "quantity": quantity, "occurred_at": at}
    return json.dumps(entry).encode()


def test_lanes_that_book_at_once_lose_nothing_and_the_storefront_is_told(engine: sa.Engine) -> None:
    storefront = FakeStorefront(items=3, units=400)
    with engine.begin() as connection:
        facts.take(connection, [body("count", item, 500, f"count-{item}", 0) for item in (1, 2, 3)])

    def move(lane: int) -> None:
        for number in range(20):
            with engine.begin() as connection:
                facts.take(connection, [body("movement", item, -1, f"{lane}-{number}-{item}", 1 + number) for item in (1, 2)])

    def buy() -> None:
        for _ in range(20):
            storefront.tick()
            storefront.place([(1, 1), (3, 2)])
            with engine.begin() as connection:
                commitments.take(connection, [text for kind, text, _ in storefront.emitted[-3:] if kind == "order"])
                levels = [(text, at) for kind, text, at in storefront.emitted[-3:] if kind == "level"]
                drift.observe(connection, [text for text, _ in levels], [at for _, at in levels])

    threads = [threading.Thread(target=move, args=(lane,)) for lane in range(4)] + [threading.Thread(target=buy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    storefront.tick()
    pusher = Pusher(engine, storefront, PusherOptions(poll_seconds=0.001))
    pusher.drain()
    with engine.connect() as connection:
        rows = connection.execute(sa.select(SHELVES).where(SHELVES.c.location_id == 1).order_by(SHELVES.c.item_id)).all()
        told = connection.execute(
            sa.select(sa.func.count()).select_from(PUSH_ROWS).where(PUSH_ROWS.c.outcome == "acknowledged")
        ).scalar_one()
    assert [(row.on_hand_quantity, row.committed_quantity) for row in rows] == [(420, 20), (420, 0), (500, 40)]
    assert [storefront.stock[item, 1].available for item in (1, 2, 3)] == [400, 420, 460]
    assert (told, pusher.status().due) == (3, 0)
    with engine.begin() as connection:
        forget_old(connection, storefront.now)
        assert connection.execute(sa.select(sa.func.count()).select_from(FACTS)).scalar_one() == 3 + 4 * 20 * 2
