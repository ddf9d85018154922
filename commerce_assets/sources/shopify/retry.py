"""How long to wait before trying again: full jitter, within limits, and what the server itself says."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of retrying; `random` is only replaced in tests."""

    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    random: Callable[[], float] = field(default=random.random, repr=False)

    def wait_seconds(self, failures: int) -> float:
        """A random share of the exponentially growing window after the `failures`-th failure in a row (from 1)."""
        return self.random() * min(self.cap_seconds, self.base_seconds * 2 ** (failures - 1))


def retry_after_seconds(header: str | None, cap_seconds: float = 120.0) -> float | None:
    """The wait that a Retry-After header (seconds or a date) asks for, capped; None when there is none."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), cap_seconds)
