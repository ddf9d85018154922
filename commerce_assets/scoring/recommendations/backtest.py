"""Walk-forward backtest of recommendations: trained on what was known up to a day, held against what was bought after it.

**Split.** Of each fold, training is every line up to and including `cutoff_on`; the hold-out is the `backtest_days` days after it.
Judged are the customers who bought both before and in the hold-out (at most `max_backtest_customers` of them, drawn with the seed);
relevant are all different products such a customer bought in the hold-out, also those that nobody could have recommended. Every product
sold before the cutoff may be recommended: what stock or which status a product had then is not known, and today's would be hindsight.
(What is hindsight all the same: a line that came back whole is left out also where it came back after the cutoff.)

**Measures**, means over customers, lists of ten: recall_at_10 (relevant products in the list / relevant products), ndcg_at_10 (binary gain),
hit_rate_at_10, and catalogue_coverage (different products in all lists / products that may be recommended). `recall_at_10_new` judges lists
without held products against products new to the customer. `basket_hit_rate`: over the hold-out's orders with several products, how often
the complementary list of a product in it holds another one of them.

**Baseline.** The most popular products of the `popular_days` days before the cutoff, which is stronger than popularity over all time;
held products are in its lists exactly where they are in the model's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from commerce_assets.scoring.receipts import Fold, cutoffs
from commerce_assets.scoring.recommendations import als
from commerce_assets.scoring.recommendations.customers import histories_of, next_purchases, similar_matrix
from commerce_assets.scoring.recommendations.popular import most_popular, popularity
from commerce_assets.scoring.recommendations.settings import ITEM_ITEM, RecommendationSettings
from commerce_assets.scoring.recommendations.similarity import Numbers, best_pairs, groups_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DEPTH = 10
POPULARITY, HABIT, ALS = "popularity", "bought_before", "als"
RECALL, RECALL_NEW = "recall_at_10", "recall_at_10_new"
GATES = (RECALL, RECALL_NEW)


@dataclass(frozen=True)
class Backtest:
    """Folds, and what was decided by them."""

    folds: tuple[Fold, ...]
    with_held: bool
    """Whether customers' lists hold what they have bought before."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """The measures of one way to make lists, in one fold."""

    fold: int
    cutoff_on: date
    until_on: date
    model: str
    with_held: bool
    figures: dict[str, float]
    customers: int
    """Whom the hold-out judges."""


def backtest(lines: pl.DataFrame, products: int, settings: RecommendationSettings, seed: int) -> Backtest:
    """Judge item-item on `lines` (order_id, customer_id, ordered_on, product), and choose whether lists hold what customers have."""
    days = lines["ordered_on"]
    first_on, last_on = days.min(), days.max()
    if not isinstance(first_on, date) or not isinstance(last_on, date):
        return _without_history(settings)
    found = cutoffs(first_on, last_on, settings.backtest_days, folds=settings.backtest_folds, min_history_days=settings.min_history_days)
    judged = [one for number, cutoff in enumerate(found, start=1) for one in _fold(number, lines, cutoff, products, settings, seed)]
    if not judged:
        return _without_history(settings)
    with_held, why = _choose(judged, settings)
    held_out = sum({one.fold: one.customers for one in judged}.values())
    may_gate = held_out >= settings.min_gate_customers
    few = (
        ()
        if may_gate
        else (f"{held_out:,} customers in the hold-outs are too few to hold item-item to its baseline: nothing is refused for it",)
    )
    return Backtest(tuple(_folds(judged, with_held, may_gate=may_gate)), with_held, (why, *few, *_als_note(judged, settings)))


def _without_history(settings: RecommendationSettings) -> Backtest:
    note = f"no backtest: fewer than {settings.min_history_days + settings.backtest_days} days of history, or nobody who came back"
    return Backtest((), settings.held == "include", (note,))


