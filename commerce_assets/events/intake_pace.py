"""The pace of ways in that fetch: wait while too much is not yet worked, and longer after each failure in a row.

Belongs here: waiting. Does not belong here: what is fetched, and how.
"""

import logging
import random
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from commerce_assets.events.inbox import Inbox, InboxError
from commerce_assets.events.metrics import Progress, topic_cursors

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
LOOK_EVERY_SECONDS = 2.0
_log = logging.getLogger(__name__)


class FetchError(Exception):
    """The other side of a way in cannot be reached now."""


class Pace:
    """`is_full` says whether too much waits to be worked; without it, it never does."""

    def __init__(self, is_full: Callable[[], bool] = lambda: False) -> None:
        self._is_full = is_full
        self._failures = 0

    def wait_for_room(self, stop: threading.Event) -> None:
        """Return when there is room, or at once when told to stop."""
        while not stop.is_set() and self._is_full():
            stop.wait(LOOK_EVERY_SECONDS)

    def attempt(self, name: str, work: Callable[[threading.Event], object], stop: threading.Event) -> bool:
        """Do the work; where the inbox or the other side cannot be reached, wait (with jitter, up to half a minute). Whether it was done.

        What nobody foresaw is waited for as well: a way in that ended would be missed by nobody until its events are.
        """
        try:
            work(stop)
        except (InboxError, FetchError) as error:
            self._wait(name, str(error), stop)
        except Exception as error:
            self._wait(name, f"failed ({where(error)})", stop)
        else:
            self._failures = 0
            return True
        return False

    def _wait(self, name: str, why: str, stop: threading.Event) -> None:
        pause = min(PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 10)
        _log.warning("%s: %s; trying again in %.0f s", name, why, pause)
        stop.wait(pause * random.uniform(0.5, 1.0))


def where(error: Exception) -> str:
    """An error's name and the line it came from, without its text, which may quote what it stumbled over."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


class BacklogLimit:
    """Whether the events not yet worked reach a limit; looked at every few seconds. Callable, for `Pace`."""

    def __init__(self, inbox: Inbox, progress: Callable[[], Progress], limit: int) -> None:
        self._inbox = inbox
        self._progress = progress
        self._limit = limit
        self._looked_at = float("-inf")
        self._is_reached = False

    def __call__(self) -> bool:
        """Raises `InboxError` when it cannot be seen."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_SECONDS:
            waiting = self._inbox.backlog(topic_cursors(self._progress()))
            self._is_reached = sum(topic.events for topic in waiting) >= self._limit
            self._looked_at = time.monotonic()
        return self._is_reached
