"""The receiver's process: HTTP, the other ways in that are configured, and a worker that is started again whenever it ends."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import sqlalchemy as sa
import uvicorn

from commerce_assets.config import PROJECT_ROOT, Settings
from commerce_assets.events import books, metrics
from commerce_assets.events.database import make_tables, open_engine, reading
from commerce_assets.events.inbox import Inbox, InboxUnavailableError
from commerce_assets.events.intake_rules import IntakeRules
from commerce_assets.events.intake_ways import configured_ways
from commerce_assets.events.metrics import Metric, Progress
from commerce_assets.events.receiver import ReceiverOptions, build_app, server_config
from commerce_assets.service.shop import known_domain

RECENT_EVENTS = 2_000
"""Events over which the worker's percentiles are taken."""
RESTART_SECONDS = (1, 2, 5, 10, 30)
"""Pauses before an ended worker is started again; the last one stays."""
HEALTHY_SECONDS = 60
"""A worker that lived so long was well: the pauses begin anew."""
STOP_SECONDS = 30
_log = logging.getLogger(__name__)


class ServiceError(Exception):
    """The service cannot start; the message says what to do."""


def serve(settings: Settings, *, with_worker: bool, say: Callable[[str], None]) -> None:
    """Take events until told to stop. Raises `ServiceError` when nothing could be taken anyway."""
    rules = receiving_rules(settings)
    progress = WorkerProgress(settings.events_database)
    with Inbox(settings.inbox_database) as inbox:
        server = uvicorn.Server(
            server_config(
                build_app(replace(ReceiverOptions.of(settings, progress), rules=rules), inbox), settings.events_host, settings.events_port
            )
        )
        ways = configured_ways(settings, inbox, rules, progress)
        stop = threading.Event()
        threads = [threading.Thread(target=way.run, args=(stop,), name=f"intake {way.name}") for way in ways]
        worker = SupervisedWorker(say) if with_worker else None
        if worker:
            worker.start()
        for thread in threads:
            thread.start()
        say(f"taking events of {rules.shop} at http://{settings.events_host}:{settings.events_port}/webhooks/shopify")
        for way in ways:
            say(f"taking events by {way.name}")
        try:
            server.run()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            if worker:
                worker.stop()


def receiving_rules(settings: Settings) -> IntakeRules:
    """What is ours. Raises `ServiceError` where no secret is configured: every delivery would be refused."""
    rules = IntakeRules.of(settings)
    if not rules.secrets:
        raise ServiceError("no secret signs the shop's deliveries: set SHOPIFY_WEBHOOK_SECRET (or SHOPIFY_CLIENT_SECRET), then start again")
    return replace(rules, shop=known_domain(settings))


class WorkerProgress:
    """How far the worker is, read from its books; nothing where it never ran."""

    def __init__(self, events_database: str) -> None:
        self._engine = open_engine(events_database)
        make_tables(self._engine, books.METADATA)

    def __call__(self) -> Progress:
        """Raises `InboxUnavailableError` when the books cannot be read now."""
        states = books.STATES
        recent = sa.select(states.c.lane, states.c.stored_at, states.c.finished_at).order_by(states.c.seq.desc()).limit(RECENT_EVENTS)
        retried = (
            sa.select(states.c.lane, sa.func.sum(states.c.attempts).label("tries"))
            .where(states.c.state == books.PENDING, states.c.attempts > 0)
            .group_by(states.c.lane)
        )
        try:
            cursors = books.cursor_seqs(self._engine)
            with reading(self._engine) as connection:
                lags = [(row.finished_at - row.stored_at).total_seconds() for row in connection.execute(recent) if row.finished_at]
                retries = [("", {"lane": row.lane}, float(row.tries)) for row in connection.execute(retried)]
                dead = connection.scalar(sa.select(sa.func.count()).where(states.c.state == books.DEAD)) or 0
        except sa.exc.SQLAlchemyError as error:
            raise InboxUnavailableError(f"the worker's books cannot be read: {type(error).__name__}") from None
        return Progress(
            cursors,
            (
                metrics.summary("commerce_events_lag_seconds", "From stored to its final state, of the latest events.", lags),
                Metric("commerce_events_retries", "gauge", "Failed tries of events that are still tried.", retries),
                Metric("commerce_events_dead_letters", "gauge", "Events in dead letters.", [("", {}, float(dead))]),
            ),
        )


class SupervisedWorker:
    """`commerce worker` in a process of its own, started again whenever it ends before it should."""

    def __init__(self, say: Callable[[str], None], command: Sequence[str] | None = None) -> None:
        self._say = say
        self._command = command or [sys.executable, "-m", "commerce_assets.cli", "worker", "--parent", str(os.getpid())]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="worker-supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the worker and wait for it; after `STOP_SECONDS` it is killed, which loses nothing."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        starts = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            self._process = subprocess.Popen(self._command, cwd=PROJECT_ROOT)
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - started_at > HEALTHY_SECONDS:
                starts = 0
            pause = RESTART_SECONDS[min(starts, len(RESTART_SECONDS) - 1)]
            starts += 1
            self._say(f"the worker ended with code {code}; starting it again in {pause} s (nothing is lost meanwhile)")
            self._stopping.wait(pause)
