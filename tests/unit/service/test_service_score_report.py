"""The backtest page: which scores a file allows, means over folds, what could not be made and why."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest
from score_jobs import inputs, job, moment

from commerce_assets.config import Settings
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Fold, Scored
from commerce_assets.service.scores.report import backtest, figures_of
from commerce_assets.service.scores.running import Inputs

FOLDS = tuple(
    Fold(number, date(2026, 1, number), date(2026, 2, number), "mae", "model", value, "naive", 1.0, "lower", True)
    for number, value in ((1, 0.5), (2, 0.9))
)


def test_figures_are_means_over_folds_and_say_which_is_better() -> None:
    (figure,) = figures_of(FOLDS)
    assert (figure.value, figure.baseline_value, figure.is_better, figure.is_gate) == (pytest.approx(0.7), 1.0, True, True)
    (worse,) = figures_of(replace(fold, better="higher") for fold in FOLDS)
    assert not worse.is_better


def test_scores_without_their_inputs_are_left_out_and_failures_are_on_the_page() -> None:
    def broken(_: Inputs) -> Scored:
        raise ScoringError("orders lack net_amount: select it")

    jobs = [job(backtest=FOLDS), replace(job(), name="broken", score=broken), replace(job(), name="needs_more", queries=("lines",))]
    report = backtest(jobs, {}, Settings(), moment(), source="a file", about={"rows": "2"})
    assert [entry.score for entry in report.entries] == ["churn", "broken"]
    said = report.as_dict()
    assert said["scores"][0]["is_accepted"]
    assert said["scores"][0]["figures"][0]["value"] == pytest.approx(0.7)
    assert said["scores"][1] == {"score": "broken", "problem": "orders lack net_amount: select it"}
    assert "orders lack net_amount" in report.as_text()
    html = report.as_html()
    assert "orders lack net_amount" in html
    assert "2026-01-02" in html


def test_nothing_of_a_source_is_taken_as_markup() -> None:
    report = backtest([job(fallback="<script>alert(1)</script>")], {}, Settings(), moment(), source="<b>file</b>")
    assert "<script>" not in report.as_html()
    assert "<b>file" not in report.as_html()


def test_freshness_is_not_asked_of_a_file() -> None:
    assert isinstance(inputs().frames, dict)
    report = backtest([job()], {"unused": pl.DataFrame()}, Settings(), moment(), source="a file")
    assert report.entries[0].verdict is not None
    assert report.entries[0].verdict.is_accepted
