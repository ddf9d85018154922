"""When things run. Sources by the clock; all behind them when what they read has changed and its blocking checks are green, down to the push."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import dagster as dg
from dagster import AutomationCondition

from commerce_assets.config import load_settings
from commerce_assets.defs.storefront.coverage import days_due, reports_of

QUARTER_HOURLY = "*/15 * * * *"
HOURLY = "7 * * * *"
NIGHTLY_SWEEP = "20 2 * * *"
NIGHTLY_COMPACTION = "50 3 * * *"
DAILY = "40 1 * * *"
DAILY_SCORES = "25 4 * * *"
"""After the night's sweep and compaction, before people come to work."""
HOURLY_SCORES = "22 * * * *"
CATCH_UP = timedelta(days=7)
"""How far back a scheduled pull of orders makes good what an outage left out; beyond that, a backfill or `commerce demo` does."""
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def when_upstream_changed() -> AutomationCondition:
    """Like `eager`, with two differences.

    A missing partition upstream does not hold everything back: orders have hundreds of days, most of which may never be pulled. And an
    upstream blocking check that failed does hold back what is behind it. The storefront's contract checks are left out of that: a load
    past its threshold replaces nothing and fails, and one below it only warns. So are the scores': a refused one leaves the rows accepted
    last, which models may show; what is pushed of them, the push's own gate holds back.
    """
    eager = AutomationCondition.eager().without(~AutomationCondition.any_deps_missing())
    return (eager & _upstream_is_green()).with_label("when_upstream_changed")


def by_the_clock(cron: str) -> AutomationCondition:
    """Once a tick, unless it is already running: for what has nothing upstream in the graph."""
    due: AutomationCondition = AutomationCondition.cron_tick_passed(cron)
    return due.since_last_handled() & ~AutomationCondition.in_progress()


def by_the_clock_when_green(cron: str) -> AutomationCondition:
    """Once a tick, and then as soon as no blocking check upstream stands failed: for what is too heavy to follow every change."""
    return (by_the_clock(cron) & _upstream_is_green()).with_label("by_the_clock_when_green")


def at_most_hourly() -> AutomationCondition:
    """Not twice within an hour, however often what is upstream changes."""
    return ~AutomationCondition.newly_updated().since(AutomationCondition.cron_tick_passed(HOURLY_SCORES)).with_label("at_most_hourly")


def _upstream_is_green() -> AutomationCondition:
    return AutomationCondition.all_deps_blocking_checks_passed().ignore(dg.AssetSelection.key_prefixes("storefront", "scores"))


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
    """Orders and stock every quarter of an hour, the sweep of all ids at night."""
    by_name = {definition.key.path[-1]: definition for definition in storefront}
    return [
        _quarter_hourly(
            "todays_orders", by_name["orders"], "Pulls today's orders anew, and the days of the last week that are still due.", order_days
        ),
        _quarter_hourly(
            "todays_inventory", by_name["inventory"], "Takes today's snapshot of stock anew.", lambda now: (now.date(), now.date())
        ),
        dg.ScheduleDefinition(
            "sweep_ids_nightly",
            target=by_name["ids"],
            cron_schedule=NIGHTLY_SWEEP,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Finds what was deleted: asks for every id the storefront still holds.",
        ),
    ]


def order_days(now: datetime) -> tuple[date, date]:
    """Today, and from the first day of the last week that no load has closed: yesterday after midnight, more after an outage."""
    from commerce_assets.lake import Lake

    settings = load_settings()
    today = now.date()
    first = max(settings.orders_start_on, today - CATCH_UP)
    return days_due(reports_of(Lake(settings.lake_root), "orders"), first, today)


def _quarter_hourly(
    name: str, asset: dg.AssetsDefinition, description: str, due: Callable[[datetime], tuple[date, date]]
) -> dg.ScheduleDefinition:
    job = dg.define_asset_job(f"{name}_job", selection=[asset], partitions_def=asset.partitions_def)

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        start, end = due(context.scheduled_execution_time)
        run_key = f"{name}-{context.scheduled_execution_time.isoformat()}"
        if start == end:
            return dg.RunRequest(run_key=run_key, partition_key=end.isoformat())
        return dg.RunRequest(run_key=run_key, tags={RANGE_START_TAG: start.isoformat(), RANGE_END_TAG: end.isoformat()})

    return dg.ScheduleDefinition(
        name,
        job=job,
        cron_schedule=QUARTER_HOURLY,
        execution_timezone="UTC",
        execution_fn=request,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
