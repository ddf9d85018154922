"""How far demand strays from what was expected: for a day, and for the sum over the days of a lead time.

The sum of L days is taken as negative binomial with the forecast as its mean mu and variance mu + k(L) mu^2. Unlike a normal distribution it
is never below zero, is skewed as demand is, and tends to Poisson as k tends to 0. The dispersion k(L) is measured on rolling origins of the
history itself for L of 1, 7 and 28 days: from the level known at the end of a day, what came in the L days after it,

    k = sum((actual - expected)^2 - expected) / sum(expected^2)

(moments of the negative binomial, over overlapping windows). So the error of the level, runs of good days, and fat days are in it, and it
scales with the level as demand grows or fades. For a single day the level is that of 14 days before, the middle of the horizon. A series'
own k is shrunk to the median of its class by windows that do not overlap; sale days above a high quantile are capped for it, because k squares
them (on Online Retail this lowers the pinball loss of the 95 % quantile of two weeks' demand by 7 %, at 1 % less coverage). Between those
lengths log k is linear in log L; beyond, constant.

A level that was right on average is still wrong where demand moves, and single orders are larger than any moment fit expects. So the tail
is bent until it is right on the history's own origins: P(more than x) = (1 - F(x))^(1 / tail), Wang's proportional hazards transform
(Insurance: Mathematics and Economics 17, 1995), one `tail` per class and length, 1 leaving the distribution as it is. It is the value at
which the quantiles of CALIBRATED_AT cover nearest to what they name, counted by the non-randomised probability integral transform for
counts (Czado, Gneiting, Held, Biometrics 65, 2009, eq. 2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commerce_assets.scoring.demand.forecast import Fit, capped
from commerce_assets.scoring.demand.settings import DemandSettings

LENGTHS: tuple[int, ...] = (1, 7, 28)
DISPERSION_COLUMNS: tuple[str, ...] = tuple(f"dispersion_{length}d" for length in LENGTHS)
TAIL_COLUMNS: tuple[str, ...] = tuple(f"tail_{length}d" for length in LENGTHS)
DAY_LAG = 14
WARM_UP_DAYS = 28
ORIGIN_DAYS = 365
"""Origins older than this say little of the spread to come."""
MIN_WINDOWS = 2.0
"""Windows that do not overlap, below which a series has no dispersion of its own."""
LEAST, MOST = 0.01, 100.0
CALIBRATION_SERIES, CALIBRATION_ORIGINS = 1_000, 12
CALIBRATED_AT: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.975)
MIN_CALIBRATION_WINDOWS = 200
LEAST_MEAN = 1e-3
TAILS: tuple[float, ...] = tuple(round(0.6 + 0.05 * step, 2) for step in range(49))


@dataclass(frozen=True)
class Spread:
    """Dispersion and tail, a row a series and a column a length of LENGTHS."""

    dispersion: NDArray[np.float64]
    tail: NDArray[np.float64]


def measured_spread(fitted: Fit, settings: DemandSettings) -> Spread:
    """Dispersions of a fit's series, shrunk to their class's, and the tails of the classes.

    That a series is new or dead is known only afterwards, and would colour every origin before: those two take everyone's pool and tail.
    """
    classes = fitted.series["series_class"].to_numpy()
    dispersion, tail = np.empty((len(classes), len(LENGTHS))), np.empty((len(classes), len(LENGTHS)))
    everyone = np.flatnonzero((classes != "dead") & (classes != "new"))
    even = capped(fitted.panel.units, settings.spread_cap_quantile)
    for at, length in enumerate(LENGTHS):
        actual, expected = rolling_origins(fitted, fitted.panel.units, length)
        raw, windows = _moments(rolling_origins(fitted, even, length)[0], expected, length)
        common_pool = _pool(raw[everyone], windows[everyone], 1.0)
        common = _shrunk(raw, windows, common_pool, settings.dispersion_prior_windows)
        common_tail = _tail(actual, expected, everyone, common, length, 1.0)
        dispersion[:, at], tail[:, at] = common, common_tail
        for name in ("smooth", "erratic", "intermittent", "lumpy"):
            rows = np.flatnonzero(classes == name)
            pool = _pool(raw[rows], windows[rows], common_pool)
            dispersion[rows, at] = _shrunk(raw[rows], windows[rows], pool, settings.dispersion_prior_windows)
            tail[rows, at] = _tail(actual, expected, rows, dispersion[:, at], length, common_tail)
    return Spread(np.clip(dispersion, LEAST, MOST), tail)


def group_dispersion(actual: NDArray[np.float64], expected: NDArray[np.float64], settings: DemandSettings) -> NDArray[np.float64]:
    """Dispersion of a day's total of every group (a row), from the total's own rolling origins (`rolling_origins` of 1 day, added up)."""
    raw, windows = _moments(actual, expected, 1)
    found = _shrunk(raw, windows, _pool(raw, windows, 1.0), settings.dispersion_prior_windows)
    return np.clip(found, LEAST, MOST)


def rolling_origins(fitted: Fit, units: NDArray[np.float64], length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Actual sums (of `units`) and expected sums of `length` days; a column an origin, the last one the latest whose days are all known.

    Expected is NaN at origins before which a series had been seen for less than WARM_UP_DAYS.
    """
    levels = fitted.levels
    lag = DAY_LAG if length == 1 else length
    days = units.shape[1]
    if days <= lag:
        return np.empty((len(units), 0)), np.empty((len(units), 0))
    first = max(days - lag - ORIGIN_DAYS, 0)
    is_usable = np.arange(first, days - lag)[None, :] >= fitted.panel.start[:, None] + WARM_UP_DAYS - 1
    before = np.where(is_usable, levels[:, first : days - lag], np.nan)
    if length == 1:
        return units[:, first + lag :], before * fitted.weekday_factors[:, fitted.panel.weekdays()[first + lag :]]
    # Sums over whole weeks: the weekday factors of a week add up to 7.
    sums = np.cumsum(np.nan_to_num(units[:, first:], nan=0.0), axis=1)
    return sums[:, length:] - sums[:, :-length], before * length


