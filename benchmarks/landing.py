"""Landing of a bulk file, contract and Parquet included, beside the bare DuckDB two-scan CTAS, polars and dlt of the same files.

Each contender runs in a process of its own with two threads, several rounds in turn; the best round counts, and its peak RSS. Then
landing alone with five times the orders: its memory must not grow with the data.
"""

import argparse
import importlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

BOUND_RATIO, BOUND_GROWTH, BOUND_RSS_MB = 2.0, 1.3, 1024
DLT_SHARE = 10
"""dlt takes minutes for the whole: it gets a tenth of the orders, and its time is multiplied. Its set-up is counted with it."""


@dataclass(frozen=True)
class Run:
    """One contender's round."""

    seconds: float
    cpu_seconds: float
    rss_mb: int


def duckdb_columns() -> tuple[str, str]:
    """Explicit columns of the two scans: the fields of the bulk query, by DuckDB type."""
    from commerce_assets.sources.shopify.mapping import ORDERS

    parents, children = ORDERS.root_shape.structure, {}
    for shape in ORDERS.shapes[1:]:
        children.update({key: value for key, value in shape.structure.items() if key not in children})
    return columns_sql({**parents, "__parentId": "VARCHAR"}), columns_sql(children)


def columns_sql(structure: Any) -> str:
    return "{" + ", ".join(f"'{key}': '{duckdb_type(inner)}'" for key, inner in structure.items()) + "}"


def duckdb_type(structure: Any) -> str:
    if isinstance(structure, list):
        return duckdb_type(structure[0]) + "[]"
    if isinstance(structure, str):
        return "STRUCT(id VARCHAR)" if structure == "JSON" else structure
    return "STRUCT(" + ", ".join(f'"{key}" {duckdb_type(inner)}' for key, inner in structure.items()) + ")"


def bare_duckdb(files: list[Path], work: Path, database: str | None = None) -> None:
    import duckdb

    parents, children = duckdb_columns()
    connection = duckdb.connect(database or str(work / "bare.duckdb"))
    connection.execute("set threads = 2")
    names = [str(file) for file in files]
    for table, columns, which in (("parents", parents, "is null"), ("children", children, "is not null")):
        scan = f"read_json($1, format = 'newline_delimited', columns = {columns})"
        connection.execute(f"create table {table} as select * from {scan} where __parentId {which}", [names])
    connection.close()


def bare_duckdb_in_memory(files: list[Path], work: Path) -> None:
    bare_duckdb(files, work, ":memory:")


def landing(files: list[Path], work: Path) -> None:
    from commerce_assets.lake import Declared, Lake, ReplaceDays, land
    from commerce_assets.sources.shopify.mapping import ORDERS

    lake = Lake(work / "lake")
    lake.ensure()
    folder = lake.new_load_dir("storefront", "orders", "bench")
    placed = []
    for file in files:
        placed.append(folder / file.name)
        os.link(file, placed[-1])
    orders = int((files[0].parent / "orders.txt").read_text())
    report = land(
        lake, "orders", ORDERS, placed, "bench", ReplaceDays(date(2025, 1, 1), date(2026, 1, 31)), Declared(roots=orders), max_reject_rate=0
    )
    if report.tables["orders"].accepted != orders or report.quarantined:
        raise SystemExit(f"landing accepted {report.tables['orders'].accepted:,} of {orders:,} orders")


def polars_ndjson(files: list[Path], _work: Path) -> None:
    """Read only: what it would still have to do to the frames (Parquet refuses its empty structs) is left out, to its favour."""
    import polars as pl

    for file in files:
        pl.read_ndjson(file, infer_schema_length=None)


def dlt_default(files: list[Path], work: Path) -> None:
    def lines() -> Iterator[dict[str, Any]]:
        for file in files:
            with file.open("rb") as handle:
                yield from (json.loads(line) for line in handle)

    _dlt(lines(), work)


def dlt_arrow(files: list[Path], work: Path) -> None:
    import pyarrow.json as pj

    options = pj.ReadOptions(block_size=32 * 2**20)
    # Parquet, and so dlt, refuses a struct without fields, which this column of a shop without companies is.
    tables = (pj.read_json(file, read_options=options) for file in files)
    _dlt((table.drop_columns([name for name in table.column_names if name == "purchasingEntity"]) for table in tables), work)


def _dlt(rows: Iterator[Any], work: Path) -> None:
    import dlt

    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=str(work / "dlt"))
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.duckdb(str(work / "dlt.duckdb")), pipelines_dir=str(work / "pipelines"))
    pipeline.run(dlt.resource(rows, name="orders"), loader_file_format="parquet")


IMPORTS = {
    "landing": ("commerce_assets.lake", "commerce_assets.sources.shopify.mapping"),
    "duckdb": ("duckdb", "commerce_assets.sources.shopify.mapping"),
    "duckdb-memory": ("duckdb", "commerce_assets.sources.shopify.mapping"),
    "polars": ("polars",),
    "dlt": ("dlt", "dlt.destinations", "duckdb"),
    "dlt-arrow": ("dlt", "dlt.destinations", "duckdb", "pyarrow.json"),
}
"""Imported before the clock starts: what is compared is the work, not the start of Python."""
CONTENDERS: dict[str, Callable[[list[Path], Path], None]] = {
    "landing": landing,
    "duckdb": bare_duckdb,
    "duckdb-memory": bare_duckdb_in_memory,
    "polars": polars_ndjson,
    "dlt": dlt_default,
    "dlt-arrow": dlt_arrow,
}
LABELS = {
    "landing": "landing (contracts, Parquet)",
    "duckdb": "DuckDB two-scan CTAS, file",
    "duckdb-memory": "DuckDB two-scan CTAS, in memory",
    "polars": "polars read_ndjson, frames only",
    "dlt": "dlt, default",
    "dlt-arrow": "dlt, Arrow",
}


