"""A process killed (SIGKILL) at any step of a landing's commit, then recovered: the same lake as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import landing_documents as docs
import pytest
from landing_documents import Landing

from commerce_assets.lake import Lake, quarantine_rows
from commerce_assets.sources.shopify.mapping import ORDERS

KILLED = """
import os, signal, sys
from datetime import date
from pathlib import Path
from commerce_assets.lake import Lake, ReplaceDays, journal, land
from commerce_assets.sources.shopify.mapping import ORDERS

root, step = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counted(real):
    def call(*args, **kwargs):
        global calls
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return real(*args, **kwargs)
    return call
Path.replace = counted(Path.replace)
Path.rename = counted(Path.rename)
Path.unlink = counted(Path.unlink)
journal._sync = counted(journal._sync)
files = sorted((root / "files/storefront/orders/load-2").glob("*.jsonl"))
land(Lake(root), "orders", ORDERS, files, "load-2", ReplaceDays(date(2026, 3, 1), date(2026, 3, 2)), max_reject_rate=1.0)
print(calls)
"""
OLD = [*docs.document(1), *docs.document(2, updated="2026-03-02T08:00:00Z"), *docs.document(5, email="nobody")]
NEW = [*docs.document(3), *docs.document(4, email="nobody")]


def content(lake: Lake) -> str:
    """Everything that readers can see, without the moments of loading."""
    seen = {table.table: lake.read(table.table).drop("_loaded_at").sort(table.contract.key).to_dicts() for table in ORDERS.tables}
    refused = quarantine_rows(lake, unmasked=True).drop("_loaded_at").sort("table", "row_key").to_dicts()
    loads = sorted(report.load_id for report in lake.reports())
    return json.dumps([seen, refused, loads], default=str, indent=1)


def prepared(root: Path) -> Landing:
    landing = Landing(root)
    landing.land(OLD, mode=docs.ReplaceDays(docs.date(2026, 3, 1), docs.date(2026, 3, 2)))
    folder = landing.lake.new_load_dir("storefront", "orders", "load-2")
    (folder / "part-00000.jsonl").write_bytes(b"".join(docs.as_bytes(line) + b"\n" for line in NEW))
    return landing


def run(root: Path, step: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", KILLED, str(root), str(step)], capture_output=True, text=True, env=os.environ)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_landing_killed_at_any_step_of_its_commit_is_whole_or_nothing(tmp_path: Path) -> None:
    before = prepared(tmp_path / "whole")
    old = content(before.lake)
    done = run(before.lake.root, 1_000_000)
    assert done.returncode == 0, done.stderr
    steps = int(done.stdout)
    new = content(before.lake)
    assert old != new

    outcomes = []
    # The first steps (a draft, its sync), the journal's rename, then early, middle and late steps of rolling it forward.
    for step in sorted({*range(0, steps, max(1, steps // 7)), steps - 2, steps - 1}):
        landing = prepared(tmp_path / f"killed-{step}")
        killed = run(landing.lake.root, step)
        assert killed.returncode == -signal.SIGKILL, (step, killed.stdout, killed.stderr)
        landing.lake.recover()
        found = content(landing.lake)
        assert found in (old, new), f"killed at step {step}: neither the old nor the new state"
        outcomes.append(found == new)
        again = run(landing.lake.root, 1_000_000)
        assert again.returncode == 0, again.stderr
        assert content(landing.lake) == new, f"killed at step {step}, then run again"
        assert not list((landing.lake.root / "_staging").iterdir())
    assert outcomes == sorted(outcomes), "once the commit stands, it is completed"
    assert {True, False} <= set(outcomes)
