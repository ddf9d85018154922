"""The resident service in processes of its own over a sandbox store, and readers of what both sides hold, for end-to-end and chaos tests."""

import base64
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from support import REPOSITORY, RunningSandbox, free_port

WMS_SECRET = "test-wms-secret"
FINAL = ("applied", "superseded", "duplicate", "dead", "discarded")
Shelf = tuple[int, int]


@dataclass
class Service:
    """Receiver and worker as two processes that a test can kill one by one. `start` and `kill` take `receiver`, `worker` or `service` (both)."""

    sandbox: RunningSandbox
    root: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPIFY_", "COMMERCE_", "DAGSTER_"))}
        own = {
            "COMMERCE_DATA_ROOT": str(self.root),
            "SHOPIFY_URL": self.sandbox.url,
            "COMMERCE_EVENTS_PORT": str(self.port),
            "COMMERCE_WMS_SECRET": WMS_SECRET,
        }
        return {**inherited, **own, **self.settings}

    def commerce(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `commerce …` against this shop and data root."""
        command = [sys.executable, "-m", "commerce_assets.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=REPOSITORY, timeout=timeout)

    def start(self, name: str) -> None:
        arguments = {"receiver": ["serve", "--no-worker"], "worker": ["worker"], "service": ["serve"]}[name]
        with (self.root.parent / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "commerce_assets.cli", *arguments], stdout=log, stderr=log, env=self.environment, cwd=REPOSITORY
            )

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def wait_until_ready(self) -> None:
        eventually(lambda: _answers(f"{self.url}/readyz"), "the receiver is ready", 60)

    def report_stock(self, facts: list[dict[str, Any]], key: str, tries: int = 200) -> None:
        """Post facts as a warehouse does: again with the same key until they are taken."""
        body = json.dumps({"facts": facts}).encode()
        signature = base64.b64encode(hmac.new(WMS_SECRET.encode(), body, hashlib.sha256).digest()).decode()
        headers = {"X-Signature": signature, "Idempotency-Key": key, "Content-Type": "application/json"}
        for _ in range(tries):
            try:
                answer = httpx.post(f"{self.url}/inventory/wms", content=body, headers=headers, timeout=10)
                if answer.status_code == httpx.codes.OK:
                    return
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the receiver took no report in {tries} tries")

    def status(self) -> dict[str, Any]:
        done = self.commerce("status", "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def event_rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the worker's books."""
        return _rows(self.root / "events.sqlite", sql)

    def inbox_rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the inbox."""
        return _rows(self.root / "inbox.sqlite", sql)

    def store_rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the sandbox store."""
        return _rows(self.sandbox.store / "store.sqlite", sql)

    def storefront_stock(self) -> dict[Shelf, dict[str, int]]:
        """Quantities of every level of the store."""
        rows = self.store_rows("select item_id, location_id, quantities from inventory where is_active")
        return {(item, location): json.loads(quantities) for item, location, quantities in rows}

    def emitted(self) -> list[dict[str, Any]]:
        """Every event that the store emitted, with what became of its delivery."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = httpx.get(f"{self.sandbox.url}/sandbox/webhooks", params={"limit": 20_000, "after": after}, timeout=30).json()
            found += page["events"]
            if not page["events"] or page["next"] is None:
                return found

    def is_delivered(self) -> bool:
        """Whether the store has nothing more to deliver."""
        page = httpx.get(f"{self.sandbox.url}/sandbox/webhooks", params={"limit": 1, "state": "pending"}, timeout=30).json()
        return not page["events"] and not page["waiting"]


@contextmanager
def service(folder: Path, sandbox: RunningSandbox, **settings: str) -> Iterator[Service]:
    """A service with an empty data root, not started; stopped at the end."""
    root = folder / "run"
    root.mkdir(parents=True)
    made = Service(sandbox, root, free_port(), settings)
    try:
        yield made
    finally:
        made.stop()


def eventually(is_so: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait until something is so; fail by saying what never was."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


def count_of(shelf: Shelf, quantity: int, key: str) -> dict[str, Any]:
    """A warehouse's count of a shelf, as of now."""
    return _fact("count", shelf, quantity, key)


def movement_of(shelf: Shelf, quantity: int, key: str) -> dict[str, Any]:
    """A warehouse's movement on a shelf, as of now."""
    return _fact("movement", shelf, quantity, key)


def _fact(kind: str, shelf: Shelf, quantity: int, key: str) -> dict[str, Any]:
    item, location = shelf
    named = {"key": key, "kind": kind, "inventory_item_id": item, "location_id": location}
    return {**named, "quantity": quantity, "occurred_at": datetime.now(UTC).isoformat()}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
