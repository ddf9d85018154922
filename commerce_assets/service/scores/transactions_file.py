"""A plain file of transactions as the inputs of scores, so that anyone can try them on their own data without a shop.

CSV or Parquet with a header, or text in columns set apart by blanks (`.txt`; without a header its columns are named by position, from 1).
Every line is an order, or a line of one. Lines of one order are added up. An order that comes to nothing or less is a credit: it is taken
off what that customer bought before, from every order by its share, so that what remains is net, as in the marts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.rfm import MONEY

NAMES: dict[str, tuple[str, ...]] = {
    "customer": ("customerid", "customer", "client", "clientid", "userid", "user", "email", "custid"),
    "time": ("orderedat", "orderedon", "invoicedate", "orderdate", "date", "datetime", "timestamp", "time", "createdat", "processedat"),
    "amount": ("netamount", "amount", "total", "totalamount", "revenue", "value", "spend", "dollars", "dollarvalue", "sales"),
    "quantity": ("quantity", "qty", "units"),
    "unit_price": ("unitprice", "price"),
    "order": ("orderid", "order", "invoiceno", "invoice", "ordernumber", "transactionid"),
    "product": ("productid", "product", "stockcode", "sku", "itemid", "item"),
    "currency": ("currencycode", "currency"),
    "channel": ("channel", "sourcename", "source"),
}
"""Our name of a column -> how files call it, compared without case and signs; the first that is there is taken."""
REQUIRED = ("customer", "time")


class TransactionsFileError(ScoringError):
    """The file cannot be read as transactions; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Transactions:
    """What a file holds, as the scores read it."""

    orders: pl.DataFrame
    """`scoring.ORDER_COLUMNS`; customers as numbers."""
    lines: pl.DataFrame | None
    """order_id, customer_id (null: unknown), product_id, ordered_on, unit_count, amount, channel; None where the file names no products."""
    customers: pl.DataFrame
    """customer_id and the file's own `customer`."""
    products: pl.DataFrame | None
    """product_id and the file's own `product`."""
    rejected: Mapping[str, int]
    """Rows of the file that could not be used, by reason; those without a customer still say what sells with what."""
    rows: int
    columns: Mapping[str, str]
    """Our name -> the file's column."""

    @property
    def last_on(self) -> date:
        """The last day of the file."""
        last = self.orders["ordered_on"].max()
        if not isinstance(last, date):
            raise TransactionsFileError("the file holds no transaction that can be read: see the counts of what was rejected")
        return last


def read_transactions(path: Path, columns: Mapping[str, str] | None = None, *, currency: str = "GBP") -> Transactions:
    """Read a file. `columns` maps our names (`NAMES`) to the file's columns, or to positions from 1 in a file without a header."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        given = _raw(connection, path)
        named = _named(given, columns or {})
        rows = _typed(given, named, currency)
    reasons = rows.filter(pl.col("rejected").is_not_null()).group_by("rejected").len().sort("rejected")
    used = rows.filter(pl.col("rejected").is_null())
    of_anyone = rows.filter(pl.col("rejected").is_null() | (pl.col("rejected") == "no_customer"))
    customers = _numbered(used, "customer")
    products = _numbered(of_anyone, "product") if "product" in named else None
    return Transactions(
        orders=_orders(used.join(customers, on="customer")),
        lines=_lines(of_anyone.join(customers, on="customer", how="left").join(products, on="product")) if products is not None else None,
        customers=customers,
        products=products,
        rejected=dict(reasons.iter_rows()),
        rows=rows.height,
        columns=named,
    )


def columns_option(text: str | None) -> dict[str, str] | None:
    """`--columns` as given on a command line: JSON, our name -> the file's column."""
    if text is None:
        return None
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise TransactionsFileError(f'--columns is no JSON ({error}); write it as {{"customer": "Client", "amount": "Total"}}') from None
    if not isinstance(given, dict):
        raise TransactionsFileError('--columns has to be a JSON object: {"customer": "Client", "amount": "Total"}')
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise TransactionsFileError(f"--columns names {', '.join(unknown)}; known are {', '.join(NAMES)}")
    return {name: str(column) for name, column in given.items()}


