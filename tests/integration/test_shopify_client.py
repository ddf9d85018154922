"""The client against the sandbox store over HTTP: every stream whole, and what faults do to it."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from inprocess_shop import ServedSandbox, served_sandbox

from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sources.shopify.auth import Auth, ClientCredentials, StaticToken
from commerce_assets.sources.shopify.bulk import BulkOptions, run_mutation, run_query
from commerce_assets.sources.shopify.client import REQUIRED_SCOPES, ShopifyClient, state_of_shop
from commerce_assets.sources.shopify.errors import (
    ApiVersionError,
    ApiVersionWarning,
    AuthenticationError,
    BulkFailedError,
    BulkRejectedError,
    BulkTimeoutError,
    GraphqlError,
    SearchWarningError,
    TruncatedDownloadError,
)
from commerce_assets.sources.shopify.retry import RetryPolicy
from commerce_assets.sources.shopify.streams import (
    Fetched,
    fetch_all_ids,
    fetch_customers,
    fetch_inventory,
    fetch_locations,
    fetch_orders,
    fetch_products,
)
from commerce_assets.sources.shopify.throttle import Throttle

pytestmark = pytest.mark.xdist_group("shopify_client")
"""On one worker: elsewhere the store would be filled and served once more."""
AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2026, 12, 31)


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "store"
    fill(folder, scale=0.05, seed=3, as_of=AS_OF)
    return folder


@pytest.fixture(scope="module")
def shop(store_folder: Path) -> Iterator[ServedSandbox]:
    with served_sandbox(store_folder, plan="plus") as running:
        yield running


def client_of(shop: ServedSandbox, auth: Auth | None = None, version: str = "2026-10") -> ShopifyClient:
    retry = RetryPolicy(attempts=8, base_seconds=0.02, cap_seconds=0.5)
    return ShopifyClient(shop.url, version, auth or StaticToken(shop.url, shop.token), throttle=Throttle(), retry=retry)


def rows(files: tuple[Path, ...]) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def kinds(found: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in found:
        kind = row["id"].split("/")[3] if "id" in row else row["__typename"]
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def documents(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [document for _, _, document in Store(folder).iterate(kind)]


def assert_reconciled(fetched: Fetched) -> None:
    found = rows(fetched.bulk_files)
    assert (fetched.declared_objects, fetched.declared_roots) == (len(found), sum("__parentId" not in row for row in found))
    assert fetched.lines == len(found)
    assert fetched.api_version == "2026-10"


def test_the_shop_tells_who_it_is(shop):
    with client_of(shop) as client:
        state = state_of_shop(client)
    assert state.version_answered == state.version_asked == "2026-10"
    assert state.missing_scopes == ()
    assert set(REQUIRED_SCOPES) <= set(state.scopes)
    assert state.throttle is not None
    assert (state.throttle.maximum_available, state.throttle.restore_rate) == (20_000, 1_000)


def test_orders_come_whole_with_the_lines_of_their_refunds_and_fulfillments(shop, store_folder, tmp_path):
    with client_of(shop) as client:
        fetched = fetch_orders(client, tmp_path, FIRST_DAY, LAST_DAY)
    assert_reconciled(fetched)
    orders = documents(store_folder, "Order")
    counts = kinds(rows(fetched.bulk_files))
    assert counts["Order"] == len(orders)
    assert counts["LineItem"] == sum(len(order["lineItems"]) for order in orders)
    refund_lines = [row for row in rows(fetched.files) if "/RefundLineItem/" in row.get("id", "")]
    expected = sum(len(refund.get("refundLineItems", [])) for order in orders for refund in order.get("refunds", []))
    assert len(refund_lines) == fetched.drained["refund_lines"].rows == expected
    refunds = {refund["id"] for row in rows(fetched.bulk_files) for refund in row.get("refunds", [])}
    assert {row["__parentId"] for row in refund_lines} <= refunds
    assert fetched.drained["refund_lines"].parents == len(refunds)
    assert set(refund_lines[0]) >= {"id", "__parentId", "quantity", "restockType", "lineItem", "priceSet", "subtotalSet", "totalTaxSet"}


def test_every_fulfilled_piece_is_either_derivable_or_drained(shop, tmp_path):
    with client_of(shop) as client:
        fetched = fetch_orders(client, tmp_path, FIRST_DAY, LAST_DAY)
    found = rows(fetched.bulk_files)
    drained: dict[str, int] = {}
    for row in rows(fetched.files):
        if "/FulfillmentLineItem/" in row.get("id", ""):
            drained[row["__parentId"]] = drained.get(row["__parentId"], 0) + row["quantity"]
    pieces: dict[str, int] = {}
    for row in found:
        if "/LineItem/" in row.get("id", ""):
            pieces[row["__parentId"]] = pieces.get(row["__parentId"], 0) + row["quantity"]
    derived = 0
    for order in found:
        for fulfillment in order.get("fulfillments", []):
            if fulfillment["id"] in drained:
                assert drained[fulfillment["id"]] == fulfillment["totalQuantity"]
            else:
                derived += 1
                assert fulfillment["totalQuantity"] == pieces[order["id"]]
    assert derived > len(drained) > 0


def test_neighbouring_windows_hold_every_order_once(shop, tmp_path):
    with client_of(shop) as client:
        whole = rows(fetch_orders(client, tmp_path / "whole", FIRST_DAY, LAST_DAY).bulk_files)
        moments = sorted(row["updatedAt"][:10] for row in whole if "/Order/" in row.get("id", ""))
        middle = date.fromisoformat(moments[len(moments) // 2])
        parts = [
            rows(fetch_orders(client, tmp_path / "before", FIRST_DAY, middle - timedelta(days=1)).bulk_files),
            rows(fetch_orders(client, tmp_path / "on", middle, middle).bulk_files),
            rows(fetch_orders(client, tmp_path / "after", middle + timedelta(days=1), LAST_DAY).bulk_files),
        ]
    assert all(parts)
    assert sorted(row["id"] for part in parts for row in part if "id" in row) == sorted(row["id"] for row in whole if "id" in row)


def test_a_window_without_orders_is_empty(shop, tmp_path):
    with client_of(shop) as client:
        fetched = fetch_orders(client, tmp_path, date(2020, 1, 1), date(2020, 1, 2))
    assert (fetched.files, fetched.declared_objects, fetched.lines) == ((), 0, 0)


@pytest.mark.parametrize(
    ("fetch", "kind"),
    [
        (fetch_customers, "Customer"),
        (fetch_products, "Product"),
        (fetch_inventory, "InventoryItem"),
    ],
)
def test_the_other_families_come_whole(shop, store_folder, tmp_path, fetch, kind):
    with client_of(shop) as client:
        fetched = fetch(client, tmp_path)
    assert_reconciled(fetched)
    assert kinds(rows(fetched.bulk_files))[kind] == Store(store_folder).count(kind)


def test_a_delta_holds_what_changed_since_with_an_overlap(shop, store_folder, tmp_path):
    moments = sorted(datetime.fromisoformat(customer["updatedAt"]) for customer in documents(store_folder, "Customer"))
    since = moments[len(moments) // 2]
    with client_of(shop) as client:
        found = rows(fetch_customers(client, tmp_path, since).bulk_files)
    assert kinds(found)["Customer"] == sum(moment >= since - timedelta(minutes=15) for moment in moments)


def test_locations_and_ids(shop, store_folder, tmp_path):
    with client_of(shop) as client:
        locations = rows(fetch_locations(client, tmp_path / "locations").files)
        swept = fetch_all_ids(client, tmp_path / "ids")
    store = Store(store_folder)
    assert len(locations) == store.count("Location")
    assert all(set(row) == {"id"} for fetched in swept.values() for row in rows(fetched.files))
    for kind, fetched in swept.items():
        assert_reconciled(fetched)
        assert fetched.lines == store.count(kind)


def test_several_threads_share_the_budget_without_a_collision(store_folder, tmp_path):
    with served_sandbox(store_folder) as shop, client_of(shop) as client:
        threads = [threading.Thread(target=fetch_orders, args=(client, tmp_path / str(number), FIRST_DAY, LAST_DAY)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(list((tmp_path / str(number)).glob("part-*.jsonl")) for number in range(3))
        assert client.meter.requests > 20
        assert client.meter.throttled == 0


def test_client_credentials_work_and_wrong_ones_say_what_to_do(shop):
    with client_of(shop, ClientCredentials(shop.url, "sandbox-client", "sandbox-secret")) as client:
        assert client.shop_info()["myshopifyDomain"]
    with (
        client_of(shop, ClientCredentials(shop.url, "sandbox-client", "wrong")) as client,
        pytest.raises(AuthenticationError, match="SHOPIFY_CLIENT"),
    ):
        client.shop_info()
    with client_of(shop, StaticToken(shop.url, "wrong")) as client, pytest.raises(AuthenticationError, match="SHOPIFY_ACCESS_TOKEN"):
        client.shop_info()


def test_bad_documents_and_filters_are_named(shop, tmp_path):
    with client_of(shop) as client:
        with pytest.raises(GraphqlError):
            client.execute("{ nothing }")
        with pytest.raises(SearchWarningError, match="not_a_field"):
            client.execute('{ orders(first: 1, query: "not_a_field:1") { edges { node { id } } } }')
        with pytest.raises(BulkRejectedError):
            run_query(client, "{ shop { id } }", tmp_path, label="shop", progress=print)


TAG = "mutation Tag($id: ID!, $tags: [String!]!) { tagsAdd(id: $id, tags: $tags) { node { id } userErrors { field message } } }"


def test_a_bulk_mutation_reaches_every_row(shop, store_folder, tmp_path):
    customers = [document["id"] for document in documents(store_folder, "Customer")][:20]
    sent = [{"id": customer, "tags": ["bulk-tagged"]} for customer in customers] + [{"id": "gid://shopify/Customer/1", "tags": ["x"]}]
    with client_of(shop) as client:
        lines = sorted(run_mutation(client, TAG, sent, tmp_path, label="tags", progress=print), key=lambda line: line.line)
        assert [line.line for line in lines] == list(range(21))
        for customer, line in zip(customers, lines[:20], strict=True):
            assert line.data is not None
            assert line.data["tagsAdd"]["node"]["id"] == customer
        last = lines[20]
        assert last.errors or (last.data or {})["tagsAdd"]["userErrors"], "a customer that is not there is an error of its row"
        tagged = client.execute('{ customers(first: 50, query: "tag:bulk-tagged") { edges { node { id } } } }')
    assert sorted(edge["node"]["id"] for edge in tagged["customers"]["edges"]) == sorted(customers)


def faulty(store_folder: Path, *faults: dict[str, Any]) -> AbstractContextManager[ServedSandbox]:
    return served_sandbox(store_folder, *faults, plan="plus")


@pytest.fixture(scope="module")
def undisturbed(shop: ServedSandbox, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What orders are without faults."""
    with client_of(shop) as client:
        return sorted(map(json.dumps, rows(fetch_orders(client, tmp_path_factory.mktemp("undisturbed"), FIRST_DAY, LAST_DAY).files)))


