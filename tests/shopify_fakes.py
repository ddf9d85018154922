"""A shop made of Python functions, and a clock that only moves when somebody sleeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from commerce_assets.sources.shopify.auth import Auth, StaticToken
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.retry import RetryPolicy
from commerce_assets.sources.shopify.throttle import Throttle

URL = "https://shop.example"
VERSION = "2026-10"
Handler = Callable[[httpx.Request], httpx.Response]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def answer(
    data: dict[str, Any] | None = None,
    *,
    requested: float = 1,
    actual: float | None = None,
    available: float = 1_999,
    maximum: float = 2_000,
    rate: float = 100,
    version: str | None = VERSION,
    **extra: Any,
) -> httpx.Response:
    """A GraphQL answer as recorded from real shops."""
    body: dict[str, Any] = {
        "extensions": {
            "cost": {
                "requestedQueryCost": requested,
                "actualQueryCost": requested if actual is None else actual,
                "throttleStatus": {"maximumAvailable": maximum, "currentlyAvailable": available, "restoreRate": rate},
            },
            **extra.pop("extensions", {}),
        },
        **extra,
    }
    if data is not None:
        body["data"] = data
    return httpx.Response(200, json=body, headers={"X-Shopify-API-Version": version} if version else {})


def throttled(requested: float, available: float, rate: float = 100) -> httpx.Response:
    return answer(None, requested=requested, actual=None, available=available, rate=rate, errors=[error("Throttled", "THROTTLED")])


def error(message: str, code: str, **extensions: Any) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code, **extensions}}


def client_of(
    handler: Handler, clock: Clock | None = None, *, auth: Auth | None = None, attempts: int = 4, **options: Any
) -> ShopifyClient:
    clock = clock or Clock()
    return ShopifyClient(
        URL,
        VERSION,
        auth or StaticToken(URL, "secret-token"),
        throttle=options.pop("throttle", None) or Throttle(clock),
        retry=RetryPolicy(attempts=attempts, random=lambda: 0.5),
        transport=httpx.MockTransport(handler),
        pause=clock.sleep,
        **options,
    )


@dataclass
class Script:
    """Answers in turn; exceptions are raised; remembers the requests."""

    steps: list[httpx.Response | Exception]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


class CutStream(httpx.SyncByteStream):
    """A body in chunks, that may end before it is whole."""

    def __init__(self, body: bytes, chunk: int = 7, is_cut: bool = True) -> None:
        self.body, self.chunk, self.is_cut = body, chunk, is_cut

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.body), self.chunk):
            yield self.body[at : at + self.chunk]
        if self.is_cut:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


@dataclass
class Storage:
    """A storage host: serves one body, in ranges, cut after `cuts` bytes once each, or not at all."""

    body: bytes
    cuts: list[int] = field(default_factory=list)
    etag: str | None = '"v1"'
    resumes: bool = True
    troubles: list[httpx.Response] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.troubles:
            return self.troubles.pop(0)
        start = 0
        status, headers = 200, {"ETag": self.etag} if self.etag else {}
        wanted = request.headers.get("Range")
        if wanted and self.resumes:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.body):
                return httpx.Response(416)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        rest = self.body[start:]
        if self.cuts:
            return httpx.Response(status, headers=headers, stream=CutStream(rest[: self.cuts.pop(0)]))
        return httpx.Response(status, headers=headers, stream=CutStream(rest, 1_000, is_cut=False))


class BulkShop:
    """Bulk operations as scripted: each start takes the next of `ends`, which is over at the second look."""

    def __init__(self, ends: list[dict[str, Any]], storage: Storage | None = None) -> None:
        self.ends, self.storage = ends, storage or Storage(b"")
        self.starts: list[str] = []
        self.looks: dict[str, int] = {}
        self.cancelled: list[str] = []
        self.refusals: list[list[dict[str, Any]]] = []
        self.silent_starts = 0
        self.lost_starts = 0
        self.uploads: list[bytes] = []
        self.other: Handler | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "storage.example":
            assert "X-Shopify-Access-Token" not in request.headers
            if request.method == "POST":
                self.uploads.append(request.content)
                return httpx.Response(201)
            return self.storage(request)
        body = json.loads(request.content)
        query, variables = body["query"], body.get("variables", {})
        for field_name, root in (("query", "bulkOperationRunQuery"), ("mutation", "bulkOperationRunMutation")):
            if f"{root}(" in query:
                return self._start(root, variables[field_name])
        if "bulkOperationCancel(" in query:
            self.cancelled.append(variables["id"])
            return answer({"bulkOperationCancel": {"bulkOperation": {"id": variables["id"], "status": "CANCELING"}, "userErrors": []}})
        if "bulkOperation(" in query:
            return answer({"bulkOperation": self._look(variables["id"])})
        if "bulkOperations(" in query:
            edges = [{"node": {"id": self._id(number), "query": text}} for number, text in enumerate(self.starts)]
            return answer({"bulkOperations": {"edges": edges[::-1]}})
        if "stagedUploadsCreate(" in query:
            parameters = [{"name": "key", "value": f"tmp/{variables['input'][0]['filename']}"}, {"name": "acl", "value": "private"}]
            target = {"url": "https://storage.example/", "resourceUrl": "https://storage.example/", "parameters": parameters}
            return answer({"stagedUploadsCreate": {"stagedTargets": [target], "userErrors": []}})
        if "FilterCheck" in query:
            return answer({})
        assert self.other is not None, f"unexpected request: {query[:80]}"
        return self.other(request)

    def _start(self, root: str, text: str) -> httpx.Response:
        if self.refusals:
            return answer({root: {"bulkOperation": None, "userErrors": self.refusals.pop(0)}})
        if self.lost_starts:
            self.lost_starts -= 1
            raise httpx.ReadTimeout("lost on the way there")
        self.starts.append(text)
        if self.silent_starts:
            self.silent_starts -= 1
            raise httpx.ReadTimeout("lost on the way back")
        operation = {"id": self._id(len(self.starts) - 1), "status": "CREATED", "createdAt": "2026-11-21T00:00:00Z"}
        return answer({root: {"bulkOperation": operation, "userErrors": []}})

    def _id(self, number: int) -> str:
        return f"gid://shopify/BulkOperation/{number}"

    def _look(self, operation_id: str) -> dict[str, Any]:
        self.looks[operation_id] = self.looks.get(operation_id, 0) + 1
        end = self.ends[int(operation_id.rsplit("/", 1)[1])]
        common = {
            "id": operation_id,
            "type": "QUERY",
            "errorCode": None,
            "createdAt": "2026-11-21T00:00:00Z",
            "completedAt": None,
            "objectCount": "0",
            "rootObjectCount": "0",
            "fileSize": None,
            "url": None,
            "partialDataUrl": None,
        }
        return {**common, "status": "RUNNING"} if self.looks[operation_id] == 1 else {**common, **end}


def completed(body: bytes, roots: int | None = None) -> dict[str, Any]:
    """The end of an operation whose result is `body`."""
    lines = body.count(b"\n")
    return {
        "status": "COMPLETED",
        "objectCount": str(lines),
        "rootObjectCount": str(lines if roots is None else roots),
        "fileSize": str(len(body)) if body else None,
        "url": "https://storage.example/result?Signature=hush" if body else None,
    }
