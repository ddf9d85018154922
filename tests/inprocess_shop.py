"""A client of a sandbox store in this same process: every query is answered by the sandbox's own code, no server in between."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from shopify_fakes import URL, VERSION, Clock

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.bulk import export
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.reading import load_schema
from commerce_assets.sandbox.schema import answer
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