def contend(name: str, folder: Path) -> None:
    """Run one contender here and print what it took."""
    files = sorted(folder.glob("part-*.jsonl"))
    work = Path(tempfile.mkdtemp(dir=folder))
    for module in IMPORTS[name]:
        importlib.import_module(module)
    try:
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        CONTENDERS[name](files, work)
        seconds = time.perf_counter() - started
    finally:
        shutil.rmtree(work, ignore_errors=True)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime,
                "rss_mb": usage.ru_maxrss // 1024,
            }
        )
    )


def measure(name: str, folder: Path, python: str) -> Run | str:
    """One contender in a process of its own; or why it could not run."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
    root = Path(__file__).resolve().parent.parent
    environment["PYTHONPATH"] = str(root)
    done = subprocess.run(
        [python, "-m", "benchmarks.landing", "--contend", name, str(folder)], capture_output=True, text=True, env=environment, cwd=root
    )
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["failed"])[-1][:110]
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def generated(orders: int, folder: Path) -> tuple[int, int]:
    """The bulk file, in parts; its lines and bytes."""
    from benchmarks.generate_bulk_file import generate

    files, lines = generate(orders, folder)
    (folder / "orders.txt").write_text(str(orders))
    return lines, sum(file.stat().st_size for file in files)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--orders", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--growth", type=int, default=5, help="factor of the second landing; 0 leaves it out")
    arguments.add_argument("--dlt-python", default=sys.executable, help="a Python that has dlt, when this one has not")
    arguments.add_argument("--contend", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.contend:
        contend(options.contend[0], Path(options.contend[1]))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        return compare(options, Path(scratch))


def compare(options: argparse.Namespace, scratch: Path) -> int:
    folder = scratch / "whole"
    lines, size = generated(options.orders, folder)
    print(f"{options.orders:,} orders, {lines:,} lines, {size / 1e6:,.0f} MB, best of {options.rounds} rounds, 2 threads")
    runs: dict[str, list[Run]] = {}
    reasons: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in ("duckdb", "landing", "duckdb-memory", "polars"):
            outcome = measure(name, folder, sys.executable)
            if isinstance(outcome, Run):
                runs.setdefault(name, []).append(outcome)
            else:
                reasons[name] = outcome
    best = {name: min(found, key=lambda run: run.seconds) for name, found in runs.items()}
    has_dlt = options.dlt_python != sys.executable or importlib.util.find_spec("dlt") is not None
    part = scratch / "part"
    if has_dlt:
        generated(options.orders // DLT_SHARE, part)
    for name in ("dlt", "dlt-arrow"):
        outcome = measure(name, part, options.dlt_python) if has_dlt else "not installed (extra `bench`)"
        if isinstance(outcome, Run):
            best[name] = Run(outcome.seconds * DLT_SHARE, outcome.cpu_seconds * DLT_SHARE, outcome.rss_mb)
        else:
            reasons[name] = outcome
    for name, label in LABELS.items():
        if name in best:
            ratio = best["landing"].seconds / best[name].seconds
            note = f" (from a {DLT_SHARE}th of the orders)" if name.startswith("dlt") else ""
            print(
                f"  {label:34} {best[name].seconds:8.2f} s  CPU {best[name].cpu_seconds:7.2f} s  peak RSS {best[name].rss_mb:6,} MB  landing takes {ratio:5.2f} x of it{note}"
            )
        else:
            print(f"  {label:34} did not run: {reasons[name]}")
    missed = []
    if best["landing"].seconds > BOUND_RATIO * best["duckdb"].seconds:
        missed.append(f"landing takes more than {BOUND_RATIO} x of the bare CTAS")
    missed += [
        f"{LABELS[name]} is faster"
        for name in ("polars", "dlt", "dlt-arrow")
        if name in best and best[name].seconds < best["landing"].seconds
    ]
    missed += growth(options, scratch, best["landing"].rss_mb) if options.growth else []
    print("  bounds kept" if not missed else "  MISSED: " + "; ".join(missed))
    return 1 if missed else 0


def growth(options: argparse.Namespace, scratch: Path, rss_mb: int) -> list[str]:
    """Landing of more orders: which bounds of memory it missed."""
    folder = scratch / "grown"
    lines, size = generated(options.orders * options.growth, folder)
    outcome = measure("landing", folder, sys.executable)
    if isinstance(outcome, str):
        return [f"landing of {options.orders * options.growth:,} orders failed: {outcome}"]
    print(
        f"  {options.orders * options.growth:,} orders, {lines:,} lines, {size / 1e6:,.0f} MB: {outcome.seconds:.1f} s, "
        f"peak RSS {outcome.rss_mb:,} MB, {outcome.rss_mb / rss_mb:.2f} x of {rss_mb:,} MB"
    )
    missed = [f"memory grew by more than {BOUND_GROWTH} x"] if outcome.rss_mb > BOUND_GROWTH * rss_mb else []
    return missed + ([f"more than {BOUND_RSS_MB:,} MB"] if outcome.rss_mb > BOUND_RSS_MB else [])


if __name__ == "__main__":
    raise SystemExit(main())
