"""A push to a file, a tool or a table killed by SIGKILL between the write and its note, and run again: the same final state."""

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import killed_destination
import pytest
from killed_destination import ROWS, push_all

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.activation.ledger import Ledger

pytestmark = pytest.mark.slow
BASE: dict[str, Any] = {
    "name": "killed",
    "description": "Killed.",
    "model": "sync_sql__killed",
    "key": {"column": "id"},
    "mode": "upsert",
    "fields": [{"name": "points", "type": "integer"}, {"name": "label"}],
}
Held = Callable[[], dict[str, str]]


class Tool:
    """Takes records by HTTP; what it holds, and how often each idempotency key came."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.keys: Counter[str] = Counter()
        tool, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    tool.held[sent["id"]] = str(sent["points"])
                    tool.keys[self.headers["Idempotency-Key"]] += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def tool() -> Iterator[Tool]:
    made = Tool()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("kind", ["file", "sql", "http"])
def test_a_push_killed_before_its_note_ends_in_the_same_state(tmp_path: Path, kind: str, tool: Tool) -> None:
    targets = {
        "file": {"kind": "file", "folder": "out", "format": "jsonl"},
        "sql": {"kind": "sql", "url_env": "CRM_DATABASE_URL", "table": "crm"},
        "http": {
            "kind": "http",
            "url": f"http://127.0.0.1:{tool.server.server_port}/records",
            "template": {"id": "{key}", "points": "{points:number}", "label": "{label}"},
        },
    }
    readers: dict[str, Held] = {"file": lambda: in_file(tmp_path), "sql": lambda: in_table(tmp_path), "http": lambda: tool.held}
    block = {**BASE, "target": targets[kind]}
    declared = DeclaredSync.model_validate(block)
    declaration, ledger_url = tmp_path / "declaration.json", f"sqlite:///{tmp_path / 'ops.sqlite'}"
    declaration.write_text(json.dumps(block))
    with Ledger(ledger_url) as book:
        for nth in ("1", "2"):
            command = [sys.executable, killed_destination.__file__, str(declaration), ledger_url, str(tmp_path), nth]
            assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
            assert book.count_open_intents(declared.as_sync()) > 0

        report = push_all(declared, ledger_url, tmp_path)
        assert report.open_before == report.resolved > 0
        assert readers[kind]() == {f"c{number}": str(number) for number in range(ROWS)}
        again = push_all(declared, ledger_url, tmp_path)
        assert (again.planned, again.unchanged) == (0, ROWS)
        assert book.open_intents(declared.as_sync()) == []
    if kind == "http":
        # It cannot be read back: what was taken and not noted came once more, each record under the key it had.
        assert len(tool.keys) == ROWS
        assert max(tool.keys.values()) <= 3


def in_file(folder: Path) -> dict[str, str]:
    lines = (folder / "out" / "killed.jsonl").read_text().splitlines()
    return {row["record_key"]: row["points"] for row in map(json.loads, lines)}


def in_table(folder: Path) -> dict[str, str]:
    with duckdb.connect(folder / "crm.duckdb", read_only=True) as connection:
        return {key: str(int(points)) for key, points in connection.sql("select record_key, points from crm").fetchall()}
