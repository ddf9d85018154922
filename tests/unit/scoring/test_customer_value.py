"""Customer value, churn and next order: rows, receipt and tables on small known shops, odd ones, and what holds for every shop."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from customer_shops import AS_OF, SCORED_AT, drawn_orders, orders_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.customers import (
    CUSTOMER_VALUE_COLUMNS,
    CUSTOMER_VALUE_SCHEMA,
    TABLE_SCHEMAS,
    VIP_TIERS,
    CustomerValueSettings,
    alive_plot,
    frequency_plot,
    lift_plot,
    reliability_plot,
    score_customer_value,
)
from commerce_assets.scoring.receipts import Bounds, Scored, judge


@cache
def drawn() -> Scored:
    return score_customer_value(drawn_orders(3_000), AS_OF, scored_at=SCORED_AT, complete_at=SCORED_AT)


def score(orders: pl.DataFrame, **options: Any) -> Scored:
    return score_customer_value(orders, AS_OF, scored_at=SCORED_AT, **options)


def shops(some: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """Orders of both, with ids that do not meet."""
    return pl.concat([some, more.select(some.columns).with_columns(order_id=pl.col("order_id") + 10**8)])


def assert_sane(scored: Scored) -> None:
    """What has to hold of the rows of any shop."""
    rows, receipt = scored.rows, scored.receipt
    assert dict(rows.schema) == CUSTOMER_VALUE_SCHEMA
    assert receipt.rows == rows.height
    assert rows["customer_id"].is_sorted()
    assert rows["customer_id"].is_unique().all()
    nullable = {"average_gap_days", "next_order_expected_on", "next_order_earliest_on", "next_order_latest_on"}
    assert rows.drop(nullable).null_count().sum_horizontal().sum() == 0
    for name in ("average_gap_days", "expected_order_count", "alive_rate", "churn_rate"):
        assert rows[name].drop_nulls().is_finite().all(), name
    assert rows["alive_rate"].is_between(0, 1).all()
    assert rows["churn_rate"].is_between(0, 1).all()
    low, value, high = (rows[f"predicted_value_{part}amount"] for part in ("low_", "", "high_"))
    assert (low >= 0).all()
    assert (low <= value).all()
    assert (value <= high).all()
    assert (rows["total_value_amount"] == rows["historic_value_amount"] + value).all()
    assert (rows["reasons"].list.len() >= 3).all()
    assert set(rows["vip_tier"]) <= set(VIP_TIERS)
    dated = rows.filter(pl.col("next_order_expected_on").is_not_null())
    assert (dated["next_order_expected_on"] > dated["as_of_on"]).all()
    assert (dated["next_order_earliest_on"] <= dated["next_order_expected_on"]).all()
    assert (dated["next_order_latest_on"].drop_nulls() >= dated.drop_nulls("next_order_latest_on")["next_order_expected_on"]).all()
    undated = rows.filter(pl.col("next_order_expected_on").is_null())
    said = undated["reasons"].list.eval(pl.element().str.contains("lapsed|no date")).list.any()
    assert said.all(), "a row without a date says why"
    assert judge(replace(receipt, backtest=()), rows, None, Bounds(may_be_empty=True), SCORED_AT).is_accepted
    for name, table in scored.tables.items():
        assert dict(table.schema) == TABLE_SCHEMAS[name], name
        floats = [column for column, dtype in table.schema.items() if dtype.is_float()]
        assert table.select(pl.col(floats).is_finite().all()).row(0).count(False) == 0, name


def test_a_drawn_shop_is_scored_backtested_and_accepted() -> None:
    scored = drawn()
    receipt = scored.receipt
    assert_sane(scored)
    assert list(CUSTOMER_VALUE_COLUMNS) == list(CUSTOMER_VALUE_SCHEMA)
    assert receipt.fallback is None
    assert receipt.is_converged
    assert {fold.fold for fold in receipt.backtest} == {1, 2, 3}
    assert {fold.metric for fold in receipt.backtest if fold.is_gate} == {"order_count_rmse", "churn_brier"}
    verdict = judge(receipt, scored.rows, None, Bounds(), SCORED_AT)
    assert verdict.is_accepted, verdict.reasons
    assert set(receipt.parameters) == {"r", "alpha", "a", "b", *(f"{name}_{code}" for name in "pqv" for code in ("EUR", "GBP"))}
    assert all(estimate.standard_error for estimate in receipt.parameters.values())
    assert receipt.monitored["value_interval_coverage"] == pytest.approx(0.92, abs=0.05)
    assert receipt.valid_until == SCORED_AT + timedelta(days=7)
    assert receipt.inputs["orders"].complete_at == SCORED_AT


def test_predictions_hold_in_the_year_that_follows() -> None:
    both = drawn_orders(3_000, seed=7, history_days=1_095)
    cutoff = AS_OF - timedelta(days=365)
    rows = score_customer_value(
        both, cutoff, scored_at=SCORED_AT, settings=CustomerValueSettings(annual_discount_rate=0.0, backtest_folds=0)
    ).rows
    came = (
        both.filter(pl.col("ordered_on") > cutoff)
        .group_by("customer_id")
        .agg(pl.col("ordered_on").n_unique().alias("days"), pl.col("net_amount").sum().alias("value"))
    )
    held = rows.join(came, on="customer_id", how="left").with_columns(pl.col("days", "value").fill_null(0))
    assert held["expected_order_count"].sum() == pytest.approx(held["days"].sum(), rel=0.06)
    assert float(held["predicted_value_amount"].sum()) == pytest.approx(float(held["value"].sum()), rel=0.08)
    is_within = (held["value"] >= held["predicted_value_low_amount"]) & (held["value"] <= held["predicted_value_high_amount"])
    assert 0.9 <= is_within.mean() <= 0.98, "at least what it promises: a value cannot fall below a lower end of 0"
    assert 0.02 <= (held["value"] > held["predicted_value_high_amount"]).mean() <= 0.055


def test_the_next_order_comes_within_its_interval_as_often_as_it_says() -> None:
    both = drawn_orders(4_000, seed=9, history_days=1_400)
    cutoff = AS_OF - timedelta(days=700)
    rows = score_customer_value(both, cutoff, scored_at=SCORED_AT, settings=CustomerValueSettings(backtest_folds=0)).rows
    following = both.filter(pl.col("ordered_on") > cutoff).group_by("customer_id").agg(pl.col("ordered_on").min().alias("next_on"))
    dated = rows.filter(pl.col("next_order_latest_on").is_not_null() & (pl.col("next_order_latest_on") <= AS_OF)).join(
        following, on="customer_id", how="left"
    )
    alive = dated["alive_rate"].sum()
    by_median = (dated["next_on"] <= dated["next_order_expected_on"]).sum() / alive
    within = dated["next_on"].is_between(dated["next_order_earliest_on"], dated["next_order_latest_on"]).sum() / alive
    assert by_median == pytest.approx(0.5, abs=0.05)
    assert within == pytest.approx(0.8, abs=0.05)


def test_orders_in_any_order_give_the_same_result() -> None:
    orders = drawn_orders(400, seed=3)
    once = score(orders)
    again = score(orders.sample(fraction=1, shuffle=True, seed=8))
    assert again.rows.equals(once.rows)
    assert again.receipt == once.receipt
    assert all(again.tables[name].equals(table) for name, table in once.tables.items())


def test_orders_after_the_as_of_day_change_nothing_but_the_count_of_them() -> None:
    orders = drawn_orders(400, seed=3)
    cutoff = AS_OF - timedelta(days=100)
    whole = score_customer_value(orders, cutoff, scored_at=SCORED_AT)
    past = score_customer_value(orders.filter(pl.col("ordered_on") <= cutoff), cutoff, scored_at=SCORED_AT)
    assert whole.rows.equals(past.rows)
    assert whole.receipt.backtest == past.receipt.backtest
    assert whole.receipt.excluded["after_as_of"] == orders.filter(pl.col("ordered_on") > cutoff).height


def test_a_fold_learns_nothing_from_its_hold_out() -> None:
    orders = drawn_orders(600, seed=5)
    last_fold = AS_OF - timedelta(days=90)
    busy = orders.filter(pl.col("ordered_on") > last_fold).with_columns(
        order_id=pl.col("order_id") + 10_000_000, ordered_on=pl.lit(AS_OF), net_amount=pl.col("net_amount") * 3
    )
    before, after = score(orders), score(pl.concat([orders, busy.cast(orders.schema)]))
    predicted = [
        scored.tables["frequency_holdout"].select("repeat_count", "customer_count", "predicted_mean") for scored in (before, after)
    ]
    assert predicted[0].equals(predicted[1]), "what was said at the cutoff"
    assert not before.tables["frequency_holdout"].equals(after.tables["frequency_holdout"]), "though more came"


def test_history_is_counted_by_day_and_money_to_the_cent() -> None:
    row = score(orders_frame((1, 30, "10.10"), (1, 30, "0.20"), (1, 10, "5"), (1, 9, 99, "GBP", True))).rows.row(0, named=True)
    assert (row["order_count"], row["repeat_count"], row["recency_days"], row["age_days"]) == (3, 1, 10, 30)
    assert row["average_gap_days"] == 20
    assert row["historic_value_amount"] == Decimal("15.3000")
    assert row["reasons"][0] == "3 orders on 2 days, usually every 20 days; silent for 10 days"


def test_unusable_orders_are_left_out_and_counted_by_reason() -> None:
    orders = orders_frame(
        (1, 10, 20), (1, 8, 9, "GBP", True), (1, 7, 9, "GBP", False, True), (None, 4, 50), (1, -1, 70), (2, 3, 5, None), (3, 3, 0)
    )
    twice = pl.concat([orders, orders.head(1)])
    unknown = twice.with_columns(net_amount=pl.when(pl.col("customer_id") == 3).then(None).otherwise(pl.col("net_amount")))
    receipt = score(unknown).receipt
    assert receipt.excluded == {
        "after_as_of": 1,
        "cancelled": 1,
        "duplicate_order": 1,
        "guest": 1,
        "no_amount": 1,
        "no_currency": 1,
        "test": 1,
    }
    assert receipt.rows == 1


def test_zero_and_negative_spenders_stay_customers_and_are_counted() -> None:
    refunded = orders_frame((9_001, 20, 0), (9_002, 9, -5))
    scored = score(shops(drawn_orders(500), refunded))
    assert_sane(scored)
    refunded = scored.rows.filter(pl.col("customer_id") > 9_000)
    assert refunded["historic_value_amount"].to_list() == [Decimal("0.0000"), Decimal("-5.0000")]
    assert (refunded["predicted_value_amount"] > 0).all(), "they may come back"
    assert refunded["average_order_amount"].max() < scored.rows["average_order_amount"].median()
    assert refunded["reasons"].list.contains("refunds left nothing of the value of the orders").all()
    assert scored.receipt.excluded == {"customers_without_positive_spend": 2}


def test_currencies_are_never_added_up() -> None:
    orders = orders_frame((1, 200, 1000), (1, 5, 7, "JPY"), *[(c, 50 + c, 10 * c) for c in range(2, 9)])
    scored = score(orders)
    row = scored.rows.row(0, named=True)
    assert (row["currency_code"], row["historic_value_amount"], row["order_count"]) == ("JPY", Decimal("7.0000"), 2)
    assert row["average_order_amount"] == pytest.approx(Decimal(7)), "the only spend known in yen"
    assert scored.receipt.excluded == {"value_in_former_currency": 1}
    assert {"v_JPY", "v_GBP"} <= set(scored.receipt.parameters)


def test_a_small_currency_takes_its_spread_from_the_large_one_and_its_mean_from_itself() -> None:
    small = orders_frame(*[(9_000 + c, 40 + c, 20_000 + 500 * c, "JPY") for c in range(10)])
    scored = score(shops(drawn_orders(500), small))
    parameters = scored.receipt.parameters
    assert (parameters["p_JPY"].value, parameters["q_JPY"].value) == (parameters["p_GBP"].value, parameters["q_GBP"].value)
    assert parameters["p_JPY"].value * parameters["v_JPY"].value / (parameters["q_JPY"].value - 1) == pytest.approx(22_250)
    assert parameters["v_JPY"].standard_error is None
    assert any("JPY taken from GBP" in note for note in scored.receipt.notes)
    assert scored.receipt.fallback is None


def test_too_few_repeat_buyers_fall_back_to_assumed_shapes_and_say_so() -> None:
    scored = score(drawn_orders(60))
    assert_sane(scored)
    assert scored.receipt.fallback is not None
    assert "customers came back, fewer than 50" in scored.receipt.fallback
    assert scored.receipt.model.startswith("bg_nbd_assumed_shapes")
    assert scored.receipt.parameters["r"].value == 0.5
    assert scored.receipt.parameters["alpha"].standard_error is None


@pytest.mark.parametrize(
    "orders",
    [
        orders_frame((1, 0, 10)),
        orders_frame((1, 400, 0)),
        orders_frame((1, 4000, -10), (1, 5, 3)),
        orders_frame(*[(c, 30, 10) for c in range(1, 120)]),
        orders_frame(*[(c, days, 10) for c in range(1, 120) for days in (60, 30, 1)]),
        orders_frame(*[(1, days, "0.0001") for days in range(300)]),
        orders_frame((1, 3, "9999999999999.9999"), (2, 3, "0.0001"), (2, 2, "0.0001")),
        orders_frame(*[(c, 0, c) for c in range(1, 120)]),
    ],
    ids=["one today", "nothing spent", "ten years", "all alike once", "all alike thrice", "every day", "extreme money", "all today"],
)
def test_odd_shops_are_scored_without_nonsense(orders: pl.DataFrame) -> None:
    scored = score(orders)
    assert_sane(scored)
    assert scored.rows.height == orders["customer_id"].n_unique()


def test_a_shops_first_day_promises_what_shops_bring_and_not_an_order_a_fortnight() -> None:
    orders = orders_frame(*[(customer, 0, 10) for customer in range(1, 1_001)])
    scored = score(orders)
    assert scored.receipt.parameters["alpha"].value == pytest.approx(9.1, abs=0.01), "nothing seen: the prior alone"
    assert scored.rows["expected_order_count"].max() < 2
    assert scored.rows["churn_rate"].min() > 0.4
    older = score(orders.with_columns(ordered_on=pl.lit(AS_OF - timedelta(days=60))))
    assert older.rows["expected_order_count"].max() < 0.02, "60 days in which none of a thousand came back outweigh it"


def test_absurd_amounts_stop_nobody_elses_score() -> None:
    most = "99999999999999.9999"
    absurd = orders_frame((9_001, 30, most), (9_001, 20, most), (9_002, 10, f"-{most}"), (9_002, 9, f"-{most}"))
    scored = score(shops(drawn_orders(500), absurd))
    assert_sane(scored)
    amounts = scored.rows.filter(pl.col("customer_id") > 9_000)["historic_value_amount"].to_list()
    assert amounts == [Decimal(10**13), Decimal(-(10**13))]
    assert_sane(score(orders_frame(*[(customer, 30 + customer % 9, most) for customer in range(300)])))


def test_a_moment_in_another_zone_counts_on_its_utc_day() -> None:
    moment = pl.datetime(2026, 11, 20, 2, time_zone="UTC").dt.convert_time_zone("America/New_York")
    orders = orders_frame((1, 0, 10)).drop("ordered_on")
    for at in (moment, moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)):
        assert score(orders.with_columns(ordered_at=at)).rows["recency_days"].to_list() == [1]


def test_calibration_of_a_short_history_learns_nothing_from_the_hold_out_it_is_tried_on() -> None:
    """240 days: hold-outs of 90 days that overlap, so that none had ended at the last cutoff."""
    scored = score(drawn_orders(6_000, seed=11, history_days=240))
    folds = sorted({(fold.cutoff_on, fold.until_on) for fold in scored.receipt.backtest})
    assert len(folds) == 3
    assert folds[1][1] > folds[2][0], "they overlap"
    assert set(scored.tables["calibration"]["stage"]) == {"raw"}
    assert any("not calibrated" in note for note in scored.receipt.notes)


def test_no_orders_at_all_give_typed_nothing() -> None:
    scored = score(orders_frame())
    assert_sane(scored)
    assert scored.rows.is_empty()
    assert scored.receipt.model == "none"


def test_wrong_input_is_refused_by_name() -> None:
    orders = orders_frame((1, 1, 1))
    with pytest.raises(ScoringError, match="net_amount is Float64"):
        score(orders.with_columns(pl.col("net_amount").cast(pl.Float64)))
    with pytest.raises(ScoringError, match="lack currency_code"):
        score(orders.drop("currency_code"))
    with pytest.raises(ScoringError, match="customer_id is String"):
        score(orders.with_columns(pl.col("customer_id").cast(pl.String)))
    with pytest.raises(ScoringError, match="ordered_on is String"):
        score(orders.with_columns(pl.col("ordered_on").cast(pl.String)))
    with pytest.raises(ScoringError, match="time zone"):
        score_customer_value(orders, AS_OF, scored_at=datetime(2026, 1, 1))
    with pytest.raises(ScoringError, match="as_of is a moment"):
        score_customer_value(orders, SCORED_AT, scored_at=SCORED_AT)
    with pytest.raises(ScoringError, match="out of range"):
        CustomerValueSettings(interval_rate=1.0)
    with pytest.raises(ScoringError, match="out of range"):
        CustomerValueSettings(gold_share=0.1)


def test_tiers_are_the_fewest_who_bring_the_share_and_ties_stay_together() -> None:
    rows = drawn().rows
    for currency in ("GBP", "EUR"):
        here = rows.filter(pl.col("currency_code") == currency)
        for tiers, share in ((["platinum"], 0.2), (["platinum", "gold"], 0.5), (["platinum", "gold", "silver"], 0.8)):
            inside = here.filter(pl.col("vip_tier").is_in(tiers))["total_value_amount"]
            total = float(here["total_value_amount"].clip(0).sum())
            assert float(inside.sum()) >= share * total
            assert float(inside.sum() - inside.min()) < share * total
    alike = score(orders_frame(*[(c, 10, 10) for c in range(1, 6)])).rows
    assert set(alike["vip_tier"]) == {"none"}


def test_transitions_count_every_customer_of_rfm_once() -> None:
    moved = score(orders_frame((1, 100, 10), (2, 70, 10), (3, 5, 10), (4, 40, 9), (4, 35, 9))).tables["transitions"]
    assert moved.select("lifecycle_before", "lifecycle_now", "customer_count").rows() == [
        ("active", "at_risk", 1),
        ("at_risk", "lapsed", 1),
        ("new", "active", 1),
        ("new_customer", "new", 1),
    ]


def test_transitions_draw_the_line_of_the_lapsed_where_the_settings_do() -> None:
    orders = orders_frame((1, 100, 10))
    ends = [
        score(orders, settings=CustomerValueSettings(lapsed_after_days=days)).tables["transitions"]["lifecycle_now"] for days in (90, 180)
    ]
    assert [end.to_list() for end in ends] == [["lapsed"], ["active"]]


def test_tables_of_the_last_fold_add_up() -> None:
    tables = drawn().tables
    lift = tables["value_lift"]
    assert lift.group_by("currency_code").agg(pl.col("cumulative_gain_rate").max())["cumulative_gain_rate"].to_list() == pytest.approx(
        [1, 1]
    )
    assert lift.filter(pl.col("currency_code") == "GBP")["cumulative_gain_rate"][0] > 0.25
    frequency = tables["frequency_holdout"]
    assert frequency["customer_count"].sum() == lift["customer_count"].sum()
    assert frequency["predicted_mean"][-1] > 2 * frequency["predicted_mean"][1]
    matrix = tables["alive_matrix"]
    assert matrix.filter(pl.col("repeat_count") == 5)["alive_rate"].is_sorted(descending=True)


def test_plots_are_images_of_each_table() -> None:
    tables = drawn().tables
    for image in (
        alive_plot(tables["alive_matrix"]),
        reliability_plot(tables["calibration"]),
        lift_plot(tables["value_lift"], "GBP"),
        frequency_plot(tables["frequency_holdout"]),
    ):
        assert image.startswith(b"\x89PNG")
        assert len(image) < 60_000
    empty = score(orders_frame((1, 0, 1))).tables
    assert lift_plot(empty["value_lift"], "GBP").startswith(b"\x89PNG")
    assert alive_plot(empty["alive_matrix"]).startswith(b"\x89PNG")


ORDER = st.tuples(
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(-3, 400),
    st.decimals("-5", "40", places=2),
    st.sampled_from(["GBP", "EUR"]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ORDER, max_size=60), seed=st.integers(0, 2**16))
def test_what_holds_for_every_shop(rows: list[tuple[Any, ...]], seed: int) -> None:
    few = CustomerValueSettings(min_repeat_customers=4, min_spend_customers=4)
    orders = orders_frame(*rows)
    scored = score(orders, settings=few)
    assert_sane(scored)
    names = {"value_in_former_currency", "customers_without_positive_spend"}
    left_out = sum(count for name, count in scored.receipt.excluded.items() if name not in names)
    assert scored.rows["order_count"].sum() + left_out == orders.height
    shuffled = score(orders.sample(fraction=1, shuffle=True, seed=seed), settings=few)
    assert shuffled.rows.equals(scored.rows)
    assert shuffled.receipt == scored.receipt


def test_a_day_in_words_and_a_typed_as_of() -> None:
    rows = drawn().rows
    assert rows["as_of_on"].unique().to_list() == [date(2026, 11, 21)]
    silver = rows.filter(pl.col("vip_tier") == "silver")
    assert silver["reasons"].list.last().str.contains("first 80 % of the value in").all()
    assert np.isclose(rows["churn_rate"].mean(), drawn().receipt.monitored["churn_rate"])
