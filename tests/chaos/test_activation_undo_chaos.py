"""An undo killed by SIGKILL in the middle, and run again: the shop is as it was before the run that was undone."""

from contextlib import closing
from pathlib import Path

import activation_undo
import polars as pl
import pytest
from activation_push import (
    client_of,
    customers_of,
    fill_with_customers,
    metafields_of,
    outcomes_of_latest_run,
    push_scores,
    wanted_scores,
)
from activation_undo import undo_scores
from holding_proxy import Hold, HoldingProxy, kill_at
from shipped_syncs import SYNC
from support import running_sandbox

from commerce_assets.activation.ledger import Ledger, ledger_frames

pytestmark = pytest.mark.slow
CUSTOMERS = 300
"""More than one chunk of the direct path."""

KILLS = [
    ("metafieldsSet", 5, "after"),  # taken back, and nobody heard of it
    ("tagsAdd", 30, "before"),  # on its way, and never there
    ("tagsRemove", 240, "after"),  # in the second chunk: outcomes of the first are in the ledger
]
"""Where an undo is killed, one after the other: root field, number of the call, held before or after the shop works on it."""


def everything(customers: dict[str, dict[str, object]]) -> dict[str, tuple[object, dict[str, str]]]:
    return {key: (sorted(customer["tags"]), metafields_of(customer)) for key, customer in customers.items()}  # type: ignore[call-overload]


def test_killed_undos_end_where_a_whole_one_does(tmp_path: Path) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with (
        running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox,
        client_of(sandbox.url) as client,
        closing(HoldingProxy(sandbox.url)) as proxy,
        Ledger(ledger_url) as book,
    ):
        scores = wanted_scores(customers_of(client))
        push_scores(client, scores, ledger_url, "bulk", tmp_path / "bulk")
        before = everything(customers_of(client))
        changed = scores.with_columns(
            lifecycle=pl.lit("new"), lifecycle_tags=pl.lit(["lifecycle:new"]), next_order_expected_on=pl.lit(None, dtype=pl.Date)
        )
        wrong = push_scores(client, changed, ledger_url, "bulk", tmp_path / "bulk")
        assert wrong.succeeded == CUSTOMERS
        assert wrong.run_id
        left_open, noted = 0, []
        for where in KILLS:
            hold = Hold(*where)
            kill_at(proxy, hold, [activation_undo.__file__, proxy.url, ledger_url, wrong.run_id])
            left_open = book.count_open_intents(SYNC)
            assert left_open > 0, f"{hold}: no outcome is open"
            noted.append(outcomes_of_latest_run(ledger_url))
        assert max(noted) > 0, "no kill met an undo of which some outcomes are in the ledger and others are open"

        report = undo_scores(client, ledger_url, wrong.run_id)
        assert (report.failed, report.changed_since, report.gone) == (0, 0, 0)
        assert report.succeeded + report.already == report.changed == CUSTOMERS
        assert everything(customers_of(client)) == before
        again = undo_scores(client, ledger_url, wrong.run_id)
        assert (again.succeeded, again.already) == (0, CUSTOMERS)
        assert book.open_intents(SYNC) == []
        runs = ledger_frames(ledger_url)["activation_runs"]
        assert runs.filter(pl.col("kind") == "undo")["status"].to_list().count("interrupted") == len(KILLS)
        assert report.resolved == runs["resolved_count"].sum() == left_open
