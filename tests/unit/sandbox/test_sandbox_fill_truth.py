"""The generated store is the same for the same seed, its stock adds up, and its customers buy as the parameters say."""

import hashlib
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from commerce_assets.sandbox.documents import gid_number
from commerce_assets.sandbox.fill import FillError, fill
from commerce_assets.sandbox.generate_catalogue import draw_catalogue
from commerce_assets.sandbox.generate_orders import GUEST, draw_baskets, draw_plan
from commerce_assets.sandbox.generate_people import DAY, WEEK, BuyingProcess, draw_customers
from commerce_assets.sandbox.store import Store

AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = int(AS_OF.timestamp())


def fingerprint(folder: Path) -> str:
    store = Store(folder)
    digest = hashlib.sha256()
    for table in ("t_Order", "t_Customer", "t_Product", "t_Location", "inventory", "metafields", "truth", "tags", "settings"):
        for row in store.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
            digest.update(repr(row).encode())
    store.close()
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_store_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        fill(tmp_path / name, scale=0.03, seed=seed, dirt=0.05, as_of=AS_OF)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "c")


def test_a_store_that_holds_something_is_not_filled_again(tmp_path: Path) -> None:
    fill(tmp_path, scale=0.01, seed=1, as_of=AS_OF)
    with pytest.raises(FillError, match="not empty"):
        fill(tmp_path, scale=0.01, seed=1, as_of=AS_OF)


def test_a_moment_without_zone_is_utc(tmp_path: Path) -> None:
    assert fill(tmp_path, scale=0.01, seed=1, as_of=AS_OF.replace(tzinfo=None))["as_of"] == "2026-11-20T12:00:00Z"


def test_a_scale_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FillError, match="scale"):
        fill(tmp_path, scale=0, as_of=AS_OF)


def test_new_documents_get_ids_that_the_fill_did_not_use(tmp_path: Path) -> None:
    fill(tmp_path, scale=0.01, seed=1, as_of=AS_OF)
    store = Store(tmp_path)
    for kind in ("Order", "Customer", "Product", "LineItem", "OrderTransaction", "Refund"):
        assert store.get(kind, store.next_id(kind)) is None
    store.close()


def test_stock_is_what_came_less_what_went(tmp_path: Path) -> None:
    fill(tmp_path, scale=0.2, seed=5, as_of=AS_OF)
    store = Store(tmp_path)
    shipped: Counter[tuple[int, int]] = Counter()
    restocked: Counter[tuple[int, int]] = Counter()
    unshipped: Counter[int] = Counter()
    item_of = {gid_number(v["id"]): gid_number(v["inventoryItem"]["id"]) for _, _, p in store.iterate("Product") for v in p["variants"]}
    for _, _, order in store.iterate("Order", where="NOT is_test"):
        items = {
            line["id"]: item_of[gid_number(line["variant"]["id"])]
            for line in order["lineItems"]
            if "variant" in line and not line.get("isGiftCard")
        }
        waiting = Counter({line["id"]: line["quantity"] for line in order["lineItems"]}) if not order.get("cancelledAt") else Counter()
        for shipment in order.get("fulfillments", []):
            if shipment["status"] == "SUCCESS":
                for line in shipment["fulfillmentLineItems"]:
                    waiting[line["lineItem"]["id"]] -= line["quantity"]
                    if line["lineItem"]["id"] in items:
                        shipped[items[line["lineItem"]["id"]], gid_number(shipment["location"]["id"])] += line["quantity"]
        for refund in order.get("refunds", []):
            for line in refund["refundLineItems"]:
                if line["restockType"] == "RETURN":
                    restocked[items[line["lineItem"]["id"]], gid_number(line["location"]["id"])] += line["quantity"]
        for line, quantity in waiting.items():
            if line in items:
                unshipped[items[line]] += quantity
    truth = dict(store.truth("stock"))
    committed: Counter[int] = Counter()
    levels = [level for item in set(item_of.values()) for level in store.levels(item)]
    assert len(levels) == len(truth) > 500
    for level in levels:
        place, quantities = (level["itemId"], level["locationId"]), level["quantities"]
        how = truth[f"{place[0]}/{place[1]}"]
        assert (how["shipped"], how["restocked"]) == (shipped[place], restocked[place])
        assert quantities["on_hand"] == how["initial"] + how["received"] - how["shipped"] + how["restocked"] >= 0
        assert quantities["on_hand"] == quantities["available"] + quantities["committed"] + quantities["reserved"]
        committed[place[0]] += quantities["committed"]
    assert +committed == +unshipped
    assert sum(shipped.values()) > 1_000
    assert sum(restocked.values()) > 10
    assert sum(unshipped.values()) > 10
    store.close()


