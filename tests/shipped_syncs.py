"""The syncs that are shipped, as tests push them: their declaration, what the engine takes of it, and a push past the gates of the service."""

from collections.abc import Callable
from typing import Any

import polars as pl

from commerce_assets.activation.declarations import DeclaredSync, read_syncs
from commerce_assets.activation.destinations.shopify import BulkMutation, ShopifyAdmin, ShopifyObjects
from commerce_assets.activation.destinations.shopify_mapping import mapping_of
from commerce_assets.activation.engine import PushReport, push
from commerce_assets.activation.ledger import UNDO_DAYS, Ledger
from commerce_assets.activation.mapping import as_records as records_of
from commerce_assets.config import PROJECT_ROOT

SHIPPED = {name: placed.declared for name, placed in read_syncs(PROJECT_ROOT / "commerce_assets" / "defs" / "activation").items()}
CUSTOMER_SCORES: DeclaredSync = SHIPPED["customer_scores"]
PRODUCT_RECOMMENDATIONS: DeclaredSync = SHIPPED["product_recommendations"]
SYNC, MAPPING = CUSTOMER_SCORES.as_sync(), mapping_of(CUSTOMER_SCORES)
LISTS, LISTS_MAPPING = PRODUCT_RECOMMENDATIONS.as_sync(), mapping_of(PRODUCT_RECOMMENDATIONS)
LISTS_NAMESPACE = "shopify--discovery--product_recommendation"


def as_records(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the model of customer scores as records."""
    return records_of(CUSTOMER_SCORES, rows)


def lists_as_records(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the model of recommendations as records."""
    return records_of(PRODUCT_RECOMMENDATIONS, rows)


def push_rows(
    declared: DeclaredSync,
    rows: pl.DataFrame,
    client: ShopifyAdmin,
    ledger_url: str,
    *,
    bulk: BulkMutation | None = None,
    bulk_threshold: int | None = 2_000,
    undo_days: int = UNDO_DAYS,
    run_id: str | None = None,
    dry_run: bool = False,
    plan_id: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PushReport:
    """Bring the shop to the rows of a model; what is upstream is not asked."""
    destination = ShopifyObjects(client, mapping_of(declared), bulk=bulk, bulk_threshold=bulk_threshold)
    with Ledger(ledger_url, undo_days=undo_days) as ledger:
        return push(
            declared.as_sync(),
            records_of(declared, rows),
            ledger,
            destination,
            dry_run=dry_run,
            plan_id=plan_id,
            requested_by=run_id,
            progress=progress,
        )


def push_customer_scores(rows: pl.DataFrame, client: ShopifyAdmin, ledger_url: str, **options: Any) -> PushReport:
    """Of customer scores."""
    return push_rows(CUSTOMER_SCORES, rows, client, ledger_url, **options)


def push_product_recommendations(rows: pl.DataFrame, client: ShopifyAdmin, ledger_url: str, **options: Any) -> PushReport:
    """Of recommendations."""
    return push_rows(PRODUCT_RECOMMENDATIONS, rows, client, ledger_url, **options)
