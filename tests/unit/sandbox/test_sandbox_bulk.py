"""Bulk queries: what is refused, and what the result files hold."""

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from commerce_assets.sandbox import bulk
from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.bulk import Runner, Tally, export, problems
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import gid, gid_number, line_item_doc, order_doc, refund_doc, shipping_line_doc, shop_doc
from commerce_assets.sandbox.faults import parse_faults
from commerce_assets.sandbox.schema import answer, load_schema
from commerce_assets.sandbox.store import Store

ORDERS = "{ orders { edges { node { id name lineItems { edges { node { id sku } } } shippingLines { edges { node { id } } } } } } }"
RUN = (
    "mutation Run($query: String!, $grouped: Boolean! = false) { bulkOperationRunQuery(query: $query, groupObjects: $grouped)"
    " { bulkOperation { id status } userErrors { field message code } } }"
)
READ = "query Read($id: ID!) { bulkOperation(id: $id) { status errorCode objectCount rootObjectCount fileSize url partialDataUrl } }"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("{ products { edges { node { id } } } }", []),
        ("{ shop { id } }", ["Bulk queries must contain at least one connection."]),
        (
            "{ products { nodes { id } } }",
            [
                "All connection fields in a bulk query must select their contents using 'edges' > 'node', e.g: 'products { edges { node {'."
                " Selecting via 'nodes' is not supported. Invalid connection fields: 'products'."
            ],
        ),
        (
            '{ node(id: "gid://shopify/Product/1") { id } }',
            ["Bulk queries cannot contain a top level `node` field.", "Bulk queries must contain at least one connection."],
        ),
        (
            "{ customers { edges { node { id orders { edges { node { id customer { id orders { edges { node { id"
            " lineItems { edges { node { id } } } } } } } } } } } } } }",
            ["Bulk queries cannot contain connections with a nesting depth greater than 2."],
        ),
        (
            "{ products { edges { node { id variants { edges { node { id metafields { edges { node { id } } } media { edges { node { id } } } } } }"
            " metafields { edges { node { id } } } media { edges { node { id } } } } } } }",
            ["Bulk queries cannot contain more than 5 connections."],
        ),
        (
            "{ products { edges { node { title variants { edges { node { id } } } } } } }",
            [
                "The parent 'node' field for a nested connection must select the 'id' field without an alias and must be of 'ID' return type."
                " Connection fields without 'id': products."
            ],
        ),
        (
            "{ orders { edges { node { id refunds { id refundLineItems { edges { node { id } } } } } } } }",
            ["Queries that contain a connection field within a list field are not currently supported."],
        ),
        ("mutation { shop }", ["Invalid operation type. Only `query` operations are supported."]),
        ("{ orders { edges { node { id nope } } } }", ["Invalid bulk query: Field 'nope' doesn't exist on type 'Order'"]),
        ("", ["Invalid bulk query: syntax error, unexpected end of file"]),
    ],
)
def test_what_is_no_bulk_query_is_refused_in_the_recorded_words(text: str, messages: list[str]):
    assert problems(load_schema(), text) == messages


def orders(count: int) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        yield order_doc(
            number,
            f"#{number}",
            "2026-01-01T00:00:00Z",
            currency="GBP",
            total=Decimal(10),
            line_items=[line_item_doc(10 * number + at, "Mug", 1, Decimal(5), sku="A/B") for at in range(2)],
            shippingLines=[shipping_line_doc(number, "Post", Decimal(0))],
        )


@pytest.fixture
def context(tmp_path: Path) -> Context:
    store = Store(tmp_path / "store")
    store.set_shop(shop_doc("Shop", "shop.myshopify.com", "GBP", "Europe/London", "2024-01-01T00:00:00Z"))
    return Context(store, store.shop() or {}, "2026-10", ALL_SCOPES)


def lines(context: Context, text: str, grouped: bool) -> tuple[list[dict[str, Any]], Tally, bytes]:
    out = io.BytesIO()
    tally = export(context, load_schema(), text, grouped, out, lambda _: None)
    return [json.loads(line) for line in out.getvalue().splitlines()], tally, out.getvalue()


def test_grouped_children_stand_right_after_their_parent(context: Context):
    context.store.insert_many("Order", orders(3))
    found, tally, _ = lines(context, ORDERS, grouped=True)
    parent = None
    for line in found:
        parent = line["id"] if "__parentId" not in line else parent
        assert line.get("__parentId", parent) == parent
    assert (tally.objects, tally.roots) == (12, 3)


