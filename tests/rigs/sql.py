"""A table of its own in DuckDB or PostgreSQL: the outside of `SqlDestination`.

Refusals are the database's own where it can be told to refuse (a trigger in PostgreSQL); DuckDB has none, so that there the statement is
made to fail as one that breaks a constraint does. A cut before the commit is, in PostgreSQL, the server ending the connection.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import duckdb
import sqlalchemy as sa

from commerce_assets.activation.destinations.sql import SqlDestination, database_of
from commerce_assets.activation.destinations.sql_columns import canonical_number
from commerce_assets.activation.destinations.sql_database import Database, LostAnswerError, Session, TryAgainError
from commerce_assets.activation.destinations.sql_duckdb import DuckDbDatabase, DuckDbSession
from commerce_assets.activation.destinations.sql_postgres import PostgresDatabase, PostgresSession
from commerce_assets.activation.records import RowResult, Sync
from commerce_assets.activation.targets import DeclaredField, SqlTarget
from rigs.base import Trait

SYNC = Sync("sql", "audience", mapped=("segment", "value"), carried=("as_of",))
FIELDS = (
    DeclaredField(name="segment"),
    DeclaredField(name="value", type="number"),
    DeclaredField(name="as_of", type="date", carried=True),
)
NAMES = [one.name for one in FIELDS]
LONGEST_VALUE = 40
ROWS_A_CALL = 7
Records = dict[str, dict[str, str]]


class _Faults:
    """What goes wrong on the way to the table, and how many values changed in it."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.later = 0
        self.cuts: list[Literal["before", "after"]] = []
        self.writes = 0


class _FaultyDestination(SqlDestination):
    faults: _Faults
    refuses_itself = False

    def write_part(self, session: Session, statements: Any, rows: Sequence[Any], start: int, end: int) -> list[RowResult]:
        if self.faults.later:
            self.faults.later -= 1
            raise TryAgainError("SQLSTATE 40001 (serialization failure)", is_throttling=True)
        if self.refuses_itself and (refused := self.faults.refused & {row.key for row in rows[start:end]}):
            if end - start == 1:
                return [RowResult(key, "failed", "constraint") for key in refused]
            middle = (start + end) // 2
            return [
                *self.write_part(session, statements, rows, start, middle),
                *self.write_part(session, statements, rows, middle, end),
            ]
        return super().write_part(session, statements, rows, start, end)


class _SqlRig:
    traits: frozenset[Trait] = frozenset({"reads", "refuses", "throttles", "cuts", "makes_records", "loses_records"})
    longest_value = LONGEST_VALUE
    rows_a_call = ROWS_A_CALL
    refuses_itself = False

    def __init__(self, url: str, target: SqlTarget) -> None:
        self.sync, self.url, self.target = SYNC, url, target
        self.faults = _Faults()
        self._last: Records = {}
        self.database = self._database()

    def destination(self) -> SqlDestination:
        made = _FaultyDestination(
            self.target, FIELDS, self.sync, self.url, pause=lambda seconds: None, chunk_rows=self.rows_a_call, database=self.database
        )
        made.faults, made.refuses_itself = self.faults, self.refuses_itself
        return made

    def keys(self, count: int) -> list[str]:
        return [f"key-{number:05}" for number in range(count)]

    def held(self) -> Records:
        columns = ", ".join(f'cast("{name}" as text)' for name in NAMES)
        found = {}
        for key, segment, value, as_of in self.query(f"select record_key, {columns} from {self.target.table}"):
            texts = {"segment": segment, "value": value and canonical_number(value), "as_of": as_of}
            found[key] = {name: text for name, text in texts.items() if text is not None}
        return {key: fields for key, fields in found.items() if fields}

    def change(self, key: str, field: str, value: str | None) -> None:
        self.query(f"insert into {self.target.table} (record_key) values ({self.place()}) on conflict do nothing", key)
        type_ = {"value": "numeric", "as_of": "date"}.get(field, "text")
        self.query(
            f'update {self.target.table} set "{field}" = cast({self.place()} as {type_}) where record_key = {self.place()}', value, key
        )
        self._last = self.held()

    def delete(self, key: str) -> None:
        self.query(f"delete from {self.target.table} where record_key = {self.place()}", key)
        self._last = self.held()

    def refuse(self, keys: set[str]) -> None:
        self.faults.refused = set(keys)

    def throttle(self, calls: int) -> None:
        self.faults.later = calls

    def cut(self, when: Literal["before", "after"], calls: int = 1) -> None:
        self.faults.cuts = [when] * calls

    @property
    def writes(self) -> int:
        return self.faults.writes

    def close(self) -> None: ...

    def count(self) -> None:
        """After each commit: values that are other than before."""
        now = self.held()
        for key in {*now, *self._last}:
            new, old = now.get(key, {}), self._last.get(key, {})
            self.faults.writes += sum(new.get(name) != old.get(name) for name in {*new, *old})
        self._last = now

    def next_cut(self) -> Literal["before", "after"] | None:
        return self.faults.cuts.pop(0) if self.faults.cuts else None

    def place(self) -> str:
        return "?"

    def query(self, text: str, *values: Any) -> list[Any]:
        raise NotImplementedError

    def _database(self) -> Database:
        raise NotImplementedError


