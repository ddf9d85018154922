"""Closed days of the lake into months: fewer, larger files, the same rows."""

import dagster as dg

from commerce_assets.defs.resources import LakeFolder


@dg.op(description="Makes one file a month of the days that are over.")
def compact_closed_months(context: dg.OpExecutionContext, lake: LakeFolder) -> None:
    """Compact the families that are partitioned by day."""
    from commerce_assets.lake import compact

    opened = lake.open()
    for root in ("orders", "inventory_items"):
        months = compact(opened, root)
        context.log.info(f"{root}: {', '.join(months) or 'nothing'} compacted")


def compaction_job() -> dg.JobDefinition:
    """The nightly upkeep."""

    @dg.job(description="Compacts the lake: closed days into months, rows unchanged.", executor_def=dg.in_process_executor)
    def compact_lake() -> None:
        compact_closed_months()

    return compact_lake
