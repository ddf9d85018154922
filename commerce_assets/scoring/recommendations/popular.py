"""Popular products: the baseline of the backtest, and what fills lists where evidence is short."""

from datetime import date, timedelta

import polars as pl

from commerce_assets.scoring.recommendations.settings import KINDS, RecommendationSettings


def popularity(lines: pl.DataFrame, as_of: date, days: int) -> pl.DataFrame:
    """product, order_count: orders of the last `days` days up to `as_of`; products without one are not there. Most popular first."""
    recent = lines.filter(pl.col("ordered_on") > as_of - timedelta(days=days))
    counts = recent.group_by("product").agg(pl.col("order_id").n_unique().cast(pl.Int64).alias("order_count"))
    return counts.sort(["order_count", "product"], descending=[True, False])


def most_popular(popular: pl.DataFrame, customers: pl.Series, held: pl.DataFrame, best: int, *, with_held: bool) -> pl.DataFrame:
    """The `best` most popular products for each customer: customer, product, rank. Without what he holds, unless `with_held`.

    `popular` as `popularity` gives it, `held` has customer and product.
    """
    places = popular.select("product").with_row_index("place").cast({"place": pl.Int64})
    # Whoever holds some of the most popular ones is offered so many more, before what he holds is taken out.
    taken = held.join(popular.select("product"), on="product", how="semi") if not with_held else held.clear()
    depths = taken.group_by("customer").agg(pl.len().cast(pl.Int64).alias("taken"))
    candidates = (
        pl.DataFrame({"customer": customers})
        .join(depths, on="customer", how="left", maintain_order="left")
        .with_columns(place=pl.int_ranges(0, pl.min_horizontal(best + pl.col("taken").fill_null(0), pl.lit(popular.height))))
        .select("customer", "place")
        .explode("place")
        .drop_nulls("place")
        .join(places, on="place", maintain_order="left")
        .join(taken.select("customer", "product"), on=["customer", "product"], how="anti", maintain_order="left")
    )
    ranked = candidates.select("customer", "product", rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("customer"))
    return ranked.filter(pl.col("rank") <= best).sort("customer", "rank")


def fill_up(lists: pl.DataFrame, catalogue: pl.DataFrame, popular: pl.DataFrame, settings: RecommendationSettings) -> pl.DataFrame:
    """Products of the same type for lists shorter than `fallback_size`: product, kind, other, rank, support_count.

    `lists` has product, kind, other. Only listed products get any; only sellable ones of a known type and with recent orders are given.
    """
    kinds = pl.DataFrame({"kind": [kind for kind in KINDS if kind in settings.fallback_kinds]}, schema={"kind": pl.String})
    lengths = lists.group_by("product", "kind").agg(pl.len().cast(pl.Int64).alias("length"))
    short = (
        catalogue.filter(pl.col("is_listed") & pl.col("product_type").is_not_null())
        .select("product", "product_type")
        .join(kinds, how="cross")
        .join(lengths, on=["product", "kind"], how="left")
        .with_columns(pl.col("length").fill_null(0))
        .filter(pl.col("length") < settings.fallback_size)
    )
    # A list lacks at most `fallback_size`, of which fewer than that are in it already, and itself may be among them.
    of_type = (
        popular.join(catalogue.filter("is_sellable").select("product", "product_type"), on="product", maintain_order="left")
        .drop_nulls("product_type")
        .with_columns(place=pl.int_range(pl.len()).over("product_type"))
        .filter(pl.col("place") < 2 * settings.fallback_size)
        .select("product_type", "place", other="product", support_count="order_count")
    )
    candidates = (
        short.join(of_type, on="product_type")
        .filter(pl.col("product") != pl.col("other"))
        .join(lists.select("product", "kind", "other"), on=["product", "kind", "other"], how="anti")
        .sort("product", "kind", "place")
        .with_columns(rank=pl.col("length") + pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("product", "kind"))
    )
    return candidates.filter(pl.col("rank") <= settings.fallback_size).select("product", "kind", "other", "rank", "support_count")
