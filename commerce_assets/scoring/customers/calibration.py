"""Churn rates that keep their word: of the customers given 30 %, 30 % do not order.

The event is *no order in the churn horizon* (90 days by default). The model's own rate for it, P(no purchase in t | history), is moved by
Platt's map: logit(rate) -> intercept + slope x logit(rate), fitted to what happened in hold-outs, slope positive so that nobody changes
places. (J. Platt 1999, "Probabilistic Outputs for Support Vector Machines".) 1 - P(alive) is not what is calibrated: it is 0 for everyone
who bought once, so no monotone map could tell a buyer of yesterday from one of two years ago.

Belongs here: the map, its fit, reliability tables, the Brier score. Does not belong here: folds (backtest.py).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from commerce_assets.scoring.customers.maximum import Floats
from commerce_assets.scoring.customers.settings import TABLE_SCHEMAS

RELIABILITY_BINS = 10
SMALLEST_RATE = 1e-6


@dataclass(frozen=True)
class Calibrator:
    """Platt's map."""

    intercept: float
    slope: float

    def __call__(self, rate: Floats) -> Floats:
        """Calibrated rates, between 0 and 1."""
        moved: Floats = 1 / (1 + np.exp(-np.clip(self.intercept + self.slope * _logit(rate), -700, 700)))
        return moved


def fit_calibrator(rate: Floats, happened: Floats, least: int) -> Calibrator | None:
    """The map under which `happened` (booleans) is likeliest; None with fewer than `least` of either outcome, or where it would not rise."""
    if min(happened.sum(), (~happened).sum()) < least:
        return None
    design = np.stack([np.ones_like(rate), _logit(rate)])
    weights = np.array([0.0, 1.0])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(weights @ design, -700, 700)))
        information = (design * (chance * (1 - chance))) @ design.T
        if np.linalg.det(information) <= 1e-9:
            return None
        step = np.linalg.solve(information, design @ (happened - chance))
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    else:
        return None
    return Calibrator(float(weights[0]), float(weights[1])) if weights[1] > 0 else None


def reliability(stage: str, rate: Floats, happened: Floats) -> pl.DataFrame:
    """Customers in up to ten bins of equal size by predicted rate, equal rates together: TABLE_SCHEMAS["calibration"]."""
    return (
        pl.DataFrame({"rate": rate, "happened": happened})
        .with_columns(bin=(RELIABILITY_BINS * (pl.col("rate").rank("min") - 1) / pl.len()).floor().cast(pl.Int64) + 1)
        .sort("bin", "rate", "happened")
        .group_by("bin", maintain_order=True)
        .agg(
            pl.len().alias("customer_count"),
            pl.col("rate").mean().alias("predicted_rate"),
            pl.col("happened").mean().alias("observed_rate"),
        )
        .with_columns(stage=pl.lit(stage))
        .select(pl.col(name).cast(dtype) for name, dtype in TABLE_SCHEMAS["calibration"].items())
    )


def brier(rate: Floats, happened: Floats) -> float:
    """Mean squared distance of rates from what happened (G. Brier 1950)."""
    return float(np.mean((rate - happened) ** 2))


def _logit(rate: Floats) -> Floats:
    clipped = np.clip(rate, SMALLEST_RATE, 1 - SMALLEST_RATE)
    logit: Floats = np.log(clipped) - np.log1p(-clipped)
    return logit
