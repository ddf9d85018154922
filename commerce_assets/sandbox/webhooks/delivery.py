"""Sending what `webhook_events` holds: signed, over connections that stay open, again when it failed.

Belongs here: the thread that delivers, its attempts and their outcomes. Does not belong here: what is sent (changes.py).

A delivery is `pending` until it is `delivered`, `failed` (every retry failed), `removed` (its subscription is gone) or `lost` (a
fault on request: never sent). Outcomes are written in batches; a store killed in between delivers the last ones again, under the
same webhook id. Anything but a 2xx within five seconds is a failure, as in the real store. A subscription is removed when a
delivery has used up its retries and nothing reached the subscriber since that delivery's first attempt.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import heapq
import hmac
import re
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from commerce_assets.sandbox.context import report
from commerce_assets.sandbox.documents import instant
from commerce_assets.sandbox.faults import WebhookFaults
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks.changes import nanoseconds_text
from commerce_assets.sandbox.webhooks.clock import RetryClock
from commerce_assets.sandbox.webhooks.subscriptions import KIND, Directory

SECRET = "sandbox-webhook-secret"  # noqa: S105 - signs what a store on loopback sends
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0
CONNECTIONS = 16
"""Open connections for each receiver."""
WINDOW = 1_000
"""Deliveries read ahead of those that are being sent."""
FLUSH_SECONDS = 0.1
IDLE_SECONDS = 1.0
CROWDED_SECONDS = 0.01

_UNREAD = (
    "SELECT seq, webhook_id, event_id, subscription_id, uri, topic, triggered_at, api_version, name, attempts, next_at, body"
    " FROM webhook_events JOIN webhook_bodies USING (seq) WHERE state = 'pending' AND seq > ? ORDER BY seq LIMIT ?"
)
_OUTCOME = "UPDATE webhook_events SET state = ?, attempts = ?, next_at = ?, ended_at = ?, fault = coalesce(?, fault) WHERE seq = ?"


class UnreachableError(ConnectionError):
    """No connection within a second; the message names the receiver."""


@dataclass(frozen=True)
class DeliveryOptions:
    """How a store delivers: the secret that signs, the clock of retries, and what goes wrong on request."""

    secret: str = SECRET
    clock: RetryClock = field(default_factory=RetryClock)
    faults: WebhookFaults = field(default_factory=WebhookFaults)


@dataclass(slots=True)
class _Job:
    """A row of `_UNREAD`, and what became of it so far."""

    seq: int
    webhook_id: str
    event_id: str
    subscription_id: int | None
    uri: str | None
    topic: str
    triggered_at: str
    api_version: str
    name: str | None
    attempts: int
    next_at: float | None
    body: bytes | None
    is_duplicate: bool = False
    first_at: float | None = None

    def __lt__(self, other: _Job) -> bool:
        return self.seq < other.seq


@dataclass(frozen=True)
class _Address:
    is_tls: bool
    host: str
    port: int
    target: str


@functools.lru_cache(maxsize=256)
def _address(uri: str) -> _Address:
    parts = urllib.parse.urlsplit(uri)
    is_tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Address(is_tls, parts.hostname or "", parts.port or (443 if is_tls else 80), target)


def sign(secret: str, body: bytes) -> str:
    """`X-Shopify-Hmac-Sha256` of a body."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


class Deliverer:
    """Delivers a store's webhooks from a thread of its own, from `start` to `stop`."""

    def __init__(self, store: Store, directory: Directory, options: DeliveryOptions) -> None:
        """Nothing is sent before `start`."""
        self.store = store
        self.directory = directory
        self.options = options
        self._thread: threading.Thread | None = None
        self._work: _Work | None = None
        self._is_ready = threading.Event()

    def start(self) -> None:
        """Begin, with what an earlier process left pending."""
        self._thread = threading.Thread(target=self._run, name="webhook-delivery", daemon=True)
        self._thread.start()
        self._is_ready.wait()

    def stop(self) -> None:
        """End; what is pending stays so for the next start."""
        if self._thread is not None:
            self._tell(lambda work: work.stopping.set())
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        """There may be something new."""
        self._tell(lambda work: work.news.set())

    @property
    def waiting(self) -> int:
        """Deliveries in memory: being sent, put off, or not yet written down (duplicates on request among them)."""
        work = self._work
        return work.waiting if work else 0

    def _tell(self, message: Callable[[_Work], None]) -> None:
        work = self._work
        if work is not None:
            # The loop may close at this very moment: then nobody is there to be told.
            with contextlib.suppress(RuntimeError):
                work.loop.call_soon_threadsafe(message, work)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(self._deliver())
        finally:
            self._work = None
            self._is_ready.set()

    async def _deliver(self) -> None:
        self._work = _Work(self.store, self.directory, self.options)
        self._is_ready.set()
        await self._work.run()


