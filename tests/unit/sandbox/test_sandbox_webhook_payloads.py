"""Webhook bodies have the documented keys and types, exact ids, the shop's local times, the buyer's money."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sandbox_shop import CUSTOMER, HERE, Shop, order_input, paid
from support import shared_path

from commerce_assets.events.topics import TOPICS
from commerce_assets.sandbox import documents as d
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks.payloads import RENDERERS, PayloadError, render

Doc = dict[str, Any]
AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
ADDRESS = {
    "firstName": "Ann",
    "lastName": "Lee",
    "company": "Lee Ltd",
    "address1": "1 High Street",
    "address2": "Flat 2",
    "city": "Portland",
    "zip": "97201",
    "countryCode": "US",
    "provinceCode": "CA",
    "phone": "+447700900001",
}

# The published schemas were inferred from the published examples, and say too little where those never vary. Each entry adds a type
# that may stand at a path of a topic's body as well.
WIDENED: dict[str, dict[str, str]] = {
    "orders": {
        # No example has a tax on a line that was shipped: the only rate seen is 0.
        "fulfillments.[].line_items.[].tax_lines.[].rate": "number",
        # Buyers' companies without a place, guests without addresses, gift cards that are shipped nowhere, deleted products.
        "company.location_id": "null",
        "billing_address": "null",
        "shipping_address": "null",
        "customer": "null",
        "customer.default_address": "null",
        "email": "null",
        "contact_email": "null",
        "fulfillments.[].line_items.[].product_id": "null",
        "fulfillments.[].line_items.[].variant_id": "null",
        "fulfillments.[].line_items.[].vendor": "null",
        # Countries without provinces.
        "billing_address.province": "null",
        "billing_address.province_code": "null",
        "shipping_address.province": "null",
        "shipping_address.province_code": "null",
        "customer.default_address.province": "null",
        "customer.default_address.province_code": "null",
    },
    "refunds": {"user_id": "null"},
    # The sandbox takes no cards.
    "order_transactions": {
        "authorization": "null",
        "device_id": "null",
        "payment_details.credit_card_company": "null",
        "payment_details.credit_card_number": "null",
    },
    # The published example itself has no cost.
    "inventory_items": {"cost": "null"},
    # The sandbox has no picture files.
    "products": {
        "image": "null",
        **{f"{where}.{name}": "null" for where in ("image", "images.[]", "media.[].preview_image") for name in ("src", "width", "height")},
    },
    "app": dict.fromkeys(
        ("address1", "city", "country", "country_code", "country_name", "phone", "province", "province_code", "shop_owner", "zip"), "null"
    )
    | {"primary_location_id": "null"},
}
# In the examples, but never in the sandbox: it has no staff.
ABSENT = {".line_items[].attributed_staffs[].id", ".line_items[].attributed_staffs[].quantity"}
UNDOCUMENTED = {"customer.tags_added", "customer.tags_removed"}


def published(kind: str, topic: str) -> Doc:
    name = topic.replace("/", "__")
    found: Doc = json.loads(shared_path(f"shopify/webhooks-2026-07/{kind}/{name}.json").read_text(encoding="utf-8"))
    return found


def schema_of(topic: str) -> Doc:
    schema = copy.deepcopy(published("json-schema", topic))
    if topic.startswith("orders") and "refunds" in schema["properties"]:
        # Inferred from orders without any.
        schema["properties"]["refunds"] = {"type": "array"}
    for path, kind in WIDENED.get(topic.partition("/")[0], {}).items():
        names = path.split(".")
        if names[0] in schema["properties"]:
            widen(schema, names, kind)
    return schema


def widen(schema: Doc, path: list[str], kind: str) -> None:
    for name in path:
        schema = schema["items"] if name == "[]" else schema["properties"][name]
    if "anyOf" in schema:
        schema["anyOf"].append({"type": kind})
        return
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    schema["type"] = [*types, kind]


def keys(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, held in value.items():
            yield f"{path}.{name}"
            yield from keys(held, f"{path}.{name}")
    elif isinstance(value, list):
        for held in value:
            yield from keys(held, f"{path}[]")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def order(shop: Shop) -> Doc:
    """An order with everything: taxes, a discount, shipping, payment, a shipment, a refund beyond its line's worth."""
    shop.done("customerUpdate", input={"id": CUSTOMER, "lastName": "Lee", "note": "Likes red", "addresses": [ADDRESS]})
    wanted = order_input(
        3,
        customerId=CUSTOMER,
        email="ann@example.com",
        sourceName="web",
        tags=["b", "a"],
        shippingAddress=ADDRESS,
        billingAddress=ADDRESS,
        shippingLines=[{"title": "Post", "code": "post", "priceSet": {"shopMoney": {"amount": "4.50", "currencyCode": "GBP"}}}],
        discountCode={"itemPercentageDiscountCode": {"code": "TEN", "percentage": "10"}},
        transactions=paid("31.50"),
    )
    wanted["lineItems"][0]["taxLines"] = [
        {"title": "VAT", "rate": "0.2", "priceSet": {"shopMoney": {"amount": "4.50", "currencyCode": "GBP"}}}
    ]
    made = shop.done("orderCreate", order=wanted, options={"inventoryBehaviour": "DECREMENT_IGNORING_POLICY"})["order"]
    number = d.gid_number(made["id"])
    tracking = {"number": "T1", "company": "Post", "url": "https://example.com/T1"}
    groups = [{"fulfillmentOrderId": d.gid("FulfillmentOrder", number)}]
    shop.done("fulfillmentCreate", fulfillment={"lineItemsByFulfillmentOrder": groups, "trackingInfo": tracking})
    doc = shop.doc(made)
    line = {"lineItemId": doc["lineItems"][0]["id"], "quantity": 1, "restockType": "RETURN", "locationId": HERE}
    back = {"orderId": made["id"], "parentId": doc["transactions"][0]["id"], "kind": "REFUND", "gateway": "manual", "amount": "15.00"}
    shop.done("refundCreate", key="r1", input={"orderId": made["id"], "note": "Broken", "refundLineItems": [line], "transactions": [back]})
    return shop.doc(made)


