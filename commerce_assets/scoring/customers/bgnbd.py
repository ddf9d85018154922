"""BG/NBD: how often customers buy and when they stop. Fitting, and what a fitted model says.

P. S. Fader, B. G. S. Hardie, K. L. Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model,
Marketing Science 24(2), 275-284. A customer buys at rate lambda ~ Gamma(r, rate alpha) and after any purchase but the first leaves with
probability p ~ Beta(a, b). Time is in weeks in the parameters and in days in every argument.

Belongs here: the likelihood and its fit. Does not belong here: what a fitted model expects (purchases.py), money (gamma_gamma.py).
"""

from dataclasses import dataclass

import numpy as np

from commerce_assets.scoring.customers.grouping import coded, is_whole, summed
from commerce_assets.scoring.customers.maximum import Floats, Maximum, maximise
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.threads import one_blas_thread

DAYS_PER_WEEK = 7.0
PARAMETERS = ("r", "alpha", "a", "b")
STARTS = ((0.5, 5.0, 0.8, 2.5), (1.5, 20.0, 0.3, 5.0), (0.2, 1.0, 2.0, 10.0))
BOUNDS = ((1e-3, 1e4), (1e-3, 1e6), (1e-3, 1e4), (1e-3, 1e4))
"""Beyond them a Gamma or Beta is a point: data that drive a parameter there say that customers do not differ in it."""

ROUGH_FROM = 20_000
"""Distinct histories from which on the search begins on coarser ones."""
ROUGH_BINS, ROUGH_REPEATS = 30, 200


@dataclass(frozen=True)
class BgNbd:
    """Parameters of the model; `alpha` in weeks."""

    r: float
    alpha: float
    a: float
    b: float

    def __post_init__(self) -> None:
        if not all(np.isfinite(p) and p > 0 for p in (self.r, self.alpha, self.a, self.b)):
            raise ScoringError(f"BG/NBD parameters have to be positive numbers: {self}")


@dataclass(frozen=True)
class Repeats:
    """Distinct purchase histories with the number of customers who have each: all the likelihood needs.

    `repeats`: purchase days after the first; `last_days`: days from the first to the last purchase (0 without repeats); `age_days`: days
    from the first purchase to the end of what is known.
    """

    repeats: Floats
    last_days: Floats
    age_days: Floats
    customers: Floats

    @property
    def customer_count(self) -> int:
        return int(self.customers.sum())


@dataclass(frozen=True)
class BgNbdFit:
    """A fitted model and how it was found."""

    model: BgNbd
    maximum: Maximum


