"""Never more calls than the receiver allows, whatever the number of threads."""

import threading
from collections import deque
from collections.abc import Callable

from commerce_assets.activation.targets.http import RateOptions

MARGIN_SECONDS = 0.1
"""Calls do not take equally long on their way: a window is kept so much longer than the receiver's."""


class Pace:
    """A bucket a window, with as many tokens as calls are allowed; a token comes back when its window is over.

    So no period as long as a window ever holds more calls than allowed, wherever the receiver lets its own windows begin: a bucket that is
    refilled steadily would let twice as many through in its first one.
    """

    def __init__(self, rate: RateOptions, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._clock, self._pause = clock, pause
        windows = ((rate.per_second, 1.0), (rate.per_minute, 60.0))
        self._windows = [(deque[float](maxlen=calls), seconds) for calls, seconds in windows if calls]
        self._held_until = 0.0
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def take(self) -> None:
        """Return when a call may be sent. One thread at a time waits; the others queue behind it."""
        with self._turn:
            while (seconds := self._seconds_to_wait()) > 0:
                self._pause(seconds)
            now = self._clock()
            for taken, _ in self._windows:
                taken.append(now)

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: the receiver asked for it."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def _seconds_to_wait(self) -> float:
        with self._lock:
            moments = [self._held_until]
        moments += [taken[0] + seconds + MARGIN_SECONDS for taken, seconds in self._windows if len(taken) == taken.maxlen]
        return max(moments) - self._clock()


def calls_a_second(rate: RateOptions) -> float | None:
    """What the rate comes to over a long time; None where there is none."""
    steady = [calls / (seconds + MARGIN_SECONDS) for calls, seconds in ((rate.per_second, 1.0), (rate.per_minute, 60.0)) if calls]
    return min(steady) if steady else None
