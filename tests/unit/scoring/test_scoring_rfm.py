"""RFM, lifecycle and flags: what they say of small known shops, and what holds for every shop."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.scoring import RFM_COLUMNS, RFM_SCHEMA, RfmSettings, ScoringError, rfm_segment, score_customers
from commerce_assets.scoring.rfm import LIFECYCLES, MONEY, SEGMENTS

AS_OF = date(2026, 11, 21)
SCORED_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
SCHEMA = {
    "order_id": pl.Int64,
    "customer_id": pl.Int64,
    "ordered_on": pl.Date,
    "net_amount": MONEY,
    "currency_code": pl.String,
    "is_cancelled": pl.Boolean,
    "is_test": pl.Boolean,
}


def orders_frame(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of (customer, days ago, amount[, currency[, cancelled[, test]]])."""
    full = []
    for order_id, row in enumerate(rows, start=1):
        customer, days_ago, amount, *rest = row
        currency, cancelled, test = (*rest, *("GBP", False, False)[len(rest) :])
        full.append((order_id, customer, AS_OF - timedelta(days=days_ago), Decimal(str(amount)), currency, cancelled, test))
    return pl.DataFrame(full, schema=SCHEMA, orient="row")


def score_of(orders: pl.DataFrame, customer_id: int, **options: Any) -> dict[str, Any]:
    scores, _ = score_customers(orders, AS_OF, scored_at=SCORED_AT, **options)
    return scores.row(by_predicate=pl.col("customer_id") == customer_id, named=True)


def test_output_has_exactly_the_declared_columns_even_for_no_orders() -> None:
    scores, receipt = score_customers(orders_frame(), AS_OF, scored_at=SCORED_AT)
    assert dict(scores.schema) == RFM_SCHEMA
    assert list(RFM_COLUMNS) == list(RFM_SCHEMA)
    assert (receipt.scored_customers, receipt.input_rows, receipt.input_last_on) == (0, 0, None)


def test_quintiles_of_ten_distinct_customers_hold_two_each() -> None:
    orders = orders_frame(*[(customer, customer * 3, customer * 10) for customer in range(1, 11)])
    scores, _ = score_customers(orders, AS_OF, scored_at=SCORED_AT)
    assert scores["recency_score"].to_list() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert scores["monetary_score"].to_list() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert set(scores["frequency_score"]) == {1}, "one order each has to mean the lowest frequency"


def test_money_is_added_exactly_and_only_from_sales() -> None:
    orders = orders_frame(
        (1, 10, "0.1"),
        (1, 9, "0.2"),
        (1, 8, 100, "GBP", True),
        (1, 7, 100, "GBP", False, True),
        (1, 6, 0),
        (1, 5, -3),
        (None, 4, 50),
        (1, -1, 70),
    )
    scores, receipt = score_customers(orders, AS_OF, scored_at=SCORED_AT)
    assert scores["monetary_amount"].to_list() == [Decimal("0.3000")]
    assert scores["order_count"].to_list() == [2]
    assert receipt.excluded == {"after_as_of": 1, "cancelled": 1, "guest": 1, "not_positive": 2, "test": 1}


def test_an_order_that_comes_twice_counts_once() -> None:
    once = orders_frame((1, 10, 20), (2, 5, 30))
    scores, receipt = score_customers(pl.concat([once, once]), AS_OF, scored_at=SCORED_AT)
    assert scores["order_count"].to_list() == [1, 1]
    assert receipt.excluded == {"duplicate_order": 2}


@pytest.mark.parametrize(
    ("days_ago", "expected"),
    [
        ((5,), "new"),
        ((30,), "new"),
        ((31,), "active"),
        ((60,), "active"),
        ((61,), "at_risk"),
        ((89,), "at_risk"),
        ((90,), "lapsed"),
        ((400,), "lapsed"),
    ],
)
def test_lifecycle_by_days_for_a_customer_without_a_rhythm(days_ago: tuple[int, ...], expected: str) -> None:
    assert score_of(orders_frame(*[(1, days, 10) for days in days_ago]), 1)["lifecycle"] == expected


@pytest.mark.parametrize(
    ("days_ago", "expected"),
    [
        ((75, 65, 55, 45), "at_risk"),  # every 10 days, now quiet for 45
        ((45, 35, 25, 15), "active"),  # twice the gap is 20
        ((48, 47, 46), "at_risk"),  # every day: the floor of 14 days
        ((40, 39, 38, 12), "active"),
        ((220, 150, 80), "active"),  # every 70 days: 80 is not unusual yet
        ((220, 150, 90), "lapsed"),  # but 90 is lapsed, whatever the rhythm
    ],
)
def test_lifecycle_by_the_customers_own_rhythm(days_ago: tuple[int, ...], expected: str) -> None:
    assert score_of(orders_frame(*[(1, days, 10) for days in days_ago]), 1)["lifecycle"] == expected


def test_several_orders_on_one_day_are_no_rhythm() -> None:
    assert score_of(orders_frame((1, 50, 10), (1, 50, 10), (1, 50, 10)), 1)["lifecycle"] == "active"


def test_vips_are_the_fewest_who_bring_the_first_share_of_value() -> None:
    orders = orders_frame((1, 1, 500), (2, 1, 300), (3, 1, 100), (4, 1, 60), (5, 1, 40))
    flags = {
        share: score_customers(orders, AS_OF, scored_at=SCORED_AT, settings=RfmSettings(vip_value_share=share))[0] for share in (0.5, 0.51)
    }
    assert flags[0.5].filter("is_vip")["customer_id"].to_list() == [1]
    assert flags[0.51].filter("is_vip")["customer_id"].to_list() == [1, 2]