def _fold(number: int, lines: pl.DataFrame, cutoff: date, products: int, settings: RecommendationSettings, seed: int) -> Iterator[_Judged]:
    until = cutoff + timedelta(days=settings.backtest_days)
    training = lines.filter(pl.col("ordered_on") <= cutoff)
    holdout = lines.filter((pl.col("ordered_on") > cutoff) & (pl.col("ordered_on") <= until))
    everyone = groups_of(training, "customer_id", products)
    customers, relevant = _relevant(holdout, everyone.ids, settings, seed + number)
    if not len(customers):
        return
    was_sold = np.zeros(products, dtype=bool)
    was_sold[training["product"].unique().to_numpy()] = True
    candidates = int(was_sold.sum())
    buyers = groups_of(training, "customer_id", products, largest=settings.max_products_together)
    neighbours = best_pairs(buyers, was_sold, settings.neighbours, settings)
    similar, no_pairs = similar_matrix(neighbours, products), neighbours.clear()
    histories = histories_of(training, everyone, cutoff, settings)
    popular = popularity(training, cutoff, settings.popular_days)
    held = _held(everyone.holds, customers)
    is_new = relevant.join(held, on=["customer", "product"], how="anti")
    for with_held in (False, True):
        ways = {
            ITEM_ITEM: next_purchases(histories, similar, was_sold, DEPTH, settings, with_held=with_held, customers=customers),
            POPULARITY: most_popular(popular, pl.Series(customers), held, DEPTH, with_held=with_held),
        }
        if with_held:
            ways[HABIT] = next_purchases(
                histories, similar_matrix(no_pairs, products), was_sold, DEPTH, settings, with_held=True, customers=customers
            )
        if settings.compare_als and als.is_installed():
            ways[ALS] = als.next_purchases_by_als(everyone, was_sold, DEPTH, seed, with_held=with_held, customers=customers)
        for model, given in ways.items():
            figures = measures(given, relevant, candidates)
            if not with_held and is_new.height:
                figures[RECALL_NEW] = measures(given, is_new, candidates)[RECALL]
            yield _Judged(number, cutoff, until, model, with_held, figures, len(customers))
    orders = groups_of(training, "order_id", products, largest=settings.max_products_together)
    pairs = best_pairs(orders, was_sold, settings.list_size, settings).select("product", "other")
    for model, lists in ((ITEM_ITEM, pairs), (POPULARITY, _popular_lists(popular, was_sold, settings))):
        figures = basket_hits(holdout, lists)
        yield from (_Judged(number, cutoff, until, model, with_held, figures, len(customers)) for with_held in (False, True))


def _relevant(holdout: pl.DataFrame, ids: Numbers, settings: RecommendationSettings, seed: int) -> tuple[Numbers, pl.DataFrame]:
    """Customers to be judged (rows of `ids`, sorted), and customer, product they bought in the hold-out."""
    known = holdout.drop_nulls("customer_id").filter(pl.col("customer_id").is_in(pl.Series(ids, dtype=pl.Int64).implode()))
    bought = known.with_columns(customer=pl.Series(np.searchsorted(ids, known["customer_id"].to_numpy()), dtype=pl.Int64))
    customers = bought["customer"].unique().sort().to_numpy()
    if len(customers) > settings.max_backtest_customers:
        drawn = np.random.default_rng(seed).choice(len(customers), settings.max_backtest_customers, replace=False)
        customers = customers[np.sort(drawn)]
    relevant = (
        bought.select("customer", "product").unique().filter(pl.col("customer").is_in(pl.Series(customers, dtype=pl.Int64).implode()))
    )
    return customers, relevant.sort("customer", "product")


def measures(given: pl.DataFrame, relevant: pl.DataFrame, candidates: int) -> dict[str, float]:
    """Means over the customers of `relevant` (customer, product) of lists `given` (customer, product, rank up to ten).

    A customer without a list counts as one without a hit.
    """
    wanted = relevant.group_by("customer").agg(pl.len().alias("relevant"))
    hits = (
        given.join(relevant, on=["customer", "product"], how="inner")
        .group_by("customer")
        .agg(pl.len().alias("hits"), gain=(1 / (pl.col("rank") + 1).log(2)).sort().sum())
    )
    ideal = pl.DataFrame({"depth": range(1, DEPTH + 1), "ideal": np.cumsum(1 / np.log2(np.arange(2, DEPTH + 2)))})
    judged = (
        wanted.join(hits, on="customer", how="left")
        .with_columns(pl.col("hits").fill_null(0), pl.col("gain").fill_null(0.0), depth=pl.min_horizontal("relevant", DEPTH).cast(pl.Int64))
        .join(ideal, on="depth", how="left")
        .sort("customer")
    )
    means = judged.select(
        recall_at_10=(pl.col("hits") / pl.col("relevant")).mean(),
        ndcg_at_10=(pl.col("gain") / pl.col("ideal")).mean(),
        hit_rate_at_10=(pl.col("hits") > 0).mean(),
    ).row(0, named=True)
    return {**means, "catalogue_coverage": given["product"].n_unique() / max(candidates, 1)}


