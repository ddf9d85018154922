"""What all lanes work with: inbox, books, ports and options; taking what is due, sending back what failed.

Belongs here: what a lane, its lander and its fetcher share. Does not belong here: the steps they take (lanes.py, lander.py, fetcher.py).
"""

import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from commerce_assets.events.batches import Batch, BatchIds, Outcome, Retries, release_batch
from commerce_assets.events.books import FETCH, PENDING, STATES, now
from commerce_assets.events.database import reading
from commerce_assets.events.decide import Rules
from commerce_assets.events.inbox import Inbox, InboxError
from commerce_assets.events.ports import Folding, Landing, Storefront, StorefrontUnavailableError
from commerce_assets.events.stock.ports import Verdict as StockVerdict

_LOG = logging.getLogger(__name__)


class StockBooks(Protocol):
    """The books of stock, written inside the worker's transactions."""

    def take_facts(self, connection: sa.Connection, bodies: Sequence[bytes]) -> Sequence[StockVerdict]:
        """Take a warehouse system's facts; one verdict a body, in order."""

    def take_orders(self, connection: sa.Connection, bodies: Sequence[bytes]) -> None:
        """Take orders in the shape of orders/* payloads."""

    def drop_orders(self, connection: sa.Connection, deletions: Mapping[int, datetime]) -> None:
        """Forget what orders had committed that were deleted at these moments."""

    def observe_levels(self, connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None]) -> None:
        """Take bodies of inventory_levels/* topics as observations of what the storefront shows, with when each was triggered."""


class NoStock:
    """No books of stock: facts are applied to nothing."""

    def take_facts(self, connection: sa.Connection, bodies: Sequence[bytes]) -> Sequence[StockVerdict]:  # noqa: ARG002
        """All applied."""
        return [StockVerdict("applied") for _ in bodies]

    def take_orders(self, connection: sa.Connection, bodies: Sequence[bytes]) -> None:
        """Nothing."""

    def drop_orders(self, connection: sa.Connection, deletions: Mapping[int, datetime]) -> None:
        """Nothing."""

    def observe_levels(self, connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class WorkerOptions:
    """How the worker works. `fold_batches`: landings of a family between two folds; `unavailable`: further errors that use up no attempt."""

    shop: str = ""
    batch_rows: int = 2_000
    retries: Retries = field(default_factory=Retries)
    rules: Rules = field(default_factory=Rules)
    fetch_objects: int = 250
    fold_batches: int = 64
    poll_seconds: float = 0.05
    reconcile_minutes: float = 15
    reconcile_overlap: timedelta = timedelta(minutes=2)
    reconcile_grace: timedelta = timedelta(seconds=60)
    """What changed later than this is given time to come as an event."""
    reconcile_limit: int = 5_000
    unavailable_rest: timedelta = timedelta(seconds=1)
    unavailable_cap: timedelta = timedelta(minutes=1)
    unavailable: tuple[type[Exception], ...] = ()


class Desk:
    """What all lanes work with: inbox, books, ports, options; and one writer of the books at a time."""

    def __init__(
        self,
        inbox: Inbox,
        engine: sa.Engine,
        landing: Landing,
        storefront: Storefront,
        options: WorkerOptions,
        stock: StockBooks | None = None,
        folding: Folding | None = None,
        on_stock: Callable[[], None] = lambda: None,
    ) -> None:
        self.inbox, self.engine, self.landing, self.storefront, self.options = inbox, engine, landing, storefront, options
        self.stock: StockBooks = stock or NoStock()
        self.folding, self.on_stock = folding, on_stock
        self.ids = BatchIds()
        self.is_hurried = False
        """While draining nothing gathers: what is to be fetched is fetched now."""
        self.unavailable: tuple[type[Exception], ...] = (
            *(OSError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, InboxError, StorefrontUnavailableError),
            *options.unavailable,
        )
        self._writing = threading.Lock()
        self._landed: dict[str, int] = {}

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction of the books. Threads queue here rather than at SQLite's lock, which lets the luckiest through."""
        with self._writing, self.engine.begin() as connection:
            yield connection

    def has_landed(self, family: str) -> None:
        """Count a landing, and have the family folded when enough came together. A fold that fails is one for the next time."""
        self._landed[family] = self._landed.get(family, 0) + 1
        if self.folding is None or self._landed[family] < self.options.fold_batches:
            return
        self._landed[family] = 0
        try:
            self.folding.fold(family)
        except Exception as error:
            log_failure(_LOG, error, "folding %s failed; it is tried again after the next landings", family)


def log_failure(log: logging.Logger, error: BaseException, message: str, *arguments: object) -> None:
    """Log an error by its name and where it came from, without its text: a database's or parser's quotes the values it stumbled over."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error(message + ": %s\n%s", *arguments, type(error).__name__, frames)


def due_events(desk: Desk, lane: str, need: str, limit: int) -> list[sa.Row[Any]]:
    """Due events of a lane, those due longest first, in company no larger than those that failed before should keep: the last try is alone."""
    columns = (STATES.c.seq, STATES.c.object_id, STATES.c.topic, STATES.c.attempts, STATES.c.waits, STATES.c.received_at)
    is_due = STATES.c.next_try_at <= now()
    if desk.is_hurried and need == FETCH:
        is_due = is_due | ((STATES.c.attempts == 0) & (STATES.c.waits == 0))
    due = (STATES.c.state == PENDING, STATES.c.lane == lane, STATES.c.need == need, is_due)
    with reading(desk.engine) as connection:
        rows = list(connection.execute(sa.select(*columns).where(*due).order_by(STATES.c.next_try_at, STATES.c.seq).limit(limit)))
    rows = [row for row in rows if row.attempts == rows[0].attempts]
    return rows[: company(rows, limit, desk.options)]


def company(rows: Sequence[sa.Row[Any]], limit: int, options: WorkerOptions) -> int:
    """How many events go together that have failed as often as the first of these: a sixteenth each time, at last one."""
    attempts = rows[0].attempts if rows else 0
    return 1 if attempts and attempts >= options.retries.attempts - 1 else max(1, limit >> (4 * attempts))


def release(desk: Desk, batch: Batch, error: Exception, need: str) -> None:
    """Send the riders of a batch that could not be landed back; what is unavailable now costs them no attempt."""
    at, name = now(), type(error).__name__
    if isinstance(error, desk.unavailable):
        _LOG.warning("batch %s waits: %s", batch.batch_id, name)
        rest = at + desk.options.unavailable_rest
        outcomes = [Outcome(rider.seq, PENDING, f"unavailable: {name}", need, rest, rider.attempts, rider.waits) for rider in batch.riders]
    else:
        log_failure(_LOG, error, "batch %s of %d events failed", batch.batch_id, len(batch.riders))
        outcomes = [desk.options.retries.after_failure(rider, need, f"error: {name}", at) for rider in batch.riders]
    with desk.writing() as connection:
        release_batch(connection, batch, outcomes, name, at)
