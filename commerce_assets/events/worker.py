"""The resident worker: a thread a lane, a thread a fetcher, and the rhythm of all of them.

Belongs here: starting, waking, resting, stopping, and saying how things stand. Does not belong here: the work itself (lanes.py).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commerce_assets.events.batches import OPEN
from commerce_assets.events.books import (
    BATCHES,
    DECIDE,
    METADATA,
    PENDING,
    REPORTS,
    STATES,
    as_utc,
    cursor_seqs,
    exclusive,
    now,
    state_counts,
)
from commerce_assets.events.database import make_tables, reading
from commerce_assets.events.desk import Desk, StockBooks, WorkerOptions, log_failure
from commerce_assets.events.fetcher import FETCHING_LANES, Fetcher
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.lander import Lander
from commerce_assets.events.lanes import LANDING_LANES, Lane
from commerce_assets.events.ports import Folding, Landing, Reporter, Storefront
from commerce_assets.events.reconcile import Reconciler
from commerce_assets.events.reports import Courier
from commerce_assets.events.topics import LANES, TOPICS

_LOG = logging.getLogger(__name__)
_DUE_SECONDS = 0.25
_IDLE_SECONDS = 5.0
_LONGEST_REST = 30.0


@dataclass(frozen=True)
class LaneStatus:
    """How a lane stands: `depth` events beyond its cursor, the oldest of which was received `oldest_seconds` ago."""

    cursor: int
    depth: int
    oldest_seconds: float
    waiting: int
    """Pending: to be decided again, or waiting for its order."""
    fetching: int
    """Pending: their object is to be read from the storefront."""


@dataclass(frozen=True)
class WorkerStatus:
    """How the books stand. `states`: state -> events."""

    lanes: dict[str, LaneStatus]
    states: dict[str, int]
    open_batches: int
    open_reports: int

    @property
    def is_drained(self) -> bool:
        """Whether every event in the inbox has its final state."""
        return not self.open_batches and not any(lane.depth or lane.waiting or lane.fetching for lane in self.lanes.values())

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "is_drained": self.is_drained}


def worker_status(inbox: Inbox, engine: sa.Engine) -> WorkerStatus:
    """How far the work is, read from the databases: works whether or not a worker runs."""
    make_tables(engine, METADATA)
    cursors = cursor_seqs(engine)
    by_topic = {row.topic: row for row in inbox.backlog({topic.name: cursors.get(topic.lane, 0) for topic in TOPICS.values()})}
    pending = (
        sa.select(STATES.c.lane, STATES.c.need, sa.func.count().label("events"))
        .where(STATES.c.state == PENDING)
        .group_by(STATES.c.lane, STATES.c.need)
    )
    with reading(engine) as connection:
        waiting = {(row.lane, row.need): row.events for row in connection.execute(pending)}
        open_batches = connection.scalar(sa.select(sa.func.count()).where(BATCHES.c.status == OPEN)) or 0
        open_reports = connection.scalar(sa.select(sa.func.count()).where(REPORTS.c.reported_at.is_(None))) or 0
    lanes = {}
    for lane in LANES:
        behind = [by_topic[topic.name] for topic in TOPICS.values() if topic.lane == lane and topic.name in by_topic]
        oldest = min((row.oldest_received_at for row in behind), default=None)
        lanes[lane] = LaneStatus(
            cursor=cursors.get(lane, 0),
            depth=sum(row.events for row in behind),
            oldest_seconds=(now() - oldest).total_seconds() if oldest else 0.0,
            waiting=waiting.get((lane, DECIDE), 0),
            fetching=sum(events for (name, need), events in waiting.items() if name == lane and need != DECIDE),
        )
    return WorkerStatus(lanes, state_counts(engine), open_batches, open_reports)


class Worker:
    """Works the inbox into the books, the lake and the books of stock. One a database: a second one raises `WorkerBusyError`."""

    def __init__(
        self,
        inbox: Inbox,
        engine: sa.Engine,
        landing: Landing,
        storefront: Storefront,
        options: WorkerOptions | None = None,
        *,
        stock: StockBooks | None = None,
        folding: Folding | None = None,
        reporter: Reporter | None = None,
        on_stock: Callable[[], None] = lambda: None,
    ) -> None:
        make_tables(engine, METADATA)
        self.desk = Desk(inbox, engine, landing, storefront, options or WorkerOptions(), stock, folding, on_stock)
        self._bells: dict[str, threading.Event] = {}
        self.lanes = {name: Lane(name, self.desk, self._ring) for name in LANES}
        self.landers = {name: Lander(self.lanes[name]) for name in LANDING_LANES}
        self.fetchers = {name: Fetcher(self.lanes[name]) for name in FETCHING_LANES}
        self.reconciler = Reconciler(self.desk)
        self.courier = Courier(self.desk, reporter) if reporter is not None else None

    def status(self) -> WorkerStatus:
        """How things stand."""
        return worker_status(self.desk.inbox, self.desk.engine)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; what is under way then is ended. Raises `RuntimeError` if a thread died, for the process to be started anew."""
        with exclusive(self.desk.engine):
            steps: dict[str, Callable[[], bool]] = {name: lane.step for name, lane in self.lanes.items()}
            steps.update({f"land {name}": lander.step for name, lander in self.landers.items()})
            steps.update({f"fetch {name}": fetcher.step for name, fetcher in self.fetchers.items()})
            if self.courier is not None:
                steps["reports"] = self.courier.step
            threads = [threading.Thread(target=self._loop, args=(name, step, stop), name=f"events {name}") for name, step in steps.items()]
            threads.append(threading.Thread(target=self._reconcile_now_and_then, args=(stop,), name="events reconcile"))
            for thread in threads:
                thread.start()
            try:
                self._watch(stop, threads)
            finally:
                stop.set()
                for bell in self._bells.values():
                    bell.set()
                for thread in threads:
                    thread.join()
                for lane in self.lanes.values():
                    lane.save_cursor()

    def drain(self, timeout_seconds: float = 300) -> WorkerStatus:
        """Work in this thread until every event has its final state, only the storefront is waited for, or time is up; how things stand then."""
        deadline = time.monotonic() + timeout_seconds
        with exclusive(self.desk.engine):
            self.desk.is_hurried = True
            try:
                self._drain(deadline)
            finally:
                self.desk.is_hurried = False
        return self.status()

    def _drain(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._step_all():
                continue
            status = self.status()
            if status.is_drained or self._is_waiting_for_storefront(status):
                break
            self._sleep_until_due()
        for lane in self.lanes.values():
            lane.save_cursor()
        while self.courier is not None and self.courier.step():
            pass

    def _step_all(self) -> bool:
        """A step of everybody; what is unavailable now is left for the next round."""
        worked = False
        groups = (self.lanes, self.landers, self.fetchers)
        steps: list[Callable[[], bool]] = [one.step for group in groups for one in group.values()]
        for step in steps:
            try:
                worked = step() or worked
            except self.desk.unavailable as error:
                _LOG.warning("a step waits: %s", type(error).__name__)
        return worked

    def _is_waiting_for_storefront(self, status: WorkerStatus) -> bool:
        def rests(name: str) -> bool:
            fetcher = self.fetchers.get(name)
            return fetcher is not None and fetcher.rests_until is not None and fetcher.rests_until > now()

        return not status.open_batches and all(
            not lane.depth and not lane.waiting and (not lane.fetching or rests(name)) for name, lane in status.lanes.items()
        )

    def _sleep_until_due(self) -> None:
        with reading(self.desk.engine) as connection:
            due_at = as_utc(connection.scalar(sa.select(sa.func.min(STATES.c.next_try_at)).where(STATES.c.state == PENDING)))
        seconds = (due_at - now()).total_seconds() if due_at else 0.0
        time.sleep(min(max(seconds, 0.005), 1.0))

    def _bell(self, name: str) -> threading.Event:
        return self._bells.setdefault(name, threading.Event())

    def _loop(self, name: str, step: Callable[[], bool], stop: threading.Event) -> None:
        """Step after step; resting while nothing rings, and after a failure longer each time. No lane's failure is another's."""
        bell, failures = self._bell(name), 0
        while not stop.is_set():
            bell.clear()
            try:
                worked = step()
                failures = 0
            except self.desk.unavailable as error:
                failures, worked = failures + 1, False
                _LOG.warning("%s rests: %s", name, type(error).__name__)
            except Exception as error:
                failures, worked = failures + 1, False
                log_failure(_LOG, error, "%s failed; it starts anew", name)
            if worked and name.startswith("land "):
                self._ring(name.removeprefix("land "))
            if failures:
                stop.wait(min(_LONGEST_REST, 0.5 * 2 ** min(failures - 1, 10)))
            elif not worked:
                bell.wait(_IDLE_SECONDS)

    def _watch(self, stop: threading.Event, threads: list[threading.Thread]) -> None:
        """Ring when the inbox grows, when a retry is due and when a report waits: one cheap look instead of one a thread."""
        seen, looked_at, failures = -1, 0.0, 0
        while not stop.wait(self.desk.options.poll_seconds):
            if not all(thread.is_alive() for thread in threads):
                raise RuntimeError("a thread of the worker died; start the worker again")
            try:
                top = self.desk.inbox.last_seq()
                if top != seen:
                    seen = top
                    self._ring(*LANES)
                if time.monotonic() - looked_at > _DUE_SECONDS:
                    looked_at = time.monotonic()
                    self._ring(*self._due())
                failures = 0
            except self.desk.unavailable as error:
                failures += 1
                _LOG.warning("the databases cannot be looked at: %s", type(error).__name__)
                stop.wait(min(_LONGEST_REST, 0.5 * 2 ** min(failures - 1, 10)))

    def _due(self) -> set[str]:
        due = sa.select(STATES.c.lane, STATES.c.need).where(STATES.c.state == PENDING, STATES.c.next_try_at <= now()).distinct()
        with reading(self.desk.engine) as connection:
            names = {row.lane if row.need == DECIDE else f"fetch {row.lane}" for row in connection.execute(due)}
            if connection.scalar(sa.select(REPORTS.c.batch_id).where(REPORTS.c.reported_at.is_(None)).limit(1)) is not None:
                names.add("reports")
        return names

    def _ring(self, *names: str) -> None:
        for name in names:
            self._bell(name).set()

    def _reconcile_now_and_then(self, stop: threading.Event) -> None:
        """At the start and on schedule; sooner again where the storefront could not be asked."""
        pause = timedelta(minutes=self.desk.options.reconcile_minutes)
        next_at = datetime.min.replace(tzinfo=UTC)
        while not stop.wait(0.2):
            if now() < next_at:
                continue
            try:
                self.reconciler.run(stop.is_set)
                next_at = now() + pause
            except self.desk.unavailable as error:
                next_at = now() + min(pause, timedelta(seconds=_LONGEST_REST))
                _LOG.warning("reconciliation waits: %s", type(error).__name__)
            except Exception as error:
                next_at = now() + min(pause, timedelta(seconds=_LONGEST_REST))
                log_failure(_LOG, error, "reconciliation failed; it is tried again")
