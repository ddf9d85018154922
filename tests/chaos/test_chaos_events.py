"""Traffic runs while receiver, worker and a build are SIGKILLed twenty times at random and the storefront stumbles: nothing lost, nothing twice.

The oracles are the store's own: the list of what it emitted, its orders as a pull reads them, its stock, and its record of what was
written to it.
"""

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from event_service import FINAL, Service, Shelf, count_of, eventually, movement_of, service
from landed_rows import differing_orders, holding, pull_orders
from support import SANDBOX_TOKEN, commerce, running_sandbox

from commerce_assets.config import load_settings
from commerce_assets.contracts import table
from commerce_assets.lake import Lake
from commerce_assets.sandbox.traffic import run_traffic
from commerce_assets.warehouse.dbt import DbtFiles

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos_events"), pytest.mark.timeout(900)]

KILLS = 20
FAULTS = [
    {"kind": "http_503", "rate": 0.01},
    {"kind": "http_500", "rate": 0.01, "match": "mutation StockSetQuantities"},
    {"kind": "cut_connection", "rate": 0.02, "match": "mutation StockSetQuantities"},
    {"kind": "throttled", "rate": 0.01, "match": "query"},
]
LOST_ON_THE_WAY = "duplicate=0.02,reorder=0.05,lose=0.005,seed=7"


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The service after the chaos, everything delivered, worked and pushed."""
    folder = tmp_path_factory.mktemp("chaos_events")
    store = folder / "store"
    commerce("sandbox", "fill", "--scale", "0.02", "--seed", "5", "--store", str(store))
    (folder / "faults.json").write_text(json.dumps({"seed": 3, "faults": FAULTS}))
    options = (
        "--plan",
        "plus",
        "--faults",
        str(folder / "faults.json"),
        "--webhook-faults",
        LOST_ON_THE_WAY,
        "--webhook-clock-speed",
        "60",
    )
    with (
        running_sandbox(store, *options) as sandbox,
        service(folder / "platform", sandbox, COMMERCE_RECONCILE_GRACE_SECONDS="2") as running,
    ):
        running.start("receiver")
        running.wait_until_ready()
        assert running.commerce("webhooks", "sync").returncode == 0
        running.start("worker")
        moved = _shake(running)
        _settle(running)
        yield running, moved


def _shake(running: Service) -> dict[Shelf, int]:
    """Traffic, a warehouse's reports, and twenty kills; what the warehouse moved, by shelf."""
    dice = random.Random(11)
    shelves = [shelf for shelf, quantities in running.storefront_stock().items() if quantities["on_hand"] > 20]
    counts = [count_of(shelf, running.storefront_stock()[shelf]["on_hand"], f"count-{number}") for number, shelf in enumerate(shelves)]
    running.report_stock(counts, "counts")
    stop, moved = threading.Event(), dict.fromkeys(shelves, 0)

    def shop() -> None:
        run_traffic(
            running.sandbox.url, SANDBOX_TOKEN, 240, 5, seed=3, restock_share=0, refund_share=0.15, cancel_share=0.05, stop=stop, workers=4
        )

    def move_stock() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            some = dice.sample(shelves, 5)
            facts = [movement_of(shelf, dice.randint(-3, 5), f"move-{number}-{place}") for place, shelf in enumerate(some)]
            running.report_stock(facts, f"move-{number}")
            for fact, shelf in zip(facts, some, strict=True):
                moved[shelf] += fact["quantity"]
            time.sleep(0.3)

    threads = [threading.Thread(target=shop), threading.Thread(target=move_stock)]
    for thread in threads:
        thread.start()
    builds = _Builds(running)
    chance = random.Random(13)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.5, 2.5))
        victim = chance.choice(["receiver", "worker", "worker", "build"])
        if victim == "build":
            builds.kill()
        else:
            running.kill(victim)
            running.start(victim)
    stop.set()
    for thread in threads:
        thread.join()
    builds.kill()
    return moved


