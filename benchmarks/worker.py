"""The worker on a full inbox: events decided, landed in a real lake through their contracts, booked in stock, in one process.

Bound: 2,000 events a second, sustained. The events are those of a flash sale: each order is created, its payment comes apart, it is paid,
and updated once more; of all, 1 % come twice under other ids, 5 % out of order, 0.1 % malformed. Every event must end in one final state.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BOUND_EVENTS_PER_SECOND = 2_000
ORDERS = 10_000
SHOP = "bench.myshopify.com"
CHUNK = 2_000


def templates(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Payloads of orders of a small shop, and of one transaction each."""
    from commerce_assets.sandbox.fill import fill
    from commerce_assets.sandbox.store import Store
    from commerce_assets.sandbox.webhooks import rest_orders

    fill(folder, scale=0.01, seed=7, as_of=datetime(2026, 11, 20, 12, tzinfo=UTC))
    store = Store(folder)
    shop = store.shop()
    orders, transactions = [], []
    for _, _, doc in store.iterate("Order"):
        if doc.get("transactions"):
            orders.append(rest_orders.order_payload(store, shop, doc))
            transactions.append(rest_orders.transaction_payload(store, shop, doc, doc["transactions"][0]["id"]))
        if len(orders) == 200:
            break
    return orders, transactions


def events(count: int, folder: Path, seed: int = 5) -> Iterator[tuple[str, str, bytes, datetime]]:
    """(webhook id, topic, body, triggered at) of so many orders, in the order of arrival."""
    orders, transactions = templates(folder)
    chance, begun = random.Random(seed), datetime(2026, 11, 21, 8, tzinfo=UTC)
    late: list[tuple[int, tuple[str, str, bytes, datetime]]] = []
    for number in range(count):
        order_id = 7_000_000_000_000 + number
        template, transaction = orders[number % len(orders)], transactions[number % len(orders)]
        at = begun + timedelta(milliseconds=6 * number)
        transaction_id = 9_000_000_000_000 + number
        paid = json.dumps({**transaction, "id": transaction_id, "order_id": order_id, **gid("OrderTransaction", transaction_id)}).encode()
        sent = [
            ("orders/create", body(template, order_id, at, "pending"), at),
            ("order_transactions/create", paid, at),
            ("orders/paid", body(template, order_id, at + timedelta(seconds=1), "paid"), at + timedelta(seconds=1)),
            ("orders/updated", body(template, order_id, at + timedelta(seconds=2), "paid"), at + timedelta(seconds=2)),
        ]
        for place, (topic, raw, triggered_at) in enumerate(sent):
            one = (f"b{number}-{place}", topic, raw, triggered_at)
            draw = chance.random()
            if draw < 0.001:
                one = (f"m{number}-{place}", topic, raw[: len(raw) // 2], triggered_at)
            if draw > 0.95:
                late.append((number + chance.randrange(1, 200), one))
            else:
                yield one
            if 0.5 < draw < 0.51:
                yield (f"d{number}-{place}", topic, raw, triggered_at)
        while late and late[0][0] <= number:
            yield late.pop(0)[1]
    yield from (one for _, one in late)


def gid(kind: str, number: int) -> dict[str, str]:
    return {"admin_graphql_api_id": f"gid://shopify/{kind}/{number}"}


def body(template: dict[str, Any], order_id: int, at: datetime, financial_status: str) -> bytes:
    """A payload as another order's: its own ids throughout."""
    changed = {
        **template,
        **gid("Order", order_id),
        "id": order_id,
        "name": f"#{order_id}",
        "updated_at": at.isoformat(timespec="seconds"),
        "financial_status": financial_status,
        "fulfillments": [],
        "refunds": [],
        "line_items": [
            {**line, "id": order_id * 10 + place, **gid("LineItem", order_id * 10 + place)}
            for place, line in enumerate(template["line_items"])
        ],
    }
    return json.dumps(changed, ensure_ascii=False, separators=(",", ":")).encode()


def fill_inbox(inbox: Any, count: int, folder: Path) -> tuple[int, int]:
    """(events, bytes) stored."""
    from commerce_assets.events.intake_rules import object_of
    from commerce_assets.events.records import Delivery
    from commerce_assets.events.topics import TOPICS

    total, size, chunk = 0, 0, []
    for webhook_id, topic, raw, triggered_at in events(count, folder):
        object_type, object_id = object_of(TOPICS[topic], raw)
        chunk.append(Delivery("webhook", webhook_id, topic, SHOP, raw, datetime.now(UTC), triggered_at, None, None, object_type, object_id))
        total, size = total + 1, size + len(raw)
        if len(chunk) == CHUNK:
            inbox.append(chunk)
            chunk = []
    inbox.append(chunk)
    return total, size


class NoStorefront:
    """Knows nobody: what would have to be fetched stays missing."""

    def fetch(self, _type: str, ids: Any, _folder: Path) -> Any:
        from commerce_assets.events.ports import FetchedDocuments

        return FetchedDocuments((), {}, frozenset(ids))

    def changed_since(self, *_: Any) -> list[tuple[int, datetime]]:
        return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--batch-rows", type=int, default=2_000)
    parser.add_argument("--profile", action="store_true", help="work in one thread and print where the time goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return run(folder, arguments.orders, arguments.batch_rows, arguments.profile)


def run(folder: Path, orders: int, batch_rows: int, is_profiled: bool) -> int:
    from commerce_assets.events.batches import Retries
    from commerce_assets.events.database import open_engine
    from commerce_assets.events.inbox import Inbox
    from commerce_assets.events.lanes import WorkerOptions
    from commerce_assets.events.stock.tables import Rules, prepare
    from commerce_assets.events.stock_effects import StockEffects
    from commerce_assets.events.worker import Worker
    from commerce_assets.lake import Lake
    from commerce_assets.service.landing import LakeLanding
    from commerce_assets.service.working import LakeFolding

    lake = Lake(folder / "lake")
    lake.ensure()
    inbox, engine = Inbox(f"sqlite:///{folder / 'inbox.sqlite'}"), open_engine(f"sqlite:///{folder / 'events.sqlite'}")
    prepare(engine, Rules())
    total, size = fill_inbox(inbox, orders, folder / "shop")
    options = WorkerOptions(shop=SHOP, batch_rows=batch_rows, retries=Retries(2, timedelta(milliseconds=50)))
    worker = Worker(inbox, engine, LakeLanding(lake), NoStorefront(), options, stock=StockEffects(), folding=LakeFolding(lake))
    print(f"{total:,} events of {orders:,} orders, {size / total / 1024:.1f} KB each")
    started, cpu_started = time.monotonic(), time.process_time()
    if is_profiled:
        profile(worker)
    else:
        stop = threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        wait_until_drained(worker, total)
        stop.set()
        thread.join()
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    status = worker.status()
    rate = total / seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"states: {status.states}")
    print(
        f"{seconds:.1f} s, {rate:,.0f} events/s (bound {BOUND_EVENTS_PER_SECOND:,}), {total / cpu_seconds:,.0f} a CPU second, peak {peak:,.0f} MB"
    )
    if sum(status.states.values()) != total or not status.is_drained:
        print("MISSED: not every event came to a final state")
        return 1
    if rate < BOUND_EVENTS_PER_SECOND:
        print("MISSED its bound")
        return 1
    return 0


def wait_until_drained(worker: Any, total: int) -> None:
    from commerce_assets.events.books import state_counts

    while sum(state_counts(worker.desk.engine).values()) < total or not worker.status().is_drained:
        time.sleep(0.25)


def profile(worker: Any) -> None:
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.enable()
    worker.drain()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    sys.exit(main())
