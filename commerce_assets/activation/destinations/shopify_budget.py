"""What a push may spend at a shop, how many calls that takes at once, how long it should last, and whether bulk mutations are quicker.

Shopify restores points at a steady rate into a bucket (Standard 100 a second, Advanced 200, Plus 1,000, Enterprise 2,000; the bucket holds
twenty seconds' worth), and a mutation costs 10. So a direct push lasts as long as its points take to be restored, if enough calls are in
flight: rate x seconds an answer / 10. Bulk mutations cost next to no points, but start, queue and poll for some seconds, and then go
through their rows one after the other.

Belongs here: the arithmetic, without a call. What is known of a shop's budget is read off the client, if it keeps account of it.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

POINTS_A_MUTATION = 10
POINTS_A_READ = 10
"""At most, of a call that reads some objects with their metafields: by recorded costs a list costs what one of its objects costs."""
OBJECTS_A_READ = 50
STANDARD_RATE = 100.0
BUCKET_SECONDS = 20
ANSWER_SECONDS = 0.3
"""Assumed of a mutation's answer until one was measured."""
HEADROOM = 2.0
"""Calls in flight beyond what the budget takes on average: a push stands still between its chunks, and has to catch up."""
FEWEST_WORKERS, MOST_WORKERS = 4, 96
PAUSES_A_CHUNK = 3
"""Answers that a chunk waits for with little else in flight: its read, its first metafields, its last tags."""
POINTS_AN_OPERATION = 60
"""Of one bulk mutation: staging, start, some polls."""
REQUESTS_AN_OPERATION = 6


@dataclass(frozen=True)
class Pace:
    """How fast bulk mutations are. The defaults are assumptions on the careful side: Shopify publishes no figures."""

    fixed_seconds: float = 15.0
    """Of one operation: staging its rows, starting, queueing, polling, fetching the result."""
    rows_a_second: float = 20.0


@dataclass(frozen=True)
class Budget:
    """What can be spent at a shop."""

    rate: float = STANDARD_RATE
    """Points restored a second."""
    available: float = STANDARD_RATE * BUCKET_SECONDS
    """Points that lie there now."""
    answer_seconds: float = ANSWER_SECONDS

    @property
    def workers(self) -> int:
        """Calls in flight that spend what is restored."""
        return min(MOST_WORKERS, max(FEWEST_WORKERS, ceil(HEADROOM * self.rate * self.answer_seconds / POINTS_A_MUTATION)))


@dataclass(frozen=True)
class Workload:
    """How much a plan is, at most: every object with all of its metafields, a tag to add where it is written and one to remove where it is known."""

    creates: int
    updates: int
    removals: int
    objects_a_call: int
    """Whole objects whose metafields go into one call."""
    has_tags: bool
    direct_chunk_rows: int
    bulk_chunk_rows: int

    @property
    def written(self) -> int:
        return self.creates + self.updates

    @property
    def total(self) -> int:
        return self.written + self.removals

    @property
    def deletions(self) -> int:
        """Calls: there is no bulk mutation that deletes metafields."""
        return ceil(self.removals / self.objects_a_call)

    @property
    def additions_of_tags(self) -> int:
        return self.written if self.has_tags else 0

    @property
    def removals_of_tags(self) -> int:
        return self.updates + self.removals if self.has_tags else 0

    # --- directly

    @property
    def reads(self) -> int:
        return ceil(self.creates / OBJECTS_A_READ)

    @property
    def mutations(self) -> int:
        return ceil(self.written / self.objects_a_call) + self.deletions + self.additions_of_tags + self.removals_of_tags

    @property
    def direct_points(self) -> int:
        return self.mutations * POINTS_A_MUTATION + self.reads * POINTS_A_READ

    def direct_seconds(self, budget: Budget) -> float:
        restored = max(0.0, self.direct_points - budget.available) / budget.rate
        chunks = ceil(self.total / self.direct_chunk_rows)
        answered = budget.answer_seconds * ((self.mutations + self.reads) / budget.workers + PAUSES_A_CHUNK * chunks)
        return max(restored, answered)

    # --- in bulk

    @property
    def operations(self) -> int:
        kinds = (self.written, self.additions_of_tags, self.removals_of_tags)
        return sum(1 for rows in kinds if rows) * ceil(self.total / self.bulk_chunk_rows)

    @property
    def bulk_rows(self) -> int:
        return self.written + self.additions_of_tags + self.removals_of_tags

    @property
    def bulk_points(self) -> int:
        return self.operations * POINTS_AN_OPERATION + self.deletions * POINTS_A_MUTATION

    def bulk_seconds(self, budget: Budget, pace: Pace) -> float:
        deleting = max(0.0, self.bulk_points - budget.available) / budget.rate
        return self.operations * pace.fixed_seconds + self.bulk_rows / pace.rows_a_second + deleting


def budget_of(client: Any) -> Budget | None:
    """What the client's own account says; None where it keeps none, or has had no answer yet."""
    throttle = getattr(client, "throttle", None)
    status = getattr(throttle, "status", None)
    if throttle is None or status is None:
        return None
    return Budget(max(status.restore_rate, 1.0), throttle.available, throttle.answer_seconds or ANSWER_SECONDS)


def keeps_account(client: Any) -> bool:
    """Whether the client will know the shop's budget once it has had an answer."""
    return getattr(client, "throttle", None) is not None


@dataclass(frozen=True)
class Spent:
    """What a client has spent so far in all."""

    points: float = 0.0
    throttled: int = 0

    @classmethod
    def of(cls, client: Any) -> "Spent":
        """Nothing, where it keeps no account."""
        meter = getattr(client, "meter", None)
        return cls(float(getattr(meter, "cost", 0.0)), int(getattr(meter, "throttled", 0)))
