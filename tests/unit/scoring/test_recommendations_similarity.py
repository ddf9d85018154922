"""Similarity of products: small cases by hand, and the best of each row against sorting everything."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recommendation_shops import LOOSE

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.recommendations import RecommendationSettings, similarity
from commerce_assets.scoring.recommendations.similarity import best_of_each, best_pairs, blocks_of, groups_of


def lines(*baskets: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(order, product) for order, basket in enumerate(baskets) for product in basket],
        schema={"order_id": pl.Int64, "product": pl.Int64},
        orient="row",
    )


# Product 0 in four orders, 1 in three, 2 in two, 3 in one; six orders in all.
BASKETS = ([0, 1], [0, 1, 2], [0, 2], [0], [1], [3])


def pairs_of(settings: RecommendationSettings, allowed: list[bool] | None = None) -> dict[tuple[int, int], dict[str, float]]:
    groups = groups_of(lines(*BASKETS), "order_id", 4)
    pairs = best_pairs(groups, np.array(allowed or [True] * 4), 8, settings)
    return {(row["product"], row["other"]): row for row in pairs.iter_rows(named=True)}


def test_cosine_support_and_lift_of_a_known_case() -> None:
    found = pairs_of(LOOSE)
    assert set(found) == {(0, 2), (2, 0)}, "0 and 1 meet exactly as often as by chance (2 = 4 x 3 / 6), 1 and 2 also"
    assert found[0, 2]["score"] == pytest.approx(2 / math.sqrt(4 * 2))
    assert (found[0, 2]["support_count"], found[0, 2]["product_count"], found[0, 2]["other_count"]) == (2, 4, 2)
    assert found[0, 2]["lift"] == pytest.approx(2 * 6 / (4 * 2))


def test_damping_counts_the_others_popularity_and_shrinkage_few_observations() -> None:
    towards_rare = RecommendationSettings(min_support=1, shrinkage=0, popularity_damping=0.0)
    assert pairs_of(towards_rare)[2, 0]["score"] == pytest.approx(2 / 2), "all buyers of 2 bought 0"
    damped = RecommendationSettings(min_support=1, shrinkage=0, popularity_damping=1.0)
    assert pairs_of(damped)[2, 0]["score"] == pytest.approx(2 / 4), "half of the buyers of 0 bought 2"
    shrunk = RecommendationSettings(min_support=1, shrinkage=2.0, popularity_damping=0.0)
    assert pairs_of(shrunk)[2, 0]["score"] == pytest.approx(1.0 * 2 / (2 + 2))


def test_too_little_support_and_forbidden_products_make_no_pair() -> None:
    assert pairs_of(RecommendationSettings(min_support=3)) == {}
    assert set(pairs_of(LOOSE, [True, True, False, True])) == {(2, 0)}


def test_large_groups_say_nothing_about_pairs_and_are_counted() -> None:
    groups = groups_of(lines([0, 1, 2, 3], [0, 1]), "order_id", 4, largest=3)
    assert groups.too_large == 1
    assert groups.holds.toarray().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]


def test_ties_go_to_more_support_and_then_to_the_lower_id() -> None:
    rows = np.array([0, 0, 0, 0])
    chosen, rank = best_of_each(rows, np.array([0.5, 0.5, 0.5, 0.9]), np.array([7, 3, 5, 9]), 3, np.array([2.0, 1.0, 2.0, 1.0]))
    assert (chosen.tolist(), rank.tolist()) == ([3, 2, 0], [1, 2, 3])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 3)), max_size=120),
    st.integers(1, 6),
)
def test_the_best_of_each_row_are_those_of_a_full_sort(entries: list[tuple[int, int, int]], best: int) -> None:
    entries = sorted(entries, key=lambda entry: entry[0])
    rows, score, support = (np.array([entry[part] for entry in entries], dtype=float) for part in range(3))
    ids = np.arange(len(entries))
    chosen, rank = best_of_each(rows.astype(np.int64), score, ids, best, support)
    expected = []
    for row in sorted(set(rows)):
        of_row = sorted((index for index in range(len(entries)) if rows[index] == row), key=lambda i: (-score[i], -support[i], i))
        expected += [(index, place) for place, index in enumerate(of_row[:best], start=1)]
    assert list(zip(chosen.tolist(), rank.tolist(), strict=True)) == expected


@given(st.lists(st.lists(st.integers(0, 7), unique=True, max_size=6), max_size=25))
def test_pairs_do_not_depend_on_the_size_of_blocks(baskets: list[list[int]]) -> None:
    groups = groups_of(lines(*baskets), "order_id", 8)
    whole = best_pairs(groups, np.ones(8, dtype=bool), 3, LOOSE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(similarity, "BLOCK_PAIRS", 2)
        assert best_pairs(groups, np.ones(8, dtype=bool), 3, LOOSE).equals(whole)
    assert whole["score"].is_between(0, 1 + 1e-12).all()
    assert (whole["product"] != whole["other"]).all()


def test_blocks_cover_every_row_once_even_where_one_alone_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK_PAIRS", 10)
    assert list(blocks_of(np.array([4.0, 6.0, 1.0, 50.0, 0.0, 3.0]))) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert list(blocks_of(np.array([]))) == []


@pytest.mark.parametrize(
    "wrong",
    [{"list_size": 0}, {"list_size": 129}, {"popularity_damping": 1.5}, {"shrinkage": -1.0}, {"fallback_size": 9}, {"held": "perhaps"}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ScoringError, match="out of range"):
        RecommendationSettings(**wrong)  # type: ignore[arg-type]
