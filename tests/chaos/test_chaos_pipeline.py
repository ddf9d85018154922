"""SIGKILL in landing, in dbt, in the push and in publish, then run again: the final state of a run that was never disturbed, nothing written twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TextIO

import pytest
from holding_proxy import Hold, HoldingProxy, kill_at
from pipeline_runs import LAST_MONTHS, Calm, Shop
from support import REPOSITORY, commerce, running_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runs")]

COMMERCE = ["-m", "commerce_assets.cli"]
KILLED_IN_PUBLISH = """
# The process group dies between the two files of a version: the restricted one is in its place, the published one is not.
import os, pathlib, signal
replace = os.replace
def deadly(source, target, **options):
    if pathlib.Path(target).name == "commerce.duckdb":
        os.killpg(0, signal.SIGKILL)
    replace(source, target, **options)
os.replace = deadly
from commerce_assets.cli import main
main()
"""


@pytest.fixture
def killed(calm: Calm) -> Iterator[Shop]:
    """A shop like the calm one, with nothing done yet."""
    calm.from_nothing()
    with running_sandbox(calm.store, "--plan", "plus") as sandbox:
        yield Shop(sandbox, calm.root, LAST_MONTHS)


def _is_landing_orders(opened: Shop) -> bool:
    return any((opened.root / "lake" / "_staging").glob("*orders*")) or any(
        (opened.root / "lake" / "raw" / "storefront" / "orders").glob("partition=2*")
    )


def _is_building(opened: Shop) -> bool:
    return (opened.root / "warehouse" / "build.duckdb").exists()


def _kill_when(opened: Shop, reached: Callable[[Shop], bool]) -> None:
    """Start the demo in a process group of its own and kill the whole group the moment `reached` holds."""
    with (opened.root.parent / "killed.log").open("w+") as log:
        process = _started(opened, log, *COMMERCE, "demo", "--json")
        deadline = time.monotonic() + 600
        while not reached(opened):
            assert process.poll() is None, f"the run ended before the point was reached\n{_end_of(log)}"
            assert time.monotonic() < deadline, "the point was never reached"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _killed_in_publish(opened: Shop) -> None:
    with (opened.root.parent / "killed.log").open("w+") as log:
        assert _started(opened, log, "-c", KILLED_IN_PUBLISH, "demo", "--json").wait(600) == -signal.SIGKILL, _end_of(log)
    assert any((opened.root / "warehouse" / "versions").glob("*.duckdb"))
    assert not (opened.root / "warehouse" / "commerce.duckdb").exists()


def _started(opened: Shop, log: TextIO, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, stdout=log, stderr=log, env=opened.environment, cwd=REPOSITORY, start_new_session=True)


def _end_of(log: TextIO) -> str:
    log.seek(0)
    return log.read()[-3000:]


def _killed_in_push(opened: Shop) -> None:
    """The run that comes as far as the push: the shop has written, and nobody heard of it."""
    with closing(HoldingProxy(opened.sandbox.url)) as proxy:
        environment = {**opened.environment, "SHOPIFY_URL": proxy.url}
        kill_at(proxy, Hold("metafieldsSet", 2, "after"), [*COMMERCE, "demo", "--json"], environment)
        assert proxy.written


def test_killed_at_every_stage_and_run_again_ends_as_if_never_killed(killed: Shop, calm: Calm) -> None:
    _kill_when(killed, _is_landing_orders)
    _kill_when(killed, _is_building)
    _killed_in_push(killed)
    written = killed.storefront_scores()
    _killed_in_publish(killed)
    summary = killed.summary()

    assert summary["exit_code"] == 0, summary["progress"][-4000:]
    assert killed.marts() == calm.marts
    assert killed.storefront_scores() == calm.scores
    assert 0 < len(written) < len(calm.scores)
    before = killed.customers_updated_at()
    again = commerce("sync", "apply", "customer_scores", "--json", env=killed.environment)
    counts = json.loads(again.stdout)["counts"]
    assert [counts[name] for name in ("creates", "updates", "removals", "succeeded")] == [0, 0, 0, 0]
    assert killed.customers_updated_at() == before
