"""Segments at the storefront: kept as segments.yml has them, their members counted there and here."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.config import load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.activation.pushing import push_key
from commerce_assets.defs.names import CRM, tags
from commerce_assets.defs.resources import Storefront

KEY = dg.AssetKey(["activation", "shopify", "segments"])
SYNC = "customer_segments"
"""Gives customers the tags that the storefront's segments ask for."""
MODELS = ("warehouse", "segments")


def segment_assets(syncs: Sequence[DeclaredSync], models: Sequence[dg.AssetKey]) -> list[dg.AssetsDefinition]:
    """The asset, where customers are given the tags at all."""
    tagging = [push_key(declared) for declared in syncs if declared.name == SYNC]
    audiences = [key for key in models if tuple(key.path[:2]) == MODELS or "__segment_" in key.path[-1]]
    return [_segments([*tagging, *audiences])] if tagging else []


def _segments(upstream: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    @dg.asset(
        key=KEY,
        deps=list(upstream),
        description=(
            "The storefront's segments, one for each of dbt_project/segments.yml that is sent there: made and corrected by name, their members "
            "counted, and how many came and went since the measurement before. Merchants' own segments are never touched."
        ),
        group_name="activation",
        owners=[CRM],
        tags=tags(2, "customers", False),
        kinds={"shopify"},
        check_specs=[
            dg.AssetCheckSpec(
                "members_agree",
                asset=KEY,
                description="The storefront counts as many members as the models put into each segment (within 2 %).",
            )
        ],
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30, jitter=dg.Jitter.PLUS_MINUS),
        automation_condition=automation.when_upstream_changed(),
    )
    def segments(storefront: Storefront) -> dg.MaterializeResult:
        from commerce_assets.activation.destinations.shopify_segments import ShopifySegments
        from commerce_assets.activation.ledger import Ledger
        from commerce_assets.service.segments import disagreeing, known_gids, measure

        settings = load_settings()
        with storefront.client() as client, Ledger(settings.ops_url) as ledger:
            known = known_gids(ledger)
            measured = measure(settings, ledger, lambda segments: ShopifySegments(client).ensure(segments, known))
        apart = disagreeing(measured)
        return dg.MaterializeResult(
            metadata={"dagster/row_count": len(measured), "segments": dg.MetadataValue.md(_table(measured))},
            check_results=[
                dg.AssetCheckResult(
                    passed=not apart,
                    check_name="members_agree",
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"{len(apart)} of {len(measured)} segments differ" + (f": {', '.join(apart[:5])}" if apart else ""),
                )
            ],
        )

    return segments


def _table(measured: Sequence[Any]) -> str:
    lines = ["| segment | to | should hold | counted there | came | went |", "|---|---|---:|---:|---:|---:|"]
    lines += [
        f"| {one.segment} | {one.destination} | {one.desired:,} | {'-' if one.members is None else f'{one.members:,}'} "
        f"| {one.entered:,} | {one.left:,} |"
        for one in measured
    ]
    return "\n".join(lines)
