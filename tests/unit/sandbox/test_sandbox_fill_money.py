"""Every generated order agrees with itself to the penny, and time runs forward in it."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store

AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
Doc = dict[str, Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("fill")
    fill(folder, scale=0.25, seed=7, as_of=AS_OF)
    opened = Store(folder)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def orders(store: Store) -> list[Doc]:
    return [doc for _, _, doc in store.iterate("Order")]


def amount(doc: Doc, key: str) -> Decimal:
    return Decimal(doc.get(key, "0"))


def tax_of(doc: Doc) -> Decimal:
    return sum((Decimal(tax["priceSet"]) for tax in doc.get("taxLines", [])), Decimal(0))


def allocated(line: Doc) -> Decimal:
    return sum((Decimal(part["allocatedAmountSet"]) for part in line.get("discountAllocations", [])), Decimal(0))


def test_order_totals_are_lines_less_discounts_plus_tax_shipping_and_tip(orders: list[Doc]) -> None:
    for order in orders:
        lines, shipping = order["lineItems"], order.get("shippingLines", [])
        gross = sum(Decimal(line["originalUnitPriceSet"]) * line["quantity"] for line in lines)
        assert gross == sum(amount(line, "originalTotalSet") for line in lines)
        line_discounts = sum(map(allocated, lines), Decimal(0))
        shipping_net = sum((amount(line, "discountedPriceSet") for line in shipping), Decimal(0))
        shipping_gross = sum((amount(line, "originalPriceSet") for line in shipping), Decimal(0))
        tax = sum(map(tax_of, lines), Decimal(0)) + sum(map(tax_of, shipping), Decimal(0))
        added_tax = Decimal(0) if order["taxesIncluded"] else tax
        assert amount(order, "subtotalPriceSet") == gross - line_discounts, order["name"]
        assert amount(order, "totalDiscountsSet") == line_discounts + shipping_gross - shipping_net, order["name"]
        assert amount(order, "totalShippingPriceSet") == shipping_net, order["name"]
        assert amount(order, "totalTaxSet") == tax == tax_of(order), order["name"]
        expected = gross - line_discounts + shipping_net + added_tax + amount(order, "totalTipReceivedSet")
        assert amount(order, "totalPriceSet") == expected, order["name"]


def test_discounts_point_to_applications_and_do_not_exceed_their_line(orders: list[Doc]) -> None:
    kinds: Counter[str] = Counter()
    for order in orders:
        applications = {application["index"]: application for application in order.get("discountApplications", [])}
        kinds.update(application["__typename"] for application in applications.values())
        for line in order["lineItems"]:
            assert 0 <= allocated(line) <= amount(line, "originalTotalSet")
            for part in line.get("discountAllocations", []):
                assert applications[part["discountApplication"]["index"]]["targetType"] == "LINE_ITEM"
    assert set(kinds) == {"DiscountCodeApplication", "AutomaticDiscountApplication", "ManualDiscountApplication"}


def test_transactions_add_up_to_what_was_received_and_paid_back(orders: list[Doc]) -> None:
    for order in orders:
        good = [t for t in order.get("transactions", []) if t["status"] == "SUCCESS"]
        assert sum(Decimal(t["amountSet"]) for t in good if t["kind"] in ("SALE", "CAPTURE")) == amount(order, "totalReceivedSet")
        paid_back = sum(Decimal(t["amountSet"]) for t in good if t["kind"] == "REFUND")
        refunds = sum(Decimal(refund["totalRefundedSet"]) for refund in order.get("refunds", []))
        assert paid_back == refunds == amount(order, "totalRefundedSet") <= amount(order, "totalReceivedSet"), order["name"]
        left = Decimal(0) if order.get("cancelledAt") else amount(order, "totalPriceSet") - refunds
        assert amount(order, "currentTotalPriceSet") == left, order["name"]
        by_id = {t["id"]: t for t in order.get("transactions", [])}
        for transaction in good:
            if transaction["kind"] in ("REFUND", "CAPTURE", "VOID"):
                parent = by_id[transaction["parentTransaction"]["id"]]
                assert Decimal(transaction["amountSet"]) <= Decimal(parent["amountSet"])
        for refund in order.get("refunds", []):
            assert sum(Decimal(by_id[t["id"]]["amountSet"]) for t in refund["transactions"]) == Decimal(refund["totalRefundedSet"])


def test_current_quantities_are_what_was_not_given_back_and_refunds_stay_within_their_lines(orders: list[Doc]) -> None:
    for order in orders:
        returned: Counter[str] = Counter()
        worth: dict[str, Decimal] = {}
        for refund in order.get("refunds", []):
            for line in refund["refundLineItems"]:
                key = line["lineItem"]["id"]
                returned[key] += line["quantity"]
                worth[key] = worth.get(key, Decimal(0)) + Decimal(line["subtotalSet"])
                assert line["restocked"] == (line["restockType"] in ("RETURN", "CANCEL")) == (line["location"] is not None)
        for line in order["lineItems"]:
            assert line["currentQuantity"] == line["quantity"] - returned[line["id"]] >= 0
            assert worth.get(line["id"], Decimal(0)) <= amount(line, "originalTotalSet") - allocated(line)
        assert order["subtotalLineItemsQuantity"] == sum(line["quantity"] for line in order["lineItems"])


def test_shipments_hold_what_was_ordered_and_the_status_says_so(orders: list[Doc]) -> None:
    split = 0
    for order in orders:
        shipments = [f for f in order.get("fulfillments", []) if f["status"] == "SUCCESS"]
        shipped: Counter[str] = Counter()
        for shipment in shipments:
            assert shipment["totalQuantity"] == sum(line["quantity"] for line in shipment["fulfillmentLineItems"])
            for line in shipment["fulfillmentLineItems"]:
                shipped[line["lineItem"]["id"]] += line["quantity"]
        ordered = {line["id"]: line["quantity"] for line in order["lineItems"]}
        assert all(shipped[key] <= quantity for key, quantity in ordered.items())
        status = "FULFILLED" if dict(shipped) == ordered else "PARTIALLY_FULFILLED" if shipped else "UNFULFILLED"
        assert order["displayFulfillmentStatus"] == status, order["name"]
        split += len(shipments) > 1
    assert 0.02 < split / len(orders) < 0.08


def test_time_runs_forward_and_nothing_happens_after_the_stores_now(orders: list[Doc]) -> None:
    now = AS_OF.strftime("%Y-%m-%dT%H:%M:%SZ")
    for order in orders:
        events = [order["createdAt"], order.get("cancelledAt"), order.get("closedAt")]
        events += [t["createdAt"] for t in order.get("transactions", [])]
        for refund in order.get("refunds", []):
            events += [refund["processedAt"], refund["updatedAt"]]
        for shipment in order.get("fulfillments", []):
            events += [shipment["createdAt"], shipment["updatedAt"], shipment.get("deliveredAt"), shipment.get("inTransitAt")]
        happened = [event for event in events if event]
        assert order["processedAt"] <= min(happened), order["name"]
        assert max(happened) <= order["updatedAt"] <= now, order["name"]
        assert order["processedAt"] >= "2024-11-20"


def test_every_kind_of_order_is_there(orders: list[Doc]) -> None:
    present = {
        "cancelled": any(order.get("cancelledAt") for order in orders),
        "test": any(order.get("test") for order in orders),
        "guest": any("customer" not in order for order in orders),
        "company": any(order.get("purchasingEntity", {}).get("__typename") == "PurchasingCompany" for order in orders),
        "tip": any(amount(order, "totalTipReceivedSet") for order in orders),
        "gift card sold": any(line.get("isGiftCard") for order in orders for line in order["lineItems"]),
        "gift card paid with": any(t["gateway"] == "gift_card" for order in orders for t in order.get("transactions", [])),
        "taxes added": any(not order["taxesIncluded"] and amount(order, "totalTaxSet") for order in orders),
        "two taxes": any(len(order.get("taxLines", [])) == 2 for order in orders),
        "refund without lines": any(not refund["refundLineItems"] for order in orders for refund in order.get("refunds", [])),
        "restocked": any(x["restockType"] == "RETURN" for o in orders for r in o.get("refunds", []) for x in r["refundLineItems"]),
        "not restocked": any(x["restockType"] == "NO_RESTOCK" for o in orders for r in o.get("refunds", []) for x in r["refundLineItems"]),
        "imported": any(order["createdAt"] > order["processedAt"] for order in orders),
        "product gone": any("product" not in line for order in orders for line in order["lineItems"]),
        "free shipping code": any(a["targetType"] == "SHIPPING_LINE" for o in orders for a in o.get("discountApplications", [])),
        "failed payment": any(t["status"] == "FAILURE" for order in orders for t in order.get("transactions", [])),
        "authorised only": any(order["displayFinancialStatus"] == "AUTHORIZED" for order in orders),
        "pending": any(order["displayFinancialStatus"] == "PENDING" for order in orders),
    }
    assert all(present.values()), present
    assert {order["presentmentCurrencyCode"] for order in orders} >= {"GBP", "EUR", "USD"}
    assert all("presentmentRate" in order for order in orders if order["presentmentCurrencyCode"] != order["currencyCode"])


def test_references_lead_to_documents_of_the_store(store: Store, orders: list[Doc]) -> None:
    customers = {doc["id"] for _, _, doc in store.iterate("Customer")}
    variants = {variant["id"] for _, _, doc in store.iterate("Product") for variant in doc["variants"]}
    assert {order["customer"]["id"] for order in orders if "customer" in order} <= customers
    assert {line["variant"]["id"] for order in orders for line in order["lineItems"] if "variant" in line} <= variants
    assert len({order["name"] for order in orders}) == len(orders)
