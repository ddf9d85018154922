"""score_demand as a whole: what its rows, totals and receipt hold for a small shop and for every shop."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.scoring.demand import (
    DEMAND_COLUMNS,
    DEMAND_SCHEMA,
    LEVELS,
    SERIES_COLUMNS,
    SERIES_SCHEMA,
    TOTAL_COLUMNS,
    TOTAL_SCHEMA,
    DemandSettings,
    plots,
    score_demand,
)
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Bounds, Scored, gate_figures, judge

AS_OF = date(2026, 11, 21)
SCORED_AT = datetime(2026, 11, 22, 3, tzinfo=UTC)
SALES = {"variant_id": pl.Int64, "location_id": pl.Int64, "sold_on": pl.Date, "unit_count": pl.Int64}
NO_STOCK = pl.DataFrame(schema={"variant_id": pl.Int64, "location_id": pl.Int64, "snapshot_on": pl.Date, "available_count": pl.Int64})
VARIANTS = pl.DataFrame(
    {"variant_id": list(range(12)), "product_id": [v // 2 for v in range(12)], "product_type": ["a", "b", "b", None] * 3},
    schema={"variant_id": pl.Int64, "product_id": pl.Int64, "product_type": pl.String},
)


def shop(days: int = 220) -> pl.DataFrame:
    """Twelve variants at two locations, from one that sells daily to one that hardly does."""
    random = np.random.default_rng(7)
    week = np.array([1.0, 1.0, 1.2, 1.5, 1.3, 0.2, 0.8])
    rows = []
    for variant in range(12):
        for location in (1, 2):
            mean = 12 / (1 + variant) ** 1.5 * location
            units = random.poisson(mean * week[np.arange(days) % 7])
            rows += [(variant, location, AS_OF - timedelta(days=int(ago)), int(units[ago])) for ago in np.flatnonzero(units)]
    return pl.DataFrame(rows, schema=SALES, orient="row")


def scored(sales: pl.DataFrame, stock: pl.DataFrame = NO_STOCK, **options: Any) -> Scored:
    return score_demand(sales, stock, VARIANTS, AS_OF, scored_at=SCORED_AT, **options)


@pytest.fixture(scope="module")
def result() -> Scored:
    return scored(shop(), complete_at=SCORED_AT)


def test_every_table_has_exactly_the_declared_columns_even_for_no_sales(result: Scored) -> None:
    for some in (result, scored(shop().clear())):
        assert dict(some.rows.schema) == DEMAND_SCHEMA
        assert dict(some.tables["series"].schema) == SERIES_SCHEMA
        assert dict(some.tables["totals"].schema) == TOTAL_SCHEMA
    assert (list(DEMAND_COLUMNS), list(SERIES_COLUMNS), list(TOTAL_COLUMNS)) == (
        list(DEMAND_SCHEMA),
        list(SERIES_SCHEMA),
        list(TOTAL_SCHEMA),
    )


def test_every_series_has_every_day_of_the_horizon(result: Scored) -> None:
    assert result.rows.height == 24 * 28
    assert result.rows["forecast_on"].min() == AS_OF + timedelta(days=1)
    assert result.rows["forecast_on"].max() == AS_OF + timedelta(days=28)
    assert result.rows.select("variant_id", "location_id", "forecast_on").is_unique().all()


def test_totals_are_exactly_the_sums_of_their_parts(result: Scored) -> None:
    def parts(frame: pl.DataFrame) -> pl.Series:
        return (frame["expected_units"] * 10_000).round().cast(pl.Int64)

    series = result.tables["series"].select("variant_id", "location_id", "product_id", "product_type")
    rows = result.rows.join(series, on=["variant_id", "location_id"]).with_columns(_parts=parts(result.rows))
    totals = result.tables["totals"].with_columns(_parts=parts(result.tables["totals"]))
    keys = {"variant": "variant_id", "product": "product_id", "product_type": "product_type", "location": "location_id", "all": None}
    assert set(keys) == set(LEVELS)
    for level, column in keys.items():
        key = pl.lit("all") if column is None else pl.col(column).cast(pl.String)
        sums = rows.group_by(level_key=key, forecast_on="forecast_on").agg(pl.col("_parts").sum())
        found = totals.filter(pl.col("level") == level)
        assert found.height == sums.height
        both = found.join(sums, on=["level_key", "forecast_on"], suffix="_sum")
        assert (both["_parts"] == both["_parts_sum"]).all(), f"{level} is not the sum of its parts"
        assert totals.filter(pl.col("level") == level)["_parts"].sum() == rows["_parts"].sum()


def test_the_interval_of_a_total_is_narrower_than_the_sum_of_its_parts(result: Scored) -> None:
    total = result.tables["totals"].filter(pl.col("level") == "all")
    assert (total["high_units"] - total["low_units"]).sum() < (result.rows["high_units"] - result.rows["low_units"]).sum()


def test_the_receipt_says_how_good_it_is_and_is_accepted(result: Scored) -> None:
    receipt = result.receipt
    assert {fold.fold for fold in receipt.backtest} == {1, 2, 3}
    value, bar, better, name = gate_figures(receipt.backtest)["wrmsse"]
    assert (better, name) == ("lower", "seasonal_naive")
    assert value < bar, f"{value:.3f} beside {bar:.3f}"
    assert judge(receipt, result.rows, None, Bounds(), SCORED_AT).is_accepted
    assert json.loads(receipt.to_json())["inputs"]["sales"]["last_on"] == AS_OF.isoformat()
    assert receipt.valid_until == SCORED_AT + timedelta(hours=48)


def test_intervals_cover_about_what_they_promise_on_demand_that_is_what_it_seems(result: Scored) -> None:
    covered = result.tables["reliability"].filter(pl.col("probability").is_in([0.8, 0.95]))
    for row in covered.group_by("quantity", "probability").agg(pl.col("covered_rate").mean()).iter_rows(named=True):
        assert row["covered_rate"] == pytest.approx(row["probability"], abs=0.09), row


def test_reasons_are_words_an_analyst_can_check(result: Scored) -> None:
    reasons = result.tables["series"].row(by_predicate=(pl.col("variant_id") == 0) & (pl.col("location_id") == 1), named=True)["reasons"]
    assert any("sale days in 220" in reason for reason in reasons), reasons
    assert (result.tables["series"]["reasons"].list.len() >= 2).all()


def test_days_without_stock_raise_the_level_and_are_counted() -> None:
    days = [AS_OF - timedelta(days=ago) for ago in range(100)]
    out = [ago % 5 == 0 for ago in range(100)]
    sales = pl.DataFrame([(1, 1, day, 10) for day, is_out in zip(days, out, strict=True) if not is_out], schema=SALES, orient="row")
    stock = pl.DataFrame(
        [(1, 1, day, 0) for day, is_out in zip(days, out, strict=True) if is_out], schema=dict(NO_STOCK.schema), orient="row"
    )
    blind, knowing = (
        scored(sales, some, settings=DemandSettings(folds=0)).tables["series"].row(0, named=True) for some in (NO_STOCK, stock)
    )
    assert blind["daily_units"] == pytest.approx(8, abs=0.8)
    assert knowing["daily_units"] == pytest.approx(10, abs=0.01)
    assert (blind["censored_day_count"], knowing["censored_day_count"]) == (0, 20)


def test_the_same_rows_in_any_order_give_the_same_forecast(result: Scored) -> None:
    shuffled = scored(shop().sample(fraction=1, shuffle=True, seed=3), complete_at=SCORED_AT)
    assert shuffled.rows.equals(result.rows)
    assert shuffled.tables["totals"].equals(result.tables["totals"])
    assert shuffled.receipt == result.receipt


def test_a_day_that_is_not_over_is_forecast_and_not_learned_from(result: Scored) -> None:
    today = AS_OF + timedelta(days=1)
    first_hours = pl.DataFrame([(0, 1, today, 1)], schema=SALES, orient="row")
    early = score_demand(pl.concat([shop(), first_hours]), NO_STOCK, VARIANTS, today, scored_at=SCORED_AT, complete_at=SCORED_AT)
    assert early.rows.equals(result.rows)
    assert early.tables["series"].equals(result.tables["series"])
    assert (early.rows["forecast_on"].min(), early.receipt.as_of_on) == (today, AS_OF)
    assert early.receipt.excluded == {"sales_after_as_of": 1}


def test_what_is_in_stock_for_the_first_time_today_has_a_forecast_today() -> None:
    today = AS_OF + timedelta(days=1)
    stock = pl.DataFrame([(0, 1, today, 0), (9, 3, today, 5)], schema=dict(NO_STOCK.schema), orient="row")
    some = score_demand(shop(60), stock, VARIANTS, today, scored_at=SCORED_AT, settings=DemandSettings(folds=0))
    series = some.tables["series"]
    assert series.filter(pl.col("location_id") == 3).select("variant_id", "history_days").rows() == [(9, 1)]
    assert series["censored_day_count"].sum() == 0
    assert some.receipt.excluded == {}


@pytest.mark.parametrize(
    ("scored_at", "complete_at", "last_on"),
    [
        (SCORED_AT, None, AS_OF),
        (SCORED_AT + timedelta(days=9), None, AS_OF),
        (SCORED_AT, SCORED_AT - timedelta(days=2), AS_OF - timedelta(days=2)),
        (datetime(2026, 11, 22, 3, tzinfo=timezone(timedelta(hours=5))), None, AS_OF - timedelta(days=1)),
    ],
    ids=["the day after", "later", "sales known until the day before yesterday", "still the day before in UTC"],
)
def test_the_forecast_begins_after_the_last_day_known_as_a_whole(scored_at: datetime, complete_at: datetime | None, last_on: date) -> None:
    some = score_demand(shop(40), NO_STOCK, VARIANTS, AS_OF, scored_at=scored_at, complete_at=complete_at, settings=DemandSettings(folds=0))
    assert some.rows["forecast_on"].min() == last_on + timedelta(days=1)
    assert some.receipt.trained_to_on == last_on


def test_series_of_unknown_variants_are_forecast_and_said() -> None:
    sales = shop(days=40).with_columns(pl.col("variant_id") + 6)
    result = scored(sales, settings=DemandSettings(folds=0))
    unknown = result.tables["series"].filter(pl.col("product_id").is_null()).height
    assert unknown > 0
    assert result.receipt.notes == (f"{unknown} series are of variants without a product: their product's total is (none)",)
    assert "(none)" in set(result.tables["totals"].filter(pl.col("level") == "product")["level_key"])


def test_too_little_history_for_a_backtest_is_said() -> None:
    short = scored(shop(days=20))
    assert short.receipt.backtest == ()
    assert short.receipt.fallback is not None
    assert "too little history" in short.receipt.fallback
    assert set(short.tables["series"]["series_class"]) == {"new"}


def test_a_moment_without_a_zone_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ScoringError, match="time zone"):
        score_demand(shop(), NO_STOCK, VARIANTS, AS_OF, scored_at=datetime(2026, 11, 22))
    for options in (
        {"horizon_days": 0},
        {"interval_probability": 1.0},
        {"max_history_days": 10},
        {"new_prior_days": 0},
        {"cap_quantile": 0.2},
    ):
        with pytest.raises(ScoringError, match="out of range"):
            DemandSettings(**options)


def test_importing_the_package_loads_no_heavy_library() -> None:
    program = "import sys, commerce_assets.scoring.demand; print([m for m in ('scipy', 'statsforecast', 'pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plots_are_images(result: Scored) -> None:
    for image in (plots.total_fan(shop(), result.tables["totals"]), plots.reliability(result.tables["reliability"])):
        assert image.startswith(b"\x89PNG")


ROW = st.tuples(st.integers(0, 5), st.integers(1, 2), st.integers(0, 130), st.sampled_from([0, 1, 3, 50, 100_000]))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROW, max_size=60))
def test_what_holds_for_every_shop(rows: list[tuple[int, int, int, int]]) -> None:
    frame = [(variant, location, AS_OF - timedelta(days=ago), units) for variant, location, ago, units in rows]
    result = scored(pl.DataFrame(frame, schema=SALES, orient="row"), settings=DemandSettings(horizon_days=9, backtest_lead_days=7))
    for table in (result.rows, result.tables["totals"]):
        assert table.null_count().sum_horizontal().item() == 0
        assert (table["low_units"] >= 0).all()
        assert (table["low_units"] <= table["expected_units"]).all()
        assert (table["expected_units"] <= table["high_units"]).all()
        assert table.select(pl.col(pl.Float64).is_finite().all()).row(0) == (True, True, True)
    series = result.tables["series"]
    floats = [name for name, dtype in SERIES_SCHEMA.items() if dtype == pl.Float64]
    assert series.select(pl.col(floats).is_finite().fill_null(True).all()).row(0) == (True,) * len(floats)
    assert result.rows.height == series.height * 9
