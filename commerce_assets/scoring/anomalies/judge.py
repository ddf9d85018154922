"""Daily anomalies: for each metric, channel and closed day what was expected, between which limits, and whether the day is alarming."""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from commerce_assets.scoring.anomalies.backtest import anomaly_folds
from commerce_assets.scoring.anomalies.baseline import Baseline, EventDays, Gains, run_baseline
from commerce_assets.scoring.anomalies.calendar import KINDS, calendar_events
from commerce_assets.scoring.anomalies.reasons import with_reasons
from commerce_assets.scoring.anomalies.series import SERIES, DailySeries, Flags, Floats, daily_series
from commerce_assets.scoring.anomalies.settings import VERSION, AnomalySettings
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Estimate, Fold, InputFacts, Receipt, Scored, backtest_table, code_digest, package_versions
from commerce_assets.scoring.rfm import MONEY

_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("metric", pl.String(), "What is counted or added up."),
    ("channel", pl.String(), "Sales channel, shop or location."),
    ("day_on", pl.Date(), "The day judged; closed when it was."),
    ("value", pl.Float64(), "Its figure; 0 where there was no row."),
    ("expected_value", pl.Float64(), "What the days before let expect; null where not judged."),
    ("low_value", pl.Float64(), "Lowest usual figure; null where not judged."),
    ("high_value", pl.Float64(), "Highest usual figure; null where not judged."),
    (
        "deviation",
        pl.Float64(),
        "From the expected, in robust standard deviations of its side, on a logarithmic scale; null where not judged.",
    ),
    ("is_anomaly", pl.Boolean(), "Beyond the limits on a side that is watched."),
    ("is_judged", pl.Boolean(), "Whether there was history enough."),
    ("direction", pl.String(), "high or low; null where it is no anomaly."),
    ("at_stake_amount", MONEY, "What value less expected is worth, in `currency_code`; null where not known."),
    ("currency_code", pl.String(), "Currency of the metric's money (ISO 4217); null where it has none."),
    ("events", pl.List(pl.String()), "Calendar events of the day."),
    ("reasons", pl.List(pl.String()), "The day in words."),
    ("as_of_on", pl.Date(), "Last day asked for; the last one judged was closed when scored."),
    ("valid_until", pl.Datetime("us", "UTC"), "Until when the judgement may be used."),
    ("scored_at", pl.Datetime("us", "UTC"), "When it was made."),
)
ANOMALY_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
ANOMALY_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}
VALID_FOR = timedelta(days=2)
WORTH_DAYS = 28
"""Days before a day over which the worth of one is averaged."""
DAYS_NAMED = 20
"""Days of the hold-outs whose alarms are named on the receipt."""
_MODULES = ("judge.py", "settings.py", "calendar.py", "series.py", "baseline.py", "scale.py", "limits.py", "backtest.py", "reasons.py")


