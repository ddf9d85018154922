"""The orders a risk is scored from: what they have to look like, and which cannot be used, by reason."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.rfm import MONEY

RISK_ORDER_COLUMNS: dict[str, str] = {
    "order_id": "Order id, BIGINT.",
    "customer_id": "Customer id; null for a guest.",
    "ordered_at": "When it was ordered, a UTC timestamp.",
    "total_amount": "What the buyer was to pay, DECIMAL in `currency_code`.",
    "currency_code": "Currency of the total (ISO 4217).",
    "is_guest": "Optional: bought without an account; else guests are the orders without a customer.",
    "shipping_country_code": "Optional: country of the shipping address.",
    "billing_country_code": "Optional: country of the billing address.",
    "shipping_postal_code": "Optional: postal code of the shipping address, or a hash of it.",
    "billing_postal_code": "Optional: postal code of the billing address, or a hash of it.",
    "email_key": "Optional: hash of the buyer's email address; never in any output.",
    "phone_key": "Optional: hash of the buyer's phone number; never in any output.",
    "ip_key": "Optional: hash of the buyer's IP address; never in any output.",
    "payment_failures_count": "Optional: failed transactions on the order.",
    "unit_count": "Optional: units ordered.",
    "is_gift_card_order": "Optional: a gift card is among its lines.",
    "source_name": "Optional: sales channel, such as web or pos.",
    "is_test": "Optional: placed in test mode.",
    "is_cancelled": "Optional: cancelled since. Such an order counts in the history of its keys, is not scored and trains nothing.",
    "is_chargeback": "Optional: charged back; null where the outcome is not known.",
    "charged_back_at": "Optional: when it was charged back, a UTC timestamp; else known `label_maturity_days` after the order.",
}
"""What `score_order_risk` reads."""

_OPTIONAL: dict[str, pl.DataType] = {
    "is_guest": pl.Boolean(),
    "shipping_country_code": pl.String(),
    "billing_country_code": pl.String(),
    "shipping_postal_code": pl.String(),
    "billing_postal_code": pl.String(),
    "email_key": pl.String(),
    "phone_key": pl.String(),
    "ip_key": pl.String(),
    "payment_failures_count": pl.Int64(),
    "unit_count": pl.Int64(),
    "is_gift_card_order": pl.Boolean(),
    "source_name": pl.String(),
    "is_test": pl.Boolean(),
    "is_cancelled": pl.Boolean(),
    "is_chargeback": pl.Boolean(),
    "charged_back_at": pl.Datetime("us", "UTC"),
}
_MOMENTS = ("ordered_at", "charged_back_at")


def checked_orders(orders: pl.DataFrame, as_of: date, *, label_maturity_days: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Usable orders in the order they came (`ordered_at`, `order_id`) with all columns, and counts of the others by reason.

    `is_chargeback` and `chargeback_known_at` are what was known at the end of `as_of`: a later chargeback is not in them, and an
    order that is not `is_mature` has an outcome only where it is charged back already. Missing optional columns are nulls.
    """
    typed = _typed(orders)
    # The version kept of an order that came twice must not depend on the order of the rows; sorting by all columns is dear where none did.
    by_version = typed.sort("order_id" if typed["order_id"].is_unique().all() else pl.all(), nulls_last=True)
    day = pl.col("ordered_at").dt.date()
    reasons = (
        ("no_order_id", pl.col("order_id").is_null()),
        ("duplicate_order", ~pl.col("order_id").is_first_distinct()),
        ("test", pl.col("is_test").fill_null(False)),
        ("no_ordered_at", pl.col("ordered_at").is_null()),
        ("after_as_of", day > as_of),
        ("no_currency", pl.col("currency_code").is_null()),
        ("no_amount", pl.col("total_amount").is_null() | (pl.col("total_amount") < 0)),
    )
    labelled = by_version.with_columns(excluded=pl.coalesce(pl.when(condition).then(pl.lit(reason)) for reason, condition in reasons))
    excluded = dict(labelled.filter(pl.col("excluded").is_not_null()).group_by("excluded").len().sort("excluded").iter_rows())
    usable = labelled.filter(pl.col("excluded").is_null()).drop("excluded").sort("ordered_at", "order_id")
    return usable.with_columns(_known_outcome(as_of, label_maturity_days)), excluded


def _typed(orders: pl.DataFrame) -> pl.DataFrame:
    required = ("order_id", "customer_id", "ordered_at", "total_amount", "currency_code")
    missing = [name for name in required if name not in orders.columns]
    if missing:
        raise ScoringError(f"orders lack {', '.join(missing)}: select them from the mart under these names")
    if not orders.schema["total_amount"].is_decimal():
        raise ScoringError(f"total_amount is {orders.schema['total_amount']}, not DECIMAL: money is never scored as a float")
    for name in _MOMENTS:
        dtype = orders.schema.get(name)
        if dtype is None or dtype == pl.Null:
            continue
        if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
            raise ScoringError(f"{name} is {dtype}, not a timestamp with a time zone: pass UTC moments")
    optional = [
        (pl.col(name) if name in orders.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in _OPTIONAL.items()
        if name not in _MOMENTS
    ]
    back_at = pl.col("charged_back_at") if "charged_back_at" in orders.columns else pl.lit(None)
    try:
        return orders.select(
            pl.col("order_id", "customer_id").cast(pl.Int64),
            _utc(pl.col("ordered_at")),
            pl.col("total_amount").cast(MONEY),
            pl.col("currency_code").cast(pl.String),
            *optional,
            _utc(back_at).alias("charged_back_at"),
        ).with_columns(is_guest=pl.coalesce("is_guest", pl.col("customer_id").is_null()))
    except pl.exceptions.PolarsError as error:
        raise ScoringError(f"a column of orders has a type that cannot be read: {error}; see RISK_ORDER_COLUMNS") from error


def _utc(moment: pl.Expr) -> pl.Expr:
    return moment.cast(pl.Datetime("us", "UTC"))


def _known_outcome(as_of: date, label_maturity_days: int) -> list[pl.Expr]:
    end = datetime.combine(as_of + timedelta(days=1), datetime.min.time(), ZoneInfo("UTC"))
    matured_at = pl.col("ordered_at") + pl.duration(days=label_maturity_days)
    known_at = pl.max_horizontal(pl.coalesce("charged_back_at", matured_at), "ordered_at")
    is_known = pl.col("is_chargeback").fill_null(False) & (known_at < end)
    outcome = pl.when(is_known).then(True).when((matured_at < end) & pl.col("is_chargeback").is_not_null()).then(False)
    return [
        outcome.alias("is_chargeback"),
        pl.when(is_known).then(known_at).alias("chargeback_known_at"),
        (matured_at < end).alias("is_mature"),
    ]
