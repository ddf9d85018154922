"""The sync `product_recommendations`: related and complementary products of each product, where themes and Shopify's own
Search & Discovery look for them: its standard metafields, lists of references to products.

A product without any list is not in the sync: what we wrote there before is taken away. The order of a list matters and is part of it.
A list that a merchant made by hand lies in the same metafield: a product that has one when we first come to it is left to the merchant,
which is why every product new to the sync is read first and nothing goes through bulk mutations.
"""

from collections.abc import Callable

import polars as pl

from commerce_assets.activation.destinations.shopify import MetafieldTarget, ProductMapping, ShopifyAdmin, ShopifyProducts
from commerce_assets.activation.engine import PushReport, push
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.activation.ledger import UNDO_DAYS, Ledger
from commerce_assets.activation.records import Sync

NAMESPACE = "shopify--discovery--product_recommendation"
LIST_TYPE = "list.product_reference"
MAX_REFERENCES = 128
"""Of a metafield that is a list."""
GID = r"^gid://shopify/Product/[0-9]+$"

MAPPING = ProductMapping(
    metafields=(
        MetafieldTarget(
            "related_products", NAMESPACE, "related_products", LIST_TYPE, "Related products", "Alternatives.", is_standard=True
        ),
        MetafieldTarget(
            "complementary_products",
            NAMESPACE,
            "complementary_products",
            LIST_TYPE,
            "Complementary products",
            "What goes with it.",
            is_standard=True,
        ),
    ),
    yields_to_others=True,
)
SYNC = Sync(destination="shopify", name="product_recommendations", mapped=("related_products", "complementary_products"))
DESIRED_COLUMNS: dict[str, str] = {
    "product_gid": "gid://shopify/Product/<id>.",
    "related_product_gids": "Alternatives, the best first: a list of gids; null or empty for none.",
    "complementary_product_gids": "What goes with it, the best first: a list of gids; null or empty for none.",
}
"""What the sync reads of `sync_shopify__product_recommendations`."""


def push_product_recommendations(
    desired: pl.DataFrame,
    client: ShopifyAdmin,
    ledger_url: str,
    *,
    dry_run: bool = False,
    plan_id: str | None = None,
    undo_days: int = UNDO_DAYS,
    run_id: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PushReport:
    """Bring the shop's products to `desired`, the rows of `sync_shopify__product_recommendations`; writes only what differs.

    `run_id` is the caller's, kept beside the push's own; with `plan_id` only what that plan said is written.
    """
    destination = ShopifyProducts(client, MAPPING)
    with Ledger(ledger_url, undo_days=undo_days) as ledger:
        records = as_records(desired)
        return push(SYNC, records, ledger, destination, dry_run=dry_run, plan_id=plan_id, requested_by=run_id, progress=progress)


def as_records(recommendations: pl.DataFrame) -> pl.DataFrame:
    """Rows of the sync's model as records: `record_key` and fields, lists as the JSON they are compared in.

    A key that is no product's gid becomes null, which the plan skips and counts; a row without any list is left out.
    """
    missing = [name for name in DESIRED_COLUMNS if name not in recommendations.columns]
    if missing:
        raise DesiredStateError(f"{SYNC.destination}/{SYNC.name}: the desired frame lacks {', '.join(missing)}")
    gid = pl.col("product_gid").cast(pl.String)
    lists = recommendations.select(
        record_key=pl.when(gid.str.contains(GID)).then(gid),
        related_products=_list_of(recommendations, "related_product_gids"),
        complementary_products=_list_of(recommendations, "complementary_product_gids"),
    )
    _refuse_bad_lists(lists)
    records = lists.with_columns(_as_json(name) for name in SYNC.mapped)
    return records.filter(pl.any_horizontal(pl.col(*SYNC.mapped).is_not_null()))


def _list_of(recommendations: pl.DataFrame, name: str) -> pl.Expr:
    if not isinstance(recommendations.schema[name], pl.List) and recommendations.schema[name] != pl.Null:
        raise DesiredStateError(f"{SYNC.destination}/{SYNC.name}: {name} is {recommendations.schema[name]}, not a list of gids")
    return pl.col(name).cast(pl.List(pl.String))


def _as_json(name: str) -> pl.Expr:
    """A list of gids as compact JSON; gids need no escaping. Null for an empty one."""
    return pl.when(pl.col(name).list.len() > 0).then(pl.format('["{}"]', pl.col(name).list.join('","'))).alias(name)


def _refuse_bad_lists(lists: pl.DataFrame) -> None:
    """A list that the storefront would refuse, or show a customer as nonsense, is the model's mistake: nothing is written then."""
    for name in SYNC.mapped:
        held = pl.col(name)
        is_gid = held.list.eval(pl.element().str.contains(GID).fill_null(False)).list.all()
        checks = {
            "something that is no product's gid": ~is_gid,
            "the product itself": held.list.contains(pl.col("record_key")),
            "a product twice": held.list.n_unique() != held.list.len(),
            f"more than {MAX_REFERENCES} products": held.list.len() > MAX_REFERENCES,
        }
        for what, applies in checks.items():
            bad = lists.filter(applies.fill_null(False))
            if bad.height:
                raise DesiredStateError(
                    f"{SYNC.destination}/{SYNC.name}: {name} of {bad.height} products holds {what}, such as that of {bad['record_key'][0]}: "
                    "correct the sync's model; nothing was written"
                )
