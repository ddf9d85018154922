"""Days that are like no others in this shop, as its people keep them: a CSV file that is named in the settings."""

from pathlib import Path

import duckdb

from commerce_assets.scoring.anomalies import OwnEvent
from commerce_assets.scoring.errors import ScoringError

COLUMNS = ("name", "from_on", "to_on")


def read_events(path: Path | None) -> tuple[OwnEvent, ...]:
    """The events of the file: name, from_on, to_on (days as 2026-12-25; no to_on: one day), a line an event and year; none without a file.

    Raises `ScoringError` where the file is not there, lacks a column or has one nobody knows, or where a line has no name or no day that can
    be read: a holiday that is silently left out would alarm.
    """
    if path is None:
        return ()
    try:
        with duckdb.connect() as connection:
            given = connection.read_csv(str(path), all_varchar=True, header=True)
            named = given.columns
            unknown, lacking = sorted(set(named) - set(COLUMNS)), sorted({"name", "from_on"} - set(named))
            if unknown or lacking:
                raise ScoringError(f"COMMERCE_CALENDAR_EVENTS: {path.name} has {', '.join(named)}; its columns are {', '.join(COLUMNS)}")
            to_on = "nullif(trim(to_on), '')" if "to_on" in named else "null"
            rows = given.project(
                f"coalesce(trim(name), ''), try_cast(trim(from_on) as date), try_cast(coalesce({to_on}, trim(from_on)) as date)"
            ).fetchall()
    except duckdb.Error as error:
        raise ScoringError(f"COMMERCE_CALENDAR_EVENTS: {path.name} cannot be read: {str(error).splitlines()[0]}") from None
    for line, (name, from_on, until_on) in enumerate(rows, start=2):
        if not name or from_on is None or until_on is None:
            raise ScoringError(f"COMMERCE_CALENDAR_EVENTS: line {line} of {path.name} needs a name and days written as 2026-12-25")
    return tuple(OwnEvent(*row) for row in rows)
