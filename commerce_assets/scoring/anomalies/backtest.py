"""How well days were expected: the one-step forecasts of past weeks against the same weekday a week before, and alarms against their design.

The baseline forecasts every day from the days before it, so that its past forecasts are the walk-forward test.
"""

from datetime import timedelta

import numpy as np

from commerce_assets.scoring.anomalies.baseline import Baseline
from commerce_assets.scoring.anomalies.series import DailySeries, Flags, Floats
from commerce_assets.scoring.anomalies.settings import AnomalySettings
from commerce_assets.scoring.receipts import Fold, cutoffs

MODEL, BY_WEEKDAY, DESIGN = "robust-seasonal-baseline", "same weekday a week before", "design"
WEEK = 7


def anomaly_folds(series: DailySeries, baseline: Baseline, is_anomaly: Flags, settings: AnomalySettings) -> tuple[Fold, ...]:
    """Per fold the mean over series of (mean absolute error / mean absolute figure), and alarms a year and series.

    Alarms are all alarms: true events are among them, the design is of false ones. More of them than designed means that something
    happened or that limits are too narrow; the receipt's notes name the days, for people to tell.

    Series of a few a day are not in the error: their mean is expected, and the smallest absolute error is that of expecting nothing.
    """
    if not series.days:
        return ()
    found = cutoffs(
        series.days[0], series.days[-1], settings.backtest_days, folds=settings.backtest_folds, min_history_days=settings.min_history_days
    )
    folds = []
    for number, cutoff in enumerate(found):
        until = cutoff + timedelta(days=settings.backtest_days)
        days = slice(series.days.index(cutoff) + 1, series.days.index(until) + 1)
        judged = baseline.is_judged[:, days].all(axis=1)
        if not judged.any():
            continue
        measured = judged & ~baseline.is_sparse[:, days].any(axis=1)
        values, before = series.values[measured, days], series.values[measured, days.start - WEEK : days.stop - WEEK]
        scaled = _scaled_errors(values, baseline.expected[measured, days]), _scaled_errors(values, before)
        if scaled[0] is not None and scaled[1] is not None:
            folds.append(Fold(number, cutoff, until, "scaled_mae", MODEL, scaled[0], BY_WEEKDAY, scaled[1], "lower", True))
        alarms = float(is_anomaly[judged, days].mean()) * 365
        designed = settings.false_alarms_a_year
        folds.append(Fold(number, cutoff, until, "alarms_a_year_and_series", MODEL, alarms, DESIGN, designed, "nearer"))
    return tuple(folds)


def _scaled_errors(values: Floats, forecasts: Floats) -> float | None:
    size = np.abs(values).mean(axis=1)
    errors = np.abs(values - forecasts).mean(axis=1)
    return float((errors[size > 0] / size[size > 0]).mean()) if (size > 0).any() else None
