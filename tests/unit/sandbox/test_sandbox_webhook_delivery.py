"""Deliveries: signed, tried again, given up, and what goes wrong on request."""

import base64
import hmac
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import free_port
from webhook_listener import Listener, Received

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import shop_doc
from commerce_assets.sandbox.faults import FaultsError, WebhookFaults, parse_webhook_faults
from commerce_assets.sandbox.mutations import MUTATIONS
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks import delivery
from commerce_assets.sandbox.webhooks.changes import Recorder
from commerce_assets.sandbox.webhooks.clock import RETRY_DELAYS, ClockError, RetryClock
from commerce_assets.sandbox.webhooks.delivery import Deliverer, DeliveryOptions
from commerce_assets.sandbox.webhooks.subscriptions import Directory

pytestmark = pytest.mark.xdist_group("sandbox-webhooks")
FAST = RetryClock(1_000_000)
TOPIC = "orders/create"


class Sender:
    """A store that delivers."""

    def __init__(self, folder: Path, options: DeliveryOptions | None = None) -> None:
        self.store = Store(folder)
        if self.store.shop() is None:
            self.store.set_shop(shop_doc("Shop", "test-shop.myshopify.com", "GBP", "UTC", "2026-01-01T00:00:00Z"))
        directory = Directory(self.store)
        self.deliverer = Deliverer(self.store, directory, options or DeliveryOptions(clock=FAST))
        self.store.watcher = self.recorder = Recorder(directory, self.deliverer.wake)

    def subscribe(self, uri: str, topic: str = "ORDERS_CREATE", **more: Any) -> str:
        context = Context(self.store, self.store.shop() or {}, "2026-10", frozenset())
        payload = MUTATIONS["webhookSubscriptionCreate"](context, {"topic": topic, "webhookSubscription": {"uri": uri, **more}})
        assert payload["userErrors"] == []
        return str(payload["webhookSubscription"]["id"])

    def emit(self, *bodies: bytes) -> list[str]:
        return [identity for body in bodies for identity in self.recorder.emit(self.store, TOPIC, body)]

    def states(self) -> list[str]:
        return [row[0] for row in self.store.connection.execute("SELECT state FROM webhook_events ORDER BY seq")]

    def attempts(self) -> list[tuple[Any, ...]]:
        return self.store.connection.execute("SELECT seq, attempt, status, problem FROM webhook_attempts ORDER BY 1, 2").fetchall()

    def settle(self) -> None:
        until(lambda: "pending" not in self.states() and not self.deliverer.waiting)


