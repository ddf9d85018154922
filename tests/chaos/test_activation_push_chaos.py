"""A push killed by SIGKILL in the middle, and run again: the same final state, and no value written twice."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import activation_push
import pytest
from activation_push import client_of, customers_of, fill_with_customers, metafields_of, push_scores, wanted_scores
from support import running_sandbox

from commerce_assets.activation.customer_scores import SYNC
from commerce_assets.activation.ledger import Ledger, ledger_frames

pytestmark = pytest.mark.slow
CUSTOMERS = 600
KILLS = 3


OF_LATEST_RUN = """
select (select count(*) from activation_runs), count(outcome), count(*) - count(outcome)
from activation_changes where run_id = (select max(run_id) from activation_runs)
"""


def killed_push(url: str, ledger: Path, path: str, folder: Path, outcomes: int) -> bool:
    """Start a push and kill it as soon as it has open intents and so many outcomes; False where it ended before."""
    runs_before = ledger_frames(f"sqlite:///{ledger}")["activation_runs"].height
    arguments = [url, f"sqlite:///{ledger}", path, str(folder)]
    process = subprocess.Popen([sys.executable, activation_push.__file__, *arguments], start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < deadline, "the push neither ended nor came to where it is to be killed"
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=1)) as reader:
            runs, done, still_open = reader.execute(OF_LATEST_RUN).fetchone()
            if runs > runs_before and done >= outcomes and still_open:
                # A moment more, so that the kill meets the destination's work and not always the ledger's.
                time.sleep(0.1)
                break
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_killed_pushes_end_in_the_same_state_and_write_nothing_twice(tmp_path: Path, path: str) -> None:
    ledger = tmp_path / "ops.sqlite"
    ledger_url = f"sqlite:///{ledger}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        merchants_tags = {key: set(customer["tags"]) for key, customer in customers_of(client).items()}
        scores = wanted_scores(merchants_tags)
        kills = 0
        for number in range(KILLS):
            # Bulk outcomes come all at once at the end: there the kill always finds none.
            kills += killed_push(sandbox.url, ledger, path, tmp_path / f"bulk-{number}", outcomes=0 if path == "bulk" else number * 30)
        assert kills >= 2, f"only {kills} of {KILLS} pushes could be killed before they ended"

        report = push_scores(client, scores, ledger_url, path, tmp_path / "bulk-last")
        assert report.open_before == report.resolved
        assert report.failed == 0
        final = customers_of(client)
        for row in scores.iter_rows(named=True):
            customer = final[row["customer_gid"]]
            assert len(metafields_of(customer)) == 5
            assert metafields_of(customer)["commerce.rfm_segment"] == row["rfm_segment"]
            assert set(customer["tags"]) == merchants_tags[row["customer_gid"]] | set(row["lifecycle_tags"])
            assert metafields_of(customer, "createdAt") == metafields_of(customer, "updatedAt"), "a value was written a second time"

        again = push_scores(client, scores, ledger_url, path, tmp_path / "bulk-again")
        assert (again.planned, again.requests) == (0, 0)
        assert customers_of(client) == final
        with Ledger(ledger_url) as book:
            assert book.open_intents(SYNC) == []
            assert set(book.fingerprints(SYNC)["record_key"]) == set(final)
        runs = ledger_frames(ledger_url)["activation_runs"]
        assert runs["status"].to_list().count("interrupted") == kills
        assert runs["resolved_count"].sum() > 0, "no kill left an open outcome to read back"
