"""Closed days of the lake into months, micro-batches into one partition: fewer, larger files, the same rows."""

import dagster as dg

from commerce_assets.defs.resources import LakeFolder

WITH_EVENTS = ("orders", "customers", "products", "inventory")
"""Families that micro-batches of events land in; deletions are folded by their own asset."""


@dg.op(description="Makes one file a month of the days that are over, and one of the micro-batches of events.")
def compact_closed_months(context: dg.OpExecutionContext, lake: LakeFolder) -> None:
    """Fold what micro-batches left since, and compact the families that are partitioned by day."""
    from commerce_assets.lake import compact, fold_events

    opened = lake.open()
    for family in WITH_EVENTS:
        if folded := fold_events(opened, family, is_thorough=True, is_waiting=True):
            context.log.info(f"{family}: {len(folded.partitions):,} partitions of events folded, {folded.rows:,} rows left")
    for root in ("orders", "inventory_items"):
        months = compact(opened, root)
        context.log.info(f"{root}: {', '.join(months) or 'nothing'} compacted")


@dg.op(description="Forgets events, and what became of them, that ended long ago.")
def forget_worked_events(context: dg.OpExecutionContext) -> None:
    """Keep the event service's databases bounded; what is open or dead stays."""
    from commerce_assets.config import load_settings
    from commerce_assets.service.upkeep import forget_old_events

    for table, rows in forget_old_events(load_settings()).items():
        context.log.info(f"{table}: {rows:,} rows forgotten")


def compaction_job() -> dg.JobDefinition:
    """The nightly upkeep."""

    @dg.job(
        description="Compacts the lake (closed days into months, rows unchanged) and forgets events that ended long ago.",
        executor_def=dg.in_process_executor,
    )
    def compact_lake() -> None:
        compact_closed_months()
        forget_worked_events()

    return compact_lake
