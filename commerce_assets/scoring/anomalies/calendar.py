"""The days of commerce that are like no others: Black Friday, Christmas, Easter, and what a shop adds.

Only days that move with no country; national holidays are a shop's own events.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import polars as pl

from commerce_assets.scoring.errors import ScoringError

Kind = Literal["own", "sale", "closing", "season", "month"]
KINDS: tuple[Kind, ...] = ("own", "sale", "closing", "season", "month")
"""What kind of day an event makes, the strongest first: where two fall on one day, the first has it.

Own, sale and closing days stand alone: they neither move a level nor a weekday. Season and month days are ordinary days with a push.
"""
EVENT_WORDS: dict[str, str] = {
    "black_week": "Black Friday's week",
    "black_friday": "Black Friday",
    "cyber_monday": "Cyber Monday",
    "singles_day": "Singles' Day",
    "christmas_run_up": "the run-up to Christmas",
    "christmas": "Christmas",
    "year_end": "between the years",
    "new_year": "New Year",
    "good_friday": "Good Friday",
    "easter": "Easter",
    "month_start": "the first of the month",
    "month_end": "the last of the month",
}
RUN_UP_DAYS = 23
THURSDAY = 3


@dataclass(frozen=True)
class OwnEvent:
    """Days of the shop's own, first and last included; the same name in another year is the same event."""

    name: str
    from_on: date
    to_on: date

    def __post_init__(self) -> None:
        if not self.name or self.to_on < self.from_on:
            raise ScoringError(f"event {self.name!r} from {self.from_on} to {self.to_on}: name it, and let it end after it began")


def calendar_events(first_on: date, last_on: date, own: Iterable[OwnEvent] = ()) -> pl.DataFrame:
    """Events of the days: day_on, event, kind; sorted by day, the strongest kind first. A day may have several or none."""
    if last_on < first_on:
        return pl.DataFrame(schema={"day_on": pl.Date, "event": pl.String, "kind": pl.String})
    found = [event for year in range(first_on.year, last_on.year + 1) for event in _events_of(year)]
    found += [
        (event.from_on + timedelta(days=n), event.name, "own") for event in own for n in range((event.to_on - event.from_on).days + 1)
    ]
    events = pl.DataFrame(found, schema={"day_on": pl.Date, "event": pl.String, "kind": pl.String}, orient="row")
    in_range = events.filter(pl.col("day_on").is_between(first_on, last_on)).unique()
    strength = pl.col("kind").replace_strict({kind: place for place, kind in enumerate(KINDS)}, return_dtype=pl.Int64)
    return in_range.sort("day_on", strength, "event")


def thanksgiving(year: int) -> date:
    """The fourth Thursday of November; Black Friday is the day after it, Cyber Monday four days after it."""
    first = date(year, 11, 1)
    return first + timedelta(days=(THURSDAY - first.weekday()) % 7 + 21)


def easter(year: int) -> date:
    """Western Easter Sunday (Gregorian calendar), by the anonymous algorithm in Meeus, Astronomical Algorithms (1991), chapter 8."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    lunar = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 19 * lunar) // 433
    month = (h + lunar - 7 * m + 90) // 25
    return date(year, month, (h + lunar - 7 * m + 33 * month + 19) % 32)


def _events_of(year: int) -> Iterator[tuple[date, str, Kind]]:
    black_friday, sunday = thanksgiving(year) + timedelta(days=1), easter(year)
    yield black_friday, "black_friday", "sale"
    yield black_friday + timedelta(days=3), "cyber_monday", "sale"
    # From the Monday before, when sales begin, over the weekend between the two.
    yield from ((black_friday + timedelta(days=n), "black_week", "sale") for n in (-4, -3, -2, -1, 1, 2))
    yield date(year, 11, 11), "singles_day", "sale"
    yield from ((date(year, 12, day), "christmas_run_up", "season") for day in range(1, RUN_UP_DAYS + 1))
    yield from ((date(year, 12, day), "christmas", "closing") for day in (24, 25, 26))
    yield from ((date(year, 12, day), "year_end", "closing") for day in range(27, 32))
    yield from ((date(year, 1, day), "new_year", "closing") for day in (1, 2))
    yield sunday - timedelta(days=2), "good_friday", "closing"
    yield from ((sunday + timedelta(days=n), "easter", "closing") for n in (-1, 0, 1))
    for month in range(1, 13):
        first = date(year, month, 1)
        yield first, "month_start", "month"
        yield first - timedelta(days=1), "month_end", "month"
    yield date(year, 12, 31), "month_end", "month"
