"""Documents read by id land as the rows of a pull, whole to the last page, within the budget."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from inprocess_shop import InProcessShop
from shopify_fakes import answer, client_of, error

from commerce_assets.lake import Lake, ReplaceDays, ReplacePartition, land
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks import rest_orders
from commerce_assets.sources.shopify.bulk import with_filter
from commerce_assets.sources.shopify.client import document
from commerce_assets.sources.shopify.documents_by_id import PAGE, Documents, fetch_documents
from commerce_assets.sources.shopify.drain import FULFILLMENT_LINES, REFUND_LINES, drain
from commerce_assets.sources.shopify.errors import ShopifyConfigurationError, UnexpectedAnswerError
from commerce_assets.sources.shopify.mapping import MAPPINGS

AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVER = ReplaceDays(date(2020, 1, 1), date(2030, 1, 1))
FAMILIES = {
    "orders": ("Order", "orders_bulk"),
    "customers": ("Customer", "customers_bulk"),
    "products": ("Product", "products_bulk"),
    "inventory": ("InventoryItem", "inventory_bulk"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> InProcessShop:
    folder = tmp_path_factory.mktemp("shop") / "store"
    fill(folder, scale=0.01, seed=7, as_of=AS_OF)
    return InProcessShop(Store(folder))


def fetched(shop: InProcessShop, object_type: str, ids: list[int], folder: Path) -> Documents:
    with shop.client() as client:
        return fetch_documents(client, object_type, ids, folder, workers=1)


def numbers(file: Path) -> list[int]:
    """The ids of the roots in a file."""
    found = [json.loads(line) for line in file.read_bytes().splitlines()]
    return [int(line["id"].rsplit("/", 1)[1]) for line in found if "__parentId" not in line]


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_by_id_land_as_the_rows_of_a_pull(shop: InProcessShop, tmp_path: Path, family: str) -> None:
    object_type, bulk = FAMILIES[family]
    mapping = MAPPINGS[family]
    mode = EVER if family == "orders" else ReplacePartition("all")
    pulled, read = Lake(tmp_path / "pulled"), Lake(tmp_path / "read")
    for lake in (pulled, read):
        lake.ensure()
    folder = pulled.new_load_dir("storefront", family, "load")
    files = [shop.bulk(with_filter(document(bulk), ""), folder / "part-00000.jsonl")]
    ids = numbers(files[0])
    if family == "orders":
        with shop.client() as client:
            for kind in (REFUND_LINES, FULFILLMENT_LINES):
                files += drain(client, kind, files[:1], folder, progress=lambda _: None, workers=1).files
    land(pulled, family, mapping, files, "load", mode)

    documents = fetched(shop, object_type, [*ids, ids[0], 99], read.new_load_dir("storefront", family, "load"))

    report = land(read, family, mapping, documents.files, "load", mode)
    assert report.quarantined == report.duplicates == report.broken_lines == 0
    assert documents.missing == {99}
    assert set(documents.versions) == set(ids)
    for table in (found.table for found in mapping.tables):
        contract = next(one.contract for one in mapping.tables if one.table == table)
        ours, theirs = (lake.read(table).select(list(contract.schema)).sort(list(contract.key)) for lake in (read, pulled))
        assert ours.height > 0 or family == "products", table
        assert ours.equals(theirs), table


def test_orders_bring_their_payments_and_what_stock_needs_in_the_shape_of_webhooks(shop: InProcessShop, tmp_path: Path) -> None:
    owner = shop.store.shop()
    assert owner is not None
    docs = {doc["_key"] if "_key" in doc else int(doc["id"].rsplit("/", 1)[1]): doc for _, _, doc in shop.store.iterate("Order")}

    documents = fetched(shop, "Order", list(docs), tmp_path)

    kept = {
        "": "id admin_graphql_api_id location_id",
        "line_items": "id variant_id sku quantity current_quantity fulfillable_quantity requires_shipping admin_graphql_api_id",
        "fulfillments": "id status location_id",
        "refunds": "id",
    }
    assert documents.bodies.keys() == docs.keys()
    for number, doc in docs.items():
        ours, theirs = json.loads(documents.bodies[number]), rest_orders.order_payload(shop.store, owner, doc)
        for part, keys in kept.items():
            mine, other = ([body] if not part else body[part] for body in (ours, theirs))
            assert [{key: one[key] for key in keys.split()} for one in mine] == [{key: one[key] for key in keys.split()} for one in other]
        assert [_units(one["line_items"]) for one in ours["fulfillments"]] == [_units(one["line_items"]) for one in theirs["fulfillments"]]
        for refund, other in zip(ours["refunds"], theirs["refunds"], strict=True):
            keys = ("id", "quantity", "line_item_id", "location_id", "restock_type")
            assert refund["refund_line_items"] == [{key: line[key] for key in keys} for line in other["refund_line_items"]]
        payments = [json.loads(body) for body in documents.transactions[number]]
        assert [(one["id"], one["kind"], one["status"], one["parent_id"]) for one in payments] == [
            (one["id"], one["kind"], one["status"], one["parent_id"])
            for one in (rest_orders.transaction_payload(shop.store, owner, doc, entry["id"]) for entry in doc.get("transactions", []))
        ]
        assert {one["currency"] for one in payments} <= {doc["currencyCode"]}
    assert any(json.loads(body)["refunds"] for body in documents.bodies.values())


def _units(lines: list[dict[str, Any]]) -> dict[int, int]:
    return {line["id"]: line["quantity"] for line in lines}


def test_an_items_version_is_that_of_its_latest_level(shop: InProcessShop, tmp_path: Path) -> None:
    item = int(shop.store.connection.execute("SELECT item_id FROM inventory LIMIT 1").fetchone()[0])

    documents = fetched(shop, "InventoryItem", [item], tmp_path)

    lines = [json.loads(line) for file in documents.files for line in file.read_bytes().splitlines()]
    assert documents.versions == {item: max(datetime.fromisoformat(line["updatedAt"]) for line in lines)}


class Pages:
    """A customer with many addresses, a page at a time; `gone_after` pages it is deleted."""

    def __init__(self, addresses: int, gone_after: int | None = None, cursor: str | None = None) -> None:
        self.addresses, self.gone_after, self.cursor = addresses, gone_after, cursor
        self.requests: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.requests.append(body)
        variables = body["variables"]
        if "ids" in variables:
            return answer({"nodes": [self._customer(one, 0, 5) for one in variables["ids"]]})
        if self.gone_after is not None and len(self.requests) > self.gone_after:
            return answer({"node": None})
        return answer({"node": self._customer(variables["id"], int(variables["after"]), PAGE)})

    def _customer(self, customer: str, start: int, first: int) -> dict[str, Any]:
        end = min(start + first, self.addresses)
        edges = [{"node": {"id": f"gid://shopify/MailingAddress/{number}"}} for number in range(start, end)]
        info = {"hasNextPage": end < self.addresses, "endCursor": self.cursor or str(end)}
        empty = {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
        return {"id": customer, "updatedAt": "2026-11-20T12:00:00Z", "addressesV2": {"edges": edges, "pageInfo": info}, "metafields": empty}


def test_connections_are_read_to_their_last_page(tmp_path: Path) -> None:
    pages = Pages(addresses=5 + 2 * PAGE + 1)
    with client_of(pages) as client:
        documents = fetch_documents(client, "Customer", [1, 2], tmp_path)
    lines = [json.loads(line) for file in documents.files for line in file.read_bytes().splitlines()]
    children = [line["id"] for line in lines if line.get("__parentId") == "gid://shopify/Customer/2"]
    assert children == [f"gid://shopify/MailingAddress/{number}" for number in range(pages.addresses)]
    assert list(documents.versions) == [1, 2]


def test_what_is_deleted_while_its_pages_are_read_is_missing(tmp_path: Path) -> None:
    with client_of(Pages(addresses=100, gone_after=2)) as client:
        documents = fetch_documents(client, "Customer", [1], tmp_path)
    assert (documents.missing, documents.versions, documents.files) == ({1}, {}, ())


def test_pages_that_do_not_go_on_are_an_error(tmp_path: Path) -> None:
    with client_of(Pages(addresses=500, cursor="7")) as client, pytest.raises(UnexpectedAnswerError, match="do not go on"):
        fetch_documents(client, "Customer", [1], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_query_that_is_too_expensive_is_halved(tmp_path: Path) -> None:
    pages = Pages(addresses=1)

    def dear(request: httpx.Request) -> httpx.Response:
        if len(json.loads(request.content)["variables"].get("ids", ())) > 1:
            return answer(errors=[error("Query cost is 1001", "MAX_COST_EXCEEDED")])
        return pages(request)

    with client_of(dear) as client:
        documents = fetch_documents(client, "Customer", [1, 2, 3], tmp_path)
    assert list(documents.versions) == [1, 2, 3]


def test_nothing_wanted_asks_nothing(tmp_path: Path) -> None:
    with client_of(lambda _: answer(errors=[error("no", "NO")])) as client:
        documents = fetch_documents(client, "Order", [], tmp_path)
    assert (documents.files, documents.versions, documents.missing) == ((), {}, frozenset())


def test_an_unknown_type_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with (
        client_of(lambda _: answer({})) as client,
        pytest.raises(ShopifyConfigurationError, match="Order, Customer, Product, InventoryItem"),
    ):
        fetch_documents(client, "Shop", [1], tmp_path)
