"""Classes, levels, weekday profiles, spread: small known series, and statsforecast's own figures."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from commerce_assets.scoring.demand import DemandSettings
from commerce_assets.scoring.demand.classes import classified
from commerce_assets.scoring.demand.forecast import capped, fit, seasonal_naive
from commerce_assets.scoring.demand.history import Panel
from commerce_assets.scoring.demand.spread import at_length, below_and_up_to, covered_share, measured_spread, probability_up_to, quantile

MONDAY = date(2026, 1, 5)


def panel_of(*series: Sequence[float] | NDArray[np.float64], types: list[str] | None = None) -> Panel:
    """Series that all end on the last day, however long they are; the first day of the longest is a Monday."""
    days = max(len(units) for units in series)
    units = np.full((len(series), days), np.nan)
    for row, values in enumerate(series):
        units[row, days - len(values) :] = values
    frame = pl.DataFrame(
        {"variant_id": np.arange(len(series)), "location_id": [1] * len(series), "product_id": np.arange(len(series))}
    ).with_columns(pl.Series("product_type", types or ["a"] * len(series)))
    start = np.array([days - len(values) for values in series])
    return Panel(frame, MONDAY, start, units, np.zeros(units.shape, dtype=bool))


def class_of(units: Sequence[float]) -> str:
    return str(classified(panel_of(units), DemandSettings())["series_class"][0])


def test_classes_of_series_whose_interval_and_variation_are_known() -> None:
    assert class_of([3, 4, 3, 4] * 15) == "smooth"
    assert class_of([1, 20, 1, 2] * 15) == "erratic"
    assert class_of([3, 0, 0, 4] * 15) == "intermittent"
    assert class_of([1, 0, 0, 20] * 15) == "lumpy"
    assert class_of([3, 4] * 13) == "new"
    assert class_of([3, 4, 3, 4] * 15 + [0] * 90) == "dead"
    assert class_of([0] * 60) == "dead"
    assert class_of([2] + [0] * 99) == "dead", "one sale, and never again"
    assert class_of([1, 0, 0, 2] + [0] * 96) == "dead", "what fell silent has not lengthened its own gaps by that"
    assert class_of(([1] + [0] * 39) * 3 + [0] * 60) == "intermittent", "one that sells every 60 days is not dead after 99"


def test_interval_and_variation_by_hand() -> None:
    row = classified(panel_of([2, 0, 4, 0] * 10), DemandSettings()).row(0, named=True)
    assert row["adi"] == 2
    assert row["cv2"] == pytest.approx(1 / 9)
    assert (row["silent_days"], row["sale_day_count"], row["history_days"]) == (1, 20, 40)


def test_the_level_is_the_exponentially_weighted_mean_of_the_days_seen() -> None:
    units = np.array([5.0, 6, 5, 6, 7, 5] * 6)
    fitted = fit(panel_of(units), DemandSettings(cap_quantile=1))
    assert fitted.series["model_name"].to_list() == ["ses"]
    for day in (0, 10, len(units) - 1):
        weights = 0.95 ** np.arange(day, -1, -1)
        assert fitted.levels[0, day] == pytest.approx((weights * units[: day + 1]).sum() / weights.sum())


def test_the_level_of_rare_demand_is_that_of_statsforecast_with_the_weight_of_the_days_seen() -> None:
    from statsforecast.models import TSB

    random = np.random.default_rng(1)
    units = np.where(random.random(200) < 0.2, random.integers(1, 9, 200), 0).astype(float)
    units[0] = 4
    fitted = fit(panel_of(units), DemandSettings(cap_quantile=1))
    assert fitted.series["model_name"].to_list() == ["tsb"]
    for day in (120, 199):
        theirs = TSB(0.1, 0.05).forecast(np.concatenate([[0.0], units[: day + 1]]), h=1)["mean"][0]
        assert fitted.levels[0, day] == pytest.approx(theirs / (1 - 0.95 ** (day + 1)))


def test_a_level_does_not_look_ahead() -> None:
    units = np.array([3.0, 0, 0, 4, 2, 0] * 20)
    changed = units.copy()
    changed[80:] = changed[80:][::-1]
    before, after = (fit(panel_of(some), DemandSettings(cap_quantile=1)).levels[0, :80] for some in (units, changed))
    np.testing.assert_allclose(before, after)


def test_a_weekday_that_never_sells_is_forecast_at_nearly_nothing() -> None:
    week = [10.0, 10, 10, 10, 10, 0, 10]
    fitted = fit(panel_of(*[week * 26 for _ in range(5)]), DemandSettings())
    assert fitted.weekday_factors.mean(axis=1) == pytest.approx(np.ones(5))
    ahead = fitted.expected(14)
    assert ahead[0, 5] == pytest.approx(0, abs=0.4)
    np.testing.assert_allclose(ahead[:, :7], ahead[:, 7:])


def test_a_new_series_is_shrunk_to_its_category() -> None:
    fitted = fit(panel_of([10.0] * 100, [2.0] * 100, [1.0] * 14, types=["a", "b", "a"]), DemandSettings())
    assert fitted.series["series_class"].to_list() == ["smooth", "smooth", "new"]
    assert fitted.levels[2, -1] == pytest.approx((14 + 14 * 10) / (14 + 14))


def test_a_first_order_a_thousand_times_the_usual_does_not_become_the_level() -> None:
    usual = [[3.0, 0, 4, 0, 3] * 20 for _ in range(20)]
    fitted = fit(panel_of(*usual, [5000.0, 0, 0]), DemandSettings())
    assert fitted.levels[-1, -1] < 4


def test_sale_days_above_their_quantile_are_capped_by_hand() -> None:
    units = np.array([[0.0] * 5 + list(range(1, 11)) + [np.nan]])
    assert np.nanmax(capped(units, 0.5)) == 5.5
    assert np.isnan(capped(units, 0.5)[0, -1])


def test_constant_empty_and_one_day_series_are_forecast() -> None:
    panel = panel_of([4.0] * 60, [0.0] * 60, [0.0], [7.0], [2.0, 0, 0])
    fitted = fit(panel, DemandSettings())
    assert fitted.levels[0, -1] == pytest.approx(4)
    assert fitted.levels[1, -1] == 0
    assert np.isfinite(fitted.expected(28)).all()
    spread = measured_spread(fitted, DemandSettings())
    assert np.isfinite(spread.dispersion).all()
    assert np.isfinite(seasonal_naive(panel, 28)).all()


def test_seasonal_naive_repeats_the_last_week() -> None:
    ahead = seasonal_naive(panel_of([1.0, 2, 3, 4, 5, 6, 7] * 4), 14)
    assert ahead[0].tolist() == [1, 2, 3, 4, 5, 6, 7] * 2


def test_the_spread_of_poisson_demand_is_that_of_poisson() -> None:
    random = np.random.default_rng(5)
    fitted = fit(panel_of(*random.poisson(20, (60, 500)).astype(float)), DemandSettings())
    spread = measured_spread(fitted, DemandSettings())
    sums = random.poisson(20, (2000, 14)).sum(axis=1)
    length = np.full(60, 14.0)
    service = quantile(0.95, np.full(60, 280.0), at_length(length, spread.dispersion), at_length(length, spread.tail))
    covered = (sums[None, :] <= service[:, None]).mean()
    assert 0.93 < covered < 0.995, f"the 95 % quantile of two weeks covers {covered:.3f}"


def test_dispersion_at_a_length_lies_on_the_line_between_those_measured() -> None:
    measured = np.array([[8.0, 2.0, 0.5]] * 4)
    found = at_length(np.array([1.0, 7.0, 14.0, 90.0]), measured)
    assert found.tolist() == pytest.approx([8, 2, 1, 0.5])


def test_quantiles_are_the_negative_binomials_where_the_tail_is_one() -> None:
    from scipy.stats import nbinom

    mean, k = np.array([0.2, 3.0, 250.0]), np.array([2.0, 0.5, 0.1])
    assert quantile(0.9, mean, k).tolist() == nbinom.ppf(0.9, 1 / k, 1 / (1 + k * mean)).tolist()
    assert quantile(0.99, np.zeros(1), np.ones(1)).tolist() == [0]
    assert probability_up_to(np.array([0.0]), np.zeros(1), np.ones(1)).tolist() == [1]


@settings(max_examples=80, deadline=None)
@given(
    mean=st.floats(0.01, 5000),
    k=st.floats(0.01, 50),
    tail=st.floats(0.6, 3),
    low=st.floats(0.01, 0.98),
    step=st.floats(0.0, 0.019),
)
def test_quantile_and_probability_are_each_others_inverse_and_never_fall(
    mean: float, k: float, tail: float, low: float, step: float
) -> None:
    means, ks, tails = np.array([mean]), np.array([k]), np.array([tail])
    first, second = quantile(low, means, ks, tails), quantile(low + step, means, ks, tails)
    assert 0 <= first[0] <= second[0]
    assert probability_up_to(first, means, ks, tails)[0] >= low - 1e-6
    assert first[0] == 0 or probability_up_to(first - 1, means, ks, tails)[0] <= low + 1e-6


def test_the_share_below_a_quantile_averages_to_its_probability_where_the_distribution_is_right() -> None:
    random = np.random.default_rng(3)
    k, mean = 1.5, 0.8
    came = random.poisson(random.gamma(1 / k, k * mean, 40_000)).astype(float)
    share = covered_share(0.8, *below_and_up_to(came, np.full(40_000, mean), np.full(40_000, k)))
    assert share.mean() == pytest.approx(0.8, abs=0.01)


def test_days_are_counted_from_the_panels_first_weekday() -> None:
    panel = panel_of([1.0] * 9)
    assert panel.weekdays(3).tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]
    assert panel.last_on == MONDAY + timedelta(days=8)
