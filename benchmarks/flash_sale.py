"""A flash sale through receiver, inbox, worker and lake: 10,000 orders a minute with duplicates, disorder and garbage; 0 lost, 0 double.

The sale is recorded beforehand (every webhook of every order, as the store would send it) and sent at its own pace by a light sender,
so that receiver and worker have the machine nearly to themselves. `python -m benchmarks.flash_sale --minutes 5` is the whole one; `make
bench` runs half a minute of it.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from event_service import Service, eventually, service
from support import running_sandbox

from commerce_assets.config import SANDBOX_WEBHOOK_SECRET
from commerce_assets.sandbox.faults import WebhookFaults
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.recording import record_traffic, recorded
from commerce_assets.sandbox.replay import ReplaySummary, replay
from commerce_assets.sandbox.traffic_plan import Shares

TOPICS = {
    *("orders/create", "orders/updated", "orders/paid", "orders/cancelled", "orders/fulfilled"),
    *("order_transactions/create", "refunds/create", "fulfillments/create"),
}
FAULTS = WebhookFaults(duplicate=0.01, reorder=0.05, malformed=0.001, seed=1)
LOOK_SECONDS = 2.0


class Watch:
    """Looks at the worker's backlog while the sale runs: (seconds, events waiting)."""

    def __init__(self, running: Service) -> None:
        self.running, self.seen, self.stop = running, list[tuple[float, int]](), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.started = time.monotonic()

    def _run(self) -> None:
        while not self.stop.wait(LOOK_SECONDS):
            self.seen.append((time.monotonic() - self.started, self.open_events()))

    def open_events(self) -> int:
        """Events stored that have no final state yet."""
        (stored,) = self.running.inbox_rows("select count(*) from inbox_events")[0]
        (ended,) = self.running.event_rows("select count(*) from event_states where state not in ('pending', 'batched')")[0]
        return int(stored or 0) - int(ended)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--orders-per-minute", type=float, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flash") as temporary:
        return run(Path(temporary), arguments.minutes, arguments.orders_per_minute)


def run(folder: Path, minutes: float, rate: float) -> int:
    orders = round(minutes * rate)
    store, tape = folder / "store", folder / "sale.jsonl"
    fill(store, scale=0.2, seed=4)
    clock = time.monotonic()
    sale = record_traffic(store, tape, orders, rate, seed=2, shares=Shares(restock=0), topics=TOPICS, starts_at=datetime.now(UTC))
    print(f"recorded {orders:,} orders, {sale.deliveries:,} webhooks in {time.monotonic() - clock:.0f} s", flush=True)
    with (
        running_sandbox(store, "--plan", "plus") as sandbox,
        service(folder / "platform", sandbox, COMMERCE_INVENTORY_OWNER="storefront") as running,
    ):
        running.start("receiver")
        running.start("worker")
        running.wait_until_ready()
        eventually(lambda: (running.root / "events.sqlite").exists() and (running.root / "inbox.sqlite").exists(), "both have begun", 60)
        time.sleep(2)
        watch = Watch(running)
        watch.thread.start()
        sent = replay(tape, f"{running.url}/webhooks/shopify", SANDBOX_WEBHOOK_SECRET, faults=FAULTS)
        over = time.monotonic() - watch.started
        eventually(lambda: watch.open_events() == 0, "the backlog has drained", 60 + 180 * minutes)
        drained = time.monotonic() - watch.started
        watch.stop.set()
        return report(running, tape, sent, watch, over, drained, orders)


def report(running: Service, tape: Path, sent: ReplaySummary, watch: Watch, over: float, drained: float, orders: int) -> int:
    """Print what happened; 1 when anything was lost or doubled."""
    expected = {one.webhook_id for one in recorded(tape)}
    states = Counter(state for (state,) in running.event_rows("select state from event_states"))
    arrived = {webhook_id for (webhook_id,) in running.inbox_rows("select webhook_id from inbox_events where source = 'webhook'")}
    malformed = dict(running.event_rows("select webhook_id, reason from event_states where state = 'dead'"))
    files = str(running.root / "lake" / "raw" / "storefront" / "orders" / "partition=events-*" / "*.parquet")
    landed = {number for (number,) in duckdb.sql(f"select distinct order_id from read_parquet('{files}', union_by_name = true)").fetchall()}
    born = {one.object for one in recorded(tape) if one.topic == "orders/create"}
    missing = {gid for gid in born if int(gid.rsplit("/", 1)[1]) not in landed}
    lags = running.event_rows(
        "select (julianday(finished_at) - julianday(received_at)) * 86400.0 from event_states where state = 'applied' order by 1"
    )
    peak = max((waiting for _, waiting in watch.seen), default=0)
    steps = [watch.seen[round(place * (len(watch.seen) - 1) / 9)] for place in range(10)] if watch.seen else []
    print(f"sent {sent.acknowledged:,} of {sent.deliveries:,} (+{sent.duplicates:,} again, {sent.malformed:,} malformed) in {over:.0f} s,")
    print(
        f"  {sent.acknowledged / over:,.0f}/s, at worst {sent.late_seconds:.1f} s late, answered p50 {sent.percentile(0.5):.1f} ms, p99 {sent.percentile(0.99):.1f} ms"
    )
    print(
        f"backlog: peak {peak:,}, drained {drained - over:.1f} s after the last; "
        + " ".join(f"{at:.0f}s:{waiting}" for at, waiting in steps)
    )
    print(f"received to landed: p50 {lags[len(lags) // 2][0]:.2f} s, p99 {lags[int(len(lags) * 0.99)][0]:.2f} s")
    print(f"states: {json.dumps(states)}; orders landed {len(landed & {int(g.rsplit('/', 1)[1]) for g in born}):,} of {orders:,}")
    lost = len(expected - arrived)
    wrong = [reason for reason in malformed.values() if not reason.startswith("malformed")]
    print(
        f"lost {lost}, stored twice {len(arrived) - len(arrived & expected)}, dead for another reason {len(wrong)}, orders missing {len(missing)}"
    )
    is_well = (
        lost == 0 and arrived == expected and not wrong and sum(states.values()) == len(running.inbox_rows("select seq from inbox_events"))
    )
    return 0 if is_well else 1


if __name__ == "__main__":
    raise SystemExit(main())
