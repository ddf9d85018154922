"""Small shops for tests of recommendations: order lines and catalogues from short descriptions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from commerce_assets.scoring.receipts import Scored
from commerce_assets.scoring.recommendations import RecommendationSettings, recommend_products

AS_OF = date(2026, 11, 21)
SCORED_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
LINE_SCHEMA = {"order_id": pl.Int64, "customer_id": pl.Int64, "product_id": pl.Int64, "ordered_on": pl.Date, "unit_count": pl.Int64}
PRODUCT_SCHEMA = {
    "product_id": pl.Int64,
    "status": pl.String,
    "is_deleted": pl.Boolean,
    "available_count": pl.Int64,
    "product_type": pl.String,
    "title": pl.String,
    "is_gift_card": pl.Boolean,
}
LOOSE = RecommendationSettings(min_support=1, shrinkage=0.0, popularity_damping=0.5)
"""Every pair counts, by its cosine: for small cases by hand."""


def lines_of(*orders: tuple[int | None, int, Sequence[int]]) -> pl.DataFrame:
    """Orders of (customer, days ago, products)."""
    rows = [
        (order, customer, product, AS_OF - timedelta(days=days_ago), 1)
        for order, (customer, days_ago, products) in enumerate(orders, start=1)
        for product in products
    ]
    return pl.DataFrame(rows, schema=LINE_SCHEMA, orient="row")


def catalogue_of(count: int, changed: Mapping[int, Mapping[str, Any]] | None = None) -> pl.DataFrame:
    """Products 1 to `count`, all for sale and of one type, but for what is changed of some."""
    rows = []
    for number in range(1, count + 1):
        plain = {"status": "active", "is_deleted": False, "available_count": 5, "product_type": "lamp", "is_gift_card": False}
        rows.append({"product_id": number, "title": f"Product {number}", **plain, **((changed or {}).get(number) or {})})
    return pl.DataFrame(rows, schema=PRODUCT_SCHEMA)


def scored(lines: pl.DataFrame, products: pl.DataFrame, settings: RecommendationSettings | None = LOOSE, **options: Any) -> Scored:
    return recommend_products(lines, products, AS_OF, scored_at=SCORED_AT, settings=settings, **options)


def lists_of(rows: pl.DataFrame, kind: str, model: str | None = None) -> dict[int, list[int]]:
    """Product -> products recommended, in their order."""
    some = rows.filter(kind=kind) if model is None else rows.filter(kind=kind, model_name=model)
    return dict(some.group_by("product_id", maintain_order=True).agg("recommended_product_id").iter_rows())


def habitual_shop(days: int = 200, customers: int = 40) -> pl.DataFrame:
    """Everybody buys every ten days: twice running from his own family of five products, which come in pairs."""

    def orders() -> Iterable[tuple[int | None, int, Sequence[int]]]:
        for customer in range(1, customers + 1):
            family = customer % 4 * 5
            for visit, days_ago in enumerate(range(days - customer % 10, -1, -10)):
                first = (visit // 2 + customer) % 5
                yield customer, days_ago, [family + first + 1, family + (first + 1) % 5 + 1]

    return lines_of(*orders())
