"""Group commit: one thread stores whatever queued while it stored what came before.

Belongs here: waiting for the inbox from an event loop, with bounds. Does not belong here: HTTP, and what an event is.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from commerce_assets.events.inbox import Inbox, InboxError, InboxUnavailableError, Rejection
from commerce_assets.events.intake_pace import where
from commerce_assets.events.records import Delivery

GROUP_EVENTS = 500
GROUP_BYTES = 16 * 2**20
REJECTIONS_EVERY_SECONDS = 1.0
# A shop gives up after 5 s in all; an answer later than this reaches nobody.
PATIENCE_SECONDS = 4.0
LAGS_KEPT = 10_000
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    delivery: Delivery | None
    """None once it is given up: what nobody waits for is not kept while the database hangs."""
    answer: asyncio.Future[bool]
    since: float


_Group = Sequence[tuple["asyncio.Future[bool]", Delivery]]


class GroupWriter:
    """Stores deliveries for one event loop. `start` in the loop, `stop` when nothing is submitted any more."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._arrived: list[_Waiting] = []
        self._unanswered: deque[_Waiting] = deque()
        self._rejected: Counter[tuple[str, str, str, datetime]] = Counter()
        self._rejected_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._impatience: asyncio.Task[None] | None = None
        self.stored = 0
        """Events stored since the start."""
        self.failed_at: float | None = None
        """When storing last failed (monotonic seconds); None once it works again."""
        self.store_seconds: deque[float] = deque(maxlen=LAGS_KEPT)
        """Of the latest deliveries: from received to stored."""
        self.delivery_seconds: deque[float] = deque(maxlen=LAGS_KEPT)
        """Of the latest deliveries: from triggered to received; 0 where the sender's clock is ahead."""

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to store, answering in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._impatience = self._loop.create_task(self._give_up_on_late_ones())

    async def stop(self) -> None:
        """Store what is queued, then end."""
        if self._impatience:
            self._impatience.cancel()
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def store(self, delivery: Delivery) -> asyncio.Future[bool]:
        """Queue a delivery. True: stored, durably; False: it came before. `InboxError`: it is not stored, or not in time."""
        assert self._loop, "start() first"
        answer: asyncio.Future[bool] = self._loop.create_future()
        if not self._thread.is_alive():
            answer.set_exception(InboxUnavailableError("the thread that stores events has ended; restart `commerce serve`"))
            return answer
        waiting = _Waiting(delivery, answer, time.monotonic())
        self._unanswered.append(waiting)
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        self._arrived.append(waiting)
        return answer

    def reject(self, rejection: Rejection) -> None:
        """Count a refused delivery; written with the next group, or after a second."""
        hour = rejection.received_at.replace(minute=0, second=0, microsecond=0)
        with self._rejected_lock:
            self._rejected[rejection.source, rejection.topic, rejection.reason, hour] += rejection.count

    def _hand_over(self) -> None:
        """Once a turn of the loop: what it found ready makes one group, instead of the first of it one and the rest another."""
        if self._arrived:
            self._queue.put(self._arrived)
            self._arrived = []

    def _run(self) -> None:
        is_last = False
        while not is_last:
            group, is_last = self._next_group()
            self._store(group)

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """What is queued now, or comes within a second; and whether that is all there will ever be."""
        group: list[_Waiting] = []
        size = 0
        try:
            some = self._queue.get(timeout=REJECTIONS_EVERY_SECONDS)
            while some is not None:
                group += some
                size += sum(len(one.delivery.body) for one in some if one.delivery)
                if len(group) >= GROUP_EVENTS or size >= GROUP_BYTES:
                    return group, False
                some = self._queue.get_nowait()
        except queue.Empty:
            return group, False
        return group, True

    def _store(self, waiting: Sequence[_Waiting]) -> None:
        group = [(one.answer, delivery) for one in waiting if (delivery := one.delivery)]
        with self._rejected_lock:
            rejected, self._rejected = self._rejected, Counter()
        rejections = [Rejection(*key, count) for key, count in rejected.items()]
        try:
            news = self._inbox.append([delivery for _, delivery in group], rejections)
        except InboxError as error:
            self._failed(group, rejected, error)
            return
        except Exception as error:
            # Nobody foresaw it; without this thread nothing would be stored any more until somebody starts the process anew.
            self._failed(group, rejected, InboxUnavailableError(f"events could not be stored ({where(error)}); senders try again"))
            return
        if group or rejections:
            if self.failed_at is not None:
                _log.warning("the inbox stores events again")
            self.failed_at = None
        self._answer_from_thread(group, news)

    def _failed(self, group: _Group, rejected: Counter[tuple[str, str, str, datetime]], error: InboxError) -> None:
        with self._rejected_lock:
            self._rejected.update(rejected)
        if self.failed_at is None:
            _log.error("%s", error)
        self.failed_at = time.monotonic()
        self._answer_from_thread(group, error)

    def _answer_from_thread(self, group: _Group, answer: list[bool] | InboxError) -> None:
        if group:
            assert self._loop
            self._loop.call_soon_threadsafe(self._answer, group, answer)

    def _answer(self, group: _Group, answer: list[bool] | InboxError) -> None:
        if isinstance(answer, InboxError):
            for future, _ in group:
                if not future.done():
                    future.set_exception(answer)
        else:
            now = datetime.now(UTC)
            self.stored += sum(answer)
            for (future, delivery), is_new in zip(group, answer, strict=True):
                if not future.done():
                    future.set_result(is_new)
                self.store_seconds.append((now - delivery.received_at).total_seconds())
                if delivery.triggered_at is not None:
                    self.delivery_seconds.append(max((delivery.received_at - delivery.triggered_at).total_seconds(), 0.0))
        while self._unanswered and self._unanswered[0].answer.done():
            self._unanswered.popleft()

    async def _give_up_on_late_ones(self) -> None:
        """The database may hang (a lock, a lost server): the sender is told in time, and what is stored after all is a duplicate then."""
        while True:
            await asyncio.sleep(PATIENCE_SECONDS / 16)
            late = time.monotonic() - PATIENCE_SECONDS
            while self._unanswered and (self._unanswered[0].since < late or self._unanswered[0].answer.done()):
                one = self._unanswered.popleft()
                one.delivery = None
                if not one.answer.done():
                    self.failed_at = time.monotonic()
                    one.answer.set_exception(InboxUnavailableError(f"the inbox did not answer within {PATIENCE_SECONDS:.0f} s"))
