"""What micro-batches find ready: working databases with everything set up, one set a thread, which would cost each batch more than its rows.

Belongs here: keeping them and giving them clean. Does not belong here: loads of pulls, whose databases come and go with them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from commerce_assets.contracts.mapping import FamilyMapping
from commerce_assets.lake.duck import connect, sql_text
from commerce_assets.lake.intake import WORKER_MEMORY, Intake


class _Kept(threading.local):
    def __init__(self) -> None:
        self.intakes: dict[int, Intake] = {}
        self.settling: duckdb.DuckDBPyConnection | None = None


_kept = _Kept()


@contextmanager
def intake(mapping: FamilyMapping, folder: Path, as_of: datetime) -> Iterator[Intake]:
    """The thread's intake of a mapping, for one batch; after an error the next batch gets a new one."""
    found = _kept.intakes.pop(id(mapping), None)
    if found is None:
        found = Intake(mapping, folder, as_of, spill=None)
    else:
        found.begin(folder, as_of)
    try:
        yield found
    except BaseException:
        found.close()
        raise
    found.rest()
    _kept.intakes[id(mapping)] = found


@contextmanager
def settling() -> Iterator[duckdb.DuckDBPyConnection]:
    """The thread's database for the second half of a load, empty."""
    connection, _kept.settling = _kept.settling or connect(None, memory=WORKER_MEMORY, threads=1), None
    try:
        yield connection
        connection.execute(sql_text("settle_clean"))
    except BaseException:
        connection.close()
        raise
    _kept.settling = connection