def until(reached: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if reached():
            return
        time.sleep(0.01)
    raise AssertionError("not reached in 30 s")


@contextmanager
def sending(folder: Path, options: DeliveryOptions | None = None) -> Iterator[Sender]:
    sender = Sender(folder, options)
    sender.deliverer.start()
    try:
        yield sender
    finally:
        sender.deliverer.stop()
        sender.store.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def test_a_delivery_says_who_sent_it_and_is_signed(tmp_path: Path, listener: Listener) -> None:
    body = '{"name":"Zoë"}'.encode()
    with sending(tmp_path, DeliveryOptions("hush", FAST)) as sender:
        sender.subscribe(f"{listener.uri}?a=b", name="main")
        (webhook_id,) = sender.emit(body)
        sender.settle()

        assert sender.attempts() == [(1, 1, 200, None)]
        assert sender.store.connection.execute("SELECT count(*) FROM webhook_bodies").fetchone() == (0,)
    (received,) = listener.received
    assert received.body == body
    headers = received.headers
    assert headers["x-shopify-hmac-sha256"] == base64.b64encode(hmac.digest(b"hush", body, "sha256")).decode()
    named = {name: headers[f"x-shopify-{name}"] for name in ("topic", "shop-domain", "api-version", "webhook-id", "name")}
    assert named == {
        "topic": TOPIC,
        "shop-domain": "test-shop.myshopify.com",
        "api-version": "2026-10",
        "webhook-id": webhook_id,
        "name": "main",
    }
    assert len(headers["x-shopify-triggered-at"]) == len("2026-11-21T00:00:00.123456789Z")
    assert headers["x-shopify-event-id"] != webhook_id


def test_deliveries_share_connections_that_stay_open(tmp_path: Path, listener: Listener) -> None:
    with sending(tmp_path) as sender:
        sender.subscribe(listener.uri)
        sender.emit(*[b"{}"] * 200)
        sender.settle()

    assert len(listener.received) == 200
    assert len({received.connection for received in listener.received}) <= delivery.CONNECTIONS


def test_a_connection_that_the_receiver_closed_is_no_failed_delivery(tmp_path: Path, listener: Listener) -> None:
    listener.closes_after_each = True
    with sending(tmp_path) as sender:
        sender.subscribe(listener.uri)
        sender.emit(*[b"{}"] * 50)
        sender.settle()

        assert sender.states() == ["delivered"] * 50
        assert {(attempt, status) for _, attempt, status, _ in sender.attempts()} == {(1, 200)}


@pytest.mark.parametrize("status", [500, 302, 404, 0])
def test_anything_but_a_2xx_is_tried_again_with_the_same_id_and_body(tmp_path: Path, listener: Listener, status: int) -> None:
    listener.answer = lambda _: status if len(listener.received) < 4 else 204
    with sending(tmp_path) as sender:
        sender.subscribe(listener.uri)
        sender.emit(b'{"a":1}')
        sender.settle()

        assert sender.states() == ["delivered"]
        assert [row[2] for row in sender.attempts()][-1] == 204
    assert len({(received.webhook_id, received.body) for received in listener.received}) == 1
    assert len(listener.received) == 4


def test_an_answer_that_takes_too_long_is_a_failure(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "ANSWER_SECONDS", 0.2)
    is_over = threading.Event()

    def answer(_: Received) -> int:
        if len(listener.received) == 1:
            is_over.wait(5)
        return 200

    listener.answer = answer
    with sending(tmp_path) as sender:
        sender.subscribe(listener.uri)
        sender.emit(b"{}")
        sender.settle()
        is_over.set()

        assert [row[2:] for row in sender.attempts()] == [(None, "no answer in time"), (200, None)]


def test_a_subscription_whose_delivery_failed_nine_times_is_removed(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        sender.subscribe(f"http://127.0.0.1:{free_port()}/")
        sender.emit(b"{}", b"{}")
        until(lambda: sender.store.count("WebhookSubscription") == 0)
        sender.settle()

        assert sender.states()[0] == "failed"
        assert set(sender.states()) <= {"failed", "removed"}
        assert max(row[1] for row in sender.attempts()) == 1 + len(RETRY_DELAYS)
        assert sender.emit(b"{}") == []


def test_one_failed_delivery_among_good_ones_removes_nothing(tmp_path: Path, listener: Listener) -> None:
    listener.answer = lambda received: 500 if received.body == b'"bad"' else 200
    with sending(tmp_path, DeliveryOptions(clock=RetryClock(100_000))) as sender:
        sender.subscribe(listener.uri)
        sender.emit(b'"bad"')
        until(lambda: len(listener.received) > 1)
        sender.emit(b'"good"')
        sender.settle()

        assert sender.states() == ["failed", "delivered"]
        assert sender.store.count("WebhookSubscription") == 1


def test_what_waits_for_a_deleted_subscription_is_dropped(tmp_path: Path, listener: Listener) -> None:
    listener.answer = lambda _: 503
    with sending(tmp_path, DeliveryOptions(clock=RetryClock(20_000))) as sender:
        identity = sender.subscribe(listener.uri)
        sender.emit(b"{}")
        until(lambda: len(listener.received) >= 1)
        sender.store.delete("WebhookSubscription", int(identity.rpartition("/")[2]), "2026-11-21T00:00:00Z")
        sender.settle()

        assert sender.states() == ["removed"]


def test_a_receiver_that_is_down_does_not_hold_up_another(tmp_path: Path, listener: Listener) -> None:
    with sending(tmp_path, DeliveryOptions()) as sender:
        sender.subscribe(f"http://127.0.0.1:{free_port()}/")
        sender.subscribe(listener.uri)
        sender.emit(*[b"{}"] * 20)
        until(lambda: len(listener.received) == 20 and sender.states().count("delivered") == 20)

        assert sender.states().count("pending") == 20


def test_what_was_pending_is_delivered_by_the_next_process(tmp_path: Path, listener: Listener) -> None:
    listener.answer = lambda _: 503
    with sending(tmp_path, DeliveryOptions()) as sender:
        sender.subscribe(listener.uri)
        sender.emit(b'{"tried":true}')
        until(lambda: sender.attempts() != [])
    idle = Sender(tmp_path)
    idle.emit(b'{"tried":false}')
    with idle.store.transaction() as connection:
        connection.execute("UPDATE webhook_events SET next_at = 0 WHERE attempts > 0")
    idle.store.close()
    listener.answer = lambda _: 200

    with sending(tmp_path) as sender:
        sender.settle()

        assert sender.states() == ["delivered", "delivered"]
        assert [row[:3] for row in sender.attempts()] == [(1, 1, 503), (1, 2, 200), (2, 1, 200)]


def test_duplicates_losses_disorder_and_damage_come_as_asked(tmp_path: Path, listener: Listener) -> None:
    faults = parse_webhook_faults("duplicate=0.2, reorder=0.2, lose=0.1, malformed=0.1, hold=0.05, seed=3")
    bodies = [b'{"number":%d}' % number for number in range(200)]
    with sending(tmp_path, DeliveryOptions("secret", FAST, faults)) as sender:
        sender.subscribe(listener.uri)
        ids = sender.emit(*bodies)
        sender.settle()
        fates = [faults.fate(seq) for seq in range(1, 201)]
        lost = {identity for identity, fate in zip(ids, fates, strict=True) if fate.is_lost}
        whole = dict(zip(ids, bodies, strict=True))
        twice = {identity for identity, fate in zip(ids, fates, strict=True) if fate.duplicate_seconds is not None} - lost

        assert sender.states().count("lost") == len(lost) > 0
        assert sender.store.connection.execute("SELECT sum(duplicates) FROM webhook_events").fetchone() == (len(twice),)
    times = {identity: [entry for entry in listener.received if entry.webhook_id == identity] for identity in ids}
    assert {identity for identity, found in times.items() if not found} == lost
    assert {identity for identity, found in times.items() if len(found) == 2} == twice
    cut = {identity for identity, found in times.items() if found and found[0].body != whole[identity]}
    assert cut == {identity for identity, fate in zip(ids, fates, strict=True) if fate.is_malformed} - lost
    arrived = [entry.webhook_id for entry in listener.received]
    assert arrived != [identity for identity in ids if identity in set(arrived)]
    for entry in listener.received:
        assert entry.headers["x-shopify-hmac-sha256"] == base64.b64encode(hmac.digest(b"secret", entry.body, "sha256")).decode()


def test_the_same_seed_strikes_the_same_deliveries() -> None:
    faults, others = (WebhookFaults(duplicate=0.5, seed=seed) for seed in (1, 2))
    struck = [faults.fate(number) for number in range(50)]

    assert struck == [faults.fate(number) for number in range(50)]
    assert struck != [others.fate(number) for number in range(50)]


@pytest.mark.parametrize("text", ["lose=2", "lose", "lose=x", "explode=0.1", "delay=-1"])
def test_faults_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(FaultsError, match="webhook faults"):
        parse_webhook_faults(text)


def test_retries_take_four_hours_on_a_clock_that_can_run_faster() -> None:
    assert sum(RETRY_DELAYS) == pytest.approx(4 * 3600)
    assert [later / earlier for earlier, later in itertools.pairwise(RETRY_DELAYS)] == [2.0] * 7
    assert RetryClock(1000).delay(1) == pytest.approx(RETRY_DELAYS[0] / 1000)
    assert RetryClock(1000).delay(9) is None
    with pytest.raises(ClockError):
        RetryClock(0)
