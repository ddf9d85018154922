"""Lists of products and customers: small shops by hand, and what holds for every shop."""

from dataclasses import replace
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommendation_shops import AS_OF, LINE_SCHEMA, LOOSE, SCORED_AT, catalogue_of, lines_of, lists_of, scored

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.recommendations import (
    NEXT_PURCHASE_COLUMNS,
    NEXT_PURCHASE_SCHEMA,
    RECOMMENDATION_COLUMNS,
    RECOMMENDATION_SCHEMA,
    recommend_products,
)

NO_FALLBACK = replace(LOOSE, fallback_size=0)


def test_output_has_exactly_the_declared_columns_even_for_nothing() -> None:
    for lines, products in ((lines_of(), catalogue_of(0)), (lines_of(), catalogue_of(3)), (lines_of((1, 5, [1])), catalogue_of(0))):
        result = scored(lines, products)
        assert (dict(result.rows.schema), result.rows.height) == (RECOMMENDATION_SCHEMA, 0)
        assert dict(result.tables["customers"].schema) == NEXT_PURCHASE_SCHEMA
        assert result.receipt.backtest == ()
    assert list(RECOMMENDATION_COLUMNS) == list(RECOMMENDATION_SCHEMA)
    assert list(NEXT_PURCHASE_COLUMNS) == list(NEXT_PURCHASE_SCHEMA)


def test_same_basket_makes_complementary_and_same_customers_make_related() -> None:
    lines = lines_of((1, 9, [1, 2]), (2, 9, [1, 2]), (1, 5, [3]), (2, 4, [3]), (3, 3, [4]), (4, 3, [5]))
    rows = scored(lines, catalogue_of(5), NO_FALLBACK).rows
    assert lists_of(rows, "complementary") == {1: [2], 2: [1]}
    assert lists_of(rows, "related") == {1: [2, 3], 2: [1, 3], 3: [1, 2]}
    first = rows.filter(kind="complementary", product_id=1).row(0, named=True)
    assert (first["score"], first["support_count"]) == (1.0, 2)
    assert first["reasons"] == ["in 2 orders together, 100 % of the orders with this product", "3.0 times as often as by chance"]


def test_guests_orders_tell_what_goes_together_but_guests_get_no_list() -> None:
    result = scored(lines_of((None, 9, [1, 2]), (None, 8, [1, 2]), (None, 7, [3])), catalogue_of(3), NO_FALLBACK)
    assert lists_of(result.rows, "complementary") == {1: [2], 2: [1]}
    assert lists_of(result.rows, "related") == {}
    assert result.tables["customers"].is_empty()


@pytest.mark.parametrize(
    "change", [{"available_count": 0}, {"status": "archived"}, {"status": "draft"}, {"is_deleted": True}, {"is_gift_card": True}]
)
def test_what_cannot_be_bought_is_never_recommended(change: dict[str, object]) -> None:
    lines = lines_of((1, 9, [1, 2, 3]), (2, 8, [1, 2, 3]), (3, 7, [1, 3]), (4, 6, [4]))
    result = scored(lines, catalogue_of(4, {2: change}))
    assert 2 not in result.rows["recommended_product_id"]
    assert 2 not in result.tables["customers"]["product_id"]
    has_page = change == {"available_count": 0}
    assert (2 in result.rows["product_id"]) == has_page, "a product that is out of stock needs its alternatives most"


def test_short_lists_are_filled_with_popular_products_of_the_same_type_and_say_so() -> None:
    lines = lines_of((1, 9, [1]), (2, 8, [1]), (3, 7, [2]), (4, 6, [3]), (5, 5, [4]), (6, 100, [5]))
    products = catalogue_of(6, {4: {"product_type": "chair"}, 6: {"product_type": None}})
    result = scored(lines, products)
    assert lists_of(result.rows, "related", "popular_in_type") == {1: [2, 3], 2: [1, 3], 3: [1, 2], 5: [1, 2, 3]}
    assert lists_of(result.rows, "complementary") == {}
    best = result.rows.filter(product_id=5).row(0, named=True)
    assert (best["score"], best["support_count"]) == (None, 2)
    assert best["reasons"][0] == "popular in lamp: in 2 orders of the last 60 days"
    assert result.receipt.fallback is not None
    assert "4 of 4 lists" in result.receipt.fallback
    assert scored(lines, products, NO_FALLBACK).rows.is_empty(), "or they stay empty, by setting"
    both = scored(lines, products, replace(LOOSE, fallback_for="both")).rows
    assert lists_of(both, "complementary") == lists_of(both, "related")


def test_filling_up_keeps_what_evidence_says_and_repeats_nothing() -> None:
    lines = lines_of((1, 9, [1, 2]), (2, 8, [1, 2]), (3, 7, [3]), (4, 6, [4]), (5, 5, [5]), (6, 5, [6]))
    rows = scored(lines, catalogue_of(6)).rows
    assert lists_of(rows, "related")[1] == [2, 3, 4, 5]
    assert rows.filter(kind="related", product_id=1)["model_name"].to_list() == ["item_item", *["popular_in_type"] * 3]


