"""Daily anomalies on a year of a real shop, closed on Saturdays and over Christmas: nearly all its alarms have a cause, and injected ones are found."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

import polars as pl
from support import shared_path

from commerce_assets.scoring.anomalies import AnomalySettings, OwnEvent, judge_days
from commerce_assets.scoring.receipts import gate_figures

SCORED_AT = datetime(2011, 12, 12, tzinfo=UTC)
LAST_ON = date(2011, 12, 8)
BANK_HOLIDAYS = (date(2011, 4, 29), date(2011, 5, 2), date(2011, 5, 30), date(2011, 8, 29))
WHOLE_YEAR = AnomalySettings(judge_days=400)


@cache
def daily_metrics() -> pl.DataFrame:
    """Orders, revenue and refunds by day, for the United Kingdom and abroad."""
    lines = pl.read_parquet(shared_path("datasets/online_retail_2010_2011.parquet")).with_columns(
        amount=pl.col("Quantity") * pl.col("UnitPrice"),
        day_on=pl.col("InvoiceDate").dt.date(),
        channel=pl.when(pl.col("Country") == "United Kingdom").then(pl.lit("uk")).otherwise(pl.lit("abroad")),
    )
    is_refund = pl.col("InvoiceNo").str.starts_with("C")
    sales = lines.filter(~is_refund, pl.col("Quantity") > 0, pl.col("UnitPrice") > 0)
    money, invoices = pl.col("amount").abs().sum().round(2), pl.col("InvoiceNo").n_unique().cast(pl.Float64)
    parts = (("orders", sales, invoices), ("revenue", sales, money), ("refunds", lines.filter(is_refund), invoices))
    return pl.concat(
        rows.group_by("channel", "day_on").agg(
            pl.lit(metric).first().alias("metric"),
            figure.alias("value"),
            money.cast(pl.Decimal(18, 4)).alias("money_amount"),
            pl.lit("GBP").first().alias("currency_code"),
        )
        for metric, rows, figure in parts
    )


def changed(metric: str, channel: str, day_on: date, factor: float, *, days: int = 1) -> pl.DataFrame:
    """The figures up to the last changed day, those of the days times a factor."""
    last_on = day_on + timedelta(days=days - 1)
    hit = (pl.col("metric") == metric) & (pl.col("channel") == channel) & pl.col("day_on").is_between(day_on, last_on)
    return (
        daily_metrics()
        .filter(pl.col("day_on") <= last_on)
        .with_columns(value=pl.when(hit).then((pl.col("value") * factor).round(0)).otherwise("value"))
    )


def is_found(metric: str, channel: str, day_on: date, factor: float, *, days: int = 1) -> bool:
    figures = changed(metric, channel, day_on, factor, days=days)
    last_on = day_on + timedelta(days=days - 1)
    rows = judge_days(figures, last_on, scored_at=SCORED_AT, settings=AnomalySettings(judge_days=days)).rows
    return bool(rows.filter(pl.col("metric") == metric, pl.col("channel") == channel)["is_anomaly"].any())


def test_a_year_has_few_alarms_and_bank_holidays_are_most_of_them() -> None:
    rows = judge_days(daily_metrics(), LAST_ON, scored_at=SCORED_AT, settings=WHOLE_YEAR).rows
    alarms = rows.filter("is_anomaly")
    holidays = alarms.filter(pl.col("day_on").is_in(BANK_HOLIDAYS))
    assert holidays.filter(pl.col("channel") == "uk", pl.col("metric") == "orders")["day_on"].to_list() == list(BANK_HOLIDAYS)
    others = alarms.height - holidays.height
    years = rows.filter("is_judged").height / 365
    assert others / years <= 2.0, alarms.select("metric", "channel", "day_on", "value", "expected_value")
    assert not alarms["day_on"].dt.weekday().eq(6).any(), "the shop is closed on Saturdays"


def test_holidays_named_by_the_shop_alarm_no_more() -> None:
    events = tuple(OwnEvent("bank holiday", day, day) for day in BANK_HOLIDAYS)
    rows = judge_days(daily_metrics(), LAST_ON, scored_at=SCORED_AT, settings=AnomalySettings(judge_days=400, own_events=events)).rows
    assert rows.filter("is_anomaly", pl.col("day_on").is_in(BANK_HOLIDAYS)).is_empty()


def test_days_are_expected_better_than_by_the_week_before() -> None:
    receipt = judge_days(daily_metrics(), LAST_ON, scored_at=SCORED_AT).receipt
    error, by_week, _, _ = gate_figures(receipt.backtest)["scaled_mae"]
    assert error < 0.85 * by_week, (error, by_week)


def test_injected_anomalies_are_found_on_their_day() -> None:
    tuesdays = [date(2011, 9, 6) + timedelta(weeks=week) for week in range(0, 13, 3)]
    found = {
        what: sum(is_found(metric, "uk", day, factor) for day in tuesdays)
        for what, metric, factor in (("outage", "orders", 0.0), ("revenue gone", "revenue", 0.0), ("to 30 %", "orders", 0.3))
    }
    assert found["outage"] == found["revenue gone"] == len(tuesdays), found
    assert found["to 30 %"] >= 3, found


def test_an_outage_of_the_small_channel_is_found_within_a_week() -> None:
    mondays = [date(2011, 9, 5) + timedelta(weeks=week) for week in range(0, 12, 3)]
    found = [is_found("orders", "abroad", day, 0.0, days=7) for day in mondays]
    assert all(found), found