def at_length(length_days: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dispersion or tail at a length of each row's own: its log is linear in log L between the measured lengths, constant outside."""
    knots, logs = np.log(np.array(LENGTHS, dtype=np.float64)), np.log(measured)
    at = np.clip(np.log(np.maximum(length_days, 1.0)), knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    share = (at - knots[left]) / (knots[left + 1] - knots[left])
    rows = np.arange(len(logs))
    return np.asarray(np.exp(logs[rows, left] * (1 - share) + logs[rows, left + 1] * share))


def quantile(
    probability: NDArray[np.float64] | float,
    mean: NDArray[np.float64],
    dispersion: NDArray[np.float64],
    tail: NDArray[np.float64] | float = 1.0,
) -> NDArray[np.float64]:
    """The smallest count that is enough with `probability`; 0 where nothing is expected."""
    from scipy.stats import nbinom

    safe = np.maximum(mean, LEAST_MEAN)
    found = nbinom.ppf(1 - (1 - probability) ** tail, 1 / dispersion, 1 / (1 + dispersion * safe))
    return np.where(mean >= LEAST_MEAN, np.nan_to_num(found, nan=0.0), 0.0)


def probability_up_to(
    count: NDArray[np.float64], mean: NDArray[np.float64], dispersion: NDArray[np.float64], tail: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """P(demand <= count); 1 where nothing is expected and count is not negative."""
    from scipy.stats import nbinom

    safe = np.maximum(mean, LEAST_MEAN)
    more = nbinom.sf(np.floor(count), 1 / dispersion, 1 / (1 + dispersion * safe)) ** (1 / np.asarray(tail))
    return np.where((mean < LEAST_MEAN) & (count >= 0), 1.0, 1 - more)


def below_and_up_to(
    actual: NDArray[np.float64], mean: NDArray[np.float64], dispersion: NDArray[np.float64], tail: NDArray[np.float64] | float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(demand < actual) and P(demand <= actual): all that is needed to say where each observation lies."""
    below = np.where(actual >= 1, probability_up_to(actual - 1, mean, dispersion, tail), 0.0)
    return below, probability_up_to(actual, mean, dispersion, tail)


def covered_share(probability: float, below: NDArray[np.float64], up_to: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of each observation lies below the quantile, 0 to 1: its mean is `probability` where the distribution is right."""
    return np.clip((probability - below) / np.maximum(up_to - below, 1e-12), 0.0, 1.0)


def _moments(actual: NDArray[np.float64], expected: NDArray[np.float64], length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """k of each row (NaN where it cannot be told), and how many windows that do not overlap stand behind it."""
    is_usable = np.isfinite(expected)
    mean = np.where(is_usable, expected, 0.0)
    excess = np.where(is_usable, (actual - mean) ** 2 - mean, 0.0).sum(axis=1)
    scale = (mean**2).sum(axis=1)
    return np.where(scale > 1e-12, excess / np.maximum(scale, 1e-12), np.nan), is_usable.sum(axis=1) / length


def _pool(raw: NDArray[np.float64], windows: NDArray[np.float64], otherwise: float) -> float:
    usable = raw[np.isfinite(raw) & (windows >= MIN_WINDOWS)]
    return float(np.clip(np.median(usable), LEAST, MOST)) if len(usable) else otherwise


def _shrunk(raw: NDArray[np.float64], windows: NDArray[np.float64], pool: float, prior: float) -> NDArray[np.float64]:
    weight = np.where(np.isfinite(raw) & (windows >= MIN_WINDOWS), windows, 0.0)
    own = np.clip(np.nan_to_num(raw, nan=0.0), 0.0, MOST)
    return np.maximum((weight * own + prior * pool) / (weight + prior), LEAST)


def _tail(
    actual: NDArray[np.float64],
    expected: NDArray[np.float64],
    rows: NDArray[np.int64],
    dispersion: NDArray[np.float64],
    length: int,
    otherwise: float,
) -> float:
    """The tail of `rows` on the last origins of an even sample of them; `otherwise` where they are too few to tell."""
    sample = (
        rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), min(len(rows), CALIBRATION_SERIES)).astype(np.int64))] if len(rows) else rows
    )
    latest = expected.shape[1] - 1
    # Windows that do not overlap, of days that fall on every weekday.
    step = max(length, 9)
    chosen = np.ix_(sample, np.arange(latest, max(latest - CALIBRATION_ORIGINS * step, -1), -step))
    mean, came = expected[chosen], actual[chosen]
    is_usable = np.isfinite(mean) & (mean > LEAST_MEAN)
    if is_usable.sum() < MIN_CALIBRATION_WINDOWS:
        return otherwise
    mean, came = mean[is_usable], came[is_usable]
    k = np.broadcast_to(dispersion[sample][:, None], is_usable.shape)[is_usable]
    below, up_to = below_and_up_to(came, mean, k)
    gaps = [sum(abs(float(covered_share(1 - (1 - p) ** tail, below, up_to).mean()) - p) for p in CALIBRATED_AT) for tail in TAILS]
    return TAILS[int(np.argmin(gaps))]
