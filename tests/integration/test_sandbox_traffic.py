"""Traffic reaches the store through its API: every order, parcel and return it counts is there, and no unit of stock is lost."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support import RunningSandbox, free_port, running_sandbox

from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.traffic import run_traffic
from commerce_assets.sandbox.traffic_plan import RESTOCKED_UNITS, TrafficError

pytestmark = pytest.mark.xdist_group("sandbox-traffic")
STEPS = "commerce_assets.sandbox.traffic_plan.SECONDS_BETWEEN_STEPS"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    folder = tmp_path_factory.mktemp("traffic")
    fill(folder, scale=0.02, seed=4)
    with running_sandbox(folder) as running:
        yield running


def on_hand(store: Store) -> Counter[tuple[int, int]]:
    """Units by item and location."""
    items = [number for _, number, _ in store.iterate("InventoryItem")]
    levels = [level for item in items for level in store.levels(item)]
    return Counter({(level["itemId"], level["locationId"]): level["quantities"].get("on_hand", 0) for level in levels})


def number_of(reference: dict[str, Any]) -> int:
    return int(reference["id"].rpartition("/")[2])


def test_what_traffic_counts_is_in_the_store_and_units_are_conserved(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STEPS, (0.0, 0.1))
    store = Store(sandbox.store)
    before, orders_before = on_hand(store), store.count("Order")
    seen: list[int] = []
    summary = run_traffic(
        sandbox.url,
        sandbox.token,
        orders_per_minute=2400,
        minutes=1 / 40,
        seed=11,
        refund_share=0.3,
        fulfil_share=0.7,
        cancel_share=0.1,
        restock_share=0.2,
        progress=lambda so_far: seen.append(so_far.done.get("orders", 0)),
    )
    assert summary.errors == {}
    assert (summary.asked, summary.done["orders"], store.count("Order") - orders_before) == (60, 60, 60)
    new = [order for _, _, order in store.iterate("Order", reverse=True, limit=60)]
    assert summary.done["refunds"] == sum(bool(order.get("refunds")) and not order.get("cancelledAt") for order in new) > 0
    assert summary.done["cancellations"] == sum(bool(order.get("cancelledAt")) for order in new) > 0
    # What is shipped in one call from two locations are two shipments with one tracking number.
    tracked_parcels = {entry["trackingInfo"][0]["number"] for order in new for entry in order.get("fulfillments") or ()}
    assert summary.done["shipments"] == len(tracked_parcels) > 0
    states = Counter(order["displayFinancialStatus"] for order in new)
    assert states["PAID"] + states["PARTIALLY_REFUNDED"] + states["REFUNDED"] == 60
    assert all(order["totalReceivedSet"] == order["totalPriceSet"] for order in new)
    assert {bool(order.get("discountCode")) for order in new} == {True, False}
    tracked = {number for _, number, doc in store.iterate("InventoryItem") if doc.get("tracked")}
    items = {variant["id"]: number_of(variant["inventoryItem"]) for _, _, variant in store.iterate("ProductVariant")}
    # What documents say left each location, and came back to it.
    moved: Counter[tuple[int, int]] = Counter()
    for order in new:
        lines = {line["id"]: items[line["variant"]["id"]] for line in order["lineItems"]}
        shipped = [(entry["location"], 1, row) for entry in order.get("fulfillments") or () for row in entry["fulfillmentLineItems"]]
        returned = [
            (row["location"], -1, row)
            for refund in (() if order.get("cancelledAt") else order.get("refunds") or ())
            for row in refund["refundLineItems"]
            if row["restocked"]
        ]
        for location, sign, row in (*shipped, *returned):
            item = lines[row["lineItem"]["id"]]
            if item in tracked:
                moved[item, number_of(location)] += sign * row["quantity"]
    after = on_hand(store)
    refilled = {shelf: after[shelf] - before[shelf] + moved[shelf] for shelf in {*after, *before, *moved}}
    assert sum(refilled.values()) > 0
    assert {units % RESTOCKED_UNITS for units in refilled.values()} == {0}
    assert min(refilled.values()) == 0
    store.close()


def test_traffic_that_is_stopped_ends_with_what_it_has_done(sandbox: RunningSandbox) -> None:
    stop = threading.Event()
    summary = run_traffic(sandbox.url, sandbox.token, 600, 60, stop=stop, progress=lambda _: stop.set())
    assert 0 < summary.done["orders"] < summary.asked


def test_traffic_to_nowhere_says_so() -> None:
    with pytest.raises(TrafficError, match="commerce sandbox serve"):
        run_traffic(f"http://127.0.0.1:{free_port()}", "x", 60, 1)


def test_a_wrong_token_says_so(sandbox: RunningSandbox) -> None:
    with pytest.raises(TrafficError, match="HTTP 401"):
        run_traffic(sandbox.url, "wrong", 60, 1)
