"""Plots of daily anomalies, as PNG: a series in its band, alarms marked."""

import numpy as np
import polars as pl

from commerce_assets.scoring.plots import BAD, BASELINE, INK, MODEL, drawing


def plot_band(bands: pl.DataFrame, metric: str, channel: str) -> bytes:
    """Figures of one metric and channel (a frame of `ANOMALY_SCHEMA`) with what was expected, its limits, and the alarms."""
    days = bands.filter((pl.col("metric") == metric) & (pl.col("channel") == channel)).sort("day_on")
    judged = days.filter("is_judged")
    alarms = days.filter("is_anomaly")
    with drawing(f"{metric}, {channel}", "day", metric) as plot:
        on = judged["day_on"].to_numpy()
        plot.axes.fill_between(
            on, judged["low_value"].to_numpy(), judged["high_value"].to_numpy(), color=MODEL, alpha=0.15, label="usual", linewidth=0
        )
        plot.axes.plot(on, judged["expected_value"].to_numpy(), color=BASELINE, linewidth=1, label="expected")
        plot.axes.plot(days["day_on"].to_numpy(), days["value"].to_numpy(), color=INK, linewidth=1, label="actual")
        plot.axes.plot(
            alarms["day_on"].to_numpy(), alarms["value"].to_numpy(), "o", color=BAD, markersize=4, label="anomaly", clip_on=False, zorder=5
        )
        figures = np.concatenate(([0.0], days["value"].to_numpy(), judged["expected_value"].to_numpy()))
        plot.axes.set_ylim(float(figures.min()) * 1.1, float(figures.max()) * 1.5 or 1.0)
        plot.axes.tick_params(axis="x", rotation=30)
    return plot.png
