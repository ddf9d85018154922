"""Pushes as assets: what only a person can change fails at once, without a retry, and writes nothing."""

from pathlib import Path

import dagster as dg
import duckdb
import pytest
from activation_push import wanted_scores

from commerce_assets.activation.customer_scores import SYNC
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.activation.pauses import pause
from commerce_assets.config import load_settings
from commerce_assets.defs.activation import customer_scores
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse


@pytest.fixture
def push_asset(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> dg.AssetsDefinition:
    """The push behind an open gate, with scores in force and a model of three customers; the shop is never reached."""
    monkeypatch.setattr(customer_scores, "refuse_without_receipts", lambda *_: None)
    scores = wanted_scores(f"gid://shopify/Customer/{number}" for number in range(3))
    with duckdb.connect(data_root / "build.duckdb") as connection:
        connection.register("scores", scores)
        connection.execute("create schema sync")
        connection.execute("create table sync.sync_shopify__customer_scores as from scores")
    return customer_scores.customer_scores_push(lambda _: Gate(()))


def failure_of(push_asset: dg.AssetsDefinition, data_root: Path, **config: str) -> tuple[str, bool]:
    """The message of the failed step, and whether it was to be retried."""
    result = dg.materialize(
        [push_asset],
        resources={
            "storefront": Storefront(base_url="http://127.0.0.1:9", api_version="2026-10"),
            "warehouse": Warehouse(build_path=str(data_root / "build.duckdb")),
            "lake": LakeFolder(root=str(data_root / "lake"), max_reject_rate=0.05),
        },
        run_config={"ops": {"activation__shopify__customer_scores": {"config": config}}},
        raise_on_error=False,
    )
    assert result.get_asset_materialization_events() == []
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    retries = [event for event in result.all_events if event.is_step_up_for_retry]
    return (failure.user_failure_data.description or "" if failure.user_failure_data else ""), bool(retries)


def test_the_push_of_a_paused_sync_fails_at_once(push_asset: dg.AssetsDefinition, data_root: Path) -> None:
    with Ledger(load_settings().ops_url) as ledger:
        pause(ledger, SYNC, "marketing", "campaign under way")
    message, was_retried = failure_of(push_asset, data_root)
    assert "shopify/customer_scores is paused since" in message
    assert "by marketing (campaign under way)" in message
    assert not was_retried
    assert ledger_frames(load_settings().ops_url)["activation_runs"].height == 0


def test_a_plan_that_is_not_what_would_be_written_fails_at_once(push_asset: dg.AssetsDefinition, data_root: Path) -> None:
    message, was_retried = failure_of(push_asset, data_root, plan_id="20260101-other")
    assert "plan 20260101-other is not known; nothing was written" in message
    assert not was_retried
    changes = ledger_frames(load_settings().ops_url)["activation_changes"]
    assert changes.height == 0
