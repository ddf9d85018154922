"""Demand of every variant at every location over the days to come: `score_demand`, its rows and its table of series."""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.demand.backtest import backtested
from commerce_assets.scoring.demand.forecast import Fit, fit
from commerce_assets.scoring.demand.history import Panel, daily_demand
from commerce_assets.scoring.demand.settings import CLASSES, DemandSettings
from commerce_assets.scoring.demand.spread import DISPERSION_COLUMNS, TAIL_COLUMNS, Spread, measured_spread
from commerce_assets.scoring.demand.totals import TOTAL_SCHEMA, UNIT_PARTS, day_interval, forecast_totals
from commerce_assets.scoring.demand.wording import series_reasons
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Estimate, InputFacts, Receipt, Scored, code_digest, package_versions
from commerce_assets.scoring.threads import one_blas_thread

VERSION = "demand-2"
MOMENT = pl.Datetime("us", "UTC")
MODULES = ("settings", "history", "classes", "forecast", "spread", "totals", "backtest", "wording", "score")

_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("variant_id", pl.Int64(), "Variant id."),
    ("location_id", pl.Int64(), "Location id."),
    ("forecast_on", pl.Date(), "Day forecast, the first the day after `as_of_on`."),
    ("expected_units", pl.Float64(), "Expected units of that day, to the ten-thousandth."),
    ("low_units", pl.Float64(), "Lower end of the interval of nominal 80 % (setting interval_probability)."),
    ("high_units", pl.Float64(), "Upper end of the interval."),
    ("as_of_on", pl.Date(), "Last day of sales behind it."),
    ("valid_until", MOMENT, "Not to be used after this moment."),
    ("scored_at", MOMENT, "When the forecast was made."),
)
DEMAND_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
DEMAND_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}

_SERIES: tuple[tuple[str, pl.DataType, str], ...] = (
    ("variant_id", pl.Int64(), "Variant id."),
    ("location_id", pl.Int64(), "Location id."),
    ("product_id", pl.Int64(), "Product id; null where the variant is unknown."),
    ("product_type", pl.String(), "Product type; (none) without one."),
    ("series_class", pl.String(), "smooth, erratic, intermittent, lumpy, new or dead."),
    ("model_name", pl.String(), "Model of its level: ses, tsb or category_mean."),
    ("adi", pl.Float64(), "Days of history per sale day; null where it never sold."),
    ("cv2", pl.Float64(), "Squared coefficient of variation of the units of a sale day; null where it never sold."),
    ("history_days", pl.Int64(), "Days since the series began."),
    ("sale_day_count", pl.Int64(), "Days with a sale."),
    ("silent_days", pl.Int64(), "Days since the last sale day; null where it never sold."),
    ("censored_day_count", pl.Int64(), "Days without stock whose demand was put at the usual level."),
    ("daily_units", pl.Float64(), "Expected units of a mean day."),
    *((name, pl.Float64(), f"Dispersion k of the sum over {name[11:-1]} days: variance = mean + k mean^2.") for name in DISPERSION_COLUMNS),
    *((name, pl.Float64(), f"Exponent that bends the upper tail of the sum over {name[5:-1]} days (spread.py).") for name in TAIL_COLUMNS),
    ("reasons", pl.List(pl.String()), "What the forecast rests on, in words."),
    ("as_of_on", pl.Date(), "Last day of sales behind it."),
    ("valid_until", MOMENT, "Not to be used after this moment."),
    ("scored_at", MOMENT, "When the forecast was made."),
)
SERIES_COLUMNS: dict[str, str] = {name: description for name, _, description in _SERIES}
SERIES_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _SERIES}


