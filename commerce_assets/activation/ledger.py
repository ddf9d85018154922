"""The ledger: what was meant to be written, what became of it, and what each destination holds now.

On SQLite (WAL, synchronous=FULL) or PostgreSQL; its tables stand in `tables`.

Reading a million (key, fingerprint) pairs row by row would take most of a second's budget of a plan; on SQLite they are read in
pages of one text value each (sql/state_page_sqlite.sql; measured in benchmarks/ledger_diff.py).
"""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from commerce_assets.activation.errors import SyncBusyError
from commerce_assets.activation.fingerprint import GONE, SEPARATOR, fingerprint
from commerce_assets.activation.records import Change, Fields, RowResult, Sync
from commerce_assets.activation.tables import CHANGES, RUNS, STATE, VALUES, create_tables

__all__ = ["CHANGES", "RUNS", "STATE", "UNDO_DAYS", "Ledger", "OpenIntent", "ledger_frames"]

PAGE_ROWS = 200_000
KEYS_A_QUERY = 500
UNDO_DAYS = 30
"""Days for which the values that an undo needs are kept, unless the ledger is told otherwise."""


@dataclass(frozen=True)
class OpenIntent:
    """A change whose outcome nobody knows."""

    run_id: str
    record_key: str
    operation: str
    new_fingerprint: str | None
    prior: Fields | None
    """What was held before, as far as it was known; None where an older version wrote the intent."""
    intended: Fields | None


