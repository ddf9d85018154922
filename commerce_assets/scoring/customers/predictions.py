"""Predictions by customer from a model and histories, in bulk: everything a row says of the time to come.

Belongs here: expected orders and value, intervals, dates of the next order. Does not belong here: fitting, calibration, words.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from commerce_assets.scoring.customers.bgnbd import PARAMETERS, BgNbd
from commerce_assets.scoring.customers.gamma_gamma import conditional_spend, spend_moments
from commerce_assets.scoring.customers.maximum import Floats
from commerce_assets.scoring.customers.model import CustomerModel
from commerce_assets.scoring.customers.purchases import alive_rate, days_to_next, no_purchase_rate, purchases_ahead
from commerce_assets.scoring.customers.settings import CustomerValueSettings
from commerce_assets.scoring.transactions import LARGEST_AMOUNT

FARTHEST_DAYS = 3650
"""A date of a next order beyond it says nothing."""


def predictions(model: CustomerModel, histories: pl.DataFrame, settings: CustomerValueSettings, *, horizon_days: int) -> pl.DataFrame:
    """One row a history, in its order: alive_rate, silent_rate (P(no order in the churn horizon), not calibrated), expected_count,
    spend_mean, value (discounted), all floats, and days until the next order: next_days, next_earliest_days, next_latest_days."""
    repeats, span, age = (histories[name].to_numpy().astype(float) for name in ("repeat_count", "span_days", "age_days"))
    alive = alive_rate(model.purchases, repeats, span, age)
    ahead = purchases_ahead(model.purchases, horizon_days, repeats, age, annual_discount_rate=settings.annual_discount_rate)
    spend = by_currency(model, histories)[0]
    tail = (1 - settings.next_order_interval_rate) / 2
    return pl.DataFrame(
        {
            "alive_rate": alive,
            "silent_rate": no_purchase_rate(model.purchases, settings.churn_horizon_days, repeats, span, age),
            "expected_count": alive * ahead.mean,
            "spend_mean": np.minimum(spend, LARGEST_AMOUNT),
            "value": np.minimum(alive * ahead.discounted_mean * spend, LARGEST_AMOUNT),
            "next_days": days_to_next(model.purchases, 0.5, repeats, age),
            "next_earliest_days": days_to_next(model.purchases, tail, repeats, age),
            "next_latest_days": days_to_next(model.purchases, 1 - tail, repeats, age),
        }
    )


def value_intervals(
    model: CustomerModel, histories: pl.DataFrame, settings: CustomerValueSettings, *, horizon_days: int
) -> tuple[Floats, Floats]:
    """Ends of the interval in which the (discounted) value a customer brings in the horizon lies with `interval_rate`.

    Of the value to come itself, not of its mean: it holds the chance that nothing comes, the customer's own spread of rate, dropout and
    spend given the history, the chance in each purchase, and what the fit leaves open of the purchase model (observed information, delta
    method). The first two moments of the value are exact (discounted by a common factor); with them it is taken as zero with P(no order) and
    as a Gamma otherwise. The upper end is never below the mean. No draws: the same input gives the same interval.
    """
    repeats, span, age = (histories[name].to_numpy().astype(float) for name in ("repeat_count", "span_days", "age_days"))
    ahead = purchases_ahead(model.purchases, horizon_days, repeats, age, annual_discount_rate=settings.annual_discount_rate)
    alive = alive_rate(model.purchases, repeats, span, age)
    some = 1 - no_purchase_rate(model.purchases, horizon_days, repeats, span, age)
    mean_spend, product, square = by_currency(model, histories)
    worth = np.divide(ahead.discounted_mean, ahead.mean, out=np.ones_like(ahead.mean), where=ahead.mean > 0)
    mean = alive * ahead.mean * mean_spend * worth
    second = worth**2 * alive * (ahead.pairs * product + ahead.mean * square)
    unsure = _relative_variance(model, horizon_days, repeats, span, age)
    has_any = (some > 1e-12) & (mean > 0)
    some = np.where(has_any, some, 1.0)
    mean_if = np.where(has_any, mean / some, 1.0)
    # The relative variance of a value that is not zero; at least a little, so that the Gamma has a shape.
    spread = np.maximum(np.where(has_any, second / some, 1.0) / mean_if**2 - 1, 1e-9) + unsure
    low = _zero_or_gamma((1 - settings.interval_rate) / 2, some, mean_if, spread, has_any)
    high = _zero_or_gamma((1 + settings.interval_rate) / 2, some, mean_if, spread, has_any)
    return np.minimum(low, np.minimum(mean, LARGEST_AMOUNT)), np.minimum(np.maximum(high, mean), LARGEST_AMOUNT)


def _zero_or_gamma(quantile: float, some: Floats, mean: Floats, spread: Floats, has_any: Floats) -> Floats:
    """Quantile of what is 0 with chance 1 - some and else Gamma with this mean and relative variance."""
    from scipy.special import gammaincinv

    within = (quantile - (1 - some)) / some
    positive = has_any & (within > 0)
    ends = np.zeros_like(mean)
    shape = 1 / spread[positive]
    ends[positive] = mean[positive] / shape * gammaincinv(shape, within[positive])
    return ends


def _relative_variance(model: CustomerModel, horizon_days: int, repeats: Floats, span: Floats, age: Floats) -> Floats:
    """Of the expected number of purchases, from what the fit leaves open: its slopes by the parameters' logarithms through their covariance;
    0 where shapes were assumed, of which nothing says how far off they are."""
    if model.purchases_maximum is None:
        return np.zeros_like(repeats)
    step = 1e-4

    def logs(purchases: BgNbd) -> Floats:
        expected = alive_rate(purchases, repeats, span, age) * purchases_ahead(purchases, horizon_days, repeats, age, with_pairs=False).mean
        return np.log(np.maximum(expected, 1e-300))

    at = logs(model.purchases)
    slopes = np.stack(
        [(logs(replace(model.purchases, **{n: getattr(model.purchases, n) * float(np.exp(step))})) - at) / step for n in PARAMETERS]
    )
    variance: Floats = np.einsum("ic,ij,jc->c", slopes, model.purchases_maximum.covariance_of_logs, slopes)
    return np.clip(variance, 0.0, 4.0)


def by_currency(model: CustomerModel, histories: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Of a purchase to come by customer: expected value, mean product of two, mean square; 0 where the currency has no spend."""
    count = histories["spend_days"].to_numpy().astype(float)
    total = histories["value_amount"].cast(pl.Float64).to_numpy()
    mean, product, square = np.zeros((3, histories.height))
    for currency, spend in sorted(model.spend.items()):
        here = (histories["currency_code"] == currency).to_numpy()
        mean[here] = conditional_spend(spend, count[here], total[here])
        product[here], square[here] = spend_moments(spend, count[here], total[here])
    return mean, product, square
