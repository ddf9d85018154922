"""Downloads over real sockets: connections cut at any byte, a process killed in the middle, a Ctrl-C while an operation runs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import REPOSITORY

from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.download import download
from commerce_assets.sources.shopify.retry import RetryPolicy
from commerce_assets.sources.shopify.throttle import Throttle

BODY = b"".join(b'{"id":"gid://shopify/Order/%d","note":"%s"}\n' % (number, b"x" * (number % 97)) for number in range(20_000))


@dataclass
class Plan:
    """What the host does: bytes to send before each cut, and where it stops for good until it is released."""

    cuts: list[int] = field(default_factory=list)
    stop_after: int | None = None
    is_chunked: bool = False
    served: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    bulk: list[str] = field(default_factory=list)


@contextmanager
def host(plan: Plan) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            body = BODY[start:]
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
            if plan.is_chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = plan.cuts.pop(0) if plan.cuts else None
            if plan.stop_after is not None:
                self._send(body[: plan.stop_after])
                self.wfile.flush()
                plan.released.wait(30)
                return
            self._send(body[:cut])
            if cut is not None:
                self.close_connection = True
                return
            if plan.is_chunked:
                self.wfile.write(b"0\r\n\r\n")

        def _send(self, body: bytes) -> None:
            plan.served += len(body)
            for at in range(0, len(body), 50_000):
                piece = body[at : at + 50_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if plan.is_chunked else piece)

        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
            operation = {"id": "gid://shopify/BulkOperation/1", "status": "RUNNING", "createdAt": "2026-11-21T00:00:00Z"}
            if "bulkOperationRunQuery(" in query:
                plan.bulk.append("start")
                data = {"bulkOperationRunQuery": {"bulkOperation": operation, "userErrors": []}}
            elif "bulkOperationCancel(" in query:
                plan.bulk.append("cancel")
                data = {"bulkOperationCancel": {"bulkOperation": operation, "userErrors": []}}
            else:
                plan.bulk.append("poll")
                data = {"bulkOperation": operation}
            answer = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        plan.released.set()
        server.shutdown()
        server.server_close()


def fetch(url: str, folder: Path) -> bytes:
    retry = RetryPolicy(base_seconds=0.01)
    with ShopifyClient(url, "2026-10", StaticToken(url, "token"), throttle=Throttle(), retry=retry) as client:
        written = download(
            client,
            f"{url}/result",
            folder,
            "part",
            expected_bytes=len(BODY),
            fresh_url=lambda: None,
            label="orders",
            progress=lambda _: None,
            part_bytes=200_000,
        )
    assert written.lines == 20_000
    return b"".join(file.read_bytes() for file in written.files)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["content-length", "chunked"])
def test_a_result_over_cut_connections_is_whole(tmp_path, is_chunked):
    plan = Plan(cuts=[300_000, 1, 123_457, 0, 99], is_chunked=is_chunked)
    with host(plan) as url:
        assert fetch(url, tmp_path) == BODY
    assert plan.served < len(BODY) + 500_000, "what had arrived was not asked for again"


WORKER = """
import sys
from pathlib import Path
from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.bulk import run_query
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.download import download
url, folder, what = sys.argv[1:]
with ShopifyClient(url, "2026-10", StaticToken(url, "token")) as client:
    if what == "download":
        download(client, url + "/result", Path(folder), "part", expected_bytes=None, fresh_url=lambda: None, label="orders",
                 progress=print, part_bytes=200_000)
    else:
        run_query(client, "{ orders { edges { node { id } } } }", Path(folder), label="orders", progress=print)
"""


@contextmanager
def worker(url: str, folder: Path, what: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(folder), what],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def wait_for(condition, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)
    raise AssertionError("it did not come to that in 30 s")


def test_a_process_killed_in_the_middle_leaves_nothing_that_looks_whole(tmp_path):
    plan = Plan(stop_after=700_000)
    with host(plan) as url:
        with worker(url, tmp_path, "download") as process:
            wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) >= 3, process)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        assert list(tmp_path.glob("*.jsonl")) == []
        plan.stop_after = None
        assert fetch(url, tmp_path) == BODY
    assert list(tmp_path.glob("*.tmp")) == []


def test_ctrl_c_cancels_the_operation_at_the_shop(tmp_path):
    plan = Plan()
    with host(plan) as url, worker(url, tmp_path, "bulk") as process:
        wait_for(lambda: plan.bulk.count("poll") >= 2, process)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert plan.bulk.count("start") == 1
    assert plan.bulk[-1] == "cancel"