class Ledger:
    """The ledger of one operational store. A context manager; safe for one thread, other processes may read.

    Values that an undo needs are kept for `undo_days`.
    """

    def __init__(self, url: str, *, undo_days: int = UNDO_DAYS) -> None:
        self._url = sa.make_url(url)
        self.undo_days = undo_days
        if self._is_file:
            Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(self._url)
        if self._url.get_backend_name() == "sqlite":
            sa.event.listen(self.engine, "connect", _set_sqlite_pragmas)
        self._create_tables()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    def _create_tables(self) -> None:
        """What is not there yet, also after a first start that was killed or ran beside another."""
        for attempt in (1, 2):
            try:
                create_tables(self.engine)
            except sa.exc.DBAPIError:
                # Another process made them between our look and our statement.
                if attempt == 2:
                    raise
            else:
                return

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def _is_file(self) -> bool:
        return self._is_sqlite and self._url.database not in (None, "", ":memory:")

    @contextmanager
    def exclusive(self, sync: Sync) -> Iterator[None]:
        """Hold the sync against every other process; let go by itself when this one dies."""
        busy = SyncBusyError(f"{sync.destination}/{sync.name} is being pushed by another process; run again when it is done")
        if self._is_file:
            lock_path = Path(f"{self._url.database}.{sync.destination}-{sync.name}.lock")
            with lock_path.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise busy from None
                yield
        elif self._is_sqlite:
            yield
        else:
            with self.engine.connect() as connection:
                name = sa.func.hashtext(f"commerce:{sync.destination}/{sync.name}")
                if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(name))):
                    raise busy
                try:
                    yield
                finally:
                    connection.scalar(sa.select(sa.func.pg_advisory_unlock(name)))

    def fingerprints(self, sync: Sync) -> pl.DataFrame:
        """`record_key`, `fingerprint` of every record of the sync, in bulk."""
        with self.engine.connect() as connection:
            pages = _sqlite_pages(connection, sync) if self._is_sqlite else _row_pages(connection, sync)
            return pl.concat([pl.DataFrame(schema={"record_key": pl.String, "fingerprint": pl.String}), *pages])

    def fields(self, sync: Sync, keys: Sequence[str]) -> dict[str, Fields]:
        """What is held under these keys, as far as known."""
        held: dict[str, Fields] = {}
        with self.engine.connect() as connection:
            for some in _in_batches(keys):
                query = sa.select(STATE.c.record_key, STATE.c.fields).where(
                    STATE.c.destination == sync.destination, STATE.c.sync == sync.name, STATE.c.record_key.in_(some)
                )
                held.update({row.record_key: json.loads(row.fields) for row in connection.execute(query)})
        return held

    def start_run(self, sync: Sync, run_id: str, requested_by: str | None, *, kind: str = "push", of_run: str | None = None) -> None:
        """Open a run; values of runs too old to be undone are cleared."""
        row = {"run_id": run_id, "requested_by": requested_by, "destination": sync.destination, "sync": sync.name}
        row |= {"kind": kind, "of_run": of_run}
        too_old = sa.and_(
            CHANGES.c.destination == sync.destination,
            CHANGES.c.sync == sync.name,
            CHANGES.c.intended_at < _now() - timedelta(days=self.undo_days),
            CHANGES.c.prior_fields.is_not(None),
        )
        with self.engine.begin() as connection:
            connection.execute(RUNS.insert(), {**row, "status": "running", "started_at": _now()})
            connection.execute(CHANGES.update().where(too_old).values(dict.fromkeys(VALUES)))
            # Only one push of a sync runs at a time, and this one holds it: whatever else says `running` was killed.
            connection.execute(
                RUNS.update().where(
                    RUNS.c.destination == sync.destination, RUNS.c.sync == sync.name, RUNS.c.status == "running", RUNS.c.run_id != run_id
                ),
                {"status": "interrupted", "finished_at": _now(), "error": "the process ended before the push did"},
            )

    def finish_run(self, run_id: str, status: str, counts: Mapping[str, int], error: str | None = None, **measures: Any) -> None:
        values = {**{f"{name}_count": count for name, count in counts.items()}, **measures}
        with self.engine.begin() as connection:
            connection.execute(
                RUNS.update().where(RUNS.c.run_id == run_id), {**values, "status": status, "finished_at": _now(), "error": error}
            )

    def intend(self, sync: Sync, run_id: str, changes: Sequence[Change]) -> None:
        """Write down what is about to be written outside; durable when this returns."""
        earlier = self._failures_by_key([change.idempotency_key for change in changes])
        rows = [
            {
                "run_id": run_id,
                "record_key": change.record_key,
                "destination": sync.destination,
                "sync": sync.name,
                "operation": change.operation,
                "changed_fields": ",".join(change.changed_fields),
                "old_fingerprint": change.old_fingerprint,
                "new_fingerprint": change.new_fingerprint,
                "idempotency_key": change.idempotency_key,
                "attempt": 1 + earlier.get(change.idempotency_key, 0),
                "intended_at": _now(),
                "prior_fields": _as_text(sync, change.held or {}),
                "written_fields": _as_text(sync, change.fields),
            }
            for change in changes
        ]
        if rows:
            with self.engine.begin() as connection:
                connection.execute(CHANGES.insert(), rows)

    def _failures_by_key(self, keys: Sequence[str]) -> dict[str, int]:
        failures: dict[str, int] = {}
        with self.engine.connect() as connection:
            for some in _in_batches(keys):
                query = (
                    sa.select(CHANGES.c.idempotency_key, sa.func.count().label("failures"))
                    .where(CHANGES.c.idempotency_key.in_(some), CHANGES.c.outcome == "failed")
                    .group_by(CHANGES.c.idempotency_key)
                )
                failures.update({row.idempotency_key: row.failures for row in connection.execute(query)})
        return failures

    def settle(self, sync: Sync, run_id: str, results: Sequence[tuple[str, RowResult]]) -> None:
        """Write outcomes, and what is held now, in one transaction. Each result comes with the run that intended it."""
        now = _now()
        outcomes = [
            {
                "of_run": intended_by,
                "of_key": result.record_key,
                "became": result.outcome,
                "because": result.reason,
                "at": now,
                "before": None if result.prior is None else _as_text(sync, result.prior),
                "after": None if result.held is None else _as_text(sync, result.held),
            }
            for intended_by, result in results
            if result.outcome != "unknown"
        ]
        with self.engine.begin() as connection:
            if outcomes:
                connection.execute(_OUTCOME, outcomes)
            self._learn(connection, sync, run_id, [(r.record_key, r.held) for _, r in results if r.held is not None and not r.is_gone])
            self._learn(connection, sync, run_id, [(result.record_key, None) for _, result in results if result.is_gone])

    def learn(self, sync: Sync, run_id: str, held: Sequence[tuple[str, Fields | None]]) -> None:
        """Believe what was read back: fields by key, None for a record that is gone."""
        with self.engine.begin() as connection:
            self._learn(connection, sync, run_id, held)

    def _learn(self, connection: sa.Connection, sync: Sync, run_id: str, records: Sequence[tuple[str, Fields | None]]) -> None:
        now = _now()
        held, dropped = [], []
        for record_key, fields in records:
            key = {"destination": sync.destination, "sync": sync.name, "record_key": record_key}
            if fields is None:
                held.append({**key, "fingerprint": GONE, "fields": "{}", "run_id": run_id, "updated_at": now})
            elif any(fields.get(name) is not None for name in sync.mapped):
                text = json.dumps(dict(fields), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
                row = {"fingerprint": fingerprint(fields, sync.mapped), "fields": text, "run_id": run_id, "updated_at": now}
                held.append({**key, **row})
            else:
                dropped.append({f"of_{name}": value for name, value in key.items()})
        if held:
            connection.execute(self._upsert_state(), held)
        if dropped:
            columns = (STATE.c.destination, STATE.c.sync, STATE.c.record_key)
            connection.execute(STATE.delete().where(*(column == sa.bindparam(f"of_{column.name}") for column in columns)), dropped)

    def _upsert_state(self) -> sa.sql.dml.Insert:
        written = ("fingerprint", "fields", "run_id", "updated_at")
        insert = sqlite.insert(STATE) if self._is_sqlite else postgresql.insert(STATE)
        return insert.on_conflict_do_update(
            index_elements=["destination", "sync", "record_key"], set_={name: insert.excluded[name] for name in written}
        )

    def open_intents(self, sync: Sync) -> list[OpenIntent]:
        """Changes whose outcome is not known, oldest first."""
        query = (
            sa.select(
                *(CHANGES.c[name] for name in ("run_id", "record_key", "operation", "new_fingerprint")),
                *(CHANGES.c[name] for name in VALUES),
            )
            .where(CHANGES.c.destination == sync.destination, CHANGES.c.sync == sync.name, CHANGES.c.outcome.is_(None))
            .order_by(CHANGES.c.intended_at, CHANGES.c.run_id, CHANGES.c.record_key)
        )
        with self.engine.connect() as connection:
            return [
                OpenIntent(*row[:4], *(None if text is None else json.loads(text) for text in row[4:])) for row in connection.execute(query)
            ]

    def succeeded_keys(self, run_id: str) -> set[str]:
        """Keys that a run wrote, as far as is known."""
        query = sa.select(CHANGES.c.record_key).where(CHANGES.c.run_id == run_id, CHANGES.c.outcome == "succeeded")
        with self.engine.connect() as connection:
            return set(connection.scalars(query))

    def count_open_intents(self, sync: Sync) -> int:
        query = sa.select(sa.func.count()).where(
            CHANGES.c.destination == sync.destination, CHANGES.c.sync == sync.name, CHANGES.c.outcome.is_(None)
        )
        with self.engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def frames(self) -> dict[str, pl.DataFrame]:
        """The tables an analyst may see, typed also when empty: runs, and changes without any value that was written."""
        with self.engine.connect() as connection:
            return {
                table.name: _frame(connection, table, order)
                for table, order in ((RUNS, [RUNS.c.run_id]), (CHANGES, [*CHANGES.primary_key]))
            }


def ledger_frames(url: str) -> dict[str, pl.DataFrame]:
    """`activation_runs` and `activation_changes` of the ledger at `url`, for publishing."""
    with Ledger(url) as ledger:
        return ledger.frames()


@cache
def _sql(name: str) -> str:
    return (files("commerce_assets.activation") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _sqlite_pages(connection: sa.Connection, sync: Sync) -> Iterator[pl.DataFrame]:
    # The driver's own cursor: SQLAlchemy would only look at one large text value a page.
    cursor = connection.connection.cursor()
    after: str = ""
    while True:
        cursor.execute(
            _sql("state_page_sqlite"), {"destination": sync.destination, "sync": sync.name, "after": after, "page_rows": PAGE_ROWS}
        )
        page, after = cursor.fetchone() or (None, "")
        if page is None:
            return
        yield pl.read_csv(
            page.encode(),
            has_header=False,
            separator=SEPARATOR,
            quote_char=None,
            schema={"record_key": pl.String, "fingerprint": pl.String},
        )


def _row_pages(connection: sa.Connection, sync: Sync) -> Iterator[pl.DataFrame]:
    query = sa.select(STATE.c.record_key, STATE.c.fingerprint).where(STATE.c.destination == sync.destination, STATE.c.sync == sync.name)
    result = connection.execution_options(stream_results=True).execute(query)
    for rows in result.partitions(PAGE_ROWS):
        keys, fingerprints = zip(*rows, strict=True)
        yield pl.DataFrame({"record_key": keys, "fingerprint": fingerprints}, schema={"record_key": pl.String, "fingerprint": pl.String})


_OUTCOME = (
    CHANGES.update()
    .where(CHANGES.c.run_id == sa.bindparam("of_run"), CHANGES.c.record_key == sa.bindparam("of_key"))
    .values(
        outcome=sa.bindparam("became"),
        reason=sa.bindparam("because"),
        resolved_at=sa.bindparam("at"),
        prior_fields=sa.func.coalesce(sa.bindparam("before", type_=sa.Text), CHANGES.c.prior_fields),
        # Where a result does not say what is held, all is as before.
        written_fields=sa.func.coalesce(sa.bindparam("after", type_=sa.Text), CHANGES.c.prior_fields),
    )
)


def _as_text(sync: Sync, fields: Fields) -> str:
    """The sync's fields as JSON, always all and in the same order: equal texts are equal values."""
    return json.dumps({name: fields.get(name) for name in sync.fields}, ensure_ascii=False, separators=(",", ":"))


def _frame(connection: sa.Connection, table: sa.Table, order: Iterable[Any]) -> pl.DataFrame:
    types: dict[type, pl.DataType] = {sa.DateTime: pl.Datetime("us", "UTC"), sa.BigInteger: pl.Int64(), sa.Integer: pl.Int64()}
    columns = [column for column in table.columns if column.name not in VALUES]
    schema = {column.name: next((types[t] for t in types if isinstance(column.type, t)), pl.String()) for column in columns}
    rows = [tuple(row) for row in connection.execute(sa.select(*columns).order_by(*order))]
    if connection.dialect.name != "sqlite":
        return pl.DataFrame(rows, schema=schema, orient="row")
    # SQLite keeps no zone; every moment in the ledger is UTC.
    as_read = {name: pl.Datetime("us") if isinstance(dtype, pl.Datetime) else dtype for name, dtype in schema.items()}
    moments = [name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]
    return pl.DataFrame(rows, schema=as_read, orient="row").with_columns(pl.col(moments).dt.replace_time_zone("UTC"))


def _in_batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS_A_QUERY):
        yield keys[start : start + KEYS_A_QUERY]


def _now() -> datetime:
    return datetime.now(UTC)


def _set_sqlite_pragmas(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"pragma {pragma}")
