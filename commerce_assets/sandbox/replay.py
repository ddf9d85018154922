"""Sends recorded webhooks again, at the pace at which they were recorded or faster, with the faults asked for.

Belongs here: the sending and its figures. Does not belong here: making recordings (`recording.py`), and the retry schedule of
a real store (`webhooks/delivery.py`): what is not acknowledged is sent again soon, until it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
import urllib.parse
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from commerce_assets.sandbox.faults import WebhookFaults
from commerce_assets.sandbox.recording import Delivery, recorded
from commerce_assets.sandbox.webhooks.changes import nanoseconds_text
from commerce_assets.sandbox.webhooks.delivery import sign

CONNECTIONS = 32
ATTEMPTS = 30
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.25, 5.0
ANSWER_SECONDS = 5.0
QUEUED = 2_000
"""Deliveries that wait for a connection before the reading pauses (and the replay falls behind)."""
PROGRESS_SECONDS = 1.0


class ReplayError(Exception):
    """The recording cannot be sent; the message says what to do."""


@dataclass
class ReplaySummary:
    """What a replay came to; times are seconds, acknowledgements milliseconds."""

    deliveries: int = 0
    """Lines of the recording that were sent (the lost ones not)."""
    acknowledged: int = 0
    duplicates: int = 0
    """Second copies acknowledged."""
    malformed: int = 0
    lost: int = 0
    given_up: int = 0
    attempts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    late_seconds: float = 0.0
    """By how much sending was behind the recording's pace at worst."""
    answers: array[float] = field(default_factory=lambda: array("d"), repr=False)

    def percentile(self, share: float) -> float:
        """Milliseconds to an acknowledgement, by share of all; 0 where there was none."""
        ordered = sorted(self.answers)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        plain = {name: value for name, value in vars(self).items() if name not in ("answers", "failures")}
        return {
            **{name: round(value, 3) if isinstance(value, float) else value for name, value in plain.items()},
            "failures": dict(self.failures.most_common()),
            "per_second": round(self.acknowledged / self.seconds, 1) if self.seconds else 0.0,
            "p50_milliseconds": round(self.percentile(0.5), 2),
            "p99_milliseconds": round(self.percentile(0.99), 2),
        }


def replay(
    path: Path | str,
    url: str,
    secret: str,
    *,
    speed: float = 1.0,
    faults: WebhookFaults | None = None,
    connections: int = CONNECTIONS,
    progress: Callable[[ReplaySummary], None] | None = None,
) -> ReplaySummary:
    """Send the recording at `path` to the receiver at `url` (http), signed with `secret`, `speed` times as fast as recorded.

    `X-Shopify-Triggered-At` is the moment at which a delivery is due in this replay. `faults.fate(n)` says what befalls the
    `n`th line (from 1): lost, cut in half and signed so, held back, sent twice. `ReplayError` where the file is missing or
    the address is none.
    """
    address = urllib.parse.urlsplit(url)
    if address.scheme != "http" or not address.hostname:
        raise ReplayError(f"{url!r} is no http address: give the receiver's, as http://127.0.0.1:8820/webhooks/shopify")
    if not Path(path).is_file():
        raise ReplayError(f"no recording at {path}: make one with `commerce sandbox record`")
    return asyncio.run(_Replay(address, secret, speed, faults or WebhookFaults(), progress).run(Path(path), connections))


@dataclass(slots=True)
class _Job:
    request: bytes
    is_copy: bool = False
    attempts: int = 0


