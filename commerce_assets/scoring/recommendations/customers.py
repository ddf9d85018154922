"""What a customer may buy next: votes of what he holds, and his habit of buying the same again.

    score(customer, j) = sum over the products i he holds of s_ij  +  w r_j sum over his orders of j of 2^(-age / half-life)

s_ij is the similarity by customers, of each i's nearest neighbours only (M. Deshpande, G. Karypis, "Item-based top-N recommendation
algorithms", ACM TOIS 2004); r_j is the share of j's buyers who came back for it, shrunk towards rare. The second part is there only
where lists may hold what a customer has already.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from commerce_assets.scoring.recommendations.settings import RecommendationSettings
from commerce_assets.scoring.recommendations.similarity import Groups, Numbers, best_of_each, blocks_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

REPEAT_PRIOR_BUYERS, REPEAT_PRIOR_REPEATERS = 20.0, 1.0
"""Twenty buyers of whom one came back are added to each product's own."""


@dataclass(frozen=True)
class Histories:
    """Customers by what they bought."""

    groups: Groups
    habit: "csr_matrix"
    """Customers x products: orders, each counting half after the half-life."""
    repeat_rate: Numbers
    """Of each product's buyers, who came back for it (shrunk)."""


def histories_of(lines: pl.DataFrame, groups: Groups, as_of: date, settings: RecommendationSettings) -> Histories:
    """`groups`: customers with all that they hold."""
    from scipy.sparse import csr_matrix

    mine = lines.drop_nulls("customer_id").sort("customer_id", "product", "ordered_on", "order_id")
    rows = np.searchsorted(groups.ids, mine["customer_id"].to_numpy())
    ages = mine.select(age_days=(pl.lit(as_of) - pl.col("ordered_on")).dt.total_days())["age_days"].to_numpy()
    weights = np.exp2(-ages / settings.repeat_half_life_days)
    shape = groups.holds.shape
    habit = csr_matrix((weights, (rows, mine["product"].to_numpy())), shape=shape)
    repeaters = mine.group_by("customer_id", "product").len().filter(pl.col("len") > 1).group_by("product").len().sort("product")
    came_back = np.zeros(shape[1])
    came_back[repeaters["product"].to_numpy()] = repeaters["len"].to_numpy()
    buyers = np.asarray(groups.holds.sum(axis=0)).ravel()
    return Histories(groups, habit, (came_back + REPEAT_PRIOR_REPEATERS) / (buyers + REPEAT_PRIOR_BUYERS))


def similar_matrix(pairs: pl.DataFrame, products: int) -> "csr_matrix":
    """Products x products: each row's neighbours with their similarity."""
    from scipy.sparse import csr_matrix

    shape = (products, products)
    return csr_matrix((pairs["score"].to_numpy(), (pairs["product"].to_numpy(), pairs["other"].to_numpy())), shape=shape)


def next_purchases(
    histories: Histories,
    similar: "csr_matrix",
    may_be_recommended: Numbers,
    best: int,
    settings: RecommendationSettings,
    *,
    with_held: bool,
    customers: Numbers | None = None,
) -> pl.DataFrame:
    """The `best` products of each customer (of `customers`, rows of the histories; None: of all).

    customer (row), product, rank from 1, score, is_held. Sorted by customer and rank; ties go to the lower id.
    """
    rows = np.arange(histories.groups.holds.shape[0]) if customers is None else customers
    found = [
        _best_of(histories, similar, may_be_recommended, best, settings, rows[start:end], with_held)
        for start, end in _blocks(histories, similar, rows)
    ]
    schema = {"customer": pl.Int64, "product": pl.Int64, "rank": pl.Int64, "score": pl.Float64, "is_held": pl.Boolean}
    return pl.concat(found) if found else pl.DataFrame(schema=schema)


def best_reasons(next_bought: pl.DataFrame, held: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """For each row of `next_bought` the held product that speaks most for it: customer, product, because (product), support_count.

    `held`: customer, product. Rows that nothing held speaks for are not there.
    """
    wanted = next_bought.select("customer", "product")
    votes = pairs.select(because="product", product="other", vote="score", support_count="support_count")
    found = []
    heights = held.group_by("customer").len().sort("customer")
    deepest = max(next_bought["rank"].unique().to_list(), default=1)
    for start, end in blocks_of(heights["len"].to_numpy() * deepest):
        customers = heights["customer"][start:end].implode()
        some_held = held.filter(pl.col("customer").is_in(customers)).select("customer", because="product")
        some = wanted.filter(pl.col("customer").is_in(customers)).join(some_held, on="customer").join(votes, on=["because", "product"])
        in_order = some.sort(["customer", "product", "vote", "because"], descending=[False, False, True, False])
        found.append(in_order.unique(["customer", "product"], keep="first", maintain_order=True))
    empty = wanted.head(0).with_columns(because=pl.lit(None, pl.Int64), support_count=pl.lit(None, pl.Int64))
    return pl.concat([empty, *(one.select(empty.columns) for one in found)])


def _best_of(
    histories: Histories,
    similar: "csr_matrix",
    may_be_recommended: Numbers,
    best: int,
    settings: RecommendationSettings,
    rows: Numbers,
    with_held: bool,
) -> pl.DataFrame:
    from scipy.sparse import diags

    held = histories.groups.holds[rows]
    scores = (held @ similar).tocsr()
    if with_held:
        scores = scores + histories.habit[rows] @ diags(settings.repeat_weight * histories.repeat_rate)
    marked = scores.tocoo()
    # Rounded, so that equal sums tie whatever order they were added up in.
    customer, product, score = marked.row.astype(np.int64), marked.col.astype(np.int64), np.round(marked.data, 12)
    is_held = np.isin(customer * held.shape[1] + product, _keys(held))
    keep = may_be_recommended[product] & (score > 0) & (with_held | ~is_held)
    customer, product, score, is_held = customer[keep], product[keep], score[keep], is_held[keep]
    chosen, rank = best_of_each(customer, score, product, best)
    return pl.DataFrame(
        {"customer": rows[customer[chosen]], "product": product[chosen], "rank": rank, "score": score[chosen], "is_held": is_held[chosen]}
    )


def _keys(matrix: "csr_matrix") -> Numbers:
    """Row and column of each entry as one number."""
    entries = matrix.tocoo()
    return entries.row.astype(np.int64) * matrix.shape[1] + entries.col


def _blocks(histories: Histories, similar: "csr_matrix", rows: Numbers) -> Iterator[tuple[int, int]]:
    """Ranges of customers, by an upper bound of the products that are considered for each of them."""
    holds = histories.groups.holds[rows]
    votes = holds @ np.diff(similar.indptr).astype(np.float64) + np.diff(holds.indptr)
    return blocks_of(np.minimum(votes, holds.shape[1]))