class DuckDbRig(_SqlRig):
    """Keeps the file open all its life: to open it anew for each look and each session takes 10 ms.
    That the destination opens and closes it by itself is shown in test_destination_sql.py."""

    name = "duckdb"
    refuses_itself = True

    def __init__(self, root: Path, **options: Any) -> None:
        self.path = root / "crm.duckdb"
        target = SqlTarget(url_env="CRM_DATABASE_URL", table="audience", on_remove="delete", create_table=False, **options)
        self._file = duckdb.connect(str(self.path))
        check = f"check (length(segment) <= {LONGEST_VALUE})"
        self._file.execute(
            f"create table audience (record_key text primary key, segment text {check}, value decimal(18, 4), as_of date, theirs text)"
        )
        super().__init__(f"duckdb:///{self.path}", target)

    def query(self, text: str, *values: Any) -> list[Any]:
        with self._file.cursor() as connection:
            return connection.execute(text, list(values)).fetchall()

    def close(self) -> None:
        self._file.close()

    def _database(self) -> DuckDbDatabase:
        rig = self

        class Faulty(DuckDbSession):
            has_written = False

            def run(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
                self.has_written |= isinstance(statement, sa.sql.dml.UpdateBase)
                return super().run(statement, values)

            def commit_part(self) -> None:
                cut = rig.next_cut() if self.has_written else None
                if cut == "before":
                    self.connection.rollback()
                    raise LostAnswerError("the commit failed: IOException")
                super().commit_part()
                rig.count()
                if cut == "after":
                    raise LostAnswerError("the commit failed: IOException")

        database = database_of(self.url, self.target)
        assert isinstance(database, DuckDbDatabase)
        database.session_type = Faulty  # type: ignore[misc]
        return database


class PostgresRig(_SqlRig):
    """In a schema of its own, on a server that others use too."""

    name = "postgres"

    def __init__(self, server_url: str, **options: Any) -> None:
        self.schema = f"rig_{uuid.uuid4().hex[:12]}"
        self.engine = sa.create_engine(server_url)
        target = SqlTarget(url_env="CRM_DATABASE_URL", table=f"{self.schema}.audience", create_table=False, **options)
        self._run(
            f"create schema {self.schema}",
            f"create table {self.schema}.audience "
            f"(record_key text primary key, segment varchar({LONGEST_VALUE}), value numeric(18, 4), as_of date, theirs text)",
            f"create table {self.schema}.refused (record_key text primary key)",
            f"create function {self.schema}.refuse() returns trigger language plpgsql as $$ begin "
            f"if exists (select from {self.schema}.refused where record_key = coalesce(new.record_key, old.record_key)) "
            "then raise check_violation using constraint = 'not_this_one', message = new.segment; end if; "
            "return coalesce(new, old); end $$",
            f"create trigger refuse before insert or update or delete on {self.schema}.audience "
            f"for each row execute function {self.schema}.refuse()",
        )
        super().__init__(server_url, target)

    def refuse(self, keys: set[str]) -> None:
        self._run(f"delete from {self.schema}.refused")
        for key in keys:
            self.query(f"insert into {self.schema}.refused values (%s)", key)

    def query(self, text: str, *values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.exec_driver_sql(text, values)
            return list(result) if result.returns_rows else []

    def place(self) -> str:
        return "%s"

    def close(self) -> None:
        self._run(f"drop schema {self.schema} cascade")
        self.engine.dispose()

    def _run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def _database(self) -> PostgresDatabase:
        rig = self

        class Faulty(PostgresSession):
            has_written = False

            def run(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
                self.has_written |= isinstance(statement, sa.sql.dml.UpdateBase)
                return super().run(statement, values)

            def commit(self) -> None:
                cut = rig.next_cut() if self.has_written else None
                if cut == "before":
                    process = self.connection.scalar(sa.select(sa.func.pg_backend_pid()))
                    rig.query("select pg_terminate_backend(%s, 5000)", process)
                super().commit()
                rig.count()
                if cut == "after":
                    raise LostAnswerError("the connection broke at the commit")

        database = database_of(self.url, self.target)
        assert isinstance(database, PostgresDatabase)
        database.session_type = Faulty  # type: ignore[misc]
        return database
