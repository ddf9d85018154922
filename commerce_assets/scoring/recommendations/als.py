"""Matrix factorisation (implicit ALS), measured beside item-item and never used for lists.

Y. Hu, Y. Koren, C. Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008), as the package `implicit` computes
it. On the gift retailer's year it is level with item-item for products that are new to a customer (recall of ten 0.0522 against 0.0519,
far within the margin of 5 %), in a made-up shop it is worse than popularity, nowhere does it come near the habit of buying the same
again, and it cannot say why a product is in a list. So `implicit` is no dependency, and the comparison runs only where it is installed
and `compare_als` is set.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from commerce_assets.scoring.recommendations.similarity import Groups, Numbers, best_of_each
from commerce_assets.scoring.threads import one_blas_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FACTORS, REGULARIZATION, ALPHA, ITERATIONS = 32, 0.01, 1.0, 15
CUSTOMERS_A_BLOCK = 512


def is_installed() -> bool:
    """Whether `implicit` can be imported."""
    return find_spec("implicit") is not None


def fit(holds: "csr_matrix", seed: int) -> tuple[Numbers, Numbers]:
    """Factors of customers and products; the same for the same matrix and seed (one thread)."""
    from implicit.als import AlternatingLeastSquares

    with one_blas_thread():
        model = AlternatingLeastSquares(
            factors=FACTORS,
            regularization=REGULARIZATION,
            alpha=ALPHA,
            iterations=ITERATIONS,
            random_state=seed,
            num_threads=1,
            use_gpu=False,
        )
        model.fit(holds.astype(np.float32), show_progress=False)
    return model.user_factors, model.item_factors


def next_purchases_by_als(
    groups: Groups, may_be_recommended: Numbers, best: int, seed: int, *, with_held: bool, customers: Numbers
) -> pl.DataFrame:
    """As `customers.next_purchases` (customer, product, rank), from factors of customers and products."""
    if not len(customers) or not groups.holds.nnz:
        return pl.DataFrame(schema={"customer": pl.Int64, "product": pl.Int64, "rank": pl.Int64})
    user_factors, item_factors = fit(groups.holds, seed)
    found = []
    for start in range(0, len(customers), CUSTOMERS_A_BLOCK):
        rows = customers[start : start + CUSTOMERS_A_BLOCK]
        with one_blas_thread():
            scores = (user_factors[rows] @ item_factors.T).astype(np.float64)
        scores[:, ~may_be_recommended] = -np.inf
        if not with_held:
            scores[groups.holds[rows].nonzero()] = -np.inf
        reach = min(best, scores.shape[1])
        # Ties at the edge stay in, so that which of them is kept is the ranking's to say.
        edge = -np.partition(-scores, reach - 1, axis=1)[:, reach - 1 : reach]
        local, product = np.nonzero((scores >= edge) & np.isfinite(scores))
        chosen, rank = best_of_each(local, scores[local, product], product, best)
        found.append(pl.DataFrame({"customer": rows[local[chosen]], "product": product[chosen].astype(np.int64), "rank": rank}))
    return pl.concat(found)
