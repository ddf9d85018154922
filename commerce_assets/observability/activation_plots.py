"""What activation did, drawn: rows by outcome, freshness, use of the rate budget, sizes of segments. Frames in, PNG out.

They are the copies of activation_log.py; drawn on the canvas of the scores' plots, so that all plots look alike.
"""

from collections.abc import Callable

import polars as pl

from commerce_assets.scoring.plots import BAD, BASELINE, GOOD, INK, drawing

SHOWN_RUNS = 40
SHOWN_SEGMENTS = 12
OUTCOMES = {"succeeded_count": GOOD, "skipped_count": BASELINE, "unknown_count": INK, "failed_count": BAD}


def activation_plots(runs: pl.DataFrame, segments: pl.DataFrame) -> dict[str, bytes]:
    """Each plot that there is something to show of, by name."""
    newest = runs.sort("started_at").tail(SHOWN_RUNS)
    drawn: dict[str, tuple[Callable[[pl.DataFrame], bytes], pl.DataFrame]] = {
        "rows_by_outcome": (outcomes_plot, newest.filter(pl.sum_horizontal(*OUTCOMES) > 0)),
        "freshness": (freshness_plot, newest.filter(pl.col("freshness_seconds").is_not_null())),
        "budget_use": (budget_plot, newest.filter(pl.col("budget_use_rate").is_not_null())),
        "segment_sizes": (segments_plot, segments),
    }
    return {name: plot(rows) for name, (plot, rows) in drawn.items() if rows.height}


def outcomes_plot(runs: pl.DataFrame) -> bytes:
    """A bar a run, oldest first, stacked by what became of its rows."""
    names = [f"{at:%d %b}\n{at:%H:%M}" for at in runs["started_at"]]
    with drawing(f"Rows by outcome, the last {runs.height} runs that wrote", "run", "rows") as plot:
        below = pl.repeat(0, runs.height, dtype=pl.Int64, eager=True)
        for outcome, colour in OUTCOMES.items():
            rows = runs[outcome]
            if rows.sum():
                plot.axes.bar(range(runs.height), rows, bottom=below, color=colour, label=outcome.removesuffix("_count"))
            below += rows
        shown = range(0, runs.height, max(runs.height // 6, 1))
        plot.axes.set_xticks(list(shown), [names[index] for index in shown], fontsize=7)
    return plot.png


def freshness_plot(runs: pl.DataFrame) -> bytes:
    """How old what each push brought was when all of it was there, a line a sync."""
    with drawing("Time to freshness", "push ended", "minutes after the model's moment") as plot:
        for name, of_sync in _by_sync(runs):
            plot.axes.plot(of_sync["finished_at"].to_list(), of_sync["freshness_seconds"] / 60, marker=".", linewidth=1, label=name)
        plot.axes.set_ylim(bottom=0)
        plot.axes.tick_params(axis="x", rotation=30)
    return plot.png


def budget_plot(runs: pl.DataFrame) -> bytes:
    """Points spent as a share of those there were while a run wrote, a line a sync; few are needed where there is little to write."""
    with drawing("Rate budget used while writing", "run", "share of the points there were") as plot:
        for name, of_sync in _by_sync(runs):
            plot.axes.plot(of_sync["started_at"].to_list(), of_sync["budget_use_rate"], marker=".", linewidth=1, label=name)
        plot.axes.axhline(1, color=BASELINE, linestyle="--", linewidth=1)
        plot.axes.set_ylim(bottom=0)
        plot.axes.tick_params(axis="x", rotation=30)
    return plot.png


def segments_plot(segments: pl.DataFrame) -> bytes:
    """Sizes over time: a line what the model puts into a segment, dots what the destination counts. The largest segments only."""
    latest = segments.sort("measured_at").group_by("destination", "segment").agg(pl.col("desired_count").last())
    largest = latest.sort("desired_count", descending=True).head(SHOWN_SEGMENTS)
    with drawing("Sizes of segments (dots: counted by the destination)", "measured", "customers") as plot:
        for destination, segment in largest.select("destination", "segment").iter_rows():
            sizes = segments.filter((pl.col("destination") == destination) & (pl.col("segment") == segment)).sort("measured_at")
            (line,) = plot.axes.plot(sizes["measured_at"].to_list(), sizes["desired_count"], linewidth=1, label=segment)
            counted = sizes.filter(pl.col("member_count").is_not_null())
            plot.axes.plot(counted["measured_at"].to_list(), counted["member_count"], "o", markersize=3, color=line.get_color())
        plot.axes.set_ylim(bottom=0)
        plot.axes.tick_params(axis="x", rotation=30)
    return plot.png


def _by_sync(runs: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    parts = runs.partition_by("destination", "sync", as_dict=True)
    return sorted((f"{sync} ({destination})", of_sync) for (destination, sync), of_sync in parts.items())