def judge_days(
    metrics: pl.DataFrame,
    as_of: date,
    *,
    scored_at: datetime,
    settings: AnomalySettings | None = None,
    complete_at: datetime | None = None,
    seed: int = 0,
) -> Scored:
    """Judge the last `judge_days` closed days up to `as_of` of every series of the daily metrics (`DAILY_METRIC_COLUMNS`).

    Rows are `ANOMALY_SCHEMA`, sorted by metric, channel, currency and day. Each day is held against what the days before it let expect,
    so that a day's judgement does not change when later days come. Tables: `backtest`, and `bands` (the rows' series over the last 120
    days, for plots). Nothing is drawn at random; the seed is kept for the receipt. Raises ScoringError for missing columns and wrong types.
    """
    settings = settings or AnomalySettings()
    for name, moment in (("scored_at", scored_at), ("complete_at", complete_at)):
        if moment is not None and moment.tzinfo is None:
            raise ScoringError(f"{name} has no time zone: pass a UTC moment")
    series, excluded = daily_series(metrics, as_of, scored_at, complete_at)
    events = _events(series, settings)
    high_only, low_only = (
        series.names["metric"].is_in(names).to_numpy() for names in (settings.high_only_metrics, settings.low_only_metrics)
    )
    a_day = settings.false_alarms_a_year / 365
    high_rate, low_rate = np.where(high_only, a_day, a_day / 2), np.where(low_only, a_day, a_day / 2)
    gains = Gains(settings.level_gain, settings.weekday_gain, settings.adapt_after_days, settings.residual_days, settings.min_history_days)
    baseline = run_baseline(series, _event_days(series, events), high_rate, low_rate, gains)
    is_watched = ((baseline.beyond > 0) & ~low_only[:, None]) | ((baseline.beyond < 0) & ~high_only[:, None])
    is_anomaly = is_watched & baseline.is_judged
    judged = _rows(series, baseline, is_anomaly, events, max(settings.judge_days, BAND_DAYS))
    judged = judged.with_columns(as_of_on=pl.lit(as_of), scored_at=pl.lit(scored_at), valid_until=pl.lit(scored_at + VALID_FOR))
    judged = with_reasons(judged, settings).select(pl.col(name).cast(dtype) for name, dtype in ANOMALY_SCHEMA.items())
    last_on = series.days[-1] if series.days else as_of
    rows = judged.filter(pl.col("day_on") > last_on - timedelta(days=settings.judge_days))
    folds = anomaly_folds(series, baseline, is_anomaly, settings)
    receipt = Receipt(
        score="daily_anomalies",
        model="robust-seasonal-baseline",
        version=VERSION,
        code_digest=code_digest(*(str(Path(__file__).with_name(name)) for name in _MODULES)),
        as_of_on=as_of,
        scored_at=scored_at,
        valid_until=scored_at + VALID_FOR,
        seed=seed,
        inputs={
            "daily_metrics": InputFacts(
                metrics.height, series.days[0] if series.days else None, last_on if series.days else None, complete_at
            )
        },
        rows=rows.height,
        excluded=excluded,
        trained_from_on=series.days[0] if series.days else None,
        trained_to_on=last_on if series.days else None,
        parameters={
            "series": Estimate(len(series.first)),
            "judged_series": Estimate(float(baseline.is_judged[:, -1:].sum())),
            "anomalies": Estimate(float(rows["is_anomaly"].sum())),
        },
        settings=_settings_in_words(settings),
        notes=_notes(series, baseline, is_anomaly, folds, settings),
        backtest=folds,
        # Neither alarms nor values: a day that is unlike all others is what this score is for.
        packages=package_versions("polars", "numpy", "scipy"),
    )
    return Scored(rows, receipt, {"backtest": backtest_table(folds), "bands": judged})


BAND_DAYS = 120


def _events(series: DailySeries, settings: AnomalySettings) -> pl.DataFrame:
    return calendar_events(series.days[0], series.days[-1], settings.own_events) if series.days else calendar_events(date.max, date.min)


