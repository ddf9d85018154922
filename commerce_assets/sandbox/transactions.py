"""Reads a file of transaction lines (invoice, sku, quantity, time, price, customer, country) and says what each line is.

Every line gets exactly one class; amounts are whole ten-thousandths of the currency, so that no sum ever rounds.

| class | what it is |
|---|---|
| sale | goods or hand-written lines sold |
| postage | carriage charged (POST, DOT, C2) |
| fee | a marketplace's or bank's fee booked as a sale (AMAZONFEE, BANK CHARGES, CRUK) |
| adjustment | a bookkeeping line with a positive price (A invoices, sku B) |
| zero_price | a line at price 0 (gifts, replacements, found stock), or of no units |
| refund | a line given back that belongs to an earlier order of the same customer: same sku, same price, enough units left; the latest such order |
| credit | a line given back for which there is no such order |
| credit_discount | a discount given afterwards (sku D) |
| credit_fee | a fee taken (AMAZONFEE, BANK CHARGES, CRUK) |
| rejected | a negative price: no storefront can hold it |
| write_off | units taken out of stock at price 0 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

POSTAGE = ("POST", "DOT", "C2")
FEES = ("AMAZONFEE", "BANK CHARGES", "CRUK")
DISCOUNT = "D"
BOOKKEEPING = "B"
NOT_GOODS = (*POSTAGE, *FEES, DISCOUNT, BOOKKEEPING, "M", "S")
ORDERED = ("sale", "postage", "fee", "adjustment", "zero_price")
CREDITED = ("credit", "credit_discount", "credit_fee")
CLASSES = (*ORDERED, "refund", *CREDITED, "rejected", "write_off")
UNIT = 10_000
"""Parts of a unit of currency in which amounts are counted: the contracts' four decimals."""

ONLINE_RETAIL = {
    "invoice": "InvoiceNo",
    "sku": "StockCode",
    "description": "Description",
    "quantity": "Quantity",
    "time": "InvoiceDate",
    "unit_price": "UnitPrice",
    "customer": "CustomerID",
    "country": "Country",
}
REQUIRED = ("invoice", "sku", "quantity", "time", "unit_price")


class LoadError(Exception):
    """The file or store cannot be loaded; the message says why and what to do."""


@dataclass(frozen=True)
class Match:
    """A line given back and the line of an earlier order that it belongs to."""

    line: int
    target: int


def read_lines(file: Path | str, columns: Mapping[str, str] | None = None, timezone: str = "Europe/London") -> pl.DataFrame:
    """The file's lines, one row each: line (from 1), invoice, sku, key, description, quantity, at, price, amount, customer, country.

    `columns` maps our names to the file's (default: the names of UCI Online Retail). `at` is epoch seconds: times without a
    zone are taken as `timezone`'s. `key` is the sku in capitals.
    """
    path, names = Path(file), {**ONLINE_RETAIL, **(columns or {})}
    if unknown := set(names) - set(ONLINE_RETAIL):
        raise LoadError(f"unknown column names {sorted(unknown)}: map any of {', '.join(ONLINE_RETAIL)}")
    if not path.exists():
        raise LoadError(f"{path.name} does not exist")
    if path.suffix.lower() in (".parquet", ".pq"):
        table = pl.read_parquet(path)
    elif path.suffix.lower() == ".csv":
        table = pl.read_csv(
            path, infer_schema_length=100_000, try_parse_dates=True, schema_overrides={names["invoice"]: pl.String, names["sku"]: pl.String}
        )
    else:
        raise LoadError(f"{path.name}: only .parquet and .csv can be read")
    if missing := [column for column in names.values() if column not in table.columns]:
        raise LoadError(f"{path.name} lacks the columns {missing}; map them, such as invoice={missing[0]}")
    lines = table.select(pl.col(column).alias(name) for name, column in names.items()).with_row_index("line", offset=1)
    if gaps := [name for name in REQUIRED if lines[name].null_count()]:
        raise LoadError(f"{path.name}: {', '.join(gaps)} must not be empty")
    return _typed(lines, timezone, path.name)


