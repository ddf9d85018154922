"""Images of customer value, each from one of its tables (`Scored.tables`): PNG bytes."""

import numpy as np
import polars as pl

from commerce_assets.scoring.plots import BASELINE, INK, MODEL, drawing


def alive_plot(alive_matrix: pl.DataFrame) -> bytes:
    """P(alive) by repeats and days since the last order, as a map."""
    again = alive_matrix.filter(pl.col("repeat_count") > 0)
    age = int(alive_matrix["age_days"][0])
    with drawing(f"Chance of still being a customer, {age} days after the first order", "days since the last order", "repeat days") as plot:
        if again.height:
            grid = again.pivot(on="recency_days", index="repeat_count", values="alive_rate")
            recency = np.array([int(name) for name in grid.columns[1:]])
            shown = plot.axes.pcolormesh(
                recency,
                grid["repeat_count"].to_numpy(),
                grid.drop("repeat_count").to_numpy(),
                cmap="Blues",
                vmin=0,
                vmax=1,
                shading="nearest",
            )
            plot.axes.figure.colorbar(shown, ax=plot.axes)
        plot.axes.grid(visible=False)
    return plot.png


def reliability_plot(calibration: pl.DataFrame) -> bytes:
    """Observed churn against the predicted, before and after calibration."""
    with drawing("Churn: predicted and observed on the last fold", "predicted rate", "observed rate") as plot:
        plot.axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        for (stage,), bins in sorted(calibration.partition_by("stage", as_dict=True).items(), reverse=True):
            color = MODEL if stage == "calibrated" else BASELINE
            plot.axes.plot(
                bins["predicted_rate"].to_numpy(), bins["observed_rate"].to_numpy(), "o-", color=color, markersize=4, label=str(stage)
            )
        plot.axes.set(xlim=(0, 1), ylim=(0, 1))
    return plot.png


def lift_plot(value_lift: pl.DataFrame, currency_code: str) -> bytes:
    """Share of the realised value that the customers with the highest predictions brought."""
    deciles = value_lift.filter(pl.col("currency_code") == currency_code)
    with drawing(f"Value in the hold-out, {currency_code}", "share of customers, best predicted first", "share of realised value") as plot:
        customers = deciles["customer_count"].cum_sum().to_numpy() / max(int(deciles["customer_count"].sum()), 1)
        plot.axes.plot([0, 1], [0, 1], color=BASELINE, linewidth=0.8, linestyle="--", label="at random")
        plot.axes.plot(
            np.append(0, customers),
            np.append(0, deciles["cumulative_gain_rate"].to_numpy()),
            "o-",
            color=MODEL,
            markersize=4,
            label="model",
        )
        plot.axes.set(xlim=(0, 1), ylim=(0, 1.02))
    return plot.png


def frequency_plot(frequency_holdout: pl.DataFrame) -> bytes:
    """Mean days with orders in the hold-out by repeats before it, predicted and realised."""
    with drawing("Orders in the hold-out by repeats before it", "repeat days before (7: and more)", "mean days with orders") as plot:
        repeats = frequency_holdout["repeat_count"].to_numpy()
        plot.axes.plot(repeats, frequency_holdout["realised_mean"].to_numpy(), "o-", color=INK, markersize=4, label="realised")
        plot.axes.plot(repeats, frequency_holdout["predicted_mean"].to_numpy(), "s--", color=MODEL, markersize=4, label="predicted")
    return plot.png
