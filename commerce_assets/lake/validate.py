"""Rows against their contract: pandera says which rule each row breaks.

Belongs here: calling pandera lazily on eager frames (so that values are checked, not names only) and turning its errors into
(row, rule) pairs. Does not belong here: the rules (contracts) and what becomes of the rows (landing.py).
"""

import polars as pl
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors

from commerce_assets.contracts import Contract
from commerce_assets.lake.errors import LakeError

FAILURES = {"row": pl.UInt32, "rule": pl.String}


def broken_rules(model: type[Contract], frame: pl.DataFrame) -> pl.DataFrame:
    """The rules that rows break: (row, rule), row being the position in the frame. Empty when all is well.

    Uniqueness is left to landing, which keeps the newest of several rows and counts the others as duplicates.
    """
    if frame.is_empty():
        return pl.DataFrame(schema=FAILURES)
    try:
        model.validate(frame, lazy=True)
    except SchemaErrors as errors:
        found = [
            _failing_rows(error) for error in errors.schema_errors if error.reason_code != SchemaErrorReason.SERIES_CONTAINS_DUPLICATES
        ]
        return pl.concat([pl.DataFrame(schema=FAILURES), *found]).unique()
    return pl.DataFrame(schema=FAILURES)


def _failing_rows(error: SchemaError) -> pl.DataFrame:
    passes = error.check_output
    if not isinstance(passes, pl.DataFrame | pl.LazyFrame):
        # A column is missing, of another type, or a check raised: a mapping's or contract's mistake, no row's.
        raise LakeError(f"contract {error.schema.name}: {error.reason_code}: {_reason(error)}; correct the mapping or the contract")
    output = passes.lazy().collect()
    rows = output.with_row_index("row").filter(pl.col(output.columns[0]).not_())
    return rows.select("row", rule=pl.lit(_rule(error)))


def _rule(error: SchemaError) -> str:
    if error.reason_code == SchemaErrorReason.SERIES_CONTAINS_NULLS:
        return f"not_null:{error.column_name}"
    check = error.check
    name = getattr(check, "name", None) or str(check)
    # Rules of ours carry a title; pandera's own (greater_than, isin) need the column to say anything.
    return name if getattr(check, "title", None) else f"{name}:{error.column_name}"


def _reason(error: SchemaError) -> str:
    """What pandera says of a structural error, without any value of the data."""
    return f"check {getattr(error.check, 'name', error.check)} on column {error.column_name}"
