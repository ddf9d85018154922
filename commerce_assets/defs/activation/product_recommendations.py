"""The push of recommendations to the storefront: the standard lists of exactly the products whose lists changed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from commerce_assets.defs import automation
from commerce_assets.defs.activation.pushing import PushConfig, no_retry_when_refused, push_named, refuse_without_receipts, report_metadata
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.names import CRM, tags
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse

NAME = "product_recommendations"
KEY = dg.AssetKey(["activation", "shopify", NAME])
SYNC_MODEL = dg.AssetKey(["warehouse", "sync", "sync_shopify__product_recommendations"])
SCORES = (NAME,)
WHAT = "push of product recommendations"


def product_recommendations_push(gate_before: Callable[[Sequence[dg.AssetKey]], Gate]) -> dg.AssetsDefinition:
    """The push behind its gate."""
    gate = gate_before([SYNC_MODEL])

    @dg.asset(
        key=KEY,
        deps=[SYNC_MODEL],
        description=(
            "Related and complementary products on the storefront's products, in Shopify's standard metafields, where themes look for them. Only "
            "products whose lists changed are written; a list that a merchant made by hand is left alone."
        ),
        group_name="activation",
        owners=[CRM],
        tags=tags(2, "catalogue", False),
        kinds={"shopify"},
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30, jitter=dg.Jitter.PLUS_MINUS),
        output_required=False,
        automation_condition=automation.when_upstream_changed(),
    )
    def product_recommendations(
        context: dg.AssetExecutionContext, config: PushConfig, storefront: Storefront, warehouse: Warehouse, lake: LakeFolder
    ) -> Iterator[Any]:
        gate.refuse_when_shut(context.instance, WHAT)
        refuse_without_receipts(lake, SCORES, datetime.now(UTC), WHAT)
        with no_retry_when_refused():
            report = push_named(
                NAME,
                storefront,
                warehouse,
                dry_run=config.dry_run,
                requested_by=context.run_id,
                say=context.log.info,
                plan_id=config.plan_id,
            )
        if config.dry_run:
            context.log.info(f"dry run, nothing written: {report.planned:,} of {report.desired:,} products would be")
            return
        yield dg.MaterializeResult(metadata=report_metadata(report))

    return product_recommendations
