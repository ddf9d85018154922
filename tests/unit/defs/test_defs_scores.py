"""Scores as assets: accepted runs show their receipt; refused ones fail, materialise nothing and shut the check."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from score_jobs import CUSTOMERS, job

from commerce_assets.defs import automation
from commerce_assets.defs.resources import LakeFolder, Warehouse
from commerce_assets.defs.scoring.score_asset import Shown, as_image, score_asset, score_key
from commerce_assets.service.scores.running import ScoreJob

SHOWN = Shown("Churn of everyone.", 2, "customers", (), automation.when_upstream_changed(), None)
KEY = score_key("churn")


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, object]:
    duckdb.connect(str(tmp_path / "build.duckdb")).close()
    return {
        "warehouse": Warehouse(build_path=str(tmp_path / "build.duckdb")),
        "lake": LakeFolder(root=str(tmp_path / "lake"), max_reject_rate=0.05),
    }


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(made: ScoreJob, resources: dict[str, object], instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize([score_asset(made, SHOWN)], resources=resources, instance=instance, raise_on_error=False)


def test_an_accepted_run_shows_its_receipt(resources: dict[str, object], instance: dg.DagsterInstance) -> None:
    result = run(job(), resources, instance)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["model"].value == "constant"
    assert metadata["dagster/row_count"].value == CUSTOMERS
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert check.blocking


def test_a_refused_run_fails_without_a_materialisation_and_its_check_is_an_error(
    resources: dict[str, object], instance: dg.DagsterInstance
) -> None:
    result = run(job(is_converged=False), resources, instance)
    assert not result.success
    assert result.get_asset_materialization_events() == []
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "did not converge" in (check.description or "")


def test_a_second_run_shows_what_moved_since_the_first(resources: dict[str, object], instance: dg.DagsterInstance) -> None:
    run(job(0.4), resources, instance)
    (event,) = run(job(0.5), resources, instance).get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert "| mean_rate | 0.4 | 0.5 | +25.0% |" in str(metadata["drift"].value)
    assert str(metadata["plot_drift"].value).startswith("![plot](data:image/png")


def test_drift_is_accepted_by_name_in_the_runs_config(resources: dict[str, object], instance: dg.DagsterInstance) -> None:
    run(job(0.2), resources, instance)
    assert not run(job(0.9), resources, instance).success
    config = dg.RunConfig(ops={"scores__churn": {"config": {"accept_drift": True}}})
    accepted = dg.materialize([score_asset(job(0.9), SHOWN)], resources=resources, instance=instance, run_config=config)
    (check,) = accepted.get_asset_check_evaluations()
    assert check.passed
    assert "drift accepted by name" in (check.description or "")


def test_a_plot_that_cannot_be_drawn_takes_no_accepted_score_with_it(resources: dict[str, object], instance: dg.DagsterInstance) -> None:
    def broken(*_: object) -> dict[str, bytes]:
        raise ValueError("nothing to draw")

    result = run(replace(job(), plots=broken), resources, instance)
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert check.passed


def test_images_lie_in_the_metadata_itself() -> None:
    assert as_image(b"png").value.startswith("![plot](data:image/png;base64,")
