"""A push killed by SIGKILL in the middle, and run again: the same final state, and no value written twice."""

import json
import re
from collections import Counter
from contextlib import closing
from pathlib import Path

import activation_push
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
from holding_proxy import Hold, HoldingProxy, kill_at
from shipped_syncs import SYNC
from support import running_sandbox

from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.sources.shopify.client import ShopifyClient

pytestmark = pytest.mark.slow
CUSTOMERS = 450
"""More than one chunk of the direct path, and enough left for the last kill: sixty calls may be on their way at each."""

KILLS = {
    "direct": [
        ("metafieldsSet", 5, "after"),  # written, and nobody heard of it
        ("tagsAdd", 270, "after"),  # in the second chunk: outcomes of the first are in the ledger
        ("tagsAdd", 15, "before"),  # on its way, and never there
    ],
    "bulk": [
        ("bulkOperationRunMutation", 1, "after"),  # accepted, and nobody heard of it
        ("bulkOperationRunMutation", 1, "before"),  # the rows are uploaded, and nothing was asked for
        ("bulkOperation", 1, "after"),  # under way or over, and nobody heard how
    ],
}
"""Where a push is killed, one after the other: root field, number of the call, held before or after the shop works on it."""

BULK_MUTATIONS = "query { bulkOperations(first: 50) { nodes { type query objectCount } } }"


def rows_written_in_bulk(client: ShopifyClient) -> Counter[str]:
    """Rows that bulk mutations worked off, by mutation."""
    rows: Counter[str] = Counter()
    for node in client.execute(BULK_MUTATIONS)["bulkOperations"]["nodes"]:
        found = re.search(r"\b(metafieldsSet|tagsAdd|tagsRemove)\(", node["query"])
        if node["type"] == "MUTATION" and found:
            rows[found.group(1)] += int(node["objectCount"])
    return rows


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_killed_pushes_end_in_the_same_state_and_write_nothing_twice(tmp_path: Path, path: str) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with (
        running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox,
        client_of(sandbox.url) as client,
        closing(HoldingProxy(sandbox.url)) as proxy,
        Ledger(ledger_url) as book,
    ):
        merchants_tags = {key: set(customer["tags"]) for key, customer in customers_of(client).items()}
        scores = wanted_scores(merchants_tags)
        left_open, noted = 0, []
        for number, where in enumerate(KILLS[path]):
            hold = Hold(*where)
            kill_at(proxy, hold, [activation_push.__file__, proxy.url, ledger_url, path, str(tmp_path / f"bulk-{number}")])
            left_open = book.count_open_intents(SYNC)
            assert left_open > 0, f"{hold}: no outcome is open"
            noted.append(outcomes_of_latest_run(ledger_url))
        assert path == "bulk" or max(noted) > 0, "no kill met a run of which some outcomes are in the ledger and others are open"

        with client_of(proxy.url) as pusher:
            report = push_scores(pusher, scores, ledger_url, path, tmp_path / "bulk-last")
        assert report.open_before == report.resolved == left_open
        assert report.failed == 0
        final = customers_of(client)
        for row in scores.iter_rows(named=True):
            customer = final[row["customer_gid"]]
            assert len(metafields_of(customer)) == len(SYNC.fields) - 1 - (row["next_order_expected_on"] is None)
            assert metafields_of(customer)["commerce.rfm_segment"] == row["rfm_segment"]
            assert set(customer["tags"]) == merchants_tags[row["customer_gid"]] | set(row["lifecycle_tags"])

        if path == "direct":
            values = CUSTOMERS * (len(SYNC.fields) - 1) - scores["next_order_expected_on"].null_count()
            assert len(proxy.written) == values + scores["lifecycle_tags"].list.len().sum()
            assert set(proxy.written.values()) == {1}, f"written more than once: {proxy.written.most_common(3)}"
        else:
            assert rows_written_in_bulk(client) == {"metafieldsSet": CUSTOMERS, "tagsAdd": CUSTOMERS}

        again = push_scores(client, scores, ledger_url, path, tmp_path / "bulk-again")
        assert (again.planned, again.requests) == (0, 0)
        assert customers_of(client) == final
        assert book.open_intents(SYNC) == []
        assert set(book.fingerprints(SYNC)["record_key"]) == set(final)
        runs = ledger_frames(ledger_url)["activation_runs"]
        assert runs["status"].to_list().count("interrupted") == len(KILLS[path])
        assert runs["resolved_count"].sum() == left_open, "a run that is killed keeps no count, the last one does"


FAULTS = [
    {"kind": "http_503", "rate": 0.03, "times": 8},
    {"kind": "throttled", "rate": 0.02, "times": 4},
    {"kind": "cut_connection", "rate": 0.05, "match": "mutation", "times": 12},
    {"kind": "slow", "rate": 0.02, "seconds": 0.3, "times": 10},
]
"""A cut answer to a mutation: the shop did it, and nobody heard of it."""


def test_kills_among_faults_and_refused_rows_end_in_the_wanted_state(tmp_path: Path) -> None:
    """Not each value once: a call whose answer was cut is repeated, which sets what is set already."""
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", 120)
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"seed": 5, "faults": FAULTS}))
    with (
        running_sandbox(tmp_path / "store", "--plan", "plus", "--faults", str(faults)) as sandbox,
        client_of(sandbox.url) as client,
        closing(HoldingProxy(sandbox.url)) as proxy,
        Ledger(ledger_url) as book,
    ):
        merchants_tags = {key: set(customer["tags"]) for key, customer in customers_of(client).items()}
        scores = wanted_scores(merchants_tags)
        for where in (("metafieldsSet", 3, "after"), ("tagsAdd", 60, "before")):
            kill_at(proxy, Hold(*where), [activation_push.__file__, proxy.url, ledger_url, "direct", str(tmp_path)])
        assert book.count_open_intents(SYNC) > 0

        refused = scores["customer_gid"][7]
        too_long = pl.when(pl.col("customer_gid") == refused).then(pl.lit("x" * 70_000)).otherwise("rfm_segment")
        with client_of(proxy.url) as pusher:
            report = push_scores(pusher, scores.with_columns(rfm_segment=too_long), ledger_url, "direct", tmp_path)
            assert (report.failed, report.unknown) == (1, 0)
            report = push_scores(pusher, scores, ledger_url, "direct", tmp_path)
        # Nothing is left to do where a killed run had written the customer already: what was refused had changed nothing.
        assert (report.failed, report.unknown) == (0, 0)
        assert report.succeeded <= 1
        final = customers_of(client)
        for row in scores.iter_rows(named=True):
            customer = final[row["customer_gid"]]
            assert metafields_of(customer)["commerce.rfm_segment"] == row["rfm_segment"]
            assert set(customer["tags"]) == merchants_tags[row["customer_gid"]] | set(row["lifecycle_tags"])
        assert book.open_intents(SYNC) == []
        with client_of(proxy.url) as pusher:
            assert push_scores(pusher, scores, ledger_url, "direct", tmp_path).planned == 0
