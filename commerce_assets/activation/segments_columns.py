"""The columns that a segment's condition may name: those of the marts behind it, as dbt's yml describes them.

Belongs here: names, types and what is personal, read from the yml that the marts' contracts are enforced from. Does not belong here:
conditions (segments_condition.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from commerce_assets.activation.errors import DeclarationError
from commerce_assets.contracts import TABLES

RELATIONS = {"c": "customer_360", "s": "customer_scores"}
"""Alias in conditions -> mart. A customer without scores has nulls in all of `s`."""


@dataclass(frozen=True)
class Column:
    """A column that there is."""

    alias: str
    name: str
    type: str
    """As DuckDB names it, in lower case."""
    description: str
    is_personal: bool

    @property
    def qualified(self) -> str:
        return f"{self.alias}.{self.name}"


@dataclass(frozen=True)
class Columns:
    """The one wide relation that conditions are about."""

    columns: tuple[Column, ...]

    def named(self, name: str, alias: str | None = None) -> tuple[Column, ...]:
        """Those of that name, of one of the marts or of both."""
        return tuple(column for column in self.columns if column.name == name and alias in (None, column.alias))

    def of(self, alias: str) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.alias == alias)


def read_columns(project_dir: Path) -> Columns:
    """The columns of `customer_360` and `customer_scores`. Raises `DeclarationError` where a yml is missing or describes none."""
    personal_names = {column.name for table in TABLES for column in table.columns if column.pii}
    found = [
        Column(alias, column["name"], str(column["data_type"]).lower(), column.get("description", ""), _is_personal(column, personal_names))
        for alias, mart in RELATIONS.items()
        for column in _columns_of(project_dir / "models" / "marts" / f"{mart}.yml", mart)
    ]
    return Columns(tuple(found))


def _columns_of(path: Path, mart: str) -> Iterator[Mapping[str, Any]]:
    if not path.exists():
        raise DeclarationError(
            f"{path.name} is missing from {path.parent}: segments are conditions over {mart} and cannot be read without it"
        )
    models = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    yield from next((model["columns"] for model in models if model["name"] == mart), [])


def _is_personal(column: Mapping[str, Any], personal_names: set[str]) -> bool:
    """As masking has it: marked in the yml, or of a name that a contract marks, unless the yml clears it."""
    mark = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}.get("pii")
    return bool(mark) if mark is not None else column["name"] in personal_names
