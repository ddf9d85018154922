"""An audience file in a folder of its own: the outside of `FileDestination`."""

import csv
import gzip
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import polars as pl

from commerce_assets.activation.destinations.files import FileDestination
from commerce_assets.activation.destinations.files_state import KEY, line_of
from commerce_assets.activation.records import Sync
from commerce_assets.activation.targets import DeclaredField, FileTarget
from rigs.base import Trait

SYNC = Sync("file", "audience", mapped=("segment", "value"), carried=("as_of",))
FIELDS = (
    DeclaredField(name="segment"),
    DeclaredField(name="value", type="number"),
    DeclaredField(name="as_of", type="date", carried=True),
)


class FileRig:
    """Nobody but its sync writes a file, it takes everything, and an answer of a local disk is not lost: it reads and makes records, no more.

    What the file holds shows when a run has finished; `held` finishes first, as the run's end does. Somebody else who writes is one who
    puts an older copy of the state back.
    """

    name = "file"
    sync = SYNC
    traits: frozenset[Trait] = frozenset({"reads", "makes_records"})
    longest_value = 0
    rows_a_call = 50_000

    def __init__(self, root: Path, **options: Any) -> None:
        self.folder, self.state_dir = root / "exports", root / "state"
        self.target = FileTarget(folder=str(self.folder), **{"escape_formulas": False, **options})
        self._counted: dict[str, dict[str, str]] = {}
        self._writes = 0

    def destination(self) -> FileDestination:
        return FileDestination(self.target, FIELDS, self.sync, root=self.folder.parent, state_dir=self.state_dir)

    def keys(self, count: int) -> list[str]:
        return [f"gid://shopify/Customer/{1_000 + number}" for number in range(count)]

    def held(self) -> dict[str, dict[str, str]]:
        self.destination().finish()
        manifest = json.loads((self.folder / "audience.manifest.json").read_text())
        rows = [row for part in manifest["parts"] for row in rows_of(self.folder / part["file"])]
        held = {row["record_key"]: {name: value for name, value in row.items() if value and name != "record_key"} for row in rows}
        return {key: fields for key, fields in held.items() if fields}

    def change(self, key: str, field: str, value: str | None) -> None:
        with closing(sqlite3.connect(self._state)) as connection, connection:
            row = connection.execute("select line from records where record_key = ?", (key,)).fetchone()
            fields = {**(json.loads(row[0]) if row else {KEY: key}), field: value}
            fields.pop(KEY)
            connection.execute("replace into records values (?, ?)", (key, line_of(key, fields)))
        self._counted = self._lines()

    def delete(self, key: str) -> None:
        with closing(sqlite3.connect(self._state)) as connection, connection:
            connection.execute("delete from records where record_key = ?", (key,))
        self._counted = self._lines()

    def refuse(self, keys: set[str]) -> None:
        raise NotImplementedError("a file refuses no record (trait refuses)")

    def throttle(self, calls: int) -> None:
        raise NotImplementedError("a disk never says later (trait throttles)")

    def cut(self, when: Literal["before", "after"], calls: int = 1) -> None:
        raise NotImplementedError("a disk's answers are not lost (trait cuts)")

    @property
    def writes(self) -> int:
        """Values that differ from when it was last looked at, added up; somebody else's do not count."""
        now = self._lines()
        for key in {*now, *self._counted}:
            new, old = now.get(key, {}), self._counted.get(key, {})
            self._writes += sum(new.get(name) != old.get(name) for name in {*new, *old})
        self._counted = now
        return self._writes

    def close(self) -> None:
        """It holds nothing open."""

    @property
    def _state(self) -> Path:
        return self.state_dir / "audience.sqlite"

    def _lines(self) -> dict[str, dict[str, str]]:
        if not self._state.exists():
            return {}
        with closing(sqlite3.connect(self._state)) as connection:
            lines = {key: json.loads(line) for key, line in connection.execute("select record_key, line from records")}
        return {key: {name: value for name, value in line.items() if name != KEY} for key, line in lines.items()}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """An export's rows as the standard library (or, for Parquet, polars) reads them."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in content.decode().split("\n") if line]
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