def score_demand(
    sales: pl.DataFrame,
    stock: pl.DataFrame,
    variants: pl.DataFrame,
    as_of: date,
    *,
    scored_at: datetime,
    settings: DemandSettings | None = None,
    complete_at: datetime | None = None,
    seed: int = 0,
) -> Scored:
    """Forecast the `settings.horizon_days` days after `as_of`, or after the last whole day before it, for every series that sold or was in stock.

    `sales`, `stock` and `variants` have SALE_COLUMNS, STOCK_COLUMNS and VARIANT_COLUMNS; bad rows are left out and counted in the receipt,
    a missing column or a wrong type is a ScoringError. Rows are DEMAND_SCHEMA, by variant, location and day. Tables: `series` (SERIES_SCHEMA,
    what `score_replenishment` reads), `totals` (TOTAL_SCHEMA), `reliability` (RELIABILITY_SCHEMA). Nothing is random: `seed` is recorded
    only. `scored_at` and `complete_at` are UTC moments. A day that was not over at either of them is not learned from: the forecast begins
    with it.
    """
    settings = settings or DemandSettings()
    if scored_at.tzinfo is None:
        raise ScoringError("scored_at has no time zone: pass a UTC moment")
    asked, as_of = as_of, last_whole_day(as_of, scored_at, complete_at)
    valid_until = scored_at + timedelta(hours=settings.valid_hours)
    stamps = {
        "as_of_on": pl.lit(as_of, pl.Date),
        "valid_until": pl.lit(valid_until).cast(MOMENT),
        "scored_at": pl.lit(scored_at).cast(MOMENT),
    }
    panel, excluded = daily_demand(sales, stock, variants, as_of, settings, stocked_until=asked)
    with one_blas_thread():
        folds, reliability = backtested(panel, settings)
        if panel.series.height:
            fitted = fit(panel, settings)
            spread = measured_spread(fitted, settings)
            rows, parts = _rows(fitted, spread, settings)
            totals = forecast_totals(fitted, parts, settings)
            series = _series(fitted, spread)
            rows, series = rows.with_columns(**stamps), series.with_columns(**stamps)
            rows = rows.select(pl.col(name).cast(dtype) for name, dtype in DEMAND_SCHEMA.items())
            series = series.select(pl.col(name).cast(dtype) for name, dtype in SERIES_SCHEMA.items())
        else:
            rows, series, totals = (pl.DataFrame(schema=schema) for schema in (DEMAND_SCHEMA, SERIES_SCHEMA, TOTAL_SCHEMA))
    receipt = Receipt(
        score="demand_forecast",
        model="level by class (SES, TSB, category mean) x weekday profile, negative binomial spread",
        version=VERSION,
        code_digest=code_digest(*(str(Path(__file__).with_name(f"{name}.py")) for name in MODULES)),
        as_of_on=as_of,
        scored_at=scored_at,
        valid_until=valid_until,
        seed=seed,
        inputs={
            "sales": _facts(sales, "sold_on", complete_at),
            "stock": _facts(stock, "snapshot_on", complete_at),
            "variants": InputFacts(variants.height, complete_at=complete_at),
        },
        rows=rows.height,
        excluded=excluded,
        trained_from_on=panel.first_on if series.height else None,
        trained_to_on=as_of if series.height else None,
        parameters=_parameters(series),
        settings=asdict(settings),
        fallback=_fallback(series, bool(folds)),
        notes=_notes(panel),
        backtest=folds,
        monitored=_monitored(rows, series),
        packages=package_versions("statsforecast", "scipy", "numpy", "polars"),
    )
    return Scored(rows, receipt, {"series": series, "totals": totals, "reliability": reliability})


def last_whole_day(as_of: date, *moments: datetime | None) -> date:
    """`as_of`, or the last day (UTC) that was over at every moment given. Half a day taken for a whole one lowers every level by up to 5 %."""
    return min(as_of, *(moment.astimezone(UTC).date() - timedelta(days=1) for moment in moments if moment is not None))