def test_customers_buy_at_the_rates_and_leave_with_the_chances_given() -> None:
    """Rates and dropouts have the moments of their distributions, and repeat purchases the expectation that follows from each."""
    process = BuyingProcess()
    customers, purchases = draw_customers(np.random.default_rng(11), 20_000, process, NOW)
    rate, dropout = customers.rate_per_week, customers.dropout
    assert rate.mean() == pytest.approx(process.r / process.alpha, rel=0.03)
    assert rate.var() == pytest.approx(process.r / process.alpha**2, rel=0.08)
    assert dropout.mean() == pytest.approx(process.a / (process.a + process.b), rel=0.03)

    repeats = np.bincount(purchases.customer, minlength=rate.size) - 1
    weeks = (NOW - customers.first_at) / WEEK
    # E[X(t) | lambda, p] = (1 - exp(-lambda p t)) / p (Fader, Hardie, Lee 2005, eq. 5)
    expected = (1 - np.exp(-rate * dropout * weeks)) / dropout
    assert repeats.sum() == pytest.approx(expected.sum(), rel=0.02)
    assert (repeats == 0).mean() == pytest.approx(np.exp(-rate * weeks).mean(), abs=0.015)
    assert customers.alive[repeats == 0].all()


def test_orders_are_worth_what_gamma_gamma_drew() -> None:
    process = BuyingProcess()
    customers, purchases = draw_customers(np.random.default_rng(12), 8_000, process, NOW)
    assert purchases.value.mean() == pytest.approx(process.p * process.v / (process.q - 1), rel=0.05)
    ids = iter(range(1, 10**6))
    catalogue = draw_catalogue(np.random.default_rng(13), 500, NOW, lambda _: next(ids))
    plan = draw_plan(np.random.default_rng(14), customers, purchases, NOW)
    baskets = draw_baskets(np.random.default_rng(15), plan, catalogue)
    worth = catalogue.price_pence[np.array(baskets.variant)] * np.array(baskets.quantity)
    gross = np.add.reduceat(worth, np.array(baskets.start[:-1])) / 100
    plain = (np.array(baskets.discount) == 0) & (plan.kind != GUEST)
    ratio = gross[plain] / plan.value[plain]
    assert np.median(ratio) == pytest.approx(1, abs=0.005)
    assert np.quantile(np.abs(ratio - 1), 0.9) < 0.05
    assert np.corrcoef(gross[plain], plan.value[plain])[0, 1] > 0.995


def test_the_stores_process_orders_are_the_purchases_of_the_truth(tmp_path: Path) -> None:
    summary = fill(tmp_path, scale=0.2, seed=6, as_of=AS_OF)
    store = Store(tmp_path)
    truth = {int(number): row for number, row in store.truth("customer")}
    orders = [doc for _, _, doc in store.iterate("Order") if "customer" in doc and not doc.get("cancelledAt") and not doc.get("test")]
    first: dict[int, str] = {}
    for order in orders:
        customer = gid_number(order["customer"]["id"])
        first[customer] = min(order["processedAt"], first.get(customer, "9"))
    assert first == {number: row["first_at"] for number, row in truth.items()}
    spent = sum(
        Decimal(o["subtotalPriceSet"]) - sum(Decimal(line["originalTotalSet"]) for line in o["lineItems"] if line.get("isGiftCard"))
        for o in orders
    )
    process = BuyingProcess()
    assert float(spent) / len(orders) == pytest.approx(process.p * process.v / (process.q - 1), rel=0.15)
    assert summary["orders"] > len(orders) > summary["orders"] * 0.85
    store.close()


def test_winter_goods_sell_in_winter_and_newcomers_come_before_christmas() -> None:
    customers, _ = draw_customers(np.random.default_rng(16), 20_000, BuyingProcess(), NOW)
    months = customers.first_at.astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12
    by_month = np.bincount(months, minlength=12)
    assert by_month[[10, 11]].mean() > 1.3 * by_month[[0, 1, 2]].mean()
    assert customers.first_at.min() >= NOW - 731 * DAY
