"""Orders as scores read them: the columns and types they must have, and which of them are sales of a known customer.

Belongs here: what every score that starts from orders asks of them, and why an order is left out. Does not belong here: what a
score makes of the sales.
"""

from datetime import date

import polars as pl

from commerce_assets.scoring.errors import ScoringError

MONEY = pl.Decimal(18, 4)
LARGEST_AMOUNT = 10_000_000_000_000
"""Of what a customer's sales come to, in either direction: room in MONEY for two of them, so that one absurd row does not stop a score."""

ORDER_COLUMNS: dict[str, str] = {
    "order_id": "Order id.",
    "customer_id": "Customer id; null for a guest.",
    "ordered_on": "UTC day of the order (or `ordered_at`, a UTC moment).",
    "net_amount": "Value after discounts, refunds and tax, DECIMAL.",
    "currency_code": "Currency of the value (ISO 4217).",
    "is_cancelled": "Optional: the order was cancelled.",
    "is_test": "Optional: the order was placed in test mode.",
    "loaded_at": "Optional: when the row was landed, for the receipt.",
}
"""What a score that starts from orders reads."""

_ORDER_VERSION = ("order_id", "ordered_on", "net_amount", "customer_id", "currency_code", "is_cancelled", "is_test")


def checked_orders(orders: pl.DataFrame) -> pl.DataFrame:
    """The columns of `ORDER_COLUMNS` up to `is_test`, typed; a ScoringError that names what is missing or of the wrong type."""
    if "ordered_on" not in orders.columns and "ordered_at" in orders.columns:
        # The cast below takes the UTC day of a moment, whatever zone it is written in.
        orders = orders.with_columns(ordered_on=pl.col("ordered_at"))
    missing = [name for name in ("order_id", "customer_id", "ordered_on", "net_amount", "currency_code") if name not in orders.columns]
    if missing:
        raise ScoringError(f"orders lack {', '.join(missing)}: select them from the mart under these names")
    if not orders.schema["net_amount"].is_decimal():
        raise ScoringError(f"net_amount is {orders.schema['net_amount']}, not DECIMAL: money is never scored as a float")
    if not (orders.schema["ordered_on"].is_temporal() or orders.schema["ordered_on"] == pl.Null):
        raise ScoringError(f"ordered_on is {orders.schema['ordered_on']}, not a date: cast it in the mart")
    if not (orders.schema["customer_id"].is_integer() or orders.schema["customer_id"] == pl.Null):
        raise ScoringError(f"customer_id is {orders.schema['customer_id']}, not BIGINT: pass the numeric part of the gid")
    return orders.select(
        "order_id",
        pl.col("customer_id").cast(pl.Int64),
        pl.col("ordered_on").cast(pl.Date),
        pl.col("net_amount").cast(MONEY),
        pl.col("currency_code").cast(pl.String),
        *(pl.col(n) if n in orders.columns else pl.lit(False).alias(n) for n in ("is_cancelled", "is_test")),
    )


def sales_of(orders: pl.DataFrame, as_of: date, *, positive_only: bool) -> tuple[pl.DataFrame, dict[str, int]]:
    """Of orders as `checked_orders` gives them, those that are sales of a known customer by `as_of`; and how many are not, by the first
    reason that fits. Of an order that comes more than once the latest and largest version counts, whatever the rows' order.

    `positive_only`: an order of which refunds leave nothing is no sale (`not_positive`); otherwise only an unknown value excludes (`no_amount`).
    """
    amount = pl.col("net_amount")
    worthless, why = ((amount.is_null() | (amount <= 0)), "not_positive") if positive_only else (amount.is_null(), "no_amount")
    reasons = {
        "no_order_id": pl.col("order_id").is_null(),
        "duplicate_order": pl.col("_is_repeated"),
        "test": pl.col("is_test").fill_null(False),
        "cancelled": pl.col("is_cancelled").fill_null(False),
        "guest": pl.col("customer_id").is_null(),
        "no_date": pl.col("ordered_on").is_null(),
        "after_as_of": pl.col("ordered_on") > as_of,
        "no_currency": pl.col("currency_code").is_null(),
        why: worthless,
    }
    labelled = _with_repeats(orders).with_columns(_is_out=pl.any_horizontal(*(fits.fill_null(False) for fits in reasons.values())))
    left_out = labelled.filter("_is_out").select(
        excluded=pl.coalesce(*(pl.when(fits).then(pl.lit(name)) for name, fits in reasons.items())),
    )
    excluded = dict(left_out.group_by("excluded").len().sort("excluded").iter_rows())
    return labelled.filter(~pl.col("_is_out")).drop("_is_out", "_is_repeated"), excluded


