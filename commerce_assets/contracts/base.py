"""What every contract is made of: typed fields, and the registry's view of a table.

Belongs here: field helpers (id, money, time, country) and `TableContract`. Does not belong here:
the tables themselves (one module a document family) and anything that reads or writes data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandera.polars as pa
import polars as pl

MONEY = pl.Decimal(18, 4)
"""Money in the currency named by the row's `currency_code`. Four decimals hold every ISO 4217 minor unit (at most three) and unit prices below a penny."""
INSTANT = pl.Datetime("us", "UTC")
"""A moment in UTC. Naive times are refused on the way in."""
TAGS = pl.List(pl.String)

LAKE_COLUMNS: dict[str, pl.DataType] = {
    "_source_file": pl.String(),
    "_line": pl.Int64(),
    "_loaded_at": INSTANT,
    "_version_at": INSTANT,
}
"""Columns the lake adds to every accepted row: raw file (relative to the lake's `files/`), line in it (from 1), when it was landed, and the `updated_at` of the root document that the row belongs to."""


def field(description: str, *, nullable: bool = False, pii: bool = False, unit: str | None = None, **checks: Any) -> Any:
    """A contract field. `pii` marks personal data (masked in published tables, never in metadata); `unit` is for people."""
    return pa.Field(description=description, nullable=nullable, metadata={"pii": pii, "unit": unit}, **checks)


class Contract(pa.DataFrameModel):
    """Base of every contract: exactly the declared columns, in no particular order, none coerced."""

    class Config:
        strict = True
        coerce = False


@dataclass(frozen=True)
class ColumnSpec:
    """One column as the registry shows it to Dagster, dbt and docs."""

    name: str
    dtype: pl.DataType
    nullable: bool
    description: str
    pii: bool
    unit: str | None


@dataclass(frozen=True)
class TableContract:
    """One table of a document family.

    `name` is the table's name in the lake, `family` the asset it arrives with (`storefront/<family>`), `key` its unique
    columns, `root_id` the column that names the root document, `parents` its foreign keys inside the family as
    (column, parent table, parent column). The root table has `root_id` as its key.
    """

    name: str
    family: str
    model: type[Contract]
    key: tuple[str, ...]
    root_id: str
    parents: tuple[tuple[str, str, str], ...] = ()
    source: str = "storefront"

    @property
    def is_root(self) -> bool:
        return not self.parents

    @property
    def description(self) -> str:
        return (self.model.__doc__ or "").strip()

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column name -> polars dtype, in order, without the lake's own columns."""
        return {column.name: column.dtype for column in self.columns}

    @property
    def columns(self) -> tuple[ColumnSpec, ...]:
        return tuple(self._columns())

    def _columns(self) -> Iterator[ColumnSpec]:
        for name, column in self.model.to_schema().columns.items():
            notes = column.metadata or {}
            yield ColumnSpec(name, column.dtype.type, column.nullable, column.description or "", bool(notes.get("pii")), notes.get("unit"))
