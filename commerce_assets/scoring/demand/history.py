"""Daily demand of every variant at every location: a calendar filled with zeros, and what would have sold on days without stock.

A series begins with its first sale: the wait between a variant's creation and that sale is preparation, not lack of demand. One that never
sold begins with its creation, or with the first day it was in stock. Returns are not demand: they are not read here.

**Days without stock** are censored: demand was at least what sold. Where a stock snapshot of a day says nothing was available and less sold
than usual, the day counts as usual: the mean of the same weekday over in-stock days of the last `stock_memory_days` (of any day, where fewer
than `min_in_stock_days` of them were in stock), never less than what sold. Only days before it are looked at, so a backtest that cuts the
history sees no later day. A series out of stock for longer than that memory says nothing, and its days stay as they sold.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.demand.settings import DemandSettings
from commerce_assets.scoring.errors import ScoringError

SALE_COLUMNS: dict[str, str] = {
    "variant_id": "Variant id, BIGINT.",
    "location_id": "Location the sale is served from, BIGINT.",
    "sold_on": "Day of the sale as the marts cut days (UTC), DATE.",
    "unit_count": "Units sold; several rows a day are added. Returns are no rows here.",
}
STOCK_COLUMNS: dict[str, str] = {
    "variant_id": "Variant id, BIGINT.",
    "location_id": "Location id, BIGINT.",
    "snapshot_on": "Day the stock was looked at, DATE.",
    "available_count": "Units available to sell at that time; zero or less is out of stock.",
}
VARIANT_COLUMNS: dict[str, str] = {
    "variant_id": "Variant id, BIGINT, unique.",
    "product_id": "Product id, BIGINT.",
    "product_type": "Product type, text; null where there is none.",
    "created_on": "Optional: day the variant was created, DATE; begins a series that never sold.",
}
MOST_UNITS = 1e9
"""A row of more units than this is a slip, and left out."""
NO_TYPE = "(none)"
"""Product type of a variant without one."""


@dataclass(frozen=True)
class Panel:
    """Daily demand as a matrix: a row is a series of `series`, a column a day from `first_on` on.

    `units` is NaN before the series begins (column `start`); `is_censored` marks days whose units were put in place of what sold.
    Sixteen bytes and a little a series and day: 10,000 series of two years take about 70 MB.
    """

    series: pl.DataFrame
    first_on: date
    start: NDArray[np.int64]
    units: NDArray[np.float64]
    is_censored: NDArray[np.bool_]

    @property
    def last_on(self) -> date:
        return self.first_on + timedelta(days=self.units.shape[1] - 1)

    def weekdays(self, beyond_days: int = 0) -> NDArray[np.int64]:
        """Weekday (Monday 0) of every column and of `beyond_days` after the last."""
        return (self.first_on.weekday() + np.arange(self.units.shape[1] + beyond_days)) % 7

    def until(self, last_on: date) -> tuple["Panel", NDArray[np.int64]]:
        """What was known at the end of that day, and which rows of this panel its series are."""
        columns = (last_on - self.first_on).days + 1
        rows = np.flatnonzero(self.start < columns)
        cut = Panel(self.series[rows], self.first_on, self.start[rows], self.units[rows, :columns], self.is_censored[rows, :columns])
        return cut, rows


def daily_demand(
    sales: pl.DataFrame,
    stock: pl.DataFrame,
    variants: pl.DataFrame,
    as_of: date,
    settings: DemandSettings,
    *,
    stocked_until: date | None = None,
) -> tuple[Panel, dict[str, int]]:
    """The panel up to and including `as_of`, and rows left out by reason (`sales_…`, `stock_…`, `variants_…`).

    Columns are those of SALE_COLUMNS, STOCK_COLUMNS and VARIANT_COLUMNS; a missing one or one of a wrong type is a ScoringError.
    Stock of the days after `as_of` up to `stocked_until` only tells which series there are.
    """
    excluded: dict[str, int] = {}
    oldest_on = as_of - timedelta(days=settings.max_history_days - 1)
    known = _kept(_variants(variants), "variants", excluded)
    sold = _kept(_sales(sales, as_of, oldest_on), "sales", excluded)
    snapshots = _kept(_snapshots(stock, max(stocked_until or as_of, as_of), oldest_on), "stock", excluded)
    # In one order before adding, so that fractional units add up the same whatever the order of the rows.
    daily = sold.sort("variant_id", "location_id", "sold_on", "unit_count")
    daily = daily.group_by("variant_id", "location_id", "sold_on", maintain_order=True).agg(pl.col("unit_count").sum())
    series = _series(daily, snapshots, known, as_of, oldest_on)
    first_on = min(series["start_on"].min(), as_of) if series.height else as_of  # type: ignore[type-var]
    assert isinstance(first_on, date)
    days = (as_of - first_on).days + 1
    start = (series["start_on"] - pl.Series([first_on])).dt.total_days().to_numpy().astype(np.int64)
    units = np.where(np.arange(days)[None, :] < start[:, None], np.nan, 0.0)
    rows, columns, values = _positions(daily, series, "sold_on", "unit_count", first_on, days)
    units[rows, columns] = values
    rows, columns, available = _positions(snapshots, series, "snapshot_on", "available_count", first_on, days)
    is_out = np.zeros(units.shape, dtype=np.bool_)
    is_out[rows, columns] = available <= 0
    is_out &= ~np.isnan(units)
    units, is_censored = unconstrained(units, is_out, settings)
    panel = Panel(series.drop("start_on"), first_on, start, units, is_censored)
    return panel, dict(sorted(excluded.items()))


def unconstrained(
    units: NDArray[np.float64], is_out: NDArray[np.bool_], settings: DemandSettings
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`units` with the usual level on days that are out of stock and sold less than usual, and which days those are."""
    rows, days = np.nonzero(is_out)
    is_known = ~np.isnan(units) & ~is_out
    sums = np.cumsum(np.where(is_known, units, 0.0), axis=1)
    counts = np.cumsum(is_known, axis=1, dtype=np.int32)

    def before(cumulated: NDArray[np.generic]) -> NDArray[np.float64]:
        since = days - settings.stock_memory_days - 1
        now = np.where(days > 0, cumulated[rows, np.maximum(days - 1, 0)], 0)
        return np.asarray(now - np.where(since >= 0, cumulated[rows, np.maximum(since, 0)], 0), dtype=np.float64)

    any_sum, any_count = before(sums), before(counts)
    weekday_sum, weekday_count = np.zeros(len(rows)), np.zeros(len(rows))
    for back in range(7, settings.stock_memory_days + 1, 7):
        then = np.maximum(days - back, 0)
        is_usable = (days >= back) & is_known[rows, then]
        weekday_sum += np.where(is_usable, units[rows, then], 0.0)
        weekday_count += is_usable
    by_weekday = weekday_count >= settings.min_in_stock_days
    usual = np.where(by_weekday, weekday_sum / np.maximum(weekday_count, 1), any_sum / np.maximum(any_count, 1))
    is_lower = (by_weekday | (any_count >= settings.min_in_stock_days)) & (units[rows, days] < usual)
    filled, is_censored = units.copy(), np.zeros_like(is_out)
    filled[rows[is_lower], days[is_lower]] = usual[is_lower]
    is_censored[rows[is_lower], days[is_lower]] = True
    return filled, is_censored


