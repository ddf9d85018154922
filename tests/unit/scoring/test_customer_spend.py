"""Gamma-gamma: likelihood, fit, conditional expectation and spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import gamma as gamma_law

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.customers import GammaGamma, conditional_spend, fit_gamma_gamma
from commerce_assets.scoring.customers.gamma_gamma import GammaGammaLikelihood, spend_moments


def drawn_spend(customers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 9, customers).astype(float)
    return count, rng.gamma(5.0 * count, 1.0) / rng.gamma(3.8, 1 / 38.0, customers)


def test_likelihood_is_the_mean_values_density_under_the_two_gammas() -> None:
    x, mean, p, q, v = 3.0, 22.0, 4.0, 3.0, 30.0
    density, _ = quad(lambda nu: gamma_law.pdf(mean, p * x, scale=1 / (nu * x)) * gamma_law.pdf(nu, q, scale=1 / v), 0, 5)
    value, _, _ = GammaGammaLikelihood(np.array([x]), np.array([x * mean]))(np.array([p, q, v]), with_hessian=False)
    assert value == pytest.approx(np.log(density), rel=1e-8)


def test_gradient_and_hessian_are_those_of_the_likelihood() -> None:
    likelihood = GammaGammaLikelihood(*drawn_spend(100, 2))
    at = np.array([4.0, 3.0, 30.0])
    _, gradient, hessian = likelihood(at, with_hessian=True)
    for position in range(3):
        move = np.eye(3)[position] * 1e-5
        above, below = likelihood(at + move, with_hessian=False), likelihood(at - move, with_hessian=False)
        assert gradient[position] == pytest.approx((above[0] - below[0]) / 2e-5, rel=1e-6, abs=1e-4)
        assert hessian[position] == pytest.approx((above[1] - below[1]) / 2e-5, rel=1e-5, abs=1e-4)


def test_recovers_its_parameters_in_any_currency() -> None:
    count, total = drawn_spend(5_000, 4)
    fit, in_yen = fit_gamma_gamma(count, total), fit_gamma_gamma(count, total * 190)
    for found, truth, error in zip(fit.maximum.parameters, (5.0, 3.8, 38.0), fit.maximum.standard_errors, strict=True):
        assert error is not None
        assert abs(found - truth) < 3 * error
    assert fit.model is not None
    assert in_yen.model is not None
    assert in_yen.model.v == pytest.approx(fit.model.v * 190, rel=1e-7)
    assert in_yen.model.p == pytest.approx(fit.model.p, rel=1e-7)
    value, _, _ = GammaGammaLikelihood(count, total * 190)(np.array(in_yen.maximum.parameters), with_hessian=False)
    assert in_yen.maximum.log_likelihood == pytest.approx(value, rel=1e-10)


def test_zero_and_negative_spenders_are_left_out_of_the_likelihood_and_expected_to_spend_something() -> None:
    count, total = drawn_spend(500, 6)
    some = fit_gamma_gamma(count, total)
    more = fit_gamma_gamma(np.append(count, [2, 1]), np.append(total, [0.0, -5.0]))
    assert (more.customers, more.excluded) == (500, 2)
    assert more.maximum.parameters == some.maximum.parameters
    model = GammaGamma(5, 3.8, 38)
    nothing, refunded, never = conditional_spend(model, np.array([2.0, 2.0, 0.0]), np.array([0.0, -80.0, 0.0]))
    assert nothing == refunded == pytest.approx(5 * 38 / (5 * 2 + 2.8))
    assert never == pytest.approx(model.mean_spend)
    with pytest.raises(ScoringError, match="positive spend"):
        fit_gamma_gamma(np.array([1.0]), np.array([0.0]))
    with pytest.raises(ScoringError, match="q above 1"):
        GammaGamma(1, 0.9, 1)


def test_moments_agree_with_draws_of_the_posterior() -> None:
    rng, model, count, total = np.random.default_rng(9), GammaGamma(5, 3.8, 38), 3.0, 120.0
    nu = rng.gamma(model.q + model.p * count, 1 / (model.v + total), 300_000)
    product, square = spend_moments(model, np.array([count]), np.array([total]))
    first, second = rng.gamma(model.p, 1 / nu), rng.gamma(model.p, 1 / nu)
    assert conditional_spend(model, np.array([count]), np.array([total]))[0] == pytest.approx(first.mean(), rel=0.005)
    assert product[0] == pytest.approx((first * second).mean(), rel=0.01)
    assert square[0] == pytest.approx((first**2).mean(), rel=0.01)


def test_spread_of_heavy_tails_is_wide_and_about_their_mean() -> None:
    count, total = np.array([1.0]), np.array([10.0])
    for shape in (1.05, 1.3, 1.9, 2.0):
        model = GammaGamma(0.02, shape - 0.02, 50.0)
        product, square = spend_moments(model, count, total)
        mean = conditional_spend(model, count, total)[0]
        assert product[0] == pytest.approx(11 * mean**2), f"shape {shape}: as of shape 2.1"
        assert square[0] > product[0]


@settings(max_examples=100, deadline=None)
@given(p=st.floats(0.05, 50), q=st.floats(1.02, 50), v=st.floats(0.01, 1e5), count=st.integers(0, 500), mean=st.floats(-100, 1e6))
def test_the_expectation_lies_between_the_customers_own_mean_and_everyones(p: float, q: float, v: float, count: int, mean: float) -> None:
    model = GammaGamma(p, q, v)
    expected = conditional_spend(model, np.array([float(count)]), np.array([count * mean]))[0]
    own = max(mean, 0.0) if count else model.mean_spend
    low, high = sorted((own, model.mean_spend))
    assert low * (1 - 1e-9) <= expected <= high * (1 + 1e-9)
