"""Classes of demand series, after Syntetos, Boylan and Croston, On the categorization of demand patterns, JORS 56 (2005), 495-503.

By the average demand interval (ADI, days of history per sale day) and the squared coefficient of variation of the units of a sale day
(CV², population variance over squared mean):

    smooth        ADI < 1.32 and CV² < 0.49
    erratic       ADI < 1.32 and CV² >= 0.49
    intermittent  ADI >= 1.32 and CV² < 0.49
    lumpy         ADI >= 1.32 and CV² >= 0.49

and before these: `new`, begun less than `new_within_days` ago; `dead`, without a sale in the history read, or silent for `dead_after_days`
and for `dead_after_gaps` of its own usual gaps: the mean days from one sale day to the next, the silence after the last not among them (one
that did not recur has no gap).
"""

import numpy as np
import polars as pl

from commerce_assets.scoring.demand.history import Panel
from commerce_assets.scoring.demand.settings import DemandSettings


def classified(panel: Panel, settings: DemandSettings) -> pl.DataFrame:
    """The panel's series, each with history_days, sale_day_count, unit_count, censored_day_count, silent_days (null: never sold), adi
    (null: never sold), cv2 (null: never sold), series_class."""
    is_sale = panel.units > 0
    sale_days = is_sale.sum(axis=1)
    units = np.nansum(panel.units, axis=1)
    squares = np.nansum(panel.units**2, axis=1)
    days = panel.units.shape[1]
    last_sale = np.where(sale_days > 0, days - 1 - np.argmax(is_sale[:, ::-1], axis=1) if days else 0, 0)
    usual_gap = (last_sale - np.argmax(is_sale, axis=1)) / np.maximum(sale_days - 1, 1) if days else np.zeros(len(units))
    with np.errstate(invalid="ignore", divide="ignore"):
        adi = (days - panel.start) / sale_days
        cv2 = np.maximum(squares / sale_days / (units / sale_days) ** 2 - 1, 0.0)
    counted = panel.series.with_columns(
        pl.Series("history_days", days - panel.start, pl.Int64),
        pl.Series("sale_day_count", sale_days, pl.Int64),
        pl.Series("unit_count", units, pl.Float64),
        pl.Series("censored_day_count", panel.is_censored.sum(axis=1), pl.Int64),
        pl.Series("silent_days", days - 1 - last_sale, pl.Int64),
        pl.Series("adi", adi, pl.Float64),
        pl.Series("cv2", cv2, pl.Float64),
        pl.Series("_usual_gap", usual_gap, pl.Float64),
    )
    has_sold = pl.col("sale_day_count") > 0
    counted = counted.with_columns(pl.when(has_sold).then(pl.col(name)).alias(name) for name in ("silent_days", "adi", "cv2"))
    is_silent = (pl.col("silent_days") >= settings.dead_after_days) & (
        pl.col("silent_days") >= settings.dead_after_gaps * pl.col("_usual_gap")
    )
    is_even, is_steady = pl.col("cv2") < settings.max_cv2, pl.col("adi") < settings.max_adi
    name = (
        pl.when(pl.col("history_days") < settings.new_within_days)
        .then(pl.lit("new"))
        .when(~has_sold | is_silent)
        .then(pl.lit("dead"))
        .when(is_steady & is_even)
        .then(pl.lit("smooth"))
        .when(is_steady)
        .then(pl.lit("erratic"))
        .when(is_even)
        .then(pl.lit("intermittent"))
        .otherwise(pl.lit("lumpy"))
    )
    return counted.with_columns(series_class=name).drop("_usual_gap")
