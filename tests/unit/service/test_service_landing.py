"""The worker's way into the lake: what landed, what a contract refused, and for whose sake."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commerce_assets.lake import Lake
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks import rest_orders
from commerce_assets.service.landing import LakeLanding

BATCH = "20261121T120000000000-orders"


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three orders as orders/* payloads bring them, with their transactions."""
    folder = tmp_path_factory.mktemp("landing") / "store"
    fill(folder, scale=0.01, seed=2)
    store = Store(folder)
    shop = store.shop() or {}
    lines = []
    for _, _, order in store.iterate("Order", limit=3):
        transactions = [rest_orders.transaction_payload(store, shop, order, one["id"]) for one in order["transactions"]]
        lines.append({"id": order["id"], "order": rest_orders.order_payload(store, shop, order), "transactions": transactions})
    store.close()
    return lines


@pytest.fixture
def landing(tmp_path: Path) -> LakeLanding:
    lake = Lake(tmp_path)
    lake.ensure()
    return LakeLanding(lake)


def _numbers(orders: list[dict[str, Any]]) -> list[int]:
    return [int(order["id"].rsplit("/", 1)[1]) for order in orders]


def test_whole_orders_land_and_say_where(landing: LakeLanding, orders: list[dict[str, Any]]) -> None:
    landed = landing.land_payloads("orders", BATCH, (json.dumps(order, separators=(",", ":")).encode() for order in orders))

    assert (landed.partitions, landed.quarantined, landed.refused, landed.refused_parts) == ((f"events-{BATCH}",), 0, {}, {})
    name = f"storefront/orders/events-{BATCH}/payloads.jsonl"
    assert landed.source_files == {number: (name, line) for line, number in enumerate(_numbers(orders), 1)}
    assert landing.lake.read("orders")["order_id"].sort().to_list() == sorted(_numbers(orders))


def test_landing_a_batch_again_replaces_it(landing: LakeLanding, orders: list[dict[str, Any]]) -> None:
    lines = [json.dumps(order, separators=(",", ":")).encode() for order in orders]
    landing.land_payloads("orders", BATCH, lines)
    landing.land_payloads("orders", BATCH, lines)

    assert landing.lake.read("orders").height == len(orders)


def test_a_refused_order_and_a_refused_part_are_told_apart(landing: LakeLanding, orders: list[dict[str, Any]]) -> None:
    bad_order, bad_part, _ = _numbers(orders)
    spoiled = json.loads(json.dumps(orders))
    spoiled[0]["order"]["email"] = "nobody"
    part = spoiled[1]["transactions"][0]
    part |= {"amount": "-1.00", "status": "failure"}

    landed = landing.land_payloads("orders", BATCH, (json.dumps(order, separators=(",", ":")).encode() for order in spoiled))

    assert landed.refused.keys() == {bad_order}
    assert landed.refused_parts.keys() == {("OrderTransaction", part["id"])}
    assert landed.quarantined > 2, "the refused order takes its children along"
    assert bad_part in landing.lake.read("orders")["order_id"].to_list()


def test_deletions_land_by_kind_and_moment(landing: LakeLanding) -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    landing.land_deletions("20261121T120000000001-orders", [("order", 5, at), ("customer", 7, at)])

    rows = landing.lake.read("deleted_ids").select("object_type", "object_id", "deleted_at").rows()
    assert sorted(rows) == [("customer", 7, at), ("order", 5, at)]
