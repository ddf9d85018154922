"""Walk-forward backtest of customer value: what the model, fitted on the past alone, said of a hold-out, against what came.

A fold knows the orders up to its cutoff and predicts, for every customer known then, the days with orders and the value in the hold-out
of `churn_horizon_days` after it, and whether there is none. Order values are net of the refunds known today: a refund in the hold-out of
an order before it is not told apart, because orders carry no date of a refund.

**Naive baselines**: the historic rate goes on. Days with orders (and value) per day of age, the age taken as at least the horizon (else a
buyer of yesterday would be expected every day), times the horizon. Beside it, of repeat days only: a stricter one for counts, which says 0
of everyone who bought once. For churn: the hold-out's own rate for everyone, which nobody could have known, the strictest of constants.

**Gates**: the RMSE of order counts against the historic rate (the mean minimises it; the MAE is least for those who say 0 of everyone), and
the Brier score of churn. The other figures are there to be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl

from commerce_assets.scoring.customers.calibration import Calibrator, brier, fit_calibrator
from commerce_assets.scoring.customers.histories import purchase_histories
from commerce_assets.scoring.customers.maximum import Floats
from commerce_assets.scoring.customers.model import fit_customer_model
from commerce_assets.scoring.customers.predictions import predictions, value_intervals
from commerce_assets.scoring.customers.settings import CustomerValueSettings
from commerce_assets.scoring.receipts import Fold, cutoffs

MIN_CUSTOMERS = 30
"""A fold with fewer says nothing."""
GATE_CUSTOMERS = 100
"""With fewer, chance alone decides which of two predictions is better: the figures are shown and do not bar the score."""
GATE_OUTCOMES = 20
"""Customers who ordered in the hold-out, and who did not: where nearly all did the same there is nothing to tell apart."""
RATE_GOES_ON = "historic rate goes on"
REPEATS_GO_ON = "rate of repeats goes on"


@dataclass(frozen=True)
class Holdout:
    """One fold: when, and by customer what was said and what came."""

    cutoff_on: date
    until_on: date
    model_name: str
    customers: pl.DataFrame
    """customer_id, currency_code, repeat_count, expected_count, expected_value, low_value, high_value, naive_count, naive_value,
    naive_repeats, silent_rate, count, value (what came), is_silent."""


@dataclass(frozen=True)
class Backtest:
    """All folds, their figures, and what they teach of churn."""

    holdouts: tuple[Holdout, ...]
    folds: tuple[Fold, ...]
    calibrator: Calibrator | None
    """Fitted on all folds; None where there are too few outcomes or it did not help where it was tried."""
    last_calibrator: Calibrator | None
    """Fitted on the folds whose hold-outs had ended at the last one's cutoff: the one that was tried there."""
    note: str


def walk_forward(sales: pl.DataFrame, as_of: date, settings: CustomerValueSettings) -> Backtest:
    """Backtest of sales (as `transactions.by_customer` sorts them); without folds where history is too short."""
    ends: tuple[date, ...] = ()
    first_on = sales["ordered_on"].min()
    if isinstance(first_on, date) and settings.backtest_folds:
        ends = cutoffs(
            first_on, as_of, settings.churn_horizon_days, folds=settings.backtest_folds, min_history_days=settings.min_history_days
        )
    found = [_holdout(sales, cutoff, settings) for cutoff in ends]
    holdouts = tuple(h for h in found if h is not None)
    # Hold-outs of a short history overlap: what had not ended by a fold's cutoff is not known there.
    calibrators = [_calibrator([known for known in holdouts if known.until_on <= holdout.cutoff_on], settings) for holdout in holdouts]
    folds = tuple(
        figure
        for number, (holdout, calibrator) in enumerate(zip(holdouts, calibrators, strict=True), start=1)
        for figure in _figures(number, holdout, calibrator)
    )
    last = calibrators[-1] if holdouts else None
    calibrator, note = _chosen(holdouts, last, _calibrator(holdouts, settings))
    return Backtest(holdouts, folds, calibrator, last, note)


def _chosen(holdouts: Sequence[Holdout], last: Calibrator | None, final: Calibrator | None) -> tuple[Calibrator | None, str]:
    """The calibrator to use, judged on the last fold by the one fitted on the folds before it."""
    if last is None or final is None:
        return None, "churn_rate is the model's own, not calibrated: too few outcomes in hold-outs of the backtest that do not overlap"
    rows = holdouts[-1].customers
    raw, happened = rows["silent_rate"].to_numpy(), rows["is_silent"].to_numpy()
    before, after = brier(raw, happened), brier(last(raw), happened)
    if after > before:
        return None, f"churn_rate is the model's own: calibration made the last fold's Brier score worse ({before:.4f} to {after:.4f})"
    return (
        final,
        f"churn_rate is calibrated on {len(holdouts)} folds; on the last, by those before it, the Brier score went from {before:.4f} to {after:.4f}",
    )


def _calibrator(holdouts: Sequence[Holdout], settings: CustomerValueSettings) -> Calibrator | None:
    if not holdouts:
        return None
    rows = pl.concat([holdout.customers.select("silent_rate", "is_silent") for holdout in holdouts])
    return fit_calibrator(rows["silent_rate"].to_numpy(), rows["is_silent"].to_numpy(), settings.min_calibration_customers)


