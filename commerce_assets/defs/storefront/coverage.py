"""Which days of orders are still to be pulled: those no load covers, and those that were pulled before they were over."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commerce_assets.lake import LoadReport

INDEX_LAG = timedelta(minutes=15)
"""How long after a day's end its last changes may still be missing from the shop's search index."""


def closed_days(reports: Iterable["LoadReport"]) -> set[date]:
    """The days that some load of orders replaced after they were over: nothing more can come into them."""
    closed: set[date] = set()
    for report in reports:
        if report.family == "orders":
            closed |= {day for day in _days(report.mode) if report.loaded_at >= _end_of(day) + INDEX_LAG}
    return closed


def days_due(reports: Iterable["LoadReport"], first: date, today: date) -> tuple[date, date]:
    """The range to pull: from the first day in [first, today] that is not closed, up to today."""
    closed = closed_days(reports)
    day = min(first, today)
    while day < today and day in closed:
        day += timedelta(days=1)
    return day, today


def _days(mode: str) -> Iterable[date]:
    """The days that a load replaced, from its report's `start/end`; none for a load of another kind (a replay)."""
    start, _, end = mode.partition("/")
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        return
    yield from (first + timedelta(days=days) for days in range((last - first).days + 1))


def _end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
