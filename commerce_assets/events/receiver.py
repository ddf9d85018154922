"""The receiver: webhooks and warehouse reports over HTTP, answered 200 only when they are durably in the inbox.

Belongs here: HTTP: routes, limits, statuses, health. Does not belong here: what is ours (intake_rules.py), storing (intake_writer.py,
inbox.py), and acting on events (the worker, another process).

    200 stored, or came before      400 a header is missing, or not JSON where it must be     401 not signed by us
    403 another shop's              404 a topic not taken     408 the body took too long      409 the idempotency key was used for another body
    413 too large                   503 cannot be stored now: try again (Retry-After)

One process, one event loop. The endpoints that are called thousands of times a second are plain ASGI, without request objects.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from commerce_assets.config import Settings
from commerce_assets.events import metrics
from commerce_assets.events.inbox import Inbox, InboxError, InboxFullError
from commerce_assets.events.intake_rules import IntakeRules, RefusedError, moment, rejection
from commerce_assets.events.intake_writer import GroupWriter
from commerce_assets.events.metrics import Progress
from commerce_assets.events.records import Delivery
from commerce_assets.events.signatures import is_signed

WEBHOOKS_PATH, STOCK_PATH = "/webhooks/shopify", "/inventory/wms"
STOCK_TOPIC = "wms/stock"
IDEMPOTENCY_CHARACTERS = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReceiverOptions:
    """How the receiver behaves. `progress` tells how far the worker is; without it, no backlog is known and none limits."""

    rules: IntakeRules
    stock_secrets: tuple[str, ...] = ()
    """Sign `POST /inventory/wms`; none: everything is refused there."""
    body_limit: int = 8_000_000
    """Bytes of one body."""
    held_bytes_limit: int = 256 * 2**20
    """Bytes of all bodies that are being received or wait to be stored."""
    body_seconds: float = 10.0
    """For which a body may take to arrive."""
    backlog_limit: int = 2_000_000
    """Events not yet worked above which nothing is taken."""
    backlog_every_seconds: float = 2.0
    retry_after_seconds: int = 5
    progress: Callable[[], Progress] | None = None

    @classmethod
    def of(cls, settings: Settings, progress: Callable[[], Progress] | None = None) -> "ReceiverOptions":
        """As configured."""
        return cls(
            IntakeRules.of(settings),
            (settings.wms_secret.get_secret_value(),) if settings.wms_secret else (),
            body_limit=settings.webhook_body_limit,
            backlog_limit=settings.inbox_backlog_limit,
            progress=progress,
        )


def build_app(options: ReceiverOptions, inbox: Inbox, writer: GroupWriter | None = None) -> Starlette:
    """The ASGI application; storing starts and ends with its lifespan. `writer` only to measure without one."""
    receiver = Receiver(options, inbox, writer or GroupWriter(inbox))
    return Starlette(
        routes=[
            Route(WEBHOOKS_PATH, receiver.webhooks, methods=["POST"]),
            Route(STOCK_PATH, receiver.stock, methods=["POST"]),
            Route("/healthz", receiver.healthz),
            Route("/readyz", receiver.readyz),
            Route("/metrics", receiver.metrics),
        ],
        lifespan=receiver.lifespan,
    )


def server_config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    """How uvicorn runs it: uvloop and httptools, no log line a request (it would hold nothing but addresses)."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_level="warning",
        # Longer than senders keep an idle connection: one that is closed just when it is used again is a failed delivery.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


