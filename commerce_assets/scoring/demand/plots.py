"""What people look at of demand and stock: the fan of a total, whether intervals keep their word, what may run out, what lies too long.

Each takes the tables as `score_demand` and `score_replenishment` return them and gives a PNG.
"""

import polars as pl

from commerce_assets.scoring.plots import BAD, BASELINE, GOOD, INK, MODEL, drawing

HISTORY_DAYS = 120


def total_fan(history: pl.DataFrame, totals: pl.DataFrame, *, level: str = "all", level_key: str = "all") -> bytes:
    """Units sold a day (`history`: sold_on, unit_count of that total, one row a day or several) and the forecast of one total after them.

    What sold on a day that is forecast is left out: that day was not over.
    """
    ahead = totals.filter((pl.col("level") == level) & (pl.col("level_key") == level_key)).sort("forecast_on")
    past = history.filter(pl.col("sold_on") < ahead["forecast_on"].min()) if ahead.height else history
    sold = past.group_by("sold_on").agg(pl.col("unit_count").sum()).sort("sold_on").tail(HISTORY_DAYS)
    with drawing(f"Demand of {level}" if level == level_key else f"Demand of {level} {level_key}", "day", "units a day") as plot:
        days = ahead["forecast_on"].to_list()
        plot.axes.plot(sold["sold_on"].to_list(), sold["unit_count"].to_list(), color=INK, linewidth=0.8, label="sold")
        plot.axes.fill_between(
            days, ahead["low_units"].to_list(), ahead["high_units"].to_list(), color=MODEL, alpha=0.2, linewidth=0, label="interval"
        )
        plot.axes.plot(days, ahead["expected_units"].to_list(), color=MODEL, linewidth=1.2, label="expected")
        plot.axes.set_ylim(bottom=0)
        plot.axes.tick_params(axis="x", rotation=30)
    return plot.png


def reliability(table: pl.DataFrame) -> bytes:
    """How much lay below each quantile in the backtest, against what the quantile promised; on the diagonal a forecast keeps its word."""
    means = (
        table.group_by("quantity", "probability")
        .agg((pl.col("covered_rate") * pl.col("window_count")).sum() / pl.col("window_count").sum())
        .sort("quantity", "probability")
    )
    with drawing("Do the quantiles keep their word?", "nominal probability", "share of what came below it") as plot:
        plot.axes.plot([0, 1], [0, 1], color=BASELINE, linewidth=0.8, linestyle="--", label="exact")
        for quantity, label, color in (("day", "a day", MODEL), ("lead_time", "sum over a lead time", GOOD)):
            some = means.filter(pl.col("quantity") == quantity)
            plot.axes.plot(
                some["probability"].to_list(),
                some["covered_rate"].to_list(),
                marker="o",
                markersize=3,
                linewidth=1,
                color=color,
                label=label,
            )
    return plot.png


def stock_out_risk(rows: pl.DataFrame) -> bytes:
    """Items that sell, by the probability to run out before an order of today could arrive."""
    rates = rows.filter(pl.col("days_of_cover").is_not_null())["stock_out_rate"].drop_nulls().to_list()
    with drawing("What runs out before an order arrives", "probability to run out", "items") as plot:
        plot.axes.hist(rates, bins=20, range=(0, 1), color=BAD)
    return plot.png


def days_of_cover(rows: pl.DataFrame) -> bytes:
    """Items that sell, by how long their stock lasts (a logarithmic scale; the last bar holds all of two years and more)."""
    covered = rows.filter(pl.col("days_of_cover").is_not_null()).select(
        pl.col("days_of_cover").clip(1.0, 730.0).alias("days"), "is_overstock"
    )
    edges = [730 ** (step / 24) for step in range(25)]
    with drawing("How long stock lasts", "days of cover", "items") as plot:
        parts = [covered.filter(pl.col("is_overstock") == flag)["days"].to_list() for flag in (False, True)]
        plot.axes.hist(parts, bins=edges, stacked=True, color=[MODEL, BASELINE], label=["in use", "overstock"])
        plot.axes.set_xscale("log")
    return plot.png
