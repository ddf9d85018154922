"""Search syntax: what is parsed, what it finds, what it warns of."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.sandbox.documents import customer_doc, gid, line_item_doc, order_doc, product_doc, variant_doc
from commerce_assets.sandbox.search import All, Any_, Node, Not, Term, UnsupportedSearch, build, parse, unparse
from commerce_assets.sandbox.store import Store

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
FIELDS = st.sampled_from(["tag", "status", "updated_at", "email"])
TERMS = st.one_of(
    st.builds(Term, st.none(), st.just(""), WORDS), st.builds(Term, FIELDS, st.sampled_from(["", ">", ">=", "<", "<="]), WORDS)
)


def flat(kind: type) -> st.SearchStrategy[Node]:
    """Groups as the parser makes them: at least two parts, none of them a group of the same kind."""
    return st.lists(TREES.filter(lambda node: not isinstance(node, kind)), min_size=2, max_size=3).map(lambda parts: kind(tuple(parts)))


TREES: st.SearchStrategy[Node] = st.deferred(lambda: st.one_of(TERMS, st.builds(Not, TREES), flat(All), flat(Any_)))


@given(TREES)
def test_a_tree_written_out_parses_to_itself(tree: Node):
    assert parse(unparse(tree)) == tree


@given(st.text(max_size=80))
def test_any_text_can_be_parsed_and_made_into_sql(text: str):
    try:
        search = build("Order", text, "Europe/London")
    except UnsupportedSearch:
        return
    assert search.where.count("?") == len(search.parameters)


def test_or_binds_tighter_than_standing_beside_each_other():
    assert parse("vendor:NIKE OR vendor:VANS tag:sample") == All(
        (Any_((Term("vendor", "", "NIKE"), Term("vendor", "", "VANS"))), Term("tag", "", "sample"))
    )


def test_an_unquoted_timestamp_is_cut_at_its_hour_as_recorded():
    search = build("Order", "updated_at:>=2026-01-01T00:00:00Z", "America/New_York")
    assert search.parameters == ["2026-01-01T05:00:00Z"]
    assert search.warnings == [{"field": "00", "message": "Invalid search field for this query.", "code": "invalid_field"}]
    assert search.parsed == {
        "and": [{"field": "updated_at", "range_gte": "2026-01-01T00:00:00-05:00"}, {"field": "00", "match_all": "00Z"}]
    }


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (
            "updated_at:>='2025-01-01 00:00:00+00:00' AND updated_at:<'2025-02-01 00:00:00+00:00'",
            ["2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"],
        ),
        ('updated_at:>"2025-06-01T12:30:00+02:00"', ["2025-06-01T10:30:00Z"]),
        ("created_at:2025-06-01", ["2025-05-31T23:00:00Z", "2025-06-01T23:00:00Z"]),
    ],
)
def test_times_are_taken_in_utc_or_in_the_shops_zone(text: str, parameters: list[str]):
    search = build("Order", text, "Europe/London")
    assert (search.parameters, search.warnings) == (parameters, [])


def test_an_unknown_field_is_ignored_with_a_warning_and_the_rest_applies():
    search = build("Order", "made_up:1 tag:vip")
    assert search.parameters == ["vip"]
    assert [warning["field"] for warning in search.warnings] == ["made_up"]


def test_a_field_that_only_the_real_store_models_is_refused_loudly():
    with pytest.raises(UnsupportedSearch, match="risk_level"):
        build("Order", "risk_level:high")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    orders = [
        order_doc(
            number,
            f"#{1000 + number}",
            f"2025-0{number}-01T10:00:00Z",
            currency="GBP",
            total=Decimal(10 * number),
            line_items=[line_item_doc(100 + number, "Mug", 1, Decimal(10), sku=f"MUG-{number}")],
            email=f"buyer{number}@example.com",
            customer=7 if number > 2 else None,
            tags=tags,
            displayFinancialStatus=status,
            test=number == 4,
            cancelledAt="2025-09-01T00:00:00Z" if number == 3 else None,
        )
        for number, tags, status in (
            (1, ["VIP", "two words"], "PAID"),
            (2, ["gift"], "PENDING"),
            (3, [], "REFUNDED"),
            (4, ["vip", "gift"], "PARTIALLY_PAID"),
        )
    ]
    store.insert_many("Order", orders)
    store.insert_many("Customer", [customer_doc(7, "2025-01-01T00:00:00Z", email="a@example.com", tags=["lapsed"])])
    variants = [variant_doc(1, 1, "Default Title", Decimal(5), "2025-01-01T00:00:00Z", sku="MUG-1")]
    store.insert_many("Product", [product_doc(1, "Blue Mug", "blue-mug", "2025-01-01T00:00:00Z", variants=variants, vendor="Acme")])
    return store


def numbers(store: Store, kind: str, text: str) -> list[int]:
    search = build(kind, text, "UTC")
    assert not search.warnings
    return [number for _, number, _ in store.iterate(kind, search.where, search.parameters)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [1, 2, 3, 4]),
        ("tag:vip", [1, 4]),
        ("tag:'two words'", [1]),
        ("-tag:vip", [2, 3]),
        ("tag_not:gift", [1, 3]),
        ("tag:vip OR tag:gift", [1, 2, 4]),
        ("(tag:vip OR tag:gift) AND NOT financial_status:paid", [2, 4]),
        ("status:open", [1, 2, 4]),
        ("status:cancelled", [3]),
        ("financial_status:unpaid", [2, 4]),
        ("name:1002", [2]),
        ("name:#1003", [3]),
        ("email:BUYER1@example.com", [1]),
        ("email:buyer*", [1, 2, 3, 4]),
        ("sku:MUG-2", [2]),
        ("sku:mug-*", [1, 2, 3, 4]),
        ("id:>=3", [3, 4]),
        (f"id:'{gid('Order', 2)}'", [2]),
        ("customer_id:7", [3, 4]),
        ("test:true", [4]),
        ("created_at:>'2025-02-01T10:00:00Z'", [3, 4]),
        ("created_at:>='2025-02-01T10:00:00Z' created_at:<2025-04-01", [2, 3]),
        ("current_total_price:>=30", [3, 4]),
        ("buyer2", [2]),
    ],
)
def test_what_searches_for_orders_find(store: Store, text: str, found: list[int]):
    assert numbers(store, "Order", text) == found


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("Customer", "tag:LAPSED", [7]),
        ("Customer", "orders_count:2", []),
        ("Customer", "orders_count:1", [7]),
        ("Customer", "email:nobody@example.com", []),
        ("Product", "title:mug vendor:acme", [1]),
        ("Product", "status:active sku:MUG-1", [1]),
        ("ProductVariant", "sku:MUG-1 product_id:1", [1]),
        ("InventoryItem", "sku:mug-1", [1]),
    ],
)
def test_what_other_searches_find(store: Store, kind: str, text: str, found: list[int]):
    assert numbers(store, kind, text) == found