class Receiver:
    """The endpoints over one inbox."""

    def __init__(self, options: ReceiverOptions, inbox: Inbox, writer: GroupWriter) -> None:
        self.options = options
        self._inbox = inbox
        self._writer = writer
        self.bodies = _Bodies(options)
        self._backlog: list[metrics.TopicBacklog] = []
        self._stored_at_look = 0
        self._backlog_events = 0
        self._progress = Progress()
        self.webhooks = _Endpoint(self, "webhook", self._take_webhook)
        self.stock = _Endpoint(self, "wms", self._take_stock)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._writer.start()
        watch = asyncio.create_task(self._watch_backlog())
        try:
            yield
        finally:
            watch.cancel()
            await self._writer.stop()

    async def healthz(self, _: Request) -> Response:
        """Whether this process is worth keeping."""
        return JSONResponse({"status": "ok"}) if self._writer.is_alive else JSONResponse({"status": "the writer has ended"}, 503)

    async def readyz(self, _: Request) -> Response:
        """Whether events can be taken now; right after a failure it says no, and then that it is worth a try."""
        failed_at = self._writer.failed_at
        if not self._writer.is_alive:
            return self._not_ready("the writer has ended")
        if failed_at is not None and time.monotonic() - failed_at < self.options.retry_after_seconds:
            return self._not_ready("the inbox cannot store")
        if self._is_backlog_full():
            return self._not_ready("the backlog is at its limit")
        return JSONResponse({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """Prometheus text."""
        try:
            totals = await asyncio.to_thread(self._inbox.totals)
        except InboxError as error:
            return self._not_ready(str(error))
        shown = [
            *metrics.inbox_metrics(totals, self._backlog, datetime.now(UTC)),
            metrics.summary("commerce_events_store_seconds", "From received to durably stored.", self._writer.store_seconds),
            metrics.summary("commerce_events_delivery_seconds", "From triggered in the shop to received.", self._writer.delivery_seconds),
            *self._progress.metrics,
        ]
        return Response(metrics.exposition(shown), media_type=metrics.CONTENT_TYPE)

    async def _take_webhook(self, headers: dict[str, str], body: bytes, received_at: datetime) -> bool:
        rules = self.options.rules
        rules.check_signature(headers, body)
        return await self._store(rules.delivery("webhook", headers, body, received_at))

    async def _take_stock(self, headers: dict[str, str], body: bytes, received_at: datetime) -> bool:
        signature = headers.get("x-signature", "")
        if not is_signed(body, signature.encode("utf-8", "replace"), self.options.stock_secrets):
            raise RefusedError(
                401, "bad_signature", "header X-Signature must be base64 of HMAC-SHA256 of the body with COMMERCE_WMS_SECRET"
            )
        key = headers.get("idempotency-key", "").strip()
        if not key or len(key) > IDEMPOTENCY_CHARACTERS or not key.isprintable():
            raise RefusedError(
                400, "missing_header", f"header Idempotency-Key must have 1 to {IDEMPOTENCY_CHARACTERS} printable characters"
            )
        webhook_id = f"wms:{key}"
        delivery = Delivery(
            source="wms",
            webhook_id=webhook_id,
            topic=STOCK_TOPIC,
            shop=self.options.rules.shop,
            body=body,
            received_at=received_at,
            triggered_at=_occurred_at(body),
            object_type="StockFact",
        )
        is_new = await self._store(delivery)
        if not is_new:
            before = await asyncio.to_thread(self._inbox.by_webhook_id, webhook_id)
            if before is not None and before.delivery.body != body:
                raise RefusedError(409, "key_reused", "this Idempotency-Key came with another body before; use a new key for a new report")
        return is_new

    async def _store(self, delivery: Delivery) -> bool:
        if self._is_backlog_full():
            raise RefusedError(503, "backlog", "too many events wait to be worked; see that the worker runs (`commerce worker`)")
        return await self._writer.store(delivery)

    def _is_backlog_full(self) -> bool:
        return self._backlog_events + self._writer.stored - self._stored_at_look >= self.options.backlog_limit

    async def _watch_backlog(self) -> None:
        """Look at how far the worker is. While that cannot be seen, what is stored since counts as not worked."""
        while self.options.progress:
            try:
                stored = self._writer.stored
                self._progress = await asyncio.to_thread(self.options.progress)
                self._backlog = await asyncio.to_thread(self._inbox.backlog, metrics.topic_cursors(self._progress))
                self._backlog_events, self._stored_at_look = sum(one.events for one in self._backlog), stored
            except InboxError as error:
                _log.warning("the backlog is not known: %s", error)
            await asyncio.sleep(self.options.backlog_every_seconds)

    def count_refused(self, source: str, headers: dict[str, str], error: RefusedError, received_at: datetime) -> None:
        """Count what is not taken; the log gets no line a request."""
        self._writer.reject(rejection(source, headers, error.reason, received_at))

    def _not_ready(self, why: str) -> Response:
        return JSONResponse({"status": why}, 503, {"Retry-After": str(self.options.retry_after_seconds)})


class _Endpoint:
    """A POST route as plain ASGI: reads the body within the limits, has it taken, answers."""

    def __init__(self, receiver: Receiver, source: str, take: Callable[[dict[str, str], bytes, datetime], Awaitable[bool]]) -> None:
        self._receiver = receiver
        self._source = source
        self._take = take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received_at = datetime.now(UTC)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            with self._receiver.bodies.holding() as held:
                body = await self._receiver.bodies.read(headers, receive, held)
                if body is None:  # the sender left, nobody waits for an answer
                    return
                is_new = await self._take(headers, body, received_at)
            await _send(send, 200, _STORED if is_new else _DUPLICATE)
        except RefusedError as error:
            await self._refuse(send, headers, received_at, error)
        except InboxFullError as error:
            await self._refuse(send, headers, received_at, RefusedError(503, "inbox_full", str(error)))
        except InboxError as error:
            await self._refuse(send, headers, received_at, RefusedError(503, "inbox_unavailable", str(error)))

    async def _refuse(self, send: Send, headers: dict[str, str], received_at: datetime, error: RefusedError) -> None:
        self._receiver.count_refused(self._source, headers, error, received_at)
        more: list[tuple[bytes, bytes]] = []
        if error.status == 503:
            more.append((b"retry-after", str(self._receiver.options.retry_after_seconds).encode()))
        if error.status in (408, 413):  # the rest of the body is not read
            more.append((b"connection", b"close"))
        await _send(send, error.status, orjson.dumps({"status": error.reason, "message": str(error)}), more)


class _Bodies:
    """Reads bodies within the limits of one body, of all bodies held at a time, and of time."""

    def __init__(self, options: ReceiverOptions) -> None:
        self._options = options
        self._held_bytes = 0

    @contextmanager
    def holding(self) -> Iterator[list[int]]:
        """The one number in the list counts as held until the request is answered."""
        held = [0]
        try:
            yield held
        finally:
            self._held_bytes -= held[0]

    async def read(self, headers: dict[str, str], receive: Receive, held: list[int]) -> bytes | None:
        """The whole body; None when the sender left before its end."""
        declared = headers.get("content-length", "")
        if len(declared) < 20 and declared.isascii() and declared.isdigit() and int(declared) > self._options.body_limit:
            raise self._too_large()
        chunks: list[bytes | None] = []
        message: Message = {"more_body": True}
        try:
            async with asyncio.timeout(self._options.body_seconds):
                while message.get("more_body"):
                    message = await receive()
                    chunks.append(self._chunk(message, held))
        except TimeoutError:
            raise RefusedError(408, "too_slow", f"a body may take {self._options.body_seconds:g} s to arrive") from None
        return None if None in chunks else b"".join(chunk for chunk in chunks if chunk)

    def _chunk(self, message: Message, held: list[int]) -> bytes | None:
        if message["type"] != "http.request":
            return None
        chunk: bytes = message.get("body", b"")
        if held[0] + len(chunk) > self._options.body_limit:
            raise self._too_large()
        if self._held_bytes + len(chunk) > self._options.held_bytes_limit:
            raise RefusedError(503, "memory", "too many bytes are being received; try again")
        self._held_bytes += len(chunk)
        held[0] += len(chunk)
        return chunk

    def _too_large(self) -> RefusedError:
        return RefusedError(413, "too_large", f"a body may have {self._options.body_limit} bytes")


_STORED, _DUPLICATE = b'{"status":"stored"}', b'{"status":"duplicate"}'


async def _send(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def _occurred_at(body: bytes) -> datetime | None:
    """The earliest moment of the facts of a report, as far as they say; 400 where it is no report at all."""
    try:
        report = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError(400, "not_json", "the body is not JSON") from None
    facts = report.get("facts", [report]) if isinstance(report, dict) else None
    if not isinstance(facts, list):
        raise RefusedError(400, "not_a_report", 'the body must be a stock fact, or {"facts": [...]}')
    moments = [found for fact in facts if isinstance(fact, dict) and (found := moment(fact.get("occurred_at")))]
    return min(moments, default=None)
