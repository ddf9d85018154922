"""Rules that look beyond the row: at the order it belongs to, its lines, what was paid.

One model a table, over the row's key and the facts of its document (`lake/sql/context/<table>.sql` gathers them). Belongs here: those
models. Does not belong here: how the facts are gathered.
"""

import polars as pl

from commerce_assets.contracts import rules
from commerce_assets.contracts.base import INSTANT, MONEY, Contract, field


def _computed_total() -> pl.Expr:
    """Lines - discounts + tax (when prices exclude it) + shipping before its own discounts (those are among the discounts) + tips."""
    tax = pl.when("is_taxes_included").then(pl.lit(0, MONEY)).otherwise("tax_amount")
    shipping = pl.col("shipping_amount") + pl.col("shipping_discount_amount")
    return pl.col("lines_gross_amount") - pl.col("discount_amount") + tax + shipping + pl.col("tip_amount")


def _total_matches() -> pl.Expr:
    allowed = (pl.col("line_count").clip(1) * pl.lit(rules.CENT).cast(MONEY)).cast(MONEY)
    return (pl.col("total_amount") - _computed_total()).abs() <= allowed


class OrdersInContext(Contract):
    """An order beside the sums of its lines; only orders all of whose lines were accepted."""

    order_id: pl.Int64 = field("Order.")
    total_amount: MONEY = field("The order's total.")
    discount_amount: MONEY = field("All discounts.")
    tax_amount: MONEY = field("All tax.")
    is_taxes_included: pl.Boolean = field("Prices include tax.")
    shipping_amount: MONEY = field("Shipping after its discounts.")
    tip_amount: MONEY = field("Tips.")
    lines_gross_amount: MONEY = field("Sum of the lines before discounts.")
    shipping_discount_amount: MONEY = field("Discounts on shipping lines.")
    line_count: pl.Int64 = field("Order lines and shipping lines.")

    total_matches = rules.compared(
        "order_total_matches_lines",
        "The order's total is its lines - discounts + tax + shipping + tips, within a cent a line.",
        "total_amount",
        _total_matches,
    )


class RefundsInContext(Contract):
    """A refund beside its order."""

    refund_id: pl.Int64 = field("Refund.")
    order_id: pl.Int64 = field("Order.")
    processed_at: INSTANT = field("When the refund happened.")
    refunded_amount: MONEY = field("What was paid back.")
    order_processed_at: INSTANT = field("When the order was placed.")
    refundable_amount: MONEY = field("What had been received and not yet paid back by earlier refunds.")

    not_before_order = rules.not_before(
        "refund_not_before_order", "A refund does not happen before its order was placed.", "processed_at", "order_processed_at"
    )
    within_paid = rules.compared(
        "refund_within_paid",
        "An order's refunds do not come to more than was received for it.",
        "refunded_amount",
        lambda: pl.col("refunded_amount") <= pl.col("refundable_amount") + pl.lit(rules.CENT).cast(MONEY),
    )


class FulfillmentsInContext(Contract):
    """A shipment beside its order."""

    fulfillment_id: pl.Int64 = field("Shipment.")
    order_id: pl.Int64 = field("Order.")
    created_at: INSTANT = field("When the shipment was created.")
    order_processed_at: INSTANT = field("When the order was placed.")

    not_before_order = rules.not_before(
        "fulfillment_not_before_order", "Nothing is shipped before its order was placed.", "created_at", "order_processed_at"
    )


CONTEXT_MODELS: dict[str, type[Contract]] = {
    "orders": OrdersInContext,
    "refunds": RefundsInContext,
    "fulfillments": FulfillmentsInContext,
}
"""Table -> the model of its rules that look beyond the row. The first column is the table's key."""