def basket_hits(holdout: pl.DataFrame, lists: pl.DataFrame) -> dict[str, float]:
    """`basket_hit_rate` of lists (product, other) over the hold-out's orders with several products; nothing where there are none."""
    baskets = holdout.select("order_id", "product").filter(pl.len().over("order_id") > 1)
    if baskets.is_empty():
        return {}
    given = baskets.join(lists, on="product", how="inner")
    hit = given.join(baskets.rename({"product": "other"}), on=["order_id", "other"], how="semi").select("order_id", "product").unique()
    return {"basket_hit_rate": hit.height / baskets.height}


def _popular_lists(popular: pl.DataFrame, was_sold: Numbers, settings: RecommendationSettings) -> pl.DataFrame:
    """The most popular products for every product, without itself."""
    everything = pl.DataFrame({"product": np.flatnonzero(was_sold)})
    crossed = everything.join(popular.head(settings.list_size + 1).select(other="product"), how="cross", maintain_order="left_right")
    others = crossed.filter(pl.col("product") != pl.col("other"))
    return others.filter(pl.int_range(pl.len()).over("product") < settings.list_size)


def _held(holds: "csr_matrix", customers: Numbers) -> pl.DataFrame:
    entries = holds[customers].tocoo()
    return pl.DataFrame({"customer": customers[entries.row], "product": entries.col.astype(np.int64)})


def _mean(judged: list[_Judged], model: str, metric: str, *, with_held: bool) -> float | None:
    values = [one.figures[metric] for one in judged if one.model == model and one.with_held == with_held and metric in one.figures]
    return sum(values) / len(values) if values else None


def _choose(judged: list[_Judged], settings: RecommendationSettings) -> tuple[bool, str]:
    new_only = _mean(judged, ITEM_ITEM, RECALL, with_held=False) or 0.0
    any_product = _mean(judged, ITEM_ITEM, RECALL, with_held=True) or 0.0
    with_held = any_product > new_only * (1 + settings.held_margin) if settings.held == "auto" else settings.held == "include"
    why = "as set" if settings.held != "auto" else f"decided with a margin of {settings.held_margin:.0%}"
    return with_held, (
        f"customers' lists {'may hold' if with_held else 'leave out'} what they bought before ({why}): "
        f"recall_at_10 {any_product:.4f} with it, {new_only:.4f} without"
    )


def _folds(judged: list[_Judged], with_held: bool, *, may_gate: bool) -> Iterator[Fold]:
    """Every measure of the chosen way against popularity, and always that of new products; habit and ALS are judged alike, without a gate."""
    by_key = {(one.fold, one.model, one.with_held, metric): value for one in judged for metric, value in one.figures.items()}
    for one in judged:
        if one.model == POPULARITY:
            continue
        for metric, value in one.figures.items():
            if metric == RECALL_NEW or one.with_held == with_held:
                baseline = by_key[one.fold, POPULARITY, one.with_held, metric]
                is_gate = may_gate and metric in GATES and one.model == ITEM_ITEM
                yield Fold(one.fold, one.cutoff_on, one.until_on, metric, one.model, value, POPULARITY, baseline, "higher", is_gate=is_gate)


def _als_note(judged: list[_Judged], settings: RecommendationSettings) -> tuple[str, ...]:
    if not settings.compare_als:
        return ()
    ours, theirs = (_mean(judged, model, RECALL_NEW, with_held=False) for model in (ITEM_ITEM, ALS))
    if theirs is None or ours is None:
        return ("ALS was not compared: implicit is not installed",)
    is_better = theirs > ours * (1 + settings.als_margin)
    verdict = "beats item-item by more than the margin: consider it" if is_better else "does not beat item-item by the margin"
    return (f"ALS {verdict} of {settings.als_margin:.0%}: recall_at_10_new {theirs:.4f} against {ours:.4f}; lists are item-item's",)
