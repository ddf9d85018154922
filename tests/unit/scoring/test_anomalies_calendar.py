"""The calendar of commerce, held against days that are known."""

from datetime import date, timedelta

import polars as pl
import pytest

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.anomalies import OwnEvent, calendar_events
from commerce_assets.scoring.anomalies.calendar import easter, thanksgiving

EASTER = (
    "2010-04-04 2011-04-24 2012-04-08 2013-03-31 2014-04-20 2015-04-05 2016-03-27 2017-04-16 2018-04-01 2019-04-21 2020-04-12 "
    "2021-04-04 2022-04-17 2023-04-09 2024-03-31 2025-04-20 2026-04-05 2027-03-28 2028-04-16 2029-04-01 2030-04-21"
)
BLACK_FRIDAY = (
    "2010-11-26 2011-11-25 2012-11-23 2013-11-29 2014-11-28 2015-11-27 2016-11-25 2017-11-24 2018-11-23 2019-11-29 2020-11-27 "
    "2021-11-26 2022-11-25 2023-11-24 2024-11-29 2025-11-28 2026-11-27 2027-11-26 2028-11-24 2029-11-23 2030-11-29"
)


@pytest.mark.parametrize("day", EASTER.split())
def test_easter_sundays(day: str) -> None:
    assert easter(int(day[:4])) == date.fromisoformat(day)


@pytest.mark.parametrize("day", BLACK_FRIDAY.split())
def test_black_fridays_are_the_day_after_the_fourth_thursday_of_november(day: str) -> None:
    assert thanksgiving(int(day[:4])) + timedelta(days=1) == date.fromisoformat(day)


def test_every_event_of_a_year_falls_on_its_days() -> None:
    events = calendar_events(date(2026, 1, 1), date(2026, 12, 31)).filter(
        ~pl.col("event").is_in(["month_start", "month_end", "christmas_run_up"])
    )
    days: dict[str, list[str]] = {}
    for day_on, event, _ in events.iter_rows():
        days.setdefault(event, []).append(f"{day_on:%m-%d}")
    assert days == {
        "new_year": ["01-01", "01-02"],
        "good_friday": ["04-03"],
        "easter": ["04-04", "04-05", "04-06"],
        "singles_day": ["11-11"],
        "black_week": ["11-23", "11-24", "11-25", "11-26", "11-28", "11-29"],
        "black_friday": ["11-27"],
        "cyber_monday": ["11-30"],
        "christmas": ["12-24", "12-25", "12-26"],
        "year_end": ["12-27", "12-28", "12-29", "12-30", "12-31"],
    }


def test_months_begin_and_end_on_their_days_in_a_leap_year_too() -> None:
    months = calendar_events(date(2024, 2, 1), date(2024, 3, 31)).filter(pl.col("kind") == "month").select("day_on", "event")
    assert months.rows() == [
        (date(2024, 2, 1), "month_start"),
        (date(2024, 2, 29), "month_end"),
        (date(2024, 3, 1), "month_start"),
        (date(2024, 3, 31), "month_end"),
    ]


def test_own_events_come_first_and_may_reach_over_the_year() -> None:
    own = OwnEvent("winter sale", date(2025, 12, 26), date(2026, 1, 3))
    events = calendar_events(date(2025, 12, 20), date(2026, 1, 10), [own, own])
    assert events.filter(events["event"] == "winter sale").height == 9
    first = events.unique("day_on", keep="first", maintain_order=True)
    assert first.filter(first["day_on"] == date(2025, 12, 26))["event"].to_list() == ["winter sale"]


def test_an_event_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ScoringError, match="sale"):
        OwnEvent("sale", date(2026, 1, 2), date(2026, 1, 1))
