"""The seven families of the storefront."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from commerce_assets.config import Settings
from commerce_assets.defs import automation
from commerce_assets.defs.checks import contract_check_results, contract_check_specs
from commerce_assets.defs.names import FAMILIES, tags
from commerce_assets.defs.resources import LakeFolder, Storefront
from commerce_assets.defs.schemas import family_metadata
from commerce_assets.defs.storefront.coverage import watermark
from commerce_assets.defs.storefront.landing import check_results, pull_and_land

PULL_RETRIES = dg.RetryPolicy(max_retries=1, delay=10, jitter=dg.Jitter.PLUS_MINUS)
"""Once more, on top of the client's own retries of single requests, which go on for minutes."""


class PullConfig(dg.Config):
    """How much to pull."""

    full: bool = False
    """Pull everything again, not only what changed since the last pull."""


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """UTC days from the configured start up to and including today, which is still filling."""
    return dg.DailyPartitionsDefinition(start_date=settings.orders_start_on.isoformat(), timezone="UTC", end_offset=1)


def storefront_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All families, orders and inventory partitioned by day."""
    days = daily_partitions(settings)
    return [_orders(days), _customers(), _products(), _inventory(days), _locations(), _ids(), _deletions()]


def _described(name: str) -> dict[str, Any]:
    """What every family's asset is declared with."""
    described = FAMILIES[name]
    key = dg.AssetKey(["storefront", name])
    return {
        "key": key,
        "description": described.description,
        "group_name": "storefront",
        "owners": [described.owner],
        "tags": tags(described.tier, described.domain, described.has_pii),
        "kinds": {"shopify", "parquet"},
        "metadata": family_metadata(name),
        "check_specs": contract_check_specs(key, name),
        "retry_policy": PULL_RETRIES,
    }


def _orders(days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run(), **_described("orders"))
    def orders(context: dg.AssetExecutionContext, storefront: Storefront, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import ReplaceDays
        from commerce_assets.sources.shopify.streams import fetch_orders

        start, end = _days_of(context)
        yield from pull_and_land(
            context,
            "orders",
            lake.open(),
            storefront,
            lake,
            lambda client, destination: fetch_orders(client, destination, start, end, context.log.info),
            ReplaceDays(start, end),
        )

    return orders


def _customers() -> dg.AssetsDefinition:
    @dg.asset(automation_condition=automation.by_the_clock(automation.HOURLY), **_described("customers"))
    def customers(context: dg.AssetExecutionContext, config: PullConfig, storefront: Storefront, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import Merge
        from commerce_assets.sources.shopify.streams import fetch_customers

        opened = lake.open()
        since = None if config.full else watermark(opened, "customers")
        yield from pull_and_land(
            context,
            "customers",
            opened,
            storefront,
            lake,
            lambda client, destination: fetch_customers(client, destination, since, context.log.info),
            Merge(),
        )

    return customers


def _products() -> dg.AssetsDefinition:
    @dg.asset(automation_condition=automation.by_the_clock(automation.HOURLY), **_described("products"))
    def products(context: dg.AssetExecutionContext, config: PullConfig, storefront: Storefront, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import Merge
        from commerce_assets.sources.shopify.streams import fetch_products

        opened = lake.open()
        since = None if config.full else watermark(opened, "products")
        yield from pull_and_land(
            context,
            "products",
            opened,
            storefront,
            lake,
            lambda client, destination: fetch_products(client, destination, since, context.log.info),
            Merge(),
        )

    return products


def _inventory(days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(partitions_def=days, **_described("inventory"))
    def inventory(context: dg.AssetExecutionContext, storefront: Storefront, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import ReplacePartition
        from commerce_assets.sources.shopify.streams import fetch_inventory

        refuse_past_snapshot(context.partition_key, datetime.now(UTC).date())
        yield from pull_and_land(
            context,
            "inventory",
            lake.open(),
            storefront,
            lake,
            lambda client, destination: fetch_inventory(client, destination, context.log.info),
            ReplacePartition(context.partition_key),
        )

    return inventory


def _locations() -> dg.AssetsDefinition:
    @dg.asset(automation_condition=automation.by_the_clock(automation.DAILY), **_described("locations"))
    def locations(context: dg.AssetExecutionContext, storefront: Storefront, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import ReplacePartition
        from commerce_assets.sources.shopify.streams import fetch_locations

        yield from pull_and_land(
            context,
            "locations",
            lake.open(),
            storefront,
            lake,
            lambda client, destination: fetch_locations(client, destination, context.log.info),
            ReplacePartition("all"),
        )

    return locations


def _ids() -> dg.AssetsDefinition:
    @dg.asset(**_described("ids"))
    def ids(context: dg.AssetExecutionContext, storefront: Storefront, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import ReplacePartition

        yield from pull_and_land(
            context,
            "ids",
            lake.open(),
            storefront,
            lake,
            lambda client, destination: sweep_all(client, destination, context.log.info),
            ReplacePartition("all"),
        )

    return ids


def _deletions() -> dg.AssetsDefinition:
    @dg.asset(automation_condition=automation.by_the_clock(automation.DAILY), **_described("deletions"))
    def deletions(context: dg.AssetExecutionContext, lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.lake import TableReport, fold_events

        opened = lake.open()
        # What was folded has been judged before; summed up it would be held against every later batch.
        reports = [report for report in opened.event_reports("deletions") if report.mode != "folded"]
        fold_events(opened, "deletions", is_thorough=True, is_waiting=True)
        yield dg.MaterializeResult(metadata={"dagster/row_count": opened.read("deleted_ids").height})
        if reports:
            yield from check_results(context.asset_key, "deletions", reports[-1], opened, lake.max_reject_rate)
        else:
            yield from contract_check_results(context.asset_key, "deletions", {"deleted_ids": TableReport()}, {}, lake.max_reject_rate)

    return deletions


def sweep_all(client: Any, destination: Any, progress: Any) -> Any:
    """Sweep the three types side by side; the whole counts as read when the first of them began."""
    from dataclasses import replace

    from commerce_assets.sources.shopify.streams import fetch_all_ids

    sweeps = list(fetch_all_ids(client, destination, progress).values())
    return replace(
        sweeps[0],
        files=tuple(path for sweep in sweeps for path in sweep.files),
        bulk_files=tuple(path for sweep in sweeps for path in sweep.bulk_files),
        declared_objects=sum(sweep.declared_objects or 0 for sweep in sweeps),
        declared_roots=sum(sweep.declared_roots or 0 for sweep in sweeps),
        lines=sum(sweep.lines for sweep in sweeps),
        bytes=sum(sweep.bytes for sweep in sweeps),
        requests=sum(sweep.requests for sweep in sweeps),
        cost=sum(sweep.cost for sweep in sweeps),
        seconds=max(sweep.seconds for sweep in sweeps),
        started_at=min(sweep.started_at for sweep in sweeps),
    )


def refuse_past_snapshot(partition: str, today: date) -> None:
    """Stock is what it is now: a day that is over cannot be counted again."""
    if date.fromisoformat(partition) != today:
        raise dg.Failure(
            f"inventory of {partition} cannot be taken: the storefront tells today's stock only ({today}, UTC). "
            "Run today's partition; a past day without a snapshot stays without one.",
            allow_retries=False,
        )


def _days_of(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """First and last day of the partitions of this run."""
    days = context.partition_key_range
    return date.fromisoformat(days.start), date.fromisoformat(days.end)