def test_next_purchases_are_what_those_with_the_same_things_bought() -> None:
    lines = lines_of((1, 9, [1, 2]), (2, 9, [1, 2]), (3, 9, [1]), (4, 9, [3]), (5, 9, [3]))
    customers = scored(lines, catalogue_of(3), replace(NO_FALLBACK, held="exclude")).tables["customers"]
    assert customers.select("customer_id", "product_id").rows() == [(3, 2)]
    assert customers["reasons"].to_list() == [["2 customers who bought Product 1 bought this too"]]
    assert customers["score"].to_list() == pytest.approx([2 / 6**0.5])


def test_what_a_customer_buys_again_and_again_comes_first_where_lists_may_hold_it() -> None:
    lines = lines_of((1, 40, [1]), (1, 20, [1]), (1, 1, [1]), (2, 9, [1, 2]), (3, 9, [1, 2]), (4, 9, [3]))
    customers = scored(lines, catalogue_of(3), replace(NO_FALLBACK, held="include")).tables["customers"]
    mine = customers.filter(customer_id=1)
    assert mine["product_id"].to_list() == [1, 2]
    assert mine["model_name"].to_list() == ["repeat", "item_item"]
    assert mine["reasons"][0][0] == f"bought 3 times, last on {AS_OF.replace(day=20)}; about 9 % of its buyers buy it again"
    assert customers.filter(customer_id=4).select("product_id", "model_name").rows() == [(3, "repeat")]


def test_the_receipt_tells_what_was_read_and_until_when_it_holds() -> None:
    lines = lines_of((1, 9, [1, 2]), (2, 8, [1, 99]))
    receipt = scored(lines, catalogue_of(2), complete_at=SCORED_AT, products_complete_at=SCORED_AT, seed=3).receipt
    assert receipt.inputs["lines"].rows == 4
    assert (receipt.inputs["lines"].first_on, receipt.inputs["lines"].last_on) == (AS_OF.replace(day=12), AS_OF.replace(day=13))
    assert receipt.inputs["products"].complete_at == SCORED_AT
    assert receipt.excluded == {"line_of_unknown_product": 1}
    assert (receipt.seed, (receipt.valid_until - SCORED_AT).days) == (3, 7)
    assert any("no backtest" in note for note in receipt.notes)
    assert receipt.monitored["customer_list_rate"] == 0, "what two buy of whom all bought the other says nothing"
    assert len(receipt.to_json()) > 100


def test_a_moment_without_time_zone_is_refused() -> None:
    with pytest.raises(ScoringError, match="time zone"):
        recommend_products(lines_of(), catalogue_of(1), AS_OF, scored_at=datetime(2026, 11, 21))


shops = st.lists(
    st.tuples(st.none() | st.integers(1, 6), st.integers(-3, 60), st.lists(st.integers(1, 8), unique=True, min_size=1, max_size=5)),
    max_size=25,
)
changes = st.dictionaries(
    st.integers(1, 8),
    st.sampled_from([{"available_count": 0}, {"available_count": None}, {"status": "draft"}, {"is_deleted": True}, {"product_type": None}]),
)


@settings(max_examples=60, deadline=None)
@given(shops, changes, st.sampled_from(["include", "exclude"]), st.integers(1, 4), st.randoms(use_true_random=False))
def test_rules_of_lists_hold_in_every_shop_whatever_the_order_of_rows(orders, changed, held, size, random) -> None:  # type: ignore[no-untyped-def]
    lines, products = lines_of(*orders), catalogue_of(8, changed)
    chosen = replace(LOOSE, list_size=size, fallback_size=min(size, 2), held=held)
    result = scored(lines, products, chosen)
    rows, customers = result.rows, result.tables["customers"]
    sellable = {
        p["product_id"]
        for p in products.iter_rows(named=True)
        if p["status"] == "active" and not p["is_deleted"] and p["available_count"] != 0
    }
    assert (rows["product_id"] != rows["recommended_product_id"]).all()
    assert set(rows["recommended_product_id"]) | set(customers["product_id"]) <= sellable
    for frame, key, given_product in ((rows, ["product_id", "kind"], "recommended_product_id"), (customers, ["customer_id"], "product_id")):
        lists = frame.group_by(key).agg(pl.col(given_product), pl.col("rank"))
        assert all(ranks == list(range(1, len(ranks) + 1)) and len(ranks) <= size for ranks in lists["rank"].to_list())
        assert all(len(set(given)) == len(given) for given in lists[given_product].to_list())
        assert (frame["reasons"].list.len() > 0).all()
        assert frame["score"].drop_nulls().is_finite().all()
    if held == "exclude":
        assert customers.join(lines.filter(pl.col("ordered_on") <= AS_OF), on=["customer_id", "product_id"]).is_empty()
    order = list(range(lines.height))
    random.shuffle(order)
    again = scored(lines[order] if order else pl.DataFrame(schema=LINE_SCHEMA), products.reverse(), chosen)
    assert again.rows.equals(rows)
    assert again.tables["customers"].equals(customers)
    assert again.receipt.to_json() == result.receipt.to_json()
