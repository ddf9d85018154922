"""Tables as destinations: each record a row, each field a typed column, in PostgreSQL or DuckDB.

Rows go to the database in chunks, each in one transaction, by one statement for each kind of change. Only the sync's own columns are
written. A row that the database refuses is found by halving its chunk, fails alone, and the others are written.

What a column would not give back as it was written (rounded, cut off) is refused before it is sent: the ledger would otherwise believe what
is not there. Expectations (`update_only`, `insert_only`) are part of the statements: nobody can get in between.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from commerce_assets.activation.destinations.sql_columns import ACCEPTED, KEY_KINDS, canonical, key_refusal, refusal
from commerce_assets.activation.destinations.sql_database import (
    MADE_BY_US,
    Database,
    LostAnswerError,
    RowRefusedError,
    Session,
    Table,
    TryAgainError,
)
from commerce_assets.activation.destinations.sql_duckdb import DuckDbDatabase
from commerce_assets.activation.destinations.sql_postgres import PostgresDatabase
from commerce_assets.activation.destinations.sql_statements import (
    Kind,
    Statements,
    create_table,
    needed,
    say_that_it_is_ours,
    stage_columns,
)
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Estimate, Fields, Meter, RowResult, Sync
from commerce_assets.activation.targets.base import DeclaredField
from commerce_assets.activation.targets.sql import SqlTarget

__all__ = ["CHUNK_ROWS", "SqlDestination", "database_of"]

CHUNK_ROWS = 10_000
ATTEMPTS = 8
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
"""In all some 18 seconds: as long as a reader may have a DuckDB file open, and a server may take to come back."""
LOST_IN_A_ROW = 3
"""Chunks without an answer after which the database is considered down."""
NOT_THERE, ALREADY_THERE, ALREADY_HELD = "not at the destination", "already there", "already held"
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Row:
    """A change on its way."""

    change: Change
    kind: Kind
    fields: Fields

    @property
    def key(self) -> str:
        return self.change.record_key


def database_of(url: str | None, target: SqlTarget) -> Database:
    """The database at `url`. Raises `DestinationError` that never says the URL: it holds a password."""
    example = f"set {target.url_env} to postgresql://user:password@host/database or duckdb:///folder/file.duckdb"
    if not url:
        raise DestinationError(f"the environment variable {target.url_env} is not set: {example}")
    try:
        parsed = sa.make_url(url)
        backend = "postgresql" if parsed.drivername == "postgres" else parsed.drivername.partition("+")[0]
    except (sa.exc.ArgumentError, ValueError):
        raise DestinationError(f"what {target.url_env} holds is no URL: {example}") from None
    if backend == "postgresql":
        return PostgresDatabase(parsed)
    if backend == "duckdb":
        return DuckDbDatabase(parsed)
    raise DestinationError(f"what {target.url_env} names is neither PostgreSQL nor DuckDB: {example}")


class SqlDestination:
    """The destination. `fields` as declared, in the order of `sync.fields` or not; `url` is what the target's environment variable holds."""

    can_read = True

    def __init__(
        self,
        target: SqlTarget,
        fields: Sequence[DeclaredField],
        sync: Sync,
        url: str | None,
        *,
        pause: Callable[[float], None] = time.sleep,
        chunk_rows: int = CHUNK_ROWS,
        database: Database | None = None,
    ) -> None:
        self.target, self.fields, self.sync = target, tuple(fields), sync
        self.chunk_rows = chunk_rows
        self.meter = Meter()
        self._url, self._pause = url, pause
        self._known_database = database
        self._known_table: Table | None = None
        self._lost_in_a_row = 0

    @property
    def database(self) -> Database:
        if self._known_database is None:
            self._known_database = database_of(self._url, self.target)
        return self._known_database

    def problems(self) -> Sequence[str]:
        try:
            found = self.database.problems(self.target)
            if not found:
                with self.database.session() as session:
                    found = self._misfits(session.table(self.target))
        except TryAgainError as error:
            return [f"{error}; look whether it runs and whether {self.target.url_env} is right"]
        except DestinationError as error:
            return [str(error)]
        return found

    def prepare(self) -> None:
        """The table is there with every column; made or given columns where it may be."""

        def make_ready(session: Session) -> None:
            table = session.table(self.target)
            if misfits := self._misfits(table):
                raise DestinationError(f"{self.database.shown}: {'; '.join(misfits)}")
            try:
                self._make(session, table)
            except RowRefusedError:
                # Two syncs made it at the same moment.
                raise TryAgainError(f"table {self.target.table} is being made by another process") from None
            session.commit()

        self._transact("prepare", make_ready)

    def settle(self) -> None:
        """Nothing outlives its process: an open transaction is rolled back, or holds the rows until it is."""

    def finish(self) -> None:
        """Nothing is made of the whole."""

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        chunks = -(-(creates + updates + removals) // self.chunk_rows)
        is_read = self.sync.mode != "append"
        reads = min(chunks, -(-creates // self.chunk_rows) + 1) if is_read and creates else 0
        return Estimate("rows", self.chunk_rows, requests=chunks + reads, points=0, reads_new=is_read)

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        for start in range(0, len(keys), self.chunk_rows):
            some = keys[start : start + self.chunk_rows]
            held = self._transact("read", lambda session, some=some: self._read(session, some))  # type: ignore[misc]
            empty = dict.fromkeys(self.sync.fields)
            yield from ((key, held.get(key, empty)) for key in some)

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        del path
        for start in range(0, len(changes), self.chunk_rows):
            yield from self._load(changes[start : start + self.chunk_rows])

    # --- the table

    def _misfits(self, table: Table | None) -> list[str]:
        """What is wrong with the table, each with the statement that mends it; empty where nothing is, or where we mend it."""
        name, is_duckdb = self.target.table, self.database.is_duckdb
        if table is None:
            made = self.database.ddl(create_table(self.target, self.fields, is_duckdb=is_duckdb))
            return [] if self.target.create_table else [f"table {name} is not there and create_table is false: run {made}"]
        found = []
        for column, type_ in self._needed().items():
            spelled, has = self._spelled(type_), table.columns.get(column)
            alter = f"alter table {self.database.named(self.target)}"
            if has is None and not self._may_alter(table):
                found.append(f'table {name} has no column {column}: run {alter} add column "{column}" {spelled}')
            elif has is not None and has.kind not in self._accepted(column):
                retype = f'{alter} alter column "{column}" type {spelled}'
                found.append(f"column {column} of table {name} is of type {has.spelled}, which is not right for it: run {retype}")
        key = table.columns.get(self.target.key_column)
        if key is None:
            found.append(f"table {name} has no column {self.target.key_column} for the key: name the right one as key_column")
        elif key.kind not in KEY_KINDS:
            found.append(f"key column {key.name} of table {name} is of type {key.spelled}; it has to be one of {', '.join(KEY_KINDS)}")
        elif (key.name,) not in table.unique:
            unique = f'create unique index on {self.database.named(self.target)} ("{key.name}")'
            if is_duckdb:
                unique = unique.replace(" on ", f' "{self.target.table_name}_{key.name}" on ', 1)
            found.append(f"nothing keeps key column {key.name} of table {name} unique: run {unique}")
        return found

    def _table(self, session: Session) -> Table | None:
        """The table; one that has all that is needed is looked at once."""
        if self._known_table is None:
            found = session.table(self.target)
            is_whole = found is not None and not self._misfits(found) and self._needed().keys() <= found.columns.keys()
            if not is_whole:
                return found
            self._known_table = found
        return self._known_table

    def _needed(self) -> dict[str, sa.types.TypeEngine[object]]:
        return needed(self.target, self.fields, is_duckdb=self.database.is_duckdb)

    def _make(self, session: Session, table: Table | None) -> None:
        is_duckdb = self.database.is_duckdb
        if table is None:
            schema = self.target.schema_name
            if schema and not session.has_schema(schema):
                session.run(sa.schema.CreateSchema(sa.sql.quoted_name(schema, quote=True), if_not_exists=True))
            session.run(create_table(self.target, self.fields, is_duckdb=is_duckdb))
            session.run(say_that_it_is_ours(self.target, MADE_BY_US))
            return
        for column, type_ in self._needed().items():
            if column not in table.columns:
                add = f'alter table {self.database.named(self.target)} add column if not exists "{column}" {self._spelled(type_)}'
                session.run(sa.text(add))

    def _may_alter(self, table: Table) -> bool:
        return self.target.create_table and table.is_ours

    def _accepted(self, column: str) -> Sequence[str]:
        by_name = {one.name: ACCEPTED[one.type] for one in self.fields}
        return by_name.get(column, ACCEPTED["timestamp"])

    def _spelled(self, type_: sa.types.TypeEngine[object]) -> str:
        return str(type_.compile(dialect=postgresql.dialect())).lower()

    # --- reading

    def _read(self, session: Session, keys: Sequence[str]) -> dict[str, Fields]:
        table = self._table(session)
        if table is None or self.target.key_column not in table.columns:
            return {}
        there = [one for one in self.fields if one.name in table.columns]
        statements = Statements(self.target, there, table)
        # A key that the column cannot hold is not in it.
        possible = [key for key in keys if key_refusal(statements.key_column, key) is None]
        session.stage(stage_columns(there), [(number, "read", key, *[None] * len(there)) for number, key in enumerate(possible)])
        held: dict[str, Fields] = {}
        for key, *values in session.run(statements.read()):
            of_row = {one.name: canonical(table.columns[one.name], value) for one, value in zip(there, values, strict=True)}
            held[key] = {name: of_row.get(name) for name in self.sync.fields}
        return held

    # --- writing

    def _load(self, changes: Sequence[Change]) -> Iterator[RowResult]:
        rows = []
        for change in changes:
            row = self._row(change)
            if isinstance(row, RowResult):
                yield row
            else:
                rows.append(row)
        if not rows:
            return
        try:
            results = self._transact("write", lambda session: self._write(session, rows))
        except LostAnswerError as error:
            yield from (RowResult(row.key, "unknown", str(error)) for row in rows)
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= LOST_IN_A_ROW:
                raise DestinationUnavailableError(
                    f"{self.database.shown}: {self._lost_in_a_row} chunks in a row got no answer; the push stops here, run again to go on"
                ) from None
            return
        self._lost_in_a_row = 0
        yield from results

    def _row(self, change: Change) -> _Row | RowResult:
        """The change as a row; or its result, where nothing is to be written."""
        if change.operation == "remove":
            return _Row(change, "remove", dict.fromkeys(self.sync.fields))
        wanted: dict[str, str | None] = {name: change.fields.get(name) for name in self.sync.fields}
        held = change.held
        if held is not None and not change.is_whole:
            wanted |= {name: held.get(name) for name in self.sync.kept_when_null if wanted[name] is None}
            if all(wanted[name] == held.get(name) for name in self.sync.mapped):
                return RowResult(change.record_key, "succeeded", ALREADY_HELD, held)
        kinds: dict[str, Kind] = {"any": "upsert", "present": "present", "absent": "absent"}
        return _Row(change, kinds[change.expects], wanted)

    def _write(self, session: Session, rows: Sequence[_Row]) -> list[RowResult]:
        table = self._table(session)
        if table is None or self._misfits(table):
            raise DestinationError(f"{self.database.shown}: table {self.target.table} was altered or dropped meanwhile; run again")
        statements = Statements(self.target, self.fields, table)
        results, taken = [], []
        for row in rows:
            reason = self._refusal(statements, row)
            if reason is None:
                taken.append(row)
            else:
                results.append(RowResult(row.key, "failed", reason))
        taken.sort(key=lambda row: row.key)
        staged = [(number, row.kind, row.key, *(row.fields[one.name] for one in self.fields)) for number, row in enumerate(taken)]
        session.stage(stage_columns(self.fields), staged)
        if taken:
            results += self.write_part(session, statements, taken, 0, len(taken))
        session.commit()
        return results

    def write_part(self, session: Session, statements: Statements, rows: Sequence[_Row], start: int, end: int) -> list[RowResult]:
        """Write rows `start` to before `end`; where one of them is refused, each half by itself."""
        some = rows[start:end]
        part = {"first": start, "last": end - 1}
        written: dict[Kind, set[str]] = {}
        try:
            with session.part():
                for kind in sorted({row.kind for row in some}):
                    written[kind] = {key for (key,) in session.run(statements.write(kind), part)}
        except RowRefusedError as error:
            if len(some) == 1:
                return [RowResult(some[0].key, "failed", str(error))]
            middle = (start + end) // 2
            return [
                *self.write_part(session, statements, rows, start, middle),
                *self.write_part(session, statements, rows, middle, end),
            ]
        return [_result(row, is_written=row.key in written[row.kind]) for row in some]

    def _refusal(self, statements: Statements, row: _Row) -> str | None:
        """Why the row is not sent."""
        reason = key_refusal(statements.key_column, row.key)
        values = ((statements.column(one.name), row.fields[one.name]) for one in self.fields)
        reasons = (refusal(column, value) for column, value in values if value is not None)
        return reason or next((found for found in reasons if found is not None), None)

    # --- transactions

    def _transact(self, what: str, do: Callable[[Session], _Result]) -> _Result:
        """Do it in a session of its own, again and again while it is certain that nothing was applied."""
        last = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                longest = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
                self._pause(longest * random.uniform(0.5, 1.0))
            self.meter.requests += 1
            self.meter.by_operation[what] = self.meter.by_operation.get(what, 0) + 1
            try:
                with self.database.session() as session:
                    return do(session)
            except TryAgainError as error:
                self.meter.throttled += error.is_throttling
                last = str(error)
        raise DestinationUnavailableError(f"{self.database.shown}: given up after {ATTEMPTS} attempts, the last: {last}; run again later")


def _result(row: _Row, *, is_written: bool) -> RowResult:
    if not is_written and row.kind == "present":
        return RowResult(row.key, "skipped", NOT_THERE)
    if not is_written and row.kind == "absent":
        return RowResult(row.key, "skipped", ALREADY_THERE)
    return RowResult(row.key, "succeeded", None, row.fields)
