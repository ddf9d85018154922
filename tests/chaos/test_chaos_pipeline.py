"""SIGKILL in landing, in dbt, in publish and in the push, then run again: the final state of a run that was never disturbed, nothing written twice."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pipeline_runs import AS_OF, ONLY_CUSTOMERS, Shop, shop
from support import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]


def _landing_orders(opened: Shop) -> bool:
    return any((opened.root / "lake" / "_staging").glob("*orders*")) or any(
        (opened.root / "lake" / "raw" / "storefront" / "orders").glob("partition=2*")
    )


def _building(opened: Shop) -> bool:
    return (opened.root / "warehouse" / "build.duckdb").exists()


def _publishing(opened: Shop) -> bool:
    return any((opened.root / "warehouse").rglob("*.tmp"))


def _pushing(opened: Shop) -> bool:
    connection = sqlite3.connect(f"file:{opened.sandbox.store / 'store.sqlite'}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("select count(*) from metafields where namespace = 'commerce'").fetchone()
        return count > 0
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()


def _kill_when(opened: Shop, reached: Callable[[Shop], bool]) -> None:
    """Start the demo in a process group of its own and kill the whole group the moment `reached` holds."""
    log = (opened.root.parent / "killed.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "commerce_assets.cli", "demo", "--json"],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=opened.environment,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    while not reached(opened):
        assert process.poll() is None, f"the run ended before the point was reached\n{Path(log.name).read_text()[-3000:]}"
        assert time.monotonic() < deadline, "the point was never reached"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()


LAST_MONTHS = {"COMMERCE_ORDERS_START_ON": f"{AS_OF - timedelta(days=150):%Y-%m-%d}", **ONLY_CUSTOMERS}
"""Few order days: each costs Dagster an event, and the point here is what is killed."""


@dataclass(frozen=True)
class FinalState:
    """What a run leaves: the published marts, and what the storefront holds of ours."""

    marts: dict[str, tuple[int, str | None]]
    scores: dict[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...]]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FinalState:
    """The final state of a run that nobody disturbed."""
    with shop(tmp_path_factory.mktemp("undisturbed"), scale=0.05, seed=23, settings=LAST_MONTHS) as calm:
        summary = calm.summary()
        assert summary["exit_code"] == 0, summary["progress"][-4000:]
        return FinalState(calm.marts(), calm.storefront_scores())


def test_killed_at_every_stage_and_run_again_ends_as_if_never_killed(tmp_path: Path, undisturbed: FinalState) -> None:
    with shop(tmp_path, scale=0.05, seed=23, settings=LAST_MONTHS) as killed:
        for reached in (_landing_orders, _building, _publishing, _pushing):
            _kill_when(killed, reached)
        summary = killed.summary()

        assert summary["exit_code"] == 0, summary["progress"][-4000:]
        assert killed.marts() == undisturbed.marts
        assert killed.storefront_scores() == undisturbed.scores
        before = killed.customers_updated_at()
        assert killed.summary()["values_pushed"] == 0
        assert killed.customers_updated_at() == before
