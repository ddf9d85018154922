"""The syncs there are, by name: what each writes, where to, and what stands behind it."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from commerce_assets.activation import customer_scores, product_recommendations
from commerce_assets.activation.destinations.shopify import BulkMutation, ShopifyAdmin, ShopifyObjects
from commerce_assets.activation.destinations.shopify_mapping import OwnerMapping
from commerce_assets.activation.engine import PushReport
from commerce_assets.activation.errors import UnknownSyncError
from commerce_assets.activation.records import Sync


@dataclass(frozen=True)
class NamedSync:
    """One sync: everything but when it runs and how it is shown."""

    sync: Sync
    mapping: OwnerMapping
    model: str
    """The dbt model in schema `sync` whose rows the destination is to hold."""
    scores: tuple[str, ...]
    """What the model is made of: each needs an accepted receipt."""
    title: str
    as_records: Callable[[pl.DataFrame], pl.DataFrame]
    push: Callable[..., PushReport]
    """(rows of the model, client, ledger URL, options) -> report."""
    goes_in_bulk: bool = False

    @property
    def plural(self) -> str:
        """What many of its records are called."""
        return self.mapping.owner.plural

    def destination(self, client: ShopifyAdmin, *, bulk: BulkMutation | None = None, bulk_threshold: int = 2_000) -> ShopifyObjects:
        """Where the sync writes."""
        return ShopifyObjects(client, self.mapping, bulk=bulk if self.goes_in_bulk else None, bulk_threshold=bulk_threshold)


SYNCS: dict[str, NamedSync] = {
    named.sync.name: named
    for named in (
        NamedSync(
            sync=customer_scores.SYNC,
            mapping=customer_scores.MAPPING,
            model="sync_shopify__customer_scores",
            scores=("customer_rfm", "customer_value"),
            title="customer scores",
            as_records=customer_scores.as_records,
            push=customer_scores.push_customer_scores,
            goes_in_bulk=True,
        ),
        NamedSync(
            sync=product_recommendations.SYNC,
            mapping=product_recommendations.MAPPING,
            model="sync_shopify__product_recommendations",
            scores=("product_recommendations",),
            title="product recommendations",
            as_records=product_recommendations.as_records,
            push=product_recommendations.push_product_recommendations,
        ),
    )
}


def sync_named(name: str) -> NamedSync:
    """The sync of that name, or `UnknownSyncError` with the names there are."""
    if name not in SYNCS:
        raise UnknownSyncError(f"there is no sync {name!r}; there are {', '.join(SYNCS)}")
    return SYNCS[name]
