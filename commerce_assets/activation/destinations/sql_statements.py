"""The statements for one table, built of SQLAlchemy's expressions: identifiers are quoted, and no value is ever part of one.

Rows come from the relation `commerce_stage`: `ordinal`, `kind` (which of `KINDS`), `record_key`, and the fields as text in `f0`, `f1`, ….
Both databases understand the same text: DuckDB's SQL is PostgreSQL's here.
"""

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import quoted_name

from commerce_assets.activation.destinations.sql_columns import Column, made_type
from commerce_assets.activation.destinations.sql_database import Table
from commerce_assets.activation.targets.base import DeclaredField
from commerce_assets.activation.targets.sql import SqlTarget

STAGE = "commerce_stage"
Kind = Literal["upsert", "present", "absent", "remove"]
"""upsert: made or written. present: written where it is there. absent: made where it is not there. remove: taken away, or its fields cleared."""


def stage_columns(fields: Sequence[DeclaredField]) -> list[str]:
    """Of the staged relation."""
    return ["ordinal", "kind", "record_key", *(f"f{number}" for number in range(len(fields)))]


class Statements:
    """For a table that was found, with columns for all of `fields`."""

    def __init__(self, target: SqlTarget, fields: Sequence[DeclaredField], found: Table) -> None:
        self.target, self.fields, self.found = target, fields, found
        self.key_column = found.columns[target.key_column]
        names = [target.key_column, *(one.name for one in fields), *_stamps(target)]
        self._table = _table(target, *(sa.Column(_quoted(name)) for name in names))
        self._key = self._table.c[target.key_column]
        self._stage = sa.table(STAGE, *(sa.column(name, sa.Integer if name == "ordinal" else sa.Text) for name in stage_columns(fields)))
        self._written: dict[Kind, sa.Executable] = {}

    def column(self, field: str) -> Column:
        return self.found.columns[field]

    def read(self) -> sa.Select[Any]:
        """Key and fields as text, of the staged keys that are there."""
        fields = [sa.cast(self._table.c[one.name], sa.Text).label(f"f{number}") for number, one in enumerate(self.fields)]
        return sa.select(self._stage.c.record_key, *fields).join_from(self._stage, self._table, self._key == self._staged_key())

    def write(self, kind: Kind) -> sa.Executable:
        """Write the staged rows of a kind with ordinals from `:first` to `:last`; gives the keys of the rows that were written.

        The same object each time, so that it is put into words once.
        """
        if kind not in self._written:
            self._written[kind] = self._write(kind)
        return self._written[kind]

    def _write(self, kind: Kind) -> sa.Executable:
        first, last = (sa.bindparam(name, type_=sa.Integer) for name in ("first", "last"))
        part = sa.and_(self._stage.c.ordinal.between(first, last), self._stage.c.kind == kind)
        if kind == "remove":
            return self._remove(part)
        if kind == "present":
            values = {**self._staged_values(), **self._stamped()}
            update = sa.update(self._table).values({self._table.c[name]: value for name, value in values.items()})
            return update.where(self._key == self._staged_key(), part).returning(self._key_text())
        values = {self.target.key_column: self._staged_key(), **self._staged_values(), **self._stamped()}
        # In the order of the keys, so that two syncs on one table wait for each other instead of locking each other out.
        rows = sa.select(*(value.label(f"v{number}") for number, value in enumerate(values.values()))).where(part)
        insert = postgresql.insert(self._table).from_select(list(values), rows.order_by(self._stage.c.ordinal))
        if kind == "absent":
            return insert.on_conflict_do_nothing(index_elements=[self._key]).returning(self._key_text())
        written = [name for name in values if name != self.target.key_column]
        return insert.on_conflict_do_update(
            index_elements=[self._key], set_={self._table.c[name]: insert.excluded[name] for name in written}
        ).returning(self._key_text())

    def _remove(self, part: sa.ColumnElement[bool]) -> sa.Executable:
        is_one = self._key.in_(sa.select(self._staged_key()).where(part))
        if self.target.on_remove == "delete":
            return sa.delete(self._table).where(is_one).returning(self._key_text())
        values = {**{one.name: sa.null() for one in self.fields}, **self._stamped()}
        update = sa.update(self._table).values({self._table.c[name]: value for name, value in values.items()})
        return update.where(is_one).returning(self._key_text())

    def _key_text(self) -> sa.ColumnElement[str]:
        return sa.cast(self._key, sa.Text).label("written_key")

    def _staged_key(self) -> sa.ColumnElement[Any]:
        return _cast(self._stage.c.record_key, self.key_column)

    def _staged_values(self) -> dict[str, sa.ColumnElement[Any]]:
        return {one.name: _cast(self._stage.c[f"f{number}"], self.column(one.name)) for number, one in enumerate(self.fields)}

    def _stamped(self) -> dict[str, sa.ColumnElement[Any]]:
        now = sa.func.timezone("UTC", sa.func.now())
        return {
            name: sa.func.now() if self.column(name).has_zone else sa.cast(now, sa.DateTime(timezone=False))
            for name in _stamps(self.target)
        }


def create_table(target: SqlTarget, fields: Sequence[DeclaredField], *, is_duckdb: bool) -> sa.schema.CreateTable:
    """The table with typed columns and its key."""
    key = sa.Column(_quoted(target.key_column), sa.Text, primary_key=True)
    others = (sa.Column(_quoted(name), type_) for name, type_ in needed(target, fields, is_duckdb=is_duckdb).items())
    return sa.schema.CreateTable(_table(target, key, *others), if_not_exists=True)


def needed(target: SqlTarget, fields: Sequence[DeclaredField], *, is_duckdb: bool) -> dict[str, Any]:
    """Columns besides the key, with the type they are made with."""
    types: dict[str, Any] = {one.name: made_type(one.type, is_duckdb=is_duckdb) for one in fields}
    return types | {name: made_type("timestamp", is_duckdb=is_duckdb) for name in _stamps(target)}


def say_that_it_is_ours(target: SqlTarget, comment: str) -> sa.schema.SetTableComment:
    """Leave a comment on the table."""
    table = _table(target)
    table.comment = comment
    return sa.schema.SetTableComment(table)


def bare_table(target: SqlTarget) -> sa.Table:
    """The table by its name alone."""
    return _table(target)


def _stamps(target: SqlTarget) -> list[str]:
    return [target.synced_at_column] if target.synced_at_column else []


def _table(target: SqlTarget, *columns: sa.Column[Any]) -> sa.Table:
    schema = _quoted(target.schema_name) if target.schema_name else None
    return sa.Table(_quoted(target.table_name), sa.MetaData(), *columns, schema=schema)


def _quoted(name: str) -> quoted_name:
    return quoted_name(name, quote=True)


def _cast(value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
    return value if column.cast_to is None else sa.cast(value, column.cast_to)
