"""Shops for the tests of customer value: customers drawn from the models' own process."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from commerce_assets.scoring.transactions import MONEY

AS_OF = date(2026, 11, 21)
SCORED_AT = datetime(2026, 11, 22, 6, tzinfo=UTC)
SCHEMA: dict[str, Any] = {
    "order_id": pl.Int64,
    "customer_id": pl.Int64,
    "ordered_on": pl.Date,
    "net_amount": MONEY,
    "currency_code": pl.String,
    "is_cancelled": pl.Boolean,
    "is_test": pl.Boolean,
}


def orders_frame(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of (customer, days ago, amount[, currency[, cancelled[, test]]])."""
    full = []
    for order_id, row in enumerate(rows, start=1):
        customer, days_ago, amount = row[:3]
        currency, cancelled, test = row[3:] + ("GBP", False, False)[len(row) - 3 :]
        full.append((order_id, customer, AS_OF - timedelta(days=days_ago), Decimal(str(amount)), currency, cancelled, test))
    return pl.DataFrame(full, schema=SCHEMA, orient="row")


def drawn_orders(customers: int, *, seed: int = 1, history_days: int = 540, r: float = 0.9, alpha: float = 5.5) -> pl.DataFrame:
    """Orders of customers who buy as BG/NBD (a 0.8, b 5.2) and gamma-gamma (5, 3.8, 38) say; a fifth of them in EUR."""
    rng = np.random.default_rng(seed)
    rate, dropout, spend = rng.gamma(r, 1 / alpha, customers), rng.beta(0.8, 5.2, customers), rng.gamma(3.8, 1 / 38.0, customers)
    now = rng.uniform(0, history_days, customers)
    who, when, active = [np.arange(customers)], [now.copy()], np.arange(customers)
    while active.size:
        now[active] += 7 * rng.exponential(1 / rate[active])
        active = active[now[active] < history_days]
        who.append(active)
        when.append(now[active])
        active = active[rng.random(active.size) >= dropout[active]]
    customer, day = np.concatenate(who), np.floor(np.concatenate(when)).astype(int)
    value = np.maximum(rng.gamma(5.0, 1.0, customer.size) / spend[customer], 0.01)
    return pl.DataFrame({"customer_id": customer, "day": day, "net_amount": value}).select(
        order_id=pl.int_range(pl.len()),
        customer_id=pl.col("customer_id").cast(pl.Int64) + 1,
        ordered_on=pl.lit(AS_OF) - pl.duration(days=history_days - 1 - pl.col("day")),
        net_amount=pl.col("net_amount").round(2).cast(MONEY),
        currency_code=pl.when(pl.col("customer_id") % 5 == 0).then(pl.lit("EUR")).otherwise(pl.lit("GBP")),
    )
