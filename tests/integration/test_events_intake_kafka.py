"""A Kafka topic as a way in, against librdkafka's mock broker: offsets are committed only after the inbox has the messages."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from commerce_assets.events.inbox import Inbox, InboxUnavailableError
from commerce_assets.events.intake_kafka import KafkaIntake
from commerce_assets.events.intake_rules import IntakeRules
from commerce_assets.events.signatures import sign

pytestmark = pytest.mark.xdist_group("events-intake")
RULES = IntakeRules("ours.myshopify.com", ("secret",))
# The older protocol lets a mock broker wait for three seconds before a group begins.
QUICK = {"topic.metadata.refresh.interval.ms": 100, "group.protocol": "consumer", "fetch.wait.max.ms": 20, "allow.auto.create.topics": True}


class Cluster:
    """A broker inside the producer's library, reachable on loopback."""

    def __init__(self) -> None:
        kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (extra `events-kafka`)")
        self.kafka = kafka
        self.producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "made.by.the.mock", "log_level": 0})
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        self.brokers = f"{broker.host}:{broker.port}"

    def send(self, topic: str, body: bytes | None, webhook_id: str | None = None, shop: str = "ours.myshopify.com", **more: str) -> None:
        headers = {"X-Shopify-Topic": "orders/updated", "X-Shopify-Shop-Domain": shop, **more}
        if webhook_id:
            headers["X-Shopify-Webhook-Id"] = webhook_id
        self.producer.produce(topic, body, headers=list(headers.items()), partition=0)
        assert self.producer.flush(10) == 0

    def committed(self, topic: str) -> int:
        consumer = self.kafka.Consumer({"bootstrap.servers": self.brokers, "group.id": "g", "log_level": 0})
        try:
            (position,) = consumer.committed([self.kafka.TopicPartition(topic, 0)], timeout=10)
        finally:
            consumer.close()
        return int(position.offset)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def inbox(tmp_path) -> Iterator[Inbox]:
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        yield inbox


class Running:
    """A way in that runs beside the test."""

    def __init__(self, cluster: Cluster, inbox: Inbox, topic: str) -> None:
        self.stop = threading.Event()
        intake = KafkaIntake(inbox, RULES, cluster.brokers, topic, "g", config=QUICK)
        self.thread = threading.Thread(target=intake.run, args=(self.stop,))

    def __enter__(self) -> "Running":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def test_messages_are_stored_as_they_are_then_committed(cluster: Cluster, inbox: Inbox) -> None:
    body = b'{"id": 7,  "price": 1.10}'
    cluster.send("stored", body, "w1", **{"X-Shopify-Hmac-Sha256": sign(body, "secret")})
    cluster.send("stored", b"\xff no json", "w2")
    cluster.send("stored", b"{}")
    cluster.send("stored", body, "w1")
    with Running(cluster, inbox, "stored"):
        wait_until(lambda: cluster.committed("stored") == 4)
    stored = [one.delivery for one in inbox.read(0, 10)]
    assert [(one.webhook_id, one.body, one.object_id, one.source) for one in stored] == [
        ("w1", body, 7, "kafka"),
        ("w2", b"\xff no json", None, "kafka"),
        ("kafka:stored:0:2", b"{}", None, "kafka"),
    ]
    cluster.send("stored", b"{}", "w3")
    with Running(cluster, inbox, "stored"):
        wait_until(lambda: inbox.by_webhook_id("w3") is not None)
    assert sum(one.count for one in inbox.counts() if one.outcome == "duplicate") == 1


def test_what_is_refused_is_counted_and_passed(cluster: Cluster, inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    cluster.send("refused", b"secret body", "w1", shop="other.myshopify.com")
    cluster.send("refused", b"secret body", "w2", **{"X-Shopify-Hmac-Sha256": "forged"})
    cluster.send("refused", None, "w3")
    with Running(cluster, inbox, "refused"):
        wait_until(lambda: cluster.committed("refused") == 3)
    assert {one.reason: one.count for one in inbox.counts()} == {"other_shop": 1, "bad_signature": 1, "no_body": 1}
    assert "topic refused, partition 0, offset 1" in caplog.text
    assert "secret body" not in caplog.text


def test_what_cannot_be_stored_is_not_committed_and_comes_again(cluster: Cluster, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    append, tries = inbox.append, []

    def fails_once(*arguments: Any) -> list[bool]:
        if arguments[0] and not tries:
            tries.append(cluster.committed("again"))
            raise InboxUnavailableError("gone")
        return append(*arguments)

    monkeypatch.setattr(inbox, "append", fails_once)
    cluster.send("again", b"{}", "w1")
    with Running(cluster, inbox, "again"):
        wait_until(lambda: inbox.by_webhook_id("w1") is not None)
        wait_until(lambda: cluster.committed("again") == 1)
    assert tries[0] < 0


def wait_until(is_so) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")