def _holdout(sales: pl.DataFrame, cutoff: date, settings: CustomerValueSettings) -> Holdout | None:
    horizon = settings.churn_horizon_days
    until = cutoff + timedelta(days=horizon)
    histories = purchase_histories(sales, cutoff)
    if histories.height < MIN_CUSTOMERS:
        return None
    plain = replace(settings, annual_discount_rate=0.0)
    model = fit_customer_model(histories, plain)
    ahead = predictions(model, histories, plain, horizon_days=horizon)
    low, high = value_intervals(model, histories, plain, horizon_days=horizon)
    share = horizon / pl.max_horizontal("age_days", pl.lit(horizon))
    customers = (
        histories.with_columns(
            silent_rate=ahead["silent_rate"],
            expected_count=ahead["expected_count"],
            expected_value=ahead["value"],
            low_value=pl.Series(low),
            high_value=pl.Series(high),
            naive_count=(pl.col("repeat_count") + 1) * share,
            naive_repeats=pl.col("repeat_count") * share,
            naive_value=pl.col("value_amount").cast(pl.Float64).clip(0) * share,
        )
        .join(_came(sales, histories, cutoff, until), on="customer_id", how="left", maintain_order="left")
        .with_columns(pl.col("count").fill_null(0).cast(pl.Int64), pl.col("value").fill_null(0).cast(pl.Float64))
        .with_columns(is_silent=pl.col("count") == 0)
    )
    return Holdout(cutoff, until, model.purchases_name, customers)


def _came(sales: pl.DataFrame, histories: pl.DataFrame, cutoff: date, until: date) -> pl.DataFrame:
    """Days with orders and value in the hold-out, value in the currency known at the cutoff."""
    known = histories.select("customer_id", _currency="currency_code")
    return (
        sales.filter((pl.col("ordered_on") > cutoff) & (pl.col("ordered_on") <= until))
        .join(known, on="customer_id")
        .group_by("customer_id")
        .agg(
            pl.col("ordered_on").n_unique().alias("count"),
            pl.col("net_amount").filter(pl.col("currency_code") == pl.col("_currency")).sum().alias("value"),
        )
    )


def _figures(number: int, holdout: Holdout, calibrator: Calibrator | None) -> list[Fold]:
    rows = holdout.customers
    count, expected, naive, repeats = (
        rows[name].to_numpy().astype(float) for name in ("count", "expected_count", "naive_count", "naive_repeats")
    )
    silent, happened = rows["silent_rate"].to_numpy(), rows["is_silent"].to_numpy()
    churn = calibrator(silent) if calibrator else silent
    base = float(happened.mean())
    outcomes = min(int(happened.sum()), int((~happened).sum()))
    may_gate = rows.height >= GATE_CUSTOMERS and outcomes >= GATE_OUTCOMES
    currency = main_currency(rows)
    in_currency = rows.filter(pl.col("currency_code") == currency)
    value, expected_value, naive_value = (in_currency[name].to_numpy() for name in ("value", "expected_value", "naive_value"))
    known: tuple[tuple[str, float | None, str, float | None, Literal["lower", "higher"], bool], ...] = (
        ("order_count_rmse", _rmse(expected, count), RATE_GOES_ON, _rmse(naive, count), "lower", True),
        ("order_count_mae", _mae(expected, count), RATE_GOES_ON, _mae(naive, count), "lower", False),
        ("order_count_rmse_to_repeats", _rmse(expected, count), REPEATS_GO_ON, _rmse(repeats, count), "lower", False),
        ("order_count_mae_to_repeats", _mae(expected, count), REPEATS_GO_ON, _mae(repeats, count), "lower", False),
        ("order_total_error", _total_error(expected, count), RATE_GOES_ON, _total_error(naive, count), "lower", False),
        ("churn_brier", brier(churn, happened), "hold-out's own rate for all", base * (1 - base), "lower", True),
        (
            f"value_rank_correlation_{currency}",
            _spearman(expected_value, value),
            RATE_GOES_ON,
            _spearman(naive_value, value),
            "higher",
            False,
        ),
        (f"value_mae_{currency}", _mae(expected_value, value), RATE_GOES_ON, _mae(naive_value, value), "lower", False),
        (
            f"value_total_error_{currency}",
            _total_error(expected_value, value),
            RATE_GOES_ON,
            _total_error(naive_value, value),
            "lower",
            False,
        ),
    )
    return [
        Fold(
            number,
            holdout.cutoff_on,
            holdout.until_on,
            metric,
            holdout.model_name,
            figure,
            baseline,
            against,
            better,
            is_gate and may_gate,
        )
        for metric, figure, baseline, against, better, is_gate in known
        if figure is not None and against is not None
    ]


def main_currency(customers: pl.DataFrame) -> str:
    """The currency of most customers; of equally many, the first by name."""
    return str(customers.group_by("currency_code").len().sort("len", "currency_code", descending=[True, False])["currency_code"][0])


def _rmse(expected: Floats, came: Floats) -> float:
    return float(np.sqrt(np.mean((expected - came) ** 2)))


def _mae(expected: Floats, came: Floats) -> float:
    return float(np.mean(np.abs(expected - came)))


def _total_error(expected: Floats, came: Floats) -> float | None:
    """|expected / came - 1| of the sums; None where nothing came."""
    total = float(came.sum())
    return abs(float(expected.sum()) / total - 1) if total > 0 else None


def _spearman(expected: Floats, came: Floats) -> float | None:
    """Rank correlation; None where either is constant."""
    ranks = pl.DataFrame({"expected": expected, "came": came}).select(pl.all().rank("average"))
    if ranks["expected"].n_unique() < 2 or ranks["came"].n_unique() < 2:
        return None
    return float(np.corrcoef(ranks["expected"].to_numpy(), ranks["came"].to_numpy())[0, 1])
