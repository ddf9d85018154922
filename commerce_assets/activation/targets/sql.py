"""Tables of other databases: PostgreSQL or DuckDB."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, Target

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
LONGEST_NAME = 63
"""Bytes: PostgreSQL silently cuts off what is longer."""


class SqlTarget(Target):
    """A table in which each record is a row, and each field of the sync a column. No other column is ever written."""

    kind: Literal["sql"] = "sql"
    url_env: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable with the database's URL: postgresql://… or duckdb:///…."
    )
    table: str = Field(
        pattern=rf"^({IDENTIFIER}\.)?{IDENTIFIER}$", description="Table, with its schema where it has one: crm.customer_scores."
    )
    key_column: str = Field(
        "record_key", pattern=rf"^{IDENTIFIER}$", description="Column that holds the key: text, a whole number or a UUID, and unique."
    )
    create_table: bool = Field(
        True,
        description="Make the table where it is missing, and columns that are missing in a table made so. Others' tables are never altered.",
    )
    on_remove: Literal["null", "delete"] = Field(
        "null",
        description="What a removal (and the undo of a row that was made) does: null clears the sync's columns and leaves the row; delete takes "
        "the whole row away, also what others keep in it, so that no other sync may write to the table.",
    )
    synced_at_column: str | None = Field(
        None, pattern=rf"^{IDENTIFIER}$", description="Column that says when the sync last wrote the row; by default there is none."
    )

    @property
    def schema_name(self) -> str | None:
        """None for the database's default."""
        return self.table.rpartition(".")[0] or None

    @property
    def table_name(self) -> str:
        return self.table.rpartition(".")[2]

    @property
    def plural(self) -> str:
        return "rows"

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:
        """By column, so that syncs may share a table; one that deletes rows needs it for itself."""
        at = f"sql/{self.url_env}/{self.table}"
        if self.on_remove == "delete":
            return frozenset({f"{at}.*"})
        stamp = [self.synced_at_column] if self.synced_at_column else []
        return frozenset(f"{at}.{column}" for column in [*(one.name for one in fields), *stamp])

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        found = [f"field {one.name} has options of Shopify's" for one in fields if one.metafield or one.tags]
        taken = {self.key_column.lower(): "key_column"}
        if self.synced_at_column:
            if self.synced_at_column.lower() in taken:
                found.append(f"column {self.synced_at_column} is key_column and synced_at_column: name two")
            taken[self.synced_at_column.lower()] = "synced_at_column"
        found += [f"field {one.name} is named as {taken[one.name]}: rename one of them" for one in fields if one.name in taken]
        names = [*self.table.split("."), self.key_column, self.synced_at_column or "", *(one.name for one in fields)]
        found += [f"{name} is longer than the {LONGEST_NAME} characters a database takes" for name in names if len(name) > LONGEST_NAME]
        return found
