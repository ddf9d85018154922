"""Never more calls than the receiver allows, whatever the number of threads and however long a call is on its way."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from commerce_assets.activation.targets.http import RateOptions

ANSWER_SECONDS = 0.1
"""What an answer is taken to need where nothing was measured yet."""


@dataclass
class _Window:
    """So many tokens; each rests for so long after its call was answered."""

    tokens: int
    seconds: float
    in_flight: int = 0
    free_at: deque[float] = field(default_factory=deque)
    """When the tokens that rest come back, the first one first."""

    def seconds_to_wait(self, now: float) -> float | None:
        """0 when there is a token; None when all are in flight."""
        while self.free_at and self.free_at[0] <= now:
            self.free_at.popleft()
        if self.in_flight + len(self.free_at) < self.tokens:
            return 0.0
        return self.free_at[0] - now if self.free_at else None


class Pace:
    """A bucket of tokens a window. A token comes back when the window is over that begins with its call's answer.

    The receiver counts a call somewhere between its being sent and its being answered. So no period as long as a window ever holds more calls
    than allowed, wherever the receiver lets its windows begin and however unevenly calls travel. (A bucket that is refilled steadily lets
    twice as many through in its first window.)
    """

    def __init__(self, rate: RateOptions, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._clock, self._pause = clock, pause
        windows = ((rate.per_second, 1.0), (rate.per_minute, 60.0))
        self._windows = [_Window(calls, seconds) for calls, seconds in windows if calls]
        self._held_until = 0.0
        self._turn, self._answered = threading.Lock(), threading.Condition()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around a call: begins when it may be sent. One thread at a time waits for that; the others queue behind it."""
        with self._turn:
            self._take()
        try:
            yield
        finally:
            with self._answered:
                for window in self._windows:
                    window.in_flight -= 1
                    window.free_at.append(self._clock() + window.seconds)
                self._answered.notify_all()

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: the receiver asked for it."""
        with self._answered:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def _take(self) -> None:
        while True:
            with self._answered:
                now = self._clock()
                waits = [window.seconds_to_wait(now) for window in self._windows]
                if None in waits:
                    self._answered.wait()
                    continue
                seconds = max([self._held_until - now, *(wait for wait in waits if wait is not None)])
                if seconds <= 0:
                    for window in self._windows:
                        window.in_flight += 1
                    return
            self._pause(seconds)


def calls_a_second(rate: RateOptions) -> float | None:
    """What the rate comes to over a long time; None where there is none."""
    steady = [calls / (seconds + ANSWER_SECONDS) for calls, seconds in ((rate.per_second, 1.0), (rate.per_minute, 60.0)) if calls]
    return min(steady) if steady else None