def _typed(lines: pl.DataFrame, timezone: str, file: str) -> pl.DataFrame:
    time = pl.col("time")
    if not isinstance(lines.schema["time"], pl.Datetime):
        time = time.cast(pl.String).str.to_datetime(strict=True)
    elif lines.schema["time"].time_zone is not None:
        time = time.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        timezone = "UTC"
    local = time.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    # The hour that clocks skip in spring: what was written in it happened an hour later by the clock.
    skipped = time.dt.offset_by("1h").dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    price = pl.col("unit_price").cast(pl.Float64) * UNIT
    typed = lines.select(
        pl.col("line").cast(pl.Int64),
        pl.col("invoice").cast(pl.String).str.strip_chars(),
        pl.col("sku").cast(pl.String).str.strip_chars(),
        pl.col("sku").cast(pl.String).str.strip_chars().str.to_uppercase().alias("key"),
        pl.col("description").cast(pl.String).str.strip_chars().replace("", None),
        pl.col("quantity").cast(pl.Float64).alias("units"),
        pl.coalesce(local, skipped).dt.epoch("s").alias("at"),
        price.round(0).cast(pl.Int64).alias("price"),
        (price - price.round(0)).abs().alias("rest"),
        _identifier(lines.schema["customer"]).alias("customer"),
        pl.col("country").cast(pl.String).str.strip_chars(),
    )
    if finer := typed.filter((pl.col("rest") > 0.001) | (pl.col("units") != pl.col("units").round(0))).height:
        raise LoadError(f"{file}: {finer} lines have prices finer than four decimals or parts of units")
    quantity = pl.col("units").cast(pl.Int64)
    return typed.with_columns(quantity=quantity, amount=quantity * pl.col("price")).drop("units", "rest")


def _identifier(dtype: pl.DataType) -> pl.Expr:
    """A customer's identifier as text; whole numbers without their `.0`."""
    column = pl.col("customer")
    if dtype.is_float():
        column = column.cast(pl.Int64)
    return column.cast(pl.String).str.strip_chars().replace("", None)


def classify(lines: pl.DataFrame) -> tuple[pl.DataFrame, list[Match]]:
    """The lines with their `class`, and for each refund the order line it belongs to."""
    key, price, quantity = pl.col("key"), pl.col("price"), pl.col("quantity")
    given_back = (quantity < 0) & (price > 0)
    first = (
        pl.when(price < 0)
        .then(pl.lit("rejected"))
        .when(given_back & (key == DISCOUNT))
        .then(pl.lit("credit_discount"))
        .when(given_back & key.is_in(FEES))
        .then(pl.lit("credit_fee"))
        .when(given_back)
        .then(pl.lit("credit"))
        .when(quantity < 0)
        .then(pl.lit("write_off"))
        .when((price == 0) | (quantity == 0))
        .then(pl.lit("zero_price"))
        .when((key == BOOKKEEPING) | pl.col("invoice").str.contains(r"^A\d"))
        .then(pl.lit("adjustment"))
        .when(key.is_in(POSTAGE))
        .then(pl.lit("postage"))
        .when(key.is_in(FEES))
        .then(pl.lit("fee"))
        .otherwise(pl.lit("sale"))
    )
    classified = lines.with_columns(first.alias("class"))
    matches = _match(classified)
    refunds = [match.line for match in matches]
    return classified.with_columns(pl.when(pl.col("line").is_in(refunds)).then(pl.lit("refund")).otherwise("class").alias("class")), matches


def _match(lines: pl.DataFrame) -> list[Match]:
    """For each credit, in order of time, the latest earlier order line of the same customer, sku and price with enough units left."""
    same = ["customer", "key", "price"]
    given_back = lines.filter(pl.col("class").is_in(CREDITED) & pl.col("customer").is_not_null()).sort("at", "line")
    bought = lines.filter(pl.col("class").is_in(ORDERED) & (pl.col("amount") > 0)).join(
        given_back.select(same).unique(), on=same, how="semi"
    )
    candidates: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    left: dict[int, int] = {}
    for *group, at, line, quantity in bought.sort("at", "line").select(*same, "at", "line", "quantity").iter_rows():
        candidates.setdefault((group[0], group[1], group[2]), []).append((at, line))
        left[line] = quantity
    matches = []
    for *group, at, line, quantity in given_back.select(*same, "at", "line", "quantity").iter_rows():
        for bought_at, target in reversed(candidates.get((group[0], group[1], group[2]), [])):
            if bought_at <= at and left[target] >= -quantity:
                left[target] += quantity
                matches.append(Match(line, target))
                break
    return matches


def class_totals(lines: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows, amount (ten-thousandths) and invoices by class, in the order of CLASSES; classes without rows are there with zeros."""
    found = lines.group_by("class").agg(rows=pl.len(), amount=pl.col("amount").sum(), invoices=pl.col("invoice").n_unique())
    by_class = {row["class"]: row for row in found.iter_rows(named=True)}
    nothing = {"rows": 0, "amount": 0, "invoices": 0}
    return {name: {key: by_class.get(name, nothing)[key] for key in nothing} for name in CLASSES}
