"""PostgreSQL behind the destination `sql`: psycopg2 through SQLAlchemy, rows by COPY into a temporary table, parts as savepoints.

A reason names SQLSTATE, constraint and column. The server's messages are not passed on: their details hold values.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from commerce_assets.activation.destinations.sql_columns import Column, Kind
from commerce_assets.activation.destinations.sql_database import MADE_BY_US, LostAnswerError, RowRefusedError, Session, Table, TryAgainError
from commerce_assets.activation.destinations.sql_statements import STAGE, bare_table
from commerce_assets.activation.errors import DestinationError
from commerce_assets.activation.targets.sql import SqlTarget

CONNECT_SECONDS = 10
LOCK_SECONDS = 60
ROWS_FAULT = ("22", "23", "44", "P0")
"""Classes of SQLSTATE that are about the rows: data, integrity, check option of a view, raised by a trigger."""
LATER = ("40001", "40P01", "55P03", "53300", "57014")
"""Serialization, deadlock, lock not available, too many connections, timed out."""
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_SETTINGS = (
    "set local timezone to 'UTC'",
    "set local datestyle to 'ISO'",
    f"set local lock_timeout to '{LOCK_SECONDS}s'",
    # A constraint that waits for the commit would spoil the whole chunk instead of its row.
    "set constraints all immediate",
)


class PostgresSession:
    """One transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        with _translated():
            for setting in _SETTINGS:
                connection.exec_driver_sql(setting)

    def has_schema(self, name: str) -> bool:
        with _translated():
            return bool(sa.inspect(self.connection).has_schema(name))

    def table(self, target: SqlTarget) -> Table | None:
        with _translated():
            inspector = sa.inspect(self.connection)
            at: dict[str, Any] = {"table_name": target.table_name, "schema": target.schema_name}
            if not inspector.has_table(**at):
                return None
            columns = {found["name"]: _column(found["name"], found["type"]) for found in inspector.get_columns(**at)}
            unique = {tuple(sorted(inspector.get_pk_constraint(**at)["constrained_columns"]))}
            # A unique constraint stands here as its index.
            for index in inspector.get_indexes(**at):
                if (
                    index["unique"]
                    and not (index.get("dialect_options") or {}).get("postgresql_where")
                    and None not in index["column_names"]
                ):
                    unique.add(tuple(sorted(str(name) for name in index["column_names"])))
            return Table(columns, frozenset(unique), inspector.get_table_comment(**at)["text"] == MADE_BY_US)

    def stage(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        table = sa.Table(
            STAGE,
            sa.MetaData(),
            *(sa.Column(name, sa.Integer if name == "ordinal" else sa.Text) for name in columns),
            prefixes=["TEMPORARY"],
            postgresql_on_commit="DROP",
        )
        lines = StringIO("".join("\t".join(_copied(value) for value in row) + "\n" for row in rows))
        with _translated():
            self.connection.execute(sa.schema.CreateTable(table))
            # The driver's own cursor: SQLAlchemy has no COPY.
            self.connection.connection.cursor().copy_expert(f"copy {STAGE} from stdin", lines)

    def run(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with _translated():
            result = self.connection.execute(statement, values)
            return [tuple(row) for row in result] if result.returns_rows else []

    @contextmanager
    def part(self) -> Iterator[None]:
        with _translated():
            savepoint = self.connection.begin_nested()
        try:
            yield
        except RowRefusedError:
            with _translated():
                savepoint.rollback()
            raise
        with _translated():
            savepoint.commit()

    def commit(self) -> None:
        try:
            self.connection.commit()
        except sa.exc.DBAPIError as error:
            if _state_of(error):
                # The server answered: it is rolled back.
                raise _as_named(error) from None
            raise LostAnswerError("the connection broke at the commit") from None


class PostgresDatabase:
    """One database on a server."""

    is_duckdb = False
    session_type = PostgresSession

    def __init__(self, url: sa.URL) -> None:
        self._url = url.set(drivername="postgresql+psycopg2")
        self.shown = self._url.set(username=None, password=None, query={}).render_as_string().replace("+psycopg2", "")
        try:
            # No pool: nothing has to be closed, and nothing stays open between chunks.
            self._engine = sa.create_engine(
                self._url, poolclass=sa.pool.NullPool, hide_parameters=True, connect_args={"connect_timeout": CONNECT_SECONDS}
            )
        except ImportError:
            raise DestinationError(
                "writing to PostgreSQL needs the driver psycopg2, which is not installed: pip install 'commerce-assets[postgres]'"
            ) from None

    @contextmanager
    def session(self) -> Iterator[Session]:
        try:
            connection = self._engine.connect()
        except sa.exc.DBAPIError as error:
            raise TryAgainError(f"no connection to {self.shown}: {self._first_line(error)}") from None
        try:
            yield self.session_type(connection)
        finally:
            # What was not committed is rolled back by closing.
            connection.close()

    def ddl(self, statement: sa.schema.ExecutableDDLElement) -> str:
        return " ".join(str(statement.compile(dialect=postgresql.dialect())).split())

    def named(self, target: SqlTarget) -> str:
        return str(postgresql.dialect().identifier_preparer.format_table(bare_table(target)))

    def problems(self, target: SqlTarget) -> list[str]:
        within = f'"{target.schema_name}"' if target.schema_name else None
        query = sa.text(_sql("postgres_rights")).bindparams(named=self.named(target), within=within)
        with self.session() as session:
            may_stage, *rights, may_make = session.run(query)[0]
        found = []
        if not may_stage:
            found.append(f"the role may not make temporary tables at {self.shown}: grant temporary on its database to the role")
        wanted = ["select", "insert", "update", *(["delete"] if target.on_remove == "delete" else [])]
        if rights[0] is None:
            if target.create_table and not may_make:
                found.append(
                    f"table {target.table} is not there and the role may not make it: make it, or grant create on its schema to the role"
                )
            return found
        missing = [right for right, is_held in zip(wanted, rights, strict=False) if not is_held]
        if missing:
            found.append(f"the role may not {' or '.join(missing)}: grant {', '.join(missing)} on {self.named(target)} to it")
        return found

    def _first_line(self, error: sa.exc.DBAPIError) -> str:
        line = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        secret = self._url.password
        return line.replace(str(secret), "***") if secret else line


def _column(name: str, found: sa.types.TypeEngine[Any]) -> Column:
    spelled = str(found.compile(dialect=postgresql.dialect())) if not isinstance(found, sa.types.NullType) else "of another kind"
    kind: Kind = "other"
    if isinstance(found, sa.Enum | sa.CHAR | postgresql.DOMAIN):
        kind = "other"
    elif isinstance(found, sa.String):
        kind = "text"
    elif isinstance(found, sa.Double):
        kind = "double"
    elif isinstance(found, sa.Numeric) and not isinstance(found, sa.Float):
        kind = "numeric"
    else:
        by_type: tuple[tuple[type, Kind], ...] = (
            (sa.Integer, "integer"),
            (sa.Boolean, "boolean"),
            (sa.DateTime, "timestamp"),
            (sa.Date, "date"),
            (sa.Uuid, "uuid"),
        )
        kind = next((named for type_, named in by_type if isinstance(found, type_)), "other")
    precision, scale = (getattr(found, part, None) if kind == "numeric" else None for part in ("precision", "scale"))
    return Column(name, spelled, kind, getattr(found, "length", None), precision, scale, bool(getattr(found, "timezone", False)))


def _copied(value: Any) -> str:
    return "\\N" if value is None else str(value).translate(_ESCAPED)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, sa.exc.DBAPIError) or hasattr(error, "pgcode"):
            # Without the cause: it holds the statement's values.
            raise _as_named(error) from None
        raise


def _state_of(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", error), "pgcode", None)


def _as_named(error: BaseException) -> Exception:
    """What a driver's error means here."""
    from psycopg2 import errorcodes

    state = _state_of(error)
    if state is None or state[:2] in ("08", "57"):
        return TryAgainError(f"the connection broke{f' (SQLSTATE {state})' if state else ''}", is_throttling=state == "57014")
    try:
        name = errorcodes.lookup(state).lower().replace("_", " ")
    except KeyError:
        name = "of another kind"
    told = [f"SQLSTATE {state} ({name})"]
    diagnosis = getattr(getattr(error, "orig", error), "diag", None)
    told += [f"{what} {part}" for what in ("constraint", "column") if (part := getattr(diagnosis, f"{what}_name", None))]
    if state in LATER:
        return TryAgainError(", ".join(told), is_throttling=True)
    if state[:2] in ROWS_FAULT:
        return RowRefusedError(", ".join(told))
    if state[:2] == "42" and (message := getattr(diagnosis, "message_primary", None)):
        # Of this class messages name objects, never values.
        told.append(message)
    return DestinationError(f"the database refuses: {', '.join(told)}; mend it there, then run again")


@cache
def _sql(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
