"""A sandbox store in this same process, answering by its own code: to a client with no server in between, or over HTTP from a thread.

A process of its own takes more than a second to come up, all of it imports; what only a process shows (options of the command line, a kill)
has `support.running_sandbox`.
"""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from shopify_fakes import URL, VERSION, Clock
from support import SANDBOX_TOKEN

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.auth import Authority
from commerce_assets.sandbox.bulk import export
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.cost import PLANS
from commerce_assets.sandbox.faults import parse_faults
from commerce_assets.sandbox.reading import load_schema
from commerce_assets.sandbox.schema import answer
from commerce_assets.sandbox.server import Sandbox, build_app
from commerce_assets.sandbox.store import Store
from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.retry import RetryPolicy
from commerce_assets.sources.shopify.throttle import Throttle


class InProcessShop:
    """A store and how it answers; `requests` are the GraphQL documents and variables that came."""

    def __init__(self, store: Store, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store, self.now = store, now
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def context(self) -> Context:
        shop = self.store.shop()
        assert shop is not None
        return Context(self.store, shop, VERSION, ALL_SCOPES, clock=self.now)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        text, variables = body["query"], body.get("variables") or {}
        self.requests.append((text, variables))
        return httpx.Response(200, json=answer(self.context(), text, variables), headers={"X-Shopify-API-Version": VERSION})

    def client(self) -> ShopifyClient:
        clock = Clock()
        return ShopifyClient(
            URL,
            VERSION,
            StaticToken(URL, "secret-token"),
            throttle=Throttle(clock),
            retry=RetryPolicy(attempts=2, random=lambda: 0.5),
            transport=httpx.MockTransport(self),
            pause=clock.sleep,
        )

    def bulk(self, query: str, file: Path) -> Path:
        """The result of a bulk query as a file, as a pull leaves it."""
        out = io.BytesIO()
        export(self.context(), load_schema(VERSION), query, False, out, lambda _: None)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(out.getvalue().replace(b"\\/", b"/"))
        return file


@dataclass(frozen=True)
class ServedSandbox:
    url: str
    token: str = SANDBOX_TOKEN


@contextmanager
def served_sandbox(store_folder: Path, *faults: dict[str, Any], plan: str = "standard", seed: int = 7) -> Iterator[ServedSandbox]:
    """The sandbox's whole application on a free port of loopback, from a thread of this process."""
    with closing(Store(store_folder)) as store, socket.create_server(("127.0.0.1", 0)) as listening:
        authority = Authority(store, SANDBOX_TOKEN, "sandbox-client", "sandbox-secret")
        sandbox = Sandbox(store, authority, parse_faults({"seed": seed, "faults": list(faults)}), PLANS[plan])
        # A cut connection is an error that it would log at length.
        config = uvicorn.Config(
            build_app(sandbox), log_config=None, log_level="critical", access_log=False, lifespan="on", timeout_graceful_shutdown=3
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the sandbox did not start"
                thread.join(0.02)
            yield ServedSandbox(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive(), "the sandbox did not stop"
