"""An undo killed by SIGKILL in the middle, and run again: the shop is as it was before the run that was undone."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import activation_undo
import polars as pl
import pytest
from activation_push import client_of, customers_of, fill_with_customers, metafields_of, push_scores, wanted_scores
from activation_undo import undo_scores
from support import running_sandbox

from commerce_assets.activation.customer_scores import SYNC
from commerce_assets.activation.ledger import Ledger, ledger_frames

pytestmark = pytest.mark.slow
CUSTOMERS = 300
KILLS = 3
OF_UNDOS = """
select count(outcome), count(*) - count(outcome)
from activation_changes where run_id in (select run_id from activation_runs where kind = 'undo')
"""


def killed_undo(url: str, ledger: Path, run_id: str, outcomes: int) -> bool:
    """Start an undo and kill it once it has open intents and so many outcomes in all; False where it ended before."""
    arguments = [url, f"sqlite:///{ledger}", run_id]
    process = subprocess.Popen([sys.executable, activation_undo.__file__, *arguments], start_new_session=True)
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline, "the undo neither ended nor came to where it is to be killed"
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=1)) as reader:
            done, still_open = reader.execute(OF_UNDOS).fetchone()
            if done >= outcomes and still_open:
                # A moment more, so that the kill meets the destination's work and not always the ledger's.
                time.sleep(0.1)
                break
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait(10) == -signal.SIGKILL


def everything(customers: dict[str, dict[str, object]]) -> dict[str, tuple[object, dict[str, str]]]:
    return {key: (sorted(customer["tags"]), metafields_of(customer)) for key, customer in customers.items()}  # type: ignore[call-overload]


def test_killed_undos_end_where_a_whole_one_does(tmp_path: Path) -> None:
    ledger = tmp_path / "ops.sqlite"
    ledger_url = f"sqlite:///{ledger}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        scores = wanted_scores(customers_of(client))
        push_scores(client, scores, ledger_url, "bulk", tmp_path / "bulk")
        before = everything(customers_of(client))
        changed = scores.with_columns(
            lifecycle=pl.lit("new"), lifecycle_tags=pl.lit(["lifecycle:new"]), next_order_expected_on=pl.lit(None, dtype=pl.Date)
        )
        wrong = push_scores(client, changed, ledger_url, "bulk", tmp_path / "bulk")
        assert wrong.succeeded == CUSTOMERS
        assert wrong.run_id
        kills = sum(killed_undo(sandbox.url, ledger, wrong.run_id, outcomes=number * 30) for number in range(KILLS))
        assert kills >= 2, f"only {kills} of {KILLS} undos could be killed before they ended"

        report = undo_scores(client, ledger_url, wrong.run_id)
        assert (report.failed, report.changed_since, report.gone) == (0, 0, 0)
        assert report.succeeded + report.already == report.changed == CUSTOMERS
        assert everything(customers_of(client)) == before
        again = undo_scores(client, ledger_url, wrong.run_id)
        assert (again.succeeded, again.already) == (0, CUSTOMERS)
        with Ledger(ledger_url) as book:
            assert book.open_intents(SYNC) == []
        runs = ledger_frames(ledger_url)["activation_runs"]
        assert runs.filter(pl.col("kind") == "undo")["status"].to_list().count("interrupted") == kills
        assert runs["resolved_count"].sum() > 0, "no kill left an open outcome to read back"