def test_ungrouped_children_come_after_their_parent_but_apart(context: Context):
    context.store.insert_many("Order", orders(3))
    grouped, _, _ = lines(context, ORDERS, grouped=True)
    apart, tally, _ = lines(context, ORDERS, grouped=False)
    seen: set[str] = set()
    for line in apart:
        assert line.get("__parentId") is None or line["__parentId"] in seen
        seen.add(line["id"])
    assert "__parentId" not in apart[1]
    assert sorted(map(json.dumps, apart)) == sorted(map(json.dumps, grouped))
    assert (tally.objects, tally.roots) == (12, 3)


def test_slashes_are_escaped_and_the_size_is_the_files(context: Context):
    context.store.insert_many("Order", orders(2))
    _, tally, content = lines(context, ORDERS, grouped=True)
    assert b'"id":"gid:\\/\\/shopify\\/Order\\/1"' in content
    assert tally.size == len(content)


def test_broken_records_are_printed_as_they_are_kept(context: Context):
    broken = next(orders(1)) | {"id": "not-a-gid", "_key": 99, "updatedAt": None}
    broken["lineItems"][0] |= {"_parentId": "gid://shopify/Order/404"}
    broken["lineItems"][1] |= {"_rawLine": '{"id": broken'}
    context.store.insert_many("Order", [broken])
    out = io.BytesIO()
    export(context, load_schema(), ORDERS.replace(" name", " updatedAt"), True, out, lambda _: None)
    printed = out.getvalue().splitlines()
    assert json.loads(printed[0]) == {"id": "not-a-gid", "updatedAt": None}
    assert json.loads(printed[1])["__parentId"] == "gid://shopify/Order/404"
    assert printed[2] == b'{"id": broken'


def test_a_bulk_line_reads_as_the_same_node_of_a_query(context: Context):
    order = next(orders(1)) | {"presentmentCurrencyCode": "EUR", "presentmentRate": "1.25", "tags": ["a"]}
    order["refunds"] = [refund_doc(5, "2026-01-02T00:00:00Z", Decimal("2.5"))]
    context.store.insert_many("Order", [order])
    fields = (
        "id name number tags processedAt fullyPaid currencyCode totalPriceSet { shopMoney { amount currencyCode } presentmentMoney { amount"
        " currencyCode } } totalTaxSet { shopMoney { amount } } refunds { id createdAt totalRefundedSet { presentmentMoney { amount } } }"
    )
    (bulk_line,), _, _ = lines(context, "{ orders { edges { node { %s } } } }" % fields, grouped=True)  # noqa: UP031
    queried = answer(context, "{ orders(first: 1) { nodes { %s } } }" % fields)["data"]["orders"]["nodes"][0]  # noqa: UP031
    assert bulk_line == queried
    assert bulk_line["totalPriceSet"]["presentmentMoney"] == {"amount": "12.5", "currencyCode": "EUR"}


def run(context: Context, text: str = ORDERS, grouped: bool = False) -> dict[str, Any]:
    body = answer(context, RUN, {"query": text, "grouped": grouped})
    payload: dict[str, Any] = body["data"]["bulkOperationRunQuery"]
    return payload


def ended(context: Context, identity: str) -> dict[str, Any]:
    thread = context.bulk.threads.get(gid_number(identity))
    if thread is not None:
        thread.join(20)
    operation: dict[str, Any] = answer(context, READ, {"id": identity})["data"]["bulkOperation"]
    return operation


def test_an_operation_completes_with_counts_as_text(context: Context):
    context.store.insert_many("Order", orders(2))
    context.bulk = Runner(context.store)
    payload = run(context)
    assert payload["bulkOperation"]["status"] == "CREATED"
    operation = ended(context, payload["bulkOperation"]["id"])
    assert (operation["status"], operation["objectCount"], operation["rootObjectCount"]) == ("COMPLETED", "8", "2")
    path = context.bulk.path(gid_number(payload["bulkOperation"]["id"]))
    assert operation["fileSize"] == str(path.stat().st_size)
    assert "response-content-disposition=attachment" in operation["url"]


