"""Daily anomalies: what alarms, what does not, and what is said of it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.anomalies import ANOMALY_COLUMNS, ANOMALY_SCHEMA, AnomalySettings, OwnEvent, judge_days
from commerce_assets.scoring.anomalies.plots import plot_band
from commerce_assets.scoring.receipts import Bounds, Scored, judge

FIRST_ON = date(2025, 1, 6)  # a Monday
SCORED_AT = datetime(2027, 6, 1, tzinfo=UTC)
WEEK = np.array([1.0, 1.1, 1.0, 0.95, 1.2, 0.8, 0.6])
ALL = AnomalySettings(judge_days=1_000)


def counts(days: int, a_day: float, lines: int = 1, seed: int = 0) -> np.ndarray[Any, Any]:
    """Poisson counts with a weekly rhythm, lines x days."""
    return np.random.default_rng(seed).poisson(a_day * WEEK[np.arange(days) % 7], (lines, days)).astype(float)


def daily(values: np.ndarray[Any, Any], metric: str = "orders", worth: float = 50.0, currency: str | None = "GBP") -> pl.DataFrame:
    lines, days = values.shape
    return pl.DataFrame(
        {
            "metric": [metric] * values.size,
            "channel": np.repeat([f"channel {line}" for line in range(lines)], days),
            "day_on": [FIRST_ON + timedelta(days=day) for day in range(days)] * lines,
            "value": values.ravel(),
            "money_amount": pl.Series(values.ravel() * worth).cast(pl.Decimal(18, 4)),
            "currency_code": pl.Series([currency] * values.size, dtype=pl.String),
        }
    )


def judged(metrics: pl.DataFrame, days: int, options: AnomalySettings = ALL, **more: Any) -> Scored:
    return judge_days(metrics, FIRST_ON + timedelta(days=days - 1), scored_at=SCORED_AT, settings=options, **more)


def alarms(scored: Scored) -> list[tuple[int, str]]:
    """Days since the first, and direction."""
    found = scored.rows.filter("is_anomaly").sort("day_on")
    return [((day_on - FIRST_ON).days, direction) for day_on, direction in found.select("day_on", "direction").iter_rows()]


def test_output_has_exactly_the_declared_columns_even_for_no_days() -> None:
    empty = judged(daily(np.zeros((0, 0))), 10)
    assert dict(empty.rows.schema) == ANOMALY_SCHEMA
    assert list(ANOMALY_COLUMNS) == list(ANOMALY_SCHEMA)
    assert empty.receipt.backtest == ()


@pytest.mark.parametrize(("a_day", "most_a_year"), [(0.25, 1.0), (3.0, 1.5), (100.0, 2.0)])
def test_false_alarms_are_as_few_as_designed(a_day: float, most_a_year: float) -> None:
    rows = judged(daily(counts(730, a_day, lines=20)), 730).rows.filter("is_judged")
    assert rows.filter("is_anomaly").height / (rows.height / 365) <= most_a_year


def test_a_drop_and_a_double_alarm_on_their_day_and_are_worth_what_is_missing() -> None:
    values = counts(300, 100)
    values[0, 280], values[0, 290] = 30, 210
    found = judged(daily(values), 300)
    assert alarms(found)[-2:] == [(280, "low"), (290, "high")]
    drop = found.rows.row(by_predicate=pl.col("day_on") == FIRST_ON + timedelta(days=280), named=True)
    assert drop["at_stake_amount"] == pytest.approx(Decimal((30 - drop["expected_value"]) * 50), abs=Decimal("0.001"))
    assert drop["expected_value"] == pytest.approx(100, rel=0.15)
    assert drop["reasons"][0].startswith("30 orders, about ")
    assert drop["reasons"][1].endswith(" GBP less than expected")
    assert drop["deviation"] < -3


def test_a_channel_whose_rows_stop_coming_alarms() -> None:
    metrics = daily(counts(200, 40, lines=2))
    silent = metrics.filter((pl.col("channel") == "channel 0") | (pl.col("day_on") < FIRST_ON + timedelta(days=197)))
    rows = judged(silent, 200).rows.filter(pl.col("day_on") >= FIRST_ON + timedelta(days=197))
    assert rows.group_by("channel").agg(pl.col("is_anomaly").sum()).sort("channel").rows() == [("channel 0", 0), ("channel 1", 3)]
    assert "day 3 in a row" in rows["reasons"].to_list()[-1]


def test_a_small_channel_alarms_once_its_silence_is_no_chance() -> None:
    values = counts(400, 1.5)
    values[0, 370:] = 0
    found = alarms(judged(daily(values), 400))
    silent = [day for day, direction in found if day >= 370 and direction == "low"]
    assert silent, found
    assert 373 <= silent[0] <= 385, "three days of nothing are chance at 1.5 a day, two weeks are not"
    assert len(silent) <= ALL.adapt_after_days


def test_after_a_change_of_level_alarms_end_and_its_end_is_none() -> None:
    values = counts(300, 100)
    values[0, 200:240] *= 0.4
    found = [day for day, _ in alarms(judged(daily(values), 300)) if day >= 200]
    assert found[: ALL.adapt_after_days] == list(range(200, 200 + ALL.adapt_after_days))
    assert len(found) <= ALL.adapt_after_days + 1, found


def test_a_shop_closed_on_saturdays_is_not_alarmed_by_them_nor_by_a_few_orders_on_one() -> None:
    values = counts(300, 60)
    values[0, 5::7] = 0
    values[0, 292 - (292 - 5) % 7] = 4
    found = judged(daily(values), 300)
    assert not [day for day, _ in alarms(found) if day % 7 == 5]
    closed = found.rows.filter(pl.col("day_on").dt.weekday() == 6, "is_judged")
    assert set(closed["expected_value"].to_list()) == {0.0}
    assert "when there usually are none" in closed["reasons"].to_list()[-1][0]


def test_refunds_alarm_only_when_there_are_too_many() -> None:
    values = counts(300, 60)
    values[0, 280], values[0, 290] = 0, 180
    assert [alarm for alarm in alarms(judged(daily(values, "refunds"), 300)) if alarm[0] >= 280] == [(290, "high")]


def test_black_friday_is_no_alarm_the_first_time_and_expected_the_second() -> None:
    values = counts(720, 100)
    fridays = [(date(year, 11, day) - FIRST_ON).days for year, day in ((2025, 28), (2026, 27))]
    values[0, fridays] = 320
    found = judged(daily(values), 720)
    assert not {day for day, _ in alarms(found)} & set(fridays)
    first, second = (found.rows.row(by_predicate=pl.col("day_on") == FIRST_ON + timedelta(days=day), named=True) for day in fridays)
    assert first["expected_value"] < 150
    assert 250 < second["expected_value"] < 330
    assert "Black Friday, seen for the first time: limits are wide" in first["reasons"]
    assert any(reason.startswith("Black Friday") and "learned from 1 such days before" in reason for reason in second["reasons"])


def test_a_black_friday_that_fails_after_a_good_one_alarms() -> None:
    values = counts(720, 100)
    values[0, [(date(2025, 11, 28) - FIRST_ON).days, (date(2026, 11, 27) - FIRST_ON).days]] = 320, 60
    assert ((date(2026, 11, 27) - FIRST_ON).days, "low") in alarms(judged(daily(values), 720))


def test_own_closures_are_no_alarm_and_leave_the_level_alone() -> None:
    values = counts(300, 100)
    values[0, 250:255] = 0
    closure = OwnEvent("stocktaking", FIRST_ON + timedelta(days=250), FIRST_ON + timedelta(days=254))
    found = judged(daily(values), 300, AnomalySettings(judge_days=1_000, own_events=(closure,)))
    assert not [day for day, _ in alarms(found) if 250 <= day < 262]
    assert [day for day, _ in alarms(judged(daily(values), 300)) if 250 <= day < 255] == list(range(250, 255))


def test_a_day_s_judgement_does_not_change_when_later_days_come() -> None:
    metrics = daily(counts(200, 20, lines=2, seed=4))
    before = judged(metrics.filter(pl.col("day_on") < FIRST_ON + timedelta(days=150)), 150).rows
    after = judged(metrics, 200).rows.filter(pl.col("day_on") < FIRST_ON + timedelta(days=150))
    assert before.drop("as_of_on").equals(after.drop("as_of_on"))


def test_only_closed_days_are_judged() -> None:
    metrics = daily(counts(100, 20))
    last_on = FIRST_ON + timedelta(days=99)
    noon = datetime.combine(last_on, datetime.min.time(), UTC) + timedelta(hours=12)
    by_day = judge_days(metrics, last_on, scored_at=noon)
    assert by_day.rows["day_on"].max() == last_on - timedelta(days=1)
    assert by_day.receipt.excluded == {"not_a_closed_day": 1}
    by_data = judge_days(metrics, last_on, scored_at=SCORED_AT, complete_at=noon - timedelta(days=3))
    assert by_data.rows["day_on"].max() == last_on - timedelta(days=4)


def test_too_little_history_is_not_judged_and_says_so() -> None:
    rows = judged(daily(counts(60, 20)), 60).rows
    assert rows["is_judged"].to_list() == [False] * 56 + [True] * 4
    young = rows.row(20, named=True)
    assert young["reasons"] == ["not judged: 20 of 56 days of history"]
    assert (young["expected_value"], young["deviation"], young["is_anomaly"]) == (None, None, False)


def test_rows_that_cannot_be_used_are_counted_by_reason() -> None:
    metrics = daily(counts(80, 20))
    bad = metrics.head(4).with_columns(
        value=pl.Series([float("nan"), None, 1.0, 1.0]), channel=pl.Series(["channel 0", "channel 0", None, "channel 0"])
    )
    found = judged(pl.concat([metrics, bad, metrics.tail(1).with_columns(day_on=pl.lit(None, pl.Date))]), 80)
    assert found.receipt.excluded == {"duplicate_day": 1, "no_day": 1, "no_metric_or_channel": 1, "no_value": 2}


def test_currencies_are_series_of_their_own_and_a_row_without_one_takes_the_only_one() -> None:
    one, other = daily(counts(80, 20), currency="GBP"), daily(counts(80, 20, seed=1), currency="EUR")
    rows = judged(pl.concat([one, other]), 80).rows
    assert rows["currency_code"].unique().sort().to_list() == ["EUR", "GBP"]
    partly = one.with_columns(pl.when(pl.col("value") > 20).then("currency_code").alias("currency_code"))
    assert judged(partly, 80).rows["currency_code"].unique().to_list() == ["GBP"]
    none = judged(one.drop("currency_code", "money_amount"), 80).rows
    assert none["at_stake_amount"].null_count() == none.height


def test_wrong_columns_and_settings_are_refused_by_name() -> None:
    metrics = daily(counts(60, 20))
    for wrong, message in (
        (metrics.drop("channel"), "channel"),
        (metrics.with_columns(pl.col("money_amount").cast(pl.Float64)), "money_amount is Float64"),
        (metrics.with_columns(value=pl.lit("many")), "value is String"),
    ):
        with pytest.raises(ScoringError, match=message):
            judged(wrong, 60)
    with pytest.raises(ScoringError, match="time zone"):
        judge_days(metrics, FIRST_ON, scored_at=datetime(2027, 1, 1))
    wrong_settings: list[dict[str, Any]] = [
        {"judge_days": 0},
        {"min_history_days": 20},
        {"false_alarms_a_year": 0},
        {"level_gain": 1.0},
        {"low_only_metrics": ("refunds",)},
    ]
    for options in wrong_settings:
        with pytest.raises(ScoringError):
            AnomalySettings(**options)


def test_the_receipt_holds_the_baseline_against_the_week_before() -> None:
    found = judged(daily(counts(300, 50, lines=5)), 300)
    gates = [fold for fold in found.receipt.backtest if fold.is_gate]
    assert [fold.metric for fold in gates] == ["scaled_mae"] * 4
    assert sum(fold.value for fold in gates) < 0.9 * sum(fold.baseline_value for fold in gates)
    assert judge(found.receipt, found.rows, None, Bounds(), SCORED_AT).is_accepted


def test_the_receipt_names_the_days_whose_alarms_the_backtest_counts() -> None:
    values = counts(300, 100, lines=3)
    values[:2, 280] = 0
    found = judged(daily(values), 300)
    assert f"{FIRST_ON + timedelta(days=280)} (2)" in found.receipt.notes[-1]
    assert "true events included" in found.receipt.notes[-1]


def test_the_plot_is_an_image() -> None:
    bands = judged(daily(counts(100, 20)), 100).tables["bands"]
    assert plot_band(bands, "orders", "channel 0").startswith(b"\x89PNG")
    assert plot_band(bands, "orders", "no such channel").startswith(b"\x89PNG")


VALUE = st.one_of(st.integers(0, 500), st.sampled_from([0, 0, 0, 1, 10**9]), st.floats(-1e6, 1e9, allow_nan=False))


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=130),
    metric=st.sampled_from(["orders", "refunds", "revenue"]),
    missing=st.integers(0, 3),
    seed=st.integers(0, 999),
)
def test_what_holds_for_every_series(values: list[tuple[float, float]], metric: str, missing: int, seed: int) -> None:
    metrics = daily(np.array(values, dtype=float).T, metric, worth=1.0).with_columns(pl.col("money_amount").cast(pl.Decimal(18, 4)))
    metrics = metrics.filter(pl.int_range(pl.len()) % 4 != missing)
    found = judged(metrics, len(values), AnomalySettings(judge_days=500, min_history_days=42))
    rows = found.rows
    assert rows.equals(rows.sort("metric", "channel", "currency_code", "day_on"))
    figures = ["expected_value", "low_value", "high_value", "deviation"]
    assert rows.filter("is_judged").select(pl.col(figures).is_finite().all()).row(0) in {(True,) * 4}
    assert (
        rows.filter(~pl.col("is_judged")).select(pl.col(figures).null_count().sum()).row(0)
        == (rows.filter(~pl.col("is_judged")).height,) * 4
    )
    assert rows.filter("is_judged").select((pl.col("low_value") <= pl.col("high_value")).all()).item()
    assert rows.select((pl.col("direction").is_not_null() == pl.col("is_anomaly")).all()).item()
    assert rows.select((pl.col("reasons").list.len() > 0).all()).item()
    again = judged(metrics.sample(fraction=1, shuffle=True, seed=seed), len(values), AnomalySettings(judge_days=500, min_history_days=42))
    assert again.rows.equals(rows)
    assert again.receipt == found.receipt
