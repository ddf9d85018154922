"""Write, audit, publish: how a finished build becomes the file that BI reads, whole or not at all.

The BI-visible schemas are copied from the build file into two new files beside the published ones (people's data masked in one,
as it is in the restricted other), audited, made durable, and put in place by rename. A reader that holds the old file open keeps
the old whole; a new one gets the new whole. SIGKILL at any moment leaves the previous version, or the new one, never a mixture:
once both files are complete a journal says so, and whoever comes next rolls forward.

    warehouse/
      build.duckdb                          what pipelines write
      commerce.duckdb                       what BI reads (a hard link to the newest version)
      versions/commerce-<version>.duckdb    kept for rollback
      restricted/commerce_restricted.duckdb and restricted/versions/…   the same, unmasked
      publishing.json                       the journal, there only while two renames are being done
"""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl

from commerce_assets.warehouse.connection import (
    WAIT_SECONDS,
    WarehouseBusyError,
    WarehouseError,
    WarehouseMissingError,
    reading,
    waiting_for_lock,
)
from commerce_assets.warehouse.masking import Masking, quote

FIGURES_SCHEMA, ACTIVATION_SCHEMA = "ops", "activation"
PUBLISHED_SCHEMAS = ("marts", FIGURES_SCHEMA, "scores", ACTIVATION_SCHEMA, "observability", "quarantine")
"""What BI sees, where the build holds it. Staging, intermediate and sync models stay inside."""

TRACES = f"{FIGURES_SCHEMA}.order_trace"
"""When an order was first published cannot be known when its trace is built: it is written into the copy that publishes it."""

_log = logging.getLogger(__name__)
_SQL = Path(__file__).parent / "sql"


class PublishError(WarehouseError):
    """The new file did not pass its audit, or there is nothing to publish; what was published before stands."""


@dataclass(frozen=True)
class Published:
    """One published version."""

    version: str
    published_at: datetime
    run_id: str
    tables: dict[str, int]
    masked_columns: dict[str, tuple[str, ...]]
    path: Path
    size_bytes: int
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """For people and `--json`."""
        return {
            "version": self.version,
            "published_at": self.published_at.isoformat(),
            "tables": len(self.tables),
            "rows": sum(self.tables.values()),
            "masked_columns": sum(len(columns) for columns in self.masked_columns.values()),
            "size_bytes": self.size_bytes,
            "seconds": round(self.seconds, 3),
            "path": str(self.path),
        }


@dataclass(frozen=True)
class _Table:
    """One table to copy: where it is read from and its columns (name, DuckDB type)."""

    schema: str
    name: str
    source: str
    columns: tuple[tuple[str, str], ...]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def target(self) -> str:
        return f"{quote(self.schema)}.{quote(self.name)}"


