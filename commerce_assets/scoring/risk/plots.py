"""Plots of order risk's backtest, as PNG: what a review finds, and whether probabilities hold."""

import polars as pl

from commerce_assets.scoring.plots import BASELINE, GOOD, INK, MODEL, drawing
from commerce_assets.scoring.risk.backtest import BY_AMOUNT, EVIDENCE
from commerce_assets.scoring.risk.backtest import MODEL as TREES

_COLOURS = {EVIDENCE: GOOD, TREES: MODEL, BY_AMOUNT: BASELINE}


def plot_gain(gain: pl.DataFrame) -> bytes:
    """Share of chargebacks found by share of orders looked at, for each score; the line is the review capacity."""
    with drawing("Chargebacks found by looking at the riskiest orders", "share of orders looked at", "share of chargebacks found") as plot:
        for name, colour in _COLOURS.items():
            line = gain.filter(pl.col("score") == name).sort("reviewed_rate")
            plot.axes.plot(line["reviewed_rate"].to_numpy(), line["found_rate"].to_numpy(), marker=".", color=colour, label=name)
        for capacity in gain.filter("is_capacity")["reviewed_rate"].unique().to_list():
            plot.axes.axvline(capacity, color=INK, linewidth=0.8, linestyle=":", label="review capacity")
        plot.axes.set_xscale("log")
        plot.axes.set_ylim(0, 1.02)
    return plot.png


def plot_at_capacity(backtest: pl.DataFrame) -> bytes:
    """Precision and recall at the review capacity by fold, against looking at the largest amounts."""
    metrics = {"precision_at_capacity": (MODEL, "precision"), "recall_at_capacity": (GOOD, "recall")}
    with drawing("At the review capacity, by fold", "hold-out after", "share") as plot:
        for metric, (colour, label) in metrics.items():
            folds = backtest.filter(pl.col("metric") == metric).sort("fold")
            days = [str(day) for day in folds["cutoff_on"]]
            plot.axes.plot(days, folds["value"].to_numpy(), marker="o", color=colour, label=label)
            baseline = f"{label}, {BY_AMOUNT}"
            plot.axes.plot(days, folds["baseline_value"].to_numpy(), marker=".", color=colour, linestyle=":", label=baseline)
        plot.axes.set_ylim(0, 1.02)
    return plot.png


def plot_calibration(calibration: pl.DataFrame) -> bytes:
    """Observed against predicted share of chargebacks, in tenths of the hold-out orders; on the line they agree."""
    with drawing("Predicted and observed chargebacks", "predicted probability", "observed share") as plot:
        predicted, observed = calibration["predicted_rate"].to_numpy(), calibration["observed_rate"].to_numpy()
        top = float(max(predicted.max(initial=0.0), observed.max(initial=0.0), 1e-3)) * 1.05
        plot.axes.plot([0, top], [0, top], color=BASELINE, linewidth=0.8, linestyle=":")
        plot.axes.plot(predicted, observed, marker="o", color=MODEL)
    return plot.png
