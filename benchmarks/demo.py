"""`commerce demo` at scale 1 on an empty data root, then again with nothing changed, with peak RSS. Bound: 120 s for the first on 2 cores."""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

BOUND_SECONDS = 120.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    with tempfile.TemporaryDirectory() as root:
        environment = {**os.environ, "COMMERCE_DATA_ROOT": root, "SHOPIFY_URL": f"http://127.0.0.1:{_free_port()}"}
        environment.pop("SHOPIFY_SHOP", None)
        rows = []
        for name in ("first run, fill included", "second run, nothing changed"):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "commerce_assets.cli", "demo", "--json"], env=environment, stdout=subprocess.PIPE, text=True
            )
            seconds = time.perf_counter() - started
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            pushed = sum(counts["written"] for counts in json.loads(done.stdout)["syncs"].values()) if done.returncode == 0 else None
            rows.append((name, seconds, peak, done.returncode, pushed))
    print(f"{'what':<32} {'seconds':>8} {'ratio':>6} {'peak RSS MiB':>13} {'exit':>5} {'pushed':>8}")
    for name, seconds, peak, code, pushed in rows:
        print(f"{name:<32} {seconds:>8.1f} {seconds / rows[0][1]:>6.2f} {peak:>13.0f} {code:>5} {pushed!s:>8}")
    return 0 if rows[0][1] <= BOUND_SECONDS and all(row[3] == 0 for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
