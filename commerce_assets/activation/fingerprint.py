"""Fingerprints of a record's mapped fields: one for a whole frame (DuckDB, in parallel), one for a single record, equal by test.

MD5 because it is fast in DuckDB and the same everywhere for ever; nobody gains by forging one here.
"""

import hashlib
from collections.abc import Sequence

import duckdb
import polars as pl

from commerce_assets.activation.records import Fields

SEPARATOR = "\x1f"
NULL = "\x00"
GONE = "gone"
"""Stands in the ledger for the fingerprint of a record that no longer exists at the destination; its ids are never used again."""


def fingerprint(fields: Fields, mapped: Sequence[str]) -> str:
    """The fingerprint of one record."""
    content = SEPARATOR.join(f"{name}={NULL if (value := fields.get(name)) is None else value}" for name in mapped)
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


def fingerprints(records: pl.DataFrame, mapped: Sequence[str]) -> pl.DataFrame:
    """`record_key`, `fingerprint`, `is_clean` (no control character that could be taken for a separator) of each record."""
    parts = [pl.format(f"{name}={{}}", pl.col(name).fill_null(NULL)) for name in mapped]
    contents = records.select("record_key", content=pl.concat_str(parts, separator=SEPARATOR))
    with duckdb.connect() as connection:
        connection.register("contents", contents.select("content"))
        hashed = connection.sql("select md5(content) as fingerprint from contents").pl()
    return contents.select(
        "record_key",
        hashed.get_column("fingerprint"),
        is_clean=pl.col("content").str.count_matches(SEPARATOR, literal=True) == len(mapped) - 1,
    )