def body(shop: Shop, order: Doc, topic: str) -> Doc:
    """The body of a topic in the shop whose every field is filled."""
    product, customer, level = shop.doc(d.gid("Product", 1)), shop.doc(CUSTOMER), shop.store.level(1, 1)
    assert level is not None
    product = {**product, "media": [d.media_doc(7, "2026-01-01T00:00:00Z", alt="Front")], "tags": ["x", "y"]}
    bulk = {"id": d.gid("BulkOperation", 5), "createdAt": AS_OF.isoformat(), "completedAt": AS_OF.isoformat(), "status": "COMPLETED"}
    about: tuple[Any, Any] = {
        "orders": (order, None),
        "order_transactions": (order, order["transactions"][0]),
        "refunds": (order, order["refunds"][0]),
        "fulfillments": (order, order["fulfillments"][0]),
        "customers": ({**customer, "defaultPhoneNumber": {"phoneNumber": "+447700900001"}}, {"orders": [1, 2], "request": 9}),
        "customer.tags_added": (customer, {"tags": ["a"], "occurredAt": "2026-11-20T12:00:00Z"}),
        "customer.tags_removed": (customer, {"tags": ["a"], "occurredAt": "2026-11-20T12:00:00Z"}),
        "products": (product, None),
        "inventory_items": (product["variants"][0]["inventoryItem"], None),
        "inventory_levels": (level, None),
        "bulk_operations": (bulk, None),
        "shop": (None, None),
        "app": (None, None),
    }[topic.partition("/")[0]]
    extra = about[1]
    if topic == "orders/edited":
        extra = {"id": 3, "committedAt": "2026-11-20T12:00:00Z", "additions": [(1, 2)], "removals": [(4, 1)]}
    gone = topic.endswith(("/delete", "/disconnect"))
    return render(shop.store, shop.store.shop() or {}, topic, about[0] if gone else None, None if gone else about[0], extra)


def test_every_topic_that_shopify_sends_us_has_a_body() -> None:
    ours = {"wms/stock"} | {name for name in TOPICS if name.startswith("reconcile/")}
    assert set(TOPICS) - ours == set(RENDERERS)


@pytest.mark.parametrize("topic", sorted(set(RENDERERS) - UNDOCUMENTED))
def test_a_body_is_valid_by_the_published_schema_and_has_the_keys_of_the_published_example(shop: Shop, order: Doc, topic: str) -> None:
    rendered = body(shop, order, topic)
    problems = [f"{list(p.absolute_path)}: {p.message}" for p in jsonschema.Draft202012Validator(schema_of(topic)).iter_errors(rendered)]
    assert problems == []
    example = published("examples", topic)["response"]
    assert set(example) == set(rendered)
    missing = {
        path
        for path in set(keys(example)) - set(keys(rendered)) - ABSENT
        # What an example shows inside a list or object that is empty or null here is not told by it.
        if not path.startswith((".payment_details", ".variant_gids", ".fulfillments"))
    }
    assert missing == set()


