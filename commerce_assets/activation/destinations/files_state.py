"""What an audience file holds, record by record, on this machine's disk: a file can only be written whole, records come in chunks.

Belongs here: keeping records durably, and giving them back by key or in pages in the order of their keys. Does not belong here: how they
look in the file (files_render.py).

SQLite, because a chunk is there as a whole or not at all whatever kills the process, and because `secure_delete` overwrites what is
deleted or replaced: of an erased person no byte is left in it.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path

import orjson

from commerce_assets.activation.errors import DestinationUnavailableError
from commerce_assets.activation.records import Fields

KEY = "_key"
"""In a line beside the fields, none of which can be called so."""
PAGE_ROWS = 20_000
BUSY_SECONDS = 30.0
_KEYS_A_READ = 10_000
_VERSION = 1
_CACHE_KIB = 65_536
_READ = "select line from records where record_key in (select value from json_each($keys))"
_REMOVE = "delete from records where record_key = ?"


class FileState:
    """The records of one file. Making one touches nothing; the database is made with the first write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def identity(self) -> str:
        """An id that this database, and no other, has: by it a manifest says from which one its file was made."""
        with self._connection() as connection:
            row = connection.execute("select value from about where name = 'identity'").fetchone()
        return str(row[0])

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        """Each key with the fields held there that are not null; None where there is no record."""
        if not self.exists:
            yield from ((key, None) for key in keys)
            return
        for start in range(0, len(keys), _KEYS_A_READ):
            some = list(keys[start : start + _KEYS_A_READ])
            with self._connection() as connection:
                rows = connection.execute(_READ, {"keys": orjson.dumps(some).decode()}).fetchall()
            held: dict[str, Fields] = {}
            for (line,) in rows:
                record = orjson.loads(line)
                held[record.pop(KEY)] = record
            yield from ((key, held.get(key)) for key in some)

    def change(self, written: Mapping[str, Fields], removed: Iterable[str]) -> None:
        """Put records there and take others away, all or none; durable when this returns."""
        lines = [{"key": key, "line": line_of(key, fields)} for key, fields in sorted(written.items())]
        with self._connection() as connection:
            connection.execute("begin immediate")
            connection.executemany(_sql("file_state_put"), lines)
            connection.executemany(_REMOVE, [(key,) for key in removed])
            connection.execute("commit")

    def pages(self) -> Iterator[str]:
        """All records as JSON lines, a page of at most `PAGE_ROWS` at a time, in the order of the keys' UTF-8."""
        after = ""
        while True:
            with self._connection() as connection:
                page, last_key = connection.execute(_sql("file_state_page"), {"after": after, "page_rows": PAGE_ROWS}).fetchone()
            if page is None:
                return
            yield page
            after = last_key

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self._make()
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
                # Truncate leaves nothing of old pages in a journal beside; full waits for the disk.
                for setting in ("secure_delete = on", "journal_mode = truncate", "synchronous = full", f"cache_size = -{_CACHE_KIB}"):
                    connection.execute(f"pragma {setting}")
                if connection.execute("pragma user_version").fetchone()[0] != _VERSION:
                    connection.executescript(f"begin immediate; {_sql('file_state_tables')} pragma user_version = {_VERSION}; commit")
                yield connection
        except (sqlite3.Error, OSError) as error:
            # SQLite's messages name tables and files, no values.
            raise DestinationUnavailableError(f"the state of the file in {self.path.name} cannot be used ({error}); run again") from error

    def _make(self) -> None:
        if not self.exists:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # People's values: for the owner's eyes only.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))


def line_of(key: str, fields: Fields) -> str:
    """A record as one line of JSON. Raises `TypeError` where text is no valid Unicode."""
    return orjson.dumps({KEY: key, **{name: value for name, value in fields.items() if value is not None}}).decode()


@cache
def _sql(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
