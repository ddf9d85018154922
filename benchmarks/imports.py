"""Seconds to import `commerce_assets.definitions` (every Dagster process pays it), beside importing Dagster and dagster-dbt alone. Bound: 4 s."""

import statistics
import subprocess
import sys
import time

BOUND_SECONDS = 4.0
RUNS = 5


def _seconds(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> int:
    statements = {
        "python -c pass": "pass",
        "import dagster, dagster_dbt": "import dagster, dagster_dbt",
        "import commerce_assets.definitions": "import commerce_assets.definitions",
    }
    _seconds(statements["import commerce_assets.definitions"])  # the dbt manifest is parsed once, on the first import ever
    seconds = {name: statistics.median(_seconds(statement) for _ in range(RUNS)) for name, statement in statements.items()}
    base = seconds["import dagster, dagster_dbt"]
    print(f"{'what':<40} {'median s':>9} {'ratio':>7}")
    for name, value in seconds.items():
        print(f"{name:<40} {value:>9.2f} {value / base:>7.2f}")
    return 0 if seconds["import commerce_assets.definitions"] <= BOUND_SECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
