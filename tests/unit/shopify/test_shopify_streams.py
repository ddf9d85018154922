"""The streams: which windows are asked for, what is drained, what is reported."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import httpx
import pytest
from shopify_fakes import BulkShop, Script, Storage, answer, client_of, completed, error

from commerce_assets.sources.shopify.drain import FULFILLMENT_LINES, REFUND_LINES, drain, ids_to_drain
from commerce_assets.sources.shopify.errors import (
    AccessDeniedError,
    QueryTooExpensiveError,
    SearchWarningError,
    ShopifyConfigurationError,
    UnexpectedAnswerError,
)
from commerce_assets.sources.shopify.streams import (
    days_filter,
    fetch_all_ids,
    fetch_customers,
    fetch_ids,
    fetch_inventory,
    fetch_locations,
    fetch_orders,
    fetch_products,
    since_filter,
)


def gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def order(number: int, fulfillments: list[tuple[int, str, int]] = (), refunds: list[int] = ()) -> dict:
    return {
        "id": gid("Order", number),
        "refunds": [{"id": gid("Refund", refund), "note": None} for refund in refunds],
        "fulfillments": [{"id": gid("Fulfillment", f), "status": status, "totalQuantity": total} for f, status, total in fulfillments],
    }


def line(number: int, order_number: int, quantity: int) -> dict:
    return {"id": gid("LineItem", number), "quantity": quantity, "__parentId": gid("Order", order_number)}


def jsonl(*rows: dict) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def numbers(ids) -> list[int]:
    return [int(found.rsplit("/", 1)[1]) for found in ids]


class DrainShop:
    """Parents with so many lines each; None is a deleted one."""

    def __init__(self, lines: dict[int, int | None], dear_above: int = 250) -> None:
        self.lines, self.dear_above = lines, dear_above
        self.batches: list[int] = []
        self.pages: list[tuple[int, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        variables = body["variables"]
        kind, connection = ("Refund", "refundLineItems") if "Refund" in body["query"] else ("Fulfillment", "fulfillmentLineItems")
        if "ids" in variables:
            if len(variables["ids"]) > self.dear_above:
                return answer(errors=[error("Query cost is 1001", "MAX_COST_EXCEEDED")])
            self.batches.append(len(variables["ids"]))
            return answer({"nodes": [self._node(kind, connection, found, variables["first"], None) for found in variables["ids"]]})
        self.pages.append((numbers([variables["id"]])[0], variables["after"]))
        return answer({kind.lower(): self._node(kind, connection, variables["id"], variables["first"], variables["after"])})

    def _node(self, kind: str, connection: str, found: str, first: int, after: str | None) -> dict | None:
        number = numbers([found])[0]
        count = self.lines[number]
        if count is None:
            return None
        start = int(after or 0)
        edges = [
            {"node": {"id": gid(f"{kind}LineItem", number * 1_000 + at), "quantity": 1}} for at in range(start, min(start + first, count))
        ]
        page = {"hasNextPage": start + first < count, "endCursor": str(start + len(edges))}
        return {"__typename": kind, "id": found, connection: {"edges": edges, "pageInfo": page}}


def test_windows_of_days_are_half_open_and_meet():
    assert days_filter(date(2026, 1, 1), date(2026, 1, 1)) == "updated_at:>='2026-01-01T00:00:00Z' AND updated_at:<'2026-01-02T00:00:00Z'"
    assert days_filter(date(2024, 2, 28), date(2024, 2, 29)).endswith("updated_at:<'2024-03-01T00:00:00Z'")


def test_deltas_overlap_and_are_in_utc():
    moment = datetime(2026, 1, 1, 1, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert since_filter(moment) == "updated_at:>='2025-12-31T23:45:00Z'"
    assert since_filter(None) == ""
    with pytest.raises(ShopifyConfigurationError, match="no time zone"):
        since_filter(datetime(2026, 1, 1))


def test_refunds_are_found_once_in_order_whatever_else_is_in_the_files(tmp_path):
    first, second = tmp_path / "part-00000.jsonl", tmp_path / "part-00001.jsonl"
    first.write_bytes(jsonl(order(1, refunds=[10, 9]), line(1, 1, 1)) + b'{"broken\n' + b"\xff\xfe\n")
    second.write_bytes(jsonl(order(2, refunds=[9, 100]), order(3)))
    assert numbers(ids_to_drain(REFUND_LINES, [first, second], tmp_path)) == [9, 10, 100]
    assert list(ids_to_drain(REFUND_LINES, [], tmp_path)) == []


@pytest.mark.parametrize(
    ("rows", "drained"),
    [
        ([order(1, [(11, "SUCCESS", 3)]), line(1, 1, 1), line(2, 1, 2)], []),
        ([order(1, [(11, "SUCCESS", 2)]), line(1, 1, 3)], [11]),
        ([order(1, [(11, "SUCCESS", 1), (12, "SUCCESS", 2)]), line(1, 1, 3)], [11, 12]),
        ([order(1, [(11, "CANCELLED", 3), (12, "SUCCESS", 3)]), line(1, 1, 3)], [11]),
        ([order(1, [(11, "CANCELLED", 3)]), line(1, 1, 3)], [11]),
        ([order(1, [(11, "SUCCESS", 3)])], [11]),
        ([order(1), line(1, 1, 3)], []),
    ],
    ids=["whole", "partial", "two live", "one live beside a cancelled", "cancelled", "lines unknown", "unfulfilled"],
)
def test_only_fulfillments_that_do_not_hold_their_whole_order_are_drained(tmp_path, rows, drained):
    path = tmp_path / "part-00000.jsonl"
    path.write_bytes(jsonl(*rows))
    assert numbers(ids_to_drain(FULFILLMENT_LINES, [path], tmp_path)) == drained


def test_all_lines_of_all_parents_arrive_in_bulk_shape(tmp_path):
    source = tmp_path / "part-00000.jsonl"
    source.write_bytes(jsonl(*[order(number, refunds=[number]) for number in range(1, 121)]))
    lines = dict.fromkeys(range(1, 121), 2) | {7: None, 8: 0, 9: 10, 10: 131}
    shop, told = DrainShop(lines), []
    done = drain(client_of(shop), REFUND_LINES, [source], tmp_path, progress=told.append)
    rows = [json.loads(row) for file in done.files for row in file.read_bytes().splitlines()]
    assert (done.parents, done.missing, done.rows) == (120, 1, len(rows))
    assert len(rows) == sum(count or 0 for count in lines.values())
    assert rows[0] == {"id": gid("RefundLineItem", 1_000), "quantity": 1, "__parentId": gid("Refund", 1)}
    assert numbers([row["__parentId"] for row in rows]) == sorted(numbers([row["__parentId"] for row in rows]))
    assert shop.pages == [(10, "10"), (10, "60"), (10, "110")]
    assert [file.name for file in done.files] == ["drain-refund_lines-00000.jsonl"]
    assert told[-1] == f"refund_lines: {len(rows)} lines of 120 refunds, 1 were deleted meanwhile"


def test_batches_grow_when_the_shop_turns_out_to_be_cheap(tmp_path):
    source = tmp_path / "part-00000.jsonl"
    source.write_bytes(jsonl(*[order(number, refunds=[number]) for number in range(1, 601)]))
    shop = DrainShop(dict.fromkeys(range(1, 601), 1))
    drain(client_of(shop), REFUND_LINES, [source], tmp_path, progress=print)
    assert shop.batches[0] < 30
    assert max(shop.batches) == 250
    assert sum(shop.batches) == 600


def test_a_batch_that_is_too_dear_is_halved(tmp_path):
    source = tmp_path / "part-00000.jsonl"
    source.write_bytes(jsonl(*[order(number, refunds=[number]) for number in range(1, 21)]))
    shop = DrainShop(dict.fromkeys(range(1, 21), 1), dear_above=3)
    assert drain(client_of(shop), REFUND_LINES, [source], tmp_path, progress=print).rows == 20
    with pytest.raises(QueryTooExpensiveError):
        drain(client_of(DrainShop({}, dear_above=0)), REFUND_LINES, [source], tmp_path, progress=print)
    assert not list(tmp_path.glob("drain-*"))


def test_answers_that_do_not_fit_are_errors(tmp_path):
    source = tmp_path / "part-00000.jsonl"
    source.write_bytes(jsonl(order(1, refunds=[1])))
    stuck = {"id": gid("Refund", 1), "refundLineItems": {"edges": [], "pageInfo": {"hasNextPage": True, "endCursor": None}}}
    for nodes, text in (([], "0 answered"), ([{"__typename": "Order"}], "is a Order"), ([stuck], "do not go on")):
        with pytest.raises(UnexpectedAnswerError, match=text):
            drain(client_of(Script([answer({"nodes": nodes})])), REFUND_LINES, [source], tmp_path, progress=print)


def scopes(*granted: str) -> httpx.Response:
    return httpx.Response(200, json={"access_scopes": [{"handle": handle} for handle in granted]})


def order_shop(body: bytes, granted: tuple[str, ...] = ("read_orders", "read_all_orders")) -> tuple[BulkShop, httpx.MockTransport]:
    shop = BulkShop([completed(body, roots=2)], Storage(body))
    shop.other = DrainShop({10: 2, 22: 3})

    def handler(request: httpx.Request) -> httpx.Response:
        return scopes(*granted) if request.url.path.endswith("access_scopes.json") else shop(request)

    return shop, handler


def test_orders_are_one_bulk_operation_and_what_it_cannot_nest(tmp_path):
    body = jsonl(order(1, [(11, "SUCCESS", 1)], [10]), line(1, 1, 1), order(2, [(22, "SUCCESS", 1)]), line(2, 2, 5))
    shop, handler = order_shop(body)
    told: list[str] = []
    fetched = fetch_orders(client_of(handler), tmp_path, date(2025, 1, 1), date(2025, 12, 31), told.append)
    assert len(shop.starts) == 1
    assert "updated_at:>='2025-01-01T00:00:00Z' AND updated_at:<'2026-01-01T00:00:00Z'" in shop.starts[0]
    assert [file.name for file in fetched.files] == [
        "part-00000.jsonl",
        "drain-refund_lines-00000.jsonl",
        "drain-fulfillment_lines-00000.jsonl",
    ]
    assert fetched.bulk_files == fetched.files[:1]
    assert (fetched.declared_objects, fetched.declared_roots, fetched.lines) == (4, 2, 4)
    assert {name: (part.parents, part.rows) for name, part in fetched.drained.items()} == {
        "refund_lines": (1, 2),
        "fulfillment_lines": (1, 3),
    }
    assert fetched.started_at == datetime(2026, 11, 21, tzinfo=UTC)
    assert fetched.api_version == "2026-10"
    assert fetched.warnings == ()
    assert fetched.requests >= 7
    assert not list(tmp_path.glob("*.tmp"))


def test_old_orders_that_the_shop_would_leave_out_are_warned_of(tmp_path):
    _, handler = order_shop(jsonl(order(1)), granted=("read_orders",))
    told: list[str] = []
    fetched = fetch_orders(client_of(handler), tmp_path, date(2025, 1, 1), date(2025, 1, 1), told.append)
    assert "read_all_orders" in fetched.warnings[0]
    assert "read_all_orders" in told[0]


def test_a_range_that_ends_before_it_starts_is_refused(tmp_path):
    with pytest.raises(ShopifyConfigurationError, match="before it starts"):
        fetch_orders(client_of(Script([])), tmp_path, date(2026, 1, 2), date(2026, 1, 1))


def test_an_ignored_filter_or_a_missing_scope_shows_before_the_bulk_operation(tmp_path):
    search = [{"path": ["customers"], "warnings": [{"field": "updated_at", "message": "Invalid search field for this query."}]}]
    with pytest.raises(SearchWarningError, match="updated_at"):
        fetch_customers(client_of(Script([answer({}, extensions={"search": search})])), tmp_path, datetime(2026, 1, 1, tzinfo=UTC))
    denied = error("Access denied", "ACCESS_DENIED", requiredAccess="`read_customers` access scope.")
    with pytest.raises(AccessDeniedError, match="read_customers"):
        fetch_customers(client_of(Script([answer(errors=[denied])])), tmp_path)


@pytest.mark.parametrize(
    ("fetch", "root"), [(fetch_customers, "customers"), (fetch_products, "products"), (fetch_inventory, "inventoryItems")]
)
def test_other_families_are_one_bulk_operation(tmp_path, fetch, root):
    body = jsonl({"id": "gid://shopify/X/1"})
    shop = BulkShop([completed(body)], Storage(body))
    fetched = fetch(client_of(shop), tmp_path)
    assert f'{root}(query: "")' in shop.starts[0]
    assert (fetched.declared_objects, len(fetched.files)) == (1, 1)


def test_a_delta_starts_before_the_last_one(tmp_path):
    body = jsonl({"id": "gid://shopify/X/1"})
    shop = BulkShop([completed(body)], Storage(body))
    fetch_products(client_of(shop), tmp_path, datetime(2026, 1, 1, tzinfo=UTC))
    assert "updated_at:>='2025-12-31T23:45:00Z'" in shop.starts[0]


def test_ids_are_swept_side_by_side_into_folders_of_their_own(tmp_path):
    body = jsonl({"id": "gid://shopify/X/1"}, {"id": "gid://shopify/X/2"})
    shop = BulkShop([completed(body)] * 4, Storage(body))
    swept = fetch_all_ids(client_of(shop), tmp_path)
    assert {kind: fetched.lines for kind, fetched in swept.items()} == {"Order": 2, "Customer": 2, "Product": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["customer", "order", "product"]
    with pytest.raises(ShopifyConfigurationError, match="known: Order"):
        fetch_ids(client_of(shop), tmp_path, "Webhook")


def test_locations_are_read_page_by_page(tmp_path):
    def page(number: int, more: bool) -> httpx.Response:
        edges = [{"node": {"id": gid("Location", number), "name": "Zürich"}}]
        return answer({"locations": {"edges": edges, "pageInfo": {"hasNextPage": more, "endCursor": str(number)}}})

    script = Script([page(1, True), page(2, False)])
    fetched = fetch_locations(client_of(script), tmp_path)
    assert [json.loads(row)["id"] for row in fetched.files[0].read_bytes().splitlines()] == [gid("Location", 1), gid("Location", 2)]
    assert [body["variables"]["after"] for body in script.bodies()] == [None, "1"]
    assert fetched.declared_objects is None
    with pytest.raises(UnexpectedAnswerError, match="do not go on"):
        fetch_locations(client_of(Script([page(1, True), page(1, True)])), tmp_path)