@dataclass(frozen=True)
class Publisher:
    """Publishes one build file to one published and one restricted file, keeping `keep` versions of each."""

    build_path: Path
    published_path: Path
    restricted_path: Path
    masking: Masking
    keep: int = 3
    schemas: Sequence[str] = PUBLISHED_SCHEMAS
    wait_seconds: float = WAIT_SECONDS
    say: Callable[[str], None] = field(default=_log.info, repr=False)

    def publish(self, run_id: str, *, required: Sequence[str] = (), extras: Mapping[str, pl.DataFrame | Path] | None = None) -> Published:
        """Copy, audit, put in place. `required` tables (`schema.table`) must be there; `extras` are tables that live outside the build (frames, Parquet files)."""
        started = time.monotonic()
        if not self.build_path.exists():
            raise WarehouseMissingError(f"nothing to publish: {self.build_path.name} does not exist yet (run dbt first)")
        with self._alone():
            self._recover()
            self._sweep_leftovers()
            now = datetime.now(UTC)
            version = now.strftime("%Y%m%dT%H%M%S%fZ")
            masked_beside, restricted_beside = (
                self._version(version).with_suffix(".tmp"),
                self._restricted_version(version).with_suffix(".tmp"),
            )
            with self._source(extras or {}) as (connection, tables):
                self._audit_source(tables, required)
                masked_columns = {table.full_name: self._personal(table) for table in tables}
                counts = self._copy(connection, tables, masked_beside, masked=True)
                self._copy(connection, tables, restricted_beside, masked=False)
                notes = [(version, now, run_id, name, rows, list(masked_columns[name])) for name, rows in counts.items()]
                publishes = [(version, now, run_id), *self._earlier_publishes()]
                for path in (masked_beside, restricted_beside):
                    self._write_notes(connection, path, notes, publishes)
            self._audit_copy(masked_beside, tables, counts, masked=True)
            self._audit_copy(restricted_beside, tables, counts, masked=False)
            self._complete(masked_beside, self._version(version), mode=0o444)
            self._complete(restricted_beside, self._restricted_version(version), mode=0o440)
            self._place(version)
            self._prune(current=version)
        return Published(
            version,
            now,
            run_id,
            counts,
            {name: columns for name, columns in masked_columns.items() if columns},
            self.published_path,
            self.published_path.stat().st_size,
            time.monotonic() - started,
        )

    def rollback(self, to: str | None = None) -> str:
        """Put the version before the current one in place again (or `to`), in both files; returns it."""
        with self._alone():
            self._recover()
            known, current = self.versions(), self.current()
            if to is None:
                older = [version for version in known if current is None or version < current]
                if not older:
                    raise PublishError(
                        f"no version older than {current} is kept (kept: {', '.join(known) or 'none'}); raise COMMERCE_PUBLISHED_VERSIONS_KEPT"
                    )
                to = older[-1]
            elif to not in known:
                raise PublishError(f"version {to} is not kept; kept: {', '.join(known) or 'none'}")
            self._place(to)
        return to

    def versions(self) -> list[str]:
        """The versions kept of both files, oldest first."""
        masked = {self._version_of(path) for path in self._version("*").parent.glob(self._version("*").name)}
        restricted = {self._version_of(path) for path in self._restricted_version("*").parent.glob(self._restricted_version("*").name)}
        return sorted(masked & restricted)

    def current(self) -> str | None:
        """The version now in place, or None before the first one."""
        if not self.published_path.exists():
            return None
        with reading(self.published_path, wait_seconds=self.wait_seconds, say=self.say) as published:
            row = published.execute((_SQL / "current_version.sql").read_text()).fetchone()
        return str(row[0]) if row and row[0] else None

    # How a copy is made

    @contextmanager
    def _source(self, extras: Mapping[str, pl.DataFrame | Path]) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[_Table]]]:
        """An in-memory DuckDB with the build attached read-only as `build` (so nobody writes it meanwhile), and what there is to copy."""
        connection = duckdb.connect()
        try:
            connection.execute("SET TimeZone = 'UTC'")
            waiting_for_lock(
                lambda: connection.execute(f"ATTACH '{_literal(self.build_path)}' AS build (READ_ONLY)"),
                self.build_path.name,
                wait_seconds=self.wait_seconds,
                say=self.say,
            )
            rows = connection.execute((_SQL / "tables_to_publish.sql").read_text(), [list(self.schemas)]).fetchall()
            tables = [
                _Table(schema, name, f"build.{quote(schema)}.{quote(name)}", tuple(zip(columns, types, strict=True)))
                for schema, name, columns, types in rows
            ]
            for index, (full_name, rows_or_file) in enumerate(extras.items()):
                schema, _, name = full_name.partition(".")
                view = f"extra_{index}"
                if isinstance(rows_or_file, Path):
                    connection.execute(f"CREATE TEMP VIEW {view} AS FROM read_parquet('{_literal(rows_or_file)}')")
                else:
                    connection.register(view, rows_or_file.to_arrow())
                described = connection.execute(f"DESCRIBE {view}").fetchall()
                tables = [table for table in tables if table.full_name != full_name]
                tables.append(_Table(schema, name, view, tuple((row[0], row[1]) for row in described)))
            yield connection, tables
        finally:
            connection.close()

    def _personal(self, table: _Table) -> tuple[str, ...]:
        return tuple(sorted(self.masking.columns(table.full_name, (name for name, _ in table.columns))))

    def _copy(self, connection: duckdb.DuckDBPyConnection, tables: Sequence[_Table], path: Path, *, masked: bool) -> dict[str, int]:
        """Copy every table into a new file at `path`; returns the rows of each in the source."""
        path.parent.mkdir(parents=True, exist_ok=True)
        counts: dict[str, int] = {}
        with _attached(connection, path):
            for table in tables:
                personal = set(self._personal(table)) if masked else set()
                columns = ", ".join(
                    f"{self.masking.expression(name, dtype)} AS {quote(name)}" if name in personal else quote(name)
                    for name, dtype in table.columns
                )
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS target.{quote(table.schema)}")
                connection.execute(f"CREATE TABLE target.{table.target} AS SELECT {columns} FROM {table.source}")
                counts[table.full_name] = _count(connection, table.source)
            for statement in self._comments(connection, tables):
                connection.execute(statement)
        return counts

    def _comments(self, connection: duckdb.DuckDBPyConnection, tables: Sequence[_Table]) -> list[str]:
        """The descriptions that dbt persisted, so that BI tools show them."""
        known = {table.full_name: table for table in tables if table.source.startswith("build.")}
        statements = []
        for schema, name, column, comment in connection.execute((_SQL / "comments.sql").read_text()).fetchall():
            if (table := known.get(f"{schema}.{name}")) is not None:
                what = f"COLUMN target.{table.target}.{quote(column)}" if column else f"TABLE target.{table.target}"
                statements.append(f"COMMENT ON {what} IS '{comment.replace(chr(39), chr(39) * 2)}'")
        return statements

    def _write_notes(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        notes: Sequence[tuple[object, ...]],
        publishes: Sequence[tuple[object, ...]],
    ) -> None:
        """What this version holds, when it and those before it were published, and the traces of orders that it is the first to show."""
        with _attached(connection, path):
            connection.execute((_SQL / "create_published.sql").read_text())
            connection.executemany("INSERT INTO target.main.published VALUES (?, ?, ?, ?, ?, ?)", notes)
            connection.execute((_SQL / "create_publishes.sql").read_text())
            connection.executemany("INSERT INTO target.main.publishes VALUES (?, ?, ?)", publishes)
            if any(note[3] == TRACES for note in notes):
                connection.execute((_SQL / "stamp_traces.sql").read_text(), list(publishes[0][:2]))

    def _earlier_publishes(self) -> list[tuple[object, ...]]:
        """What was published before, as the file in place remembers it: the history lives in the file, so it cannot disagree with it."""
        if not self.published_path.exists():
            return []
        with reading(self.published_path, wait_seconds=self.wait_seconds, say=self.say) as published:
            known = published.execute("SELECT 1 FROM duckdb_tables() WHERE schema_name = 'main' AND table_name = 'publishes'").fetchone()
            return published.execute((_SQL / ("earlier_publishes.sql" if known else "first_publish.sql")).read_text()).fetchall()

    # The audit

    def _audit_source(self, tables: Sequence[_Table], required: Sequence[str]) -> None:
        there = {table.full_name for table in tables}
        if not there:
            raise PublishError(f"nothing to publish: {self.build_path.name} holds none of the schemas {', '.join(self.schemas)}")
        if missing := sorted(set(required) - there):
            raise PublishError(f"not published: {self.build_path.name} lacks {', '.join(missing)}; build them first (dbt build)")

    def _audit_copy(self, path: Path, tables: Sequence[_Table], counts: Mapping[str, int], *, masked: bool) -> None:
        """Open the new file as BI would and compare it with what was to be copied."""
        problems: list[str] = []
        with reading(path, wait_seconds=self.wait_seconds, say=self.say) as copy:
            for table in tables:
                try:
                    found = tuple((row[0], row[1]) for row in copy.execute(f"DESCRIBE {table.target}").fetchall())
                except duckdb.CatalogException:
                    problems.append(f"{table.full_name} is missing")
                    continue
                if [name for name, _ in found] != [name for name, _ in table.columns]:
                    problems.append(f"{table.full_name} has other columns than the build")
                if (rows := _count(copy, table.target)) != counts[table.full_name]:
                    problems.append(f"{table.full_name} has {rows:,} rows, the build {counts[table.full_name]:,}")
                if not masked:
                    continue
                types = dict(table.columns)
                for name in self._personal(table):
                    leaks = copy.execute(
                        f"SELECT count(*) FROM {table.target} WHERE {quote(name)} IS NOT NULL AND ({self.masking.leak_condition(name, types[name])})"
                    ).fetchone()
                    if leaks and leaks[0]:
                        problems.append(f"{table.full_name}.{name} holds {leaks[0]:,} unmasked values")
        if problems:
            raise PublishError(f"not published, the copy failed its audit: {'; '.join(problems)}")

    # How it is put in place

    @property
    def _journal(self) -> Path:
        return self.published_path.parent / "publishing.json"

    def _version(self, version: str) -> Path:
        return self.published_path.parent / "versions" / f"{self.published_path.stem}-{version}.duckdb"

    def _restricted_version(self, version: str) -> Path:
        return self.restricted_path.parent / "versions" / f"{self.restricted_path.stem}-{version}.duckdb"

    def _version_of(self, path: Path) -> str:
        return path.stem.rpartition("-")[2]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One publisher at a time, over all processes; the lock dies with its holder."""
        self.published_path.parent.mkdir(parents=True, exist_ok=True)
        deadline, said = time.monotonic() + self.wait_seconds, False
        with (self.published_path.parent / "publish.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise WarehouseBusyError(
                            f"another publish is still running after {self.wait_seconds:.0f} s; try again when it is done"
                        ) from None
                    if not said:
                        self.say("waiting for another publish to end")
                        said = True
                    time.sleep(0.05)
            yield

    def _complete(self, beside: Path, final: Path, *, mode: int) -> None:
        """A finished copy becomes a version: durable, and not to be written again."""
        beside.chmod(mode)
        _fsync(beside)
        os.replace(beside, final)
        _fsync(final.parent)

    def _place(self, version: str) -> None:
        """Put both files of a version in place; after a kill in between `_recover` does the rest."""
        _write_durably(self._journal, json.dumps({"version": version}))
        self._roll_forward(version)
        self._journal.unlink()
        _fsync(self._journal.parent)

    def _recover(self) -> None:
        if self._journal.exists():
            version = json.loads(self._journal.read_text())["version"]
            self.say(f"completing the publish of {version}, which was interrupted")
            self._roll_forward(version)
            self._journal.unlink()

    def _roll_forward(self, version: str) -> None:
        _link_into_place(self._restricted_version(version), self.restricted_path)
        _link_into_place(self._version(version), self.published_path)

    def _sweep_leftovers(self) -> None:
        """Remove what a killed publish left: half-made copies, and versions of which only one file was finished."""
        current = self.current()
        whole = {*self.versions(), *([current] if current else [])}
        for pattern in (self._version("*"), self._restricted_version("*")):
            for path in [*pattern.parent.glob("*.tmp*"), *pattern.parent.glob(pattern.name)]:
                if ".tmp" in path.name or self._version_of(path) not in whole:
                    path.unlink()

    def _prune(self, current: str) -> None:
        for version in self.versions()[: -self.keep]:
            if version != current:
                self._version(version).unlink()
                self._restricted_version(version).unlink()


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """`path` as the database `target`, written through to the file at the end. One transaction: else each comment on a column waits for the disk."""
    connection.execute(f"ATTACH '{_literal(path)}' AS target")
    try:
        connection.execute("BEGIN")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # a failed COMMIT has ended it already
                connection.execute("ROLLBACK")
            raise
        connection.execute("CHECKPOINT target")
    finally:
        connection.execute("DETACH target")


def _link_into_place(version: Path, path: Path) -> None:
    if path.exists() and path.samefile(version):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.next")
    beside.unlink(missing_ok=True)
    try:
        os.link(version, beside)
    except OSError:  # a file system without hard links
        shutil.copy2(version, beside)
        _fsync(beside)
    os.replace(beside, path)
    _fsync(path.parent)


def _write_durably(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.next")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(row[0]) if row else 0


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")
