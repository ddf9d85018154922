"""Small images for the Dagster UI and the backtest page: one way to draw, so that they look alike and stay small.

Belongs here: the canvas and what several scores draw. What only one score draws stands beside that score.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MODEL, BASELINE, GOOD, BAD = "#2f3542", "#2f6fde", "#9aa3b2", "#2f9e63", "#d64545"
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
        axes.legend(fontsize=7, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    drawn.png = buffer.getvalue()
