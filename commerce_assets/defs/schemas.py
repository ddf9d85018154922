"""Contracts as Dagster shows them: a column schema per table."""

from typing import Any

import dagster as dg
import polars as pl

from commerce_assets.contracts import LAKE_COLUMNS, TableContract, family

_LAKE_DESCRIPTIONS = {
    "_source_file": "Raw file the row came from, relative to the lake's files/.",
    "_line": "Line in that file, from 1.",
    "_loaded_at": "When it was landed.",
    "_version_at": "updated_at of the root document it came with.",
}


def table_schema(table: TableContract) -> dg.TableSchema:
    """The contract's columns, then the lake's own."""
    own = [
        dg.TableColumn(
            column.name,
            type_name(column.dtype),
            column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=table.key == (column.name,)),
            tags={"pii": ""} if column.pii else {},
        )
        for column in table.columns
    ]
    lake = [
        dg.TableColumn(name, type_name(dtype), _LAKE_DESCRIPTIONS[name], constraints=dg.TableColumnConstraints(nullable=False))
        for name, dtype in LAKE_COLUMNS.items()
    ]
    return dg.TableSchema([*own, *lake])


def family_metadata(name: str) -> dict[str, Any]:
    """`dagster/column_schema` of the family's root table, and `<table>/columns` of every table where there are several."""
    tables = family(name)
    metadata: dict[str, Any] = {"dagster/column_schema": table_schema(tables[0])}
    if len(tables) > 1:
        metadata |= {f"{table.name}/columns": table_schema(table) for table in tables}
    return metadata


def frame_schema(schema: dict[str, pl.DataType], descriptions: dict[str, str]) -> dg.TableSchema:
    """The column schema of a frame that a pure function promises."""
    return dg.TableSchema([dg.TableColumn(name, type_name(dtype), descriptions.get(name, "")) for name, dtype in schema.items()])


def type_name(dtype: pl.DataType | type[pl.DataType]) -> str:
    """The type as DuckDB names it, which is what readers of the lake see."""
    if isinstance(dtype, type):  # a contract may name the class
        dtype = dtype()
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.List):
        return f"{type_name(dtype.inner)}[]"  # type: ignore[arg-type]
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMP WITH TIME ZONE" if dtype.time_zone else "TIMESTAMP"
    names: dict[type[pl.DataType], str] = {
        pl.String: "VARCHAR",
        pl.Int64: "BIGINT",
        pl.Int32: "INTEGER",
        pl.Int16: "SMALLINT",
        pl.Int8: "TINYINT",
        pl.Float64: "DOUBLE",
        pl.Boolean: "BOOLEAN",
        pl.Date: "DATE",
    }
    return names[type(dtype)]
