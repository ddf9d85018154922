"""What tests may see and do of webhooks over HTTP, from this machine only.

Belongs here: `GET /sandbox/webhooks` and `POST /sandbox/webhooks/emit`, which the real store does not have. Does not belong here:
anything the platform relies on.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks.changes import Recorder
from commerce_assets.sandbox.webhooks.delivery import Deliverer
from commerce_assets.sandbox.webhooks.subscriptions import is_loopback

PAGE = 1_000
LARGEST_PAGE = 20_000
TOPIC = re.compile(r"[a-z_]+[/.][a-z_/]+")
ADDRESS = re.compile(r"https?://[^\s/]+\S*")
MOMENT = re.compile(r"[0-9T:.Z+-]{10,40}")
STATES = ("pending", "delivered", "failed", "removed", "lost")
_EVENT = [
    "seq",
    "webhook_id",
    "event_id",
    "subscription_id",
    "topic",
    "object",
    "order_id",
    "triggered_at",
    "state",
    "attempts",
    "duplicates",
    "fault",
    "next_at",
    "ended_at",
]

Handler = Callable[[Request], Awaitable[Response]]


class AdminError(ValueError):
    """A request that cannot be done; the message says what to change."""


def routes(store: Store, recorder: Recorder, deliverer: Deliverer) -> list[Route]:
    """The routes of a store."""

    async def overview(request: Request) -> Response:
        return _json(await run_in_threadpool(_overview, store, deliverer, request.query_params))

    async def attempts(request: Request) -> Response:
        return _json(await run_in_threadpool(_attempts, store, request.query_params))

    async def emit(request: Request) -> Response:
        topic, body, uri, triggered_at = _wanted(await request.body())
        ids = await run_in_threadpool(recorder.emit, store, topic, body, uri, triggered_at)
        return _json({"webhook_ids": ids})

    return [
        Route("/sandbox/webhooks", _from_here(overview)),
        Route("/sandbox/webhooks/attempts", _from_here(attempts)),
        Route("/sandbox/webhooks/emit", _from_here(emit), methods=["POST"]),
    ]


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def _from_here(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        if request.client is None or not is_loopback(request.client.host):
            return _json({"errors": "only from this machine"}, 403)
        try:
            return await handler(request)
        except AdminError as problem:
            return _json({"errors": str(problem)}, 400)

    return handle


def _overview(store: Store, deliverer: Deliverer, asked: Mapping[str, str]) -> dict[str, Any]:
    """Counts by topic and state, and a page of events (after `after`, at most `limit`, of `topic` and `state` where given)."""
    after, limit = _number(asked, "after", 0), min(_number(asked, "limit", PAGE), LARGEST_PAGE)
    conditions: list[str] = ["seq > ?"]
    values: list[Any] = [after]
    for name in ("topic", "state", "object"):
        if name in asked:
            conditions.append(f"{name} = ?")
            values.append(asked[name])
    connection = store.connection
    rows = connection.execute(
        f"SELECT {', '.join(_EVENT)} FROM webhook_events WHERE {' AND '.join(conditions)} ORDER BY seq LIMIT ?", [*values, limit]
    ).fetchall()
    topics: dict[str, dict[str, int]] = {}
    totals = dict.fromkeys(("emitted", *STATES, "attempts", "duplicates", "malformed"), 0)
    for topic, state, count, tried, twice, cut in connection.execute(
        "SELECT topic, state, count(*), sum(attempts), sum(duplicates), sum(coalesce(fault, '') LIKE '%malformed%')"
        " FROM webhook_events GROUP BY topic, state"
    ):
        counts = topics.setdefault(topic, dict.fromkeys(totals, 0))
        for names, figure in ((("emitted", state), count), (("attempts",), tried), (("duplicates",), twice), (("malformed",), cut)):
            for name in names:
                counts[name] += figure
                totals[name] += figure
    return {
        **totals,
        "waiting": deliverer.waiting,
        "topics": topics,
        "events": [dict(zip(_EVENT, row, strict=True)) for row in rows],
        "next": rows[-1][0] if rows else None,
    }


def _attempts(store: Store, asked: Mapping[str, str]) -> dict[str, Any]:
    """The attempts of deliveries after `after`, by delivery: number, time, status, problem, milliseconds."""
    after, limit = _number(asked, "after", 0), min(_number(asked, "limit", PAGE), LARGEST_PAGE)
    names = ("seq", "attempt", "at", "status", "problem", "milliseconds")
    rows = store.connection.execute(
        f"SELECT {', '.join(names)} FROM webhook_attempts WHERE seq > ? ORDER BY seq, attempt LIMIT ?", (after, limit)
    ).fetchall()
    return {"attempts": [dict(zip(names, row, strict=True)) for row in rows], "next": rows[-1][0] if rows else None}


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isdecimal():
        raise AdminError(f"{name} is a number, not {text!r}")
    return int(text)


def _wanted(content: bytes) -> tuple[str, bytes, str | None, str | None]:
    """(topic, body, address, triggered at) of an emission; the body is `body` as JSON, `raw` as text or `base64` as bytes."""
    try:
        wanted = orjson.loads(content)
    except orjson.JSONDecodeError as problem:
        raise AdminError(f"not JSON: {problem}") from problem
    if not isinstance(wanted, dict) or not TOPIC.fullmatch(str(wanted.get("topic"))):
        raise AdminError('an emission is {"topic": "shop/redact", "body": {…}} (or "raw": text, or "base64": bytes)')
    if "base64" in wanted:
        try:
            body = base64.b64decode(wanted["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as problem:
            raise AdminError(f"base64: {problem}") from problem
    else:
        body = str(wanted["raw"]).encode("utf-8", "surrogatepass") if "raw" in wanted else orjson.dumps(wanted.get("body", {}))
    uri, triggered_at = wanted.get("uri"), wanted.get("triggered_at")
    if uri is not None and not ADDRESS.fullmatch(str(uri)):
        raise AdminError(f"uri is an http(s) address, not {uri!r}")
    if triggered_at is not None and not MOMENT.fullmatch(str(triggered_at)):
        raise AdminError(f"triggered_at is a moment like 2026-11-21T04:30:00.123456789Z, not {triggered_at!r}")
    return wanted["topic"], body, uri, triggered_at
