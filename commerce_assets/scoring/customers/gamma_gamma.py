"""Gamma-gamma: what a purchase of a customer is worth on average. Fitting, and what a fitted model expects.

P. S. Fader, B. G. S. Hardie (2013), "The Gamma-Gamma Model of Monetary Value" (note 025). A purchase is worth Gamma(p, rate nu),
nu ~ Gamma(q, rate v) by customer. Values are net of refunds, cancellations and tax, of a day with purchases, in one currency.

Belongs here: the likelihood, its fit, the conditional expectation and spread. Does not belong here: how often (bgnbd.py).
"""

from dataclasses import dataclass

import numpy as np

from commerce_assets.scoring.customers.grouping import summed
from commerce_assets.scoring.customers.maximum import Floats, Maximum, maximise
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.threads import one_blas_thread

PARAMETERS = ("p", "q", "v")
BOUNDS = ((1e-2, 1e4), (1e-2, 1e4), (1e-4, 1e9))
START_SHAPES = ((6.0, 4.0), (2.0, 2.5), (1.0, 8.0))
ROUGH_FROM = 20_000
"""Customers from which on the search begins on groups of like ones."""
ROUGH_BINS, ROUGH_PURCHASES = 200, 50


@dataclass(frozen=True)
class GammaGamma:
    """Parameters of the model; `v` in the currency of the values."""

    p: float
    q: float
    v: float

    def __post_init__(self) -> None:
        if not all(np.isfinite(part) and part > 0 for part in (self.p, self.q, self.v)) or self.q <= 1:
            raise ScoringError(
                f"gamma-gamma parameters have to be positive and q above 1, or a new customer's mean spend is infinite: {self}"
            )

    @property
    def mean_spend(self) -> float:
        """Of a purchase of a customer nothing is known of: p v / (q - 1)."""
        return self.p * self.v / (self.q - 1)


@dataclass(frozen=True)
class GammaGammaFit:
    """A fitted model (None where the likelihood has no maximum with a mean) and how it was found."""

    model: GammaGamma | None
    maximum: Maximum
    customers: int
    excluded: int
    """Customers without positive spend: of them the likelihood, which knows no such values, says nothing."""


def fit_gamma_gamma(purchases: Floats, spend: Floats) -> GammaGammaFit:
    """Maximum likelihood over customers with positive total `spend` over `purchases` (at least 1), analytic gradient and Hessian.

    The order of customers matters no more than rounding does. Raises ScoringError where nobody has positive spend.
    """
    count, total = np.asarray(purchases, dtype=float), np.asarray(spend, dtype=float)
    usable = (count > 0) & (total > 0) & np.isfinite(total)
    count, total = count[usable], total[usable]
    if not count.size:
        raise ScoringError("no customer has positive spend: a gamma-gamma cannot be fitted, use the fallback")
    mean = float((total / count).mean())
    # In units of the mean spend, so that starts and bounds suit every currency.
    starts = [(p, q, (q - 1) / p) for p, q in START_SHAPES]
    with one_blas_thread():
        likelihood = GammaGammaLikelihood(count, total / mean)
        rough = GammaGammaLikelihood(*_coarser(count, total / mean)) if count.size > ROUGH_FROM else None
        maximum = maximise(likelihood, starts, BOUNDS, float(count.size), rough=rough)
    p, q, v = maximum.parameters
    shift = float(count.size) * np.log(mean)
    maximum = Maximum(
        (p, q, v * mean),
        maximum.log_likelihood - shift,
        maximum.is_converged,
        maximum.slope,
        maximum.covariance_of_logs,
        maximum.at_bound,
    )
    model = GammaGamma(*maximum.parameters) if maximum.is_converged and q > 1.01 else None
    return GammaGammaFit(model, maximum, count.size, int((~usable).sum()))


def conditional_spend(model: GammaGamma, purchases: Floats, spend: Floats) -> Floats:
    """E[M | history]: a purchase's mean value, p (v + x m) / (p x + q - 1) (equation (5)); total `spend` below 0 counts as 0."""
    rate = model.v + np.maximum(spend, 0.0)
    mean: Floats = model.p * rate / (model.p * purchases + model.q - 1)
    return mean


