"""Micro-batches of events into the lake: what landing 1, 100 and 2,000 orders takes, whether memory stays flat, and what folding takes.

The orders are those of `generate_bulk_file`, landed as the worker lands documents it fetched; a year of pulled months stands beside
them, which must cost a batch nothing. Bounds: a batch of one order within 0.3 s (median, by the clock), and no more than 40 MB on top
after hundreds of batches.

    python -m benchmarks.micro_batches [--rounds 15] [--batches 200]
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.generate_bulk_file import order_documents
from commerce_assets.lake import AppendPartition, Lake, ReplaceDays, fold_events, land
from commerce_assets.sources.shopify.mapping import ORDERS

BOUND_SECONDS, BOUND_GROWTH_MB = 0.3, 40
SIZES = (1, 100, 2_000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="micro-batches-") as folder:
        lake = Lake(Path(folder))
        lake.ensure()
        pull_a_year(lake)
        batches = Batches(lake)
        batches.land(1)  # imports, and the databases that stay open
        print(f"{'orders a batch':<18}{'median s':>10}{'worst s':>10}{'CPU s':>10}{'orders/s':>12}")
        medians = {}
        for size in SIZES:
            took = [batches.land(size) for _ in range(arguments.rounds)]
            medians[size] = statistics.median(wall for wall, _ in took)
            cpu = statistics.median(cpu for _, cpu in took)
            print(f"{size:<18,}{medians[size]:>10.3f}{max(took)[0]:>10.3f}{cpu:>10.3f}{size / medians[size]:>12,.0f}")
        before = rss_mb()
        for _ in range(arguments.batches):
            batches.land(20)
        growth = rss_mb() - before
        print(f"peak memory {before:,.0f} MB; {growth:,.0f} MB more after {arguments.batches:,} batches of 20")
        partitions = arguments.batches + len(SIZES) * arguments.rounds + 1
        wall, _ = timed(lambda: fold_events(lake, "orders"))
        print(f"{partitions:,} partitions folded into one in {wall:.2f} s")
        batches.land(1)
        wall, _ = timed(lambda: fold_events(lake, "orders", is_thorough=True))
        print(f"folded again with one more, looking through the pulled orders, in {wall:.2f} s")
    is_kept = medians[1] <= BOUND_SECONDS and growth <= BOUND_GROWTH_MB
    print(f"bounds {BOUND_SECONDS} s and {BOUND_GROWTH_MB} MB: {'kept' if is_kept else 'MISSED'}")
    return 0 if is_kept else 1


class Batches:
    """Lands one micro-batch after another, each with orders of its own."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.number = lake, 0

    def land(self, orders: int) -> tuple[float, float]:
        """Seconds that landing took, by the clock and of the processor; the raw file is written before."""
        self.number += 1
        name = f"events-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-orders"
        file = written(self.lake, name, orders, seed=self.number)
        return timed(lambda: land(self.lake, "orders", ORDERS, [file], name, AppendPartition(name)))


def pull_a_year(lake: Lake) -> None:
    file = written(lake, "pull", 50_000, seed=0)
    first = date(2025, 1, 1)
    land(lake, "orders", ORDERS, [file], "pull", ReplaceDays(first, first + timedelta(days=364)))


def written(lake: Lake, load_id: str, orders: int, seed: int) -> Path:
    file = lake.new_load_dir("storefront", "orders", load_id) / "part-00000.jsonl"
    lines: Iterable[dict[str, object]] = (line for document in order_documents(orders, seed) for line in document)
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
    return file


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
