"""Opening a DuckDB file: read-only or for writing, waiting with a clear message while another process holds it, closed whatever happens.

DuckDB lets ONE process write a file and refuses every other opener meanwhile; a reader refuses writers in the same way. So the
build file is opened as briefly as possible, always through here, and BI reads the published copy instead.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

WAIT_SECONDS = 120.0
"""How long an opener waits for another process by default: longer than any single model of the demo takes to build."""

_log = logging.getLogger(__name__)
_HOLDER = re.compile(r"Conflicting lock is held in (?P<who>.*?)\s*\(PID (?P<pid>\d+)\)")


class WarehouseError(Exception):
    """Something about the warehouse files is not as it must be; the message says what to do."""


class WarehouseBusyError(WarehouseError):
    """Another process held the file until the time limit."""


class WarehouseMissingError(WarehouseError):
    """The file to read does not exist."""


@contextmanager
def reading(
    path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Callable[[str], None] = _log.info
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open `path` read-only; many may read at once, none while a process writes it."""
    if not path.exists():
        raise WarehouseMissingError(
            f"{path.name} does not exist at {path}: build the warehouse first (make demo, or materialise warehouse/*)"
        )
    with _closing(path, read_only=True, wait_seconds=wait_seconds, say=say) as connection:
        yield connection


@contextmanager
def writing(
    path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Callable[[str], None] = _log.info
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open `path` for writing, creating it and its folder; one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _closing(path, read_only=False, wait_seconds=wait_seconds, say=say) as connection:
        yield connection


def waiting_for_lock(attempt: Callable[[], object], name: str, *, wait_seconds: float, say: Callable[[str], None]) -> None:
    """Call `attempt` until it no longer meets another process's lock on `name`; says once who is waited for."""
    deadline = time.monotonic() + wait_seconds
    pause_seconds, said = 0.02, False
    while True:
        try:
            attempt()
            return
        except (duckdb.IOException, duckdb.ConnectionException, duckdb.BinderException) as error:
            if not _is_lock(error):
                raise
            holder = _holder(error)
            if time.monotonic() >= deadline:
                raise WarehouseBusyError(
                    f"{name} is still held by {holder} after {wait_seconds:.0f} s: let it finish or stop it, then try again "
                    "(BI tools read the published commerce.duckdb, never the build file)"
                ) from None
        if not said:
            say(f"waiting for {name}: held by {holder} (up to {wait_seconds:.0f} s)")
            said = True
        time.sleep(min(pause_seconds, max(deadline - time.monotonic(), 0)))
        pause_seconds = min(pause_seconds * 2, 0.5)


@contextmanager
def _closing(path: Path, *, read_only: bool, wait_seconds: float, say: Callable[[str], None]) -> Iterator[duckdb.DuckDBPyConnection]:
    opened: list[duckdb.DuckDBPyConnection] = []
    waiting_for_lock(lambda: opened.append(duckdb.connect(str(path), read_only=read_only)), path.name, wait_seconds=wait_seconds, say=say)
    connection = opened[0]
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _is_lock(error: duckdb.Error) -> bool:
    message = str(error)
    return "Could not set lock" in message or "different configuration" in message or "already attached by database" in message


def _holder(error: duckdb.Error) -> str:
    found = _HOLDER.search(str(error))
    return f"process {found['pid']} ({Path(found['who']).name})" if found else "another connection of this process"
