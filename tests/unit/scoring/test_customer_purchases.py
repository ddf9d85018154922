"""BG/NBD: likelihood, fit and what a fitted model expects, against hand computation, other formulas, simulation and limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import beta, gamma, hyp2f1

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.customers import (
    BgNbd,
    alive_rate,
    expected_of_new,
    expected_purchases,
    fit_bgnbd,
    grouped_repeats,
    no_purchase_rate,
)
from commerce_assets.scoring.customers.bgnbd import BgNbdLikelihood
from commerce_assets.scoring.customers.purchases import days_to_next, purchases_ahead

CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426)


def history(x: float, last_days: float, age_days: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([x]), np.array([last_days]), np.array([age_days])


def paper_likelihood(r: float, alpha: float, a: float, b: float, x: int, t: float, age: float) -> float:
    """Equation (6) of the paper, literally; weeks."""
    stays = beta(a, b + x) / beta(a, b) * gamma(r + x) * alpha**r / (gamma(r) * (alpha + age) ** (r + x))
    if x == 0:
        return float(stays)
    return float(stays + beta(a + 1, b + x - 1) / beta(a, b) * gamma(r + x) * alpha**r / (gamma(r) * (alpha + t) ** (r + x)))


def test_likelihood_is_the_papers_equation_summed_over_customers() -> None:
    histories = [(0, 0.0, 30.0), (2, 12.0, 39.0), (1, 4.0, 20.0), (2, 12.0, 39.0), (7, 30.0, 31.0)]
    grouped = grouped_repeats(*(np.array(column) * scale for column, scale in zip(zip(*histories, strict=True), (1, 7, 7), strict=True)))
    value, _, _ = BgNbdLikelihood(grouped)(np.array([0.4, 5.0, 0.7, 2.5]), with_hessian=False)
    assert value == pytest.approx(sum(np.log(paper_likelihood(0.4, 5.0, 0.7, 2.5, *h)) for h in histories), rel=1e-12)
    assert grouped.customer_count == 5
    assert grouped.repeats.size == 4, "equal histories are one group"


def test_gradient_and_hessian_are_those_of_the_likelihood() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 6, 200)
    age = rng.integers(60, 300, 200)
    last = np.where(x > 0, rng.integers(1, 60, 200), 0)
    likelihood = BgNbdLikelihood(grouped_repeats(x, last, age))
    at, step = np.array([0.6, 4.0, 0.9, 3.0]), 1e-5
    _, gradient, hessian = likelihood(at, with_hessian=True)
    for position in range(4):
        move = np.eye(4)[position] * step
        above, below = likelihood(at + move, with_hessian=False), likelihood(at - move, with_hessian=False)
        assert gradient[position] == pytest.approx((above[0] - below[0]) / (2 * step), rel=1e-6, abs=1e-5)
        assert hessian[position] == pytest.approx((above[1] - below[1]) / (2 * step), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("a", [0.3, 0.793, 1.0, 1.0 + 1e-9, 2.5])
@pytest.mark.parametrize("days", [1.0, 90.0, 700.0])
def test_expected_purchases_are_those_of_equation_10_and_finite_where_it_is_not(a: float, days: float) -> None:
    model = BgNbd(0.243, 4.414, a, 2.426)
    x, last, age, t = 3.0, 20.0, 39.0, days / 7
    found = expected_purchases(model, days, *history(x, last * 7, age * 7))[0]
    beside = a if abs(a - 1) > 1e-3 else 1 + 1e-4  # the formula at a = 1 is 0 / 0: compare beside it
    r, alpha, b = model.r, model.alpha, model.b
    bracket = 1 - ((alpha + age) / (alpha + age + t)) ** (r + x) * hyp2f1(r + x, b + x, beside + b + x - 1, t / (alpha + age + t))
    odds = beside / (b + x - 1) * ((alpha + age) / (alpha + last)) ** (r + x)
    expected = (beside + b + x - 1) / (beside - 1) * bracket / (1 + odds)
    assert found == pytest.approx(expected, rel=1e-8 if beside == a else 2e-4)


def test_published_expectations_of_cdnow() -> None:
    assert expected_purchases(CDNOW, 39 * 7, *history(2, 30.43 * 7, 38.86 * 7))[0] == pytest.approx(1.226, abs=5e-4)
    weeks = np.array([0.1429, 1, 3, 31.86, 32, 78])
    # Published from parameters of more digits than CDNOW has here.
    assert expected_of_new(CDNOW, weeks * 7) == pytest.approx([0.0078, 0.0532, 0.1506, 1.0405, 1.0437, 1.8576], rel=2e-3, abs=5e-5)


def test_expectations_and_pairs_agree_with_a_simulation_of_the_posterior() -> None:
    rng = np.random.default_rng(11)
    model, x, age, horizon, draws = BgNbd(0.9, 5.5, 0.8, 5.2), 4.0, 200.0, 180.0, 400_000
    rate, leaving = rng.gamma(model.r + x, 1 / (model.alpha + age / 7), draws), rng.beta(model.a, model.b + x, draws)
    bought, worth, now, active = np.zeros(draws), np.zeros(draws), np.zeros(draws), np.arange(draws)
    while active.size:
        now[active] += 7 * rng.exponential(1 / rate[active])
        active = active[now[active] < horizon]
        bought[active] += 1
        worth[active] += 1.1 ** (-now[active] / 365)
        active = active[rng.random(active.size) >= leaving[active]]
    ahead = purchases_ahead(model, horizon, np.array([x]), np.array([age]), annual_discount_rate=0.1)
    for exact, drawn in ((ahead.mean, bought), (ahead.discounted_mean, worth), (ahead.pairs, bought * (bought - 1))):
        assert exact[0] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(draws))
    quiet = no_purchase_rate(model, horizon, *history(x, age, age))[0]
    alive = alive_rate(model, *history(x, age, age))[0]
    assert 1 - (1 - quiet) / alive == pytest.approx((bought == 0).mean(), abs=0.003)
    median = days_to_next(model, 0.5, np.array([x]), np.array([age]))[0]
    assert (rng.exponential(7 / rate) <= median).mean() == pytest.approx(0.5, abs=0.004)


def test_recovers_its_own_parameters_and_says_how_surely() -> None:
    rng = np.random.default_rng(5)
    n, r, alpha, a, b = 6_000, 0.8, 6.0, 0.9, 3.0
    rate, leaving, age = rng.gamma(r, 1 / alpha, n), rng.beta(a, b, n), rng.uniform(20, 100, n)
    x, last, now, active = np.zeros(n), np.zeros(n), np.zeros(n), np.arange(n)
    while active.size:
        now[active] += rng.exponential(1 / rate[active])
        active = active[now[active] < age[active]]
        x[active] += 1
        last[active] = now[active]
        active = active[rng.random(active.size) >= leaving[active]]
    maximum = fit_bgnbd(grouped_repeats(x, last * 7, age * 7)).maximum
    assert maximum.is_converged
    assert maximum.slope < 1e-9
    for found, truth, error in zip(maximum.parameters, (r, alpha, a, b), maximum.standard_errors, strict=True):
        assert error is not None
        assert abs(found - truth) < 3 * error
        assert error < 0.35 * truth


def test_customers_who_never_leave_drive_dropout_to_its_bound_honestly() -> None:
    rng = np.random.default_rng(8)
    age = np.full(800, 50.0)
    x = rng.poisson(rng.gamma(1.0, 0.2, 800) * age)
    last = np.where(x > 0, age * rng.beta(np.maximum(x, 1), 1), 0)
    maximum = fit_bgnbd(grouped_repeats(x, last * 7, age * 7)).maximum
    assert maximum.is_converged
    assert maximum.parameters[2] / (maximum.parameters[2] + maximum.parameters[3]) < 0.01
    assert all(error is None for error, bound in zip(maximum.standard_errors, maximum.at_bound, strict=True) if bound)


def test_a_maximum_at_the_bounds_is_found_though_its_height_is_lost_in_rounding() -> None:
    """Who comes back does so once and never again: a at its upper bound, b at its lower; a likelihood of terms of 1e5."""
    days = np.arange(600)
    again = days < 200
    age = 30.0 + days % 400
    last = np.where(again, age - days % 25, 0)
    maximum = fit_bgnbd(grouped_repeats(again.astype(float), last, age)).maximum
    assert maximum.at_bound == (False, False, True, True)
    assert maximum.is_converged, maximum.slope


def test_impossible_histories_and_no_repeats_are_refused_with_what_to_do() -> None:
    with pytest.raises(ScoringError, match="cannot be, such as 1 repeats in 9 days of 5"):
        grouped_repeats(np.array([1, 0]), np.array([9, 0]), np.array([5, 5]))
    with pytest.raises(ScoringError, match="NaN"):
        grouped_repeats(np.array([np.nan]), np.array([0.0]), np.array([1.0]))
    with pytest.raises(ScoringError, match="bought twice"):
        fit_bgnbd(grouped_repeats(np.zeros(3), np.zeros(3), np.array([1, 2, 3])))
    with pytest.raises(ScoringError, match="positive"):
        BgNbd(0.1, 0, 1, 1)


@settings(max_examples=150, deadline=None)
@given(
    parameters=st.tuples(st.floats(0.01, 20), st.floats(0.1, 500), st.floats(0.002, 50), st.floats(0.01, 500)),
    x=st.integers(0, 400),
    last_share=st.floats(0.001, 1),
    age_days=st.floats(1, 3000),
    days=st.floats(0.5, 800),
)
def test_what_holds_for_every_model_and_history(
    parameters: tuple[float, float, float, float], x: int, last_share: float, age_days: float, days: float
) -> None:
    model, one = BgNbd(*parameters), history(float(x), age_days * last_share if x else 0.0, age_days)
    alive, quiet, expected = alive_rate(model, *one)[0], no_purchase_rate(model, days, *one)[0], expected_purchases(model, days, *one)[0]
    later = expected_purchases(model, days * 1.5, *one)[0]
    ahead = purchases_ahead(model, days, one[0], one[2], annual_discount_rate=0.1)
    assert 0 <= alive <= 1
    assert 1 - alive - 1e-12 <= quiet <= 1
    assert 0 <= expected <= later + 1e-9 * (1 + later)
    assert 1 - quiet <= expected * (1 + 1e-6) + 1e-9, "at least the chance of one purchase"
    assert expected <= alive * (model.r + x) / (model.alpha + age_days / 7) * days / 7 * (1 + 1e-9), "leaving only takes away"
    assert ahead.discounted_mean[0] <= ahead.mean[0] * (1 + 1e-6)
    assert ahead.discounted_mean[0] >= ahead.mean[0] * 1.1 ** (-days / 365) * (1 - 1e-6)
    assert ahead.pairs[0] >= -1e-9
    assert np.isfinite(days_to_next(model, 0.9, one[0], one[2])).all()


def test_pairs_that_are_counted_off_and_pairs_that_are_sorted_give_the_same() -> None:
    rng = np.random.default_rng(3)
    repeats, ages = rng.poisson(2.0, 500).astype(float), rng.integers(0, 700, 500).astype(float)
    counted = purchases_ahead(CDNOW, 90, repeats, ages)
    # A fraction, and an age that nobody can count off to: both have to be sorted.
    for odd_repeats, odd_age in ((0.5, 10.0), (0.0, 1e9)):
        sorted_out = purchases_ahead(CDNOW, 90, np.append(repeats, odd_repeats), np.append(ages, odd_age))
        np.testing.assert_allclose(sorted_out.mean[:-1], counted.mean, rtol=1e-12)
        np.testing.assert_allclose(sorted_out.pairs[:-1], counted.pairs, rtol=1e-12)