class _Work:
    """The deliverer's inside: everything here happens on its event loop, except what `_ask` hands to the thread of the books."""

    def __init__(self, store: Store, directory: Directory, options: DeliveryOptions) -> None:
        self.store = store
        self.directory = directory
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.stopping, self.news, self.later_changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.lanes: dict[tuple[bool, str, int], asyncio.Queue[_Job]] = {}
        self.later: list[tuple[float, _Job]] = []
        self.under_way = 0
        self.attempts: list[tuple[Any, ...]] = []
        self.outcomes: list[tuple[Any, ...]] = []
        self.copies: list[tuple[int]] = []
        self.reached: dict[int, float] = {}
        self.cursor = 0
        self.domain = str((store.shop() or {}).get("myshopifyDomain") or "")
        self.tasks: set[asyncio.Task[None]] = set()
        # One thread for the store, so that waiting for its lock never holds up the deliveries.
        self.books = ThreadPoolExecutor(1, "webhook-books")

    @property
    def waiting(self) -> int:
        return self.under_way + len(self.later) + len(self.outcomes) + len(self.copies)

    async def run(self) -> None:
        try:
            for work in (self.feed(), self.send_later(), self.keep_books()):
                self.spawn(work)
            await self.stopping.wait()
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.flush()
            self.books.shutdown()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            # A defect of ours: tell, and end the delivery instead of going on without a part of it.
            report(problem)
            self.stopping.set()

    async def ask(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self.loop.run_in_executor(self.books, work, *arguments)

    # -- what is to be sent, and when

    async def feed(self) -> None:
        """Take what is new in the store, as long as not too much waits to be sent."""
        while True:
            self.news.clear()
            room = WINDOW - self.under_way
            if room < WINDOW // 2:
                await asyncio.sleep(CROWDED_SECONDS)
                continue
            rows = await self.ask(self.unread, room)
            for row in rows:
                self.cursor = row[0]
                self.admit(_Job(*row))
            if len(rows) < room:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self.news.wait()

    def unread(self, room: int) -> list[tuple[Any, ...]]:
        return self.store.connection.execute(_UNREAD, (self.cursor, room)).fetchall()

    def admit(self, job: _Job) -> None:
        if job.next_at is not None:
            self.put_off(job, job.next_at - time.time())
            return
        fate = self.options.faults.fate(job.seq)
        if fate.is_lost:
            self.end(job, "lost", "lost")
            return
        faults = [name for name, struck in (("malformed", fate.is_malformed), ("held", fate.hold_seconds)) if struck]
        if faults:
            self.outcomes.append(("pending", job.attempts, None, None, ",".join(faults), job.seq))
        if fate.duplicate_seconds is not None:
            copy = replace(job, is_duplicate=True)
            self.put_off(copy, fate.hold_seconds + fate.duplicate_seconds)
        if fate.hold_seconds:
            self.put_off(job, fate.hold_seconds)
        else:
            self.dispatch(job)

    def put_off(self, job: _Job, seconds: float) -> None:
        if not job.is_duplicate:
            # Read again when it is due: a long outage must not fill the memory with bodies.
            job.body = None
        heapq.heappush(self.later, (time.monotonic() + seconds, job))
        self.later_changed.set()

    async def send_later(self) -> None:
        """Send what was put off when it is due."""
        while True:
            self.later_changed.clear()
            now = time.monotonic()
            due: list[_Job] = []
            while self.later and self.later[0][0] <= now and len(due) < WINDOW - self.under_way:
                due.append(heapq.heappop(self.later)[1])
            if due:
                self.under_way += len(due)
                missing = [job.seq for job in due if job.body is None]
                bodies = await self.ask(self.bodies, missing) if missing else {}
                self.under_way -= len(due)
                for job in due:
                    job.body = bodies.get(job.seq, job.body)
                    if job.body is not None:
                        self.dispatch(job)
                continue
            seconds = max(CROWDED_SECONDS, self.later[0][0] - now) if self.later else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.later_changed.wait()

    def bodies(self, seqs: list[int]) -> dict[int, bytes]:
        marks = ",".join("?" * len(seqs))
        return dict(self.store.connection.execute(f"SELECT seq, body FROM webhook_bodies WHERE seq IN ({marks})", seqs).fetchall())

    def uri_of(self, job: _Job) -> str | None:
        if job.uri is not None or job.subscription_id is None:
            return job.uri
        subscription = self.directory.get(job.subscription_id)
        return None if subscription is None else str(subscription["uri"])

    def dispatch(self, job: _Job) -> None:
        uri = self.uri_of(job)
        if uri is None:
            self.end(job, "removed")
            return
        address = _address(uri)
        receiver = address.is_tls, address.host, address.port
        lane = self.lanes.get(receiver)
        if lane is None:
            lane = self.lanes[receiver] = asyncio.Queue()
            for _ in range(CONNECTIONS):
                self.spawn(self.serve(lane))
        self.under_way += 1
        lane.put_nowait(job)

    # -- sending

    async def serve(self, lane: asyncio.Queue[_Job]) -> None:
        """One connection to a receiver, opened when needed and kept open."""
        connection = _Connection()
        try:
            while True:
                job = await lane.get()
                try:
                    await self.attempt(job, connection)
                finally:
                    self.under_way -= 1
        finally:
            connection.close()

    async def attempt(self, job: _Job, connection: _Connection) -> None:
        uri = self.uri_of(job)
        if uri is None:
            self.end(job, "removed")
            return
        address, body = _address(uri), job.body or b""
        if self.options.faults.fate(job.seq).is_malformed:
            body = body[: max(1, len(body) // 2)]
        started = time.monotonic()
        status, problem = None, None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status = await connection.post(address, self.head(job, address, body) + body)
        except TimeoutError:
            problem = "no answer in time"
        except (OSError, EOFError, ValueError) as error:
            problem = type(error).__name__
        if problem is not None:
            connection.close()
        if job.is_duplicate:
            self.copies.append((job.seq,))
            return
        job.attempts += 1
        job.first_at = started if job.first_at is None else job.first_at
        took = (time.monotonic() - started) * 1000
        self.attempts.append((job.seq, job.attempts, _text(time.time()), status, problem, round(took, 3)))
        if status is not None and 200 <= status < 300:
            if job.subscription_id is not None:
                self.reached[job.subscription_id] = time.monotonic()
            self.end(job, "delivered")
            return
        delay = self.options.clock.delay(job.attempts)
        if delay is None:
            await self.give_up(job)
            return
        self.outcomes.append(("pending", job.attempts, time.time() + delay, None, None, job.seq))
        self.put_off(job, delay)

    def head(self, job: _Job, address: _Address, body: bytes) -> bytes:
        name = f"X-Shopify-Name: {_line(job.name)}\r\n" if job.name else ""
        host = f"[{address.host}]" if ":" in address.host else address.host
        return (
            f"POST {address.target} HTTP/1.1\r\n"
            f"Host: {host}:{address.port}\r\n"
            "User-Agent: commerce-sandbox-webhooks\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"X-Shopify-Topic: {job.topic}\r\n"
            f"X-Shopify-Hmac-Sha256: {sign(self.options.secret, body)}\r\n"
            f"X-Shopify-Shop-Domain: {self.domain}\r\n"
            f"X-Shopify-API-Version: {job.api_version}\r\n"
            f"X-Shopify-Webhook-Id: {job.webhook_id}\r\n"
            f"X-Shopify-Triggered-At: {job.triggered_at}\r\n"
            f"X-Shopify-Event-Id: {job.event_id}\r\n"
            f"{name}\r\n"
        ).encode("latin-1", "replace")

    async def give_up(self, job: _Job) -> None:
        self.end(job, "failed")
        number = job.subscription_id
        if number is None or job.first_at is None or self.reached.get(number, 0.0) > job.first_at:
            return
        await self.ask(self.store.delete, KIND, number, instant(datetime.now(UTC)))

    # -- the books

    def end(self, job: _Job, state: str, fault: str | None = None) -> None:
        if not job.is_duplicate:
            self.outcomes.append((state, job.attempts, None, _text(time.time()), fault, job.seq))

    async def keep_books(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write down what happened since the last time."""
        attempts, outcomes, copies = self.attempts[:], self.outcomes[:], self.copies[:]
        if attempts or outcomes or copies:
            await self.ask(self.write, attempts, outcomes, copies)
            del self.attempts[: len(attempts)], self.outcomes[: len(outcomes)], self.copies[: len(copies)]

    def write(self, attempts: list[tuple[Any, ...]], outcomes: list[tuple[Any, ...]], copies: list[tuple[int]]) -> None:
        with self.store.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO webhook_attempts VALUES (?,?,?,?,?,?)", attempts)
            connection.executemany(_OUTCOME, outcomes)
            connection.executemany("UPDATE webhook_events SET duplicates = duplicates + 1 WHERE seq = ?", copies)
            ended = [(row[-1],) for row in outcomes if row[0] != "pending"]
            connection.executemany("DELETE FROM webhook_bodies WHERE seq = ?", ended)


class _Connection:
    """An HTTP/1.1 connection that is opened when needed."""

    def __init__(self) -> None:
        self.receiver: tuple[bool, str, int] | None = None
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def post(self, address: _Address, request: bytes) -> int:
        """Send a request and return the status of its answer, whose body is read and dropped."""
        if self.receiver is not None:
            try:
                return await self._exchange(request)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                # The receiver may have closed an idle connection at this very moment: that is no failed delivery.
                self.close()
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise
        await self._open(address)
        return await self._exchange(request)

    async def _open(self, address: _Address) -> None:
        context = ssl.create_default_context() if address.is_tls else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self.reader, self.writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        except TimeoutError as problem:
            raise UnreachableError(f"{address.host}:{address.port}") from problem
        self.receiver = address.is_tls, address.host, address.port

    async def _exchange(self, request: bytes) -> int:
        self.writer.write(request)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1][:3])
        length = re.search(rb"\ncontent-length:\s*(\d+)", head)
        if length and b"\ntransfer-encoding:" not in head:
            await self.reader.readexactly(int(length[1]))
        if not length or b"\nconnection: close" in head:
            self.close()
        return status

    def close(self) -> None:
        """Close it; the next request opens a new one."""
        if self.receiver is not None:
            self.receiver = None
            self.writer.close()


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(moment: float) -> str:
    return nanoseconds_text(int(moment * 1_000_000) * 1000)


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()
