"""Compaction: the day partitions of closed months become month partitions, and readers see the same rows.

Belongs here: that. Does not belong here: what a later load of one of those days does (partitions.py: it rewrites the month's file).
"""

import shutil
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from commerce_assets import contracts
from commerce_assets.contracts import TableContract
from commerce_assets.lake.duck import connect, path_list, quoted, statement
from commerce_assets.lake.journal import Commit, commit, lock, lock_path
from commerce_assets.lake.partitions import is_month, month_days
from commerce_assets.lake.store import Lake


def compact(lake: Lake, table: str, before: date | None = None) -> list[str]:
    """Put the days of months that ended before `before` (by default today) into one file a month, for all tables of `table`'s family.

    The months compacted; none where the partition's name says what the rows do not (inventory snapshots). A family's tables go
    together, in one commit, so that an order and its lines stay in partitions of one name.
    """
    family = contracts.table(table).family
    tables = contracts.family(family)
    limit = before or datetime.now(UTC).date()
    lake.recover()
    load_id = f"compact-{family}"
    staging = lake.root / "_staging" / load_id
    with lock(lock_path(lake.root, f"load-{load_id}")), lock(lock_path(lake.root, f"family-{tables[0].source}-{family}")):
        shutil.rmtree(staging, ignore_errors=True)
        work = staging / "work"
        work.mkdir(parents=True)
        planned, months = Commit(), set()
        connection = connect(work)
        root = tables[0]
        days = [(day, files) for day, files in lake.partitions(root).items() if len(day) == 10]
        # A snapshot's day is not in its rows but in its partition's name: that must stay.
        is_told_by_rows = all(_is_told(connection, day, files) for day, files in days)
        for contract in tables:
            for month, names in _closed_days(lake, contract, limit).items() if is_told_by_rows else ():
                months.add(month)
                files = [file for name in names for file in lake.partitions(contract)[name]]
                staged = staging / contract.name / f"{month}.parquet"
                staged.parent.mkdir(exist_ok=True)
                connection.execute(statement("compacted", files=path_list(files), place=quoted(str(staged))))
                place = lake.partition_folder(contract, month) / "data.parquet"
                planned.renames[str(staged.relative_to(staging))] = str(place.relative_to(lake.root))
                planned.removals += [str(file.relative_to(lake.root)) for file in files if file != place]
        connection.close()
        if planned.renames:
            with lake.alone(is_waiting=True):
                commit(lake.root, staging, planned)
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(months)


def _is_told(connection: duckdb.DuckDBPyConnection, day: str, files: list[Path]) -> bool:
    """Whether every row of a day's partition belongs to that day by its own version."""
    query = "select count(*) from read_parquet(?, hive_partitioning = false) where strftime(_version_at, '%Y-%m-%d') <> ?"
    return connection.execute(query, [[str(file) for file in files], day]).fetchall() == [(0,)]


def _closed_days(lake: Lake, contract: TableContract, limit: date) -> dict[str, list[str]]:
    """Month -> its partitions, where there are days to compact."""
    found: dict[str, list[str]] = defaultdict(list)
    for partition in lake.partitions(contract):
        if len(partition) in (7, 10) and partition[:4].isdigit() and month_days(partition[:7])[1] < limit:
            found[partition[:7]].append(partition)
    return {month: names for month, names in found.items() if any(not is_month(name) for name in names)}
