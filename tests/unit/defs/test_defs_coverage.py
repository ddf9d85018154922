"""Which days of orders a run pulls."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from commerce_assets.defs.storefront.assets import refuse_past_snapshot
from commerce_assets.defs.storefront.coverage import days_due


@dataclass(frozen=True)
class Report:
    mode: str
    loaded_at: datetime
    family: str = "orders"


def load(start: str, end: str, at: str, family: str = "orders") -> Report:
    return Report(f"{start}/{end}", datetime.fromisoformat(at).replace(tzinfo=UTC), family)


FIRST, TODAY = date(2026, 11, 1), date(2026, 11, 21)


def test_everything_is_due_before_the_first_load() -> None:
    assert days_due([], FIRST, TODAY) == (FIRST, TODAY)


def test_only_today_once_yesterday_was_pulled_after_it_was_over() -> None:
    assert days_due([load("2026-11-01", "2026-11-21", "2026-11-21T09:00:00")], FIRST, TODAY) == (TODAY, TODAY)


def test_a_day_pulled_before_it_was_over_is_pulled_again() -> None:
    assert days_due([load("2026-11-01", "2026-11-19", "2026-11-19T23:50:00")], FIRST, TODAY) == (date(2026, 11, 19), TODAY)


def test_a_day_pulled_within_the_index_lag_after_its_end_is_pulled_again() -> None:
    assert days_due([load("2026-11-01", "2026-11-20", "2026-11-21T00:05:00")], FIRST, TODAY) == (date(2026, 11, 20), TODAY)


def test_a_gap_left_while_nothing_ran_is_filled() -> None:
    loads = [load("2026-11-01", "2026-11-10", "2026-11-11T09:00:00"), load("2026-11-21", "2026-11-21", "2026-11-21T09:00:00")]
    assert days_due(loads, FIRST, TODAY) == (date(2026, 11, 11), TODAY)


def test_loads_of_other_families_close_nothing() -> None:
    assert days_due([load("2026-11-01", "2026-11-21", "2026-11-21T09:00:00", family="inventory")], FIRST, TODAY) == (FIRST, TODAY)


def test_a_snapshot_of_a_past_day_is_refused_without_a_retry() -> None:
    refuse_past_snapshot("2026-11-21", TODAY)
    with pytest.raises(dg.Failure, match="cannot be taken") as raised:
        refuse_past_snapshot("2026-11-20", TODAY)
    assert not raised.value.allow_retries


def test_a_replay_of_quarantined_rows_closes_nothing() -> None:
    replay = Report("rejoin", datetime(2026, 11, 21, 9, tzinfo=UTC))
    assert days_due([replay], FIRST, TODAY) == (FIRST, TODAY)
