"""What has been pulled: which days of orders are still due (those no load covers, and those pulled before they were over), and since when a delta is."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commerce_assets.lake import Lake, LoadReport

INDEX_LAG = timedelta(minutes=15)
"""How long after a day's end its last changes may still be missing from the shop's search index."""


def days_due(newest_first: Iterable["LoadReport"], first: date, today: date) -> tuple[date, date]:
    """The range to pull: from the first day in [first, today] that is not closed, up to today.

    A day is closed once a load replaced it after it was over: nothing more can come into it.
    """
    first = min(first, today)
    open_days = {first + timedelta(days=days) for days in range((today - first).days + 1)} - {today}
    for report in newest_first:
        if not open_days:
            break
        open_days -= {day for day in _days(report.mode) if report.loaded_at >= _end_of(day) + INDEX_LAG}
    return min(open_days, default=today), today


def reports_of(lake: "Lake", family: str) -> Iterator["LoadReport"]:
    """The reports of a family's pulls, newest first, each read when it is asked for (there are thousands in a year; load ids begin with the time)."""
    from commerce_assets.lake import LoadReport

    for path in sorted((lake.root / "loads").glob(f"*-{family}-*.json"), reverse=True):
        yield LoadReport.from_json(path.read_text(encoding="utf-8"))


def watermark(lake: "Lake", family: str) -> datetime | None:
    """When the newest pull of the family began that is in the lake; None before the first one."""
    newest = next(reports_of(lake, family), None)
    return newest.loaded_at if newest else None


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
