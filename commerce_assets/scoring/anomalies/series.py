"""Daily figures as series: one line a metric, channel and currency over the same closed days, with zeros where a day has no row."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.rfm import MONEY

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DAILY_METRIC_COLUMNS: dict[str, str] = {
    "metric": "What is counted or added up, such as orders, revenue, refunds, stock_moves.",
    "channel": "Sales channel, shop or location it is counted for.",
    "day_on": "Day, in the shop's time zone or UTC, the same for all.",
    "value": "The day's figure; a day without a row is 0.",
    "money_amount": "Optional: what the day's figure is worth, DECIMAL in `currency_code`; for revenue the figure itself.",
    "currency_code": "Optional: currency of the money (ISO 4217).",
}
"""What `judge_days` reads: one row a metric, channel, currency and day."""
SERIES = ["metric", "channel", "currency_code"]


@dataclass(frozen=True)
class DailySeries:
    """All series over the same days; arrays are series x days."""

    names: pl.DataFrame
    """One row a series: metric, channel, currency_code; sorted."""
    days: list[date]
    values: Floats
    money: Floats
    """NaN where a day's worth is not known."""
    first: NDArray[np.int64]
    """Each series' first day with a row, by position."""
    is_count: Flags
    """By series: whole numbers that are no money, so that their noise is at least Poisson's."""


def daily_series(
    metrics: pl.DataFrame, as_of: date, scored_at: datetime, complete_at: datetime | None
) -> tuple[DailySeries, dict[str, int]]:
    """The series up to the last closed day, and counts of rows left out by reason.

    A day is closed when it is not after `as_of` and had ended (UTC) when it was scored and when the data was complete.
    """
    last_on = min(as_of, *(moment.date() - timedelta(days=1) for moment in (scored_at, complete_at) if moment is not None))
    labelled = _labelled(_typed(metrics), last_on)
    excluded = dict(labelled.filter(pl.col("excluded").is_not_null()).group_by("excluded").len().sort("excluded").iter_rows())
    rows = labelled.filter(pl.col("excluded").is_null())
    names = rows.select(SERIES).unique().sort(SERIES, nulls_last=True)
    first_on = rows["day_on"].min()
    days = pl.date_range(first_on, last_on, eager=True).to_list() if isinstance(first_on, date) else []
    numbered = names.with_row_index("_series").join(rows, on=SERIES, nulls_equal=True)
    series = numbered["_series"].to_numpy()
    day = numbered.select((pl.col("day_on") - pl.lit(first_on, pl.Date)).dt.total_days()).to_series().to_numpy()
    values = np.zeros((names.height, len(days)))
    money = np.full_like(values, np.nan)
    values[series, day] = numbered["value"].to_numpy()
    money[series, day] = numbered["money_amount"].cast(pl.Float64).to_numpy()
    first = np.full(names.height, len(days))
    np.minimum.at(first, series, day)
    is_whole = (values == np.round(values)).all(axis=1) & (values >= 0).all(axis=1)
    is_money = np.where(np.isnan(money), True, money == values).all(axis=1) & ~np.isnan(money).all(axis=1)
    return DailySeries(names, days, values, money, first, is_whole & ~is_money), excluded


def _typed(metrics: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in ("metric", "channel", "day_on", "value") if name not in metrics.columns]
    if missing:
        raise ScoringError(f"daily metrics lack {', '.join(missing)}: select them from the mart under these names")
    dtype = metrics.schema.get("money_amount")
    if dtype is not None and not (dtype.is_decimal() or dtype == pl.Null):
        raise ScoringError(f"money_amount is {dtype}, not DECIMAL: cast it where it is selected")
    if not metrics.schema["value"].is_numeric():
        raise ScoringError(f"value is {metrics.schema['value']}, not a number")
    optional: dict[str, Any] = {"money_amount": MONEY, "currency_code": pl.String}
    try:
        return metrics.select(
            pl.col("metric", "channel").cast(pl.String),
            pl.col("day_on").cast(pl.Date),
            pl.col("value").cast(pl.Float64),
            *((pl.col(name) if name in metrics.columns else pl.lit(None)).cast(dtype).alias(name) for name, dtype in optional.items()),
        )
    except pl.exceptions.PolarsError as error:
        raise ScoringError(f"a column of the daily metrics has a type that cannot be read: {error}") from error


def _labelled(metrics: pl.DataFrame, last_on: date) -> pl.DataFrame:
    """`excluded`: why a row is not used. A row without currency takes that of its metric and channel where there is one only."""
    currency = pl.col("currency_code")
    of_pair = ["metric", "channel"]
    filled = metrics.with_columns(
        currency_code=pl.when(currency.drop_nulls().n_unique().over(of_pair) <= 1)
        .then(currency.drop_nulls().first().over(of_pair))
        .otherwise(currency),
        _has_currency=currency.is_not_null().any().over(of_pair),
    ).sort(*SERIES, "day_on", "value", "money_amount", nulls_last=True)
    reasons = (
        ("no_metric_or_channel", pl.col("metric").is_null() | pl.col("channel").is_null()),
        ("no_day", pl.col("day_on").is_null()),
        ("not_a_closed_day", pl.col("day_on") > last_on),
        ("no_value", pl.col("value").is_null() | ~pl.col("value").is_finite()),
        ("no_currency", currency.is_null() & pl.col("_has_currency")),
        ("duplicate_day", ~pl.struct(*SERIES, "day_on").is_first_distinct()),
    )
    return filled.with_columns(excluded=pl.coalesce(pl.when(condition).then(pl.lit(reason)) for reason, condition in reasons)).drop(
        "_has_currency"
    )
