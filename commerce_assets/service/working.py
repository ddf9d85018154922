"""The worker's process: lanes, stock pusher and reports over one inbox and one set of books."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import duckdb

from commerce_assets.config import Settings
from commerce_assets.events.batches import Retries
from commerce_assets.events.database import open_engine
from commerce_assets.events.desk import log_failure
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.lanes import WorkerOptions
from commerce_assets.events.ports import Reporter, StorefrontUnavailableError
from commerce_assets.events.stock import tables as stock_tables
from commerce_assets.events.stock.pusher import Pusher
from commerce_assets.events.stock.shelf import recompute
from commerce_assets.events.stock_effects import StockEffects
from commerce_assets.events.worker import Worker, WorkerStatus
from commerce_assets.lake import Lake, fold_events
from commerce_assets.service.catalogue import LakeCatalogue
from commerce_assets.service.landing import LakeLanding
from commerce_assets.service.shop import known_domain, open_client
from commerce_assets.service.storefront import ShopStorefront
from commerce_assets.sources.shopify.stock import ShopifyStock

PARENT_SECONDS = 0.5
LONGEST_REST_SECONDS = 60.0
_log = logging.getLogger(__name__)


class LakeFolding:
    """`events.ports.Folding` on a lake."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def fold(self, family: str) -> None:
        """Fold a family's micro-batches; left for the next time while somebody reads the lake."""
        fold_events(self.lake, family)


@dataclass(frozen=True)
class Workshop:
    """All that works on one set of books."""

    worker: Worker
    pusher: Pusher

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. Raises when the worker's threads died, for the process to be started anew."""
        pushing = threading.Thread(target=self._push, args=(stop,), name="stock pusher")
        pushing.start()
        try:
            self.worker.run(stop)
        finally:
            stop.set()
            pushing.join()

    def _push(self, stop: threading.Event) -> None:
        """Push until told to stop; a failure of stock is never the events', so it rests and starts anew."""
        failures = 0
        while not stop.is_set():
            started_at = time.monotonic()
            try:
                self.pusher.run(stop)
            except Exception as error:
                # One that ran for long was well: the rests begin anew.
                failures = 1 if time.monotonic() - started_at > LONGEST_REST_SECONDS else min(failures + 1, 10)
                log_failure(_log, error, "the stock pusher failed; it starts anew")
                stop.wait(min(LONGEST_REST_SECONDS, 2.0**failures))

    def drain(self, timeout_seconds: float) -> WorkerStatus:
        """Ask the shop what changed without an event, work what is there, empty the outbox of stock; how things stand then."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                missed = self.worker.reconciler.run()
            except StorefrontUnavailableError:
                # Payloads need no storefront to be worked; then it is told that it could not be asked.
                self.worker.drain(max(deadline - time.monotonic(), 1.0))
                raise
            left = max(deadline - time.monotonic(), 1.0)
            status = self.worker.drain(left)
            self.pusher.drain(left)
            # Working shows what else is missing: transactions of orders that speak of them.
            if not missed or time.monotonic() > deadline:
                return status


@contextmanager
def open_workshop(settings: Settings, reporter: Reporter | None = None) -> Iterator[Workshop]:
    """The worker and the pusher of the configured shop, lake and databases."""
    lake = Lake(settings.lake_root)
    lake.ensure()
    lake.recover()
    engine = open_engine(settings.events_database)
    rules = stock_tables.Rules(settings.inventory_owner, settings.inventory_drift_policy, settings.inventory_safety_stock)
    if stock_tables.prepare(engine, rules):
        recompute(engine)
    options = WorkerOptions(
        shop=known_domain(settings),
        batch_rows=settings.event_batch_rows,
        retries=Retries(settings.event_attempts),
        reconcile_minutes=settings.reconcile_minutes,
        reconcile_grace=timedelta(seconds=settings.reconcile_grace_seconds),
        # A full or broken disk is no event's fault.
        unavailable=(duckdb.IOException,),
    )
    try:
        with Inbox(settings.inbox_database) as inbox, open_client(settings) as client:
            landing, storefront = LakeLanding(lake), ShopStorefront(client)
            yield Workshop(
                Worker(inbox, engine, landing, storefront, options, stock=StockEffects(), folding=LakeFolding(lake), reporter=reporter),
                Pusher(engine, ShopifyStock(client), catalogue=LakeCatalogue(lake)),
            )
    finally:
        engine.dispose()


def stop_with_parent(parent: int, stop: threading.Event) -> None:
    """Stop when the process that started this one is gone: two workers would only wait for each other."""

    def watch() -> None:
        while not stop.wait(PARENT_SECONDS):
            if os.getppid() != parent:
                _log.warning("the receiver that started this worker is gone; the worker ends")
                stop.set()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
