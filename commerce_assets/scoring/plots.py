"""Small images for the Dagster UI and the backtest page: one way to draw, so that they look alike and stay small.

Belongs here: the canvas and what several scores draw. What only one score draws stands beside that score.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MODEL, BASELINE, GOOD, BAD = "#2f3542", "#2f6fde", "#9aa3b2", "#2f9e63", "#d64545"
LEGEND_INSIDE = 4
"""Names that find room between the lines; more stand beside the plot."""
WIDTH_INCHES, HEIGHT_INCHES, DPI = 5.6, 3.2, 80


class Drawing:
    """A plot being drawn: its axes, and once the block is left, the image as PNG."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self.png = b""


@contextmanager
def drawing(title: str, x: str, y: str, *, height_inches: float = HEIGHT_INCHES) -> Iterator[Drawing]:
    """`with drawing(…) as plot: plot.axes.plot(…)`, then `plot.png`. Some 10 to 30 kB; drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel(y, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    drawn = Drawing(axes)
    yield drawn
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        if len(handles) > LEGEND_INSIDE:
            figure.legend(loc="outside right upper", fontsize=7, frameon=False)
        else:
            axes.legend(fontsize=7, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    drawn.png = buffer.getvalue()


def drift_plot(figures: pl.DataFrame, max_drift: float) -> bytes:
    """Monitored figures (scored_at, figure, value, is_accepted) as a share of what each was in its first run that was accepted.

    The band is what the next run may move, seen from the last accepted one; refused runs are marked.
    """
    first = (
        figures.filter("is_accepted").sort("scored_at").group_by("figure", maintain_order=True).agg(pl.col("value").first().alias("base"))
    )
    relative = (
        figures.join(first, on="figure").filter(pl.col("base") != 0).with_columns(share=pl.col("value") / pl.col("base")).sort("scored_at")
    )
    with drawing("Monitored figures from run to run", "run", "share of the first run") as plot:
        for (name,), runs in sorted(relative.partition_by("figure", as_dict=True).items()):
            plot.axes.plot(runs["scored_at"].to_list(), runs["share"].to_list(), marker=".", linewidth=1, label=str(name))
            last = runs.filter("is_accepted").tail(1)
            plot.axes.vlines(
                last["scored_at"].to_list(), last["share"] * (1 - max_drift), last["share"] * (1 + max_drift), color=BASELINE, alpha=0.4
            )
            refused = runs.filter(~pl.col("is_accepted"))
            plot.axes.plot(refused["scored_at"].to_list(), refused["share"].to_list(), "x", color=BAD, markersize=7)
        plot.axes.tick_params(axis="x", rotation=30)
    return plot.png
