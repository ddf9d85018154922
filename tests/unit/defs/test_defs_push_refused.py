"""Pushes as assets: what only a person can change fails at once, without a retry, names its gate in a failed check, and writes nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from activation_push import wanted_scores
from shipped_syncs import CUSTOMER_SCORES, SYNC

from commerce_assets.activation.guards import Tripped
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.activation.overrides import allow
from commerce_assets.activation.pauses import pause
from commerce_assets.config import load_settings
from commerce_assets.defs.activation.pushing import GATES, ROWS, push_asset
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse
from commerce_assets.service import syncs as service

SPEC = "activation__shopify__customer_scores"


def fill(data_root: Path, *, scored_at: datetime | None = None, rows: int = 3) -> None:
    """The sync's model, as dbt leaves it."""
    scores = wanted_scores(f"gid://shopify/Customer/{number}" for number in range(rows)).with_columns(
        scored_at=pl.lit((scored_at or datetime.now(UTC)).replace(tzinfo=None)),
        rfm_receipt_id=pl.lit("receipt"),
        value_receipt_id=pl.lit("receipt"),
    )
    with duckdb.connect(data_root / "build.duckdb") as connection:
        connection.register("scores", scores)
        connection.execute("create schema if not exists sync")
        connection.execute("create or replace table sync.sync_shopify__customer_scores as from scores")


@pytest.fixture
def no_receipts_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score receipts have tests of their own (test_service_syncs.py)."""
    real: Callable[..., list[Tripped]] = service.standing_gates

    def standing(*given: object) -> list[Tripped]:
        return [one for one in real(*given) if one.gate != "score_receipts"]

    monkeypatch.setattr(service, "standing_gates", standing)


class NoShop:
    """Nobody answers, and at once: the real client would try again for a while."""

    def execute(self, text: str, variables: object = None, *, idempotent: bool = False) -> dict[str, object]:
        raise ConnectionError("nobody answers")


class Unreachable(Storefront):
    """A shop that is not there."""

    @contextmanager
    def client(self) -> Iterator[NoShop]:  # type: ignore[override]
        yield NoShop()


def run(data_root: Path, *, upstream: Sequence[str] = (), **config: str) -> dg.ExecuteInProcessResult:
    """The push, with obstacles upstream as given; the shop is never reached."""

    class Standing(Gate):
        def obstacles(self, instance: dg.DagsterInstance) -> list[str]:  # type: ignore[override]
            return list(upstream)

    return dg.materialize(
        [push_asset(CUSTOMER_SCORES, lambda _: Standing(()))],
        resources={
            "storefront": Unreachable(base_url="http://127.0.0.1:9", api_version="2026-10"),
            "warehouse": Warehouse(build_path=str(data_root / "build.duckdb")),
            "lake": LakeFolder(root=str(data_root / "lake"), max_reject_rate=0.05),
        },
        run_config={"ops": {SPEC: {"config": config}}},
        raise_on_error=False,
    )


def message_of(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step says; it was not to be retried, and nothing was materialised."""
    assert result.get_asset_materialization_events() == []
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data
    return failure.user_failure_data.description or ""


def test_the_push_of_a_paused_sync_fails_at_once(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root)
    with Ledger(load_settings().ops_url) as ledger:
        pause(ledger, SYNC, "marketing", "campaign under way")
    message = message_of(run(data_root))
    assert "shopify/customer_scores is paused since" in message
    assert "by marketing (campaign under way)" in message
    assert ledger_frames(load_settings().ops_url)["activation_runs"].height == 0


def test_a_plan_that_is_not_what_would_be_written_fails_at_once(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root)
    message = message_of(run(data_root, plan_id="20260101-other"))
    assert "plan 20260101-other is not known; nothing was written" in message
    frames = ledger_frames(load_settings().ops_url)
    assert frames["activation_changes"].height == 0
    assert frames["activation_runs"]["status"].to_list() == ["refused"]


def test_a_red_check_upstream_is_a_gate_with_a_failed_check_of_the_push(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root)
    result = run(data_root, upstream=["warehouse/marts/fct_order:unique last failed (run 12345678)"])
    message = message_of(result)
    assert message.startswith(
        "push of customer scores refused: shopify/customer_scores: upstream_checks: warehouse/marts/fct_order:unique last failed"
    )
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (GATES, False, dg.AssetCheckSeverity.ERROR)
    assert "upstream_checks" in str(check.metadata["gates"].value)


def test_a_model_that_is_old_is_a_gate(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root, scored_at=datetime.now(UTC) - timedelta(hours=49))
    assert "model_freshness: model sync_shopify__customer_scores describes" in message_of(run(data_root))


def test_a_shop_that_cannot_be_reached_is_a_gate(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root)
    assert "destination_ready:" in message_of(run(data_root))


def test_a_permission_lets_the_run_go_on_to_the_next_gate(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root)
    with Ledger(load_settings().ops_url) as ledger:
        allow(ledger, SYNC, "upstream_checks", "ops", "the check itself is wrong")
    message = message_of(run(data_root, upstream=["warehouse/x:unique last failed"]))
    assert "upstream_checks" not in message
    assert "destination_ready" in message


def test_a_push_with_nothing_to_do_passes_both_checks(data_root: Path, no_receipts_asked: None) -> None:
    fill(data_root, rows=0)
    result = run(data_root)
    assert result.success
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {GATES: True, ROWS: True}


def test_without_a_receipt_in_force_nothing_is_pushed(data_root: Path) -> None:
    fill(data_root)
    assert "score_receipts: there is no accepted scores/customer_rfm yet" in message_of(run(data_root))