class _Builds:
    """A dbt build of the staged orders, always under way, killed on demand."""

    def __init__(self, running: Service) -> None:
        self.root = running.root
        self.files = DbtFiles.of(load_settings().model_copy(update={"data_root": running.root}))
        self.files.target_path.mkdir(parents=True, exist_ok=True)
        self.files.build_path.parent.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def command(self) -> list[str]:
        return [self.files.executable, "--no-use-colors", "run", "--select", "+fct_order"]

    def start(self) -> None:
        with (self.root.parent / "build.log").open("ab") as log:
            environment = {**os.environ, **self.files.environment()}
            self.process = subprocess.Popen(self.command(), cwd=self.files.project_dir, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.start()


PASSES = 10


def _settle(running: Service) -> None:
    """Work on until nothing is under way: what is pushed comes back as an event, what was lost is found by asking the shop."""
    running.kill("worker")
    for working in range(PASSES):
        eventually(running.is_delivered, "the store has delivered everything", 600)
        time.sleep(3)  # what changed just now is left to its event
        done = running.commerce("worker", "--once", "--json", timeout=400)
        # On a busy machine what a pass pushed comes back before it ends: then it says that there is more.
        if done.returncode == 0 and working >= 3:
            break
    assert done.returncode == 0, (done.stdout, done.stderr[-3000:])
    running.stop()


def test_every_event_has_exactly_one_end(aftermath: tuple[Service, dict[Shelf, int]]) -> None:
    running, _ = aftermath
    ends = dict(running.event_rows("select webhook_id, state from event_states"))
    emitted = running.emitted()
    arrived = {event["webhook_id"] for event in emitted if event["state"] == "delivered"}
    assert len(emitted) > 200
    assert {event["state"] for event in emitted} == {"delivered", "lost"}, "some were lost on the way, as asked for"
    assert arrived <= ends.keys()
    assert set(ends.values()) <= set(FINAL)
    assert sorted(ends) == sorted(webhook_id for (webhook_id,) in running.inbox_rows("select webhook_id from inbox_events"))
    assert running.event_rows("select topic, reason from event_states where state = 'dead'") == []


def test_events_tell_what_a_pull_tells(aftermath: tuple[Service, dict[Shelf, int]], tmp_path: Path) -> None:
    running, _ = aftermath
    ours, pulled = Lake(running.root / "lake"), pull_orders(running.sandbox, tmp_path / "pulled")
    touched = {event["order_id"] for event in running.emitted() if event["order_id"]}
    held = {order_id for (order_id,) in duckdb.sql(f"select distinct order_id from ({holding(ours, table('orders'))})").fetchall()}
    assert held == touched
    assert differing_orders(ours, pulled) == {}


def test_stock_is_the_oracles_and_the_storefront_shows_ours(aftermath: tuple[Service, dict[Shelf, int]]) -> None:
    running, moved = aftermath
    written: dict[Shelf, int] = dict.fromkeys(moved, 0)
    pushes = running.store_rows("select payload from idempotency where mutation like 'inventory_set%' and state = 'done'")
    for (payload,) in pushes:
        group = json.loads(payload)["inventoryAdjustmentGroup"] or {"changes": []}
        for change in group["changes"]:
            if change["name"] == "available":
                shelf = (int(change["item"]["id"].rsplit("/", 1)[1]), int(change["location"]["id"].rsplit("/", 1)[1]))
                written[shelf] = written.get(shelf, 0) + change["delta"]
    assert {shelf: written[shelf] - units for shelf, units in moved.items() if written[shelf] != units} == {}

    rows = running.event_rows("select item_id, location_id, available_quantity from stock_shelves where available_quantity is not null")
    shown = {shelf: quantities["available"] for shelf, quantities in running.storefront_stock().items()}
    assert len(rows) >= len(moved)
    assert {(item, place): (ours, shown[item, place]) for item, place, ours in rows if shown[item, place] != ours} == {}


def test_the_next_build_is_whole(aftermath: tuple[Service, dict[Shelf, int]]) -> None:
    running, _ = aftermath
    builds = _Builds(running)
    assert builds.process is not None
    assert builds.process.wait(300) == 0, (running.root.parent / "build.log").read_text()[-3000:]
    touched = {event["order_id"] for event in running.emitted() if event["order_id"]}
    with duckdb.connect(str(running.root / "warehouse" / "build.duckdb"), read_only=True) as connection:
        built = {order_id for (order_id,) in connection.sql("select order_id from marts.fct_order").fetchall()}
        (doubled,) = connection.sql("select count(*) - count(distinct order_id) from marts.fct_order").fetchall()[0]
    assert (built, doubled) == (touched, 0)
