"""`make bench`: every benchmark in a process of its own, one after the other, its table printed as it comes; exit code 1 when one failed or missed its bound."""

import subprocess
import sys
import time

BENCHMARKS = (
    "imports",
    "ledger_diff",
    "activation_budget",
    "landing",
    "dbt_incremental",
    "micro_batches",
    "receiver",
    "worker",
    "stock_push",
    "flash_sale",
    "customer_value",
    "demand",
    "recommendations",
    "risk",
    "demo",
)


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    missed = []
    for name in wanted:
        started = time.monotonic()
        print(f"== {name} ==", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode != 0:
            missed.append(name)
        print(f"   ({time.monotonic() - started:.0f} s)\n", flush=True)
    print("all within their bounds" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
