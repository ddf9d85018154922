"""Incremental build after 1 % of the orders changed, against the full build of the same lake: at most 25 % of its time.

The lake is generated from the contracts (closed months compacted, as the lake keeps them). Each build is a `dbt build`
process of its own, start-up included; the project is parsed before. The full build makes every table; the incremental one
selects what stands downstream of the order family, as Dagster's automation does when `storefront/orders` changed. Both end
identical, which tests/integration/test_dbt_build.py proves; here only time is taken: wall clock, and the processor's, which
other work on the machine disturbs less. One per cent is changed twice, each time other orders, and the better of the two
incremental builds stands against the bound, by the clock. dbt's own start and rendering are about half of an incremental
build at the default size and do not grow with it. Data tests read whole tables in either build and are left out unless asked for.

    python -m benchmarks.dbt_incremental [--orders 1000000] [--share 0.01] [--with-tests]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from commerce_assets.contracts import family

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = REPOSITORY / "dbt_project"
BOUND = 0.25


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--with-tests", action="store_true", help="run the data tests in both builds too")
    parser.add_argument("--make-lake", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--touch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_lake:
        return make_lake(arguments.make_lake, arguments.orders, arguments.share, arguments.touch)

    with tempfile.TemporaryDirectory(prefix="dbt-incremental-") as folder:
        root = Path(folder)
        make = [sys.executable, "-m", "benchmarks.dbt_incremental", "--make-lake", str(root / "lake"), "--orders", str(arguments.orders)]
        subprocess.run(make, check=True, cwd=REPOSITORY)
        dbt(root, "parse")
        command = "build" if arguments.with_tests else "run"
        downstream = ["--select", *(f"source:storefront.{contract.name}+" for contract in family("orders"))]
        full = dbt(root, command)
        idle = dbt(root, command, *downstream)
        runs = []
        for turn in (1, 2):
            subprocess.run([*make, "--touch", str(turn), "--share", str(arguments.share)], check=True, cwd=REPOSITORY)
            runs.append(dbt(root, command, *downstream))

    incremental = min(runs, key=lambda took: took.wall)
    ratio = incremental.wall / full.wall
    changed = f"incremental, {arguments.share:.0%} of orders"
    print(f"{arguments.orders:,} orders, {'models and data tests' if arguments.with_tests else 'models'}")
    print(f"{'build':<30}{'seconds':>9}{'of full':>9}{'CPU':>9}{'of full':>9}{'peak RSS':>11}")
    for name, took in (("full", full), ("nothing changed", idle), *((changed, took) for took in runs)):
        print(
            f"{name:<30}{took.wall:>9.1f}{took.wall / full.wall:>9.0%}{took.cpu:>9.1f}{took.cpu / full.cpu:>9.0%}{took.peak_mb:>8,.0f} MB"
        )
    print(
        f"at {arguments.orders:,} orders the better incremental build took {ratio:.0%} of the full one's wall time,"
        f" {incremental.cpu / full.cpu:.0%} of its CPU; bound {BOUND:.0%} of wall: {'kept' if ratio <= BOUND else 'MISSED'}"
    )
    return 0 if ratio <= BOUND else 1


def make_lake(lake: Path, orders: int, share: float, turn: int | None) -> int:
    """In a process of its own, so that this one stays small: the lake, or newer versions of a share of its orders."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from integration.lake_fixture import LOADED_AT, make_store, touch_orders, write_lake

    store = make_store(orders)
    if turn is not None:
        touch_orders(lake, store, share, date(2026, 12, 2) + timedelta(days=turn), LOADED_AT + timedelta(hours=turn), seed=turn)
    else:
        write_lake(lake, store, compacted=True)
    return 0


class Took(NamedTuple):
    """Seconds by the clock and of all processors, and the most memory it held."""

    wall: float
    cpu: float
    peak_mb: float


def dbt(root: Path, *arguments: str) -> Took:
    """Run dbt and tell what it took."""
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
    log = root / "dbt.log"
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dbt"), *arguments, *options], stdout=output, stderr=output, env=environment, cwd=root
        )
        _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"dbt {' '.join(arguments)} failed:\n{log.read_text()[-5000:]}")
    return Took(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    raise SystemExit(main())
