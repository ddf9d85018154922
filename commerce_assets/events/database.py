"""The databases of this room: SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL.

Belongs here: engines, transactions, making tables. Does not belong here: what the tables mean (inbox.py, books.py, stock/).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

BUSY_SECONDS = 60
INSTANT = sa.DateTime(timezone=True)


def open_engine(url: str) -> sa.Engine:
    """An engine for an inbox or the worker's books; makes the folder of a SQLite file. Transactions on SQLite begin IMMEDIATE."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    if parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    # Parameters hold people's data and are hidden in errors. The inbox has a statement for each number of rows it writes at once.
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False, "cached_statements": 256}
    engine = sa.create_engine(parsed, connect_args=arguments, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def make_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Tables and indexes that are not there yet; several processes may do so at once."""
    for attempt in (1, 2, 3):
        try:
            metadata.create_all(engine)
        except sa.exc.DBAPIError:
            # Another process made them between our look and our statement.
            if attempt == 3:
                raise
        else:
            return


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that only reads, of one state, without taking SQLite's write lock."""
    with engine.connect() as connection:
        yield connection.execution_options(is_reading=True)


def is_sqlite(engine: sa.Engine) -> bool:
    """Whether the engine is on SQLite."""
    return engine.dialect.name == "sqlite"


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("is_reading") else "BEGIN IMMEDIATE")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # The driver's own implicit transactions would begin DEFERRED and deadlock on upgrade; ours begin IMMEDIATE (open_engine).
    connection.isolation_level = None
    cursor = connection.cursor()
    # A checkpoint every 16 MB instead of 4: its syncs cost the inbox a tenth of its events a second.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "cache_size=-32000",
        "wal_autocheckpoint=4000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