def _event_days(series: DailySeries, events: pl.DataFrame) -> EventDays:
    """By day its strongest event."""
    days = pl.DataFrame({"day_on": series.days}, schema={"day_on": pl.Date})
    names = {name: number for number, name in enumerate(events["event"].unique().sort().to_list())}
    strongest = days.join(events.unique("day_on", keep="first", maintain_order=True), on="day_on", how="left", maintain_order="left")
    number = strongest["event"].replace_strict(names, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
    kind = strongest["kind"].fill_null("")
    return EventDays(
        event=number,
        stands_alone=kind.is_in(KINDS[:3]).to_numpy(),
        # A shop's own event may be a closure.
        is_closing=kind.is_in(["closing", "own"]).to_numpy(),
        is_season=(kind == "season").to_numpy(),
        count=len(names),
        weekday=days["day_on"].dt.weekday().to_numpy().astype(np.int64) - 1,
    )


def _rows(series: DailySeries, baseline: Baseline, is_anomaly: np.ndarray, events: pl.DataFrame, last_days: int) -> pl.DataFrame:
    """One row a series and day of the last days, from the series' first day on."""
    days = np.arange(max(len(series.days) - last_days, 0), len(series.days))
    line, day = (part.ravel() for part in np.meshgrid(np.arange(len(series.first)), days, indexing="ij"))
    begun = day >= series.first[line]
    line, day = line[begun], day[begun]
    at_stake = (series.values - baseline.expected) * _worth(series)
    columns = {
        "value": series.values,
        "expected_value": baseline.expected,
        "low_value": baseline.low,
        "high_value": baseline.high,
        "deviation": baseline.deviation,
        "at_stake_amount": at_stake,
        "is_anomaly": is_anomaly,
        "is_judged": baseline.is_judged,
        "_beyond": baseline.beyond,
        "_is_closed": baseline.is_closed,
        "_history_days": baseline.history_days,
        "_zero_run_days": baseline.zero_run_days,
        "_zero_run_expected": baseline.zero_run_expected,
        "_event_seen": baseline.event_seen,
        "_run_days": baseline.run_days,
    }
    rows = pl.DataFrame({name: values[line, day] for name, values in columns.items()}, nan_to_null=True)
    day_on = pl.Series("day_on", series.days, dtype=pl.Date).gather(day)
    rows = pl.concat([series.names[line], day_on.to_frame(), rows], how="horizontal")
    named = events.group_by("day_on", maintain_order=True).agg(pl.col("event").alias("events"), pl.col("kind").first().alias("_kind"))
    not_judged = ["expected_value", "low_value", "high_value", "deviation", "at_stake_amount"]
    rows = rows.join(named, on="day_on", how="left").sort(*SERIES, "day_on", nulls_last=True)
    return rows.with_columns(
        pl.when("is_judged").then(pl.col(not_judged)),
        pl.col("events").fill_null([]),
    ).with_columns(
        pl.col("at_stake_amount").round(4).cast(MONEY),
        direction=pl.when("is_anomaly").then(pl.when(pl.col("_beyond") > 0).then(pl.lit("high")).otherwise(pl.lit("low"))),
    )


def _worth(series: DailySeries) -> Floats:
    """What one is worth, by the days before each day that have both; over all of them where the last four weeks had none. NaN: not known."""
    known = ~np.isnan(series.money)
    money = np.cumsum(np.where(known, series.money, 0), axis=1)
    value = np.cumsum(np.where(known, series.values, 0), axis=1)
    before_money, before_value = (np.pad(total, ((0, 0), (1, 0)))[:, :-1] for total in (money, value))
    recent_money, recent_value = (
        total - np.pad(total, ((0, 0), (WORTH_DAYS, 0)))[:, :-WORTH_DAYS] for total in (before_money, before_value)
    )
    has_recent = recent_value > 0
    worth = np.where(has_recent, recent_money, before_money)
    of = np.where(has_recent, recent_value, before_value)
    return np.divide(worth, of, out=np.full_like(worth, np.nan), where=of > 0)


def _settings_in_words(settings: AnomalySettings) -> dict[str, float | int | str | bool]:
    return {name: str(value) if isinstance(value, tuple | list) else value for name, value in asdict(settings).items()}


def _notes(
    series: DailySeries, baseline: Baseline, is_anomaly: Flags, folds: tuple[Fold, ...], settings: AnomalySettings
) -> tuple[str, ...]:
    """Who is not judged yet, and which days the alarms of the hold-outs were: the design counts false ones only, the backtest all."""
    waiting = int((~baseline.is_judged[:, -1:]).sum())
    too_young = (
        f"{waiting} of {len(series.first)} series are not judged yet: they have less than {settings.min_history_days} days of history"
    )
    held_out = [any(fold.cutoff_on < day <= fold.until_on for fold in folds) for day in series.days]
    alarms = np.where(held_out, is_anomaly.sum(axis=0), 0)
    found = [f"{series.days[day]} ({alarms[day]})" for day in np.flatnonzero(alarms)]
    more = f", and {len(found) - DAYS_NAMED} days more" if len(found) > DAYS_NAMED else ""
    days = f"days that alarmed in the hold-outs, true events included, with how many series: {', '.join(found[:DAYS_NAMED])}{more}"
    return ((too_young,) if waiting else ()) + ((days,) if found else ())
