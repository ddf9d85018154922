"""When things run. Sources by the clock; all behind them when what they read has changed and its blocking checks are green, down to the push."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
from dagster import AutomationCondition

QUARTER_HOURLY = "*/15 * * * *"
HOURLY = "7 * * * *"
NIGHTLY_SWEEP = "20 2 * * *"
NIGHTLY_COMPACTION = "50 3 * * *"
DAILY = "40 1 * * *"


def when_upstream_changed() -> AutomationCondition:
    """Like `eager`, with two differences.

    A missing partition upstream does not hold everything back: orders have hundreds of days, most of which may never be pulled. And an
    upstream blocking check that failed does hold back what is behind it. The storefront's contract checks are left out of that: a load
    past its threshold replaces nothing and fails, and one below it only warns.
    """
    eager = AutomationCondition.eager().without(~AutomationCondition.any_deps_missing())
    green = AutomationCondition.all_deps_blocking_checks_passed().ignore(dg.AssetSelection.key_prefixes("storefront"))
    return (eager & green).with_label("when_upstream_changed")


def by_the_clock(cron: str) -> AutomationCondition:
    """Once a tick, unless it is already running: for what has nothing upstream in the graph."""
    due: AutomationCondition = AutomationCondition.cron_tick_passed(cron)
    return due.since_last_handled() & ~AutomationCondition.in_progress()


def sensor() -> dg.AutomationConditionSensorDefinition:
    """Looks twice a minute at what changed and asks for what is behind it."""
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Declarative automation: each asset's own condition says when it is due.",
    )


def storefront_schedules(storefront: Sequence[dg.AssetsDefinition]) -> list[dg.ScheduleDefinition]:
    """Today's orders and stock every quarter of an hour (yesterday's orders once more after midnight), the sweep of all ids at night."""
    by_name = {definition.key.path[-1]: definition for definition in storefront}
    return [
        _todays_partition("todays_orders", by_name["orders"]),
        _todays_partition("todays_inventory", by_name["inventory"]),
        dg.ScheduleDefinition(
            "sweep_ids_nightly",
            target=by_name["ids"],
            cron_schedule=NIGHTLY_SWEEP,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Finds what was deleted: asks for every id the storefront still holds.",
        ),
    ]


def _todays_partition(name: str, asset: dg.AssetsDefinition) -> dg.ScheduleDefinition:
    job = dg.define_asset_job(f"{name}_job", selection=[asset], partitions_def=asset.partitions_def)

    def due(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        now = context.scheduled_execution_time
        days = [now.date()]
        if name == "todays_orders" and (now.hour, now.minute) == (0, 15):
            days.insert(0, (now - timedelta(days=1)).date())
        return [dg.RunRequest(partition_key=day.isoformat(), run_key=f"{name}-{now.isoformat()}-{day}") for day in days]

    return dg.ScheduleDefinition(
        name,
        job=job,
        cron_schedule=QUARTER_HOURLY,
        execution_timezone="UTC",
        execution_fn=due,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Pulls today's partition of {asset.key.to_user_string()} anew.",
    )
