"""Tables of a risk backtest for people: figures by fold, what a review of the riskiest share finds, and whether probabilities hold."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from commerce_assets.scoring.receipts import Fold, backtest_table
from commerce_assets.scoring.risk.backtest import BY_AMOUNT, EVIDENCE, MODEL, Backtest
from commerce_assets.scoring.risk.settings import RiskSettings

GAIN_SHARES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
CALIBRATION_BINS = 10
_GAIN_SCHEMA = {
    "score": pl.String(),
    "reviewed_rate": pl.Float64(),
    "found_rate": pl.Float64(),
    "precision_rate": pl.Float64(),
    "is_capacity": pl.Boolean(),
}


def backtest_tables(backtest: Backtest, folds: Sequence[Fold], settings: RiskSettings) -> dict[str, pl.DataFrame]:
    """`backtest`: as `receipts.backtest_table`. `gain`: score, reviewed_rate (share of hold-out orders looked at, riskiest first),
    found_rate (share of chargebacks among them), precision_rate, is_capacity. `calibration`: orders_count, predicted_rate,
    observed_rate in tenths of the hold-out orders by predicted probability.
    """
    return {"backtest": backtest_table(folds), "gain": _gain(backtest.held_out, settings), "calibration": _calibration(backtest.held_out)}


def _gain(held_out: pl.DataFrame, settings: RiskSettings) -> pl.DataFrame:
    shares = sorted({*GAIN_SHARES, settings.review_capacity_rate})
    lines = []
    for column, name in (("evidence", EVIDENCE), ("model", MODEL), ("amount", BY_AMOUNT)):
        orders = held_out.filter(pl.col(column).is_not_null())
        if not orders["is_chargeback"].any():
            continue
        ranked = orders.sort(column, "amount", descending=True, maintain_order=True)["is_chargeback"].to_numpy()
        found = np.cumsum(ranked)
        for share in shares:
            looked_at = max(round(share * len(ranked)), 1)
            caught = int(found[looked_at - 1])
            lines.append((name, share, caught / int(found[-1]), caught / looked_at, share == settings.review_capacity_rate))
    return pl.DataFrame(lines, schema=_GAIN_SCHEMA, orient="row")


def _calibration(held_out: pl.DataFrame) -> pl.DataFrame:
    rated = held_out.filter(pl.col("rate").is_not_null()).sort("rate")
    return (
        rated.with_columns(_bin=pl.int_range(pl.len()) * CALIBRATION_BINS // pl.len())
        # Equal probabilities are never parted.
        .with_columns(_bin=pl.col("_bin").min().over("rate"))
        .group_by("_bin")
        .agg(
            pl.len().cast(pl.Int64).alias("orders_count"),
            pl.col("rate").mean().alias("predicted_rate"),
            pl.col("is_chargeback").mean().alias("observed_rate"),
        )
        .sort("_bin")
        .drop("_bin")
    )
