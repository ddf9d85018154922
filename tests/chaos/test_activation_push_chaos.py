"""A push killed by SIGKILL in the middle, and run again: the same final state, and no value written twice."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import activation_push
import httpx
import pytest
from activation_push import client_of, customers_of, fill_with_customers, metafields_of, push_scores, wanted_scores
from support import running_sandbox

from commerce_assets.activation.customer_scores import SYNC
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.sources.shopify.client import ShopifyClient

pytestmark = pytest.mark.slow
CUSTOMERS = 600
KILLS = 3


BULK_MUTATIONS = "query { bulkOperations(first: 50) { nodes { type query objectCount } } }"
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


class Writes:
    """A proxy on loopback before the shop that counts each value written: (customer, metafield key or tag).

    The shop's own times cannot tell: setting a value that is there already changes nothing there.
    """

    def __init__(self, shop_url: str) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        writes = self
        forward = httpx.Client(base_url=shop_url, timeout=60)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                passed = {
                    name: value for name, value in self.headers.items() if name.lower() not in {"host", "content-length", "connection"}
                }
                answer = forward.post(self.path, content=body, headers=passed)
                if "graphql" in self.path and answer.status_code == 200:
                    writes.note(json.loads(body), answer.json())
                self.send_response(answer.status_code)
                for name in ("content-type", "x-shopify-api-version"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def note(self, sent: dict[str, Any], answer: dict[str, Any]) -> None:
        variables = sent.get("variables") or {}
        for root, payload in (answer.get("data") or {}).items():
            if root not in {"metafieldsSet", "tagsAdd"} or payload["userErrors"]:
                continue
            pairs = [(one["ownerId"], one["key"]) for one in variables.get("metafields", [])]
            pairs += [(variables["id"], tag) for tag in variables.get("tags", [])]
            with self._lock:
                self.counts.update(pairs)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


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
    ledger = tmp_path / "ops.sqlite"
    ledger_url = f"sqlite:///{ledger}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with (
        running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox,
        client_of(sandbox.url) as client,
        closing(Writes(sandbox.url)) as writes,
    ):
        merchants_tags = {key: set(customer["tags"]) for key, customer in customers_of(client).items()}
        scores = wanted_scores(merchants_tags)
        kills = 0
        for number in range(KILLS):
            # Bulk outcomes come all at once at the end: there the kill always finds none.
            kills += killed_push(
                sandbox.url if path == "bulk" else writes.url,
                ledger,
                path,
                tmp_path / f"bulk-{number}",
                outcomes=0 if path == "bulk" else number * 30,
            )
        assert kills >= 2, f"only {kills} of {KILLS} pushes could be killed before they ended"

        with client_of(sandbox.url if path == "bulk" else writes.url) as pusher:
            report = push_scores(pusher, scores, ledger_url, path, tmp_path / "bulk-last")
        assert report.open_before == report.resolved
        assert report.failed == 0
        final = customers_of(client)
        for row in scores.iter_rows(named=True):
            customer = final[row["customer_gid"]]
            assert len(metafields_of(customer)) == len(SYNC.fields) - 1 - (row["next_order_expected_on"] is None)
            assert metafields_of(customer)["commerce.rfm_segment"] == row["rfm_segment"]
            assert set(customer["tags"]) == merchants_tags[row["customer_gid"]] | set(row["lifecycle_tags"])

        if path == "direct":
            values = CUSTOMERS * (len(SYNC.fields) - 1) - scores["next_order_expected_on"].null_count()
            assert len(writes.counts) == values + scores["lifecycle_tags"].list.len().sum()
            assert set(writes.counts.values()) == {1}, f"written more than once: {writes.counts.most_common(3)}"
        else:
            assert rows_written_in_bulk(client) == {"metafieldsSet": CUSTOMERS, "tagsAdd": CUSTOMERS}

        again = push_scores(client, scores, ledger_url, path, tmp_path / "bulk-again")
        assert (again.planned, again.requests) == (0, 0)
        assert customers_of(client) == final
        with Ledger(ledger_url) as book:
            assert book.open_intents(SYNC) == []
            assert set(book.fingerprints(SYNC)["record_key"]) == set(final)
        runs = ledger_frames(ledger_url)["activation_runs"]
        assert runs["status"].to_list().count("interrupted") == kills
        assert runs["resolved_count"].sum() > 0, "no kill left an open outcome to read back"
