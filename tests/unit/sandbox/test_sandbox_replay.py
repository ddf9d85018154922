"""Recorded webhooks are what the rehearsed store would have sent; a replay sends each until it is acknowledged."""

import base64
import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from commerce_assets.sandbox.faults import WebhookFaults
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.recording import Recording, record_traffic, recorded
from commerce_assets.sandbox.replay import ReplayError, replay
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.traffic_plan import Shares, TrafficError

BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)
SHARES = Shares(refund=0.3, fulfil=0.7, cancel=0.2)
SECRET = "a secret"
ORDERS = 12


def record(folder: Path, name: str, **more: object) -> tuple[Path, Recording]:
    store, path = folder / name, folder / f"{name}.jsonl.gz"
    fill(store, scale=0.02, seed=6, as_of=BEGIN)
    return path, record_traffic(store, path, ORDERS, 600, seed=2, shares=SHARES, starts_at=BEGIN, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recording")


@pytest.fixture(scope="module")
def recording(folder: Path) -> Path:
    return record(folder, "first")[0]


class Receiver(ThreadingHTTPServer):
    """Refuses the first requests, then takes everything."""

    daemon_threads = True

    def __init__(self, refusals: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals = refusals
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            status = 503 if self.server.refusals > 0 else 200
            self.server.refusals -= 1
            if status == 200:
                self.server.taken.append((dict(self.headers), body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def receiving(refusals: int = 0) -> Iterator[tuple[Receiver, str]]:
    server = Receiver(refusals)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/webhooks/shopify"
    finally:
        server.shutdown()
        server.server_close()


def test_the_same_store_and_seed_give_the_same_recording(folder: Path, recording: Path) -> None:
    assert list(recorded(record(folder, "again")[0])) == list(recorded(recording))


def test_the_last_word_on_every_order_is_what_the_store_says(folder: Path, recording: Path) -> None:
    last = {}
    for delivery in recorded(recording):
        if delivery.topic.startswith("orders/"):
            last[delivery.object] = json.loads(delivery.body)
    store = Store(folder / "first")
    docs = {gid: store.get_by_gid(gid) or {} for gid in last}
    store.close()
    assert len(last) == ORDERS
    for gid, body in last.items():
        assert body["financial_status"] == docs[gid]["displayFinancialStatus"].lower()
        assert [line["current_quantity"] for line in body["line_items"]] == [line["currentQuantity"] for line in docs[gid]["lineItems"]]
        assert len(body["refunds"]) == len(docs[gid].get("refunds") or ())


def test_only_the_topics_asked_for_are_recorded(folder: Path) -> None:
    path, summary = record(folder, "few", topics=["orders/create", "refunds/create"])
    assert {delivery.topic for delivery in recorded(path)} == {"orders/create", "refunds/create"} == set(summary.topics)
    assert summary.topics["orders/create"] == ORDERS


def test_every_delivery_arrives_once_signed_though_the_receiver_refuses_some(recording: Path) -> None:
    with receiving(refusals=9) as (server, url):
        summary = replay(recording, url, SECRET, speed=50, connections=4)
    expected = {delivery.webhook_id: delivery.body.encode() for delivery in recorded(recording)}
    assert {headers["X-Shopify-Webhook-Id"]: body for headers, body in server.taken} == expected
    assert summary.acknowledged == summary.deliveries == len(server.taken) == len(expected)
    assert summary.failures == {"HTTP 503": 9}
    for headers, body in server.taken:
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
        assert headers["X-Shopify-Hmac-Sha256"] == base64.b64encode(digest).decode()


def test_faults_lose_repeat_cut_and_hold_back_as_many_as_they_say(recording: Path) -> None:
    faults = WebhookFaults(duplicate=0.2, reorder=0.2, lose=0.1, malformed=0.1, hold=0.2)
    lines = list(recorded(recording))
    fates = [faults.fate(number) for number in range(1, len(lines) + 1)]
    with receiving() as (server, url):
        summary = replay(recording, url, SECRET, speed=50, faults=faults, connections=4)
    kept = [fate for fate in fates if not fate.is_lost]
    twice = sum(fate.duplicate_seconds is not None for fate in kept)
    assert (summary.lost, summary.acknowledged, summary.duplicates) == (len(fates) - len(kept), len(kept), twice)
    assert summary.malformed == sum(fate.is_malformed for fate in kept) > 0
    seen = Counter(headers["X-Shopify-Webhook-Id"] for headers, _ in server.taken)
    assert sum(count == 2 for count in seen.values()) == twice > 0
    order = [headers["X-Shopify-Webhook-Id"] for headers, _ in server.taken]
    sent = [line.webhook_id for line, fate in zip(lines, fates, strict=True) if not fate.is_lost]
    assert list(dict.fromkeys(order)) != sent


def test_an_empty_store_a_missing_recording_and_a_wrong_address_say_what_to_do(tmp_path: Path, recording: Path) -> None:
    Store(tmp_path / "empty").close()
    with pytest.raises(TrafficError, match="commerce sandbox fill"):
        record_traffic(tmp_path / "empty", tmp_path / "x.jsonl", 1)
    with pytest.raises(ReplayError, match="commerce sandbox record"):
        replay(tmp_path / "none.jsonl", "http://127.0.0.1:1/", SECRET)
    with pytest.raises(ReplayError, match="http address"):
        replay(recording, "ftp://127.0.0.1/", SECRET)
