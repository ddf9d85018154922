"""Walk-forward backtest of the demand forecast: fitted on what was known at a cutoff, held against the days after it.

`wrmsse` is the gate: the error of M5 (Makridakis, Spiliotis, Assimakopoulos, IJF 38, 2022, eq. 1 and 3) at its lowest level: RMSSE, the root
of the mean squared error over the mean squared one-day change of the training days, weighted by units of the last 28 training days. The bar
is seasonal naive (the same weekday a week ago). Days without stock in the hold-out are left out of every figure: nobody knows their demand.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.demand.forecast import Fit, fit, seasonal_naive
from commerce_assets.scoring.demand.history import Panel
from commerce_assets.scoring.demand.settings import DemandSettings
from commerce_assets.scoring.demand.spread import Spread, at_length, below_and_up_to, covered_share, measured_spread, quantile
from commerce_assets.scoring.receipts import Better, Fold, cutoffs

NAIVE = "seasonal_naive"
MODEL = "demand"
RELIABILITY_AT: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.975, 0.99)
SERVICE = 0.95
GATE_SERIES = 20
"""Of fewer that sell, chance alone decides which forecast is better: the figures are shown and do not bar the score."""
WEIGHT_DAYS = 28
RELIABILITY_SCHEMA: dict[str, pl.DataType] = {
    "fold": pl.Int64(),
    "quantity": pl.String(),
    "probability": pl.Float64(),
    "covered_rate": pl.Float64(),
    "window_count": pl.Int64(),
}
"""Of `Scored.tables["reliability"]`: how much of what came lay below the quantile of a nominal probability; quantity is day or lead_time."""


def backtested(panel: Panel, settings: DemandSettings) -> tuple[tuple[Fold, ...], pl.DataFrame]:
    """Folds, and a row of RELIABILITY_SCHEMA per fold, quantity and nominal probability. Both empty where history is too short."""
    folds: list[Fold] = []
    tables: list[pl.DataFrame] = [pl.DataFrame(schema=RELIABILITY_SCHEMA)]
    is_possible = settings.folds > 0 and panel.series.height > 0
    days = cutoffs(panel.first_on, panel.last_on, settings.horizon_days, folds=settings.folds) if is_possible else ()
    for number, cutoff_on in enumerate(days, start=1):
        known, rows = panel.until(cutoff_on)
        held_out = slice(known.units.shape[1], known.units.shape[1] + settings.horizon_days)
        actual = np.where(panel.is_censored[rows, held_out], np.nan, panel.units[rows, held_out])
        fitted = fit(known, settings)
        spread = measured_spread(fitted, settings)
        scores = _Scores(fitted, spread, actual, settings)
        folds += scores.folds(number, cutoff_on)
        tables.append(scores.reliability(number))
    return tuple(folds), pl.concat(tables)


class _Scores:
    """The figures of one fold. `actual` is NaN on days without stock."""

    def __init__(self, fitted: Fit, spread: Spread, actual: NDArray[np.float64], settings: DemandSettings) -> None:
        self.settings, self.fitted, self.actual = settings, fitted, actual
        self.mean = fitted.expected(settings.horizon_days)
        self.naive = seasonal_naive(fitted.panel, settings.horizon_days)
        self.is_known = np.isfinite(actual)
        units = fitted.panel.units
        changes = np.diff(units, axis=1)
        counted = np.maximum(np.isfinite(changes).sum(axis=1), 1)
        self.squared_scale = np.nansum(changes**2, axis=1) / counted
        self.absolute_scale = np.nansum(np.abs(changes), axis=1) / counted
        self.weight = np.nansum(units[:, -WEIGHT_DAYS:], axis=1)
        self.is_scaled = (self.squared_scale > 0) & self.is_known.any(axis=1)
        alive = fitted.series["series_class"].to_numpy() != "dead"
        lead = settings.backtest_lead_days
        # Every third day has all weekdays and all distances in it, and quantiles are what takes the time here.
        self.day = alive[:, None] & self.is_known & (np.arange(actual.shape[1]) % 3 == 0)[None, :]
        self.sums = alive & self.is_known[:, :lead].all(axis=1)
        length = np.full(len(units), float(lead))
        self.sum_k, self.sum_tail = at_length(length, spread.dispersion), at_length(length, spread.tail)
        self.sum_mean, self.sum_actual = self.mean[:, :lead].sum(axis=1), actual[:, :lead].sum(axis=1)
        wide = np.ones((1, actual.shape[1]))
        # By quantity: actual, mean, P(less than actual) and P(up to actual) of everything usable.
        self.placed: dict[str, tuple[NDArray[np.float64], ...]] = {}
        for quantity, usable, came, mean, k, tail in (
            ("day", self.day, actual, self.mean, spread.dispersion[:, :1] * wide, spread.tail[:, :1] * wide),
            ("lead_time", self.sums, self.sum_actual, self.sum_mean, self.sum_k, self.sum_tail),
        ):
            if usable.any():
                came, mean = came[usable], mean[usable]
                self.placed[quantity] = (came, mean, *below_and_up_to(came, mean, k[usable], tail[usable]))

    def folds(self, number: int, cutoff_on: date) -> list[Fold]:
        until_on = cutoff_on + timedelta(days=self.settings.horizon_days)
        may_gate = int((self.weight[self.is_scaled] > 0).sum()) >= GATE_SERIES

        def fold(metric: str, value: float, baseline: float, better: Better = "lower", name: str = NAIVE) -> Fold:
            return Fold(number, cutoff_on, until_on, metric, MODEL, value, name, baseline, better, is_gate=may_gate and metric == "wrmsse")

        found = []
        if (self.weight[self.is_scaled] > 0).any():
            found.append(fold("wrmsse", self._wrmsse(self.mean), self._wrmsse(self.naive)))
        if self.is_scaled.any():
            found.append(fold("mase", self._mase(self.mean), self._mase(self.naive)))
        if np.nansum(self.actual) > 0:
            found.append(fold("bias_rate", self._bias(self.mean), self._bias(self.naive)))
        if self.sums.any() and self.sum_actual[self.sums].sum() > 0:
            found.append(fold("lead_time_pinball_95", self._pinball(self._service_quantile()), self._pinball(self._naive_quantile())))
        for quantity in self.placed:
            for nominal in (0.8, 0.95):
                metric = f"{quantity}_coverage_{nominal * 100:.0f}"
                found.append(fold(metric, self._coverage(nominal, quantity), nominal, "nearer", "nominal"))
        return found

    def reliability(self, number: int) -> pl.DataFrame:
        rows = [
            (number, quantity, probability, float(covered_share(probability, below, up_to).mean()), len(below))
            for quantity, (_, _, below, up_to) in self.placed.items()
            for probability in RELIABILITY_AT
        ]
        return pl.DataFrame(rows, schema=RELIABILITY_SCHEMA, orient="row")

    def _wrmsse(self, forecast: NDArray[np.float64]) -> float:
        some = self.is_scaled
        mean_square = np.nanmean((self.actual[some] - forecast[some]) ** 2, axis=1)
        return float((np.sqrt(mean_square / self.squared_scale[some]) * self.weight[some]).sum() / self.weight[some].sum())

    def _mase(self, forecast: NDArray[np.float64]) -> float:
        some = self.is_scaled
        return float((np.nanmean(np.abs(self.actual[some] - forecast[some]), axis=1) / self.absolute_scale[some]).mean())

    def _bias(self, forecast: NDArray[np.float64]) -> float:
        return abs(float(forecast[self.is_known].sum() / self.actual[self.is_known].sum()) - 1)

    def _service_quantile(self) -> NDArray[np.float64]:
        return quantile(SERVICE, self.sum_mean[self.sums], self.sum_k[self.sums], self.sum_tail[self.sums])

    def _naive_quantile(self) -> NDArray[np.float64]:
        """What a spreadsheet does: seasonal naive plus z standard deviations of its own daily errors, times the root of the lead time."""
        from scipy.special import ndtri

        units = self.fitted.panel.units[self.sums]
        lag = min(7, units.shape[1] - 1)
        errors = units[:, lag:] - units[:, : units.shape[1] - lag]
        spread = np.sqrt(np.nansum(errors**2, axis=1) / np.maximum(np.isfinite(errors).sum(axis=1), 1))
        lead = self.settings.backtest_lead_days
        return np.asarray(self.naive[self.sums][:, :lead].sum(axis=1) + ndtri(SERVICE) * spread * np.sqrt(lead))

    def _pinball(self, stocked: NDArray[np.float64]) -> float:
        """Pinball loss of the service quantile of lead-time sums, in units per unit sold."""
        came = self.sum_actual[self.sums]
        short = came - stocked
        return float(np.maximum(SERVICE * short, (SERVICE - 1) * short).sum() / came.sum())

    def _coverage(self, nominal: float, quantity: str) -> float:
        """Share within the central interval; of counts it is wider than nominal where zero alone is more than what lies outside."""
        outside = (1 - nominal) / 2
        came, mean, below, up_to = self.placed[quantity]
        # At or above the low quantile is P(up to it) >= outside, at or below the high one is P(less) < 1 - outside; the mean is always within.
        is_within = ((up_to >= outside) | (came >= mean)) & ((below < 1 - outside) | (came <= mean))
        return float(is_within.mean())