SURVIVED: dict[str, list[dict[str, Any]]] = {
    "5xx and 429": [
        {"kind": "http_503", "rate": 0.15},
        {"kind": "http_500", "rate": 0.05},
        {"kind": "http_429", "rate": 0.05, "seconds": 0.1},
        {"kind": "http_503", "on": "download", "nth": [1]},
    ],
    "throttled": [{"kind": "throttled", "nth": [2, 5, 8]}],
    "cut connections": [
        {"kind": "cut_connection", "rate": 0.1},
        {"kind": "cut_connection", "on": "download", "nth": [1, 2], "at": 0.4},
    ],
    "expired address": [{"kind": "url_expired", "nth": [1]}],
    "expired address after a cut": [{"kind": "cut_connection", "on": "download", "nth": [1]}, {"kind": "url_expired", "nth": [2]}],
    "slow operation": [{"kind": "bulk_slow", "nth": [1], "seconds": 0.5}],
    "operation failed once": [{"kind": "bulk_failed_partial", "nth": [1]}],
}


@pytest.mark.parametrize("name", SURVIVED)
def test_the_stream_is_the_same_whatever_happens_on_the_way(name, store_folder, undisturbed, tmp_path):
    with faulty(store_folder, *SURVIVED[name]) as shop, client_of(shop) as client:
        fetched = fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY)
        assert sorted(map(json.dumps, rows(fetched.files))) == undisturbed
        assert not list((tmp_path / "load").glob("*.tmp"))
        assert running_operations(client) == []


