"""What recommendations read: order lines and the catalogue, checked; what is left out is counted by reason.

Belongs here: columns, types, exclusions, and the catalogue's numbering. Does not belong here: any similarity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from commerce_assets.scoring.errors import ScoringError

LINE_COLUMNS: dict[str, str] = {
    "order_id": "Order id.",
    "customer_id": "Customer id, BIGINT; null for a guest, whose orders still tell what goes together.",
    "product_id": "Product id, BIGINT.",
    "ordered_on": "UTC day of the order.",
    "unit_count": "Units ordered.",
    "is_returned_whole": "Optional: every unit came back.",
    "is_cancelled": "Optional: the order was cancelled.",
    "is_test": "Optional: the order was placed in test mode.",
}
"""An order's lines; two lines of one product (its variants) count once."""
PRODUCT_COLUMNS: dict[str, str] = {
    "product_id": "Product id, BIGINT.",
    "status": "active, archived or draft.",
    "is_deleted": "No longer in the shop.",
    "available_count": "Units that can be sold over all locations; null where stock is not tracked.",
    "product_type": "The shop's own type; null or empty where it has none.",
    "title": "Title, for the reasons.",
    "is_gift_card": "Optional: a gift card.",
}
"""The catalogue, deleted products included; other columns are ignored."""
_FLAGS = ("is_returned_whole", "is_cancelled", "is_test")
GIFT_CARD_TYPES = ("gift card", "gift cards", "gift_card", "giftcard")


@dataclass(frozen=True)
class Purchases:
    """Lines that count and the products they speak of, numbered."""

    lines: pl.DataFrame
    """order_id, customer_id, ordered_on, product (row of `catalogue`); one row an order and product, sorted."""
    catalogue: pl.DataFrame
    """product (0…), product_id, title, product_type, is_listed (has a page), is_sellable (may be recommended); sorted by product_id."""
    excluded: Mapping[str, int]
    """Lines and products left out, by reason."""


def read_purchases(lines: pl.DataFrame, products: pl.DataFrame, as_of: date) -> Purchases:
    """Check both frames and number the products; raises a ScoringError that names a column that is missing or of the wrong type."""
    catalogue, excluded_products = _catalogue(_checked_products(products))
    labelled = _labelled(_checked_lines(lines), catalogue, as_of)
    excluded = dict(labelled.filter(pl.col("excluded").is_not_null()).group_by("excluded").len().sort("excluded").iter_rows())
    used = labelled.filter(pl.col("excluded").is_null()).select("order_id", "customer_id", "ordered_on", "product")
    return Purchases(used, catalogue, {**excluded, **excluded_products})


def _checked_lines(lines: pl.DataFrame) -> pl.DataFrame:
    _require("lines", lines, [name for name in LINE_COLUMNS if name not in _FLAGS])
    for name in ("customer_id", "product_id"):
        _require_integer("lines", lines, name)
    if not lines.schema["ordered_on"].is_temporal():
        raise ScoringError(f"lines' ordered_on is {lines.schema['ordered_on']}, not a date: cast it in the mart")
    if not lines.schema["unit_count"].is_numeric():
        raise ScoringError(f"lines' unit_count is {lines.schema['unit_count']}, not a number: cast it in the mart")
    return lines.select(
        "order_id",
        pl.col("customer_id", "product_id").cast(pl.Int64),
        pl.col("ordered_on").cast(pl.Date),
        # NaN is greater than all numbers for polars: it must not pass for many units.
        pl.col("unit_count").cast(pl.Float64).fill_nan(None).fill_null(0.0) > 0,
        *(pl.col(name).fill_null(False) if name in lines.columns else pl.lit(False).alias(name) for name in _FLAGS),
    )


