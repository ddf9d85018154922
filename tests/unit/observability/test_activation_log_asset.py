"""The asset of the activation log: what it shows, and when it is made."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.tables import ARMS, RUNS
from commerce_assets.config import load_settings
from commerce_assets.defs.observability.activation_log import KEY, activation_log_asset, after_any_of
from commerce_assets.defs.resources import LakeFolder
from commerce_assets.observability import activation_plots
from commerce_assets.observability.activation_log import read

PUSH, OTHER = dg.AssetKey(["activation", "shopify", "customer_scores"]), dg.AssetKey("other")
OF_SYNC = {"destination": "shopify", "sync": "customer_scores"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(tmp_path))
    now = datetime.now(UTC)
    with Ledger(load_settings().ops_url) as ledger, ledger.engine.begin() as connection:
        connection.execute(RUNS.insert(), {**OF_SYNC, "run_id": "r1", "status": "succeeded", "started_at": now, "succeeded_count": 3})
        connection.execute(ARMS.insert(), {**OF_SYNC, "record_key": "1", "arm": "holdout", "holdout_share": 0.25, "assigned_at": now})
    return tmp_path


def materialized(root: Path) -> dict[str, dg.MetadataValue]:
    asset = activation_log_asset([PUSH])
    done = dg.materialize([asset], resources={"lake": LakeFolder(root=str(root / "lake"), max_reject_rate=0.05)}, raise_on_error=False)
    (event,) = done.get_asset_materialization_events()
    return dict(event.materialization.metadata)


def test_it_shows_counts_and_plots_and_knows_the_declared_shares(root: Path) -> None:
    metadata = materialized(root)
    assert metadata["rows_by_table"].value == {
        **dict.fromkeys(("changes", "snapshots", "segments", "gates", "overrides"), 0),
        "runs": 1,
        "arms": 1,
    }
    assert str(metadata["plot_rows_by_outcome"].value).startswith("![plot](data:image/png;base64,")
    assert read(root / "lake", "arms")["holdout_share"].to_list() == [0.25]


def test_a_plot_that_cannot_be_drawn_takes_no_copy_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_plots, "outcomes_plot", lambda runs: 1 / 0)
    metadata = materialized(root)
    assert metadata["dagster/row_count"].value == 2
    assert not any(name.startswith("plot_") for name in metadata)


def test_copies_are_not_made_where_nobody_reads_them(root: Path) -> None:
    lake = LakeFolder(root=str(root / "elsewhere"), max_reject_rate=0.05)
    assert not dg.materialize([activation_log_asset([])], resources={"lake": lake}, raise_on_error=False).success


def test_it_follows_every_push_without_depending_on_one() -> None:
    @dg.asset(key=PUSH)
    def push() -> None: ...

    @dg.asset(key=OTHER)
    def other() -> None: ...

    @dg.asset(key=KEY, automation_condition=after_any_of([PUSH]))
    def log() -> None: ...

    definitions = dg.Definitions([push, other, log])
    instance = dg.DagsterInstance.ephemeral()
    at = datetime(2026, 11, 21, 12, 1, tzinfo=UTC)

    def asked(cursor: object, minute: int) -> tuple[int, object]:
        result = dg.evaluate_automation_conditions(
            definitions,
            instance,
            cursor=cursor,  # type: ignore[arg-type]
            evaluation_time=at.replace(minute=minute),
        )
        return result.get_num_requested(KEY), result.cursor

    _, cursor = asked(None, 1)
    dg.materialize([other], instance=instance)
    requested, cursor = asked(cursor, 2)
    assert requested == 0
    dg.materialize([push], instance=instance)
    requested, cursor = asked(cursor, 3)
    assert requested == 1
    requested, cursor = asked(cursor, 4)
    assert requested == 0, "once a push"
    requested, cursor = asked(cursor, 16)
    assert requested == 1, "a quarter of an hour went by"
    assert next(iter(activation_log_asset([PUSH]).specs)).deps == []
