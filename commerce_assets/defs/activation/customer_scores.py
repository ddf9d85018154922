"""The push of customer scores to the storefront: metafields and lifecycle tags of exactly the customers whose values changed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from commerce_assets.defs import automation
from commerce_assets.defs.activation.pushing import PushConfig, no_retry_when_refused, push_named, refuse_without_receipts, report_metadata
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.names import CRM, tags
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse

NAME = "customer_scores"
KEY = dg.AssetKey(["activation", "shopify", NAME])
SYNC_MODEL = dg.AssetKey(["warehouse", "sync", "sync_shopify__customer_scores"])
SCORES = ("customer_rfm", "customer_value")
"""What the sync's model is made of."""


def customer_scores_push(gate_before: Callable[[Sequence[dg.AssetKey]], Gate]) -> dg.AssetsDefinition:
    """The push behind its gate."""
    gate = gate_before([SYNC_MODEL])

    @dg.asset(
        key=KEY,
        deps=[SYNC_MODEL],
        description=(
            "Customers' segment, lifecycle, VIP tier, churn risk, value and next order on the storefront, as metafields and lifecycle tags. Only customers whose values "
            "changed since the ledger's last receipt are written. Refuses when an upstream blocking check last failed or a score has no accepted receipt in force."
        ),
        group_name="activation",
        owners=[CRM],
        tags=tags(2, "customers", False),
        kinds={"shopify"},
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30, jitter=dg.Jitter.PLUS_MINUS),
        output_required=False,
        automation_condition=automation.when_upstream_changed(),
    )
    def customer_scores(
        context: dg.AssetExecutionContext, config: PushConfig, storefront: Storefront, warehouse: Warehouse, lake: LakeFolder
    ) -> Iterator[Any]:
        gate.refuse_when_shut(context.instance, "push of customer scores")
        refuse_without_receipts(lake, SCORES, datetime.now(UTC), "push of customer scores")
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
            context.log.info(f"dry run, nothing written: {report.planned:,} of {report.desired:,} customers would be")
            return
        yield dg.MaterializeResult(metadata=report_metadata(report))

    return customer_scores
