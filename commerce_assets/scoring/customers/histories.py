"""Purchase histories: one row a customer with a purchase, from sales.

Belongs here: days, orders and value of a customer up to a day. Does not belong here: which orders are sales (scoring/transactions.py), any
model.
"""

from datetime import date

import polars as pl

from commerce_assets.scoring.transactions import MONEY, customer_totals

HISTORY_SCHEMA: dict[str, pl.DataType] = {
    "customer_id": pl.Int64(),
    "currency_code": pl.String(),
    "order_count": pl.Int64(),
    "repeat_count": pl.Int64(),
    "span_days": pl.Int64(),
    "age_days": pl.Int64(),
    "spend_days": pl.Int64(),
    "value_amount": MONEY,
    "orders_in_currency": pl.Int64(),
}
"""A history: days with orders after the first (`repeat_count`; the orders of a day are one purchase, as in the models' papers), days from the
first to the last of them (`span_days`) and to the as-of day (`age_days`), and in the currency of the last order the days with orders, their
net value and the number of orders."""


def purchase_histories(sales: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """`HISTORY_SCHEMA`, sorted by customer, from sales (as `transactions.by_customer` sorts them) up to and including `as_of`."""
    known = sales.filter(pl.col("ordered_on") <= as_of)
    everything, in_currency = customer_totals(known)
    return everything.with_columns(
        currency_code=in_currency["currency_code"],
        order_count=pl.col("sale_count"),
        repeat_count=pl.col("day_count") - 1,
        span_days=(pl.col("last_on") - pl.col("first_on")).dt.total_days(),
        age_days=(pl.lit(as_of) - pl.col("first_on")).dt.total_days(),
        spend_days=in_currency["day_count"],
        value_amount=in_currency["amount"],
        orders_in_currency=in_currency["sale_count"],
    ).select(pl.col(name).cast(dtype) for name, dtype in HISTORY_SCHEMA.items())