def running_operations(client: ShopifyClient) -> list[str]:
    found = client.execute('{ bulkOperations(first: 5, query: "status:RUNNING") { edges { node { id status } } } }')
    return [edge["node"]["id"] for edge in found["bulkOperations"]["edges"]]


def test_an_operation_that_keeps_failing_leaves_its_partial_data_aside(store_folder, tmp_path):
    with (
        faulty(store_folder, {"kind": "bulk_failed_partial", "rate": 1, "after_objects": 7}) as shop,
        client_of(shop) as client,
        pytest.raises(BulkFailedError, match="not used") as caught,
    ):
        fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY)
    assert caught.value.error_code == "INTERNAL_SERVER_ERROR"
    assert len(rows(caught.value.partial_files)) == 7
    assert list((tmp_path / "load").glob("part-*")) == []


def test_a_truncated_result_is_never_taken_for_whole(store_folder, tmp_path):
    with faulty(store_folder, {"kind": "jsonl_truncated", "rate": 1}) as shop, client_of(shop) as client:
        try:
            fetched = fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY)
        except TruncatedDownloadError:
            assert list((tmp_path / "load").glob("part-*")) == []
        else:  # the shop gave the size of the truncated file: the count of objects tells
            assert fetched.declared_objects is not None
            assert fetched.lines < fetched.declared_objects


