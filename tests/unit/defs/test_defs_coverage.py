"""Which days of orders a run pulls."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from commerce_assets.defs.storefront.assets import refuse_past_snapshot
from commerce_assets.defs.storefront.coverage import days_due, reports_of, watermark
from commerce_assets.lake import Lake, LoadReport


@dataclass(frozen=True)
class Report:
    mode: str
    loaded_at: datetime


def load(start: str, end: str, at: str) -> Report:
    return Report(f"{start}/{end}", datetime.fromisoformat(at).replace(tzinfo=UTC))


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


def test_a_snapshot_of_a_past_day_is_refused_without_a_retry() -> None:
    refuse_past_snapshot("2026-11-21", TODAY)
    with pytest.raises(dg.Failure, match="cannot be taken") as raised:
        refuse_past_snapshot("2026-11-20", TODAY)
    assert not raised.value.allow_retries


def test_a_replay_of_quarantined_rows_closes_nothing() -> None:
    replay = Report("rejoin", datetime(2026, 11, 21, 9, tzinfo=UTC))
    assert days_due([replay], FIRST, TODAY) == (FIRST, TODAY)


def test_a_familys_pulls_are_read_newest_first_and_replays_are_none(tmp_path: Path) -> None:
    (tmp_path / "loads").mkdir()
    for load_id, hour in (
        ("20261121T09-orders-a", 9),
        ("20261121T10-orders-b", 10),
        ("20261121T11-customers-c", 11),
        ("replay-20261121T12", 12),
    ):
        at = datetime(2026, 11, 21, hour, tzinfo=UTC)
        report = LoadReport(load_id, "storefront", "x", "all", {}, 0, 0, 0, 0.0, [], at)
        (tmp_path / "loads" / f"{load_id}.json").write_text(report.to_json())
    lake = Lake(tmp_path)
    assert [report.load_id for report in reports_of(lake, "orders")] == ["20261121T10-orders-b", "20261121T09-orders-a"]
    assert watermark(lake, "customers") == datetime(2026, 11, 21, 11, tzinfo=UTC)
    assert watermark(lake, "products") is None
