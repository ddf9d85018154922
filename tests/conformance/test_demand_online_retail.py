"""The demand forecast and the stock policy on Online Retail: a year of daily units of 3,900 gifts, which nobody here wrote."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from support import shared_path

from commerce_assets.scoring.demand import DemandSettings, score_demand, simulated_service
from commerce_assets.scoring.receipts import Bounds, Fold, Scored, gate_figures, judge

AS_OF = date(2011, 12, 9)
SCORED_AT = datetime(2011, 12, 10, 3, tzinfo=UTC)
NO_STOCK = pl.DataFrame(schema={"variant_id": pl.Int64, "location_id": pl.Int64, "snapshot_on": pl.Date, "available_count": pl.Int64})


@pytest.fixture(scope="module")
def retail() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sales (no returns, no gifts) and variants; the stock codes numbered in their order."""
    lines = pl.read_parquet(shared_path("datasets/online_retail_2010_2011.parquet"))
    sold = lines.filter((pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0))
    codes = sold.select(pl.col("StockCode").unique().sort()).with_columns(variant_id=pl.int_range(pl.len(), dtype=pl.Int64))
    sales = sold.join(codes, on="StockCode").select(
        "variant_id", location_id=pl.lit(1, pl.Int64), sold_on=pl.col("InvoiceDate").dt.date(), unit_count="Quantity"
    )
    return sales, codes.select("variant_id", product_id="variant_id", product_type=pl.lit("gift"))


@pytest.fixture(scope="module")
def result(retail: tuple[pl.DataFrame, pl.DataFrame]) -> Scored:
    sales, variants = retail
    return score_demand(sales, NO_STOCK, variants, AS_OF, scored_at=SCORED_AT)


def mean_of(folds: tuple[Fold, ...], metric: str) -> tuple[float, float]:
    some = [fold for fold in folds if fold.metric == metric]
    return float(np.mean([fold.value for fold in some])), float(np.mean([fold.baseline_value for fold in some]))


def test_the_forecast_beats_seasonal_naive_by_a_fifth_in_every_fold(result: Scored) -> None:
    gates = [fold for fold in result.receipt.backtest if fold.is_gate]
    assert len(gates) == 3
    for fold in gates:
        assert fold.value < 0.85 * fold.baseline_value, fold
    value, bar = mean_of(result.receipt.backtest, "wrmsse")
    assert value < 0.8 * bar, f"{value:.3f} beside {bar:.3f}"
    assert judge(result.receipt, result.rows, None, Bounds(max_input_age=None), SCORED_AT).is_accepted


def test_quantiles_of_two_weeks_demand_cover_what_they_promise(result: Scored) -> None:
    table = result.tables["reliability"].filter(pl.col("quantity") == "lead_time")
    covered = dict(table.group_by("probability").agg(pl.col("covered_rate").mean()).iter_rows())
    assert covered[0.5] == pytest.approx(0.5, abs=0.05)
    assert covered[0.8] == pytest.approx(0.8, abs=0.04)
    # Three folds of a rising autumn: what was to come was higher than anything before.
    assert covered[0.95] == pytest.approx(0.95, abs=0.06)


def test_the_quantile_of_a_lead_time_costs_less_than_the_textbooks_normal_one(result: Scored) -> None:
    value, bar = mean_of(result.receipt.backtest, "lead_time_pinball_95")
    assert value < bar, f"{value:.4f} beside {bar:.4f}"


def test_one_order_of_eighty_thousand_does_not_become_demand(result: Scored) -> None:
    month = result.tables["totals"].filter(pl.col("level") == "all")["expected_units"].sum()
    assert 400_000 < month < 750_000, f"{month:,.0f} units in four weeks"
    assert (result.tables["series"].filter(pl.col("series_class") == "new")["daily_units"] < 300).all()


def test_the_stock_policy_serves_more_than_days_of_cover_with_as_much_stock(retail: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    sales, variants = retail
    folds = simulated_service(sales, NO_STOCK, variants, AS_OF, demand=DemandSettings(folds=3))
    served, thumb, _, _ = gate_figures(folds)["service_rate"]
    assert served > thumb + 0.04, f"{served:.3f} beside {thumb:.3f}"
    assert served > 0.84, f"{served:.3f} of intervals served, {0.95} wanted"
