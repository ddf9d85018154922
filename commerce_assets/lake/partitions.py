"""From settled rows to partitions: what is replaced, what stays, and the files that say so.

Belongs here: the modes' meaning, partition files and quarantine files of a load, written beside the lake and planned as one commit.
Does not belong here: the commit itself (journal.py).
"""

import calendar
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from commerce_assets.contracts import TableContract
from commerce_assets.contracts.mapping import TableMapping
from commerce_assets.lake.duck import columns_sql, path_list, quoted, statement
from commerce_assets.lake.journal import Commit
from commerce_assets.lake.report import EVENTS, AppendPartition, Merge, Mode, ReplaceDays, ReplacePartition
from commerce_assets.lake.settle import Settlement
from commerce_assets.lake.store import Lake

FLUSH_ROWS = 60_000
"""Rows that a thread holds before it writes to its partitions."""


@dataclass(frozen=True)
class Rejoin:
    """Root documents come back to the partition that they belong to: a day of their `updated_at`, or the one named."""

    partition: str | None = None


@dataclass
class Plan:
    """A commit to be, and the partitions it writes or empties."""

    commit: Commit = field(default_factory=Commit)
    partitions: set[str] = field(default_factory=set)


class Partitioner:
    """Plans the partition files of one settled load."""

    def __init__(self, lake: Lake, settlement: Settlement, staging: Path, mode: Mode | Rejoin, loaded_at: datetime) -> None:
        self.lake, self.settlement, self.staging, self.mode, self.loaded_at = lake, settlement, staging, mode, loaded_at
        self.mapping = settlement.mapping
        self.connection = settlement.connection
        self.contracts = {table.table: table.contract for table in self.mapping.tables}
        self.present = {name: self._present(contract) for name, contract in self.contracts.items()}
        self.plan = Plan()
        self.connection.execute(f"set partitioned_write_flush_threshold = {FLUSH_ROWS}")
        self.connection.execute("set partitioned_write_max_open_files = 1000")

    def _present(self, contract: TableContract) -> dict[str, list[Path]]:
        """The partitions that a load of this mode may touch: micro-batches are no pull's business, and a micro-batch knows only itself."""
        if isinstance(self.mode, AppendPartition):
            # What was folded into a partition of this name is of other batches too (folding.py).
            file = self.lake.partition_folder(contract, self.mode.name) / "data.parquet"
            return {self.mode.name: [file]} if file.exists() else {}
        return {name: files for name, files in self.lake.partitions(contract).items() if not name.startswith(EVENTS)}

    def prepare(self) -> None:
        """Find out where each document belongs, and drop those of which the lake holds a newer version."""
        root = self.contracts[self.mapping.root.table]
        query = statement(
            "incoming_roots",
            root_id=root.root_id,
            version=self.mapping.version_column,
            partition=self._partition_of(f'"{self.mapping.version_column}"'),
            table=root.name,
        )
        self.connection.execute("create schema if not exists settled")
        self.connection.execute(query)
        stale = self._stale(root)
        if stale:
            self.connection.execute("create or replace table stale (root_id bigint)")
            self.connection.executemany("insert into stale values (?)", [[root_id] for root_id in stale])
            for table in self.mapping.tables:
                rows = self.settlement.frame(statement("rows_of_roots", table=table.table, root_id=table.contract.root_id))
                self.settlement.drop_duplicates_of(table.table, rows)
            self.connection.execute(query)

    def write(self) -> None:
        """Write every table's new partition files and plan their places."""
        targets = self._targets()
        self.plan.partitions |= targets
        # A batch's documents become visible after all that hangs in them: whoever finds one finds it whole.
        is_batch = isinstance(self.mode, AppendPartition)
        for table in reversed(self.mapping.tables) if is_batch else self.mapping.tables:
            self._write_table(table, targets)

    def _partition_of(self, version: str) -> str:
        """SQL of the partition that a document of a version belongs to."""
        match self.mode:
            case ReplacePartition(name=name) | AppendPartition(name=name):
                return quoted(name)
            case Merge():
                return quoted("all")
            case Rejoin(partition=str() as name):
                return quoted(name)
        months = ", ".join(quoted(month) for month in sorted(self._months())) or "''"
        month, day = f"strftime({version}, '%Y-%m')", f"strftime({version}, '%Y-%m-%d')"
        return f"case when {month} in ({months}) then {month} else {day} end"

    def _months(self) -> set[str]:
        """Months that are one partition: compacted already, or closed and wholly replaced now."""
        months = {name for files in self.present.values() for name in files if is_month(name)}
        if isinstance(self.mode, ReplaceDays):
            months |= {month for month in _months_between(self.mode.start, self.mode.end) if self._covers(month) and self._is_closed(month)}
        return months

    def _is_closed(self, month: str) -> bool:
        return month_days(month)[1] < self.loaded_at.date()

    def _covers(self, month: str) -> bool:
        first, last = month_days(month)
        return isinstance(self.mode, ReplaceDays) and self.mode.start <= first and last <= self.mode.end

    def _is_whole(self, partition: str) -> bool:
        """Whether nothing of what the partition held stays."""
        match self.mode:
            case ReplacePartition(name=name) | AppendPartition(name=name):
                return partition == name
            case ReplaceDays(start=start, end=end):
                if is_month(partition):
                    return self._covers(partition)
                return start.isoformat() <= partition <= end.isoformat()
        return False

    def _is_replaced(self, row: str) -> str:
        """SQL over a row that is there: its day is replaced."""
        if isinstance(self.mode, ReplaceDays):
            start, end = quoted(self.mode.start.isoformat()), quoted(self.mode.end.isoformat())
            return f"cast({row}._version_at as date) between cast({start} as date) and cast({end} as date)"
        return "false"

    def _targets(self) -> set[str]:
        """Partitions whose content changes: those that rows arrive in, and those that are replaced, by nothing too."""
        arriving = self._arriving()
        known = {name for files in self.present.values() for name in files}
        if isinstance(self.mode, ReplaceDays):
            start, end = self.mode.start, self.mode.end
            months = self._months()
            replaced = {name for name in known if not is_month(name) and start.isoformat() <= name <= end.isoformat()}
            replaced |= {name for name in known if is_month(name) and month_days(name)[0] <= end and start <= month_days(name)[1]}
            # Days of a month that becomes one partition go into it, whole or not.
            replaced |= {name for name in known if not is_month(name) and name[:7] in months and name[:7] in arriving}
            return arriving | replaced
        return arriving | ({self.mode.name} & known if isinstance(self.mode, ReplacePartition | AppendPartition) else set())

    def _arriving(self) -> set[str]:
        return {row[0] for row in self.connection.execute("select distinct partition from settled.roots").fetchall()}

    def _stale(self, root: TableContract) -> list[int]:
        stale: list[int] = []
        for partition in sorted(self._arriving() & self.present[root.name].keys()):
            files = self.present[root.name][partition]
            if self._is_whole(partition):
                continue
            query = statement(
                "stale_roots",
                files=path_list(files),
                root_id=root.root_id,
                partition=quoted(partition),
                is_replaced=self._is_replaced("present"),
            )
            stale += [row[0] for row in self.connection.execute(query).fetchall()]
        return stale

    def _write_table(self, table: TableMapping, targets: set[str]) -> None:
        contract = table.contract
        queries = [self._new_rows(table)]
        has_rows = self.settlement.accepted(table.table) > 0
        for partition in sorted(targets):
            files = self.present[table.table].get(partition, [])
            if files and not self._is_whole(partition):
                queries.append(self._kept_rows(contract, partition, files))
                has_rows = True
        folder = self.staging / "raw" / contract.name
        if has_rows:
            folder.mkdir(parents=True)
            rows = " union all by name ".join(f"({query})" for query in queries)
            self.connection.execute(
                f"copy ({rows}) to {quoted(str(folder))} (format parquet, compression snappy, partition_by (partition))"
            )
        for partition in sorted(targets):
            written = sorted((folder / f"partition={partition}").glob("*.parquet"))
            self._place(contract, partition, written)

    def _place(self, contract: TableContract, partition: str, written: Iterable[Path]) -> None:
        """Plan the renames of a partition's new files and the removal of those they do not overwrite."""
        home = self.lake.partition_folder(contract, partition).relative_to(self.lake.root)
        taken = set()
        for number, file in enumerate(written):
            place = home / ("data.parquet" if number == 0 else f"data-{number}.parquet")
            self.plan.commit.renames[str(file.relative_to(self.staging))] = str(place)
            taken.add(place.name)
        for old in self.present[contract.name].get(partition, []):
            if old.name not in taken:
                self.plan.commit.removals.append(str(old.relative_to(self.lake.root)))

    def _new_rows(self, table: TableMapping) -> str:
        contract = table.contract
        columns = ", ".join(
            f'{table.completed[name]} as "{name}"' if name in table.completed else f'row."{name}"' for name in contract.schema
        )
        root = self.contracts[self.mapping.root.table]
        join = f'inner join staged."{root.name}" as root on root."{root.root_id}" = row."{contract.root_id}"' if table.completed else ""
        return statement(
            "new_rows",
            columns=columns,
            table=table.table,
            root_id=contract.root_id,
            loaded_at=f"{quoted(self.loaded_at.isoformat())}::timestamptz",
            join_root=join,
        )

    def _kept_rows(self, contract: TableContract, partition: str, files: list[Path]) -> str:
        return statement(
            "kept_rows",
            columns=columns_sql(list(contract.schema), "row."),
            files=path_list(files),
            partition=quoted(partition),
            is_replaced=self._is_replaced("row"),
            root_id=contract.root_id,
        )


def is_month(partition: str) -> bool:
    """Whether a partition is a compacted month, `YYYY-MM`."""
    return len(partition) == 7 and partition[4] == "-"


def month_days(month: str) -> tuple[date, date]:
    """The first and last day of a `YYYY-MM`."""
    year, number = int(month[:4]), int(month[5:])
    return date(year, number, 1), date(year, number, calendar.monthrange(year, number)[1])


def _months_between(start: date, end: date) -> list[str]:
    months, day = [], start.replace(day=1)
    while day <= end:
        months.append(f"{day:%Y-%m}")
        day = (day + timedelta(days=32)).replace(day=1)
    return months
