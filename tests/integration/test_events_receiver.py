"""The receiver over real HTTP: every kind of request gets its status, and 200 means stored."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from receiver_client import CLIENT, OLD_SECRET, RULES, SHOP, STOCK_SECRET, RunningReceiver, running_receiver, webhook_headers

from commerce_assets.events import intake_writer
from commerce_assets.events.inbox import Inbox, InboxUnavailableError
from commerce_assets.events.metrics import Metric, Progress
from commerce_assets.events.receiver import ReceiverOptions
from commerce_assets.events.signatures import sign

pytestmark = pytest.mark.xdist_group("events-receiver")
ORDER = b'{"id": 820982911946154508, "updated_at": "2026-11-21T12:00:00Z"}'


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReceiver]:
    with Inbox(f"sqlite:///{tmp_path_factory.mktemp('inbox') / 'inbox.sqlite'}") as inbox:
        options = ReceiverOptions(RULES, (STOCK_SECRET,), body_limit=100_000, body_seconds=0.3)
        with running_receiver(inbox, options) as receiver:
            yield receiver


def test_200_means_stored_whole(receiver: RunningReceiver) -> None:
    answer = receiver.deliver(ORDER, webhook_id="whole", name="ours")
    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
    stored = receiver.inbox.by_webhook_id("whole")
    assert stored is not None
    one = stored.delivery
    assert (one.source, one.topic, one.shop, one.body) == ("webhook", "orders/updated", SHOP, ORDER)
    assert (one.object_type, one.object_id) == ("Order", 820982911946154508)
    assert (one.event_id, one.api_version, one.headers) == ("event-1", "2026-07", {"x-shopify-name": "ours"})
    assert one.triggered_at is not None
    assert one.triggered_at.isoformat() == "2026-11-21T12:00:00.123456+00:00"
    assert one.received_at <= stored.stored_at


def test_a_repeated_delivery_is_acknowledged_and_counted(receiver: RunningReceiver) -> None:
    answers = [receiver.deliver(ORDER, webhook_id="twice").json()["status"] for _ in range(3)]
    assert answers == ["stored", "duplicate", "duplicate"]
    stored = receiver.inbox.by_webhook_id("twice")
    assert stored is not None
    assert stored.deliveries == 3


@pytest.mark.parametrize(
    ("more", "status", "reason"),
    [
        ({"hmac_sha256": None}, 401, "unsigned"),
        ({"hmac_sha256": "AAAA"}, 401, "bad_signature"),
        ({"secret": "forged"}, 401, "bad_signature"),
        ({"topic": None}, 400, "missing_header"),
        ({"webhook_id": None}, 400, "missing_header"),
        ({"webhook_id": "x" * 256}, 400, "missing_header"),
        ({"shop_domain": None}, 400, "missing_header"),
        ({"shop_domain": "other.myshopify.com"}, 403, "other_shop"),
        ({"topic": "carts/update"}, 404, "unknown_topic"),
        ({"topic": "reconcile/order"}, 404, "unknown_topic"),
        ({"topic": "wms/stock"}, 404, "unknown_topic"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(receiver: RunningReceiver, more: dict[str, str], status: int, reason: str) -> None:
    before = receiver.inbox.last_seq()
    answer = receiver.deliver(ORDER, **{"topic": "orders/updated", **more})
    assert (answer.status_code, answer.json()["status"]) == (status, reason)
    assert receiver.inbox.last_seq() == before


@pytest.mark.parametrize(
    ("body", "object_id"),
    [
        (b"", None),
        (b'{"id": 1', None),
        (b"[" * 50_000, None),
        (b'{"id": "\xff\xfe"}', None),
        (b'{"id": "seven"}', None),
        (b'{"id": true}', None),
        (b'{"id": 1.5}', None),
        (b'{"id": -1}', None),
        (b'{"id": 123456789012345678901234567890}', None),
        (b'{"id": 9007199254740993}', 9007199254740993),
        (b'{"id": 820982911946154500, "admin_graphql_api_id": "gid://shopify/Order/820982911946154508"}', 820982911946154508),
        (b'{"id": 5, "admin_graphql_api_id": "gid://shopify/Order/820982911946154508"}', 5),
        (b'[{"id": 5}]', None),
        (b"null", None),
    ],
)
def test_a_signed_body_of_any_kind_is_stored_with_the_id_it_names(receiver: RunningReceiver, body: bytes, object_id: int | None) -> None:
    assert receiver.deliver(body).status_code == 200
    (stored,) = receiver.inbox.read(receiver.inbox.last_seq() - 1, 1)
    assert (stored.delivery.body, stored.delivery.object_type, stored.delivery.object_id) == (body, "Order", object_id)


def test_the_previous_secret_still_signs_and_a_clock_that_is_off_changes_nothing(receiver: RunningReceiver) -> None:
    for triggered_at in ("2026-11-21T12:10:00Z", "1999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "yesterday"):
        body = b'{"id": 7}'
        answer = receiver.deliver(body, hmac_sha256=sign(body, OLD_SECRET), triggered_at=triggered_at)
        assert answer.status_code == 200, triggered_at


def test_bodies_beyond_the_limit_are_refused_declared_or_not(receiver: RunningReceiver) -> None:
    body = b"x" * 100_001
    assert receiver.deliver(body).status_code == 413
    pieces = (body[start : start + 20_000] for start in range(0, len(body), 20_000))
    answer = CLIENT.post(f"{receiver.url}/webhooks/shopify", content=pieces, headers=webhook_headers(body))
    assert answer.status_code == 413
    assert receiver.deliver(body[:-1]).status_code == 200


def test_a_body_that_never_ends_is_given_up_and_a_sender_that_leaves_is_forgotten(receiver: RunningReceiver) -> None:
    host, port = receiver.url.removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in webhook_headers(ORDER, webhook_id="slow").items())
    request = f"POST /webhooks/shopify HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 500\r\n\r\n".encode() + ORDER
    slow, silent, gone = (socket.create_connection((host, int(port))) for _ in range(3))
    with slow, silent, gone:
        gone.sendall(request)
        gone.close()
        slow.sendall(request)
        silent.sendall(request.removesuffix(ORDER))
        for sender in (slow, silent):
            assert sender.recv(100).startswith(b"HTTP/1.1 408 ")
    assert receiver.deliver(ORDER).status_code == 200
    assert receiver.inbox.by_webhook_id("slow") is None


def test_bodies_that_are_held_are_bounded_together_and_let_go_when_answered(tmp_path: Path) -> None:
    with (
        Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox,
        running_receiver(inbox, ReceiverOptions(RULES, held_bytes_limit=100)) as receiver,
    ):
        refused = receiver.deliver(b"x" * 101)
        assert (refused.status_code, refused.headers["retry-after"], refused.json()["status"]) == (503, "5", "memory")
        assert [receiver.deliver(b"x" * 60).status_code for _ in range(3)] == [200] * 3


def test_other_methods_and_paths_are_named(receiver: RunningReceiver) -> None:
    assert CLIENT.get(f"{receiver.url}/webhooks/shopify").status_code == 405
    assert CLIENT.post(f"{receiver.url}/webhooks/other").status_code == 404


def report(receiver: RunningReceiver, body: bytes, key: str | None = "k", signature: str | None = None) -> httpx.Response:
    headers = {"X-Signature": sign(body, STOCK_SECRET) if signature is None else signature}
    return CLIENT.post(
        f"{receiver.url}/inventory/wms", content=body, headers=headers | ({"Idempotency-Key": key} if key is not None else {})
    )


def test_a_warehouse_report_is_taken_once_by_its_key(receiver: RunningReceiver) -> None:
    body = json.dumps({"facts": [{"key": "a", "occurred_at": "2026-11-21T10:00:00Z"}, {"key": "b", "occurred_at": "2026-11-21T09:00:00Z"}]})
    assert [report(receiver, body.encode()).json()["status"] for _ in range(2)] == ["stored", "duplicate"]
    assert report(receiver, b"{}").status_code == 409
    stored = receiver.inbox.by_webhook_id("wms:k")
    assert stored is not None
    one = stored.delivery
    assert (one.source, one.topic, one.object_type, one.body) == ("wms", "wms/stock", "StockFact", body.encode())
    assert one.triggered_at is not None
    assert one.triggered_at.hour == 9


@pytest.mark.parametrize(
    ("body", "key", "signature", "status"),
    [
        (b"{}", "s", "", 401),
        (b"{}", "s", "AAAA", 401),
        (b"{}", None, None, 400),
        (b"{}", "x" * 201, None, 400),
        (b"{", "s", None, 400),
        (b"[]", "s", None, 400),
        (b'{"facts": 1}', "s", None, 400),
        (b'{"facts": [1, null, {"occurred_at": 3}]}', "odd", None, 200),
    ],
)
def test_a_warehouse_report_that_is_none_is_refused(
    receiver: RunningReceiver, body: bytes, key: str | None, signature: str | None, status: int
) -> None:
    assert report(receiver, body, key, signature).status_code == status


def test_without_a_secret_no_warehouse_report_is_taken(tmp_path: Path) -> None:
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox, running_receiver(inbox, ReceiverOptions(RULES)) as receiver:
        assert report(receiver, b"{}", "s").status_code == 401


def test_health_and_metrics_say_what_came(tmp_path: Path) -> None:
    lag = Metric("commerce_worker_lag_seconds", "gauge", "Lag.", [("", {"lane": 'a"b'}, 1.5)])
    progress = Progress({"orders": 1}, [lag])
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        options = ReceiverOptions(RULES, progress=lambda: progress, backlog_every_seconds=0.01)
        with running_receiver(inbox, options) as receiver:
            for number in (1, 2, 2, 3):
                receiver.deliver(ORDER, webhook_id=str(number))
            receiver.deliver(ORDER, "products/update", webhook_id="4", hmac_sha256="no")
            time.sleep(0.2)
            assert CLIENT.get(f"{receiver.url}/healthz").status_code == 200
            assert CLIENT.get(f"{receiver.url}/readyz").status_code == 200
            text = CLIENT.get(f"{receiver.url}/metrics").text
        rejected = [one for one in inbox.counts() if one.outcome == "rejected"]
    assert [(one.topic, one.reason, one.count) for one in rejected] == [("products/update", "bad_signature", 1)]
    lines = text.splitlines()
    assert 'commerce_events_received_total{source="webhook",topic="orders/updated"} 4' in lines
    assert 'commerce_events_duplicates_total{source="webhook",topic="orders/updated"} 1' in lines
    assert 'commerce_inbox_backlog_events{topic="orders/updated"} 2' in lines
    assert any(line.startswith('commerce_inbox_oldest_seconds{topic="orders/updated"} ') for line in lines)
    assert "commerce_events_store_seconds_count 4" in lines
    assert any(line.startswith('commerce_events_delivery_seconds{quantile="0.99"} ') for line in lines)
    assert r'commerce_worker_lag_seconds{lane="a\"b"} 1.5' in lines


def test_beyond_the_backlog_limit_senders_are_told_to_try_again_until_it_is_worked(tmp_path: Path) -> None:
    cursors: dict[str, int] = {}
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        options = ReceiverOptions(RULES, progress=lambda: Progress(cursors), backlog_limit=3, backlog_every_seconds=0.01)
        with running_receiver(inbox, options) as receiver:
            assert [receiver.deliver(ORDER).status_code for _ in range(3)] == [200] * 3
            refused = receiver.deliver(ORDER)
            assert (refused.status_code, refused.headers["retry-after"], refused.json()["status"]) == (503, "5", "backlog")
            assert CLIENT.get(f"{receiver.url}/readyz").status_code == 503
            cursors["orders"] = inbox.last_seq()
            wait_until(lambda: receiver.deliver(ORDER).status_code == 200)
            assert CLIENT.get(f"{receiver.url}/readyz").status_code == 200


class FailingInbox(Inbox):
    """An inbox whose database can be taken away, or be made to hang."""

    error: BaseException | None = None
    hang: threading.Event | None = None

    def append(self, deliveries, rejections=()):
        if self.hang:
            self.hang.wait(10)
        if self.error:
            raise self.error
        return super().append(deliveries, rejections)


def test_when_it_cannot_store_it_says_so_and_recovers_by_itself(tmp_path: Path) -> None:
    with FailingInbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox, running_receiver(inbox) as receiver:
        inbox.error = InboxUnavailableError("gone")
        refused = receiver.deliver(ORDER, webhook_id="later")
        assert (refused.status_code, refused.headers["retry-after"], refused.json()["status"]) == (503, "5", "inbox_unavailable")
        assert CLIENT.get(f"{receiver.url}/readyz").status_code == 503
        inbox.error = None
        assert receiver.deliver(ORDER, webhook_id="later").json() == {"status": "stored"}
        assert CLIENT.get(f"{receiver.url}/readyz").status_code == 200


def test_a_database_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_writer, "PATIENCE_SECONDS", 0.2)
    with FailingInbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox, running_receiver(inbox) as receiver:
        inbox.hang = threading.Event()
        assert receiver.deliver(ORDER, webhook_id="begun").status_code == 503
        assert receiver.deliver(ORDER, webhook_id="queued").status_code == 503
        inbox.hang.set()
        inbox.hang = None
        wait_until(lambda: inbox.by_webhook_id("begun") is not None)
        assert receiver.deliver(ORDER, webhook_id="begun").json() == {"status": "duplicate"}
        assert receiver.deliver(ORDER, webhook_id="queued").json() == {"status": "stored"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_writer_died_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_writer, "REJECTIONS_EVERY_SECONDS", 0.02)
    with FailingInbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox, running_receiver(inbox) as receiver:
        inbox.error = SystemExit()
        wait_until(lambda: CLIENT.get(f"{receiver.url}/healthz").status_code == 503)
        assert CLIENT.get(f"{receiver.url}/readyz").status_code == 503
        assert receiver.deliver(ORDER).status_code == 503


def test_deliveries_side_by_side_are_all_stored_once(receiver: RunningReceiver) -> None:
    async def deliver(client: httpx.AsyncClient, body: bytes) -> int:
        """As the shop does: a refusal, here because this machine is too busy to send a body in time, is delivered again."""
        status = 0
        for _ in range(8):
            headers = webhook_headers(body, webhook_id=f"s{body!r}")
            status = (await client.post(f"{receiver.url}/webhooks/shopify", content=body, headers=headers)).status_code
            if status != 408:
                break
        return status

    async def deliver_all() -> list[int]:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=16)) as client:
            bodies = [json.dumps({"id": number}).encode() for number in range(1, 61)] * 2
            return await asyncio.gather(*(deliver(client, body) for body in bodies))

    before = receiver.inbox.last_seq()
    assert set(asyncio.run(deliver_all())) == {200}
    stored = receiver.inbox.read(before, 1000)
    assert sorted(one.delivery.object_id or 0 for one in stored) == list(range(1, 61))
    assert {one.deliveries for one in stored} == {2}


def wait_until(is_so) -> None:
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come about")
