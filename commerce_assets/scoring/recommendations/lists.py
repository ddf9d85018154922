"""Lists and their reasons: related and complementary products of each listed product, next purchases of each customer."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from commerce_assets.scoring.recommendations.customers import Histories, best_reasons, histories_of, next_purchases, similar_matrix
from commerce_assets.scoring.recommendations.inputs import Purchases
from commerce_assets.scoring.recommendations.popular import fill_up, popularity
from commerce_assets.scoring.recommendations.settings import ITEM_ITEM, POPULAR_IN_TYPE, REPEAT, RecommendationSettings
from commerce_assets.scoring.recommendations.similarity import best_pairs, groups_of


@dataclass(frozen=True)
class Lists:
    """Rows without days and moments, and what the receipt says of them."""

    products: pl.DataFrame
    customers: pl.DataFrame
    large_orders: int
    large_customers: int


def make_lists(purchases: Purchases, as_of: date, settings: RecommendationSettings, *, with_held: bool) -> Lists:
    """All lists as of a day; the purchases hold nothing later."""
    lines, catalogue = purchases.lines, purchases.catalogue
    is_sellable = catalogue["is_sellable"].to_numpy()
    best = max(settings.list_size, settings.neighbours)
    orders = groups_of(lines, "order_id", catalogue.height, largest=settings.max_products_together)
    buyers = groups_of(lines, "customer_id", catalogue.height, largest=settings.max_products_together)
    complementary = best_pairs(orders, is_sellable, settings.list_size, settings)
    related = best_pairs(buyers, is_sellable, best, settings)
    by_evidence = pl.concat(
        [
            complementary.with_columns(kind=pl.lit("complementary"), reasons=_complementary_reasons()),
            related.filter(pl.col("rank") <= settings.list_size).with_columns(kind=pl.lit("related"), reasons=_related_reasons()),
        ]
    )
    listed = catalogue.filter("is_listed").select("product")
    by_evidence = by_evidence.join(listed, on="product", how="semi").with_columns(model_name=pl.lit(ITEM_ITEM))
    filled = fill_up(by_evidence, catalogue, popularity(lines, as_of, settings.popular_days), settings)
    filled = filled.join(catalogue.select("product", "product_type"), on="product").with_columns(
        score=pl.lit(None, pl.Float64), reasons=_popular_reasons(settings), model_name=pl.lit(POPULAR_IN_TYPE)
    )
    columns = ["product", "kind", "rank", "other", "score", "support_count", "reasons", "model_name"]
    rows = pl.concat([by_evidence.select(columns), filled.select(columns)])
    everything = groups_of(lines, "customer_id", catalogue.height)
    histories = histories_of(lines, everything, as_of, settings)
    neighbours = related.filter(pl.col("rank") <= settings.neighbours)
    return Lists(
        _with_ids(rows, catalogue).sort("product_id", "kind", "rank"),
        _customer_rows(purchases, histories, neighbours, settings, with_held),
        orders.too_large,
        buyers.too_large,
    )


def _with_ids(rows: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    ids = catalogue["product_id"]
    return rows.with_columns(product_id=ids.gather(rows["product"]), recommended_product_id=ids.gather(rows["other"]))


def _customer_rows(
    purchases: Purchases, histories: Histories, neighbours: pl.DataFrame, settings: RecommendationSettings, with_held: bool
) -> pl.DataFrame:
    catalogue = purchases.catalogue
    similar = similar_matrix(neighbours, catalogue.height)
    is_sellable = catalogue["is_sellable"].to_numpy()
    rows = next_purchases(histories, similar, is_sellable, settings.list_size, settings, with_held=with_held)
    ids = pl.Series(histories.groups.ids, dtype=pl.Int64)
    mine = purchases.lines.drop_nulls("customer_id").with_columns(
        customer=pl.Series(np.searchsorted(histories.groups.ids, purchases.lines["customer_id"].drop_nulls().to_numpy()), dtype=pl.Int64)
    )
    bought = mine.group_by("customer", "product").agg(pl.len().alias("times"), pl.col("ordered_on").max().alias("last_on"))
    because = best_reasons(rows, bought.select("customer", "product"), neighbours)
    titled = catalogue.select(because="product", because_title=pl.coalesce("title", pl.format("product {}", "product_id")))
    rate = catalogue.select("product", repeat_rate=pl.Series(histories.repeat_rate))
    worded = (
        rows.join(because, on=["customer", "product"], how="left")
        .join(titled, on="because", how="left")
        .join(bought, on=["customer", "product"], how="left")
        .join(rate, on="product", how="left")
        .with_columns(reasons=_customer_reasons(), model_name=pl.when("is_held").then(pl.lit(REPEAT)).otherwise(pl.lit(ITEM_ITEM)))
    )
    return worded.with_columns(
        customer_id=ids.gather(worded["customer"]), product_id=catalogue["product_id"].gather(worded["product"])
    ).sort("customer_id", "rank")


def _share(part: str, whole: str) -> pl.Expr:
    return (100 * pl.col(part) / pl.col(whole)).round(0).cast(pl.Int64)


def _complementary_reasons() -> pl.Expr:
    return pl.concat_list(
        pl.format("in {} orders together, {} % of the orders with this product", "support_count", _share("support_count", "product_count")),
        pl.format("{} times as often as by chance", pl.col("lift").round(1)),
    )


def _related_reasons() -> pl.Expr:
    return pl.concat_list(
        pl.format("{} customers bought both, {} % of this product's buyers", "support_count", _share("support_count", "product_count")),
        pl.format("{} times as often as by chance", pl.col("lift").round(1)),
    )


def _popular_reasons(settings: RecommendationSettings) -> pl.Expr:
    return pl.concat_list(
        pl.format("popular in {}: in {} orders of the last {} days", "product_type", "support_count", pl.lit(settings.popular_days)),
        pl.lit("too few purchases of this product to tell what goes with it"),
    )


def _customer_reasons() -> pl.Expr:
    times = pl.when(pl.col("times") == 1).then(pl.lit("once")).otherwise(pl.format("{} times", "times"))
    again = pl.format(
        "bought {}, last on {}; about {} % of its buyers buy it again",
        times,
        "last_on",
        (100 * pl.col("repeat_rate")).round(0).cast(pl.Int64),
    )
    votes = pl.format("{} customers who bought {} bought this too", "support_count", "because_title")
    return pl.concat_list(pl.when("is_held").then(again), pl.when(pl.col("because").is_not_null()).then(votes)).list.drop_nulls()