def spend_moments(model: GammaGamma, purchases: Floats, spend: Floats) -> tuple[Floats, Floats]:
    """Given a history, of two different purchases to come the mean product, and of one the mean square.

    nu | history ~ Gamma(q + p x, v + x m). Where that has no second moment (q + p x <= 2) the spread about the mean is that of shape 2.1: wide,
    not infinite.
    """
    rate = model.v + np.maximum(spend, 0.0)
    shape = model.p * purchases + model.q
    wide = np.maximum(shape, 2.1)
    over_nu_squared = (rate / (shape - 1)) ** 2 * (wide - 1) / (wide - 2)
    return model.p**2 * over_nu_squared, model.p * (model.p + 1) * over_nu_squared


class GammaGammaLikelihood:
    """Log-likelihood of customers' mean values as a function of (p, q, v): equation (1) of the note, its density of the mean m.

    `customers`: how many have these purchases and spend; one each where it is not given.
    """

    def __init__(self, purchases: Floats, spend: Floats, customers: Floats | None = None) -> None:
        n = np.ones_like(spend) if customers is None else customers
        self.spend, self.n, self.purchases_n = spend, n, purchases * n
        self.customers = float(n.sum())
        self.counts, self.counts_n = summed(purchases, n)
        logs = np.log(spend)
        self.purchases_of_log = float(self.purchases_n @ logs)
        self.logs_of_mean = float(n @ logs) - float(self.counts_n @ np.log(self.counts))

    def __call__(self, parameters: Floats, *, with_hessian: bool) -> tuple[float, Floats, Floats | None]:
        from scipy.special import digamma, gammaln, polygamma

        p, q, v = (float(part) for part in parameters)
        x, n, customers = self.counts, self.counts_n, self.customers
        rates = v + self.spend
        logs, over = np.log(rates), 1 / rates
        log_sum, weighted_logs = self.n @ logs, self.purchases_n @ logs
        over_sum, weighted_over = self.n @ over, self.purchases_n @ over
        value = n @ (gammaln(p * x + q) - gammaln(p * x)) + customers * (q * np.log(v) - gammaln(q))
        # (p x - 1) ln m + p x ln x = p x ln(x m) - ln m
        value += p * self.purchases_of_log - self.logs_of_mean - p * weighted_logs - q * log_sum
        together = digamma(p * x + q)
        gradient = np.array(
            [
                (n * x) @ (together - digamma(p * x)) + self.purchases_of_log - weighted_logs,
                n @ together + customers * (np.log(v) - digamma(q)) - log_sum,
                customers * q / v - p * weighted_over - q * over_sum,
            ]
        )
        if not with_hessian:
            return float(value), gradient, None
        bend = polygamma(1, p * x + q)
        over_squared = over**2
        pp = (n * x**2) @ (bend - polygamma(1, p * x))
        pq, pv = (n * x) @ bend, -weighted_over
        qq, qv = n @ bend - customers * polygamma(1, q), customers / v - over_sum
        vv = -customers * q / v**2 + p * (self.purchases_n @ over_squared) + q * (self.n @ over_squared)
        return float(value), gradient, np.array([[pp, pq, pv], [pq, qq, qv], [pv, qv, vv]])


def _coarser(purchases: Floats, spend: Floats) -> tuple[Floats, Floats, Floats]:
    """Purchases, spend and number of customers in groups of like ones, each their mean (of spend the geometric one)."""
    logs = np.log(spend)
    low, width = float(logs.min()), max(float(np.ptp(logs)), 1e-9) / ROUGH_BINS * (1 + 1e-9)
    at = np.minimum(purchases, ROUGH_PURCHASES).astype(np.intp) * ROUGH_BINS + ((logs - low) / width).astype(np.intp)
    customers = np.bincount(at)
    kept = customers > 0
    n = customers[kept].astype(float)
    return np.bincount(at, purchases)[kept] / n, np.exp(np.bincount(at, logs)[kept] / n), n
