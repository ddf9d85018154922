"""Bulk mutations: uploads, checks, rows and their results."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sandbox_shop import CUSTOMER, HERE, ITEM, Shop, errors

from commerce_assets.sandbox.bulk import Runner
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import gid_number
from commerce_assets.sandbox.mutations import UploadRefused, accept_staged_upload

SCOPES = frozenset({"read_customers", "write_customers", "read_inventory", "write_inventory", "read_products", "write_products"})
TAGS_ADD = "mutation Tag($id: ID!, $tags: [String!]!) { tagsAdd(id: $id, tags: $tags) { node { id } userErrors { field message } } }"
ADJUST = (
    "mutation Adjust($input: InventoryAdjustQuantitiesInput!, $key: String!) "
    "{ inventoryAdjustQuantities(input: $input) @idempotent(key: $key) { userErrors { code } } }"
)


class Here(Runner):
    """Runs operations at once, in the caller's thread, unless told to wait."""

    waiting = False

    def start(self, number: int, work: Any) -> None:
        if self.waiting:
            self.threads[number] = threading.current_thread()
        else:
            work()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.bulk = Here(shop.store)
    plain = shop.context

    def context(key: str | None = None) -> Context:
        made = plain(key)
        made.scopes = SCOPES
        return made

    shop.context = context  # type: ignore[method-assign]
    return shop


def upload(shop: Shop, rows: list[Any]) -> str:
    wanted = {"filename": "rows.jsonl", "mimeType": "text/jsonl", "resource": "BULK_MUTATION_VARIABLES", "httpMethod": "POST"}
    (target,) = shop.done("stagedUploadsCreate", input=[wanted])["stagedTargets"]
    key: str = next(field["value"] for field in target["parameters"] if field["name"] == "key")
    content = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    accept_staged_upload(shop.store.folder, key, io.BytesIO(content.encode()))
    return key


def results(shop: Shop, payload: dict[str, Any]) -> dict[int, dict[str, Any]]:
    path = shop.bulk.path(gid_number(payload["bulkOperation"]["id"]))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row.pop("__lineNumber"): row for row in rows}


def test_every_line_is_run_and_answered_by_its_number(shop: Shop) -> None:
    rows = [{"id": CUSTOMER, "tags": ["vip"]}, {"id": "gid://shopify/Customer/99", "tags": ["vip"]}, "not json"]

    payload = shop.done("bulkOperationRunMutation", mutation=TAGS_ADD, stagedUploadPath=upload(shop, rows))

    found = results(shop, payload)
    assert found[0]["data"]["tagsAdd"] == {"node": {"id": CUSTOMER}, "userErrors": []}
    assert found[1]["data"]["tagsAdd"]["userErrors"][0]["message"] == "Customer does not exist"
    assert "errors" in found[2]
    assert shop.doc(CUSTOMER)["tags"] == ["Red", "vip"]
    operation = shop.doc(payload["bulkOperation"])
    assert (operation["status"], operation["objectCount"]) == ("COMPLETED", "3")


def test_results_escape_slashes_and_do_not_follow_the_order_of_the_input(shop: Shop) -> None:
    rows = [{"id": CUSTOMER, "tags": [f"t{number}"]} for number in range(3)]

    payload = shop.done("bulkOperationRunMutation", mutation=TAGS_ADD, stagedUploadPath=upload(shop, rows))

    text = shop.bulk.path(gid_number(payload["bulkOperation"]["id"])).read_text()
    assert r"gid:\/\/shopify\/Customer\/1" in text
    assert [json.loads(line)["__lineNumber"] for line in text.splitlines()] != [0, 1, 2]


def test_idempotency_keys_are_per_row(shop: Shop) -> None:
    change = {"inventoryItemId": ITEM, "locationId": HERE, "delta": 5, "changeFromQuantity": None}
    row = {"input": {"name": "available", "reason": "correction", "changes": [change]}}
    rows = [{**row, "key": "a"}, {**row, "key": "b"}, {**row, "key": "a"}]

    shop.done("bulkOperationRunMutation", mutation=ADJUST, stagedUploadPath=upload(shop, rows))

    assert shop.stock() == (30, 0, 30)


@pytest.mark.parametrize(
    ("text", "field", "code"),
    [
        ("mutation { not parseable", None, "INVALID_MUTATION"),
        ("query { shop { id } }", None, "INVALID_MUTATION"),
        ("mutation { a: segmentDelete(id: 1) { deletedSegmentId } b: segmentDelete(id: 2) { deletedSegmentId } }", ["mutation"], None),
        ("mutation { bulkOperationCancel(id: 1) { userErrors { message } } }", ["mutation"], None),
        ("mutation { p(i: 1) { a(first: 1) { edges { node { id } } } b(first: 1) { nodes { id } } } }", ["mutation"], None),
        ("#" + "a" * 65_536, ["query"], "INVALID_MUTATION"),
    ],
)
def test_mutations_that_may_not_run_in_bulk(shop: Shop, text: str, field: list[str] | None, code: str | None) -> None:
    payload = shop.run("bulkOperationRunMutation", mutation=text, stagedUploadPath=upload(shop, []))

    assert errors(payload) == [(field, code)]
    assert payload["bulkOperation"] is None


def test_a_missing_file_is_said_before_a_full_house(shop: Shop) -> None:
    shop.bulk.waiting = True
    for _ in range(5):
        shop.done("bulkOperationRunMutation", mutation=TAGS_ADD, stagedUploadPath=upload(shop, []))

    sixth = shop.run("bulkOperationRunMutation", mutation=TAGS_ADD, stagedUploadPath=upload(shop, []))
    missing = shop.run("bulkOperationRunMutation", mutation=TAGS_ADD, stagedUploadPath="tmp/1/bulk/none/rows.jsonl")

    assert errors(sixth) == [(None, "OPERATION_IN_PROGRESS")]
    assert sixth["userErrors"][0]["message"].count("gid://shopify/BulkOperation/") == 5
    assert errors(missing) == [(None, "NO_SUCH_FILE")]


@pytest.mark.parametrize("key", ["tmp/1/bulk/../../etc/passwd", "/etc/passwd", "tmp/1/bulk/00000000-0000-0000-0000-000000000000/x"])
def test_nothing_is_kept_under_a_key_that_was_not_given_out(shop: Shop, key: str) -> None:
    with pytest.raises(UploadRefused):
        accept_staged_upload(shop.store.folder, key, io.BytesIO(b"{}"))


def test_client_identifiers_have_bounds(shop: Shop) -> None:
    payload = shop.run("bulkOperationRunMutation", mutation=TAGS_ADD, stagedUploadPath=upload(shop, []), clientIdentifier="abc")

    assert errors(payload) == [(["clientIdentifier"], "INVALID_MUTATION")]