def test_every_order_of_a_generated_store_is_valid_by_the_published_schema(tmp_path: Path) -> None:
    fill(tmp_path, scale=0.02, seed=3, as_of=AS_OF)
    store = Store(tmp_path)
    validator = jsonschema.Draft202012Validator(schema_of("orders/updated"))
    shop = store.shop() or {}
    for _, _, order in store.iterate("Order"):
        rendered = render(store, shop, "orders/updated", None, order, None)
        assert [f"{list(p.absolute_path)}: {p.message}" for p in validator.iter_errors(rendered)] == []
    store.close()


def test_broken_documents_are_rendered_without_complaint(tmp_path: Path) -> None:
    fill(tmp_path, scale=0.02, seed=3, dirt=0.9, as_of=AS_OF)
    store = Store(tmp_path)
    shop = store.shop() or {}
    for kind, topic in (("Order", "orders/updated"), ("Customer", "customers/update"), ("Product", "products/update")):
        for _, _, doc in store.iterate(kind):
            json.dumps(render(store, shop, topic, None, doc, None))
    store.close()


def test_ids_above_2_to_the_53_stay_exact(shop: Shop, order: Doc) -> None:
    large = 2**53 + 1
    moved = {**order, "id": d.gid("Order", large)}
    rendered = json.loads(json.dumps(render(shop.store, shop.store.shop() or {}, "orders/updated", None, moved, None)))
    assert (rendered["id"], rendered["admin_graphql_api_id"]) == (large, f"gid://shopify/Order/{large}")


def test_times_are_in_the_shops_zone_with_their_offset(shop: Shop, order: Doc) -> None:
    summer = {**order, "createdAt": "2026-07-01T23:30:00Z", "processedAt": "2026-12-01T23:30:00Z"}
    rendered = render(shop.store, {**(shop.store.shop() or {}), "ianaTimezone": "America/New_York"}, "orders/create", None, summer, None)
    assert (rendered["created_at"], rendered["processed_at"]) == ("2026-07-01T19:30:00-04:00", "2026-12-01T18:30:00-05:00")


def test_an_orders_statuses_tags_and_discounts_read_as_rest_has_them(shop: Shop, order: Doc) -> None:
    rendered = render(shop.store, shop.store.shop() or {}, "orders/updated", None, order, None)
    assert rendered["financial_status"] == "partially_refunded"
    assert rendered["fulfillment_status"] == "fulfilled"
    assert rendered["tags"] == "a, b"
    assert rendered["discount_codes"] == [{"code": "TEN", "amount": "3.00", "type": "percentage"}]
    assert rendered["line_items"][0]["discount_allocations"][0]["amount"] == "3.00"
    assert rendered["line_items"][0]["total_discount"] == "0.00"
    assert rendered["line_items"][0]["variant_inventory_management"] == "shopify"
    assert (rendered["line_items"][0]["current_quantity"], rendered["line_items"][0]["fulfillable_quantity"]) == (2, 0)


def test_what_a_refund_pays_beyond_its_lines_is_an_adjustment(shop: Shop, order: Doc) -> None:
    rendered = render(shop.store, shop.store.shop() or {}, "refunds/create", None, order, order["refunds"][0])
    line = rendered["refund_line_items"][0]
    worth = Decimal(line["subtotal_set"]["shop_money"]["amount"]) + Decimal(line["total_tax_set"]["shop_money"]["amount"])
    assert worth + -Decimal(rendered["order_adjustments"][0]["amount"]) == Decimal("15.00")
    assert rendered["transactions"][0]["amount"] == "15.00"
    assert (line["restock_type"], line["location_id"], rendered["restock"]) == ("return", 1, True)


def test_a_transactions_amount_is_in_the_buyers_currency(shop: Shop, order: Doc) -> None:
    abroad = {**order, "presentmentCurrencyCode": "EUR", "presentmentRate": "1.2"}
    rendered = render(shop.store, shop.store.shop() or {}, "order_transactions/create", None, abroad, order["transactions"][0])
    assert (rendered["amount"], rendered["currency"]) == ("37.80", "EUR")


def test_deleted_products_and_variants_are_null_on_old_orders(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    made = shop.done("orderCreate", order=order_input(1), options={})["order"]
    shop.done("productDelete", input={"id": d.gid("Product", 1)})
    line = render(shop.store, shop.store.shop() or {}, "orders/updated", None, shop.doc(made), None)["line_items"][0]
    assert (line["product_id"], line["variant_id"], line["product_exists"]) == (None, None, False)


def test_an_unknown_topic_or_a_missing_document_is_named() -> None:
    with pytest.raises(PayloadError, match="carts/update"):
        render(None, {}, "carts/update", None, None)  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match="orders/create"):
        render(None, {}, "orders/create", None, None)  # type: ignore[arg-type]
