"""Receipts: what is refused and why, how folds are laid, how receipts are kept."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.scoring.receipt_rows import (
    FOLD_SCHEMA,
    KEPT_RECEIPTS,
    RECEIPT_SCHEMA,
    as_written_now,
    fold_rows,
    last_accepted,
    receipt_row,
    with_receipt,
)
from commerce_assets.scoring.receipts import Bounds, Estimate, Fold, InputFacts, Receipt, Verdict, code_digest, cutoffs, judge

NOW = datetime(2026, 11, 28, 4, 25, tzinfo=UTC)
ROWS = pl.DataFrame({"customer_id": [1, 2], "churn_rate": [0.1, 0.9]})
GOOD = Receipt(
    score="customer_value",
    model="bgnbd",
    version="customer-value-1",
    code_digest="0" * 12,
    as_of_on=date(2026, 11, 28),
    scored_at=NOW,
    valid_until=NOW + timedelta(hours=26),
    seed=1,
    inputs={"orders": InputFacts(2, date(2025, 1, 1), date(2026, 11, 27), NOW - timedelta(hours=1))},
    rows=500,
    parameters={"r": Estimate(0.243, 0.0126)},
    backtest=(Fold(1, date(2026, 8, 1), date(2026, 11, 1), "order_mae", "bgnbd", 0.8, "naive", 1.0, "lower", True),),
    monitored={"mean_value": 100.0},
)


def reasons(receipt: Receipt, rows: pl.DataFrame = ROWS, before: Receipt | None = None, bounds: Bounds | None = None) -> tuple[str, ...]:
    return judge(receipt, rows, before, bounds or Bounds(), NOW).reasons


def fold(number: int, value: float, baseline: float, better: Literal["lower", "higher"] = "lower") -> Fold:
    return replace(GOOD.backtest[0], fold=number, value=value, baseline_value=baseline, better=better)


def test_a_good_receipt_is_accepted() -> None:
    assert judge(GOOD, ROWS, None, Bounds(), NOW).is_accepted


def test_a_fit_that_did_not_converge_is_refused() -> None:
    assert any("did not converge" in reason for reason in reasons(replace(GOOD, is_converged=False)))


def test_stale_input_is_refused_with_its_age() -> None:
    old = replace(GOOD, inputs={"orders": InputFacts(2, complete_at=NOW - timedelta(hours=30))})
    (reason,) = reasons(old)
    assert "orders was last complete 30.0 h ago, more than the 26 h allowed" in reason


def test_input_of_unknown_freshness_is_not_held_against_a_score() -> None:
    assert reasons(replace(GOOD, inputs={"orders": InputFacts(2)})) == ()


def test_gates_are_judged_by_their_mean_over_the_folds() -> None:
    better_on_average = (fold(1, 0.5, 1.0), fold(2, 1.2, 1.0), fold(3, 0.9, 1.0))
    assert reasons(replace(GOOD, backtest=better_on_average)) == ()
    (reason,) = reasons(replace(GOOD, backtest=(fold(1, 1.5, 1.0), fold(2, 1.2, 1.0), fold(3, 0.9, 1.0))))
    assert "order_mae is 1.2, worse than the 1 of naive" in reason


def test_where_higher_is_better_a_lower_figure_is_refused() -> None:
    assert reasons(replace(GOOD, backtest=(fold(1, 0.02, 0.04, "higher"),)))
    assert not reasons(replace(GOOD, backtest=(fold(1, 0.07, 0.04, "higher"),)))


def test_figures_that_are_no_gate_decide_nothing() -> None:
    assert reasons(replace(GOOD, backtest=(replace(fold(1, 9.0, 1.0), is_gate=False),))) == ()


def test_a_gate_that_is_no_number_is_refused() -> None:
    assert reasons(replace(GOOD, backtest=(fold(1, float("nan"), 1.0),)))
    (reason,) = reasons(replace(GOOD, backtest=(fold(1, 1.0, float("nan")),)))
    assert "order_mae is 1, not to be held against the nan of naive" in reason


def test_drift_beyond_its_bound_is_refused_and_names_the_figure() -> None:
    drifted = replace(GOOD, monitored={"mean_value": 180.0})
    (reason,) = reasons(drifted, before=GOOD)
    assert reason.startswith("mean_value went from 100 to 180")
    assert reasons(drifted, before=GOOD, bounds=Bounds(max_drift=1.0)) == ()


def test_a_share_that_is_small_before_and_after_has_not_drifted() -> None:
    before = replace(GOOD, monitored={"dead_rate": 0.01})
    assert reasons(replace(GOOD, monitored={"dead_rate": 0.03}), before=before) == ()
    assert reasons(replace(GOOD, monitored={"dead_rate": 0.3}), before=before)


def test_a_handful_of_rows_is_not_watched_for_drift() -> None:
    assert reasons(replace(GOOD, rows=12, monitored={"mean_value": 900.0}), before=replace(GOOD, rows=9)) == ()


def test_a_score_that_shrinks_to_a_handful_is_watched_by_what_it_was() -> None:
    (reason,) = reasons(replace(GOOD, rows=12, monitored={"mean_value": 900.0}), before=GOOD)
    assert reason.startswith("mean_value went from 100 to 900")


def test_a_score_whose_every_row_is_gone_has_drifted_even_where_it_may_be_empty() -> None:
    gone = replace(GOOD, rows=0, excluded={"orders_after_as_of": 40}, monitored={})
    may_be_empty = Bounds(may_be_empty=True)
    (reason,) = reasons(gone, ROWS.clear(), before=GOOD, bounds=may_be_empty)
    assert reason.startswith("no row is left of the 500 of 2026-11-28: 40 orders_after_as_of")
    assert reasons(gone, ROWS.clear(), before=GOOD, bounds=replace(may_be_empty, max_drift=float("inf"))) == ()
    assert reasons(gone, ROWS.clear(), before=replace(GOOD, rows=5), bounds=may_be_empty) == ()


def test_another_version_of_a_model_is_not_compared_with_the_one_before() -> None:
    assert reasons(replace(GOOD, version="customer-value-2", monitored={"mean_value": 180.0}), before=GOOD) == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_rows_that_are_no_finite_number_are_refused(bad: float) -> None:
    (reason,) = reasons(GOOD, ROWS.with_columns(churn_rate=pl.Series([0.1, bad])))
    assert "1 rows have no finite churn_rate" in reason


def test_tables_kept_beside_the_rows_are_finite_too() -> None:
    (reason,) = judge(GOOD, ROWS, None, Bounds(), NOW, beside={"series": pl.DataFrame({"level": [1.0, None, float("inf")]})}).reasons
    assert reason == "series: 1 rows have no finite level: never to be pushed"


def test_nothing_scored_is_refused_unless_it_may_be_so() -> None:
    nothing = replace(GOOD, rows=0, excluded={"customers_guest": 3})
    assert "3 customers_guest" in reasons(nothing, ROWS.clear())[0]
    assert reasons(nothing, ROWS.clear(), bounds=Bounds(may_be_empty=True)) == ()


@given(
    history=st.integers(0, 900),
    horizon=st.integers(1, 120),
    folds=st.integers(1, 6),
    minimum=st.integers(1, 200),
)
def test_folds_have_their_history_and_end_in_time(history: int, horizon: int, folds: int, minimum: int) -> None:
    first, last = date(2024, 1, 1), date(2024, 1, 1) + timedelta(days=history)
    found = cutoffs(first, last, horizon, folds=folds, min_history_days=minimum)
    assert list(found) == sorted(set(found))
    assert len(found) <= folds
    assert all(first + timedelta(days=minimum) <= cutoff <= last - timedelta(days=horizon) for cutoff in found)
    if history >= minimum + horizon * folds:
        assert len(found) == folds
        assert all((later - earlier).days == horizon for earlier, later in itertools.pairwise(found))


def test_a_receipt_row_tells_the_verdict_and_reads_back() -> None:
    refused = receipt_row(GOOD, Verdict(("stale",)), is_drift_accepted=False)
    assert dict(refused.schema) == RECEIPT_SCHEMA
    assert refused["refused_because"].to_list() == [["stale"]]
    assert json.loads(refused["parameters"][0]) == {"r": {"value": 0.243, "standard_error": 0.0126}}
    accepted = receipt_row(replace(GOOD, scored_at=NOW - timedelta(days=1)), Verdict(()), is_drift_accepted=False)
    found = last_accepted(pl.concat([refused, accepted]))
    assert found is not None
    assert found.scored_at == NOW - timedelta(days=1)
    assert found.monitored == {"mean_value": 100.0}


def test_folds_are_kept_with_the_receipt_they_belong_to() -> None:
    rows = fold_rows(GOOD)
    assert dict(rows.schema) == FOLD_SCHEMA
    assert rows["receipt_id"].to_list() == [GOOD.receipt_id]


def test_the_last_accepted_receipt_outlives_any_number_of_refused_ones() -> None:
    accepted = receipt_row(GOOD, Verdict(()), is_drift_accepted=False)
    refused = pl.concat(
        receipt_row(replace(GOOD, scored_at=NOW + timedelta(minutes=n)), Verdict(("stale",)), is_drift_accepted=False)
        for n in range(1, KEPT_RECEIPTS + 1)
    )
    kept = with_receipt(pl.concat([accepted, refused[:-1]]), refused[-1])
    assert kept.height == KEPT_RECEIPTS + 1
    found = last_accepted(kept)
    assert found is not None
    assert found.receipt_id == GOOD.receipt_id


def test_the_receipt_made_last_is_the_newest_whatever_the_clock_said() -> None:
    ahead = receipt_row(replace(GOOD, scored_at=NOW + timedelta(days=9_000)), Verdict(()), is_drift_accepted=False)
    now = receipt_row(GOOD, Verdict(()), is_drift_accepted=False)
    kept = with_receipt(ahead, now)
    assert kept["receipt_id"].to_list() == [ahead["receipt_id"][0], GOOD.receipt_id]
    found = last_accepted(kept)
    assert found is not None
    assert found.scored_at == NOW


def test_receipts_of_another_version_are_read_in_todays_columns() -> None:
    kept = receipt_row(GOOD, Verdict(()), is_drift_accepted=False)
    other = kept.drop("packages", "row_count").with_columns(pl.col("seed").cast(pl.Int32), retired=pl.lit("x"))
    read = as_written_now(other, RECEIPT_SCHEMA)
    assert dict(read.schema) == RECEIPT_SCHEMA
    assert read["packages"].to_list() == [None]
    later = with_receipt(read, receipt_row(replace(GOOD, seed=2), Verdict(()), is_drift_accepted=False))
    assert later.height == 2
    found = last_accepted(read)
    assert found is not None
    assert (found.rows, found.monitored) == (0, {"mean_value": 100.0})


def test_json_of_a_receipt_is_strict_whatever_its_figures() -> None:
    odd = replace(GOOD, backtest=(fold(1, float("nan"), float("inf")),), monitored={"mean_value": float("-inf")})
    assert json.loads(json.dumps(odd.as_dict(), allow_nan=False))["backtest"][0]["value"] is None


def test_a_receipts_id_says_what_it_is_of() -> None:
    assert GOOD.receipt_id.startswith("customer_value-20261128T042500")
    assert replace(GOOD).receipt_id == GOOD.receipt_id
    assert replace(GOOD, seed=2).receipt_id != GOOD.receipt_id
    assert code_digest(__file__) == code_digest(__file__)