class _Replay:
    def __init__(
        self,
        address: urllib.parse.SplitResult,
        secret: str,
        speed: float,
        faults: WebhookFaults,
        progress: Callable[[ReplaySummary], None] | None,
    ) -> None:
        self.host, self.port = address.hostname or "", address.port or 80
        self.target = address.path or "/"
        self.secret, self.speed, self.faults, self.progress = secret, speed, faults, progress
        self.summary = ReplaySummary()
        self.queue: asyncio.Queue[_Job] = asyncio.Queue(QUEUED)
        self.held: list[tuple[float, int, _Job]] = []
        self.changed = asyncio.Event()
        self.added = 0
        self.open = 0

    async def run(self, path: Path, connections: int) -> ReplaySummary:
        started = time.monotonic()
        background = [asyncio.ensure_future(self.serve()) for _ in range(connections)]
        background += [asyncio.ensure_future(self.release()), asyncio.ensure_future(self.tell(started))]
        try:
            await self.feed(path)
            while self.open:
                await asyncio.sleep(0.01)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self.summary.seconds = time.monotonic() - started
        return self.summary

    async def tell(self, started: float) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self.summary.seconds = time.monotonic() - started
            if self.progress is not None:
                self.progress(self.summary)

    # -- what is to be sent, and when

    async def feed(self, path: Path) -> None:
        """Take line after line when it is due."""
        started, wall, first = time.monotonic(), time.time_ns(), None
        for number, delivery in enumerate(recorded(path), start=1):
            moment = _seconds(delivery.triggered_at)
            first = moment if first is None else first
            offset = (moment - first) / self.speed
            ahead = started + offset - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            else:
                self.summary.late_seconds = max(self.summary.late_seconds, -ahead)
            fate = self.faults.fate(number)
            if fate.is_lost:
                self.summary.lost += 1
                continue
            self.summary.deliveries += 1
            self.summary.malformed += fate.is_malformed
            request = self.request(delivery, wall + int(offset * 1e9), is_malformed=fate.is_malformed)
            await self.put(_Job(request), fate.hold_seconds)
            if fate.duplicate_seconds is not None:
                await self.put(_Job(request, is_copy=True), fate.hold_seconds + fate.duplicate_seconds)

    async def put(self, job: _Job, wait: float) -> None:
        self.open += 1
        if wait:
            self.hold(job, wait)
        else:
            await self.queue.put(job)

    def hold(self, job: _Job, wait: float) -> None:
        self.added += 1
        heapq.heappush(self.held, (time.monotonic() + wait, self.added, job))
        self.changed.set()

    async def release(self) -> None:
        """Queue what was held back when its time has come."""
        while True:
            self.changed.clear()
            while self.held and self.held[0][0] <= time.monotonic():
                await self.queue.put(heapq.heappop(self.held)[2])
            wait = max(0.0, self.held[0][0] - time.monotonic()) if self.held else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.changed.wait()

    def request(self, delivery: Delivery, triggered: int, *, is_malformed: bool) -> bytes:
        body = delivery.body.encode()
        if is_malformed:
            body = body[: max(1, len(body) // 2)]
        head = (
            f"POST {self.target} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Shopify-Topic: {delivery.topic}\r\nX-Shopify-Hmac-Sha256: {sign(self.secret, body)}\r\n"
            f"X-Shopify-Shop-Domain: {delivery.shop_domain}\r\nX-Shopify-API-Version: {delivery.api_version}\r\n"
            f"X-Shopify-Webhook-Id: {delivery.webhook_id}\r\nX-Shopify-Triggered-At: {nanoseconds_text(triggered)}\r\n"
            f"X-Shopify-Event-Id: {delivery.event_id}\r\n\r\n"
        )
        return head.encode("latin-1") + body

    # -- sending

    async def serve(self) -> None:
        """One kept-alive connection."""
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                job = await self.queue.get()
                job.attempts += 1
                self.summary.attempts += 1
                begin = time.monotonic()
                problem: str | None = None
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        if connection is None:
                            connection = await asyncio.open_connection(self.host, self.port)
                        status, stays = await _exchange(connection, job.request)
                    problem = None if 200 <= status < 300 else f"HTTP {status}"
                    if not stays:
                        _close(connection)
                        connection = None
                except (OSError, EOFError, TimeoutError, ValueError) as error:
                    problem = type(error).__name__
                    _close(connection)
                    connection = None
                self.end(job, problem, time.monotonic() - begin)
        finally:
            _close(connection)

    def end(self, job: _Job, problem: str | None, seconds: float) -> None:
        if problem is None:
            self.summary.answers.append(seconds * 1000)
            self.summary.duplicates += job.is_copy
            self.summary.acknowledged += not job.is_copy
            self.open -= 1
            return
        self.summary.failures[problem] += 1
        if job.attempts >= ATTEMPTS:
            self.summary.given_up += not job.is_copy
            self.open -= 1
            return
        self.hold(job, min(FIRST_RETRY_SECONDS * 2 ** (job.attempts - 1), LONGEST_RETRY_SECONDS))


async def _exchange(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> tuple[int, bool]:
    """(status, whether the connection stays open)"""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
    if length.isdigit():
        await reader.readexactly(int(length))
    return status, length.isdigit() and b"\r\nconnection: close" not in head


def _close(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if connection is not None:
        connection[1].close()


def _seconds(triggered_at: str) -> float:
    """A recorded moment in seconds since 1970."""
    whole, _, fraction = triggered_at.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
