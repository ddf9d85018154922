"""Plots of recommendations: quality by fold against popularity, and how long lists are."""

import polars as pl

from commerce_assets.scoring.plots import BASELINE, GOOD, MODEL, drawing
from commerce_assets.scoring.recommendations.settings import ITEM_ITEM, KINDS

TITLES = {"recall_at_10": "Recall of ten", "catalogue_coverage": "Share of the catalogue recommended"}


def plot_backtest(backtest: pl.DataFrame, metric: str = "recall_at_10") -> bytes:
    """One measure by fold, item-item beside popularity; `backtest` as in the score's tables. PNG."""
    folds = backtest.filter((pl.col("metric") == metric) & (pl.col("model") == ITEM_ITEM)).sort("cutoff_on")
    labels = folds["cutoff_on"].cast(pl.String).to_list()
    places = list(range(len(labels)))
    with drawing(f"{TITLES.get(metric, metric)}, by fold", "trained up to", metric) as plot:
        for shift, column, label, color in ((-0.2, "value", "item-item", MODEL), (0.2, "baseline_value", "popularity", BASELINE)):
            plot.axes.bar([place + shift for place in places], folds[column].to_list(), width=0.38, label=label, color=color)
        plot.axes.set_xticks(places, labels)
        plot.axes.set_ylim(bottom=0)
    return plot.png


def plot_list_lengths(rows: pl.DataFrame) -> bytes:
    """How many products have a list of each length, by kind; `rows` of the score. Products without a list are not shown. PNG."""
    from matplotlib.ticker import MaxNLocator

    lengths = rows.group_by("product_id", "kind").len(name="length").group_by("kind", "length").len(name="lists").sort("kind", "length")
    with drawing("Lists by length", "products in the list", "lists") as plot:
        for shift, kind, color in zip((-0.2, 0.2), KINDS, (MODEL, GOOD), strict=True):
            of_kind = lengths.filter(pl.col("kind") == kind)
            plot.axes.bar([length + shift for length in of_kind["length"]], of_kind["lists"].to_list(), width=0.38, label=kind, color=color)
        plot.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return plot.png