def test_nobody_is_a_vip_where_all_spend_the_same() -> None:
    scores, _ = score_customers(orders_frame(*[(customer, 1, 10) for customer in range(1, 6)]), AS_OF, scored_at=SCORED_AT)
    assert not scores["is_vip"].any()


def test_value_is_compared_within_its_currency() -> None:
    orders = orders_frame(*[(c, 100, c * 10) for c in range(1, 6)], *[(c, 100, c * 1000, "JPY") for c in range(11, 16)])
    scores, _ = score_customers(orders, AS_OF, scored_at=SCORED_AT)
    assert scores["monetary_score"].to_list() == [1, 2, 3, 4, 5] * 2
    assert scores.filter("is_vip")["customer_id"].to_list() == [5, 14, 15], "15 of 65 thousand yen are less than the first 30 %"


def test_value_in_a_former_currency_is_left_out_and_counted() -> None:
    scores, receipt = score_customers(orders_frame((1, 200, 10), (1, 5, 999, "JPY")), AS_OF, scored_at=SCORED_AT)
    assert scores.select("monetary_amount", "currency_code", "order_count").rows() == [(Decimal("999.0000"), "JPY", 2)]
    assert receipt.orders_in_other_currency == 1


def test_absurd_amounts_stop_nobody_elses_score() -> None:
    absurd = [(customer, 3, "99999999999999.9999") for customer in range(1, 151) for _ in range(2)]
    scores, _ = score_customers(orders_frame(*absurd, (200, 3, 5)), AS_OF, scored_at=SCORED_AT)
    assert scores["monetary_amount"].max() == Decimal(10**13)
    assert scores.filter(pl.col("customer_id") == 200)["is_vip"].to_list() == [False]


def test_high_value_lapsed_needs_both() -> None:
    valuable = [(c, 100, 1000 + c) for c in (9, 10)]
    orders = orders_frame(*[(c, 95, 10) for c in range(1, 9)], *valuable, (11, 3, 5000))
    scores, receipt = score_customers(orders, AS_OF, scored_at=SCORED_AT)
    assert scores.filter("is_high_value_lapsed")["customer_id"].to_list() == [9, 10]
    assert receipt.high_value_lapsed_customers == 2


def test_segment_names_of_the_corners() -> None:
    assert rfm_segment(5, 5, 5) == "champions"
    assert rfm_segment(1, 5, 5) == "cant_lose"
    assert rfm_segment(1, 1, 1) == "lost"
    assert rfm_segment(5, 1, 1) == "new"
    assert rfm_segment(3, 3, 3) == "needs_attention"
    assert rfm_segment(5, 1, 2) == "potential_loyalist", "the mean of 1 and 2 rounds up"


def test_float_money_and_missing_columns_are_refused_by_name() -> None:
    orders = orders_frame((1, 1, 1))
    with pytest.raises(ScoringError, match="net_amount is Float64"):
        score_customers(orders.with_columns(pl.col("net_amount").cast(pl.Float64)), AS_OF, scored_at=SCORED_AT)
    with pytest.raises(ScoringError, match="currency_code"):
        score_customers(orders.drop("currency_code"), AS_OF, scored_at=SCORED_AT)
    with pytest.raises(ScoringError, match="time zone"):
        score_customers(orders, AS_OF, scored_at=datetime(2026, 11, 21))


ORDER = st.tuples(
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(-3, 200),
    st.decimals("-5", "40", places=2),
    st.sampled_from(["GBP", "EUR"]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=120, deadline=None)
@given(rows=st.lists(ORDER, max_size=60), seed=st.integers(0, 2**16))
def test_what_holds_for_every_shop(rows: list[tuple[Any, ...]], seed: int) -> None:
    orders = orders_frame(*rows)
    scores, receipt = score_customers(orders, AS_OF, scored_at=SCORED_AT)

    assert receipt.input_rows == receipt.used_orders + sum(receipt.excluded.values())
    assert scores["order_count"].sum() == receipt.used_orders
    assert scores["customer_id"].is_unique().all()
    assert scores.null_count().sum_horizontal().item() == 0
    assert set(scores["rfm_segment"]) <= set(SEGMENTS)
    assert set(scores["lifecycle"]) <= set(LIFECYCLES)
    for value, score, within in (
        ("recency_days", "recency_score", []),
        ("order_count", "frequency_score", []),
        ("monetary_amount", "monetary_score", ["currency_code"]),
    ):
        assert scores[score].is_between(1, 5).all()
        by_value = scores.group_by(*within, value).agg(pl.col(score).n_unique().alias("scores"))
        assert (by_value["scores"] == 1).all(), f"a tie in {value} was parted"
        descending = value == "recency_days"
        for _, group in scores.group_by(within) if within else [((), scores)]:
            assert group.sort(value, descending=descending)[score].is_sorted(), f"{score} does not follow {value}"
    for row in scores.iter_rows(named=True):
        assert row["rfm_segment"] == rfm_segment(row["recency_score"], row["frequency_score"], row["monetary_score"])
        assert (row["lifecycle"] == "lapsed") == (row["recency_days"] >= 90)
        assert not row["is_high_value_lapsed"] or row["lifecycle"] == "lapsed"

    shuffled, again = score_customers(orders.sample(fraction=1, shuffle=True, seed=seed), AS_OF, scored_at=SCORED_AT)
    assert shuffled.equals(scores)
    assert again == receipt
