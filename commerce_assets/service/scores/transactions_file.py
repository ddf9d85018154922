"""A plain file of transactions as the inputs of scores, so that anyone can try them on their own data without a shop.

CSV or Parquet with a header, or text in columns set apart by blanks (`.txt`; without a header its columns are named by position, from 1).
Every line is an order, or a line of one. Lines of one order are added up. An order that comes to nothing or less is a credit: it is taken
off what that customer bought before, from every order by its share, so that what remains is net, as in the marts.

Days are UTC. Those written as 01/02/2026 are read day first, unless more of the file's are days that way round with the month first: one
file has one way. Numbers have a point before their decimals and nothing else. A file without currencies has `NO_CURRENCY`, unless told.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import product
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
NO_CURRENCY = "XXX"
"""ISO 4217's code for no currency."""
LARGEST_TOTAL = 10**14
"""Amounts of a file add up to less: what money, DECIMAL(18, 4), holds."""
LARGEST_QUANTITY = 10**9
"""Units of a line of goods."""
EARLIEST = date(1900, 1, 1)
"""A day before it is a slip of whoever wrote it, such as the year 26."""
WRITTEN = {"no_date": "days are written 2026-01-31, 31/01/2026 or 1/31/26", "no_amount": "numbers are written 1234.56"}
"""What a row rejected for the reason should have held."""
_YEARS, _TIMES = ("%y", "%Y"), ("", " %H:%M", " %H:%M:%S")
DAY_FIRST = [f"%d{sign}%m{sign}{year}{time}" for sign, year, time in product("/.-", _YEARS, _TIMES)]
MONTH_FIRST = [f"%m{sign}%d{sign}{year}{time}" for sign, year, time in product("/-", _YEARS, _TIMES)]
"""Two-digit years stand first: `%Y` would take 26 for the year 26."""


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
    examples: Mapping[str, str]
    """Reason -> what stood in the first row rejected for it, where anything did."""

    def rejections(self) -> list[str]:
        """What was rejected, in words."""
        such_as = {reason: f", such as {text!r} ({WRITTEN[reason]})" for reason, text in self.examples.items()}
        return [f"{count:,} rows with {reason}{such_as.get(reason, '')}" for reason, count in self.rejected.items()]

    def day(self, as_of: date | None, today: date) -> date:
        """The day to score as of: the one told, else the last of the file that has come (one slip must not age every customer).

        Raises `TransactionsFileError` where no transaction is known by then.
        """
        if self.orders.is_empty():
            raise TransactionsFileError(
                f"the file holds no transaction that can be used: {'; '.join(self.rejections()) or 'it has no rows'}"
            )
        days = self.orders["ordered_on"]
        by = as_of or today
        known = days.filter(days <= by)
        if known.is_empty():
            raise TransactionsFileError(f"the first transaction is of {days.sort()[0]}, later than {by}: correct the dates, or say --as-of")
        last = known.max()
        return as_of or (last if isinstance(last, date) else by)


