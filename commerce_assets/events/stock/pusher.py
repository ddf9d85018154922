"""Empties the outbox: tells the storefront, reads it where something is in doubt, and looks into what nobody asked about for long.

Belongs here: the order of the work, waiting, and what the storefront's errors mean. Does not belong here: choosing rows and booking
answers (targets.py), judging readings (drift.py), Shopify's API (behind the port).

One call is on its way at a time. While it is, changes gather and go together with the next: under load a shelf is told its latest figure
and none of those in between. While the storefront cannot be asked, the outbox holds; afterwards the open call goes first, unchanged.
"""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from commerce_assets.events.database import reading
from commerce_assets.events.stock import drift, items, shelf, targets
from commerce_assets.events.stock.ports import Catalogue, Key, RowError, StockStorefront
from commerce_assets.events.stock.targets import AGAIN, CONFLICT, WAS_REFUSED, Push

LOG = logging.getLogger(__name__)
STALE = frozenset({"CHANGE_FROM_QUANTITY_STALE", "COMPARE_QUANTITY_STALE"})
IN_PROGRESS = "IDEMPOTENCY_CONCURRENT_REQUEST"
USED_UP = frozenset({"IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"})
"""The key was used for something that failed: nothing was done, and what is there now must be read."""
NAMES_A_LOOK = 50
TIDY_SECONDS = 6 * 3_600.0


class StockNotDrainedError(Exception):
    """The outbox did not empty in time; the message says what is left."""


@dataclass(frozen=True)
class PusherOptions:
    """How the pusher works."""

    rows_a_push: int = 250
    items_a_read: int = 40
    poll_seconds: float = 0.02
    """How often an empty outbox is looked at."""
    audit_seconds: float = 3_600.0
    """Every counted shelf is read at least so often, as far as the budget allows; 0: never."""
    audit_pause_seconds: float = 5.0
    """Between two readings of an audit: the budget belongs to pushes."""
    catalogue_seconds: float = 600.0
    names_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    """While the storefront cannot be asked, the pause between tries doubles up to this."""
    keep_calls: timedelta = timedelta(days=30)
    keep_facts: timedelta = timedelta(days=90)
    """A fact whose key is forgotten would count again if it came again."""


@dataclass(frozen=True)
class PusherStatus:
    """What is open. `problem` is what the storefront said when it could not be asked; None while it can."""

    due: int
    held: int
    refused: int
    calls: int
    oldest_untold_at: datetime | None
    problem: str | None


