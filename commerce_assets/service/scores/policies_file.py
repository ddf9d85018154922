"""Lead times, service levels, packs and minimum orders, as the shop's buyers keep them: a CSV file that is named in the settings."""

from pathlib import Path

import duckdb
import polars as pl

from commerce_assets.scoring.demand import POLICY_COLUMNS
from commerce_assets.scoring.errors import ScoringError

KEYS = ("variant_id", "location_id")


def read_policies(path: Path | None, skus: pl.DataFrame) -> pl.DataFrame:
    """`POLICY_COLUMNS` of the file: a row names a variant by `variant_id` or `sku`, or none and holds for all; none without a file.

    A cell that is no number (95%, 12 pcs) becomes NaN, which the score counts as a bad value and takes for unknown. Raises `ScoringError` where the file is not there, has a column nobody
    knows, names a SKU that is no variant's alone, or has an id that is no number: without its id the row would hold for everything.
    """
    schema = {name: pl.Int64 if name in KEYS else pl.Float64 for name in POLICY_COLUMNS}
    if path is None:
        return pl.DataFrame(schema=schema)
    try:
        with duckdb.connect() as connection:
            given = connection.read_csv(str(path), all_varchar=True, header=True).pl()
    except duckdb.Error as error:
        raise ScoringError(f"COMMERCE_REPLENISHMENT_POLICIES: {path.name} cannot be read: {str(error).splitlines()[0]}") from None
    unknown = sorted(set(given.columns) - {*POLICY_COLUMNS, "sku"})
    if unknown:
        raise ScoringError(f"{path.name} has {', '.join(unknown)}; known columns are sku, {', '.join(POLICY_COLUMNS)}")
    for key in KEYS:
        text = given[key].str.strip_chars().fill_null("") if key in given.columns else pl.Series([], dtype=pl.String)
        unread = text.filter((text != "") & text.cast(pl.Int64, strict=False).is_null())
        if unread.len():
            raise ScoringError(
                f"{path.name} has {unread.len()} values of {key} that are no id, such as {unread[0]}: correct or remove them"
            )
    if "sku" in given.columns:
        given = _named_by_sku(given, skus, path.name)
    return given.select(_cells(name, given.columns).cast(dtype, strict=False).alias(name) for name, dtype in schema.items())


def _cells(name: str, columns: list[str]) -> pl.Expr:
    """The text of a column, null where nothing is written; of figures, NaN where what is written is no number."""
    if name not in columns:
        return pl.lit(None, pl.String)
    text = pl.col(name).str.strip_chars()
    written = pl.when(text != "").then(text)
    return (
        written
        if name in KEYS
        else pl.when(written.cast(pl.Float64, strict=False).is_null() & written.is_not_null()).then(pl.lit("nan")).otherwise(written)
    )


def _named_by_sku(given: pl.DataFrame, skus: pl.DataFrame, file: str) -> pl.DataFrame:
    own = pl.col("variant_id").cast(pl.Int64, strict=False) if "variant_id" in given.columns else pl.lit(None, pl.Int64)
    named = given.with_columns(sku=pl.col("sku").str.strip_chars()).join(
        skus.rename({"variant_id": "_of_sku"}), on="sku", how="left", maintain_order="left"
    )
    lost = named.filter(pl.col("sku").is_not_null() & (pl.col("sku") != "") & pl.col("_of_sku").is_null())["sku"].to_list()
    if lost:
        raise ScoringError(
            f"{file} names {len(lost)} SKUs that are no variant's alone, such as {', '.join(lost[:3])}: correct or remove them"
        )
    return named.with_columns(variant_id=pl.coalesce(own, "_of_sku").cast(pl.String))
