"""Dagster's storage: set up once, quick in the pipeline's process, the dead buried."""

import threading
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource

from commerce_assets.defs.dagster_home import initialise, open_instance, quick_storage
from commerce_assets.defs.resources import Dbt
from commerce_assets.pipeline import PIPELINE_TAG, _bury_dead_runs


@dg.asset
def anything() -> None: ...


def test_several_first_openers_do_not_collide(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            initialise(tmp_path / "home")
        except BaseException as error:
            failures.append(error)

    openers = [threading.Thread(target=start) for _ in range(3)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert failures == []
    with open_instance(tmp_path / "home") as instance:
        assert instance.telemetry_enabled is False
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_a_dagster_yaml_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    initialise(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


def test_what_is_written_in_quick_storage_is_there_for_others(tmp_path: Path) -> None:
    with quick_storage(tmp_path), open_instance(tmp_path) as instance:
        assert dg.materialize([anything], instance=instance).success
    with open_instance(tmp_path) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("anything")) is not None
    assert list(tmp_path.rglob("*-wal")) == [], "everything is checkpointed at the end"


def test_runs_of_a_killed_pipeline_are_declared_failed_and_give_their_places_back(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        dead = instance.create_run_for_job(
            dg.Definitions([anything]).resolve_implicit_global_asset_job_def(), tags={PIPELINE_TAG: "warehouse"}
        )
        others = instance.create_run_for_job(dg.Definitions([anything]).resolve_implicit_global_asset_job_def())
        for run in (dead, others):
            instance.report_dagster_event(
                dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name, message="started"), run.run_id
            )
        instance.event_log_storage.initialize_concurrency_limit_to_default("duckdb_warehouse")
        claim = instance.event_log_storage.claim_concurrency_slot("duckdb_warehouse", dead.run_id, "dbt_models")
        assert claim.is_claimed
        _bury_dead_runs(instance)
        assert instance.get_run_by_id(dead.run_id).status == dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(others.run_id).status != dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.claim_concurrency_slot("duckdb_warehouse", "next", "dbt_models").is_claimed


def test_what_the_dbt_resource_leaves_out_is_still_where_dagster_dbt_has_it() -> None:
    for name in ("_cli_version", "_initialize_dbt_core_adapter"):
        assert name in vars(DbtCliResource)
        assert name in vars(Dbt)
