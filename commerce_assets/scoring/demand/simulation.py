"""Whether the stock levels keep what they promise: the policy, played through on days after each cutoff.

At each cutoff every item that lives starts with its order-up-to level on the shelf. From then on, day by day: deliveries arrive, at each
review an order brings shelf and orders back up to the level, and demand of the day is met as far as stock goes (the rest is lost). An interval of
lead time plus review without a lost unit is served. Beside it, from the same total of units on the shelves: the rule of thumb, order up to so
many days of the mean of the last 28 days. Both have the lead time exactly as set; items with days out of stock in the hold-out are left out.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.demand.backtest import GATE_SERIES
from commerce_assets.scoring.demand.forecast import Fit, fit
from commerce_assets.scoring.demand.history import daily_demand
from commerce_assets.scoring.demand.policies import ReplenishmentSettings
from commerce_assets.scoring.demand.settings import DemandSettings
from commerce_assets.scoring.demand.spread import measured_spread
from commerce_assets.scoring.demand.stock_levels import order_up_to
from commerce_assets.scoring.receipts import Fold, cutoffs
from commerce_assets.scoring.threads import one_blas_thread

INTERVALS = 2
MEAN_DAYS = 28


def simulated_service(
    sales: pl.DataFrame,
    stock: pl.DataFrame,
    variants: pl.DataFrame,
    as_of: date,
    *,
    settings: ReplenishmentSettings | None = None,
    demand: DemandSettings | None = None,
) -> tuple[Fold, ...]:
    """Folds of `service_rate` (the gate: served intervals, against the rule of thumb with as much stock), `service_gap` (how far it is below
    the target, against that rule's) and `fill_rate` (units met of units wanted). Inputs as in `score_demand`; policy: the settings' defaults.
    """
    settings, demand = settings or ReplenishmentSettings(), demand or DemandSettings()
    panel, _ = daily_demand(sales, stock, variants, as_of, demand)
    lead, review = max(round(settings.lead_time_days), 1), max(round(settings.review_days), 1)
    horizon = INTERVALS * (lead + review)
    days = cutoffs(panel.first_on, panel.last_on, horizon, folds=demand.folds) if demand.folds and panel.series.height else ()
    folds: list[Fold] = []
    for number, cutoff_on in enumerate(days, start=1):
        known, rows = panel.until(cutoff_on)
        ahead = slice(known.units.shape[1], known.units.shape[1] + horizon)
        with one_blas_thread():
            fitted = fit(known, demand)
            level, thumb = _levels(fitted, lead + review, settings, demand)
        is_fair = (level > 0) & ~panel.is_censored[rows, ahead].any(axis=1)
        if not is_fair.any():
            continue
        level, thumb = level[is_fair], thumb[is_fair]
        # As many days of the mean as the same units buy.
        thumb = np.rint(thumb * (level.sum() / max(thumb.sum(), 1e-9)))
        wanted = panel.units[rows, ahead][is_fair]
        (served, filled), (thumb_served, thumb_filled) = (played(wanted, start, lead, review) for start in (level, thumb))
        target, until_on = settings.service_level, cutoff_on + timedelta(days=horizon)
        for metric, value, baseline in (
            ("service_rate", served, thumb_served),
            ("service_gap", max(target - served, 0.0), max(target - thumb_served, 0.0)),
            ("fill_rate", filled, thumb_filled),
        ):
            better = "lower" if metric == "service_gap" else "higher"
            is_gate = metric == "service_rate" and int(is_fair.sum()) >= GATE_SERIES
            folds.append(
                Fold(number, cutoff_on, until_on, metric, "order_up_to_quantile", value, "same_stock_by_days", baseline, better, is_gate)  # type: ignore[arg-type]
            )
    return tuple(folds)


def played(wanted: NDArray[np.float64], level: NDArray[np.float64], lead: int, review: int) -> tuple[float, float]:
    """Share of served intervals, and of units met, of the daily demand `wanted` (a row an item) under an order-up-to level."""
    days = wanted.shape[1]
    shelf, ordered = level.copy(), np.zeros((days + lead + 1, len(level)))
    lost = np.zeros(wanted.shape)
    for day in range(days):
        shelf += ordered[day]
        if day % review == 0:
            ordered[day + lead] += np.maximum(level - shelf - ordered[day + 1 :].sum(axis=0), 0.0)
        met = np.minimum(shelf, wanted[:, day])
        lost[:, day] = wanted[:, day] - met
        shelf -= met
    intervals = lost.reshape(len(level), -1, lead + review).sum(axis=2)
    total = wanted.sum()
    return float((intervals < 1e-9).mean()), float(1 - lost.sum() / total) if total > 0 else 1.0


def _levels(
    fitted: Fit, days: int, settings: ReplenishmentSettings, demand: DemandSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Order-up-to levels of the policy, and the mean day of the last MEAN_DAYS."""
    spread = measured_spread(fitted, demand)
    count = len(spread.dispersion)
    alive = fitted.series["series_class"].to_numpy() != "dead"
    level = order_up_to(
        fitted.levels[:, -1],
        spread.dispersion,
        spread.tail,
        np.full(count, float(days)),
        np.zeros(count),
        np.full(count, settings.service_level),
    )
    recent = fitted.panel.units[:, -MEAN_DAYS:]
    mean = np.nansum(recent, axis=1) / np.maximum(np.isfinite(recent).sum(axis=1), 1)
    return np.where(alive, level, 0.0), np.where(alive, mean, 0.0)
