"""Tables of other databases: PostgreSQL or DuckDB."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, Target


class SqlTarget(Target):
    """A table in which each record is a row."""

    kind: Literal["sql"] = "sql"
    url_env: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable with the database's URL: postgresql://… or duckdb:///…."
    )
    table: str = Field(description="Table, with its schema where it has one: crm.customer_scores.")
    key_column: str = Field("record_key", description="Column that holds the key.")

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:
        return frozenset(f"sql/{self.url_env}/{self.table}.{one.name}" for one in fields)

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        return [f"field {one.name} has options of Shopify's" for one in fields if one.metafield or one.tags]
