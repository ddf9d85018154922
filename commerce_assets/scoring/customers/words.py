"""Tiers and reasons: what stands on a customer's row for people to read.

Belongs here: lines drawn over predictions and words about them. Does not belong here: any estimate.
"""

import polars as pl

from commerce_assets.scoring.customers.settings import CustomerValueSettings


def with_tiers(customers: pl.DataFrame, settings: CustomerValueSettings) -> pl.DataFrame:
    """`vip_tier` by `total_value_amount` within `currency_code`: the fewest customers who together bring the first shares of the positive
    value, ties together, and nobody who is not above the median customer."""
    # Whole units of the fourth decimal: sums of integers do not depend on the order of the rows.
    values = customers.select(
        "currency_code", "total_value_amount", _units=(pl.col("total_value_amount").clip(lower_bound=0) * 10_000).cast(pl.Int128)
    ).sort("currency_code", "total_value_amount", descending=[False, True])
    before = (pl.col("_units").cum_sum() - pl.col("_units")).over("currency_code")
    total = pl.col("_units").sum().over("currency_code")
    shares = {"_platinum": settings.platinum_share, "_gold": settings.gold_share, "_silver": settings.silver_share}
    lines = (
        values.with_columns(**{name: (before < total * share) & (pl.col("_units") > 0) for name, share in shares.items()})
        .group_by("currency_code", maintain_order=True)
        .agg(
            *(pl.col("total_value_amount").filter(pl.col(name)).min().alias(name) for name in shares),
            pl.col("total_value_amount").sort().get((pl.len() - 1) // 2).alias("_median"),
        )
    )
    value = pl.col("total_value_amount")
    is_above = value > pl.col("_median")
    return (
        customers.join(lines, on="currency_code", how="left", maintain_order="left")
        .with_columns(
            vip_tier=pl.when(is_above & (value >= pl.col("_platinum")))
            .then(pl.lit("platinum"))
            .when(is_above & (value >= pl.col("_gold")))
            .then(pl.lit("gold"))
            .when(is_above & (value >= pl.col("_silver")))
            .then(pl.lit("silver"))
            .otherwise(pl.lit("none"))
        )
        .drop("_median", *shares)
    )


def with_reasons(customers: pl.DataFrame, settings: CustomerValueSettings) -> pl.DataFrame:
    """`reasons`: rhythm and silence, spend and what is expected, the chance of churn, why there is no date, what the tier rests on."""
    percent = lambda name: (pl.col(name) * 100).round(0).cast(pl.Int64)  # noqa: E731 - three uses, here
    order_days = pl.col("repeat_count") + 1
    orders = pl.format("{} {}", "order_count", pl.when(pl.col("order_count") == 1).then(pl.lit("order")).otherwise(pl.lit("orders")))
    rhythm = (
        pl.when(pl.col("repeat_count") == 0)
        .then(pl.format("{} on one day, {} days ago: no rhythm known yet", orders, "recency_days"))
        .otherwise(
            pl.format(
                "{} on {} days, usually every {} days; silent for {} days",
                orders,
                order_days,
                pl.col("average_gap_days").round(0).cast(pl.Int64),
                "recency_days",
            )
        )
    )
    spend = pl.format(
        f"spends about {{}} {{}} on a day with orders; {{}} such days expected in {settings.horizon_days} days",
        pl.col("average_order_amount").cast(pl.Decimal(18, 2)),
        "currency_code",
        pl.col("expected_order_count").round(2),
    )
    churn = pl.format(f"{{}} % chance of no order in the next {settings.churn_horizon_days} days", percent("churn_rate"))
    lapsed = (
        pl.when(pl.col("alive_rate") < settings.likely_lapsed_below_rate)
        .then(pl.format("likely lapsed: {} % chance of still being a customer", percent("alive_rate")))
        .when(pl.col("next_order_expected_on").is_null())
        .then(pl.lit(f"no date of a next order: even of who has not left, none is to be expected within {settings.horizon_days} days"))
    )
    nothing_left = pl.when(pl.col("historic_value_amount") <= 0).then(pl.lit("refunds left nothing of the value of the orders"))
    tier = pl.when(pl.col("vip_tier") != "none").then(
        pl.format(
            "among the customers who bring the first {} % of the value in {}",
            pl.col("vip_tier").replace_strict(
                {
                    "platinum": round(settings.platinum_share * 100),
                    "gold": round(settings.gold_share * 100),
                    "silver": round(settings.silver_share * 100),
                },
                default=None,
                return_dtype=pl.Int64,
            ),
            "currency_code",
        )
    )
    return customers.with_columns(reasons=pl.concat_list(rhythm, spend, nothing_left, churn, lapsed, tier).list.drop_nulls())