def by_customer(sales: pl.DataFrame) -> pl.DataFrame:
    """Sales (customer_id, ordered_on, net_amount, currency_code) sorted by customer and day; where there is more than one currency, within a
    day by order, so that a last one is told. In what follows nothing else hangs on the order within a day."""
    columns = ["customer_id", "ordered_on", "net_amount", "currency_code"]
    if sales["currency_code"].n_unique() > 1:
        return sales.sort("customer_id", "ordered_on", "order_id").select(columns)
    if sales.is_empty():
        return sales.select(columns)
    # Sorting one number a row takes a fraction of the time that sorting two columns with what hangs on them does.
    customer, day = pl.col("customer_id"), pl.col("ordered_on").cast(pl.Int64)
    first_id, last_id, first_day, last_day = sales.select(
        customer.min(), customer.max().alias("to"), day.min(), day.max().alias("until")
    ).row(0)
    width = last_day - first_day + 1
    if (last_id - first_id + 1) * width >= 2**62:
        return sales.select(columns).sort("customer_id", "ordered_on")
    place = (customer - first_id) * width + day - first_day
    return (
        sales.select(_place=place, net_amount="net_amount")
        .sort("_place")
        .select(
            customer_id=(pl.col("_place") // width + first_id).set_sorted(),
            ordered_on=(pl.col("_place") % width + first_day).cast(pl.Int32).cast(pl.Date),
            net_amount="net_amount",
            currency_code=pl.lit(sales["currency_code"][0], pl.String),
        )
    )


def customer_totals(sales: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of sales as `by_customer` sorts them, one row a customer, sorted: of all sales, and of those in the currency of the last one.

    Columns: customer_id, sale_count, day_count (days with sales), first_on, last_on, amount, currency_code; of the first table's amount
    and currency no use is to be made. Both have every customer, because each has a last sale. An amount ends at LARGEST_AMOUNT.
    """
    everything, latest = _totals(sales), _in_last_currency(sales)
    return everything, everything if latest is sales else _totals(latest)


def _in_last_currency(sales: pl.DataFrame) -> pl.DataFrame:
    """Sales in the currency of the customer's last one: no two currencies are added up."""
    if sales["currency_code"].n_unique() < 2:
        return sales
    customer = sales["customer_id"]
    last = sales.filter((customer != customer.shift(-1)).fill_null(True)).select("customer_id", _last="currency_code")
    return (
        sales.join(last, on="customer_id", how="left", maintain_order="left")
        .filter(pl.col("currency_code") == pl.col("_last"))
        .drop("_last")
        .with_columns(pl.col("customer_id").set_sorted())
    )


def _totals(sales: pl.DataFrame) -> pl.DataFrame:
    customer, day = sales["customer_id"], sales["ordered_on"]
    is_new_day = ((customer != customer.shift(1)) | (day != day.shift(1))).fill_null(True)
    return (
        sales.with_columns(_is_new_day=is_new_day.cast(pl.UInt8))
        .group_by("customer_id", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("sale_count"),
            pl.col("_is_new_day").cast(pl.Int64).sum().alias("day_count"),
            pl.col("ordered_on").first().alias("first_on"),
            pl.col("ordered_on").last().alias("last_on"),
            pl.col("net_amount").sum().clip(-LARGEST_AMOUNT, LARGEST_AMOUNT).cast(MONEY).alias("amount"),
            pl.col("currency_code").first(),
        )
    )


def _with_repeats(orders: pl.DataFrame) -> pl.DataFrame:
    """`_is_repeated`: another version of the order counts. Only orders that come twice are sorted: in a clean table none."""
    ids = orders["order_id"]
    if not ids.null_count() and ids.n_unique() == ids.len():
        return orders.with_columns(_is_repeated=pl.lit(False))
    split = orders.with_columns(_is_unique=pl.col("order_id").is_unique() | pl.col("order_id").is_null())
    versions = split.filter(~pl.col("_is_unique")).sort(_ORDER_VERSION, descending=[False, True, True, *[False] * 4], nulls_last=True)
    return pl.concat(
        [
            split.filter("_is_unique").with_columns(_is_repeated=pl.lit(False)),
            versions.with_columns(_is_repeated=~pl.col("order_id").is_first_distinct()),
        ]
    ).drop("_is_unique")
