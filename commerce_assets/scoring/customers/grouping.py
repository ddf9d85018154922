"""Equal values found once: the likelihoods compute what hangs on one number alone once a number, not once a customer."""

import numpy as np

from commerce_assets.scoring.customers.maximum import Floats


def coded(values: Floats) -> tuple[Floats, Floats]:
    """A table of values, and where each value is in it: whole numbers are their own places, others those among the distinct ones."""
    if values.size and is_whole(values) and values.max() < 100_000:
        return np.arange(values.max() + 1, dtype=float), values.astype(np.intp)
    distinct, at = np.unique(values, return_inverse=True)
    return distinct, at


def summed(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Distinct values and the weight of each."""
    table, at = coded(values)
    sums = np.bincount(at, weights, table.size)
    return table[sums > 0], sums[sums > 0]


def is_whole(values: Floats) -> bool:
    """Whether all values are whole numbers."""
    return bool((values == np.floor(values)).all())
