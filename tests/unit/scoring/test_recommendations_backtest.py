"""The backtest: measures by hand, nothing of the hold-out in the training, what it decides, and the comparison with ALS."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from recommendation_shops import AS_OF, LOOSE, catalogue_of, habitual_shop, lines_of, scored

from commerce_assets.scoring.receipts import Bounds, gate_figures, judge
from commerce_assets.scoring.recommendations import RecommendationSettings, backtest, plot_backtest, plot_list_lengths
from commerce_assets.scoring.recommendations.backtest import basket_hits, measures
from commerce_assets.scoring.recommendations.customers import next_purchases
from commerce_assets.scoring.recommendations.popular import most_popular, popularity

SETTINGS = RecommendationSettings(min_support=2, shrinkage=1.0, min_gate_customers=1)


def frame(**columns: list[int]) -> pl.DataFrame:
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64))


def test_measures_of_two_customers_by_hand() -> None:
    # The first finds two of three at ranks 1 and 3, the second has no list.
    given = frame(customer=[1, 1, 1], product=[10, 11, 12], rank=[1, 2, 3])
    relevant = frame(customer=[1, 1, 1, 2], product=[10, 12, 13, 10])
    found = measures(given, relevant, candidates=6)
    ideal = 1 + 1 / 1.5849625007 + 1 / 2
    assert found["recall_at_10"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["ndcg_at_10"] == pytest.approx((1 + 1 / 2) / ideal / 2)
    assert found["hit_rate_at_10"] == 0.5
    assert found["catalogue_coverage"] == 3 / 6


def test_basket_hits_count_lines_whose_list_holds_another_of_the_order() -> None:
    holdout = frame(order_id=[1, 1, 2, 3, 3], product=[1, 2, 1, 1, 3])
    lists = frame(product=[1, 2], other=[2, 3])
    assert basket_hits(holdout, lists) == {"basket_hit_rate": 1 / 4}
    assert basket_hits(holdout.head(0), lists) == {}


def test_popular_lists_leave_out_what_is_held_and_reach_as_deep_as_needed() -> None:
    lines = pl.DataFrame({"order_id": [1, 2, 3, 4, 5, 6], "product": [0, 0, 0, 1, 1, 2], "ordered_on": [AS_OF] * 6})
    old = lines.with_columns(order_id=pl.col("order_id") + 10, product=pl.lit(3, pl.Int64), ordered_on=pl.lit(AS_OF - timedelta(days=60)))
    popular = popularity(pl.concat([lines, old]), AS_OF, 60)
    assert popular.rows() == [(0, 3), (1, 2), (2, 1)]
    held = frame(customer=[1, 1], product=[0, 1])
    assert most_popular(popular, pl.Series([1, 2]), held, 2, with_held=False).rows() == [(1, 2, 1), (2, 0, 1), (2, 1, 2)]
    assert most_popular(popular, pl.Series([1]), held, 2, with_held=True)["product"].to_list() == [0, 1]


def test_three_folds_with_gates_on_both_recalls_and_a_verdict() -> None:
    lines = habitual_shop()
    result = scored(lines, catalogue_of(20), SETTINGS, complete_at=None)
    receipt = result.receipt
    assert {fold.fold for fold in receipt.backtest} == {1, 2, 3}
    assert all((fold.until_on - fold.cutoff_on).days == 30 for fold in receipt.backtest)
    assert set(gate_figures(receipt.backtest)) >= {"recall_at_10"}
    value, baseline, better, name = gate_figures(receipt.backtest)["recall_at_10"]
    assert (better, name) == ("higher", "popularity")
    assert value > baseline
    assert judge(receipt, result.rows, None, Bounds(max_input_age=None), receipt.scored_at).is_accepted


def test_too_few_customers_in_the_hold_outs_refuse_nothing_and_it_is_said() -> None:
    receipt = scored(habitual_shop(), catalogue_of(20), replace(SETTINGS, min_gate_customers=10_000)).receipt
    assert receipt.backtest
    assert gate_figures(receipt.backtest) == {}
    assert "are too few to hold item-item to its baseline" in receipt.notes[1]


def test_lists_hold_what_was_bought_before_only_where_that_does_better() -> None:
    habitual = scored(habitual_shop(), catalogue_of(20), SETTINGS)
    assert "may hold" in habitual.receipt.notes[0]
    assert "repeat" in habitual.tables["customers"]["model_name"]
    once = lines_of(
        *[(customer, 200 - customer % 10 - 10 * step, [step * 2 + 1, step * 2 + 2]) for customer in range(1, 60) for step in range(19)]
    )
    never_again = scored(once, catalogue_of(40), SETTINGS)
    assert "leave out" in never_again.receipt.notes[0]
    assert "repeat" not in never_again.tables["customers"]["model_name"]


def test_nothing_after_a_cutoff_changes_what_was_recommended_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of the first fold are the same whether or not the months after it are other ones; only what they are judged by changes."""
    lines = habitual_shop()
    first_cutoff = AS_OF - timedelta(days=90)
    shifted = lines.with_columns(
        product_id=pl.when(pl.col("ordered_on") > first_cutoff).then(pl.col("product_id") % 20 + 1).otherwise("product_id")
    )
    made: list[pl.DataFrame] = []

    def recorded(*arguments: Any, **options: Any) -> pl.DataFrame:
        made.append(next_purchases(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(backtest, "next_purchases", recorded)
    scored(lines, catalogue_of(20), SETTINGS)
    scored(shifted, catalogue_of(20), SETTINGS)
    of_a_fold = 3
    plain, other = made[: 3 * of_a_fold], made[3 * of_a_fold :]
    assert all(before.equals(after) for before, after in zip(plain[:of_a_fold], other[:of_a_fold], strict=True))
    assert not plain[-1].equals(other[-1])


def test_customers_to_be_judged_are_drawn_with_the_seed() -> None:
    drawn = replace(SETTINGS, max_backtest_customers=10)
    one, same, other = (scored(habitual_shop(), catalogue_of(20), drawn, seed=seed).receipt.backtest for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_too_little_history_is_said_and_lists_are_made_all_the_same() -> None:
    result = scored(habitual_shop(days=100), catalogue_of(20), SETTINGS)
    assert result.receipt.backtest == ()
    assert result.receipt.notes[0].startswith("no backtest")
    assert result.rows.height > 0
    assert "repeat" not in result.tables["customers"]["model_name"]


def test_als_is_compared_where_installed_and_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("implicit")
    compared = replace(SETTINGS, compare_als=True)
    lines = habitual_shop()
    first, again = (scored(lines, catalogue_of(20), compared) for _ in range(2))
    assert first.receipt.backtest == again.receipt.backtest
    folds = first.tables["backtest"].filter(model="als")
    assert folds.height > 0
    assert not folds["is_gate"].any()
    assert "ALS" in first.receipt.notes[1]
    assert first.rows.equals(scored(lines, catalogue_of(20), SETTINGS).rows)
    monkeypatch.setattr(backtest.als, "is_installed", lambda: False)
    assert scored(lines, catalogue_of(20), compared).receipt.notes[1] == "ALS was not compared: implicit is not installed"


def test_plots_are_small_images() -> None:
    result = scored(habitual_shop(), catalogue_of(20), SETTINGS)
    for image in (
        plot_backtest(result.tables["backtest"]),
        plot_backtest(result.tables["backtest"], "catalogue_coverage"),
        plot_list_lengths(result.rows),
        plot_list_lengths(scored(lines_of(), catalogue_of(1), LOOSE).rows),
    ):
        assert image.startswith(b"\x89PNG")
        assert len(image) < 60_000