def _raw(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """The file as it is, every column as text where it is no Parquet."""
    if not path.exists():
        raise TransactionsFileError(f"{path} does not exist")
    try:
        if path.suffix == ".parquet":
            return connection.read_parquet(str(path))
        if path.suffix == ".txt":
            lines = pl.scan_csv(path, has_header=False, separator="\x1f", quote_char=None, new_columns=["line"], schema={"line": pl.String})
            parts = lines.select(pl.col("line").str.strip_chars().str.extract_all(r"\S+").alias("part")).collect()
            return connection.from_arrow(_in_columns(parts).to_arrow())
        return connection.read_csv(str(path), all_varchar=True, header=True)
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        raise TransactionsFileError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None


def _in_columns(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines in parts as columns, named by the first line where nothing in it begins like a number."""
    width = int(lines["part"].list.len().max() or 0)  # type: ignore[arg-type]
    frame = lines.select(pl.col("part").list.get(n, null_on_oob=True).alias(str(n + 1)) for n in range(width))
    first = frame.row(0) if frame.height else ()
    is_header = bool(first) and all(part and not part[0].isdigit() for part in first) and len(set(first)) == width
    return frame[1:].rename(dict(zip(frame.columns, first, strict=True))) if is_header else frame


def _named(given: duckdb.DuckDBPyRelation, columns: Mapping[str, str]) -> dict[str, str]:
    """Our names -> the file's columns, as told or as they are usually called."""
    missing = sorted(column for column in columns.values() if column not in given.columns)
    if missing:
        raise TransactionsFileError(f"the file has no column {', '.join(missing)}; it has {', '.join(given.columns)}")
    plain = {"".join(sign for sign in column.lower() if sign.isalnum()): column for column in reversed(given.columns)}
    found = {name: plain[alias] for name, aliases in NAMES.items() for alias in reversed(aliases) if alias in plain} | dict(columns)
    lacking = [name for name in REQUIRED if name not in found]
    if "amount" not in found and not {"quantity", "unit_price"} <= set(found):
        lacking.append("amount (or quantity and unit_price)")
    if lacking:
        raise TransactionsFileError(
            f"no column for {', '.join(lacking)} among {', '.join(given.columns)}; say which with "
            f'--columns \'{{"customer": "…", "time": "…", "amount": "…"}}\''
        )
    return found


def _typed(given: duckdb.DuckDBPyRelation, named: Mapping[str, str], currency: str) -> pl.DataFrame:
    """Every row of the file with our columns, typed, and why it is of no use where it is not."""

    def text(name: str) -> str:
        return f"nullif(trim(cast({_quoted(named[name])} as varchar)), '')" if name in named else "null"

    def number(name: str) -> str:
        return f"try_cast({text(name)} as double)" if name in named else "null"

    amount = number("amount") if "amount" in named else f"{number('quantity')} * {number('unit_price')}"
    day = f"coalesce(try_cast({text('time')} as timestamp), try_strptime({text('time')}, ['%Y%m%d', '%d/%m/%Y %H:%M', '%d/%m/%Y', '%d.%m.%Y', '%m/%d/%Y']))"
    select = f"""
        select {text("customer")} as customer, cast({day} as date) as ordered_on, cast({day} as varchar) as moment,
            {amount} as amount, {number("quantity") if "quantity" in named else "1"} as quantity, {text("order")} as invoice,
            {text("product")} as product, coalesce(upper({text("currency")}), '{currency}') as currency_code,
            coalesce({text("channel")}, 'all') as channel
        from given
    """
    rows = given.query("given", select).pl()
    reason = (
        pl.when(pl.col("ordered_on").is_null())
        .then(pl.lit("no_date"))
        .when(pl.col("amount").is_null() | ~pl.col("amount").is_finite() | (pl.col("amount").abs() >= 1e13))
        .then(pl.lit("no_amount"))
        .when(pl.col("customer").is_null())
        .then(pl.lit("no_customer"))
        .otherwise(None)
    )
    return rows.with_columns(rejected=reason)


def _numbered(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """The file's own names of customers or products, numbered from 1 in their order."""
    return (
        rows.select(name)
        .drop_nulls()
        .unique()
        .sort(name)
        .with_row_index(f"{name}_id", offset=1)
        .with_columns(pl.col(f"{name}_id").cast(pl.Int64))
    )


def _orders(rows: pl.DataFrame) -> pl.DataFrame:
    """One row an order, net of the customer's credits."""
    order = pl.coalesce("invoice", pl.format("{} {}", "customer", "moment"))
    orders = (
        rows.with_columns(order=order)
        .group_by("order", "customer_id", "currency_code")
        .agg(pl.col("ordered_on").min(), pl.col("amount").sum())
        .sort("ordered_on", "order", "customer_id", "currency_code")
    )
    mine = ["customer_id", "currency_code"]
    is_credit = pl.col("amount") <= 0
    credits = -pl.col("amount").filter(is_credit).sum().over(mine)
    bought = pl.col("amount").filter(~is_credit).sum().over(mine)
    kept = (1 - credits / bought).clip(0, 1).fill_nan(0)
    return (
        orders.with_columns(net=pl.when(is_credit).then(0.0).otherwise(pl.col("amount") * kept), is_credit=is_credit)
        .filter(~pl.col("is_credit") | (bought.fill_null(0) == 0))
        .with_row_index("order_id", offset=1)
        .select(
            pl.col("order_id").cast(pl.Int64),
            "customer_id",
            "ordered_on",
            pl.col("net").round(4).cast(MONEY).alias("net_amount"),
            "currency_code",
            pl.lit(False).alias("is_cancelled"),
            pl.lit(False).alias("is_test"),
        )
    )


def _lines(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a line of goods that were sold; credits are no lines."""
    order = pl.coalesce("invoice", pl.format("{} {}", pl.col("customer").fill_null("-"), "moment"))
    return (
        rows.filter(pl.col("quantity") > 0, pl.col("amount") > 0)
        .with_columns(order_id=order.rank("dense").cast(pl.Int64))
        .select(
            "order_id",
            "customer_id",
            "product_id",
            "ordered_on",
            pl.col("quantity").cast(pl.Int64).alias("unit_count"),
            "amount",
            "channel",
        )
        .sort("order_id", "product_id", "unit_count")
    )


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
