"""A judged day in words."""

import polars as pl

from commerce_assets.scoring.anomalies.calendar import EVENT_WORDS
from commerce_assets.scoring.anomalies.settings import AnomalySettings

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def with_reasons(rows: pl.DataFrame, settings: AnomalySettings) -> pl.DataFrame:
    """Adds `reasons`, the figure and its limits first, then what explains or aggravates it."""
    sentences = [*_not_judged(settings), *_figure(), *_circumstances()]
    return rows.with_columns(reasons=pl.concat_list(sentences).list.drop_nulls())


def _not_judged(settings: AnomalySettings) -> list[pl.Expr]:
    told = pl.format("not judged: {} of {} days of history", "_history_days", pl.lit(settings.min_history_days))
    return [pl.when(~pl.col("is_judged")).then(told)]


def _figure() -> list[pl.Expr]:
    weekday = pl.col("day_on").dt.weekday().replace_strict(dict(enumerate(WEEKDAYS, start=1)), return_dtype=pl.String)
    value, expected, low, high = (_number(name) for name in ("value", "expected_value", "low_value", "high_value"))
    usual = pl.format("{} {}, about {} expected on this {}, {} to {} usual", value, "metric", expected, weekday, low, high)
    closed = pl.format("{} {} on a {}, when there usually are none", value, "metric", weekday)
    return [pl.when(pl.col("is_judged")).then(pl.when("_is_closed").then(closed).otherwise(usual))]


def _circumstances() -> list[pl.Expr]:
    judged, anomaly = pl.col("is_judged"), pl.col("is_anomaly")
    names = pl.col("events").list.eval(pl.element().replace(EVENT_WORDS)).list.join(", ")
    alone = pl.col("_kind").is_in(["own", "sale", "closing"])
    learned = pl.format("{}, learned from {} such days before", names, "_event_seen")
    unknown = pl.format("{}, seen for the first time: limits are wide", names)
    event = pl.when(~alone).then(names).when(pl.col("_event_seen") > 0).then(learned).otherwise(unknown)
    zero_run = pl.format("nothing for {} days, {} expected over them", "_zero_run_days", _number("_zero_run_expected"))
    amount = pl.col("at_stake_amount").cast(pl.Float64)
    more_or_less = pl.when(amount > 0).then(pl.lit("more")).otherwise(pl.lit("less"))
    worth = pl.format(
        "{} {} {} than expected", amount.abs().round(0).cast(pl.Int64), pl.col("currency_code").fill_null("in money"), more_or_less
    )
    return [
        pl.when(judged & anomaly & (pl.col("_zero_run_days") > 1)).then(zero_run),
        pl.when(judged & anomaly & amount.is_not_null()).then(worth),
        pl.when(anomaly & (pl.col("_run_days") > 1)).then(pl.format("day {} in a row", "_run_days")),
        pl.when(judged & (pl.col("events").list.len() > 0)).then(event),
    ]


def _number(column: str) -> pl.Expr:
    """Whole where it is large, else to a tenth."""
    value = pl.col(column)
    whole = value.round(0).cast(pl.Int64).cast(pl.String)
    return pl.when((value.abs() >= 20) | (value == value.round(0))).then(whole).otherwise(value.round(1).cast(pl.String))
