"""Pages: every object comes exactly once, in both directions; limits and cursors are checked."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.connections import decode_cursor, encode_cursor, list_connection, page_size, root_connection
from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import order_doc, shop_doc
from commerce_assets.sandbox.store import Store

COUNT = 13


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    store = Store(tmp_path_factory.mktemp("store") / "store")
    store.set_shop(shop_doc("Shop", "shop.myshopify.com", "GBP", "Europe/London", "2024-01-01T00:00:00Z"))
    # Pairs share their times, so that ties are in every order.
    docs = [
        order_doc(number, f"#{number}", f"2025-01-{number // 2 + 1:02}T00:00:00Z", currency="GBP", total=Decimal(number % 5), line_items=[])
        for number in range(1, COUNT + 1)
    ]
    store.insert_many("Order", docs)
    return Context(store, store.shop() or {}, "2026-10", ALL_SCOPES, clock=lambda: datetime(2025, 2, 1, tzinfo=UTC))


def numbers(page: dict[str, Any]) -> list[int]:
    return [int(node["id"].rpartition("/")[2]) for node in page["nodes"]]


def all_pages(context: Context, size: int, backwards: bool, **arguments: Any) -> list[int]:
    found: list[int] = []
    cursor = None
    for _ in range(COUNT + 1):
        window = {"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}
        page = root_connection(context, "Order", {**window, **arguments}, ["orders"])
        found = numbers(page) + found if backwards else found + numbers(page)
        info = page["pageInfo"]
        if not info["hasPreviousPage" if backwards else "hasNextPage"]:
            break
        cursor = info["startCursor" if backwards else "endCursor"]
    return found


@given(
    size=st.integers(1, COUNT + 2),
    sort=st.sampled_from(["ID", "UPDATED_AT", "CREATED_AT", "TOTAL_PRICE", "PROCESSED_AT", "FINANCIAL_STATUS", "PO_NUMBER"]),
    reverse=st.booleans(),
    backwards=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_hold_every_object_once_in_order(context: Context, size: int, sort: str, reverse: bool, backwards: bool):
    whole = numbers(root_connection(context, "Order", {"first": 250, "sortKey": sort, "reverse": reverse}, []))
    assert sorted(whole) == list(range(1, COUNT + 1))
    assert all_pages(context, size, backwards, sortKey=sort, reverse=reverse) == whole


def test_the_window_between_two_cursors_is_respected(context: Context):
    edges = root_connection(context, "Order", {"first": 10, "sortKey": "UPDATED_AT"}, [])["edges"]
    page = root_connection(
        context, "Order", {"first": 10, "sortKey": "UPDATED_AT", "after": edges[1]["cursor"], "before": edges[5]["cursor"]}, []
    )
    assert numbers(page) == [int(edge["node"]["id"].rpartition("/")[2]) for edge in edges[2:5]]


@given(st.lists(st.integers(), max_size=12), st.integers(1, 5), st.booleans(), st.booleans())
def test_pages_of_children_hold_every_child_once(children: list[int], size: int, reverse: bool, backwards: bool):
    nodes = [{"n": child} for child in children]
    found: list[int] = []
    cursor = None
    for _ in range(len(children) + 1):
        window = {"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}
        page = list_connection(nodes, {**window, "reverse": reverse})
        values = [node["n"] for node in page["nodes"]]
        found = values + found if backwards else found + values
        if not page["pageInfo"]["hasPreviousPage" if backwards else "hasNextPage"]:
            break
        cursor = page["pageInfo"]["startCursor" if backwards else "endCursor"]
    assert found == (children[::-1] if reverse else children)


@given(st.integers(1, 2**53), st.one_of(st.none(), st.text(max_size=20), st.integers(-(2**53), 2**53)))
def test_a_cursor_leads_back_to_where_it_stood(number: int, value: Any):
    assert decode_cursor(encode_cursor(number, value), "total")[1] == number


def test_a_time_stands_in_a_cursor_as_milliseconds_and_comes_back():
    cursor = encode_cursor(5, "2026-04-17T12:52:41Z")
    assert decode_cursor(cursor, "total") == (1776430361000, 5)
    assert decode_cursor(cursor, "updated_at") == ("2026-04-17T12:52:41Z", 5)


@pytest.mark.parametrize("cursor", ["", "x", "gid://shopify/Order/1", "e30=", "W10="])
def test_a_malformed_cursor_is_refused(cursor: str):
    with pytest.raises(RequestError, match="Malformed cursor"):
        decode_cursor(cursor, "id")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "you must provide one of first or last"),
        ({"first": 1, "last": 1}, "providing both first and last is not supported"),
        ({"first": 251}, "first cannot exceed 250"),
        ({"last": -1}, "last must be zero or greater"),
    ],
)
def test_page_sizes_are_limited(arguments: dict[str, int], message: str):
    with pytest.raises(RequestError, match=message):
        page_size(arguments)


def test_without_read_all_orders_only_the_last_sixty_days_are_seen(context: Context):
    limited = Context(
        context.store, context.shop, "2026-10", frozenset({"read_orders"}), clock=lambda: datetime(2025, 3, 4, 12, tzinfo=UTC)
    )
    assert numbers(root_connection(limited, "Order", {"first": 250}, [])) == [6, 7, 8, 9, 10, 11, 12, 13]
