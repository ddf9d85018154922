"""The level of every series at the end of every day, its profile over the week, and what they say of the days to come.

A forecast of a day is level x weekday factor. The level comes from statsforecast, the model by class of the series:

    smooth, erratic            simple exponential smoothing, alpha 0.05
    intermittent, lumpy, dead  TSB (Teunter, Syntetos, Babai, EJOR 214, 2011), alpha 0.1 for the size and 0.05 for the chance of a sale
    new                        its own mean, shrunk to the mean level of its product type at the location (then location, then all)

Chosen on Online Retail (daily units, 6 origins of 28 days; error: RMSSE weighted by revenue, seasonal naive of the same folds 1.154): TSB
.848 and SES .850 with a flat profile, beside window means .847 to .854, SBA .846, and in an earlier round of 4 origins (TSB .934) IMAPA .946,
ADIDA .940, seasonal smoothing per weekday .945 to .974, DynamicOptimizedTheta .937 at 400 times the time. The differences between levels
are small; what helps every one of them are the location's weekday profile (TSB .834 to .807) and capping single huge days (.848 to .834).

Both models start from their first value, which for a demand series is a sale by construction: a month later it would still weigh 24 %.
So a day of nothing is put before the series and the level divided by 1 - (1 - alpha)^n, the weight of the n days really seen, which makes
SES the exponentially weighted mean of those days.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.demand.classes import classified
from commerce_assets.scoring.demand.history import Panel
from commerce_assets.scoring.demand.settings import DemandSettings

if TYPE_CHECKING:
    from statsforecast import StatsForecast

SES_ALPHA = 0.05
TSB_SIZE_ALPHA, TSB_CHANCE_ALPHA = 0.1, 0.05
MODEL_OF_CLASS: dict[str, str] = {
    "smooth": "ses",
    "erratic": "ses",
    "intermittent": "tsb",
    "lumpy": "tsb",
    "dead": "tsb",
    "new": "category_mean",
}
FEW_SALE_DAYS = 10
BLOCK_SERIES = 4_000
"""Series handed to statsforecast at once: bounds the memory of its long frames."""


@dataclass(frozen=True)
class Fit:
    """What was learnt from a panel; rows are its series in order."""

    panel: Panel
    series: pl.DataFrame
    """`classified`, with model_name."""
    levels: NDArray[np.float64]
    """Units a day expected at the end of each day of the panel; NaN before a series begins."""
    weekday_factors: NDArray[np.float64]
    """A row a series, a column a weekday from Monday: what a day sells over the mean day. The seven of a row have mean 1."""

    def expected(self, horizon_days: int) -> NDArray[np.float64]:
        """Expected units, a column a day after the panel's last."""
        coming = self.panel.weekdays(horizon_days)[self.panel.units.shape[1] :]
        return self.levels[:, -1:] * self.weekday_factors[:, coming]


def fit(panel: Panel, settings: DemandSettings) -> Fit:
    """Classes, levels and weekday profiles of a panel; looks at nothing but the panel."""
    series = classified(panel, settings)
    names = series["series_class"].replace_strict(MODEL_OF_CLASS, return_dtype=pl.String)
    even = capped(panel.units, settings.cap_quantile)
    levels = np.full(panel.units.shape, np.nan)
    for name, alpha in (("ses", SES_ALPHA), ("tsb", TSB_CHANCE_ALPHA)):
        # A new series has a level of its own as well: the rolling origins of totals need one.
        rows = np.flatnonzero(((names == name) | ((names == "category_mean") & (name == "tsb"))).to_numpy())
        for block in range(0, len(rows), BLOCK_SERIES):
            some = rows[block : block + BLOCK_SERIES]
            levels[some] = _smoothed(even[some], panel.start[some], name, alpha)
    series = series.with_columns(model_name=names)
    levels[:, -1:] = _with_category_means(series, np.nansum(even, axis=1), levels[:, -1], settings)[:, None]
    return Fit(panel, series, levels, _weekday_factors(panel, even, settings))


def seasonal_naive(panel: Panel, horizon_days: int) -> NDArray[np.float64]:
    """The bar: the same weekday of the last week (statsforecast's SeasonalNaive of season 7; the mean of series younger than that)."""
    from statsforecast.models import HistoricAverage, SeasonalNaive

    units, start = panel.units, panel.start
    mean = np.nansum(units, axis=1) / (units.shape[1] - start)
    found = np.repeat(mean[:, None], horizon_days, axis=1)
    old_enough = np.flatnonzero(units.shape[1] - start >= 7)
    for block in range(0, len(old_enough), BLOCK_SERIES):
        some = old_enough[block : block + BLOCK_SERIES]
        engine = _engine(SeasonalNaive(7, alias="level"), HistoricAverage(alias="level"))
        forecast = engine.forecast(df=_long(units[some], start[some]), h=horizon_days)
        found[some] = forecast.sort("unique_id", "ds")["level"].to_numpy().reshape(-1, horizon_days)
    return found


