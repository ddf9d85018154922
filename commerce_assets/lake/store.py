"""The lake's folders: where accepted rows, refused rows, raw files, scores and reports lie, and how they are read.

Belongs here: paths, typed empty files, reading. Does not belong here: how rows come to be accepted (landing.py).
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from commerce_assets import contracts
from commerce_assets.contracts import LAKE_COLUMNS, TableContract
from commerce_assets.lake import journal
from commerce_assets.lake.errors import LakeError
from commerce_assets.lake.report import LoadReport

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "load_id": pl.String(),
    "source": pl.String(),
    "family": pl.String(),
    "table": pl.String(),
    "failed_rules": pl.List(pl.String()),
    "row": pl.String(),
    "row_key": pl.String(),
    "root_id": pl.Int64(),
    "_source_file": pl.String(),
    "_line": pl.Int64(),
    "_loaded_at": pl.Datetime("us", "UTC"),
    "partition_key": pl.String(),
    "scope": pl.String(),
}
"""A refused row: the load it came with, the rules it broke, the row as JSON (or the line's bytes as text), and where it was read.
`partition_key` is the partition it would have stood in, `scope` what its load replaced."""
READERS = "readers"
"""The lock that readers of many files share."""
PARENT_REJECTED = "parent_rejected"
"""The rule that a child broke by nothing but its parent."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Lake:
    """A lake under one root folder. Making one touches nothing; `ensure` makes the folders."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @property
    def files_root(self) -> Path:
        """Raw files as received; `_source_file` is relative to it."""
        return self.root / "files"

    def ensure(self, tables: tuple[TableContract, ...] = contracts.TABLES) -> None:
        """Make every table's folders and typed empty files, so that readers always find something."""
        for table in tables:
            empty = self.partition_folder(table, "empty") / "data.parquet"
            _write_empty(empty, {**table.schema, **LAKE_COLUMNS})
            _write_empty(self.quarantine_folder(table, "empty") / "data.parquet", QUARANTINE_SCHEMA)
        for name in ("files", "loads", "scores", "_staging", "_locks"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def recover(self) -> list[str]:
        """Complete commits that were interrupted and clear what was never committed; the ids of the completed."""
        return journal.recover(self.root)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read many files of the lake as one: folding and compaction, which move rows between files, wait until the end."""
        with journal.shared_lock(journal.lock_path(self.root, READERS)):
            yield

    @contextmanager
    def alone(self, is_waiting: bool) -> Iterator[bool]:
        """Move rows between files while nobody is `reading`; whether it could be had, which it always can by waiting."""
        path = journal.lock_path(self.root, READERS)
        if is_waiting:
            with journal.lock(path):
                yield True
        else:
            with journal.try_lock(path) as is_had:
                yield is_had

    def table_folder(self, table: TableContract) -> Path:
        """Where a table's accepted rows lie."""
        return self.root / "raw" / table.source / table.name

    def partition_folder(self, table: TableContract, partition: str) -> Path:
        """One partition of a table."""
        return self.table_folder(table) / f"partition={partition}"

    def quarantine_folder(self, table: TableContract, load_id: str) -> Path:
        """The refused rows of a table in one load."""
        return self.root / "quarantine" / table.source / table.name / f"partition={load_id}"

    def partitions(self, table: TableContract) -> dict[str, list[Path]]:
        """Partition -> its files, without the empty one. Folders that go while we look (micro-batches are folded) are not there."""
        home = self.table_folder(table)
        found = {}
        for folder in sorted(os.listdir(home)) if home.exists() else ():
            name = folder.removeprefix("partition=")
            if name in (folder, "empty"):
                continue
            try:
                files = sorted(file for file in os.listdir(home / folder) if file.endswith(".parquet"))
            except FileNotFoundError:
                continue
            if files:
                found[name] = [home / folder / file for file in files]
        return found

    def raw_glob(self, table: TableContract | str) -> str:
        """The glob that readers use, with hive partitioning and union by name."""
        return str(self.table_folder(_contract(table)) / "**" / "*.parquet")

    def quarantine_glob(self, table: TableContract | str) -> str:
        """The glob over a table's refused rows."""
        return str(self.quarantine_folder(_contract(table), "x").parent / "**" / "*.parquet")

    def scan(self, table: TableContract | str) -> pl.LazyFrame:
        """A table's accepted rows, lazily: the contract's columns, the lake's, and `partition`."""
        contract = _contract(table)
        schema = pl.Schema({**contract.schema, **LAKE_COLUMNS})
        hive = {"partition": pl.String()}
        return pl.scan_parquet(self.raw_glob(contract), schema=schema, hive_partitioning=True, hive_schema=hive)

    def read(self, table: TableContract | str) -> pl.DataFrame:
        """A table's accepted rows."""
        with self.reading():
            return self.scan(table).collect()

    def new_load_dir(self, source: str, family: str, load_id: str) -> Path:
        """The folder, made anew, for the raw files of a load."""
        for name in (source, family, load_id):
            if not _NAME.fullmatch(name):
                raise LakeError(f"{name!r} cannot name a folder of the lake; use letters, digits, '.', '_' and '-'")
        folder = self.files_root / source / family / load_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def score_file(self, name: str, part: str = "data") -> Path:
        """Where a score's rows lie; one file, or several parts with a writer each."""
        for given in (name, part):
            if not _NAME.fullmatch(given):
                raise LakeError(f"{given!r} cannot name a score; use letters, digits, '.', '_' and '-'")
        return self.root / "scores" / name / f"{part}.parquet"

    def write_scores(self, name: str, frame: pl.DataFrame, part: str = "data") -> Path:
        """Replace a score's file atomically; its place."""
        place = self.score_file(name, part)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(".draft")
        frame.write_parquet(draft)
        draft.replace(place)
        return place

    def read_scores(self, name: str, schema: Mapping[str, pl.DataType], part: str = "data") -> pl.DataFrame:
        """A score's rows; none, typed by `schema`, where there are none yet."""
        place = self.score_file(name, part)
        return pl.read_parquet(place) if place.exists() else pl.DataFrame(schema=dict(schema))

    @contextmanager
    def scoring(self, name: str) -> Iterator[None]:
        """Alone with one score: nobody else judges, keeps or replaces it meanwhile."""
        with journal.lock(journal.lock_path(self.root, f"scores-{name}")):
            yield

    def reports(self) -> list[LoadReport]:
        """The reports of all loads but micro-batches, oldest first."""
        return _reports(self.root / "loads")

    def event_reports(self, family: str) -> list[LoadReport]:
        """The reports of a family's micro-batches, oldest first; folded ones are summed up in one."""
        return _reports(self.root / "loads" / "events" / family)

    def refused(self, table: TableContract | str, load_id: str, key: str = "root_id") -> dict[int, str]:
        """Rows of a table that a load refused for their own sake: the number in `key` (`root_id` or `row_key`) -> the rules they broke."""
        place = self.quarantine_folder(_contract(table), load_id) / "data.parquet"
        if not place.exists():
            return {}
        rows = pl.read_parquet(place, columns=[key, "failed_rules"], hive_partitioning=False)
        numbered = rows.with_columns(pl.col(key).cast(pl.Int64, strict=False)).drop_nulls(key).explode("failed_rules")
        own = numbered.filter(pl.col("failed_rules") != PARENT_REJECTED)
        return dict(own.group_by(key).agg(pl.col("failed_rules").unique().sort().str.join(",")).iter_rows())


def _reports(folder: Path) -> list[LoadReport]:
    found = [LoadReport.from_json(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda report: (report.loaded_at, report.load_id))


def _contract(table: TableContract | str) -> TableContract:
    return contracts.table(table) if isinstance(table, str) else table


def _write_empty(path: Path, schema: dict[str, pl.DataType]) -> None:
    if path.exists() and dict(pl.read_parquet_schema(path)) == schema:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    pl.DataFrame(schema=schema).write_parquet(draft)
    draft.replace(path)