def _checked_products(products: pl.DataFrame) -> pl.DataFrame:
    _require("products", products, [name for name in PRODUCT_COLUMNS if name != "is_gift_card"])
    _require_integer("products", products, "product_id")
    if not (products.schema["available_count"].is_numeric() or products.schema["available_count"] == pl.Null):
        raise ScoringError(f"products' available_count is {products.schema['available_count']}, not a number: cast it in the mart")
    kind = pl.col("product_type").cast(pl.String).str.strip_chars()
    gift = pl.col("is_gift_card").fill_null(False) if "is_gift_card" in products.columns else pl.lit(False)
    return products.select(
        pl.col("product_id").cast(pl.Int64),
        pl.col("status").cast(pl.String).str.to_lowercase(),
        pl.col("is_deleted").cast(pl.Boolean).fill_null(False),
        pl.col("available_count").cast(pl.Float64).fill_nan(0.0),
        pl.when(kind != "").then(kind).alias("product_type"),
        pl.col("title").cast(pl.String),
        (gift | kind.str.to_lowercase().is_in(GIFT_CARD_TYPES).fill_null(False)).alias("is_gift_card"),
    )


def _require(what: str, frame: pl.DataFrame, names: list[str]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ScoringError(f"{what} lack {', '.join(missing)}: select them from the mart under these names")


def _require_integer(what: str, frame: pl.DataFrame, name: str) -> None:
    dtype = frame.schema[name]
    if not (dtype.is_integer() or dtype == pl.Null):
        raise ScoringError(f"{what}' {name} is {dtype}, not BIGINT: pass the numeric part of the gid")


def _catalogue(products: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """One row a product; of one that comes twice, the version with the least to recommend it."""
    known = products.filter(pl.col("product_id").is_not_null())
    is_listed = (pl.col("status") == "active").fill_null(False) & ~pl.col("is_deleted") & ~pl.col("is_gift_card")
    is_sellable = is_listed & (pl.col("available_count") > 0).fill_null(True)
    once = (
        known.with_columns(is_listed=is_listed, is_sellable=is_sellable)
        .sort("product_id", "is_sellable", "is_listed", ~pl.col("is_gift_card"), "title", "product_type", nulls_last=True)
        .unique("product_id", keep="first", maintain_order=True)
    )
    excluded = {"product_without_id": products.height - known.height, "product_repeated": known.height - once.height}
    columns = ("product_id", "title", "product_type", "is_listed", "is_sellable", "is_gift_card")
    return once.select(columns).with_row_index("product").cast({"product": pl.Int64}), {name: n for name, n in excluded.items() if n}


def _labelled(lines: pl.DataFrame, catalogue: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Lines with their product's number, sorted, and `excluded`: the first reason that fits, null where the line counts."""
    known = lines.join(catalogue.select("product_id", "product", "is_gift_card"), on="product_id", how="left", maintain_order="left")
    reasons = {
        "line_without_order_id": pl.col("order_id").is_null(),
        "line_without_product_id": pl.col("product_id").is_null(),
        "line_without_date": pl.col("ordered_on").is_null(),
        "line_after_as_of": pl.col("ordered_on") > as_of,
        "line_test": pl.col("is_test"),
        "line_cancelled": pl.col("is_cancelled"),
        "line_without_units": ~pl.col("unit_count"),
        "line_returned_whole": pl.col("is_returned_whole"),
        "line_of_unknown_product": pl.col("product").is_null(),
        "line_of_gift_card": pl.col("is_gift_card"),
    }
    label = pl.lit(None, pl.String)
    for reason, applies in reversed(reasons.items()):
        label = pl.when(applies).then(pl.lit(reason)).otherwise(label)
    in_order = known.with_columns(excluded=label).sort("order_id", "product", "excluded", "ordered_on", "customer_id", nulls_last=False)
    # Nulls first: a line that counts comes before the same product's lines that do not.
    repeats = pl.col("excluded").is_null() & ~pl.struct("order_id", "product").is_first_distinct()
    return in_order.with_columns(excluded=pl.when(repeats).then(pl.lit("line_repeats_product_of_order")).otherwise("excluded"))
