"""Folding: the many small partitions that micro-batches leave become one, and readers see the same rows.

Belongs here: that, and what a batch does that is landed again after it was folded. Does not belong here: pulls, whose partitions are
only looked at to tell what they made obsolete.
"""

import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from commerce_assets import contracts
from commerce_assets.contracts import TableContract
from commerce_assets.lake.duck import columns_sql, connect, path_list, quoted, statement
from commerce_assets.lake.journal import Commit, commit, lock, lock_path
from commerce_assets.lake.report import EVENTS, LoadReport, TableReport
from commerce_assets.lake.store import Lake

if TYPE_CHECKING:
    from commerce_assets.lake.partitions import Partitioner

FOLDED = "folded.parquet"
"""A folded partition's file. A batch writes `data.parquet`, so that one landed again cannot overwrite what others left."""
SEALED_BYTES = 64 * 2**20
"""Larger folded partitions are left as they are, or every fold would write all of them again; `is_thorough` takes them too."""
SNAPSHOTS = frozenset({"inventory"})
"""Families counted day by day: of each day the last count stays."""


@dataclass(frozen=True)
class Folded:
    """What a fold did: the partitions that became one, and its name (None: nothing was left of them)."""

    partitions: tuple[str, ...]
    into: str | None
    rows: int


def fold_events(lake: Lake, family: str, is_thorough: bool = False, is_waiting: bool = False) -> Folded | None:
    """Put a family's micro-batches into one partition named after the newest: of each document the version that holds, with its children.

    `is_thorough` takes those folded before, however large, and leaves out what a later pull brought in the same or a newer version; it
    looks through the pulled documents for that. None when there is nothing to fold, or while somebody reads the lake (`Lake.reading`):
    then it is for the next time, unless `is_waiting`. Batches of the family wait for it; pulls only for a thorough one.
    """
    tables = contracts.family(family)
    source = tables[0].source
    load_id = f"fold-{family}"
    staging = lake.root / "_staging" / load_id
    lake.recover()
    pulls = lock(lock_path(lake.root, f"family-{source}-{family}")) if is_thorough else nullcontext()
    # Batches are held up last, when there is nobody left to wait for.
    with lock(lock_path(lake.root, f"load-{load_id}")), pulls, lake.alone(is_waiting) as is_alone:
        if not is_alone:
            return None
        with lock(lock_path(lake.root, f"events-{source}-{family}")):
            shutil.rmtree(staging, ignore_errors=True)
            try:
                return _fold(lake, tables, staging, is_thorough)
            finally:
                shutil.rmtree(staging / "work", ignore_errors=True)


def _fold(lake: Lake, tables: tuple[TableContract, ...], staging: Path, is_thorough: bool) -> Folded | None:
    root = tables[0]
    held = {table.name: _batches(lake, table) for table in tables}
    names = sorted(name for name, files in held[root.name].items() if is_thorough or not _is_sealed(files))
    is_folded = len(names) == 1 and [file.name for file in held[root.name][names[0]]] == [FOLDED]
    if not names or (is_folded and not is_thorough):
        return None
    into, planned, rows = names[-1], Commit(), 0
    (staging / "work").mkdir(parents=True)
    connection = connect(staging / "work")
    _choose(connection, root, [file for name in names for file in held[root.name][name]])
    if is_thorough:
        _leave_out_superseded(connection, lake, root)
    # As when a batch lands: a document is there when all that hangs in it is.
    for table in reversed(tables):
        files = [file for name in names for file in held[table.name].get(name, ())]
        rows += _write(connection, lake, table, files, into, staging, planned)
    connection.close()
    _sum_reports(lake, root.family, held[root.name].keys() - names, into, staging, planned)
    shutil.rmtree(staging / "work")
    commit(lake.root, staging, planned)
    return Folded(tuple(names), into if rows else None, rows)


def _batches(lake: Lake, table: TableContract) -> dict[str, list[Path]]:
    return {name: files for name, files in lake.partitions(table).items() if name.startswith(EVENTS)}


def _is_sealed(files: list[Path]) -> bool:
    return [file.name for file in files] == [FOLDED] and files[0].stat().st_size > SEALED_BYTES


def _choose(connection: duckdb.DuckDBPyConnection, root: TableContract, files: list[Path]) -> None:
    """Make `kept`: key, version and load of each document that holds among the batches."""
    key = columns_sql(list(root.key))
    name = "fold_kept_by_day" if root.family in SNAPSHOTS else "fold_kept"
    connection.execute(statement(name, key=key, files=path_list(files)))