def test_an_empty_result_has_no_url(context: Context):
    context.bulk = Runner(context.store)
    operation = ended(context, run(context)["bulkOperation"]["id"])
    assert (operation["status"], operation["objectCount"], operation["url"], operation["fileSize"]) == ("COMPLETED", "0", None, None)


def test_the_sixth_running_query_is_refused_and_cancelling_makes_room(context: Context):
    context.store.insert_many("Order", orders(2))
    context.bulk = Runner(context.store, parse_faults({"faults": [{"kind": "bulk_slow", "nth": [1, 2, 3, 4, 5], "seconds": 20}]}))
    ids = [run(context)["bulkOperation"]["id"] for _ in range(5)]
    refused = run(context)
    assert refused["bulkOperation"] is None
    assert refused["userErrors"] == [
        {
            "field": None,
            "message": f"A bulk query operation for this app and shop is already in progress: {', '.join(ids)}.",
            "code": "OPERATION_IN_PROGRESS",
        }
    ]
    cancel = "mutation Cancel($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } userErrors { message } } }"
    for identity in ids:
        payload = answer(context, cancel, {"id": identity})["data"]["bulkOperationCancel"]
        assert payload["bulkOperation"]["status"] in ("CANCELING", "CANCELED")
    assert {ended(context, identity)["status"] for identity in ids} == {"CANCELED"}
    assert ended(context, run(context)["bulkOperation"]["id"])["status"] == "COMPLETED"


def test_an_operation_that_a_killed_server_left_running_is_failed(context: Context):
    for number, status in ((1, "RUNNING"), (2, "CANCELING"), (3, "COMPLETED")):
        doc = {"id": gid("BulkOperation", number), "status": status, "type": "QUERY", "createdAt": "2026-01-01T00:00:00Z"}
        context.store.put("BulkOperation", doc)
    Runner(context.store)
    statuses = [doc["status"] for _, _, doc in context.store.iterate("BulkOperation")]
    assert statuses == ["FAILED", "CANCELED", "COMPLETED"]


@pytest.mark.parametrize(
    ("fault", "status", "complete"),
    [
        ({"kind": "bulk_failed_partial", "nth": 1, "after_objects": 3}, "FAILED", False),
        ({"kind": "jsonl_truncated", "nth": 1}, "COMPLETED", False),
        ({"kind": "jsonl_corrupted", "nth": 1, "line": 2}, "COMPLETED", False),
    ],
)
def test_faults_of_bulk_operations(context: Context, fault: dict[str, Any], status: str, complete: bool):
    context.store.insert_many("Order", orders(5))
    context.bulk = Runner(context.store, parse_faults({"faults": [fault]}))
    identity = run(context)["bulkOperation"]["id"]
    operation = ended(context, identity)
    assert operation["status"] == status
    partial = status == "FAILED"
    assert (operation["partialDataUrl"] is not None, operation["url"] is not None) == (partial, not partial)
    content = context.bulk.path(gid_number(identity), partial=partial).read_bytes()
    readable = 0
    for line in content.splitlines():
        try:
            json.loads(line)
            readable += 1
        except ValueError:
            continue
    assert readable == (3 if partial else readable)
    assert (readable == 20) is complete


def test_a_token_without_the_scope_ends_in_access_denied(context: Context):
    context.scopes = frozenset({"read_products"})
    context.bulk = Runner(context.store)
    operation = ended(context, run(context)["bulkOperation"]["id"])
    assert (operation["status"], operation["errorCode"]) == ("FAILED", "ACCESS_DENIED")


def test_what_the_store_cannot_export_fails_instead_of_being_empty(context: Context):
    context.bulk = Runner(context.store)
    members = '{ customerSegmentMembers(query: "customer_tags IS NULL") { edges { node { id } } } }'
    operation = ended(context, run(context, members)["bulkOperation"]["id"])
    assert (operation["status"], operation["errorCode"]) == ("FAILED", "INTERNAL_SERVER_ERROR")


def test_a_query_text_longer_than_the_limit_is_refused(context: Context):
    context.bulk = Runner(context.store)
    text = "{ orders { edges { node { id } } } }"
    padded = text + " " * (bulk.QUERY_BYTES + 1 - len(text))
    assert run(context, padded)["userErrors"] == [
        {"field": ["query"], "message": "Query is too large (65536 bytes; maximum is 65535 bytes)", "code": "INVALID"}
    ]
