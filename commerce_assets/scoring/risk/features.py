"""What was known of each order at the moment it was placed: its history by key, its value beside the shop's, what does not fit together.

Everything here looks back only: at orders before it (by `ordered_at`, then `order_id`), at values of the weeks before its week, and at
chargebacks from the moment they were known.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from commerce_assets.scoring.risk.settings import RiskSettings
from commerce_assets.scoring.risk.value import value_among_earlier
from commerce_assets.scoring.risk.windows import FOREVER_DAYS, SECONDS_A_DAY, Integers, KeyHistory

KEYS: dict[str, str] = {
    "customer": "customer_id",
    "email": "email_key",
    "phone": "phone_key",
    "ip": "ip_key",
    "postcode": "shipping_place",
}
"""What links orders -> the column that holds it."""
PERSONAL_KEYS = ("customer", "email", "phone")
WINDOWS: dict[str, int] = {"1h": 3_600, "24h": SECONDS_A_DAY, "7d": 7 * SECONDS_A_DAY}
ROUND_TO, ROUND_FROM = 50, 100
"""A total that is a multiple of this, from this on, in units of its currency."""
COUNTRY_MIN_ORDERS = 200
"""Orders before it from which on an order's country can be rare."""

FEATURES: tuple[str, ...] = (
    *(f"{key}_orders_{window}_count" for key in KEYS for window in WINDOWS),
    "email_other_customers_count",
    "phone_other_buyers_count",
    "ip_other_buyers_count",
    "payment_failures_count",
    "earlier_failures_24h_count",
    "earlier_chargebacks_count",
    "matured_orders_count",
    "earlier_orders_count",
    "is_first_order",
    "is_guest",
    "is_staffed",
    "value_rank_rate",
    "value_ratio",
    "is_country_mismatch",
    "is_postcode_mismatch",
    "country_share_rate",
    "is_night",
    "is_round_amount",
    "is_gift_card_order",
    "unit_count",
)
"""Columns `order_features` adds; counts of history, shares (`_rate`) of 0 to 1, flags; null where the data has nothing to say."""


def order_features(orders: pl.DataFrame, settings: RiskSettings) -> pl.DataFrame:
    """Orders as `checked_orders` returns them, with `FEATURES`, in the same order."""
    staffed = pl.col("source_name").is_in(settings.staffed_sources).fill_null(False)
    placed = orders.with_columns(
        is_staffed=staffed,
        # Parcels to one place: the same postal code in two countries is two places.
        shipping_place=pl.concat_str("shipping_country_code", "shipping_postal_code", separator=" "),
        # A till's address and phone are the shop's own.
        ip_key=pl.when(~staffed).then("ip_key"),
        payment_failures_count=pl.when(~staffed).then(pl.col("payment_failures_count").clip(0)),
        unit_count=pl.col("unit_count").clip(0),
        _buyer=pl.coalesce("email_key", pl.col("customer_id").cast(pl.String)),
    )
    return placed.with_columns(
        *_history(placed, settings), *_within_the_order(settings), *_country_shares(), *value_among_earlier(placed, settings)
    ).drop("shipping_place", "_buyer")


def as_matrix(features: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float32]]:
    """FEATURES as numbers for a model, orders x features; NaN where null."""
    return features.select(pl.col(FEATURES).cast(pl.Float32)).to_numpy(order="fortran")


def _history(orders: pl.DataFrame, settings: RiskSettings) -> list[pl.Series]:
    seconds = orders["ordered_at"].dt.epoch("s").to_numpy()
    known_seconds = orders["chargeback_known_at"].dt.epoch("s").fill_null(0).to_numpy()
    is_known = orders["chargeback_known_at"].is_not_null().to_numpy()
    failures = orders["payment_failures_count"].fill_null(0).to_numpy()
    nothing = np.zeros(orders.height, dtype=np.int64)
    columns: dict[str, Integers] = {}
    totals = {"earlier_failures_24h": [nothing], "earlier_chargebacks": [nothing], "matured_orders": [nothing], "earlier_orders": [nothing]}
    reuse = (
        ("email", "email_other_customers", orders["customer_id"], FOREVER_DAYS),
        ("phone", "phone_other_buyers", orders["_buyer"], FOREVER_DAYS),
        ("ip", "ip_other_buyers", orders["_buyer"], settings.ip_days),
    )
    for key, column in KEYS.items():
        history = KeyHistory(orders[column], seconds)
        counts = {window: history.counts(length) for window, length in WINDOWS.items()}
        # Of a key that has long been busy nothing follows; a key that got busy this week is another matter.
        lead = (history.all_counts - counts["7d"] < settings.shared_key_orders).astype(np.int64)
        columns |= {f"{key}_orders_{window}": count * lead for window, count in counts.items()}
        for of, name, buyers, days in reuse:
            if of == key:
                columns[name] = history.other_buyers(buyers, days * SECONDS_A_DAY) * lead
        if key != "postcode":
            totals["earlier_failures_24h"].append(history.sums(failures, SECONDS_A_DAY) * lead)
        if key in PERSONAL_KEYS:
            totals["earlier_chargebacks"].append(history.known_events(known_seconds, is_known) * lead)
            totals["earlier_orders"].append(history.all_counts)
        if key in ("customer", "email"):
            matured = history.all_counts - history.counts(settings.label_maturity_days * SECONDS_A_DAY)
            totals["matured_orders"].append(matured)
    # The same earlier order may share several keys: the largest count is the least it can be.
    columns |= {name: np.maximum.reduce(counts) for name, counts in totals.items()}
    series = [pl.Series(f"{name}_count", values) for name, values in columns.items()]
    return [*series, pl.Series("is_first_order", columns["earlier_orders"] == 0)]


def _within_the_order(settings: RiskSettings) -> Iterable[pl.Expr]:
    hour = pl.col("ordered_at").dt.convert_time_zone(settings.time_zone).dt.hour()
    whole = pl.col("total_amount").cast(pl.Float64)
    yield (pl.col("shipping_country_code") != pl.col("billing_country_code")).alias("is_country_mismatch")
    same_country = pl.col("shipping_country_code").eq_missing(pl.col("billing_country_code"))
    yield (same_country & (pl.col("shipping_postal_code") != pl.col("billing_postal_code"))).alias("is_postcode_mismatch")
    start, end = settings.night_hours
    yield (hour.is_between(start, end - 1) & ~pl.col("is_staffed")).alias("is_night")
    yield ((whole >= ROUND_FROM) & (whole % ROUND_TO == 0)).alias("is_round_amount")


def _country_shares() -> Iterable[pl.Expr]:
    country = "shipping_country_code"
    before_in_country = pl.int_range(pl.len()).over(country)
    before = pl.col(country).is_not_null().cast(pl.Int64).cum_sum() - 1
    is_enough = pl.col(country).is_not_null() & (before >= COUNTRY_MIN_ORDERS)
    yield pl.when(is_enough).then(before_in_country / before).alias("country_share_rate")