def _rows(fitted: Fit, spread: Spread, settings: DemandSettings) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """The daily forecast without its stamps, and its expected units in ten-thousandths, from which totals are added up."""
    parts = np.rint(fitted.expected(settings.horizon_days) * UNIT_PARTS).astype(np.int64)
    mean = parts / UNIT_PARTS
    low, high = day_interval(mean, spread.dispersion[:, 0], spread.tail[:, 0], settings)
    keys = fitted.series.select("variant_id", "location_id").with_columns(
        forecast_on=pl.date_ranges(
            pl.lit(fitted.panel.last_on + timedelta(days=1)), pl.lit(fitted.panel.last_on + timedelta(days=settings.horizon_days))
        )
    )
    days = keys.explode("forecast_on")
    return days.with_columns(
        pl.Series("expected_units", mean.ravel()), pl.Series("low_units", low.ravel()), pl.Series("high_units", high.ravel())
    ), parts


def _series(fitted: Fit, spread: Spread) -> pl.DataFrame:
    series = fitted.series.with_columns(
        pl.Series("daily_units", fitted.levels[:, -1]),
        *(pl.Series(name, spread.dispersion[:, at]) for at, name in enumerate(DISPERSION_COLUMNS)),
        *(pl.Series(name, spread.tail[:, at]) for at, name in enumerate(TAIL_COLUMNS)),
        pl.Series("_best_weekday", fitted.weekday_factors.argmax(axis=1)),
        pl.Series("_best_factor", fitted.weekday_factors.max(axis=1)),
    )
    return series.with_columns(reasons=series_reasons())


def _facts(rows: pl.DataFrame, day: str, complete_at: datetime | None) -> InputFacts:
    first_on, last_on = rows[day].min(), rows[day].max()
    return InputFacts(
        rows.height, first_on if isinstance(first_on, date) else None, last_on if isinstance(last_on, date) else None, complete_at
    )


def _parameters(series: pl.DataFrame) -> dict[str, Estimate]:
    """Median dispersions and the tail of every class. The standard error of a median is 1.2533 standard errors of a mean of normal values,
    with the spread taken from the quartiles; None for fewer than four series."""
    found: dict[str, Estimate] = {}
    for name in CLASSES:
        some = series.filter(pl.col("series_class") == name)
        if some.is_empty():
            continue
        for column in DISPERSION_COLUMNS:
            low, middle, high = np.quantile(some[column].to_numpy(), (0.25, 0.5, 0.75))
            error = 1.2533 * (high - low) / 1.349 / some.height**0.5 if some.height >= 4 else None
            found[f"median_{column}_{name}"] = Estimate(float(middle), None if error is None else float(error))
        found.update({f"{column}_{name}": Estimate(float(some[column][0])) for column in TAIL_COLUMNS})
    return found


def _fallback(series: pl.DataFrame, has_folds: bool) -> str | None:
    new = series.filter(pl.col("series_class") == "new").height
    reasons = [
        f"{new:,} of {series.height:,} series are new: their own mean, shrunk to that of their category" if new else "",
        "" if has_folds or series.is_empty() else "too little history for a backtest: nothing says yet how good the forecast is",
    ]
    return "; ".join(reason for reason in reasons if reason) or None


def _notes(panel: Panel) -> tuple[str, ...]:
    censored, unknown = int(panel.is_censored.sum()), panel.series["product_id"].null_count()
    notes = (
        f"{censored:,} days without stock of {int(panel.is_censored.any(axis=1).sum()):,} series count as usual demand" if censored else "",
        f"{unknown:,} series are of variants without a product: their product's total is (none)" if unknown else "",
    )
    return tuple(note for note in notes if note)


def _monitored(rows: pl.DataFrame, series: pl.DataFrame) -> dict[str, float]:
    if rows.is_empty():
        return {"series_count": 0.0}
    return {
        "series_count": float(series.height),
        "expected_units": float(rows["expected_units"].sum()),
        "interval_units": float((rows["high_units"] - rows["low_units"]).sum()),
        "dead_rate": series.select((pl.col("series_class") == "dead").mean()).item(),
    }
