"""What the schedules ask for."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from commerce_assets.defs.automation import RANGE_END_TAG, RANGE_START_TAG, storefront_schedules
from commerce_assets.lake import LoadReport

DAYS = dg.DailyPartitionsDefinition(start_date="2026-11-01", timezone="UTC", end_offset=1)
NOW = datetime(2026, 11, 21, 0, 30, tzinfo=UTC)
seen: list[dg.PartitionKeyRange] = []


@dg.asset(key=["storefront", "orders"], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def orders(context: dg.AssetExecutionContext) -> None:
    seen.append(context.partition_key_range)


@dg.asset(key=["storefront", "inventory"], partitions_def=DAYS)
def inventory() -> None: ...


@dg.asset(key=["storefront", "ids"])
def ids() -> None: ...


@pytest.fixture
def schedules(data_root: Path) -> dict[str, dg.ScheduleDefinition]:
    (data_root / "lake" / "loads").mkdir(parents=True)
    return {schedule.name: schedule for schedule in storefront_schedules([orders, inventory, ids])}


def request_of(schedule: dg.ScheduleDefinition) -> dg.RunRequest:
    with dg.DagsterInstance.ephemeral() as instance:
        repository = dg.Definitions(assets=[orders, inventory, ids], schedules=[schedule]).get_repository_def()
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=NOW, repository_def=repository)
        (request,) = schedule.evaluate_tick(context).run_requests
    return request


def pulled(data_root: Path, start: str, end: str, at: datetime) -> None:
    report = LoadReport(f"{at:%Y%m%dT%H%M%S}-orders-x", "storefront", "orders", f"{start}/{end}", {}, 0, 0, 0, 0.0, [], at)
    (data_root / "lake" / "loads" / f"{report.load_id}.json").write_text(report.to_json())


def test_orders_of_today_when_yesterday_is_closed(schedules: dict[str, dg.ScheduleDefinition], data_root: Path) -> None:
    pulled(data_root, "2026-11-01", "2026-11-20", datetime(2026, 11, 21, 0, 16, tzinfo=UTC))
    assert request_of(schedules["todays_orders"]).partition_key == "2026-11-21"


def test_orders_of_the_days_an_outage_left_out_in_one_range(schedules: dict[str, dg.ScheduleDefinition], data_root: Path) -> None:
    pulled(data_root, "2026-11-01", "2026-11-18", datetime(2026, 11, 18, 23, 45, tzinfo=UTC))
    pulled(data_root, "2026-11-01", "2026-11-17", datetime(2026, 11, 18, 9, 0, tzinfo=UTC))
    request = request_of(schedules["todays_orders"])
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == ("2026-11-18", "2026-11-21")
    job = dg.Definitions(assets=[orders], jobs=[dg.define_asset_job("j", selection=[orders], partitions_def=DAYS)]).resolve_job_def("j")
    assert job.execute_in_process(tags=dict(request.tags)).success
    assert seen[-1] == dg.PartitionKeyRange("2026-11-18", "2026-11-21")


def test_stock_of_today_only(schedules: dict[str, dg.ScheduleDefinition]) -> None:
    assert request_of(schedules["todays_inventory"]).partition_key == "2026-11-21"


def test_ids_are_swept_at_night(schedules: dict[str, dg.ScheduleDefinition]) -> None:
    assert schedules["sweep_ids_nightly"].cron_schedule == "20 2 * * *"