def _smoothed(units: NDArray[np.float64], start: NDArray[np.int64], name: str, alpha: float) -> NDArray[np.float64]:
    """Levels at the end of every day: statsforecast's one-step fitted value of a day is the level at the end of the day before."""
    from statsforecast.models import TSB, HistoricAverage, SimpleExponentialSmoothing

    model = SimpleExponentialSmoothing(alpha, alias="level") if name == "ses" else TSB(TSB_SIZE_ALPHA, TSB_CHANCE_ALPHA, alias="level")
    days = units.shape[1]
    engine = _engine(model, HistoricAverage(alias="level"))
    after = engine.forecast(df=_long(units, start, lead_days=1), h=1, fitted=True).sort("unique_id")["level"].to_numpy()
    fitted = engine.forecast_fitted_values().sort("unique_id", "ds")["level"].to_numpy()
    # Column c of the long frame is day c - 1 of the panel, and a fitted value the level one column earlier: day t's stands at t + 2.
    found = np.full((len(units), days + 2), np.nan)
    found[:, :-1][np.arange(days + 1)[None, :] >= start[:, None]] = fitted
    found[:, -1] = after
    seen = np.arange(days)[None, :] - start[:, None] + 1
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        levels = found[:, 2:] / (1 - (1 - alpha) ** np.maximum(seen, 1))
    return np.where(seen > 0, np.maximum(np.nan_to_num(levels, nan=0.0), 0.0), np.nan)


def _engine(model: object, fallback: object) -> "StatsForecast":
    from statsforecast import StatsForecast

    # One process: measured faster than two, for models as light as these.
    return StatsForecast(models=[model], freq=1, n_jobs=1, fallback_model=fallback)


def _long(units: NDArray[np.float64], start: NDArray[np.int64], *, lead_days: int = 0) -> pl.DataFrame:
    """unique_id, ds (number of the day), y: the frame of statsforecast, with `lead_days` of nothing before each series."""
    led = np.concatenate([np.zeros((len(units), lead_days)), units], axis=1)
    rows, days = np.nonzero(np.arange(led.shape[1])[None, :] >= start[:, None])
    return pl.DataFrame({"unique_id": rows, "ds": days, "y": np.nan_to_num(led[rows, days], nan=0.0)})


def capped(units: NDArray[np.float64], quantile: float) -> NDArray[np.float64]:
    """Units, with sale days above the series' own quantile of sale days (linear between ranks) brought down to it.

    A series of fewer than FEW_SALE_DAYS cannot say what is large: it is held to what is large among the others as well (the same quantile of
    their caps), where a first order of a thousand times the usual would otherwise become its level.
    """
    ordered = np.sort(np.where(units > 0, units, np.inf), axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rank = np.maximum(count - 1, 0) * quantile
    low = np.floor(rank).astype(np.int64)
    rows = np.arange(len(units))
    below, above = ordered[rows, low], ordered[rows, np.minimum(low + 1, np.maximum(count - 1, 0))]
    with np.errstate(invalid="ignore"):
        cap = np.where(count > 0, below + (above - below) * (rank - low), np.inf)
    has_enough = count >= FEW_SALE_DAYS
    if has_enough.any():
        cap = np.where(has_enough, cap, np.minimum(cap, np.quantile(cap[has_enough], quantile)))
    return np.minimum(units, cap[:, None])


def _weekday_factors(panel: Panel, even: NDArray[np.float64], settings: DemandSettings) -> NDArray[np.float64]:
    """A series' own share of units by weekday, shrunk to its location's share of sale days (which no single large order can move)."""
    days = panel.units.shape[1]
    since = max(days - settings.profile_days // 7 * 7, 0)
    weekdays, recent = panel.weekdays()[since:], even[:, since:]
    indicator = (weekdays[:, None] == np.arange(7)[None, :]).astype(np.float64)
    units = np.nan_to_num(recent, nan=0.0) @ indicator
    sale_days = (np.nan_to_num(recent, nan=0.0) > 0).astype(np.float64) @ indicator
    location, number = np.unique(panel.series["location_id"].to_numpy(), return_inverse=True)
    pooled = np.zeros((len(location), 7))
    np.add.at(pooled, number, sale_days)
    # A week of evidence a weekday, so that a location of a few sales has no profile to speak of.
    pooled = (pooled + 4.0) / (pooled.sum(axis=1, keepdims=True) + 28.0)
    if days - since < 28:
        pooled = np.full_like(pooled, 1 / 7)
    own = units / np.maximum(units.sum(axis=1, keepdims=True), 1e-12)
    weight = sale_days.sum(axis=1, keepdims=True)
    weight = weight / (weight + settings.profile_prior_sale_days) if days - since >= 28 else np.zeros_like(weight)
    return 7 * (weight * own + (1 - weight) * pooled[number])


def _with_category_means(
    series: pl.DataFrame, units: NDArray[np.float64], last: NDArray[np.float64], settings: DemandSettings
) -> NDArray[np.float64]:
    """The last levels, those of new series replaced by their own mean (of capped `units`) shrunk to that of their category."""
    leveled = series.with_columns(pl.Series("_units", units), pl.Series("_level", last))
    known = pl.col("_level").filter(~pl.col("series_class").is_in(["new", "dead"])).mean()
    prior = pl.coalesce(
        known.over("location_id", "product_type"), known.over("location_id"), known, pl.col("_units") / pl.col("history_days")
    )
    own = (pl.col("_units") + settings.new_prior_days * prior) / (pl.col("history_days") + settings.new_prior_days)
    shrunk = leveled.select(pl.when(pl.col("series_class") == "new").then(own).otherwise(pl.col("_level"))).to_series()
    return shrunk.to_numpy().astype(np.float64)
