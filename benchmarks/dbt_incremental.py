"""Incremental build after 1 % of the orders changed, against the full build of the same lake: at most 25 % of its time.

The lake is generated from the contracts (closed months compacted, as the lake keeps them). Each build is a `dbt build`
process of its own: start-up, models and data tests; the project is parsed before. Both builds end identical, which
tests/integration/test_dbt_build.py proves; here only time is taken.

    python -m benchmarks.dbt_incremental [--orders 1000000] [--share 0.01] [--repeat 1]
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = REPOSITORY / "dbt_project"
BOUND = 0.25


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--only-models", action="store_true", help="leave the data tests out of both builds")
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from integration.lake_fixture import LOADED_AT, make_store, touch_orders, write_lake

    with tempfile.TemporaryDirectory(prefix="dbt-incremental-") as folder:
        root = Path(folder)
        store = make_store(arguments.orders)
        write_lake(root / "lake", store, compacted=True)
        dbt(root, "parse")
        command = "run" if arguments.only_models else "build"
        full, _ = dbt(root, command)
        idle, _ = dbt(root, command)
        changed = touch_orders(root / "lake", store, arguments.share, date(2026, 12, 3), LOADED_AT + timedelta(hours=1))
        lines = len(store["order_lines"])
        del store
        incremental, output = dbt(root, command)

    ratio = incremental / full
    nodes = re.search(r"Finished running (.*) in ", output)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{arguments.orders:,} orders, {lines:,} lines; {len(changed):,} orders changed; {nodes.group(1) if nodes else ''}")
    print(f"{'build':<34}{'seconds':>9}{'of full':>9}")
    for name, seconds in (("full", full), ("nothing changed", idle), (f"incremental, {arguments.share:.0%} of orders", incremental)):
        print(f"{name:<34}{seconds:>9.1f}{seconds / full:>9.0%}")
    print(f"bound {BOUND:.0%}: {'kept' if ratio <= BOUND else 'MISSED'}; peak RSS of dbt {peak:,.0f} MB")
    return 0 if ratio <= BOUND else 1


def dbt(root: Path, *arguments: str) -> tuple[float, str]:
    """Seconds that dbt took, and what it printed."""
    environment = {
        **os.environ,
        "COMMERCE_LAKE_ROOT": str(root / "lake"),
        "COMMERCE_BUILD_PATH": str(root / "build.duckdb"),
        "DBT_TARGET_PATH": str(root / "target"),
        "DBT_LOG_PATH": str(root / "logs"),
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
    }
    options = ["--exclude-resource-type", "unit_test"] if arguments[0] == "build" else []
    started = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), *arguments, *options], capture_output=True, text=True, env=environment, cwd=root
    )
    if done.returncode != 0:
        raise SystemExit(f"dbt {' '.join(arguments)} failed:\n{done.stdout[-5000:]}{done.stderr[-2000:]}")
    return time.monotonic() - started, done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
