"""One request after the other: errors in the real store's shape, scopes, references, versions."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.cost import Bucket
from commerce_assets.sandbox.documents import (
    customer_doc,
    discount_code_application,
    fulfillment_doc,
    gid,
    inventory_level,
    line_item_doc,
    location_doc,
    order_doc,
    product_doc,
    refund_doc,
    refund_line_doc,
    shop_doc,
    transaction_doc,
    variant_doc,
)
from commerce_assets.sandbox.schema import answer
from commerce_assets.sandbox.store import Store

AT = "2026-11-01T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.set_shop(shop_doc("Shop", "shop.myshopify.com", "GBP", "Europe/London", AT))
    store.insert_many("Location", [location_doc(5, "London", AT, address={"countryCode": "GB"})])
    variants = [variant_doc(21, 31, "Default Title", Decimal("9.5"), AT, sku="MUG", unit_cost=Decimal(4))]
    store.insert_many("Product", [product_doc(11, "Mug", "mug", AT, variants=variants)])
    store.insert_levels([inventory_level(31, 5, AT, available=3, on_hand=4, committed=1)])
    store.insert_many("Customer", [customer_doc(7, AT, email="ann@example.com", firstName="Ann", lastName="Lee")])
    order = order_doc(
        1,
        "#1001",
        AT,
        currency="GBP",
        total=Decimal(18),
        customer=7,
        line_items=[line_item_doc(41, "Mug", 2, Decimal("9.5"), sku="MUG", product=11, variant=21, discounts=[(0, Decimal(1))])],
        discountApplications=[discount_code_application(0, "SAVE", amount="1.0")],
        transactions=[transaction_doc(51, "SALE", Decimal(18), AT), transaction_doc(52, "REFUND", Decimal(9), AT, parent=51)],
        refunds=[refund_doc(61, AT, Decimal(9), lines=[refund_line_doc(62, 41, 1, Decimal(9))], transactions=[52])],
        fulfillments=[fulfillment_doc(71, "#1001.1", AT, location=5, lines=[(72, 41, 1)])],
        totalReceivedSet="18.0",
        totalRefundedSet="9.0",
    )
    store.insert_many("Order", [order])
    return store


def ask(store: Store, text: str, scopes: frozenset[str] = ALL_SCOPES, bucket: Bucket | None = None, **variables: Any) -> dict[str, Any]:
    context = Context(store, store.shop() or {}, "2026-10", scopes, clock=lambda: datetime(2026, 11, 21, tzinfo=UTC))
    return answer(context, text, variables, None, bucket)


def test_references_lead_to_their_documents(store: Store):
    order = ask(
        store,
        """{ order(id: "gid://shopify/Order/1") {
          customer { displayName numberOfOrders lastOrder { name } }
          lineItems(first: 5) { nodes { product { title } variant { inventoryQuantity product { id } }
            discountAllocations { discountApplication { ... on DiscountCodeApplication { code } } } unfulfilledQuantity } }
          transactions { kind parentTransaction { id kind } }
          refunds { transactions(first: 5) { nodes { kind } } refundLineItems(first: 5) { nodes { lineItem { sku } } } }
          fulfillments { location { name } fulfillmentLineItems(first: 5) { nodes { lineItem { title } discountedTotalSet { shopMoney { amount } } } } }
          netPaymentSet { shopMoney { amount } } fullyPaid discountCodes
        } }""",
    )["data"]["order"]
    assert order["customer"] == {"displayName": "Ann Lee", "numberOfOrders": "1", "lastOrder": {"name": "#1001"}}
    line = order["lineItems"]["nodes"][0]
    assert line["product"] == {"title": "Mug"}
    assert line["variant"] == {"inventoryQuantity": 3, "product": {"id": gid("Product", 11)}}
    assert line["discountAllocations"] == [{"discountApplication": {"code": "SAVE"}}]
    assert line["unfulfilledQuantity"] == 1
    assert order["transactions"][1]["parentTransaction"] == {"id": gid("OrderTransaction", 51), "kind": "SALE"}
    assert order["refunds"][0]["transactions"]["nodes"] == [{"kind": "REFUND"}]
    assert order["refunds"][0]["refundLineItems"]["nodes"] == [{"lineItem": {"sku": "MUG"}}]
    assert order["fulfillments"][0]["location"] == {"name": "London"}
    shipped = order["fulfillments"][0]["fulfillmentLineItems"]["nodes"][0]
    assert shipped == {"lineItem": {"title": "Mug"}, "discountedTotalSet": {"shopMoney": {"amount": "9.5"}}}
    assert (order["netPaymentSet"]["shopMoney"]["amount"], order["discountCodes"]) == ("9.0", ["SAVE"])


def test_nested_objects_are_found_by_node(store: Store):
    ids = [gid("Refund", 61), gid("Fulfillment", 71), gid("ProductVariant", 21), gid("InventoryItem", 31), gid("Order", 404)]
    nodes = ask(store, "query N($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on InventoryItem { variant { sku } } } }", ids=ids)
    assert [node and node["__typename"] for node in nodes["data"]["nodes"]] == [
        "Refund",
        "Fulfillment",
        "ProductVariant",
        "InventoryItem",
        None,
    ]
    assert nodes["data"]["nodes"][3]["variant"] == {"sku": "MUG"}


def test_a_reference_to_something_deleted_is_null(store: Store):
    store.delete("Product", 11, AT)
    line = ask(store, "{ orders(first: 1) { nodes { lineItems(first: 1) { nodes { sku product { id } variant { id } } } } } }")
    assert line["data"]["orders"]["nodes"][0]["lineItems"]["nodes"] == [{"sku": "MUG", "product": None, "variant": None}]


@pytest.mark.parametrize(
    ("text", "message", "path", "extensions"),
    [
        (
            "query Q { shop { nope } }",
            "Field 'nope' doesn't exist on type 'Shop'",
            ["query Q", "shop", "nope"],
            {"code": "undefinedField", "typeName": "Shop", "fieldName": "nope"},
        ),
        (
            "{ order { id } }",
            "Field 'order' is missing required arguments: id",
            ["query", "order"],
            {"code": "missingRequiredArguments", "className": "Field", "name": "order", "arguments": "id"},
        ),
        (
            "{ orders(first: 1, sortKey: NOPE) { nodes { id } } }",
            "Argument 'sortKey' on Field 'orders' has an invalid value (NOPE). Expected type 'OrderSortKeys'.",
            ["query", "orders", "sortKey"],
            {"code": "argumentLiteralsIncompatible", "typeName": "Field", "argumentName": "sortKey"},
        ),
        (
            "{ shop(x: 1) { id } }",
            "Field 'shop' doesn't accept argument 'x'",
            ["query", "shop", "x"],
            {"code": "argumentNotAccepted", "name": "shop", "typeName": "Field", "argumentName": "x"},
        ),
        (
            "query Q($unused: Int) { shop { id } }",
            "Variable $unused is declared by Q but not used",
            ["query Q"],
            {"code": "variableNotUsed", "variableName": "unused"},
        ),
        (
            "{ shop @nope { id } }",
            "Directive @nope is not defined",
            ["query", "shop"],
            {"code": "undefinedDirective", "directiveName": "nope"},
        ),
    ],
)
def test_invalid_documents_are_answered_as_recorded(store: Store, text: str, message: str, path: list[str], extensions: dict[str, str]):
    (error,) = ask(store, text)["errors"]
    assert (error["message"], error["path"], error["extensions"]) == (message, path, extensions)


def test_a_wrong_variable_is_answered_as_recorded(store: Store):
    document = "mutation M($metafields: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $metafields) { userErrors { message } } }"
    given = [{"namespace": "custom", "key": "k", "type": "boolean", "value": "true"}]
    (error,) = ask(store, document, metafields=given)["errors"]
    assert error["message"] == (
        "Variable $metafields of type [MetafieldsSetInput!]! was provided invalid value for 0.ownerId (Expected value to not be null)"
    )
    assert error["extensions"] == {
        "code": "INVALID_VARIABLE",
        "value": given,
        "problems": [{"path": [0, "ownerId"], "explanation": "Expected value to not be null"}],
    }


def test_input_arrays_are_limited(store: Store):
    ids = [gid("Order", number) for number in range(251)]
    (error,) = ask(store, "query N($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)["errors"]
    assert error["message"] == "The input array size of 251 is greater than the maximum allowed of 250."
    assert (error["path"], error["extensions"]) == (["nodes", "ids"], {"code": "MAX_INPUT_SIZE_EXCEEDED"})


def test_a_query_that_costs_too_much_is_not_executed(store: Store):
    inner = "lineItems(first: 250) { nodes { id variant { inventoryItem { id } } product { media(first: 250) { nodes { id } } } } }"
    (error,) = ask(store, "{ orders(first: 250) { nodes { %s } } }" % inner)["errors"]  # noqa: UP031
    assert error["extensions"]["code"] == "MAX_COST_EXCEEDED"


def test_an_empty_bucket_throttles_without_data(store: Store):
    bucket = Bucket(100, lambda: 0.0)
    bucket.take(1999)
    body = ask(store, "{ orders(first: 10) { nodes { id } } }", bucket=bucket)
    assert "data" not in body
    assert body["errors"][0]["extensions"]["code"] == "THROTTLED"
    assert body["extensions"]["cost"] == {
        "requestedQueryCost": 6,
        "actualQueryCost": None,
        "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 1, "restoreRate": 100},
    }


def test_the_difference_to_the_actual_cost_is_given_back(store: Store):
    bucket = Bucket(100, lambda: 0.0)
    cost = ask(store, "{ orders(first: 250) { nodes { id } } }", bucket=bucket)["extensions"]["cost"]
    assert cost["actualQueryCost"] < cost["requestedQueryCost"]
    assert cost["throttleStatus"]["currentlyAvailable"] == 2000 - cost["actualQueryCost"]


@pytest.mark.parametrize(
    ("text", "scopes", "field", "scope"),
    [
        ("{ customers(first: 1) { nodes { id } } }", {"read_orders"}, "customers", "read_customers"),
        ("{ orders(first: 1) { nodes { customer { id } } } }", {"read_orders", "read_all_orders"}, "customer", "read_customers"),
        (
            'mutation { tagsAdd(id: "gid://shopify/Customer/7", tags: "a") { node { id } } }',
            {"read_customers"},
            "tagsAdd",
            "write_customers",
        ),
    ],
)
def test_what_the_token_may_not_do_is_denied_as_recorded(store: Store, text: str, scopes: set[str], field: str, scope: str):
    error = ask(store, text, frozenset(scopes))["errors"][0]
    assert error["message"] == f"Access denied for {field} field. Required access: `{scope}` access scope."
    assert error["extensions"] == {
        "code": "ACCESS_DENIED",
        "documentation": "https://shopify.dev/api/usage/access-scopes",
        "requiredAccess": f"`{scope}` access scope.",
    }


def test_a_search_warning_stands_in_the_extensions(store: Store):
    body = ask(store, '{ orders(first: 1, query: "made_up:value") { nodes { id } } }')
    assert body["extensions"]["search"] == [
        {
            "path": ["orders"],
            "query": "made_up:value",
            "parsed": {"field": "made_up", "match_all": "value"},
            "warnings": [{"field": "made_up", "message": "Invalid search field for this query.", "code": "invalid_field"}],
        }
    ]


def test_inventory_levels_are_read_by_their_gid_and_by_item_and_location(store: Store):
    fields = """fragment Level on InventoryLevel {
      id quantities(names: ["available", "on_hand"]) { name quantity } location { name } item { sku }
    }"""
    query = """{
      inventoryLevel(id: "gid://shopify/InventoryLevel/5?inventory_item_id=31") { ...Level }
      inventoryItem(id: "gid://shopify/InventoryItem/31") { inventoryLevel(locationId: "gid://shopify/Location/5") { ...Level } }
    }"""
    body = ask(store, query + fields)["data"]
    assert body["inventoryLevel"] == body["inventoryItem"]["inventoryLevel"]
    assert body["inventoryLevel"]["quantities"] == [{"name": "available", "quantity": 3}, {"name": "on_hand", "quantity": 4}]


def test_what_was_tagged_is_answered_as_it_is_then(store: Store):
    context = Context(store, store.shop() or {}, "2026-10", ALL_SCOPES)
    add = 'mutation Add($id: ID!) { tagsAdd(id: $id, tags: ["b", "a"]) { node { id ... on Order { tags } } userErrors { message } } }'
    answered = answer(context, add, {"id": gid("Order", 1)})["data"]["tagsAdd"]
    assert answered == {"node": {"id": gid("Order", 1), "tags": ["a", "b"]}, "userErrors": []}