def _series(daily: pl.DataFrame, snapshots: pl.DataFrame, known: pl.DataFrame, as_of: date, oldest_on: date) -> pl.DataFrame:
    """variant_id, location_id, product_id, product_type, start_on: everything that sold or was in stock, in order of its ids."""
    key = ["variant_id", "location_id"]
    first_sale = daily.group_by(key).agg(pl.col("sold_on").min().alias("_sold_from"))
    first_stock = snapshots.filter(pl.col("available_count") > 0).group_by(key).agg(pl.col("snapshot_on").min().alias("_stocked_from"))
    # What is known of sales begins with the first of them all: before it a series that was there is not one that did not sell.
    known_from = daily["sold_on"].min() if daily.height else oldest_on
    begun = pl.coalesce("_sold_from", "created_on", "_stocked_from").clip(pl.max_horizontal(pl.lit(oldest_on), pl.lit(known_from)), as_of)
    return (
        first_sale.join(first_stock, on=key, how="full", coalesce=True)
        .join(known, on="variant_id", how="left")
        .with_columns(start_on=begun, product_type=pl.col("product_type").fill_null(NO_TYPE))
        .select(*key, "product_id", "product_type", "start_on")
        .sort(key)
    )


def _positions(
    rows: pl.DataFrame, series: pl.DataFrame, day: str, value: str, first_on: date, days: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Where in the matrix the rows belong: row, column, value; rows of no series or outside its columns are left out."""
    numbered = series.select("variant_id", "location_id", pl.int_range(pl.len()).alias("_row"))
    placed = rows.join(numbered, on=["variant_id", "location_id"], how="inner").with_columns(
        _column=(pl.col(day) - pl.lit(first_on)).dt.total_days()
    )
    placed = placed.filter(pl.col("_column").is_between(0, days - 1))
    return placed["_row"].to_numpy(), placed["_column"].to_numpy(), placed[value].cast(pl.Float64).to_numpy()


def _variants(variants: pl.DataFrame) -> pl.DataFrame:
    if "created_on" not in variants.columns:
        variants = variants.with_columns(created_on=pl.lit(None, pl.Date))
    wanted = {"variant_id": pl.Int64(), "product_id": pl.Int64(), "product_type": pl.String(), "created_on": pl.Date()}
    chosen = checked(variants, "variants", wanted)
    chosen = chosen.sort("variant_id", "product_id", "product_type", "created_on", nulls_last=True)
    reason = pl.when(pl.col("variant_id").is_null()).then(pl.lit("no_variant"))
    return chosen.with_columns(reason=reason.when(~pl.col("variant_id").is_first_distinct()).then(pl.lit("duplicate")))


def _sales(sales: pl.DataFrame, as_of: date, oldest_on: date) -> pl.DataFrame:
    wanted = {"variant_id": pl.Int64(), "location_id": pl.Int64(), "sold_on": pl.Date(), "unit_count": pl.Float64()}
    units = pl.col("unit_count")
    reason = (
        _no_id("sold_on")
        .when(pl.col("sold_on") > as_of)
        .then(pl.lit("after_as_of"))
        .when(units.is_null() | units.is_nan())
        .then(pl.lit("no_units"))
        .when(units > MOST_UNITS)
        .then(pl.lit("too_many_units"))
        .when(units < 0)
        .then(pl.lit("negative_units"))
        .when(pl.col("sold_on") < oldest_on)
        .then(pl.lit("before_history"))
    )
    # A row of zero units sold nothing: it is used, yet it does not begin a series.
    return checked(sales, "sales", wanted).with_columns(reason=reason.when(units == 0).then(pl.lit("zero_units")))


def _snapshots(stock: pl.DataFrame, as_of: date, oldest_on: date) -> pl.DataFrame:
    wanted = {"variant_id": pl.Int64(), "location_id": pl.Int64(), "snapshot_on": pl.Date(), "available_count": pl.Float64()}
    available = pl.col("available_count")
    key = ("variant_id", "location_id", "snapshot_on")
    reason = (
        _no_id("snapshot_on")
        .when(pl.col("snapshot_on") > as_of)
        .then(pl.lit("after_as_of"))
        .when(pl.col("snapshot_on") < oldest_on)
        .then(pl.lit("before_history"))
        .when(available.is_null() | ~available.is_finite())
        .then(pl.lit("no_count"))
        # Of several snapshots of a day the lowest counts: stock ran out on that day.
        .when(~pl.struct(key).is_first_distinct())
        .then(pl.lit("duplicate"))
    )
    usable_first = available.is_null() | ~available.is_finite()
    ordered = checked(stock, "stock", wanted).sort(*key, usable_first, available, nulls_last=True)
    return ordered.with_columns(reason=reason)


def _no_id(day: str) -> Any:
    """The reasons every row with a series and a day shares; polars keeps the type of a `when` to be continued to itself."""
    return (
        pl.when(pl.col("variant_id").is_null())
        .then(pl.lit("no_variant"))
        .when(pl.col("location_id").is_null())
        .then(pl.lit("no_location"))
        .when(pl.col(day).is_null())
        .then(pl.lit("no_date"))
    )


def checked(rows: pl.DataFrame, name: str, wanted: dict[str, pl.DataType]) -> pl.DataFrame:
    """The columns wanted in their types, or a ScoringError that names what is missing or of a wrong type."""
    missing = [column for column in wanted if column not in rows.columns]
    if missing:
        raise ScoringError(f"{name} lack {', '.join(missing)}: select them from the mart under these names")
    for column, dtype in wanted.items():
        found = rows.schema[column]
        is_right = found == pl.Null or (
            found.is_integer()
            if dtype.is_integer()
            else found.is_decimal()
            if dtype.is_decimal()
            else found.is_numeric()
            if dtype.is_numeric()
            else found == dtype
        )
        if not is_right:
            raise ScoringError(f"{column} of {name} is {found}, not {dtype}: cast it in the mart")
    return rows.select(pl.col(column).cast(dtype) for column, dtype in wanted.items())


def _kept(labelled: pl.DataFrame, name: str, excluded: dict[str, int]) -> pl.DataFrame:
    """Rows without a reason to leave them out; the others are counted in `excluded`."""
    counts = labelled.filter(pl.col("reason").is_not_null()).group_by("reason").len()
    excluded.update({f"{name}_{reason}": count for reason, count in counts.iter_rows()})
    return labelled.filter(pl.col("reason").is_null()).drop("reason")
