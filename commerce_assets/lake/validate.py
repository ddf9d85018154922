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
    if frame.is_empty() or _keeps_every_rule(model, frame):
        return pl.DataFrame(schema=FAILURES)
    try:
        model.validate(frame, lazy=True)
    except SchemaErrors as errors:
        found = [
            _failing_rows(error) for error in errors.schema_errors if error.reason_code != SchemaErrorReason.SERIES_CONTAINS_DUPLICATES
        ]
        return pl.concat([pl.DataFrame(schema=FAILURES), *found]).unique()
    return pl.DataFrame(schema=FAILURES)


def _keeps_every_rule(model: type[Contract], frame: pl.DataFrame) -> bool:
    """Whether a frame has the contract's columns and types, no null where none may be, and passes every check.

    The same checks by pandera's own means, without what it prepares in every column to tell failures: that takes micro-batches, nearly
    all of which are faultless, a quarter of their time. False says nothing but that pandera should look closely.
    """
    schema = model.to_schema()
    columns = schema.columns
    if {name: column.dtype.type for name, column in columns.items()} != dict(frame.schema):
        return False
    empty = [pl.col(name).is_null().any() for name, column in columns.items() if not column.nullable]
    nans = [pl.col(name).is_nan().any() for name, dtype in frame.schema.items() if dtype.is_float()]
    if any(frame.select(pl.any_horizontal(pl.lit(False), *empty, *nans)).to_series()):
        return False
    rows = frame.lazy()
    checks = [(check, name) for name, column in columns.items() for check in column.checks]
    checks += [(check, None) for check in schema.checks]
    return all(check(rows, name).check_passed.collect().item() for check, name in checks)


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
