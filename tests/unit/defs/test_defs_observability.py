"""The checks on the books: who must be told, how loudly, and what to do next."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from observed_events import observed

from commerce_assets.defs.events.checks import CHECK_NAME, event_checks, family_key
from commerce_assets.defs.observability.books import (
    EVENT_LOG,
    STOCK_BOOKS,
    backlog_result,
    dead_letters_result,
    drift_result,
    observability_assets,
)
from commerce_assets.defs.resources import LakeFolder
from commerce_assets.events import books
from commerce_assets.observability.kpis import Backlog, DeadLetters, Drift

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize(
    ("age_seconds", "passed", "severity"), [(0, True, WARN), (299, True, WARN), (301, False, WARN), (3601, False, ERROR)]
)
def test_a_backlog_is_told_of_by_its_age(age_seconds: float, passed: bool, severity: dg.AssetCheckSeverity) -> None:
    result = backlog_result(Backlog(3, age_seconds, {"orders": (3, age_seconds)}))
    assert (result.passed, result.severity) == (passed, severity)
    assert ("next_step" in result.metadata) is not passed


def test_dead_letters_are_a_warning_with_topics_and_reasons() -> None:
    result = dead_letters_result(DeadLetters(2, (("orders/create", "OrderShape", 2),)))
    assert (result.passed, result.severity, result.metadata["next_step"].value) == (False, WARN, "commerce dlq list")
    assert dead_letters_result(DeadLetters(0, ())).passed


@pytest.mark.parametrize(("lasting", "passed", "severity"), [(0, True, WARN), (1, False, WARN), (2, False, ERROR)])
def test_drift_is_an_error_when_more_than_one_shelf_in_a_hundred_differs(
    lasting: int, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    result = drift_result(Drift(100, 5, lasting, lasting * 3, 1000.0, ({"sku": "MUG"},) * lasting))
    assert (result.passed, result.severity) == (passed, severity)


def test_the_copies_are_made_and_checked_by_their_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(tmp_path))
    root = observed(tmp_path)
    root.decide(root.receive("w1"), books.DEAD, reason="OrderShape")
    lake = LakeFolder(root=str(root.settings.lake_root), max_reject_rate=0.05)
    done = dg.materialize(observability_assets(), resources={"lake": lake})
    assert {str(event.asset_key): event.passed for event in done.get_asset_check_evaluations() if not event.passed} == {
        str(EVENT_LOG): False
    }
    assert {event.asset_key for event in done.get_asset_materialization_events()} == {EVENT_LOG, STOCK_BOOKS}
    assert (root.settings.lake_root / "observability" / "events" / "data.parquet").exists()


def test_copies_are_not_made_where_nobody_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(tmp_path))
    elsewhere = LakeFolder(root=str(tmp_path / "elsewhere"), max_reject_rate=0.05)
    done = dg.materialize(observability_assets(), resources={"lake": elsewhere}, selection=[EVENT_LOG], raise_on_error=False)
    assert not done.success


def test_the_check_of_a_familys_events_can_be_run_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(tmp_path))
    root = observed(tmp_path)
    at = datetime.now(UTC) - timedelta(hours=1)
    report = {"family": "orders", "partitions": [], "rows": 9, "quarantined": 1, "events": {"applied": 3}, "finished_at": at}
    root.write(books.REPORTS, [{**report, "batch_id": f"{at:%Y%m%dT%H%M%S%f}-orders"}])

    @dg.asset(key=family_key("orders"))
    def orders() -> None: ...

    check = next(one for one in event_checks() if one.check_key.asset_key == family_key("orders"))
    done = dg.Definitions([orders], asset_checks=[check]).resolve_implicit_global_asset_job_def().execute_in_process()
    (evaluation,) = done.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed, evaluation.severity) == (CHECK_NAME, False, WARN)
    assert evaluation.metadata["next_step"].value == "commerce quarantine list --family orders"
