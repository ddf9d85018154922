"""The backtest page: which scores a file allows, means over folds, what could not be made and why."""

import json
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


def test_a_simpler_model_in_early_folds_is_one_figure_with_the_model_of_later_ones_as_its_gate_is() -> None:
    (figure,) = figures_of((FOLDS[0], replace(FOLDS[1], model="simple")))
    assert (figure.model, figure.value, len(figure.folds)) == ("model, simple", pytest.approx(0.7), 2)
    rivals = figures_of((*FOLDS, *(replace(fold, model="rival") for fold in FOLDS)))
    assert [figure.model for figure in rivals] == ["model", "rival"]


def test_json_is_strict_and_text_says_what_was_refused_where_a_figure_is_no_number() -> None:
    report = backtest([job(backtest=(replace(FOLDS[0], value=float("nan")),))], {}, Settings(), moment(), source="a file")
    said = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert said["scores"][0]["figures"][0]["value"] is None
    assert not said["scores"][0]["is_accepted"]
    assert "REFUSED: mae is nan" in report.as_text()
    assert "1 fold\n" in report.as_text()


def test_titles_stand_above_their_figures() -> None:
    lines = backtest([job(backtest=FOLDS)], {}, Settings(), moment(), source="a file").as_text().splitlines()
    titles, figures = (next(line for line in lines if line.startswith(start)) for start in ("score", "churn"))
    for title, figure in (("metric", "mae *"), ("model", "model"), ("baseline", "naive")):
        assert titles.index(title) == figures.index(figure)


def test_a_plot_that_cannot_be_drawn_leaves_the_page() -> None:
    def broken(*_: object) -> dict[str, bytes]:
        raise ValueError("nothing to draw")

    page = backtest([replace(job(backtest=FOLDS), plots=broken)], {}, Settings(), moment(), source="a file").as_html()
    assert "no plots: ValueError: nothing to draw" in page
    assert "2026-01-02" in page


def test_nothing_of_a_source_is_taken_as_markup() -> None:
    report = backtest([job(fallback="<script>alert(1)</script>")], {}, Settings(), moment(), source="<b>file</b>")
    assert "<script>" not in report.as_html()
    assert "<b>file" not in report.as_html()


def test_freshness_is_not_asked_of_a_file() -> None:
    assert isinstance(inputs().frames, dict)
    report = backtest([job()], {"unused": pl.DataFrame()}, Settings(), moment(), source="a file")
    assert report.entries[0].verdict is not None
    assert report.entries[0].verdict.is_accepted


def test_an_aim_is_neither_beaten_nor_missed_but_told_as_a_distance() -> None:
    fold = Fold(1, date(2026, 1, 1), date(2026, 2, 1), "day_coverage_80", "demand", 0.92, "nominal", 0.8, "nearer")
    (figure,) = figures_of([fold])
    assert figure.is_better is None
    assert figure.in_words == "0.12 above its aim"
    (met,) = figures_of([replace(fold, value=0.8)])
    assert met.in_words == "at its aim"
    with pytest.raises(ValueError, match="has an aim and no rival"):
        replace(fold, is_gate=True)
