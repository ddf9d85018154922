"""What the worker did reaches Dagster without a run: a materialisation and a check evaluation a family."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from commerce_assets.defs.automation import when_upstream_changed
from commerce_assets.defs.events.checks import CHECK_NAME, FAMILIES_OF_EVENTS, family_key
from commerce_assets.defs.events.reporter import DagsterReporter
from commerce_assets.defs.gates import gate_before
from commerce_assets.events.ports import Report

FINISHED_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def report(batch: str, family: str = "orders", *, rows: int = 10, quarantined: int = 0, dead: int = 0) -> Report:
    events = {"applied": 3, **({"dead": dead} if dead else {})}
    return Report(f"20261121T12000{batch}000000-{family}", family, (f"events-{batch}",), rows, quarantined, events, FINISHED_AT)


def evaluation(instance: dg.DagsterInstance, family: str) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(family_key(family), CHECK_NAME)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert record.evaluation is not None
    return record.evaluation


def test_many_batches_of_a_family_are_one_materialisation_that_adds_them_up(instance: dg.DagsterInstance) -> None:
    DagsterReporter(instance).report([report("2"), report("1"), report("3", "customers", rows=4)])
    orders = instance.get_latest_materialization_event(family_key("orders"))
    assert orders is not None
    assert orders.asset_materialization is not None
    metadata = {name: value.value for name, value in orders.asset_materialization.metadata.items()}
    assert (metadata["rows"], metadata["batches"], metadata["events"]) == (20, 2, {"applied": 6})
    assert (metadata["first_batch"], metadata["last_batch"]) == ("20261121T120001000000-orders", "20261121T120002000000-orders")
    assert len(instance.fetch_materializations(family_key("orders"), limit=10).records) == 1
    assert len(instance.fetch_materializations(family_key("customers"), limit=10).records) == 1
    assert instance.get_runs() == []


def test_quarantined_rows_and_dead_letters_make_the_check_warn(instance: dg.DagsterInstance) -> None:
    DagsterReporter(instance).report([report("1"), report("2", "customers", quarantined=2), report("3", "products", dead=1)])
    assert evaluation(instance, "orders").passed
    found = {name: evaluation(instance, name) for name in ("customers", "products")}
    assert {name: (one.passed, one.severity) for name, one in found.items()} == {
        "customers": (False, dg.AssetCheckSeverity.WARN),
        "products": (False, dg.AssetCheckSeverity.WARN),
    }
    assert found["products"].metadata["next_step"].value == "commerce dlq list"


def test_a_report_that_comes_twice_changes_nothing_that_is_shown(instance: dg.DagsterInstance) -> None:
    reporter = DagsterReporter(instance)
    for _ in range(2):
        reporter.report([report("1")])
    assert evaluation(instance, "orders").metadata["rows"].value == 10


def test_green_events_do_not_open_a_gate_that_a_refused_pull_shut(instance: dg.DagsterInstance) -> None:
    key = family_key("orders")

    @dg.asset(key=key, check_specs=[dg.AssetCheckSpec("contract_orders", asset=key, blocking=True)])
    def orders() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(passed=False, check_name="contract_orders")
        raise dg.Failure("refused")

    gate = gate_before([key], [orders])
    dg.materialize([orders], instance=instance, raise_on_error=False)
    DagsterReporter(instance).report([report("1")])
    assert [obstacle.check.name for obstacle in gate.obstacles(instance)] == ["contract_orders"]


def test_events_of_a_family_by_days_set_off_no_build_each_by_declarative_automation(instance: dg.DagsterInstance) -> None:
    days = dg.DailyPartitionsDefinition(start_date="2026-11-01", timezone="UTC", end_offset=1)

    @dg.asset(key=family_key("orders"), partitions_def=days)
    def orders() -> None: ...

    @dg.asset(deps=[orders], automation_condition=when_upstream_changed())
    def mart() -> None: ...

    definitions = dg.Definitions([orders, mart])
    first = dg.evaluate_automation_conditions(definitions, instance)
    DagsterReporter(instance).report([report("1")])
    assert dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor).total_requested == 0


def test_the_storage_is_opened_by_the_first_report_only(tmp_path: Path) -> None:
    reporter = DagsterReporter(home=tmp_path / "home")
    assert not (tmp_path / "home").exists()
    reporter.report([report("1")])
    reporter.close()
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as opened:
        assert opened.get_latest_materialization_event(family_key("orders")) is not None


def test_every_family_that_micro_batches_land_in_can_be_reported() -> None:
    assert {"orders", "customers", "products", "inventory"} <= set(FAMILIES_OF_EVENTS)
