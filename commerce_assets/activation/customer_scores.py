"""The sync `customer_scores`: segment, lifecycle, value and tags of each scored customer, on the storefront's customer.

What decides whether a customer is written: rfm_segment, lifecycle, monetary_value, is_vip, vip_tier, churn_risk (a band, not the chance
itself) and the tags. `scored_as_of`, predicted_value and next_order_on are only written along with one of them: they move a little every
day, and rewriting every customer for that would be noise for the shop and its apps. So `scored_as_of` on a customer says since when the
other values hold.
"""

from collections.abc import Callable

import polars as pl

from commerce_assets.activation.destinations.shopify import BulkMutation, CustomerMapping, MetafieldTarget, ShopifyAdmin, ShopifyCustomers
from commerce_assets.activation.engine import PushReport, push
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.activation.ledger import UNDO_DAYS, Ledger
from commerce_assets.activation.records import Sync

NAMESPACE = "commerce"
MANAGED_TAG_PREFIXES = ("lifecycle:", "winback:")
"""Tags that start so are ours to add and to remove; all others are never touched."""

MAPPING = CustomerMapping(
    # Types that segments can filter on: date, number, text, boolean.
    metafields=(
        MetafieldTarget(
            "rfm_segment", NAMESPACE, "rfm_segment", "single_line_text_field", "RFM segment", "Segment by recency, frequency and value."
        ),
        MetafieldTarget("lifecycle", NAMESPACE, "lifecycle", "single_line_text_field", "Lifecycle", "new, active, at_risk or lapsed."),
        MetafieldTarget(
            "monetary_value", NAMESPACE, "monetary_value", "number_decimal", "Value", "Net value of all orders, in the shop's currency."
        ),
        MetafieldTarget("is_vip", NAMESPACE, "is_vip", "boolean", "VIP", "Among the customers who bring the first share of the value."),
        MetafieldTarget(
            "vip_tier", NAMESPACE, "vip_tier", "single_line_text_field", "VIP tier", "platinum, gold, silver or none, by share of value."
        ),
        MetafieldTarget("churn_risk", NAMESPACE, "churn_risk", "single_line_text_field", "Churn risk", "low, medium or high."),
        MetafieldTarget(
            "predicted_value",
            NAMESPACE,
            "predicted_value",
            "number_decimal",
            "Predicted value",
            "Expected net value of the orders to come.",
            is_carried=True,
        ),
        MetafieldTarget(
            "next_order_on", NAMESPACE, "next_order_on", "date", "Next order", "When the next order is to be expected.", is_carried=True
        ),
        MetafieldTarget(
            "scored_as_of", NAMESPACE, "scored_as_of", "date", "Scored as of", "Since when the other values hold.", is_carried=True
        ),
    ),
    tags_field="tags",
    managed_prefixes=MANAGED_TAG_PREFIXES,
)
SYNC = Sync(
    destination="shopify",
    name="customer_scores",
    mapped=("rfm_segment", "lifecycle", "monetary_value", "is_vip", "vip_tier", "churn_risk", "tags"),
    carried=("predicted_value", "next_order_on", "scored_as_of"),
    sets=("tags",),
)
DESIRED_COLUMNS: dict[str, str] = {
    "customer_gid": "gid://shopify/Customer/<id>.",
    "rfm_segment": "Segment.",
    "lifecycle": "new, active, at_risk or lapsed.",
    "is_vip": "VIP flag.",
    "monetary_value_amount": "Net value, DECIMAL.",
    "vip_tier": "platinum, gold, silver or none.",
    "churn_risk": "low, medium or high.",
    "predicted_value_amount": "Expected net value to come, DECIMAL.",
    "next_order_expected_on": "Day of the next order, or null.",
    "as_of_on": "Day the score describes.",
    "lifecycle_tags": "Tags the customer should have: a list, or text joined by commas.",
}
"""What the sync reads of `sync_shopify__customer_scores`."""


