"""Which products are alike by who bought them, or by which orders hold both: item-item similarity over sparse matrices.

**Similarity.** With n_ij groups (orders or customers) that hold both products, and n_i, n_j that hold either, of product i towards j

    s_ij = n_ij / (n_i^(1 - d) n_j^d)  *  n_ij / (n_ij + k)

The first factor is the asymmetric cosine of F. Aiolli, "Efficient top-N recommendation for very large scale binary rated datasets"
(RecSys 2013), equation 4: d = 1/2 is the cosine, d = 0 the share of i's buyers who also bought j, and a larger d counts a product's
popularity against it. The second shrinks what few observations say (R. Bell, Y. Koren, "Improved neighborhood-based collaborative
filtering", KDD-Cup 2007, section 2.2). Pairs that meet no more often than by chance (n_ij N <= n_i n_j) are none.

Belongs here: matrices, pairs, the best of each row. Does not belong here: what a list may hold, and words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.recommendations.settings import RecommendationSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Numbers = NDArray[Any]
BLOCK_PAIRS = 2_000_000
"""Pairs held in memory at a time."""


@dataclass(frozen=True)
class Groups:
    """Orders or customers by the products they hold."""

    ids: Numbers
    """Of the groups, sorted."""
    holds: "csr_matrix"
    """Groups x products, 1 where held."""
    too_large: int
    """Groups left out of pairs for holding too many products."""


def groups_of(lines: pl.DataFrame, by: str, products: int, *, largest: int | None = None) -> Groups:
    """Distinct products of each `by` (order_id or customer_id; null is nobody); groups above `largest` are emptied."""
    from scipy.sparse import csr_matrix

    distinct = lines.select(by, "product").drop_nulls().unique().sort(by, "product")
    ids = distinct.get_column(by).unique(maintain_order=True)
    sizes = distinct.group_by(by, maintain_order=True).len().get_column("len").to_numpy().astype(np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    columns = distinct.get_column("product").to_numpy()
    too_large = 0
    if largest is not None and len(sizes):
        keep = sizes <= largest
        too_large = int((~keep).sum())
        columns = columns[np.repeat(keep, sizes)]
        starts = np.concatenate(([0], np.cumsum(np.where(keep, sizes, 0))))
    holds = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(sizes), products))
    return Groups(ids.to_numpy(), holds, too_large)


def best_pairs(groups: Groups, may_be_recommended: Numbers, best: int, settings: RecommendationSettings) -> pl.DataFrame:
    """For each product its `best` most similar ones among those that may be recommended, never itself.

    product, other (numbers in the catalogue), rank from 1, score 0 to 1, support_count (groups with both), product_count and
    other_count (groups with either), lift (times as often together as by chance). Ties: more support first, then the lower id.
    """
    holds = groups.holds
    counts = np.asarray(holds.sum(axis=0)).ravel()
    together = holds.T.tocsr()
    found = []
    for start, end in _blocks(holds, together):
        block = (together[start:end] @ holds).tocoo()
        rows, others, support = block.row.astype(np.int64) + start, block.col.astype(np.int64), block.data
        chance = counts[rows] * counts[others] / max(holds.shape[0], 1)
        keep = (support >= settings.min_support) & (rows != others) & may_be_recommended[others] & (support > chance)
        rows, others, support = rows[keep], others[keep], support[keep]
        damping = settings.popularity_damping
        cosine = support / (counts[rows] ** (1 - damping) * counts[others] ** damping)
        # Rounded, so that what is equal on paper ties and is not ranked by its last bit.
        score = np.round(cosine * support / (support + settings.shrinkage), 12)
        chosen, rank = best_of_each(rows, score, others, best, support)
        found.append(
            pl.DataFrame(
                {"product": rows[chosen], "other": others[chosen], "rank": rank, "score": score[chosen], "support": support[chosen]}
            )
        )
    pairs = (
        pl.concat(found)
        if found
        else pl.DataFrame(schema={"product": pl.Int64, "other": pl.Int64, "rank": pl.Int64, "score": pl.Float64, "support": pl.Float64})
    )
    product_count, other_count = counts[pairs["product"].to_numpy()], counts[pairs["other"].to_numpy()]
    return pairs.select(
        "product",
        "other",
        "rank",
        "score",
        support_count=pl.col("support").cast(pl.Int64),
        product_count=pl.Series(product_count).cast(pl.Int64),
        other_count=pl.Series(other_count).cast(pl.Int64),
        lift=pl.col("support") * holds.shape[0] / pl.Series(product_count * other_count),
    )


def best_of_each(rows: Numbers, score: Numbers, ids: Numbers, best: int, support: Numbers | None = None) -> tuple[Numbers, Numbers]:
    """Positions of the `best` highest scores of each row, by row and rank, and their ranks from 1; ties by support, then by lower id.

    `rows` must not decrease.
    """
    near = np.flatnonzero(score >= _edges(rows, score, best))
    keys = [ids[near], *([] if support is None else [-support[near]]), -score[near], rows[near]]
    order = near[np.lexsort(keys)]
    starts, lengths = _runs(rows[order])
    rank = np.arange(len(order), dtype=np.int64) - np.repeat(starts, lengths) + 1
    keep = rank <= best
    return order[keep], rank[keep]


def blocks_of(costs: Numbers) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose costs add up to at most `BLOCK_PAIRS`; a row that costs more stands alone."""
    ends = np.cumsum(costs)
    start = 0
    while start < len(costs):
        before = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, before + BLOCK_PAIRS, side="right")), start + 1)
        yield start, end
        start = end


def _blocks(holds: "csr_matrix", together: "csr_matrix") -> Iterator[tuple[int, int]]:
    """Ranges of products, by an upper bound of the pairs each of them is in."""
    sizes = np.diff(holds.indptr).astype(np.float64)
    return blocks_of(np.minimum(together @ sizes, holds.shape[1]))


def _runs(rows: Numbers) -> tuple[Numbers, Numbers]:
    """Start and length of each run of equal numbers."""
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1]))) if len(rows) else np.empty(0, np.int64)
    return starts, np.diff(np.concatenate((starts, [len(rows)])))


def _edges(rows: Numbers, score: Numbers, best: int) -> Numbers:
    """For each entry the score that its row's `best`-highest has: what lies below need not be sorted.

    Rows of like length are laid side by side, padded by at most their own length, and partitioned.
    """
    starts, lengths = _runs(rows)
    edge = np.full(len(starts), -np.inf)
    widths = np.exp2(np.ceil(np.log2(np.maximum(lengths, 1)))).astype(np.int64)
    for width in np.unique(widths[lengths > best]):
        long = np.flatnonzero((widths == width) & (lengths > best))
        places = np.arange(width)
        positions = np.minimum(starts[long, None] + places, len(score) - 1)
        padded = np.where(places < lengths[long, None], score[positions], -np.inf)
        edge[long] = np.partition(padded, width - best, axis=1)[:, width - best]
    return np.repeat(edge, lengths)
