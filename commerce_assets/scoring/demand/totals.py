"""Totals of the forecast by variant, product, product type, location and over all, coherent with their parts.

Bottom-up: a total's expected units are the exact sum of its series' (kept in ten-thousandths of a unit, so that parts add up to the digit).
Its interval is not made from theirs: that would need an assumption of how they move together, and independence makes it far too narrow
where a campaign or a holiday moves all. It comes from the total's own rolling origins: how far the sum of what sold was from the sum of what
was expected, as a negative binomial with that dispersion (see `spread`). What moves the parts together in history is in it.
"""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.demand.forecast import Fit
from commerce_assets.scoring.demand.settings import DemandSettings
from commerce_assets.scoring.demand.spread import group_dispersion, quantile, rolling_origins

LEVELS: tuple[str, ...] = ("variant", "product", "product_type", "location", "all")
UNIT_PARTS = 10_000
"""Expected units are whole multiples of one part in this many, before and after adding."""

_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("level", pl.String(), "variant, product, product_type, location or all."),
    (
        "level_key",
        pl.String(),
        "Id of the variant, product or location, the product type, or `all`; (none) where a variant has no product.",
    ),
    ("forecast_on", pl.Date(), "Day forecast."),
    ("expected_units", pl.Float64(), "Expected units: the sum of the series in it."),
    ("low_units", pl.Float64(), "Lower end of the interval, from the total's own rolling origins."),
    ("high_units", pl.Float64(), "Upper end of the interval."),
    ("as_of_on", pl.Date(), "Last day of sales behind it."),
)
TOTAL_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
TOTAL_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}


def forecast_totals(fitted: Fit, parts: NDArray[np.int64], settings: DemandSettings) -> pl.DataFrame:
    """Rows of TOTAL_SCHEMA, by level, key and day. `parts`: expected ten-thousandths of a unit, a row a series, a column a day ahead."""
    actual, expected = rolling_origins(fitted, fitted.panel.units, 1)
    is_usable = np.isfinite(expected)
    actual, expected = np.where(is_usable, actual, 0.0), np.where(is_usable, expected, 0.0)
    names = fitted.series.select(
        pl.col("variant_id").cast(pl.String).alias("variant"),
        pl.col("product_id").cast(pl.String).fill_null("(none)").alias("product"),
        pl.col("product_type"),
        pl.col("location_id").cast(pl.String).alias("location"),
        pl.lit("all").alias("all"),
    )
    days = pl.date_range(fitted.panel.last_on + timedelta(days=1), fitted.panel.last_on + timedelta(days=parts.shape[1]), eager=True)
    tables = []
    for level in LEVELS:
        keys, group = np.unique(names[level].to_numpy().astype(str), return_inverse=True)
        sums = _sums(group, len(keys), parts)
        seen = _sums(group, len(keys), is_usable.astype(np.float32)) > 0
        dispersion = group_dispersion(_sums(group, len(keys), actual), np.where(seen, _sums(group, len(keys), expected), np.nan), settings)
        mean = sums / UNIT_PARTS
        low, high = day_interval(mean, dispersion, np.ones(len(keys)), settings)
        tables.append(
            pl.DataFrame(
                {
                    "level": np.repeat(level, mean.size),
                    "level_key": np.repeat(keys, len(days)),
                    "forecast_on": pl.concat([days] * len(keys)) if len(keys) else pl.Series([], dtype=pl.Date),
                    "expected_units": mean.ravel(),
                    "low_units": low.ravel(),
                    "high_units": high.ravel(),
                }
            )
        )
    found = pl.concat(tables).with_columns(as_of_on=pl.lit(fitted.panel.last_on, pl.Date))
    return found.select(pl.col(name).cast(dtype) for name, dtype in TOTAL_SCHEMA.items())


def day_interval(
    mean: NDArray[np.float64], dispersion: NDArray[np.float64], tail: NDArray[np.float64], settings: DemandSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high of every day; `dispersion` and `tail` a row's. Never negative, and the mean lies within (it may exceed a quantile of a
    distribution of nearly always nothing)."""
    outside = (1 - settings.interval_probability) / 2
    # Days a week apart have the same mean: a week of quantiles is enough.
    week = min(7, mean.shape[1])
    repeated = np.arange(mean.shape[1]) % 7
    low = quantile(outside, mean[:, :week], dispersion[:, None], tail[:, None])[:, repeated]
    high = quantile(1 - outside, mean[:, :week], dispersion[:, None], tail[:, None])[:, repeated]
    return np.minimum(low, mean), np.maximum(high, mean)


def _sums(group: NDArray[np.int64], groups: int, values: NDArray[Any]) -> NDArray[Any]:
    """Sums of rows by group, always added in the order of the rows."""
    from scipy.sparse import csr_array

    member = csr_array((np.ones(len(group), dtype=values.dtype), (group, np.arange(len(group)))), shape=(groups, len(group)))
    return np.asarray(member @ values)
