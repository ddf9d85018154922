"""DuckDB behind the destination `sql`: a file that one process at a time may write.

It is opened for each chunk and let go after it, so that others get their turn. DuckDB has no savepoints: a chunk goes in one transaction,
and only where it holds a refused row do its parts go in one each.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from os import W_OK, access
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from commerce_assets.activation.destinations.sql_columns import Column, Kind
from commerce_assets.activation.destinations.sql_database import MADE_BY_US, LostAnswerError, RowRefusedError, Session, Table, TryAgainError
from commerce_assets.activation.destinations.sql_statements import STAGE, bare_table
from commerce_assets.activation.errors import DestinationError
from commerce_assets.activation.targets.sql import SqlTarget

_KINDS: dict[str, Kind] = {
    "VARCHAR": "text",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "UUID": "uuid",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "integer"),
}
_SAFE = re.compile(
    r"NOT NULL constraint failed: \S+|CHECK constraint failed on table \S+|violates (?:primary key|unique|foreign key) constraint"
)
"""What may be told of a message: names, never values."""


class _Names(postgresql.base.PGIdentifierPreparer):
    """Quotes names. A schema that is named as the file is would be taken for the file, unless that is named before it."""

    catalog = ""

    def quote_schema(self, schema: Any, force: Any = None) -> str:
        del force
        named = self.quote(schema)
        return f"{self.quote_identifier(self.catalog)}.{named}" if schema.lower() == self.catalog.lower() else str(named)


class DuckDbSession:
    """One connection; each part is a transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, dialect: sa.Dialect) -> None:
        self.connection, self._dialect = connection, dialect
        self._is_within = False
        self._compiled: dict[sa.Executable, sa.Compiled] = {}
        connection.execute("set timezone to 'UTC'")

    def has_schema(self, name: str) -> bool:
        found = self.connection.execute("select count(*) from duckdb_schemas() where schema_name = ?", [name]).fetchone()
        return bool(found and found[0])

    def table(self, target: SqlTarget) -> Table | None:
        at = {"schema": target.schema_name or "main", "table": target.table_name}
        found = self.connection.execute(_sql("duckdb_columns"), at).fetchall()
        if not found:
            return None
        keys = self.connection.execute(_sql("duckdb_keys"), at).fetchall()
        comment = self.connection.execute(_sql("duckdb_comment"), at).fetchone()
        return Table(
            {row[0]: _column(*row) for row in found},
            frozenset(tuple(sorted(names)) for (names,) in keys),
            comment is not None and comment[0] == MADE_BY_US,
        )

    def stage(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        schema = {name: pl.Int64 if name == "ordinal" else pl.String for name in columns}
        self.connection.register(STAGE, pl.DataFrame(rows, schema=schema, orient="row"))

    def run(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        if not self._is_within:
            with self.part():
                return self.run(statement, values)
        if statement not in self._compiled:
            self._compiled[statement] = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        compiled = self._compiled[statement]
        given = (compiled.params or {}) | dict(values or {})
        with _translated():
            return self.connection.execute(str(compiled), [given[name] for name in getattr(compiled, "positiontup", None) or ()]).fetchall()

    @contextmanager
    def part(self) -> Iterator[None]:
        self.connection.begin()
        self._is_within = True
        try:
            yield
        except BaseException:
            # A conflict has ended it already.
            with suppress(duckdb.Error):
                self.connection.rollback()
            raise
        finally:
            self._is_within = False
        self.commit_part()

    def commit_part(self) -> None:
        try:
            self.connection.commit()
        except (duckdb.TransactionException, duckdb.ConstraintException) as error:
            raise _as_named(error) from None
        except duckdb.Error as error:
            raise LostAnswerError(f"the commit failed: {type(error).__name__}") from None

    def commit(self) -> None:
        """Nothing is left to do: each part was made last."""


class DuckDbDatabase:
    """One file."""

    is_duckdb = True
    session_type = DuckDbSession

    def __init__(self, url: sa.URL) -> None:
        if url.database in (None, "", ":memory:"):
            raise DestinationError(
                "the DuckDB URL names no file: duckdb:///folder/file.duckdb, with a fourth slash for a path from the root"
            )
        self._path = Path(str(url.database))
        self.shown = f"DuckDB file {self._path.name}"
        self._dialect = postgresql.dialect(paramstyle="numeric_dollar")
        self._dialect.identifier_preparer = names = _Names(self._dialect)
        names.catalog = self._path.stem

    @contextmanager
    def session(self) -> Iterator[Session]:
        try:
            connection = duckdb.connect(str(self._path))
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            is_locked = "lock" in str(error) or isinstance(error, duckdb.ConnectionException)
            why = "it is locked by another process, which has to close it" if is_locked else "it cannot be opened"
            raise TryAgainError(f"{self.shown}: {why}", is_throttling=is_locked) from None
        try:
            yield self.session_type(connection, self._dialect)
        finally:
            connection.close()

    def ddl(self, statement: sa.schema.ExecutableDDLElement) -> str:
        return " ".join(str(statement.compile(dialect=self._dialect)).split())

    def named(self, target: SqlTarget) -> str:
        return str(self._dialect.identifier_preparer.format_table(bare_table(target)))

    def problems(self, target: SqlTarget) -> list[str]:
        del target
        if not self._path.exists():
            # Opening would make it.
            is_ready = self._path.parent.is_dir() and access(self._path.parent, W_OK)
            return [] if is_ready else [f"the folder of {self.shown} is not there or not writable: make it, or correct the URL"]
        if not access(self._path, W_OK):
            return [f"{self.shown} is not writable: correct its rights"]
        with self.session():
            return []


def _column(name: str, spelled: str, precision: int | None, scale: int | None) -> Column:
    kind: Kind = "numeric" if spelled.startswith("DECIMAL") else _KINDS.get(spelled, "other")
    if kind != "numeric":
        precision = scale = None
    return Column(name, spelled, kind, None, precision, scale, has_zone=spelled == "TIMESTAMP WITH TIME ZONE")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise _as_named(error) from None


def _as_named(error: duckdb.Error) -> Exception:
    """What DuckDB's error means here; its messages hold values."""
    name = type(error).__name__.removesuffix("Exception")
    if isinstance(error, duckdb.TransactionException):
        return TryAgainError("the transaction met another one", is_throttling=True)
    if isinstance(error, duckdb.IntegrityError | duckdb.DataError):
        found = _SAFE.search(str(error))
        return RowRefusedError(f"DuckDB: {name} error{f', {found.group()}' if found else ''}")
    return DestinationError(f"DuckDB refuses: {name} error; look at the table and its rights, then run again")


@cache
def _sql(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
