"""Landing: raw files become accepted and quarantined rows, all or nothing.

Belongs here: the order of the steps and the checks that stop a load. The steps themselves: lines, intake, settle, partitions,
quarantine, journal.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from commerce_assets.contracts.mapping import FamilyMapping
from commerce_assets.lake import quarantine, warm
from commerce_assets.lake.duck import connect
from commerce_assets.lake.errors import LoadError
from commerce_assets.lake.folding import forget_folded
from commerce_assets.lake.intake import Intake, Taken, is_drain
from commerce_assets.lake.journal import JOURNAL, commit, forget_lock, lock, lock_path
from commerce_assets.lake.lines import CHUNK_BYTES, Chunk, read_chunks
from commerce_assets.lake.partitions import Partitioner, Rejoin
from commerce_assets.lake.report import AppendPartition, Declared, LoadReport, Merge, Mode, ReplaceDays, ReplacePartition, TableReport
from commerce_assets.lake.settle import Settlement
from commerce_assets.lake.store import Lake

WORKERS = 2
TOLERATED_ROWS = 5
"""Fewer refused rows never fail a load, whatever their share: one bad row among three is one row for the quarantine."""

Keep = Callable[[Path, pa.Table], pa.Table]


def land(
    lake: Lake,
    family: str,
    mapping: FamilyMapping,
    files: Sequence[Path],
    load_id: str,
    mode: Mode,
    declared: Declared | None = None,
    loaded_at: datetime | None = None,
    max_reject_rate: float = 0.05,
    as_of: datetime | None = None,
) -> LoadReport:
    """Land the raw files of a load and report what became of every row.

    `files` lie under the lake's `files/`. `loaded_at` is by default now, of a micro-batch when it was begun. `as_of` is the moment the
    source was read (a sweep's `swept_at`), by default `loaded_at`. Raises `LoadError` when the source's own count does not agree with
    the lines, or too many rows are refused: then nothing changes.
    """
    if family != mapping.family:
        raise LoadError(f"load {load_id}: the mapping is of family {mapping.family}, not {family}")
    if isinstance(mode, AppendPartition):
        if load_id != mode.name:
            raise LoadError(f"load {load_id}: a micro-batch goes by the name of its partition, {mode.name}")
        loaded_at, max_reject_rate = loaded_at or mode.begun_at, 1.0
    return _land(lake, mapping, files, load_id, mode, declared or Declared(), loaded_at or datetime.now(UTC), max_reject_rate, as_of)


def reland(
    lake: Lake, mapping: FamilyMapping, files: Sequence[Path], load_id: str, partition: str | None, keep: Keep, retried: quarantine.Retried
) -> LoadReport:
    """Land some lines of files that were landed before: the documents go back to where they belong."""
    return _land(lake, mapping, files, load_id, Rejoin(partition), Declared(), datetime.now(UTC), 1.0, None, keep, retried)


def _land(
    lake: Lake,
    mapping: FamilyMapping,
    files: Sequence[Path],
    load_id: str,
    mode: Mode | Rejoin,
    declared: Declared,
    loaded_at: datetime,
    max_reject_rate: float,
    as_of: datetime | None,
    keep: Keep | None = None,
    retried: quarantine.Retried | None = None,
) -> LoadReport:
    started = time.monotonic()
    ordered = sorted(files, key=lambda file: (is_drain(file), file))
    names = [_source_file(lake, file) for file in ordered]
    is_small = isinstance(mode, AppendPartition) and not any(map(is_drain, files)) and _size(files) <= CHUNK_BYTES
    lake.recover()
    with lock(lock_path(lake.root, f"load-{load_id}")):
        staging = lake.root / "_staging" / load_id
        shutil.rmtree(staging, ignore_errors=True)
        work = staging / "work"
        work.mkdir(parents=True)
        try:
            taken = (_take_in_small if is_small else _take_in)(mapping, ordered, work, as_of or loaded_at, keep)
            _reconcile(load_id, taken, declared)
            loads = [(name, name.split("/")[2] if retried else load_id) for name in names]
            with warm.settling() if is_small else closing(connect(work / "spill")) as connection:
                settlement = Settlement(mapping, work, loads, connection)
                settlement.settle()
                with lock(_writers_lock(lake, mapping, mode)):
                    partitioner = Partitioner(lake, settlement, staging, mode, loaded_at)
                    partitioner.prepare()
                    tables = _tables(settlement, taken, load_id)
                    _check_rate(settlement, taken, load_id, max_reject_rate)
                    partitioner.write()
                    if isinstance(mode, AppendPartition):
                        forget_folded(partitioner, mode.name, names)
                    quarantine.plan(partitioner, load_id, retried)
                    report = LoadReport(
                        load_id=load_id,
                        source=mapping.source,
                        family=mapping.family,
                        mode=describe(mode),
                        tables=tables,
                        broken_lines=taken.broken_lines,
                        lines=taken.lines,
                        bytes=taken.bytes,
                        seconds=round(time.monotonic() - started, 3),
                        partitions=sorted(partitioner.plan.partitions),
                        loaded_at=loaded_at,
                    )
                    (staging / "report.json").write_text(report.to_json(), encoding="utf-8")
                    partitioner.plan.commit.renames["report.json"] = _report_place(mapping.family, load_id, mode)
                    if not is_small:
                        connection.close()  # its memory and its spill, before the files are synced
                    shutil.rmtree(work)
                    commit(lake.root, staging, partitioner.plan.commit)
        finally:
            if not (staging / JOURNAL).exists():
                shutil.rmtree(staging, ignore_errors=True)
                forget_lock(lock_path(lake.root, f"load-{load_id}"))
    return report


def _writers_lock(lake: Lake, mapping: FamilyMapping, mode: Mode | Rejoin) -> Path:
    """What loads wait for each other on: pulls of a family on pulls, its micro-batches on those that fold them; neither on the other."""
    kind = "events" if isinstance(mode, AppendPartition) else "family"
    return lock_path(lake.root, f"{kind}-{mapping.source}-{mapping.family}")


def _report_place(family: str, load_id: str, mode: Mode | Rejoin) -> str:
    """Micro-batches are many: their reports stand apart from those of the pulls, until folding sums them up."""
    return f"loads/events/{family}/{load_id}.json" if isinstance(mode, AppendPartition) else f"loads/{load_id}.json"


def describe(mode: Mode | Rejoin) -> str:
    """What a load replaces, in a word."""
    match mode:
        case ReplaceDays(start=start, end=end):
            return f"{start}/{end}"
        case ReplacePartition(name=name) | AppendPartition(name=name):
            return name
        case Merge():
            return "all"
        case Rejoin(partition=partition):
            return partition or "rejoin"
    raise TypeError(f"no mode: {mode!r}")


def _source_file(lake: Lake, file: Path) -> str:
    try:
        return file.resolve().relative_to(lake.files_root.resolve()).as_posix()
    except ValueError:
        raise LoadError(f"{file.name} does not lie under the lake's files/; make its folder with Lake.new_load_dir") from None


def _take_in(mapping: FamilyMapping, files: Sequence[Path], work: Path, as_of: datetime, keep: Keep | None) -> Taken:
    """Take in every chunk, bulk files first: what was drained asks them who its owners are."""
    total = Taken()
    index = {file: number for number, file in enumerate(files)}
    numbers = iter(range(1_000_000))
    for phase in (False, True):
        mine = [file for file in files if is_drain(file) is phase]
        if not mine:
            continue
        workers = WORKERS if _size(mine) > CHUNK_BYTES else 1
        intakes = [Intake(mapping, work, as_of, any(map(is_drain, files)), spill=work / "spill") for _ in range(workers)]
        chunks = _numbered(read_chunks(mine, keep=keep), numbers)
        guard = threading.Lock()
        for intake in intakes if phase else ():
            intake.know_owners(sorted(work.glob("_owners_*/*.parquet")))

        def work_through(intake: Intake, chunks: Iterator[tuple[int, Chunk]] = chunks, guard: threading.Lock = guard) -> Taken:
            sum_of_mine = Taken()
            while True:
                with guard:
                    number, chunk = next(chunks, (0, None))
                if chunk is None:
                    return sum_of_mine
                sum_of_mine += intake.take(chunk, number, index[chunk.file])

        try:
            if workers == 1:
                total += work_through(intakes[0])
            else:
                with ThreadPoolExecutor(workers) as pool:
                    for taken in pool.map(work_through, intakes):
                        total += taken
        finally:
            for intake in intakes:
                intake.close()
    return total


def _take_in_small(mapping: FamilyMapping, files: Sequence[Path], work: Path, as_of: datetime, keep: Keep | None) -> Taken:
    """Take in what is a chunk or a few, in a database that is kept for the next batch."""
    total = Taken()
    with warm.intake(mapping, work, as_of) as intake:
        for number, chunk in enumerate(read_chunks(files, keep=keep)):
            total += intake.take(chunk, number, files.index(chunk.file))
    return total


def _size(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _numbered(chunks: Iterator[Chunk], numbers: Iterator[int]) -> Iterator[tuple[int, Chunk]]:
    for chunk in chunks:
        yield next(numbers), chunk


def _reconcile(load_id: str, taken: Taken, declared: Declared) -> None:
    """The source's own counts against the lines read."""
    if declared.objects is not None and taken.bulk_lines != declared.objects:
        raise LoadError(
            f"load {load_id}: the source declared {declared.objects:,} objects but its file has {taken.bulk_lines:,} lines; "
            "nothing was replaced; fetch it again"
        )
    # A broken line may have been a root or a child.
    if declared.roots is not None and not taken.bulk_roots <= declared.roots <= taken.bulk_roots + taken.bulk_broken:
        raise LoadError(
            f"load {load_id}: the source declared {declared.roots:,} root objects but its file has {taken.bulk_roots:,} "
            f"(and {taken.bulk_broken:,} broken lines); nothing was replaced; fetch it again"
        )


def _tables(settlement: Settlement, taken: Taken, load_id: str) -> dict[str, TableReport]:
    counts = "select table_name, count(*) from quarantined group by all"
    quarantined = dict(settlement.connection.execute(counts).fetchall())
    by_rule: dict[str, Counter[str]] = {}
    rules = "select table_name, rule, count(*) from (select table_name, unnest(failed_rules) as rule from quarantined) group by all order by all"
    for table, rule, count in settlement.connection.execute(rules).fetchall():
        by_rule.setdefault(table, Counter())[rule] = count
    reports = {}
    for table in settlement.mapping.tables:
        name = table.table
        report = TableReport(
            read=taken.read[name] + settlement.derived[name],
            accepted=settlement.accepted(name),
            quarantined=quarantined.get(name, 0),
            duplicates=settlement.duplicates[name],
            rejected_by_rule=dict(by_rule.get(name, {})),
        )
        report.check(load_id, name)
        reports[name] = report
    return reports


def _check_rate(settlement: Settlement, taken: Taken, load_id: str, max_reject_rate: float) -> None:
    """Too many rows refused for a fault of their own (not their parent's): the load fails."""
    own = settlement.count("select count(*) from quarantined where failed_rules <> ['parent_rejected']")
    read = sum(taken.read.values())
    if own >= TOLERATED_ROWS and own > max_reject_rate * read:
        rules = settlement.connection.execute(
            "select table_name || ' ' || rule as name, count(*) as n "
            "from (select table_name, unnest(failed_rules) as rule from quarantined) group by all order by n desc, name limit 5"
        ).fetchall()
        worst = ", ".join(f"{rule}: {count:,}" for rule, count in rules)
        raise LoadError(
            f"load {load_id}: {own:,} of {read:,} rows were refused ({own / read:.1%}, allowed {max_reject_rate:.1%}); what was there "
            f"is kept; most frequent: {worst}"
        )
