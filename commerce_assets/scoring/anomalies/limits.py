"""How far from the expected a day may lie: by the errors made before, fitted with a heavy-tailed law, and never less than counting noise.

Errors are those of one-step forecasts. Each side has its own scale, for sales fall further than they rise. A limit starts from the 95 %
point of its side's errors, which a few anomalies among them do not move, and goes on from there to the rate designed for by the tail of
Student's t, whose degrees of freedom come from the ratio of the 95 % point to the median (quantile ratios, as McCulloch, 1986, fits stable laws).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEGREES = np.array([3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 25.0, 60.0])
USUAL_DEGREES, USUAL_ERRORS = 15.0, 200
ANCHOR = 0.95
MEDIAN_OF_NORMAL = 0.6745
"""Median of the size of a standard normal error: by it a median is as a standard deviation."""
MIN_SCALE = 0.03
"""On a scale that is logarithmic for large figures: nobody knows tomorrow's sales to 3 %."""
MIN_FACTOR = 2.0
CAUTION = 0.8


@dataclass(frozen=True)
class Spread:
    """Of the errors of each series; arrays by series."""

    up: Floats
    down: Floats
    """Robust standard deviations of errors above and below, on the scale of the errors."""
    high_factor: Floats
    low_factor: Floats
    """How many of them away the limits lie."""


def spread_of(errors: Floats, high_rate: Floats, low_rate: Floats) -> Spread:
    """`errors`: series x days, NaN where there is none; rates: share of days that may lie beyond each side."""
    from scipy.stats import t

    degrees = _degrees(errors)
    found = []
    for side, rate in ((errors > 0, high_rate), (errors < 0, low_rate)):
        sizes = np.where(side, np.abs(errors), np.nan)
        scale = np.fmax(_quantile(sizes, 0.5) / MEDIAN_OF_NORMAL, MIN_SCALE)
        # Half of the law's days lie on each side, so that a side's share of days is half of its share of errors.
        limit = _quantile(sizes, ANCHOR) * t.ppf(1 - rate, degrees) / t.ppf(0.5 + ANCHOR / 2, degrees)
        # Few errors say little of their outer points: that uncertainty is added.
        caution = 1 + CAUTION / np.sqrt(np.maximum((~np.isnan(sizes)).sum(axis=1), 4))
        found += [scale, np.fmax(limit * caution / scale, MIN_FACTOR)]
    up, high_factor, down, low_factor = found
    return Spread(up, down, high_factor, low_factor)


def counting_limits(mean: Floats, dispersion: Floats, high_rate: Floats, low_rate: Floats) -> tuple[Floats, Floats]:
    """Lowest and highest usual count of a negative binomial law of this mean and variance = dispersion x mean (1: Poisson)."""
    from scipy.stats import nbinom

    positive, over = np.maximum(mean, 1e-6), np.maximum(dispersion - 1, 1e-3)
    size, probability = positive / over, 1 / (1 + over)
    return nbinom.ppf(low_rate, size, probability), nbinom.ppf(1 - high_rate, size, probability)


def dispersion_of(values: Floats, means: Floats) -> Floats:
    """Variance over mean of counts, at least 1: a trimmed mean of (value - mean)^2 / mean, series x days, NaN where there is none."""
    squares = (values - means) ** 2 / np.maximum(means, 0.05)
    trimmed = np.where(squares <= _quantile(squares, 0.99)[:, None], squares, np.nan)
    known = ~np.isnan(trimmed)
    return np.maximum(np.where(known, trimmed, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1), 1.0)


def _degrees(errors: Floats) -> Floats:
    """By series, drawn towards USUAL_DEGREES as if so many errors of that law had been seen before."""
    sizes = np.abs(errors)
    count = (~np.isnan(sizes)).sum(axis=1)
    ratios = _ratios()
    usual = np.interp(USUAL_DEGREES, DEGREES, ratios)
    seen = np.nan_to_num(_quantile(sizes, ANCHOR) / np.fmax(_quantile(sizes, 0.5), 1e-12), nan=usual)
    ratio = (count * np.minimum(seen, ratios[0]) + USUAL_ERRORS * usual) / (count + USUAL_ERRORS)
    return np.interp(ratio, ratios[::-1], DEGREES[::-1])


@cache
def _ratios() -> Floats:
    """The anchor of |t| over its median, for DEGREES; falls with them."""
    from scipy.stats import t

    return np.asarray(t.ppf(0.5 + ANCHOR / 2, DEGREES) / t.ppf(0.75, DEGREES))


def _quantile(values: Floats, share: float) -> Floats:
    """By row, over what is not NaN; NaN where nothing is."""
    ordered = np.sort(values, axis=1)
    count = (~np.isnan(values)).sum(axis=1)
    place = np.clip(np.ceil(share * count).astype(np.int64) - 1, 0, max(values.shape[1] - 1, 0))
    return ordered[np.arange(len(values)), place] if values.shape[1] else np.full(len(values), np.nan)