def read_transactions(path: Path, columns: Mapping[str, str] | None = None, *, currency: str = NO_CURRENCY) -> Transactions:
    """Read a file. `columns` maps our names (`NAMES`) to the file's columns, or to positions from 1 in a file without a header; `currency`
    is that of rows that name none."""
    try:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            given = _raw(connection, path)
            named = _named(given, columns or {})
            rows = _typed(given, named, currency)
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        raise TransactionsFileError(f"{path.name} cannot be read: {_in_words(error)}") from None
    rejected = rows.filter(pl.col("rejected").is_not_null())
    reasons = rejected.group_by("rejected").agg(pl.len(), pl.col("written").drop_nulls().first()).sort("rejected")
    used = rows.filter(pl.col("rejected").is_null())
    of_anyone = rows.filter(pl.col("rejected").is_null() | (pl.col("rejected") == "no_customer"))
    total = float(of_anyone["amount"].abs().sum())
    if total >= LARGEST_TOTAL:
        raise TransactionsFileError(
            f"the amounts of {path.name} add up to {total:.3g}, more than money holds: see whether {named.get('amount', 'their price')} is the right column"
        )
    customers = _numbered(used, "customer")
    products = _numbered(of_anyone, "product") if "product" in named else None
    return Transactions(
        orders=_orders(used.join(customers, on="customer")),
        lines=_lines(of_anyone.join(customers, on="customer", how="left").join(products, on="product")) if products is not None else None,
        customers=customers,
        products=products,
        rejected=dict(reasons.select("rejected", "len").iter_rows()),
        rows=rows.height,
        columns=named,
        examples=dict(reasons.select("rejected", "written").drop_nulls().iter_rows()),
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


def currency_option(text: str | None) -> str:
    """`--currency` as given on a command line: a code of ISO 4217."""
    if text is None:
        return NO_CURRENCY
    if not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise TransactionsFileError(f"--currency is {text!r}, no code of ISO 4217; write three letters, such as EUR")
    return text.upper()


def _raw(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """The file as it is, every column as text where it is no Parquet."""
    if not path.is_file():
        raise TransactionsFileError(f"{path} is no file" if path.exists() else f"{path} does not exist")
    if not path.stat().st_size:
        raise TransactionsFileError(f"{path.name} is empty")
    if path.suffix == ".parquet":
        return connection.read_parquet(str(path))
    if path.suffix == ".txt":
        lines = pl.scan_csv(path, has_header=False, separator="\x1f", quote_char=None, new_columns=["line"], schema={"line": pl.String})
        parts = lines.select(pl.col("line").str.strip_chars().str.extract_all(r"\S+").alias("part")).collect()
        return connection.from_arrow(_in_columns(parts).to_arrow())
    return connection.read_csv(str(path), all_varchar=True, header=True)


def _in_words(error: Exception) -> str:
    """The first line of what the reader says, and of what it says of a line, without the line itself."""
    if "utf-8" in str(error).lower():
        return "it is not UTF-8 text; save it as that"
    first, *more = str(error).splitlines()
    why = next((line for line in more if line and not line.startswith(("Original Line", "Possible"))), None) if "on Line" in first else None
    return f"{first}: {why}" if why else first


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
    """Every row of the file with our columns, typed, and why it is of no use where it is not, with what was `written` there."""
    floats = {column for column, dtype in zip(given.columns, given.types, strict=True) if str(dtype) in ("FLOAT", "DOUBLE")}

    def text(name: str) -> str:
        if name not in named:
            return "null"
        column = _quoted(named[name])
        known = f"case when not isnan({column}) then {column} end" if named[name] in floats else column
        return f"nullif(trim(cast({known} as varchar)), '')"

    def number(name: str) -> str:
        return f"try_cast({text(name)} as double)" if name in named else "null"

    amount = number("amount") if "amount" in named else f"{number('quantity')} * {number('unit_price')}"
    amount_text = text("amount") if "amount" in named else f"concat_ws(' x ', {text('quantity')}, {text('unit_price')})"
    select = f"""
        select {text("customer")} as customer, {text("time")} as _time, {amount_text} as _amount,
            case
                when regexp_matches(_time, '^[0-9]{{4}}')
                then coalesce(cast(try_cast(_time as timestamptz) as timestamp), try_strptime(_time, '%Y%m%d'))
            end as _iso,
            case when _iso is null then try_strptime(_time, {DAY_FIRST}) end as day_first,
            case when _iso is null then try_strptime(_time, {MONTH_FIRST}) end as month_first,
            {amount} as amount, {number("quantity") if "quantity" in named else "1"} as quantity, {text("order")} as invoice,
            {text("product")} as product, coalesce(upper({text("currency")}), '{currency}') as currency_code,
            coalesce({text("channel")}, 'all') as channel
        from given
    """
    rows = given.query("given", select).pl()
    is_month_first = rows["month_first"].count() > rows["day_first"].count()
    moment = pl.coalesce("_iso", "month_first" if is_month_first else "day_first")
    rows = rows.with_columns(
        *(_whole(rows[name]) for name in ("customer", "invoice", "product")),
        ordered_on=moment.cast(pl.Date),
        moment=moment.cast(pl.String),
    ).drop("_iso", "day_first", "month_first")
    day, amounts = pl.col("ordered_on"), pl.col("amount")
    reason = (
        pl.when(day.is_null() | (day < EARLIEST))
        .then(pl.lit("no_date"))
        .when(amounts.is_null() | ~amounts.is_finite() | (amounts.abs() >= 1e13))
        .then(pl.lit("no_amount"))
        .when(pl.col("customer").is_null())
        .then(pl.lit("no_customer"))
        .otherwise(None)
    )
    written = pl.when(reason == "no_date").then("_time").when(reason == "no_amount").then("_amount").otherwise(None)
    return rows.with_columns(rejected=reason, written=written).drop("_time", "_amount")


def _whole(names: pl.Series) -> pl.Series:
    """Names as they are, but 14646 where all are whole numbers kept as fractions (14646.0): so they come once a row had none."""
    known = names.drop_nulls()
    if known.dtype != pl.String or known.is_empty() or not known.str.contains(r"^\d+\.0+$").all():
        return names
    return names.str.replace(r"\.0+$", "")


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
    """One row a line of goods that were sold; credits are no lines, and part of a unit (a length, a weight) counts as one."""
    order = pl.coalesce("invoice", pl.format("{} {}", pl.col("customer").fill_null("-"), "moment"))
    return (
        rows.filter(pl.col("quantity").is_between(0, LARGEST_QUANTITY, closed="right"), pl.col("amount") > 0)
        .with_columns(order_id=order.rank("dense").cast(pl.Int64))
        .select(
            "order_id",
            "customer_id",
            "product_id",
            "ordered_on",
            pl.col("quantity").cast(pl.Float64).ceil().cast(pl.Int64).alias("unit_count"),
            "amount",
            "channel",
        )
        .sort("order_id", "product_id", "unit_count")
    )


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
