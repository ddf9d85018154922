"""Amazon SQS as a way in, against moto's server: stored before it is deleted, refused ones stay for the queue's redrive."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from commerce_assets.events import intake_sqs
from commerce_assets.events.inbox import Inbox, InboxUnavailableError
from commerce_assets.events.intake_pace import FetchError
from commerce_assets.events.intake_rules import IntakeRules
from commerce_assets.events.intake_sqs import SqsIntake

pytestmark = pytest.mark.xdist_group("events-intake")
RULES = IntakeRules("ours.myshopify.com", ("secret",))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto's server is not installed (extra `dev`)")
    pytest.importorskip("boto3", reason="boto3 is not installed (extra `events-sqs`)")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        running.stop()


@pytest.fixture
def queue(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[Any, str]:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    client = boto3.client("sqs", region_name="us-east-1", endpoint_url=endpoint)
    name = f"queue-{abs(hash(request.node.name))}"
    return client, client.create_queue(QueueName=name)["QueueUrl"]


@pytest.fixture
def inbox(tmp_path) -> Iterator[Inbox]:
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        yield inbox


def envelope(payload: str, webhook_id: str | None, topic: str = "products/update") -> str:
    """As EventBridge hands over a partner's event."""
    metadata = {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Shop-Domain": "ours.myshopify.com",
        "X-Shopify-Hmac-SHA256": "not looked at",
        "X-Shopify-Triggered-At": "2026-11-21T12:00:00.123456789Z",
        "X-Shopify-Event-Id": "event-1",
    } | ({"X-Shopify-Webhook-Id": webhook_id} if webhook_id else {})
    head = {
        "version": "0",
        "id": "bridge-1",
        "detail-type": "shopifyWebhook",
        "source": "aws.partner/shopify.com/1/app",
        "region": "us-east-1",
    }
    return json.dumps(head)[:-1] + f', "detail": {{"payload": {payload}, "metadata": {json.dumps(metadata)}}}}}'


def waiting(queue: tuple[Any, str]) -> int:
    attributes = queue[0].get_queue_attributes(QueueUrl=queue[1], AttributeNames=["ApproximateNumberOfMessages"])
    return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


def show_at_once(queue: tuple[Any, str]) -> None:
    """What is not deleted can be received again without a pause."""
    queue[0].set_queue_attributes(QueueUrl=queue[1], Attributes={"VisibilityTimeout": "0"})


def test_messages_are_unwrapped_stored_and_deleted(queue: tuple[Any, str], inbox: Inbox, endpoint: str) -> None:
    client, url = queue
    for number in range(12):
        client.send_message(QueueUrl=url, MessageBody=envelope(f'{{"id": {number + 1}, "price": 1.10}}', f"w{number}"))
    client.send_message(QueueUrl=url, MessageBody=envelope('{"id": 99}', None))
    client.send_message(QueueUrl=url, MessageBody=envelope('{"id": 1}', "w0"))
    assert SqsIntake(inbox, RULES, url, endpoint).take_messages() == 13
    assert waiting(queue) == 0
    stored = inbox.by_webhook_id("w4")
    assert stored is not None
    one = stored.delivery
    assert (one.source, one.topic, one.body, one.object_type, one.object_id) == (
        "sqs",
        "products/update",
        b'{"id": 5, "price": 1.10}',
        "Product",
        5,
    )
    assert one.triggered_at is not None
    assert one.event_id == "event-1"
    assert inbox.by_webhook_id("eventbridge:bridge-1") is not None
    assert sum(one.count for one in inbox.counts() if one.outcome == "duplicate") == 1


def test_what_is_refused_stays_in_the_queue_and_is_counted_once(queue: tuple[Any, str], inbox: Inbox, endpoint: str) -> None:
    client, url = queue
    show_at_once(queue)
    bad = ["no json", "{}", envelope("{}", "x", topic="carts/update"), '{"detail": {"payload": {}, "metadata": []}}']
    for text in bad:
        client.send_message(QueueUrl=url, MessageBody=text)
    intake = SqsIntake(inbox, RULES, url, endpoint)
    assert [intake.take_messages(), intake.take_messages()] == [0, 0]
    assert waiting(queue) == len(bad)
    assert {one.reason: one.count for one in inbox.counts()} == {"not_an_envelope": 3, "unknown_topic": 1}


def test_nothing_is_deleted_that_is_not_stored(queue: tuple[Any, str], inbox: Inbox, endpoint: str, monkeypatch) -> None:
    client, url = queue
    show_at_once(queue)
    client.send_message(QueueUrl=url, MessageBody=envelope("{}", "w"))
    intake = SqsIntake(inbox, RULES, url, endpoint)

    def unavailable(*_: object) -> None:
        raise InboxUnavailableError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "append", unavailable)
        with pytest.raises(InboxUnavailableError):
            intake.take_messages()
    assert waiting(queue) == 1
    assert intake.take_messages() == 1


def test_a_queue_that_is_not_there_is_named(queue: tuple[Any, str], inbox: Inbox, endpoint: str) -> None:
    with pytest.raises(FetchError, match="COMMERCE_SQS_QUEUE_URL"):
        SqsIntake(inbox, RULES, f"{queue[1]}-other", endpoint).take_messages()


def test_a_queue_is_followed_until_told_to_stop(
    queue: tuple[Any, str], inbox: Inbox, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_sqs, "WAIT_SECONDS", 0)
    client, url = queue
    stop = threading.Event()
    thread = threading.Thread(target=SqsIntake(inbox, RULES, url, endpoint).run, args=(stop,))
    thread.start()
    client.send_message(QueueUrl=url, MessageBody=envelope("{}", "w"))
    while inbox.by_webhook_id("w") is None:
        assert thread.is_alive()
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
