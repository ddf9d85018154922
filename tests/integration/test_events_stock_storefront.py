"""Stock against the sandbox over HTTP: our numbers arrive, orders need no push, collisions and crashes end well."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import stock_shop
from stock_shop import HERE, THERE, StockShop, stock_client
from support import RunningSandbox, running_sandbox

from commerce_assets.events.database import open_engine
from commerce_assets.events.stock.pusher import Pusher
from commerce_assets.events.stock.tables import DRIFT, PUSH_ROWS, PUSHES, SHELVES, TARGETS, Rules
from commerce_assets.sources.shopify.stock import ShopifyStock

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stock"), pytest.mark.timeout(120)]
ITEMS = 60


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    folder = tmp_path_factory.mktemp("stock")
    stock_shop.fill(folder / "store", ITEMS)
    with running_sandbox(folder / "store", "--plan", "plus") as running:
        yield running


@pytest.fixture
def shop(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Iterator[StockShop]:
    rules = Rules(settle_seconds=0.1, drift_policy=getattr(request, "param", "correct"))
    folder = sandbox.store.parent
    with stock_shop.stock_shop(folder, sandbox.url, ITEMS, rules=rules, name=f"books-{time.monotonic_ns()}") as opened:
        yield opened


def test_our_numbers_arrive_in_one_call_and_orders_need_none(shop: StockShop) -> None:
    for sku in range(1, 31):
        shop.count(sku, 50 + sku, at=stock_shop.ago(2))
    shop.pusher.drain()
    shown = shop.shown()
    assert {sku: shown[sku, HERE] for sku in range(1, 31)} == {sku: (50 + sku, 0, 50 + sku) for sku in range(1, 31)}
    calls = len(shop.rows(PUSHES))
    assert calls < 5

    order = shop.buy(1, 2, quantity=3)
    shop.hear_orders(order)
    for sku in (1, 2):
        shop.hear_level(sku)
    shop.ship(order)
    shop.hear_orders(order)
    shop.cancel(shop.buy(3))
    shop.hear_orders(shop.orders[-1])
    shop.hear_level(3)
    shop.pusher.drain()
    assert len(shop.rows(PUSHES)) == calls
    assert [shop.shown()[sku, HERE] for sku in (1, 2, 3)] == [(48, 0, 48), (49, 0, 49), (53, 0, 53)]
    held = {row["item_id"]: row["on_hand_quantity"] for row in shop.rows(SHELVES, SHELVES.c.location_id == HERE)}
    assert (held[1], held[2], held[3]) == (48, 49, 53)


def test_a_push_that_collides_with_an_order_holds_back_what_is_promised(shop: StockShop) -> None:
    shop.count(31, 100)
    shop.pusher.drain()
    order = shop.buy(31, quantity=4)
    shop.count(31, 130)
    shop.pusher.drain()
    assert shop.shown()[31, HERE] == (126, 4, 130)
    assert "conflict" in [row["outcome"] for row in shop.rows(PUSH_ROWS, PUSH_ROWS.c.item_id == 31)]
    shop.hear_orders(order)
    shop.pusher.drain()
    assert (shop.shown()[31, HERE], shop.rows(DRIFT)) == ((126, 4, 130), [])


@pytest.mark.parametrize("shop", ["correct", "report"], indirect=True)
def test_what_others_change_is_drift(shop: StockShop, request: pytest.FixtureRequest) -> None:
    shop.count(32, 100)
    shop.pusher.drain()
    shop.meddle(32, 7)
    shop.hear_level(32)
    shop.pusher.drain()
    (found,) = shop.rows(DRIFT)
    is_corrected = found["state"] == "corrected"
    assert (found["difference_units"], found["found_quantity"], found["state"]) == (7, 107, "corrected" if is_corrected else "reported")
    assert shop.shown()[32, HERE][0] == (100 if is_corrected else 107)
    assert is_corrected == ("correct" in request.node.name)


def test_stock_at_a_second_location_and_an_unknown_sku(shop: StockShop) -> None:
    shop.count(33, 8, location=THERE)
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM stock_items WHERE item_id = 34")
    assert shop.count(34, 9) == "retry"
    shop.pusher.drain()
    assert shop.count(34, 9) == "applied"
    shop.pusher.drain()
    shown = shop.shown()
    assert (shown[33, HERE][0], shown[33, THERE][0], shown[34, HERE][0]) == (100, 8, 9)


def test_an_item_that_is_not_there_does_not_stop_the_others(shop: StockShop) -> None:
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stock_items SET sku = 'gone' WHERE item_id = 36")
        connection.exec_driver_sql(
            "INSERT INTO stock_items (item_id, variant_id, sku, is_tracked, tier, learnt_at) VALUES (999, 9, 'SKU-36', 1, 1, '2026-01-01 00:00:00')"
        )
    shop.count(35, 5)
    shop.count(36, 5)
    shop.count(37, 5)
    shop.pusher.drain()
    assert [shop.shown()[sku, HERE][0] for sku in (35, 37)] == [5, 5]
    assert [row["item_id"] for row in shop.rows(TARGETS, TARGETS.c.state == "refused")] == [999]


def test_a_pusher_killed_at_any_moment_repeats_nothing_and_loses_nothing(shop: StockShop, sandbox: RunningSandbox) -> None:
    for sku in range(38, 58):
        shop.count(sku, 10)
    shop.pusher.drain()
    address = str(shop.engine.url)
    for round_ in range(2):
        process = subprocess.Popen([sys.executable, stock_shop.__file__, address, sandbox.url])
        deadline = time.monotonic() + 20
        before = len(shop.rows(PUSHES))
        quantity = 20 + round_
        while len(shop.rows(PUSHES)) < before + 2 and time.monotonic() < deadline:
            quantity += 1
            for sku in range(38, 58):
                shop.count(sku, quantity)
            time.sleep(0.02)
        process.kill()
        process.wait()
    with stock_client(sandbox.url) as client:
        pusher = Pusher(open_engine(address), ShopifyStock(client))
        pusher.drain()
        assert {shop.shown()[sku, HERE][0] for sku in range(38, 58)} == {quantity}
        assert {row["state"] for row in shop.rows(PUSHES)} <= {"done", "refused"}
        pusher.engine.dispose()
    assert shop.rows(DRIFT) == []
