"""The score: recommendations of products and next purchases of customers, with their receipt."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import InputFacts, Receipt, Scored, backtest_table, code_digest, package_versions
from commerce_assets.scoring.recommendations.backtest import backtest
from commerce_assets.scoring.recommendations.inputs import Purchases, read_purchases
from commerce_assets.scoring.recommendations.lists import Lists, make_lists
from commerce_assets.scoring.recommendations.settings import (
    ITEM_ITEM,
    KINDS,
    NEXT_PURCHASE_SCHEMA,
    POPULAR_IN_TYPE,
    RECOMMENDATION_SCHEMA,
    VERSION,
    RecommendationSettings,
)

SCORE = "product_recommendations"


def recommend_products(
    lines: pl.DataFrame,
    products: pl.DataFrame,
    as_of: date,
    *,
    scored_at: datetime,
    complete_at: datetime | None = None,
    products_complete_at: datetime | None = None,
    settings: RecommendationSettings | None = None,
    seed: int = 0,
) -> Scored:
    """Related and complementary products of every listed product, and next purchases of every customer.

    `lines`: rows of `LINE_COLUMNS`, days in UTC. `products`: rows of `PRODUCT_COLUMNS`, as they are now: status and stock decide what may
    be recommended. `complete_at` and `products_complete_at`: when either was last known to be complete.

    Rows are `RECOMMENDATION_SCHEMA`, sorted by product, kind and rank: never the product itself, nothing twice in a list, at most
    `list_size`, only products that are active, not deleted, in stock (or untracked) and no gift cards. Tables: `customers`, rows of
    `NEXT_PURCHASE_SCHEMA` under the same rules; `backtest`, the receipt's folds as a frame.

    The same rows in any order give the same frames. Raises `ScoringError` where a column is missing or of the wrong type.
    """
    settings = settings or RecommendationSettings()
    if scored_at.tzinfo is None:
        raise ScoringError("scored_at has no time zone: pass a UTC moment")
    purchases = read_purchases(lines, products, as_of)
    judged = backtest(purchases.lines, purchases.catalogue.height, settings, seed)
    lists = make_lists(purchases, as_of, settings, with_held=judged.with_held)
    valid_until = scored_at + timedelta(days=settings.valid_days)
    rows = _stamped(lists.products, RECOMMENDATION_SCHEMA, as_of, scored_at, valid_until)
    customers = _stamped(lists.customers, NEXT_PURCHASE_SCHEMA, as_of, scored_at, valid_until)
    days = purchases.lines["ordered_on"]
    first_on, last_on = _day(days.min()), _day(days.max())
    receipt = Receipt(
        score=SCORE,
        model=ITEM_ITEM,
        version=VERSION,
        code_digest=code_digest(*(str(file) for file in Path(__file__).parent.glob("*.py"))),
        as_of_on=as_of,
        scored_at=scored_at,
        valid_until=valid_until,
        seed=seed,
        inputs={
            "lines": InputFacts(lines.height, first_on, last_on, complete_at),
            "products": InputFacts(products.height, complete_at=products_complete_at),
        },
        rows=rows.height,
        excluded=purchases.excluded,
        trained_from_on=first_on,
        trained_to_on=last_on,
        settings=settings.as_dict(),
        fallback=_fallback(rows),
        notes=(*judged.notes, *_size_notes(lists, settings)),
        backtest=judged.folds,
        monitored=_monitored(rows, customers, purchases),
        packages=package_versions("polars", "numpy", "scipy"),
    )
    return Scored(rows, receipt, {"customers": customers, "backtest": backtest_table(judged.folds)})


def _stamped(
    rows: pl.DataFrame, schema: Mapping[str, pl.DataType], as_of: date, scored_at: datetime, valid_until: datetime
) -> pl.DataFrame:
    stamped = rows.with_columns(as_of_on=pl.lit(as_of), valid_until=pl.lit(valid_until), scored_at=pl.lit(scored_at))
    return stamped.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _fallback(rows: pl.DataFrame) -> str | None:
    """In words, where lists hold popular products because purchases say too little."""
    popular = rows.filter(pl.col("model_name") == POPULAR_IN_TYPE)
    if popular.is_empty():
        return None
    lists = popular.select("product_id", "kind").n_unique()
    return f"{lists:,} of {rows.select('product_id', 'kind').n_unique():,} lists are filled with popular products of the same type: too few purchases"


def _size_notes(lists: Lists, settings: RecommendationSettings) -> tuple[str, ...]:
    left_out = {"orders": lists.large_orders, "customers": lists.large_customers}
    return tuple(
        f"{count:,} {what} with more than {settings.max_products_together} products say nothing about pairs"
        for what, count in left_out.items()
        if count
    )


def _monitored(rows: pl.DataFrame, customers: pl.DataFrame, purchases: Purchases) -> dict[str, float]:
    """Figures whose jump means that the data or the shop changed."""
    listed = max(int(purchases.catalogue["is_listed"].sum()), 1)
    buyers = max(purchases.lines["customer_id"].drop_nulls().n_unique(), 1)
    figures = {
        f"{kind}_list_rate": rows.filter((pl.col("kind") == kind) & (pl.col("model_name") == ITEM_ITEM))["product_id"].n_unique() / listed
        for kind in KINDS
    }
    sellable = max(int(purchases.catalogue["is_sellable"].sum()), 1)
    return {
        **figures,
        "recommended_product_rate": rows["recommended_product_id"].n_unique() / sellable,
        "customer_list_rate": customers["customer_id"].n_unique() / buyers,
    }


def _day(value: object) -> date | None:
    return value if isinstance(value, date) else None
