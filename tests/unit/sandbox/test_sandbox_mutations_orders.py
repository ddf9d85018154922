"""Orders, refunds, fulfillments: sums, statuses, and the stock that moves with them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_shop import BEFORE, CUSTOMER, HERE, THERE, UNTRACKED_VARIANT, Shop, errors, order_input, paid

from commerce_assets.sandbox.documents import inventory_level
from commerce_assets.sandbox.mutations.order_money import currencies_of

CLAIM = {"inventoryBehaviour": "DECREMENT_IGNORING_POLICY"}
OBEY = {"inventoryBehaviour": "DECREMENT_OBEYING_POLICY"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def amount(order: dict[str, Any], field: str) -> str:
    return str(currencies_of(order).pair(order.get(field)).shop.normalize())


def create(shop: Shop, quantity: int = 2, *, options: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    payload = shop.done("orderCreate", order=order_input(quantity, **more), options=options or CLAIM)
    return shop.doc(payload["order"])


def refund(shop: Shop, order: dict[str, Any], quantity: int, restock: str, money: str | None = None, **more: Any) -> dict[str, Any]:
    line = {"lineItemId": order["lineItems"][0]["id"], "quantity": quantity, "restockType": restock}
    wanted: dict[str, Any] = {"orderId": order["id"], "refundLineItems": [{**line, **more}]}
    if money:
        parent = order["transactions"][0]["id"]
        wanted["transactions"] = [{"orderId": order["id"], "parentId": parent, "kind": "REFUND", "gateway": "manual", "amount": money}]
    shop.refunds = getattr(shop, "refunds", 0) + 1  # type: ignore[attr-defined]
    return shop.run("refundCreate", input=wanted, key=f"refund-{shop.refunds}")  # type: ignore[attr-defined]


def ship(shop: Shop, order: dict[str, Any], quantity: int | None = None) -> dict[str, Any]:
    number = order["id"].rpartition("/")[2]
    group: dict[str, Any] = {"fulfillmentOrderId": f"gid://shopify/FulfillmentOrder/{number}"}
    if quantity is not None:
        line = order["lineItems"][0]["id"].rpartition("/")[2]
        group["fulfillmentOrderLineItems"] = [{"id": f"gid://shopify/FulfillmentOrderLineItem/{line}", "quantity": quantity}]
    return shop.run("fulfillmentCreate", fulfillment={"lineItemsByFulfillmentOrder": [group]})


def test_an_order_adds_up(shop: Shop) -> None:
    tax = [{"title": "VAT", "rate": 0.2, "priceSet": {"shopMoney": {"amount": "3.00", "currencyCode": "GBP"}}}]
    wanted = order_input(
        2,
        discountCode={"itemFixedDiscountCode": {"code": "FIVE", "amountSet": {"shopMoney": {"amount": "5.00", "currencyCode": "GBP"}}}},
        shippingLines=[{"title": "Post", "priceSet": {"shopMoney": {"amount": "4.00", "currencyCode": "GBP"}}}],
        transactions=paid("22.00"),
    )
    wanted["lineItems"][0]["taxLines"] = tax

    order = shop.doc(shop.done("orderCreate", order=wanted)["order"])

    sums = {field: amount(order, field) for field in ("subtotalPriceSet", "totalTaxSet", "totalShippingPriceSet", "totalPriceSet")}
    assert sums == {"subtotalPriceSet": "15", "totalTaxSet": "3", "totalShippingPriceSet": "4", "totalPriceSet": "22"}
    assert order["displayFinancialStatus"] == "PAID"
    assert order["name"] == "#1001"


def test_an_order_without_lines_or_with_two_customers_is_refused(shop: Shop) -> None:
    empty = shop.run("orderCreate", order={"lineItems": []})
    twice = shop.run("orderCreate", order=order_input(customerId=CUSTOMER, customer={"toAssociate": {"id": CUSTOMER}}))
    future = shop.run("orderCreate", order=order_input(processedAt="2030-01-01T00:00:00Z"))

    assert errors(empty) == [(["order", "lineItems"], "INVALID")]
    assert errors(twice) == [(["order", "customerId"], "REDUNDANT_CUSTOMER_FIELDS")]
    assert errors(future) == [(["order", "processedAt"], "PROCESSED_AT_INVALID")]
    assert shop.store.count("Order") == 0


def test_orders_take_names_one_after_the_other(shop: Shop) -> None:
    assert [create(shop)["name"] for _ in range(3)] == ["#1001", "#1002", "#1003"]


def test_a_new_order_commits_stock_and_bypass_does_not(shop: Shop) -> None:
    create(shop, 3)
    assert shop.stock() == (17, 3, 20)

    create(shop, 3, options={"inventoryBehaviour": "BYPASS"})
    assert shop.stock() == (17, 3, 20)


def test_obeying_the_policy_never_oversells_and_ignoring_it_does(shop: Shop) -> None:
    refused = shop.run("orderCreate", order=order_input(21), options=OBEY)
    assert errors(refused) == [(["order", "lineItems"], "INVENTORY_CLAIM_FAILED")]
    assert shop.stock() == (20, 0, 20)
    assert shop.store.count("Order") == 0

    create(shop, 21)
    assert shop.stock() == (-1, 21, 20)


def test_lines_whose_stock_is_not_counted_claim_none(shop: Shop) -> None:
    wanted = order_input(1)
    wanted["lineItems"][0]["variantId"] = UNTRACKED_VARIANT

    order = shop.doc(shop.done("orderCreate", order=wanted, options=OBEY)["order"])

    assert order["_claims"] == []


def test_shipping_takes_committed_stock_off_hand(shop: Shop) -> None:
    order = create(shop, 3)

    assert ship(shop, order, 1)["userErrors"] == []
    assert shop.stock() == (17, 2, 19)
    assert shop.doc(order)["displayFulfillmentStatus"] == "PARTIALLY_FULFILLED"

    assert ship(shop, order)["userErrors"] == []
    assert shop.stock() == (17, 0, 17)
    assert shop.doc(order)["displayFulfillmentStatus"] == "FULFILLED"


def test_what_is_claimed_at_two_locations_leaves_each_in_a_shipment_of_its_own(shop: Shop) -> None:
    shop.store.insert_levels([inventory_level(2, 2, BEFORE, available=30, on_hand=30, committed=0)])
    wanted = order_input(3)
    wanted["lineItems"].append({**wanted["lineItems"][0], "variantId": "gid://shopify/ProductVariant/2", "quantity": 25})
    order = shop.doc(shop.done("orderCreate", order=wanted, options=CLAIM)["order"])

    made = ship(shop, order)["fulfillment"]

    shipments = shop.doc(order)["fulfillments"]
    assert [(entry["location"]["id"], entry["totalQuantity"], entry["name"]) for entry in shipments] == [
        (HERE, 3, "#1001-F1"),
        (THERE, 25, "#1001-F2"),
    ]
    assert made["id"] == shipments[0]["id"]
    assert (shop.stock(), shop.stock(2, 2)) == ((17, 0, 17), (5, 0, 5))


def test_lines_that_are_not_counted_leave_with_the_others(shop: Shop) -> None:
    wanted = order_input(1)
    wanted["lineItems"].insert(0, {**wanted["lineItems"][0], "variantId": UNTRACKED_VARIANT})
    order = shop.doc(shop.done("orderCreate", order=wanted, options=CLAIM)["order"])

    ship(shop, order)

    assert [(entry["location"]["id"], entry["totalQuantity"]) for entry in shop.doc(order)["fulfillments"]] == [(HERE, 2)]


def test_more_than_remains_is_not_shipped(shop: Shop) -> None:
    order = create(shop, 1)

    too_much = ship(shop, order, 2)
    ship(shop, order)
    again = ship(shop, order)

    assert errors(too_much) == [(["fulfillment"], None)]
    assert errors(again) == [(["fulfillment"], None)]
    assert shop.stock() == (19, 0, 19)


def test_a_cancelled_order_gives_its_stock_and_its_money_back(shop: Shop) -> None:
    order = create(shop, 3, transactions=paid("30.00"))

    payload = shop.run("orderCancel", orderId=order["id"], reason="CUSTOMER", restock=True, refund=True)

    order = shop.doc(order)
    assert payload["job"]["done"] is False
    assert shop.stock() == (20, 0, 20)
    assert (order["cancelReason"], order["displayFinancialStatus"]) == ("CUSTOMER", "REFUNDED")
    assert amount(order, "totalRefundedSet") == amount(order, "totalReceivedSet")
    assert order["lineItems"][0]["currentQuantity"] == 0


def test_cancelling_twice_or_what_is_not_there_is_refused(shop: Shop) -> None:
    order = create(shop)
    shop.done("orderCancel", orderId=order["id"], reason="OTHER", restock=False)

    again = shop.run("orderCancel", orderId=order["id"], reason="OTHER", restock=True)
    missing = shop.run("orderCancel", orderId="gid://shopify/Order/9", reason="OTHER", restock=True)

    assert again["orderCancelUserErrors"][0]["code"] == "INVALID"
    assert missing["orderCancelUserErrors"][0]["code"] == "NOT_FOUND"
    assert shop.stock() == (18, 0, 18)


@pytest.mark.parametrize(
    ("shipped", "restock", "stock"),
    [
        (0, "CANCEL", (20, 0, 20)),
        (0, "NO_RESTOCK", (18, 0, 18)),
        (2, "RETURN", (20, 0, 20)),
        (2, "NO_RESTOCK", (18, 0, 18)),
        (1, "RETURN", (20, 0, 20)),
    ],
)
def test_a_refund_moves_the_stock_that_its_restock_type_says(shop: Shop, shipped: int, restock: str, stock: tuple[int, int, int]) -> None:
    order = create(shop, 2, transactions=paid("20.00"))
    if shipped:
        ship(shop, order, shipped)

    payload = refund(shop, order, 2, restock, "20.00", locationId=HERE)

    assert payload["userErrors"] == []
    assert shop.stock() == stock
    assert shop.doc(order)["displayFinancialStatus"] == "REFUNDED"


def test_partial_refunds_leave_the_rest(shop: Shop) -> None:
    order = create(shop, 2, transactions=paid("20.00"))

    refund(shop, order, 1, "CANCEL", "10.00")

    order = shop.doc(order)
    assert (order["displayFinancialStatus"], amount(order, "currentTotalPriceSet")) == ("PARTIALLY_REFUNDED", "1E+1")
    assert (order["lineItems"][0]["currentQuantity"], order["lineItems"][0]["refundableQuantity"]) == (1, 1)
    assert order["refunds"][0]["refundLineItems"][0]["restocked"] is True


def test_neither_more_money_nor_more_units_go_back_than_came(shop: Shop) -> None:
    order = create(shop, 2, transactions=paid("20.00"))

    money = refund(shop, order, 1, "NO_RESTOCK", "20.01")
    units = refund(shop, order, 3, "NO_RESTOCK")

    assert [error["message"] for error in money["userErrors"]] == ["Refund amount £20.01 is greater than net payment received £20.00"]
    assert errors(units) == [(["refundLineItems", "0", "quantity"], None)]
    assert shop.doc(order).get("refunds", []) == []
    assert money["order"] == {"id": order["id"]}


def test_an_order_update_replaces_tags_and_keeps_the_rest(shop: Shop) -> None:
    order = create(shop, tags=["a"], note="before")

    shop.done("orderUpdate", input={"id": order["id"], "tags": ["b"], "poNumber": "PO-1"})

    changed = shop.doc(order)
    assert (changed["tags"], changed["note"], changed["poNumber"]) == (["b"], "before", "PO-1")
    assert changed["updatedAt"] > order["updatedAt"]


def test_a_deleted_order_is_logged_and_frees_its_stock(shop: Shop) -> None:
    order = create(shop, 3)

    shop.done("orderDelete", orderId=order["id"])

    assert len(shop.store.deletions("Order")) == 1
    assert shop.stock() == (20, 0, 20)


def test_two_currencies_are_summed_side_by_side(shop: Shop) -> None:
    money = {"shopMoney": {"amount": "10.00", "currencyCode": "GBP"}, "presentmentMoney": {"amount": "12.50", "currencyCode": "EUR"}}
    wanted = order_input(2, presentmentCurrency="EUR")
    wanted["lineItems"][0]["priceSet"] = money

    order = shop.doc(shop.done("orderCreate", order=wanted)["order"])

    assert order["totalPriceSet"]["shopMoney"] == {"amount": "20.0", "currencyCode": "GBP"}
    assert order["totalPriceSet"]["presentmentMoney"] == {"amount": "25.0", "currencyCode": "EUR"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["order", "ship", "refund", "cancel"]),
        st.integers(1, 4),
        st.integers(0, 3),
        st.sampled_from(["CANCEL", "RETURN", "NO_RESTOCK"]),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stock_is_conserved_whatever_happens_to_orders(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    orders: list[str] = []
    for what, quantity, which, restock in steps:
        if what == "order":
            orders.append(create(shop, quantity, transactions=paid(f"{quantity * 10}.00"))["id"])
            continue
        if not orders:
            continue
        order = shop.doc(orders[which % len(orders)])
        if what == "ship":
            ship(shop, order, quantity)
        elif what == "refund":
            refund(shop, order, quantity, restock, locationId=HERE)
        else:
            shop.run("orderCancel", orderId=order["id"], reason="OTHER", restock=restock == "CANCEL")

    available, committed, on_hand = shop.stock()
    waiting = sum(line["unfulfilledQuantity"] for identity in orders for line in shop.doc(identity)["lineItems"])
    gone = 0
    for identity in orders:
        order = shop.doc(identity)
        shipped = sum(row["quantity"] for entry in order.get("fulfillments", []) for row in entry["fulfillmentLineItems"])
        rows = [row for entry in order.get("refunds", []) for row in entry["refundLineItems"]]
        line = order["lineItems"][0]
        assert 0 <= line["unfulfilledQuantity"] <= line["currentQuantity"] <= line["quantity"]
        refunded = sum(row["quantity"] for row in rows)
        kept = sum(row["quantity"] for row in rows if row["restocked"])
        assert shipped + line["unfulfilledQuantity"] <= line["quantity"]
        # What left: everything ordered that neither waits nor came back (shipped, or written off unshipped).
        gone += line["quantity"] - line["unfulfilledQuantity"] - kept
        assert refunded == line["quantity"] - line["currentQuantity"]
    assert on_hand == available + committed, (available, committed, on_hand)
    assert committed == waiting
    assert on_hand == 20 - gone
