"""When a delivery that failed is tried again.

Belongs here: the schedule and the clock that runs it, faster when asked. Does not belong here: sending.
"""

from __future__ import annotations

from dataclasses import dataclass

RETRIES = 8
RETRY_SECONDS = 4 * 3600
# Each wait is twice the one before, and all of them together are four hours: 56 s, 113 s, … 2 h.
RETRY_DELAYS = tuple(RETRY_SECONDS * 2**retry / (2**RETRIES - 1) for retry in range(RETRIES))


class ClockError(ValueError):
    """A speed that no clock can have; the message says which are possible."""


@dataclass(frozen=True)
class RetryClock:
    """The clock of retries; `speed` 1000 makes four hours 14.4 seconds. What a request may take is never sped up."""

    speed: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a clock that stands still or runs backwards."""
        if not self.speed > 0:
            raise ClockError(f"the webhook clock's speed must be above 0, not {self.speed}")

    def delay(self, failures: int) -> float | None:
        """Real seconds to wait after that many failures of one delivery (1 after the first attempt); None when it is given up."""
        return RETRY_DELAYS[failures - 1] / self.speed if failures <= RETRIES else None
