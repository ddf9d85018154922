"""Calibration of churn: the map found, what it does to rates, and when there is none."""

import numpy as np
import pytest

from commerce_assets.scoring.customers.calibration import Calibrator, brier, fit_calibrator, reliability


def drawn_outcomes(count: int, truth: Calibrator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rate = rng.beta(1.5, 1.0, count)
    return rate, rng.random(count) < truth(rate)


def test_the_map_that_made_the_outcomes_is_found() -> None:
    found = fit_calibrator(*drawn_outcomes(40_000, Calibrator(-0.4, 0.7), 1), 100)
    assert found is not None
    assert (found.intercept, found.slope) == pytest.approx((-0.4, 0.7), abs=0.04)


def test_calibrated_rates_keep_their_order_and_come_closer_to_what_happened() -> None:
    truth = Calibrator(0.8, 0.5)
    calibrator = fit_calibrator(*drawn_outcomes(5_000, truth, 2), 100)
    assert calibrator is not None
    rate, happened = drawn_outcomes(5_000, truth, 3)
    assert brier(calibrator(rate), happened) < brier(rate, happened) - 0.005
    assert (np.argsort(calibrator(rate), kind="stable") == np.argsort(rate, kind="stable")).all()
    assert np.isfinite(calibrator(np.array([0.0, 1.0]))).all()


def test_there_is_no_map_of_too_few_outcomes_of_constants_or_of_rates_that_mislead() -> None:
    rate, happened = drawn_outcomes(1_000, Calibrator(0, 1), 4)
    assert fit_calibrator(rate, happened, 600) is None
    assert fit_calibrator(np.full(1_000, 0.3), happened, 100) is None
    assert fit_calibrator(1 - rate, happened, 100) is None
    assert fit_calibrator(np.zeros(0), np.zeros(0, dtype=bool), 1) is None


def test_reliability_keeps_equal_rates_in_one_bin() -> None:
    rate = np.repeat([0.1, 0.2, 0.9], [50, 30, 20])
    happened = np.concatenate([np.arange(50) < 5, np.arange(30) < 9, np.ones(20, dtype=bool)])
    table = reliability("raw", rate, happened)
    assert table["customer_count"].to_list() == [50, 30, 20]
    assert table["observed_rate"].to_list() == pytest.approx([0.1, 0.3, 1.0])
    assert table["predicted_rate"].to_list() == pytest.approx([0.1, 0.2, 0.9])