def grouped_repeats(repeats: Floats, last_days: Floats, age_days: Floats) -> Repeats:
    """Histories, one an element, grouped exactly; the same customers in any order give the same groups.

    Raises ScoringError where a history cannot be: repeats without time between them, or a last purchase after the end.
    """
    x, t, age = (np.asarray(values, dtype=float) for values in (repeats, last_days, age_days))
    if not (x.shape == t.shape == age.shape) or x.ndim != 1:
        raise ScoringError("repeats, last_days and age_days have to be vectors of one length, a customer an element")
    if not (np.isfinite(x).all() and np.isfinite(t).all() and np.isfinite(age).all()):
        raise ScoringError("purchase histories hold NaN or infinity: leave such customers out and count them")
    impossible = (x < 0) | (t < 0) | (t > age) | ((x == 0) != (t == 0))
    if impossible.any():
        at = int(np.argmax(impossible))
        raise ScoringError(
            f"{int(impossible.sum()):,} purchase histories cannot be, such as {x[at]:g} repeats in {t[at]:g} days of {age[at]:g}: "
            "count days with purchases after the first, and measure days from the first purchase"
        )
    widest = int(age.max()) + 1 if age.size else 1
    if is_whole(x) and is_whole(t) and is_whole(age) and (float(x.max(initial=0)) + 1) * widest**2 < 2**62:
        # One number a history sorts many times faster than three columns do.
        codes, customers = np.unique((x.astype(np.int64) * widest + age.astype(np.int64)) * widest + t.astype(np.int64), return_counts=True)
        x, age, t = (part.astype(float) for part in (codes // widest**2, codes // widest % widest, codes % widest))
        return Repeats(x, t, age, customers.astype(float))
    order = np.lexsort((t, age, x))
    x, t, age = x[order], t[order], age[order]
    starts = np.ones(x.size, dtype=bool)
    starts[1:] = (np.diff(x) != 0) | (np.diff(age) != 0) | (np.diff(t) != 0)
    positions = np.flatnonzero(starts)
    return Repeats(x[positions], t[positions], age[positions], np.diff(np.append(positions, x.size)).astype(float))


def fit_bgnbd(histories: Repeats) -> BgNbdFit:
    """Maximum likelihood with analytic gradient and Hessian from fixed starts; deterministic.

    Raises ScoringError for histories without any repeat purchase: nothing can be said of gaps then.
    """
    if not (histories.repeats > 0).any():
        raise ScoringError("no customer has bought twice: a BG/NBD cannot be fitted, use the fallback")
    with one_blas_thread():
        likelihood = BgNbdLikelihood(histories)
        rough = BgNbdLikelihood(_coarser(histories)) if histories.repeats.size > ROUGH_FROM else None
        maximum = maximise(likelihood, STARTS, BOUNDS, float(histories.customers.sum()), rough=rough)
    return BgNbdFit(BgNbd(*maximum.parameters), maximum)


class BgNbdLikelihood:
    """The log-likelihood of grouped histories as a function of (r, alpha, a, b): equation (6) of the paper, summed over customers.

    What depends on the number of repeats alone is computed once a number; the rest once a distinct history.
    """

    def __init__(self, histories: Repeats) -> None:
        once = histories.repeats == 0
        once_days, self.once_n = summed(histories.age_days[once], histories.customers[once])
        self.once_age = once_days / DAYS_PER_WEEK
        again = ~once
        self.x = histories.repeats[again]
        self.n = histories.customers[again]
        last_days, self.last_at = coded(histories.last_days[again])
        age_days, self.age_at = coded(histories.age_days[again])
        self.last, self.age = last_days / DAYS_PER_WEEK, age_days / DAYS_PER_WEEK
        self.counts, self.counts_n = summed(histories.repeats, histories.customers)
        self.again_counts, self.again_at = coded(self.x)

    def __call__(self, parameters: Floats, *, with_hessian: bool) -> tuple[float, Floats, Floats | None]:
        r, alpha, a, b = (float(p) for p in parameters)
        value, gradient, hessian = self._by_count(r, alpha, a, b, with_hessian)
        value -= r * float(self.once_n @ np.log(alpha + self.once_age))
        gradient[0] -= self.once_n @ np.log(alpha + self.once_age)
        gradient[1] -= r * (self.once_n @ (1 / (alpha + self.once_age)))

        # A customer who bought again is alive (weight 1 - w) or left after the last purchase (w); `odds` is the logarithm of w / (1 - w).
        shape, n = r + self.x, self.n
        by_age, by_last = 1 / (alpha + self.age), 1 / (alpha + self.last)
        log_age, over_age, over_last = np.log(alpha + self.age)[self.age_at], by_age[self.age_at], by_last[self.last_at]
        longer = log_age - np.log(alpha + self.last)[self.last_at]
        # The table of counts begins at 0, which no row here has; b may be as small as there.
        chances = np.maximum(self.again_counts, 1) + (b - 1)
        over_chance = (1 / chances)[self.again_at]
        odds = shape * longer + (np.log(a) - np.log(chances))[self.again_at]
        tail = np.exp(-np.abs(odds))
        value += float(n @ (np.maximum(odds, 0) + np.log1p(tail) - shape * log_age))
        left = np.where(odds >= 0, 1.0, tail) / (1 + tail)
        n_left = n * left
        closer = shape * (over_age - over_last)  # d odds / d alpha
        gradient += (
            n_left @ longer - n @ log_age,
            n_left @ closer - n @ (shape * over_age),
            n_left.sum() / a,
            -(n_left @ over_chance),
        )
        if hessian is None:
            return value, gradient, None
        hessian[0, 1] -= self.once_n @ (1 / (alpha + self.once_age))
        hessian[1, 1] += r * (self.once_n @ (1 / (alpha + self.once_age) ** 2))
        hessian[0, 1] += n_left @ (over_age - over_last) - n @ over_age
        hessian[1, 1] += n @ (shape * over_age**2) - n_left @ (shape * (over_age**2 - over_last**2))
        hessian[2, 2] -= n_left.sum() / a**2
        hessian[3, 3] += n_left @ over_chance**2
        spread = n_left * (1 - left)
        slopes = np.stack([longer, closer, np.full_like(longer, 1 / a), -over_chance])
        hessian = np.triu(hessian) + np.triu(hessian, 1).T + (slopes * spread) @ slopes.T
        return value, gradient, hessian

    def _by_count(self, r: float, alpha: float, a: float, b: float, with_hessian: bool) -> tuple[float, Floats, Floats | None]:
        """The terms in the number of repeats alone; the Hessian's upper triangle."""
        from scipy.special import digamma, gammaln, polygamma

        x, n, total = self.counts, self.counts_n, self.counts_n.sum()
        value = n @ (gammaln(r + x) + gammaln(b + x) - gammaln(a + b + x))
        value += total * (r * np.log(alpha) - gammaln(r) - gammaln(b) + gammaln(a + b))
        both = n @ digamma(a + b + x) - total * digamma(a + b)
        gradient = np.array(
            [
                n @ digamma(r + x) - total * (digamma(r) - np.log(alpha)),
                total * r / alpha,
                -both,
                n @ digamma(b + x) - total * digamma(b) - both,
            ]
        )
        if not with_hessian:
            return float(value), gradient, None
        both = n @ polygamma(1, a + b + x) - total * polygamma(1, a + b)
        hessian = np.zeros((4, 4))
        hessian[0, 0] = n @ polygamma(1, r + x) - total * polygamma(1, r)
        hessian[0, 1] = total / alpha
        hessian[1, 1] = -total * r / alpha**2
        hessian[2, 2] = hessian[2, 3] = -both
        hessian[3, 3] = n @ polygamma(1, b + x) - total * polygamma(1, b) - both
        return float(value), gradient, hessian


def _coarser(histories: Repeats) -> Repeats:
    """Fewer histories for as many customers: those of like age, silence and repeats become their mean, so that little is lost."""
    width = float(histories.age_days.max()) / ROUGH_BINS + 1e-9
    x = np.minimum(histories.repeats, ROUGH_REPEATS).astype(np.intp)
    at = (x * ROUGH_BINS + (histories.age_days // width).astype(np.intp)) * ROUGH_BINS + (histories.last_days // width).astype(np.intp)
    customers = np.bincount(at, histories.customers)
    kept = customers > 0
    repeats, last, age = (
        np.bincount(at, values * histories.customers)[kept] / customers[kept]
        for values in (histories.repeats, histories.last_days, histories.age_days)
    )
    return Repeats(repeats, last, age, customers[kept])
