"""Tables beside the scores, for people: transitions of the lifecycle, calibration, the P(alive) matrix, lift, the hold-out by frequency."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from commerce_assets.scoring import rfm
from commerce_assets.scoring.customers.backtest import Backtest, Holdout
from commerce_assets.scoring.customers.bgnbd import BgNbd
from commerce_assets.scoring.customers.calibration import reliability
from commerce_assets.scoring.customers.purchases import alive_rate
from commerce_assets.scoring.customers.settings import TABLE_SCHEMAS, CustomerValueSettings
from commerce_assets.scoring.transactions import LARGEST_AMOUNT, MONEY

MOST_REPEATS = 7
"""Of the table by frequency: the last row stands for as many and more, as in the paper's figure."""
MATRIX_REPEATS = 12
MATRIX_RECENCIES = 26
DECILES = 10


def transitions(orders: pl.DataFrame, as_of: date, settings: CustomerValueSettings, scored_at: datetime) -> pl.DataFrame:
    """Customers by RFM lifecycle `transition_days` before and now, lapsed after `lapsed_after_days`; orders as `score_customers` reads them."""
    lines = rfm.RfmSettings(lapsed_after_days=settings.lapsed_after_days)
    now, before = (
        rfm.score_customers(orders, as_of - timedelta(days=days), scored_at=scored_at, settings=lines)[0].select("customer_id", "lifecycle")
        for days in (0, settings.transition_days)
    )
    return (
        now.join(before, on="customer_id", how="left", suffix="_before")
        .with_columns(pl.col("lifecycle_before").fill_null("new_customer"))
        .group_by("lifecycle_before", lifecycle_now="lifecycle")
        .agg(pl.len().alias("customer_count"))
        .with_columns(share_rate=pl.col("customer_count") / pl.col("customer_count").sum().over("lifecycle_before"))
        .select(pl.col(name).cast(dtype) for name, dtype in TABLE_SCHEMAS["transitions"].items())
        .sort("lifecycle_before", "lifecycle_now")
    )


def calibration(backtest: Backtest) -> pl.DataFrame:
    """Reliability of churn on the last fold: as the model has it, and moved by the calibrator of the folds before (where there is one)."""
    if not backtest.holdouts:
        return empty("calibration")
    rows = backtest.holdouts[-1].customers
    raw, happened = rows["silent_rate"].to_numpy(), rows["is_silent"].to_numpy()
    stages = [reliability("raw", raw, happened)]
    if backtest.last_calibrator:
        stages.append(reliability("calibrated", backtest.last_calibrator(raw), happened))
    return pl.concat(stages)


def alive_matrix(model: BgNbd, age_days: int) -> pl.DataFrame:
    """P(alive) of customers of one age by repeats and days since the last purchase."""
    recency = np.unique(np.linspace(0, max(age_days - 1, 0), MATRIX_RECENCIES).round().astype(int))
    repeats = np.arange(1, MATRIX_REPEATS + 1)
    x, silent = (part.ravel() for part in np.meshgrid(repeats, recency, indexing="ij"))
    if age_days < 1:
        x, silent = np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    # Without repeats the last purchase is the first: one cell.
    x, silent = np.append(0, x), np.append(age_days, silent)
    rates = alive_rate(model, x.astype(float), (age_days - silent).astype(float), np.full(x.size, float(age_days)))
    matrix = pl.DataFrame({"repeat_count": x, "recency_days": silent, "alive_rate": rates}).with_columns(age_days=pl.lit(age_days))
    return matrix.select(pl.col(name).cast(dtype) for name, dtype in TABLE_SCHEMAS["alive_matrix"].items())


def value_lift(holdout: Holdout) -> pl.DataFrame:
    """Deciles by predicted value within a currency (ties by customer id), predicted and realised value, and the share of all realised
    value that the deciles so far have brought; 0 where nothing came."""
    rank = pl.struct(-pl.col("expected_value"), "customer_id").rank("ordinal").over("currency_code").cast(pl.Int64) - 1
    came = pl.col("realised_value_amount").cast(pl.Float64)
    total = came.sum().over("currency_code")
    return (
        holdout.customers.with_columns(decile=DECILES * rank // pl.len().over("currency_code") + 1)
        .sort("currency_code", "decile", "customer_id")
        .group_by("currency_code", "decile", maintain_order=True)
        .agg(
            pl.len().alias("customer_count"),
            *(
                pl.col(name).sum().clip(-LARGEST_AMOUNT, LARGEST_AMOUNT).round(4).cast(MONEY).alias(f"{shown}_value_amount")
                for name, shown in (("expected_value", "predicted"), ("value", "realised"))
            ),
        )
        .with_columns(cumulative_gain_rate=pl.when(total > 0).then(came.cum_sum().over("currency_code") / total).otherwise(0.0))
        .select(pl.col(name).cast(dtype) for name, dtype in TABLE_SCHEMAS["value_lift"].items())
    )


def frequency_holdout(holdout: Holdout) -> pl.DataFrame:
    """Mean days with orders in the hold-out, predicted and realised, by repeats before it (the conditional expectations of the BG/NBD paper)."""
    return (
        holdout.customers.with_columns(pl.col("repeat_count").clip(upper_bound=MOST_REPEATS))
        .sort("repeat_count", "customer_id")
        .group_by("repeat_count", maintain_order=True)
        .agg(
            pl.len().alias("customer_count"),
            pl.col("expected_count").mean().alias("predicted_mean"),
            pl.col("count").mean().alias("realised_mean"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in TABLE_SCHEMAS["frequency_holdout"].items())
    )


def empty(table: str) -> pl.DataFrame:
    """The table without rows, typed."""
    return pl.DataFrame(schema=TABLE_SCHEMAS[table])
