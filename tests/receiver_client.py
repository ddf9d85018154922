"""A receiver in a thread of the test's process, and deliveries signed as a shop signs them."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from support import free_port

from commerce_assets.events.inbox import Inbox
from commerce_assets.events.intake_rules import IntakeRules
from commerce_assets.events.receiver import ReceiverOptions, build_app, server_config
from commerce_assets.events.signatures import sign

SHOP, SECRET, OLD_SECRET, STOCK_SECRET = "ours.myshopify.com", "current", "previous", "warehouse"
RULES = IntakeRules(SHOP, (SECRET, OLD_SECRET))
_numbers = itertools.count(1)
# One for all tests: making one costs more than a request. No connection is kept, for each test has its own server.
CLIENT = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


def webhook_headers(body: bytes, topic: str = "orders/updated", secret: str = SECRET, **more: str | None) -> dict[str, str]:
    """A delivery's headers; `more` by their name without `X-Shopify-`, None leaves one out."""
    headers: dict[str, str | None] = {
        "topic": topic,
        "hmac-sha256": sign(body, secret),
        "shop-domain": SHOP,
        "webhook-id": f"webhook-{next(_numbers)}",
        "triggered-at": "2026-11-21T12:00:00.123456789Z",
        "event-id": "event-1",
        "api-version": "2026-07",
    }
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    return {f"X-Shopify-{name.title()}": value for name, value in headers.items() if value is not None}


@dataclass(frozen=True)
class RunningReceiver:
    url: str
    inbox: Inbox

    def deliver(self, body: bytes, topic: str = "orders/updated", **more: str | None) -> httpx.Response:
        return CLIENT.post(f"{self.url}/webhooks/shopify", content=body, headers=webhook_headers(body, topic, **more))


@contextmanager
def running_receiver(inbox: Inbox, options: ReceiverOptions | None = None) -> Iterator[RunningReceiver]:
    """The real server on a free port, in a thread; everything taken is stored when it ends."""
    port = free_port()
    app = build_app(options or ReceiverOptions(RULES, (STOCK_SECRET,)), inbox)
    server = uvicorn.Server(server_config(app, "127.0.0.1", port))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the receiver did not start"
            thread.join(0.02)
        yield RunningReceiver(f"http://127.0.0.1:{port}", inbox)
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