def test_a_corrupted_line_does_not_stop_the_rest(store_folder, tmp_path):
    with faulty(store_folder, {"kind": "jsonl_corrupted", "nth": [1], "line": 3}) as shop, client_of(shop) as client:
        fetched = fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY)
    assert fetched.lines == fetched.declared_objects
    lines = [line for file in fetched.bulk_files for line in file.read_bytes().splitlines()]
    broken = [line for line in lines if not is_json(line)]
    assert len(broken) == 1, "kept as it came, for the quarantine"


def is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_a_token_that_expires_is_renewed_once(store_folder, undisturbed, tmp_path):
    with (
        faulty(store_folder, {"kind": "token_expired", "nth": [1, 4]}) as shop,
        client_of(shop, ClientCredentials(shop.url, "sandbox-client", "sandbox-secret")) as client,
    ):
        fetched = fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY)
    assert sorted(map(json.dumps, rows(fetched.files))) == undisturbed


def test_another_version_is_an_error_or_a_warning(store_folder, tmp_path):
    with (
        faulty(store_folder, {"kind": "wrong_version", "rate": 1, "version": "2026-01"}) as shop,
        client_of(shop) as client,
        pytest.raises(ApiVersionError, match=r"2026-01 answered \(older\)"),
    ):
        fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY)
    with served_sandbox(store_folder) as shop, client_of(shop, version="2024-01") as client:
        with pytest.warns(ApiVersionWarning, match="newer"):
            client.shop_info()
        assert client.version_answered > "2024-01"


def test_a_client_that_leaves_cancels_its_operation(store_folder, tmp_path):
    with faulty(store_folder, {"kind": "bulk_slow", "rate": 1, "seconds": 60}) as shop, client_of(shop) as client:
        with pytest.raises(BulkTimeoutError):
            fetch_orders(client, tmp_path / "load", FIRST_DAY, LAST_DAY, options=BulkOptions(operation_seconds=0.5))
        assert running_operations(client) == []


def test_more_operations_than_the_shop_runs_at_once_wait_for_each_other(store_folder, tmp_path):
    slow = {"kind": "bulk_slow", "rate": 1, "seconds": 1}
    with (
        faulty(store_folder, slow) as shop,
        client_of(shop) as first,
        client_of(shop) as second,
        ThreadPoolExecutor(8) as executor,
    ):
        futures = [
            executor.submit(fetch_products, client, tmp_path / f"{name}{number}", None, print, BulkOptions(slot_poll_seconds=0.2))
            for name, client in (("first", first), ("second", second))
            for number in range(4)
        ]
        assert len({future.result().lines for future in futures}) == 1
