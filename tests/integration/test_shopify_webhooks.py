"""What the shop delivers of orders lands as what it answers when it is asked: subscriptions, payloads and documents over HTTP."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import RunningSandbox, running_sandbox

from commerce_assets.lake import Lake, ReplaceDays, land
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.traffic import run_traffic
from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.changes import changed_since
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.documents_by_id import fetch_documents
from commerce_assets.sources.shopify.mapping import MAPPINGS
from commerce_assets.sources.shopify.throttle import Throttle
from commerce_assets.sources.shopify.webhook_mapping import WEBHOOK_MAPPINGS
from commerce_assets.sources.shopify.webhook_subscriptions import apply, plan, read, to_address

pytestmark = [pytest.mark.xdist_group("shopify-webhooks"), pytest.mark.timeout(120)]
Json = dict[str, Any]
EVER = ReplaceDays(date(2020, 1, 1), date(2030, 1, 1))
PARTS = {"order_transactions/create": "transactions", "refunds/create": "refunds", "fulfillments/create": "fulfillments"}
WHOLE = ("orders/create", "orders/updated", "orders/paid", "orders/cancelled", "orders/fulfilled", "orders/partially_fulfilled")
NOT_IN_TRAFFIC = ("discount_applications", "shipping_lines", "tax_lines")
UNKNOWN_BY_NATURE = {"orders": {"company_name"}, "refunds": {"updated_at"}, "fulfillment_lines": {"fulfillment_line_id"}}


class Listener:
    """Takes deliveries: topic, moment and body, as received."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[str, str, bytes]] = []
        self._guard = threading.Lock()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with listener._guard:
                    listener.deliveries.append((self.headers["X-Shopify-Topic"], self.headers["X-Shopify-Triggered-At"], body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/shopify"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    folder = tmp_path_factory.mktemp("webhooks")
    fill(folder / "store", scale=0.01, seed=5)
    with running_sandbox(folder / "store", "--plan", "plus", "--webhook-clock-speed", "500") as running:
        yield running


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.server.shutdown()
    listening.server.server_close()


def wait_for_deliveries(sandbox: RunningSandbox) -> None:
    for _ in range(300):
        counts = httpx.get(f"{sandbox.url}/sandbox/webhooks?limit=1").json()
        if counts["emitted"] == counts["delivered"] > 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"deliveries are still under way: {counts}")


def envelopes(deliveries: list[tuple[str, str, bytes]]) -> dict[int, bytes]:
    """By order the line that is to land: its newest payload with its parts, every body as it was received."""
    newest: dict[int, tuple[str, str, bytes]] = {}
    parts: dict[int, dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for topic, triggered_at, body in deliveries:
        document = json.loads(body)
        if topic in PARTS:
            parts[document["order_id"]][PARTS[topic]].append(body)
        elif topic in WHOLE:
            version = (document["updated_at"], triggered_at, body)
            newest[document["id"]] = max(newest.get(document["id"], version), version)
    return {
        number: b'{"id":"gid://shopify/Order/%d","webhook":"w","topic":"orders/updated","order":%s,%s}'
        % (number, body, b",".join(b'"%s":[%s]' % (kind.encode(), b",".join(parts[number][kind])) for kind in PARTS.values()))
        for number, (_, _, body) in newest.items()
    }


def test_what_is_delivered_lands_as_what_is_read(
    sandbox: RunningSandbox, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_assets.sandbox.traffic_plan.SECONDS_BETWEEN_STEPS", (0.0, 0.1))
    started = datetime.now(UTC) - timedelta(seconds=2)
    with ShopifyClient(sandbox.url, "2026-10", StaticToken(sandbox.url, sandbox.token), throttle=Throttle()) as client:
        apply(client, plan(to_address([*WHOLE, *PARTS], listener.url), read(client)))
        assert len(read(client)) == len(WHOLE) + len(PARTS)

        traffic = run_traffic(sandbox.url, sandbox.token, 1_800, 1 / 60, seed=3, refund_share=0.3, fulfil_share=0.7, cancel_share=0.1)
        assert traffic.errors == {}
        wait_for_deliveries(sandbox)
        apply(client, plan([], read(client)))

        lines = envelopes(listener.deliveries)
        assert len(lines) == traffic.done["orders"]
        changed = changed_since(client, "Order", started, 1_000)
        assert {number for number, _ in changed} == lines.keys()
        received, asked = Lake(tmp_path / "received"), Lake(tmp_path / "asked")
        for lake in (received, asked):
            lake.ensure()
        file = received.new_load_dir("storefront", "orders", "load") / "payloads.jsonl"
        file.write_bytes(b"".join(line + b"\n" for line in lines.values()))
        documents = fetch_documents(client, "Order", lines, asked.new_load_dir("storefront", "orders", "load"))

    assert documents.versions == dict(changed)
    for lake, mapping, files in ((received, WEBHOOK_MAPPINGS, [file]), (asked, MAPPINGS, documents.files)):
        report = land(lake, "orders", mapping["orders"], files, "load", EVER)
        assert report.quarantined == report.duplicates == report.broken_lines == 0
    for table in MAPPINGS["orders"].tables:
        columns = [name for name in table.contract.schema if name not in UNKNOWN_BY_NATURE.get(table.table, ())]
        ours, theirs = (lake.read(table.table).select(columns).sort(list(table.contract.key)) for lake in (received, asked))
        assert ours.height > 0 or table.table in NOT_IN_TRAFFIC, table.table
        for column in columns:
            assert ours[column].equals(theirs[column]), (table.table, column)
