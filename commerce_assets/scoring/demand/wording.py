"""Why a series is forecast as it is, in words an analyst can check against the sales."""

import polars as pl

WEEKDAYS: tuple[str, ...] = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
NOTABLE_WEEKDAY_FACTOR = 1.3
"""From which on a weekday is worth a word."""
CLASS_WORDS: dict[str, str] = {
    "smooth": "smooth: sells on most days, in even amounts",
    "erratic": "erratic: sells on most days, in uneven amounts",
    "intermittent": "intermittent: sells now and then, in even amounts",
    "lumpy": "lumpy: sells now and then, in uneven amounts",
    "new": "new: too little history of its own",
    "dead": "dead: no sale for long",
}


def series_reasons() -> pl.Expr:
    """List of reasons from the columns of `classified`, daily_units, _best_weekday and _best_factor."""
    sales = (
        pl.when(pl.col("sale_day_count") == 0)
        .then(pl.format("no sale in {} days", "history_days"))
        .otherwise(
            pl.format(
                "{} sale days in {}, usually every {} days, {} units each",
                "sale_day_count",
                "history_days",
                pl.col("adi").round(1),
                (pl.col("unit_count") / pl.col("sale_day_count")).round(1),
            )
        )
    )
    silent = pl.when(pl.col("silent_days") > pl.max_horizontal(2 * pl.col("adi"), pl.lit(6.0))).then(
        pl.format("silent for {} days", "silent_days")
    )
    new = pl.when(pl.col("series_class") == "new").then(
        pl.format("shrunk to what its category sells: {} units a day", pl.col("daily_units").round(2))
    )
    weekday = pl.when((pl.col("_best_factor") >= NOTABLE_WEEKDAY_FACTOR) & (pl.col("daily_units") > 0)).then(
        pl.format(
            "most on {}: {} times the mean day",
            pl.col("_best_weekday").replace_strict(dict(enumerate(WEEKDAYS)), return_dtype=pl.String),
            pl.col("_best_factor").round(1),
        )
    )
    censored = pl.when(pl.col("censored_day_count") > 0).then(
        pl.format("{} days without stock counted as usual demand", "censored_day_count")
    )
    words = pl.col("series_class").replace_strict(CLASS_WORDS, return_dtype=pl.String)
    return pl.concat_list(words, sales, silent, new, weekday, censored).list.drop_nulls()


def stock_reasons() -> pl.Expr:
    """List of reasons from the columns of a row of replenishment and sync_p95_seconds."""
    daily = pl.col("daily_units").round(2)
    has_forecast = pl.col("daily_units").is_not_null()
    sells = pl.col("days_of_cover").is_not_null()
    forecast = (
        pl.when(sells)
        .then(pl.format("sells {} units a day; {} available last {} days", daily, "available_count", "days_of_cover"))
        .when(has_forecast)
        .then(pl.format("hardly sells any more; {} available", "available_count"))
        .otherwise(pl.lit("no forecast: neither sales nor stock history of this item"))
    )
    lead = (
        pl.when(sells)
        .then(
            pl.format(
                "{} needed for {} days of lead time and {} of review at {} % service, {} of it safety",
                "reorder_point_count",
                pl.col("lead_time_days").round(1),
                pl.col("review_days").round(1),
                (100 * pl.col("service_level")).round(1),
                "safety_stock_count",
            )
        )
        .otherwise(None)
    )
    out = (
        pl.when(sells & (pl.col("available_count") <= 0))
        .then(pl.lit("out of stock"))
        .when(sells & (pl.col("stock_out_rate") >= 0.05))
        .then(
            pl.format(
                "a chance of {} % to run out before an order of today arrives", (100 * pl.col("stock_out_rate")).round(0).cast(pl.Int64)
            )
        )
    )
    incoming = pl.when(pl.col("incoming_count") > 0).then(pl.format("{} already ordered", "incoming_count"))
    default_lead = pl.when(has_forecast & ~pl.col("has_lead_time")).then(pl.lit("lead time unknown: the default"))
    sync = pl.when(pl.col("sync_buffer_count") > 0).then(
        pl.format(
            "{} may sell in the {} s the storefront needs to know", "sync_buffer_count", pl.col("sync_p95_seconds").round(0).cast(pl.Int64)
        )
    )
    too_many = pl.when(pl.col("overstock_count") > 0).then(pl.format("{} more than can be sold in time", "overstock_count"))
    return pl.concat_list(forecast, lead, out, incoming, default_lead, sync, too_many).list.drop_nulls()
