"""How scores are run: rows replace those before only when their receipt is accepted, and always name it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from score_jobs import BESIDE, NOW, SCHEMA, inputs, job

from commerce_assets.config import Settings, SettingsError
from commerce_assets.contracts import TABLES
from commerce_assets.lake import Lake
from commerce_assets.scoring.receipt_rows import RECEIPT_SCHEMA
from commerce_assets.scoring.receipts import Fold, InputFacts
from commerce_assets.service.scores.jobs import JOBS, made_in
from commerce_assets.service.scores.running import (
    RECEIPTS,
    Inputs,
    ScoreJob,
    ensure_scores,
    in_force,
    query,
    run_score,
    why_not_pushed,
    with_receipt_id,
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def rows(lake: Lake) -> pl.DataFrame:
    return lake.read_scores("churn", SCHEMA)


def test_an_accepted_run_keeps_rows_tables_receipt_and_folds(lake: Lake) -> None:
    outcome = run_score(job(), inputs(), lake)
    assert outcome.verdict.is_accepted
    assert rows(lake)["receipt_id"].unique().to_list() == [outcome.scored.receipt.receipt_id]
    assert lake.read_scores(BESIDE.name, {}).columns == ["bin", "receipt_id"]
    assert lake.read_scores(RECEIPTS, RECEIPT_SCHEMA, part="churn")["is_accepted"].to_list() == [True]
    found = in_force(lake, "churn")
    assert found is not None
    assert found.receipt_id == outcome.scored.receipt.receipt_id


def test_a_refused_run_leaves_the_rows_before_and_is_on_record(lake: Lake) -> None:
    run_score(job(), inputs(), lake)
    before = rows(lake)
    outcome = run_score(job(0.6, is_converged=False), inputs(1), lake)
    assert not outcome.verdict.is_accepted
    assert rows(lake).equals(before)
    kept = lake.read_scores(RECEIPTS, RECEIPT_SCHEMA, part="churn")
    assert kept["is_accepted"].to_list() == [True, False]
    assert "did not converge" in kept["refused_because"].to_list()[1][0]


def test_drift_is_refused_until_it_is_accepted_by_name_which_stays_on_the_receipt(lake: Lake) -> None:
    run_score(job(0.2), inputs(), lake)
    assert not run_score(job(0.9), inputs(1), lake).verdict.is_accepted
    outcome = run_score(job(0.9), inputs(2), lake, accept_drift=True)
    assert outcome.is_drift_accepted
    assert lake.read_scores(RECEIPTS, RECEIPT_SCHEMA, part="churn")["is_drift_accepted"].to_list() == [False, False, True]
    assert run_score(job(0.91), inputs(3), lake).verdict.is_accepted, "what was accepted is what later runs are held against"


def test_accepting_drift_accepts_nothing_else(lake: Lake) -> None:
    assert not run_score(job(is_converged=False), inputs(), lake, accept_drift=True).verdict.is_accepted


def _killed_before_its_rows(monkeypatch: pytest.MonkeyPatch, lake: Lake, made: ScoreJob, read: Inputs) -> None:
    """A run of the score that ends between its receipt and its rows."""
    write = Lake.write_scores

    def killed(self: Lake, name: str, frame: pl.DataFrame, part: str = "data") -> Path:
        if name == "churn":
            raise KeyboardInterrupt
        return write(self, name, frame, part)

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "write_scores", killed)
        with pytest.raises(KeyboardInterrupt):
            run_score(made, read, lake)


def test_killed_before_its_rows_lie_there_a_run_leaves_rows_with_a_known_receipt(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    run_score(job(), inputs(), lake)
    _killed_before_its_rows(monkeypatch, lake, job(0.55), inputs(1))
    found = in_force(lake, "churn")
    assert found is not None
    assert found.scored_at == NOW


def test_killed_in_its_first_run_a_score_is_not_in_force_for_rows_that_never_came(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_scores(lake, [job()])
    _killed_before_its_rows(monkeypatch, lake, job(), inputs())
    assert in_force(lake, "churn") is None
    assert "no accepted scores/churn yet" in why_not_pushed(lake, ["churn"], NOW)[0]
    assert run_score(job(), inputs(1), lake).verdict.is_accepted
    assert why_not_pushed(lake, ["churn"], inputs(2).moment.scored_at) == []


def test_a_run_refused_while_the_clock_was_ahead_is_healed_by_the_next_good_one(lake: Lake) -> None:
    run_score(job(), inputs(), lake)
    run_score(job(is_converged=False), inputs(90_000), lake)
    assert why_not_pushed(lake, ["churn"], NOW)
    run_score(job(), inputs(1), lake)
    assert why_not_pushed(lake, ["churn"], inputs(2).moment.scored_at) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"is_converged": False},
        {"backtest": (Fold(1, NOW.date(), NOW.date(), "mae", "m", 2.0, "naive", 1.0, "lower", True),)},
        {"inputs": {"orders": InputFacts(1, complete_at=NOW - timedelta(hours=50))}},
        {"monitored": {"mean_rate": 0.01}},
    ],
    ids=["not converged", "worse than its baseline", "stale", "drifted"],
)
def test_each_gate_keeps_what_was_accepted_byte_for_byte_and_the_next_good_run_heals_it(lake: Lake, bad: dict[str, Any]) -> None:
    run_score(job(), inputs(), lake)
    places = [lake.score_file("churn"), lake.score_file(BESIDE.name)]
    before = [place.read_bytes() for place in places]
    outcome = run_score(job(**bad), inputs(1), lake)
    assert not outcome.verdict.is_accepted
    assert [place.read_bytes() for place in places] == before
    assert lake.read_scores(RECEIPTS, RECEIPT_SCHEMA, part="churn")["is_accepted"].to_list() == [True, False]
    (reason,) = why_not_pushed(lake, ["churn"], inputs(2).moment.scored_at)
    assert outcome.verdict.reasons[0] in reason
    run_score(job(), inputs(3), lake)
    assert why_not_pushed(lake, ["churn"], inputs(4).moment.scored_at) == []


def test_receipts_that_another_version_kept_stand_in_no_runs_way(lake: Lake) -> None:
    run_score(job(), inputs(), lake)
    lake.write_scores(RECEIPTS, lake.read_scores(RECEIPTS, RECEIPT_SCHEMA, part="churn").drop("packages"), part="churn")
    lake.write_scores("receipt_folds", pl.DataFrame({"receipt_id": ["old"]}), part="churn")
    assert in_force(lake, "churn") is not None
    assert run_score(job(), inputs(1), lake).verdict.is_accepted
    assert lake.read_scores(RECEIPTS, {}, part="churn").columns == list(RECEIPT_SCHEMA)


def test_a_push_needs_a_receipt_in_force(lake: Lake) -> None:
    assert "no accepted scores/churn yet" in why_not_pushed(lake, ["churn"], NOW)[0]
    run_score(job(), inputs(), lake)
    assert why_not_pushed(lake, ["churn"], inputs(26).moment.scored_at) == []
    (expired,) = why_not_pushed(lake, ["churn"], inputs(30).moment.scored_at)
    assert "30.0 h old, valid until 2026-11-29 06:25 UTC" in expired


def test_a_push_refuses_after_a_refused_run_and_says_why(lake: Lake) -> None:
    run_score(job(), inputs(), lake)
    run_score(job(is_converged=False), inputs(1), lake)
    (reason,) = why_not_pushed(lake, ["churn"], inputs(2).moment.scored_at)
    assert "the newest run of scores/churn was refused: constant did not converge" in reason


def test_scores_that_were_never_made_are_typed_and_empty_and_refused_by_a_push(lake: Lake) -> None:
    ensure_scores(lake, [job()])
    assert dict(rows(lake).schema) == with_receipt_id(SCHEMA)
    assert rows(lake).is_empty()
    assert why_not_pushed(lake, ["churn"], NOW)


def test_a_shop_makes_the_scores_it_names_and_not_one_without_what_it_reads() -> None:
    assert list(made_in(Settings())) == list(JOBS)
    assert list(made_in(Settings(scores="customer_value, customer_rfm"))) == ["customer_rfm", "customer_value"]
    with pytest.raises(SettingsError, match="names churn; there are customer_rfm"):
        made_in(Settings(scores="churn"))
    with pytest.raises(SettingsError, match="replenishment reads demand_series"):
        made_in(Settings(scores="replenishment"))


def test_every_score_describes_every_column_and_reads_queries_that_are_there() -> None:
    for made in JOBS.values():
        for schema, columns in ((made.schema, made.columns), *((kept.schema, kept.columns) for kept in made.tables.values())):
            assert set(schema) == set(columns), made.name
            assert all(columns.values()), made.name
        assert all(query(name) for name in made.queries)
        assert set(made.families) <= {table.family for table in TABLES}
