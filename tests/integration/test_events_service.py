"""The resident service from the command line: an order that got stuck is moved on by the command that its trace prints, and what cannot be worked is dealt with."""

import json
import os
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from event_service import Service, count_of, eventually, service
from support import SANDBOX_TOKEN, commerce, running_sandbox

from commerce_assets.sandbox.traffic import run_traffic

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("events_service"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A receiver without a worker, subscribed to everything."""
    folder = tmp_path_factory.mktemp("events_service")
    commerce("sandbox", "fill", "--scale", "0.01", "--seed", "3", "--store", str(folder / "store"))
    with (
        running_sandbox(folder / "store", "--plan", "plus") as sandbox,
        service(folder / "platform", sandbox, COMMERCE_RECONCILE_GRACE_SECONDS="0") as made,
    ):
        made.start("receiver")
        made.wait_until_ready()
        done = made.commerce("webhooks", "sync", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["create"] > 15
        yield made


def _trace(running: Service, order: str) -> dict[str, Any]:
    done = running.commerce("trace", order, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def _emit(running: Service, topic: str, body: Any) -> None:
    answer = httpx.post(f"{running.sandbox.url}/sandbox/webhooks/emit", json={"topic": topic, "body": body}, timeout=30)
    assert answer.status_code == httpx.codes.OK, answer.text
    eventually(running.is_delivered, f"{topic} was delivered", 60)


def test_subscribing_again_changes_nothing(running: Service) -> None:
    done = running.commerce("webhooks", "sync", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    diff = json.loads(done.stdout)
    assert (diff["create"], diff["update"], diff["delete"]) == (0, 0, 0)


def test_a_stuck_order_is_moved_on_by_the_command_its_trace_prints(running: Service) -> None:
    run_traffic(running.sandbox.url, SANDBOX_TOKEN, 120, 0.05, seed=2, fulfil_share=0, cancel_share=0, refund_share=0, restock_share=0)
    eventually(running.is_delivered, "everything was delivered", 60)
    name = running.store_rows("select name from t_Order order by id desc limit 1")[0][0]

    stuck = _trace(running, name)
    assert stuck["stopped_at"] == "validated", stuck
    moved = running.commerce(*shlex.split(stuck["next_command"])[1:])
    assert moved.returncode == 0, moved.stderr
    after = _trace(running, name)
    assert after["stopped_at"] == "staged", after
    landed = next(hop for hop in after["hops"] if hop["hop"] == "landed")
    assert landed["outcome"] == "done"


def test_what_no_event_told_of_is_found_by_asking_the_shop(running: Service) -> None:
    running.settings["COMMERCE_WEBHOOK_TOPICS"] = "products/update"
    assert running.commerce("webhooks", "sync").returncode == 0
    run_traffic(running.sandbox.url, SANDBOX_TOKEN, 120, 0.02, seed=9, fulfil_share=0, cancel_share=0, refund_share=0, restock_share=0)
    del running.settings["COMMERCE_WEBHOOK_TOPICS"]
    assert running.commerce("webhooks", "sync").returncode == 0
    order_id, name = running.store_rows("select id, name from t_Order order by id desc limit 1")[0]
    assert running.event_rows(f"select count(*) from event_states where object_id = {order_id}") == [(0,)]
    assert running.commerce("worker", "--once").returncode == 0

    assert running.event_rows(f"select source, state from event_states where object_id = {order_id} and object_type = 'Order'") == [
        ("reconcile", "applied")
    ]
    assert running.event_rows("select sum(missed) from event_reconciliations where object_type = 'Order'")[0][0] >= 1
    assert _trace(running, name)["stopped_at"] == "staged"


def test_what_can_never_be_worked_is_a_dead_letter_that_can_be_shown_replayed_and_discarded(running: Service) -> None:
    _emit(running, "orders/updated", {"id": 9_007_199_254_740_993, "email": "someone@example.com", "updated_at": "yesterday"})
    assert running.commerce("worker", "--once").returncode == 0

    (letter,) = json.loads(running.commerce("dlq", "list", "--json").stdout)
    assert (letter["topic"], letter["object_id"]) == ("orders/updated", 9_007_199_254_740_993)
    shown = running.commerce("dlq", "show", str(letter["seq"]))
    assert "someone@example.com" not in shown.stdout
    assert "9007199254740993" in shown.stdout
    assert json.loads(running.commerce("dlq", "replay", str(letter["seq"]), "--why", "trying", "--json").stdout) == {"replayed": 1}
    assert running.commerce("worker", "--once").returncode == 0
    assert [again["seq"] for again in json.loads(running.commerce("dlq", "list", "--json").stdout)] == [letter["seq"]]
    discard = running.commerce("dlq", "discard", "--object", "gid://shopify/Order/9007199254740993", "--why", "garbage", "--json")
    assert json.loads(discard.stdout) == {"discarded": 1}
    assert json.loads(running.commerce("dlq", "list", "--json").stdout) == []
    assert running.event_rows("select action, why from event_actions order by 1") == [
        ("discard", "garbage"),
        ("replay", "trying"),
    ]
    nothing_said = running.commerce("dlq", "discard")
    assert nothing_said.returncode == 1
    assert "say which dead letters" in nothing_said.stderr


def test_duties_about_peoples_data_are_queued_for_the_privacy_room(running: Service) -> None:
    body = {
        "shop_id": 1,
        "shop_domain": "x.myshopify.com",
        "customer": {"id": 191167, "email": "john@example.com"},
        "orders_to_redact": [1],
    }
    httpx.post(f"{running.sandbox.url}/sandbox/webhooks/emit", json={"topic": "customers/redact", "body": body}, timeout=30)
    eventually(running.is_delivered, "customers/redact was delivered", 60)
    assert running.commerce("worker", "--once").returncode == 0
    assert running.event_rows("select topic, object_id, status from compliance_requests") == [("customers/redact", 191167, "queued")]


def test_serve_keeps_a_worker_alive_and_stock_arrives_in_the_store(running: Service) -> None:
    running.stop()
    running.start("service")
    running.wait_until_ready()
    receiver = running.processes["service"].pid
    eventually(lambda: _workers(receiver) != [], "the worker runs", 60)
    (worker,) = _workers(receiver)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: _workers(receiver) not in ([], [worker]), "another worker runs", 60)

    shelf, before = next((shelf, held) for shelf, held in running.storefront_stock().items() if held["available"] > 5)
    wanted = before["on_hand"] + 7
    running.report_stock([count_of(shelf, wanted, "recount")], "recount")
    eventually(lambda: running.storefront_stock()[shelf]["on_hand"] == wanted, "the store shows the count", 60)

    (worker,) = _workers(receiver)
    process = running.processes["service"]
    process.terminate()
    assert process.wait(60) == 0
    assert not psutil.pid_exists(worker), "the worker was ended before the receiver"


def _workers(pid: int) -> list[int]:
    alive = [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child.pid for child in alive if "worker" in child.cmdline()]