def _leave_out_superseded(connection: duckdb.DuckDBPyConnection, lake: Lake, root: TableContract) -> None:
    pulled = [file for name, files in lake.partitions(root).items() if not name.startswith(EVENTS) for file in files]
    if pulled:
        same = " and ".join(f'pulled."{name}" = kept."{name}"' for name in root.key)
        day = "pulled.partition = strftime(kept._loaded_at, '%Y-%m-%d')" if root.family in SNAPSHOTS else "true"
        connection.execute(statement("fold_superseded", files=path_list(pulled), same=same, day=day))


def _write(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: TableContract, files: list[Path], into: str, staging: Path, planned: Commit
) -> int:
    """Write the kept rows of a table beside the lake and plan their place; how many they are."""
    if not files:
        return 0
    link = table.key if table.is_root else (table.root_id,)
    same = " and ".join(f'kept."{name}" = row."{name}"' for name in link)
    staged = staging / table.name / FOLDED
    staged.parent.mkdir()
    query = statement("fold_rows", files=path_list(files), same=same, place=quoted(str(staged)))
    rows = int(connection.execute(query).fetchall()[0][0])
    place = lake.partition_folder(table, into) / FOLDED
    if rows:
        planned.renames[str(staged.relative_to(staging))] = str(place.relative_to(lake.root))
    planned.removals += [str(file.relative_to(lake.root)) for file in files if file != place or not rows]
    return rows


def _sum_reports(lake: Lake, family: str, left: set[str], into: str, staging: Path, planned: Commit) -> None:
    """One report in the place of the batches' own, also of those that had no row: what was read and refused stays on record."""
    home = lake.root / "loads" / "events" / family
    found = [path for path in sorted(home.glob("*.json")) if path.stem <= into and path.stem not in left]
    if not found:
        return
    reports = [LoadReport.from_json(path.read_text(encoding="utf-8")) for path in found]
    newest = max(reports, key=lambda report: report.loaded_at)
    total = LoadReport(
        load_id=into,
        source=newest.source,
        family=family,
        mode="folded",
        tables={name: _sum([report.tables[name] for report in reports if name in report.tables]) for name in newest.tables},
        broken_lines=sum(report.broken_lines for report in reports),
        lines=sum(report.lines for report in reports),
        bytes=sum(report.bytes for report in reports),
        seconds=round(sum(report.seconds for report in reports), 3),
        partitions=[into],
        loaded_at=newest.loaded_at,
    )
    (staging / "report.json").write_text(total.to_json(), encoding="utf-8")
    place = home / f"{into}.json"
    planned.renames["report.json"] = str(place.relative_to(lake.root))
    planned.removals += [str(path.relative_to(lake.root)) for path in found if path != place]


def _sum(reports: list[TableReport]) -> TableReport:
    by_rule: Counter[str] = Counter()
    for report in reports:
        by_rule.update(report.rejected_by_rule)
    return TableReport(
        read=sum(report.read for report in reports),
        accepted=sum(report.accepted for report in reports),
        quarantined=sum(report.quarantined for report in reports),
        duplicates=sum(report.duplicates for report in reports),
        rejected_by_rule=dict(by_rule),
    )


def forget_folded(partitioner: "Partitioner", name: str, source_files: list[str]) -> None:
    """A batch is landed that may have been folded before: plan the folded partition without the rows of its raw files' folder.

    Folds name their partition after the newest batch in it, so only an equal or later name can hold this one.
    """
    lake, root = partitioner.lake, partitioner.mapping.root.contract
    homes = sorted({file.rsplit("/", 1)[0] for file in source_files})
    for partition in (found for found in _batches(lake, root) if found >= name):
        place = lake.partition_folder(root, partition) / FOLDED
        if not place.exists():
            continue
        of_batch = f"regexp_extract(_source_file, '^(.*)/', 1) in ({', '.join(map(quoted, homes))})" if homes else "false"
        query = f"select count(*) from read_parquet({quoted(str(place))}, hive_partitioning = false) where {of_batch}"
        if partitioner.settlement.count(query):
            for contract in partitioner.contracts.values():
                _write_without(partitioner, contract, partition, of_batch)


def _write_without(partitioner: "Partitioner", contract: TableContract, partition: str, of_batch: str) -> None:
    place = partitioner.lake.partition_folder(contract, partition) / FOLDED
    if not place.exists():
        return
    staged = partitioner.staging / "folded" / f"{contract.name}.parquet"
    staged.parent.mkdir(exist_ok=True)
    query = statement("fold_without", file=quoted(str(place)), of_batch=of_batch, place=quoted(str(staged)))
    rows = int(partitioner.connection.execute(query).fetchall()[0][0])
    home, plan = str(place.relative_to(partitioner.lake.root)), partitioner.plan.commit
    if rows:
        plan.renames[str(staged.relative_to(partitioner.staging))] = home
    else:
        plan.removals.append(home)
