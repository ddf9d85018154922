"""The push of customer scores to the storefront: metafields and lifecycle tags of exactly the customers whose values changed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.names import CRM, tags
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse

if TYPE_CHECKING:
    from commerce_assets.activation.engine import PushReport

KEY = dg.AssetKey(["activation", "shopify", "customer_scores"])
SYNC_MODEL = dg.AssetKey(["warehouse", "sync", "sync_shopify__customer_scores"])
SCORES = ("customer_rfm", "customer_value")
"""What the sync's model is made of."""


class PushConfig(dg.Config):
    """How to push."""

    dry_run: bool = False
    """Plan only: say what would be written, write nothing, materialise nothing."""


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
        report = push_scores(storefront, warehouse, dry_run=config.dry_run, requested_by=context.run_id, say=context.log.info)
        if config.dry_run:
            context.log.info(f"dry run, nothing written: {report.planned:,} of {report.desired:,} customers would be")
            return
        yield dg.MaterializeResult(metadata=report_metadata(report))

    return customer_scores


def push_scores(
    storefront: Storefront, warehouse: Warehouse, *, dry_run: bool, requested_by: str, say: Callable[[str], None]
) -> "PushReport":
    """Read what the storefront should hold, and make it so (or only plan it)."""
    from commerce_assets.activation.customer_scores import push_customer_scores
    from commerce_assets.sources.shopify.bulk import run_mutation

    settings = load_settings()
    with warehouse.reading() as connection:
        desired = connection.sql("FROM sync.sync_shopify__customer_scores").pl()
    with storefront.client() as client, TemporaryDirectory() as folder:
        return push_customer_scores(
            desired,
            client,
            settings.ops_url,
            dry_run=dry_run,
            bulk=lambda mutation, rows: run_mutation(client, mutation, rows, Path(folder), label="customer scores", progress=say),
            bulk_threshold=settings.bulk_push_threshold,
            run_id=requested_by,
            progress=lambda done, of: say(f"push: {done:,} of {of:,} customers"),
        )


def refuse_without_receipts(lake: LakeFolder, scores: Sequence[str], now: datetime, what: str) -> None:
    """Fail, without a retry, when a score behind the push has no accepted receipt in force."""
    from commerce_assets.service.scores.running import why_not_pushed

    if reasons := why_not_pushed(lake.open(), scores, now):
        raise dg.Failure(f"{what} refused: {'; '.join(reasons)}", allow_retries=False)


def report_metadata(report: "PushReport") -> dict[str, Any]:
    """Counts of a push; ids of a few customers, never a value."""
    counts = ("desired", "creates", "updates", "removals", "unchanged", "succeeded", "failed", "gone", "unknown", "resolved", "requests")
    return {
        **{name: getattr(report, name) for name in counts},
        "status": report.status,
        "ledger_run_id": report.run_id or "",
        "seconds": round(report.seconds, 3),
        "skipped": dg.MetadataValue.json(report.skipped),
        "failure_reasons": dg.MetadataValue.json(report.failure_reasons),
    }