def push_customer_scores(
    desired: pl.DataFrame,
    client: ShopifyAdmin,
    ledger_url: str,
    *,
    dry_run: bool = False,
    bulk: BulkMutation | None = None,
    bulk_threshold: int = 2_000,
    plan_id: str | None = None,
    undo_days: int = UNDO_DAYS,
    run_id: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PushReport:
    """Bring the shop's customers to `desired`, the rows of `sync_shopify__customer_scores`; writes only what differs.

    `run_id` is the caller's, kept beside the push's own; with `plan_id` only what that plan said is written. With `bulk` (how to run a bulk mutation), more than `bulk_threshold` customers
    go through bulk mutations.
    """
    destination = ShopifyCustomers(client, MAPPING, bulk=bulk, bulk_threshold=bulk_threshold)
    with Ledger(ledger_url, undo_days=undo_days) as ledger:
        records = as_records(desired)
        return push(SYNC, records, ledger, destination, dry_run=dry_run, plan_id=plan_id, requested_by=run_id, progress=progress)


def as_records(scores: pl.DataFrame) -> pl.DataFrame:
    """Rows of the sync's model as records: `record_key` and fields, all text in the form they are compared in.

    A key that is no customer's gid becomes null, which the plan skips and counts.
    """
    missing = [name for name in DESIRED_COLUMNS if name not in scores.columns]
    if missing:
        raise DesiredStateError(f"{SYNC.destination}/{SYNC.name}: the desired frame lacks {', '.join(missing)}")
    for name in ("monetary_value_amount", "predicted_value_amount"):
        if not (scores.schema[name].is_decimal() or scores.schema[name].is_integer()):
            raise DesiredStateError(f"{name} is {scores.schema[name]}, not DECIMAL: money never travels as a float")
    gid = pl.col("customer_gid").cast(pl.String)
    records = scores.select(
        record_key=pl.when(gid.str.contains(r"^gid://shopify/Customer/[0-9]+$")).then(gid),
        rfm_segment=pl.col("rfm_segment").cast(pl.String),
        lifecycle=pl.col("lifecycle").cast(pl.String),
        monetary_value=_money_as_text("monetary_value_amount"),
        is_vip=pl.col("is_vip").replace_strict({True: "true", False: "false"}, return_dtype=pl.String),
        vip_tier=pl.col("vip_tier").cast(pl.String),
        churn_risk=pl.col("churn_risk").cast(pl.String),
        tags=_tags_as_text(scores),
        predicted_value=_money_as_text("predicted_value_amount"),
        next_order_on=pl.col("next_order_expected_on").cast(pl.Date).cast(pl.String),
        scored_as_of=pl.col("as_of_on").cast(pl.Date).cast(pl.String),
    )
    _refuse_foreign_tags(records)
    return records


def _money_as_text(name: str) -> pl.Expr:
    """Whole cents, without zeros at the end: as the storefront gives it back."""
    cents = pl.col(name).cast(pl.Decimal(38, 4)).round(2).cast(pl.Decimal(38, 2)).cast(pl.String)
    return cents.str.strip_chars_end("0").str.strip_chars_end(".")


def _tags_as_text(scores: pl.DataFrame) -> pl.Series:
    """Each row's tags: lower case, no repeats, sorted, joined by commas; null where there are none."""
    given = scores.get_column("lifecycle_tags")
    joined = given.list.join(",", ignore_nulls=True) if isinstance(given.dtype, pl.List) else given.cast(pl.String)
    # There are few different sets of tags: each is put in order once.
    in_order = {text: _in_order(text) for text in joined.unique() if text is not None}
    if not in_order:
        return pl.Series("tags", [None] * scores.height, dtype=pl.String)
    return joined.replace_strict(in_order, default=None, return_dtype=pl.String).alias("tags")


def _in_order(text: str) -> str | None:
    return ",".join(sorted({tag.strip().lower() for tag in text.split(",") if tag.strip()})) or None


def _refuse_foreign_tags(records: pl.DataFrame) -> None:
    tags = {tag for text in records["tags"].drop_nulls().unique() for tag in text.split(",")}
    foreign = sorted(tag for tag in tags if not MAPPING.is_ours(tag))
    if foreign:
        raise DesiredStateError(
            f"{SYNC.destination}/{SYNC.name}: tags {foreign[:3]} do not start with one of {list(MANAGED_TAG_PREFIXES)}: "
            f"only tags of ours can be taken off again; rename them in the sync's model"
        )
