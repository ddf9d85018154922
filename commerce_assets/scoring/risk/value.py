"""How an order's value stands among the shop's earlier ones in its currency, for all orders at once.

Values are counted by week in bins of a sixteenth of an octave (4.4 % wide); what an order is compared with is a sum of whole weeks before
its own, so that a running quantile over any number of orders is a few sums of a small table.
"""

import polars as pl

from commerce_assets.scoring.risk.settings import RiskSettings

BINS_AN_OCTAVE = 16


def value_among_earlier(orders: pl.DataFrame, settings: RiskSettings) -> list[pl.Series]:
    """For each order `value_rank_rate`, the share of orders of the `value_weeks` before its week with a smaller value (of those of equal
    value half), and `value_ratio`, its value over their median; null where there were fewer than `value_min_orders`.
    """
    binned = orders.select(
        "currency_code",
        _week=pl.col("ordered_at").dt.epoch("d") // 7,
        _bin=(pl.col("total_amount").cast(pl.Float64).clip(0.01).log(2) * BINS_AN_OCTAVE).floor().cast(pl.Int64),
    )
    table = _earlier_by_bin(binned, settings)
    found = binned.join(table, on=["currency_code", "_week", "_bin"], how="left", maintain_order="left")
    has_enough = pl.col("_orders") >= settings.value_min_orders
    return found.select(
        value_rank_rate=pl.when(has_enough).then((pl.col("_below") + pl.col("_equal") / 2) / pl.col("_orders")),
        value_ratio=pl.when(has_enough).then(pl.lit(2.0) ** ((pl.col("_bin") - pl.col("_median_bin")) / BINS_AN_OCTAVE)),
    ).get_columns()


def _earlier_by_bin(binned: pl.DataFrame, settings: RiskSettings) -> pl.DataFrame:
    """Currency, week and bin of an order -> orders of the weeks before: below its bin, within it, in all, and the bin of their median."""
    key = ["currency_code", "_week"]
    counts = binned.group_by(*key, "_bin").agg(pl.len().alias("_count"))
    # Each week's counts stand in each of the weeks that look back on it.
    ahead = pl.DataFrame({"_ahead": range(1, settings.value_weeks + 1)}, schema={"_ahead": pl.Int64})
    earlier = (
        counts.join(ahead, how="cross")
        .with_columns(_week=pl.col("_week") + pl.col("_ahead"))
        .group_by(*key, "_bin")
        .agg(pl.col("_count").sum().alias("_equal"))
    )
    asked = counts.select(*key, "_bin").join(earlier, on=[*key, "_bin"], how="full", coalesce=True)
    ranked = asked.sort(*key, "_bin").with_columns(pl.col("_equal").fill_null(0).cast(pl.Int64))
    ranked = ranked.with_columns(_below=(pl.col("_equal").cum_sum() - pl.col("_equal")).over(key), _orders=pl.col("_equal").sum().over(key))
    is_median = 2 * (pl.col("_below") + pl.col("_equal")) >= pl.col("_orders")
    return ranked.with_columns(_median_bin=pl.col("_bin").filter(is_median & (pl.col("_equal") > 0)).min().over(key))
