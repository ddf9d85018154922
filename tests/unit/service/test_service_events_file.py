"""A shop's own days from a CSV: read whole or refused with the line that is wrong."""

from datetime import date
from pathlib import Path

import pytest

from commerce_assets.scoring.anomalies import OwnEvent
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.service.scores.events_file import read_events


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "events.csv"
    path.write_text(text)
    return path


def test_without_a_file_there_are_no_events() -> None:
    assert read_events(None) == ()


def test_an_event_lasts_a_day_or_until_its_last_one(tmp_path: Path) -> None:
    found = read_events(_file(tmp_path, "name,from_on,to_on\nspring bank holiday,2026-05-25,\nsummer sale,2026-07-01,2026-07-14\n"))
    assert found == (
        OwnEvent("spring bank holiday", date(2026, 5, 25), date(2026, 5, 25)),
        OwnEvent("summer sale", date(2026, 7, 1), date(2026, 7, 14)),
    )


def test_the_last_day_may_be_left_out_as_a_column(tmp_path: Path) -> None:
    (event,) = read_events(_file(tmp_path, "name,from_on\nstocktaking,2026-01-31\n"))
    assert event.to_on == date(2026, 1, 31)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name,from_on,to_on\nsale,25.12.2026,\n", "line 2 of events.csv needs a name and days written as"),
        ("name,from_on,to_on\n,2026-12-25,\n", "line 2 of events.csv needs a name"),
        ("name,from_on,to_on\nsale,2026-12-25,2026-12-24\n", "let it end after it began"),
        ("title,from_on\nsale,2026-12-25\n", "its columns are name, from_on, to_on"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ScoringError, match=what):
        read_events(_file(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"missing\.csv cannot be read"):
        read_events(tmp_path / "missing.csv")
