"""Maximum likelihood of positive parameters, found by Newton's method on their logarithms, with honest convergence and standard errors.

Belongs here: the search and what follows from the curvature at its end. Does not belong here: any likelihood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Floats = np.ndarray

TOLERANCE = 1e-8
"""Largest slope of the mean log-likelihood, per unit of a parameter's logarithm, at what is called a maximum."""
SAME_HEIGHT = 1e-9
"""Difference of mean log-likelihoods that may be rounding: with shapes of 1e4 their terms are some 1e5, each exact to 1e-11."""
NEWTON_STEPS = 50


class LogLikelihood(Protocol):
    """The log-likelihood at positive parameters, its gradient, and its Hessian where asked for (else None)."""

    def __call__(self, parameters: Floats, *, with_hessian: bool) -> tuple[float, Floats, Floats | None]: ...


@dataclass(frozen=True)
class Maximum:
    """Where a search ended."""

    parameters: tuple[float, ...]
    log_likelihood: float
    is_converged: bool
    """The mean log-likelihood's slope is below TOLERANCE in every parameter that is not at a bound, and it curves downwards there."""
    slope: float
    """The largest of those slopes."""
    covariance_of_logs: Floats
    """Inverse of the observed information about the parameters' logarithms; zero for a parameter at a bound."""
    at_bound: tuple[bool, ...]

    @property
    def standard_errors(self) -> tuple[float | None, ...]:
        """Of the parameters, by the delta method; None where a parameter is at its bound or the search did not converge."""
        errors = np.array(self.parameters) * np.sqrt(np.maximum(np.diag(self.covariance_of_logs), 0.0))
        return tuple(float(e) if self.is_converged and not b else None for e, b in zip(errors, self.at_bound, strict=True))


def maximise(
    likelihood: LogLikelihood,
    starts: Sequence[Sequence[float]],
    bounds: Sequence[tuple[float, float]],
    weight: float,
    *,
    rough: LogLikelihood | None = None,
) -> Maximum:
    """The best maximum found from `starts` within `bounds` (of the parameters); `weight` is the number of observations.

    From each start a quasi-Newton search (L-BFGS-B), on a `rough` likelihood of as many observations where there is one that costs less, and
    from the best of their ends Newton's own steps on the likelihood itself, so that the slope at the end is that of rounding.
    """
    from scipy.optimize import minimize

    low, high = np.log(np.array(bounds)).T

    def cost(logs: Floats) -> tuple[float, Floats]:
        parameters = np.exp(logs)
        value, gradient, _ = (rough or likelihood)(parameters, with_hessian=False)
        if not np.isfinite(value):
            return 1e300, np.zeros_like(logs)
        return -value / weight, -gradient * parameters / weight

    best: tuple[float, Floats] | None = None
    for start in starts:
        found = minimize(
            cost, np.clip(np.log(start), low, high), jac=True, method="L-BFGS-B", bounds=list(zip(low, high, strict=True)), tol=1e-10
        )
        # A start that ends at the same height within rounding does not take over: the result must not hang on the last digit.
        if best is None or found.fun < best[0] - SAME_HEIGHT:
            best = (float(found.fun), found.x)
    assert best is not None, "a search needs a start"
    return _polished(likelihood, best[1], low, high, weight)


def _polished(likelihood: LogLikelihood, logs: Floats, low: Floats, high: Floats, weight: float) -> Maximum:
    """Newton's method from near a maximum, halving steps that do not climb."""
    value, slope, curvature = _at(likelihood, logs, weight)
    for _ in range(NEWTON_STEPS):
        free = _is_free(logs, slope, low, high)
        if not free.any() or np.abs(slope[free]).max() < TOLERANCE / 10:
            break
        step = np.zeros_like(logs)
        step[free] = _ascent(slope[free], curvature[np.ix_(free, free)])
        for halving in range(30):
            tried = np.clip(logs + step / 2**halving, low, high)
            there = _at(likelihood, tried, weight)
            # Near the top the height tells nothing more, least where a parameter is at a large bound; the slope still does.
            is_flatter = np.abs(there[1][free]).max() < np.abs(slope[free]).max()
            if there[0] > value or (halving == 0 and there[0] > value - SAME_HEIGHT and is_flatter):
                break
        else:
            break
        logs, (value, slope, curvature) = tried, there
    free = _is_free(logs, slope, low, high)
    steepest = float(np.abs(slope[free]).max()) if free.any() else 0.0
    information = -curvature[np.ix_(free, free)] * weight
    is_peak = bool(np.isfinite(information).all() and (not free.any() or np.linalg.eigvalsh(information).min() > 0))
    covariance = np.zeros_like(curvature)
    if is_peak and free.any():
        covariance[np.ix_(free, free)] = np.linalg.inv(information)
    return Maximum(
        parameters=tuple(float(p) for p in np.exp(logs)),
        log_likelihood=float(value * weight),
        is_converged=bool(steepest < TOLERANCE and is_peak and free.any()),
        slope=steepest,
        covariance_of_logs=covariance,
        at_bound=tuple(bool(fixed) for fixed in ~free),
    )


def _at(likelihood: LogLikelihood, logs: Floats, weight: float) -> tuple[float, Floats, Floats]:
    """Mean log-likelihood with slope and curvature by the parameters' logarithms."""
    parameters = np.exp(logs)
    value, gradient, hessian = likelihood(parameters, with_hessian=True)
    assert hessian is not None
    slope = gradient * parameters
    return value / weight, slope / weight, (hessian * np.outer(parameters, parameters) + np.diag(slope)) / weight


def _is_free(logs: Floats, slope: Floats, low: Floats, high: Floats) -> Floats:
    """Not held at a bound by a slope that points outwards."""
    held: Floats = ((logs <= low + 1e-9) & (slope <= 0)) | ((logs >= high - 1e-9) & (slope >= 0))
    return ~held


def _ascent(slope: Floats, curvature: Floats) -> Floats:
    """Newton's step, with the curvature bent downwards where it is not, and no longer than a factor e."""
    values, vectors = np.linalg.eigh(curvature)
    step: Floats = vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), 1e-12))
    return step / max(1.0, float(np.abs(step).max()))