class Pusher:
    """The one pusher of a database of books. Two at once would only get in each other's way: calls are idempotent."""

    def __init__(
        self, engine: sa.Engine, storefront: StockStorefront, options: PusherOptions | None = None, catalogue: Catalogue | None = None
    ) -> None:
        self.engine, self.storefront, self.catalogue = engine, storefront, catalogue
        self.options = options or PusherOptions()
        self.problem: str | None = None
        self._rows = self.options.rows_a_push
        self._next: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        pause = 0.0
        while not stop.is_set():
            try:
                is_busy = self.cycle()
            except self.storefront.troubles as problem:
                if self.problem is None:
                    LOG.warning("stock is not pushed for now: %s", problem)
                self.problem = str(problem)[:300]
                pause = min(self.options.longest_pause_seconds, 2 * pause or 0.5)
                stop.wait(pause)
                continue
            if self.problem is not None:
                LOG.info("stock is pushed again")
            self.problem, pause = None, 0.0
            if not is_busy:
                stop.wait(self.options.poll_seconds)

    def drain(self, timeout_seconds: float = 60.0) -> None:
        """Work until the outbox is empty but for refused targets. Raises `StockNotDrainedError`, or what the storefront raises."""
        give_up_at = time.monotonic() + timeout_seconds
        self._learn_catalogue()
        while True:
            is_busy = self.cycle(is_audited=False)
            with reading(self.engine) as connection:
                left = targets.counts(connection)
            if not is_busy and not (left[targets.DUE] or left[targets.HELD] or left["calls"]):
                return
            if time.monotonic() > give_up_at:
                raise StockNotDrainedError(
                    f"after {timeout_seconds:.0f} s the outbox of stock still holds {left}; see `status` and stock_targets"
                )
            if not is_busy:
                time.sleep(self.options.poll_seconds)

    def status(self) -> PusherStatus:
        """What is open now."""
        with reading(self.engine) as connection:
            left = targets.counts(connection)
            oldest = targets.oldest_untold(connection)
        return PusherStatus(left[targets.DUE], left[targets.HELD], left[targets.REFUSED], left["calls"], oldest, self.problem)

    def cycle(self, *, is_audited: bool = True) -> bool:
        """One round of what there is to do; False where there was nothing."""
        did_push = self._push()
        did_read = self._read_doubtful()
        did_look = self._look_names_up()
        if did_push or did_read or did_look:
            return True
        if is_audited:
            self._learn_catalogue()
            self._audit()
            self._tidy()
        return False

    def audit(self) -> int:
        """Read every counted shelf now; the number of items read. What differs is judged, and after settling corrected or reported."""
        with reading(self.engine) as connection:
            wanted = targets.items_to_audit(connection, 1_000_000, _now() + timedelta(days=1))
        for start in range(0, len(wanted), self.options.items_a_read):
            self.read(wanted[start : start + self.options.items_a_read])
        return len(wanted)

    def read(self, item_ids: Iterable[int]) -> None:
        """Read these items and take what the storefront says."""
        asked = list(item_ids)
        with reading(self.engine) as connection:
            known = drift.known_before(connection, asked)
        asked_at = _now()
        found = self.storefront.read_items(asked)
        with self.engine.begin() as connection:
            items.learn(connection, found)
            drift.take_reading(connection, found, asked, asked_at, known)

    def _push(self) -> bool:
        with reading(self.engine) as connection:
            push = targets.open_push(connection)
            is_due = push is not None or targets.counts(connection)[targets.DUE] > 0
        if push is None and is_due:
            with self.engine.begin() as connection:
                push = targets.make_push(connection, self._rows, _now())
        if push is None:
            return False
        self._send(push)
        return True

    def _send(self, push: Push) -> None:
        answer = self.storefront.set_available(push.changes, push.push_id)
        codes = {error.code for error in answer.errors}
        if IN_PROGRESS in codes:
            # Another process sends the very same call just now; its answer will be ours too.
            time.sleep(self.options.poll_seconds)
            return
        with self.engine.begin() as connection:
            targets.note_attempt(connection, push)
            if answer.errors:
                outcomes = self._outcomes(push, answer.errors)
                targets.refuse(connection, push, outcomes, ", ".join(sorted(str(code) for code in codes)), _now())
            else:
                self._rows = min(self.options.rows_a_push, self._rows * 2)
                targets.acknowledge(connection, push, answer.set_at, _now())

    def _outcomes(self, push: Push, errors: Iterable[RowError]) -> dict[Key, tuple[str, str | None]]:
        """What the errors mean for each row. An error that names no row is narrowed down by smaller calls."""
        outcomes: dict[Key, tuple[str, str | None]] = {row.key: (AGAIN, None) for row in push.rows}
        for error in errors:
            if error.code in USED_UP:
                return dict.fromkeys(outcomes, (CONFLICT, None))
            if error.row is not None and 0 <= error.row < len(push.rows):
                is_stale = error.code in STALE
                outcomes[push.rows[error.row].key] = (CONFLICT, None) if is_stale else (WAS_REFUSED, str(error.code))
            elif len(push.rows) == 1:
                outcomes[push.rows[0].key] = (WAS_REFUSED, str(error.code))
            else:
                self._rows = max(1, len(push.rows) // 2)
        return outcomes

    def _read_doubtful(self) -> bool:
        with reading(self.engine) as connection:
            wanted = targets.items_to_read(connection, self.options.items_a_read, _now())
        if wanted:
            self.read(wanted)
        return bool(wanted)

    def _look_names_up(self) -> bool:
        """Ask the storefront about SKUs and variants nobody knows."""
        if not self._is_time("names", self.options.names_pause_seconds):
            return False
        with reading(self.engine) as connection:
            skus, variants = items.wanted(connection, NAMES_A_LOOK)
        if not skus and not variants:
            return False
        found = self.storefront.find_items(skus, variants)
        with self.engine.begin() as connection:
            # The books' lock first, as everybody takes it: noting before would wait, on PostgreSQL, for who waits for the note.
            items.learn(connection, found)
            items.asked(connection, skus, variants)
        return True

    def _learn_catalogue(self) -> None:
        if self.catalogue is not None and self._is_time("catalogue", self.options.catalogue_seconds):
            items.learn_catalogue(self.engine, self.catalogue.items())

    def _audit(self) -> None:
        if not self.options.audit_seconds or not self._is_time("audit", self.options.audit_pause_seconds):
            return
        with reading(self.engine) as connection:
            before = _now() - timedelta(seconds=self.options.audit_seconds)
            wanted = targets.items_to_audit(connection, self.options.items_a_read, before)
        if wanted:
            self.read(wanted)

    def _tidy(self) -> None:
        if self._is_time("tidy", TIDY_SECONDS):
            with self.engine.begin() as connection:
                targets.forget_calls(connection, _now() - self.options.keep_calls)
                shelf.forget_old(connection, _now() - self.options.keep_facts)

    def _is_time(self, what: str, every_seconds: float) -> bool:
        """Whether so long has passed since this was last true."""
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + every_seconds
        return True


def _now() -> datetime:
    return datetime.now(UTC)
