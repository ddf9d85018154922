"""The inbox on PostgreSQL: the same behaviour, no event missed by readers beside many writers, and a lost server is named."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from postgres_server import running_postgres
from receiver_client import RULES, running_receiver

from commerce_assets.events.inbox import METADATA, Inbox, InboxUnavailableError, Rejection
from commerce_assets.events.receiver import ReceiverOptions
from commerce_assets.events.records import Delivery

pytestmark = pytest.mark.xdist_group("events-receiver")
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
def inbox(url: str) -> Iterator[Inbox]:
    with Inbox(url) as inbox:
        yield inbox
        METADATA.drop_all(inbox.engine)


def delivery(webhook_id: str, topic: str = "orders/updated", **more: object) -> Delivery:
    fields = {"source": "webhook", "shop": "ours.myshopify.com", "body": b"{}", "received_at": NOON, **more}
    return Delivery(webhook_id=webhook_id, topic=topic, **fields)  # type: ignore[arg-type]


def test_stored_once_read_whole_counted_and_pruned(inbox: Inbox) -> None:
    whole = delivery(
        "whole",
        body=b"\x00\xff",
        triggered_at=NOON,
        event_id="e",
        object_type="Order",
        object_id=2**63 - 1,
        headers={"x-shopify-name": "ä"},
    )
    refused = Rejection("webhook", "other", "bad_signature", NOON, 2)
    assert inbox.append([whole, *(delivery(str(n), ("orders/create", "products/update")[n % 2]) for n in range(250))]) == [True] * 251
    assert inbox.append([delivery("3"), delivery("new"), delivery("3"), delivery("new")], [refused]) == [False, True, False, False]
    (stored,) = inbox.find("Order", 2**63 - 1)
    assert stored.delivery == whole
    repeated = inbox.by_webhook_id("3")
    assert repeated is not None
    assert repeated.deliveries == 3
    products = inbox.read(0, 20, topics=("products/update", "products/create"))
    assert [one.delivery.webhook_id for one in products] == [str(n) for n in range(1, 41, 2)]
    assert inbox.depth(products[-1].seq, topics=("products/update",)) == 105
    (backlog,) = inbox.backlog({"products/update": products[-1].seq})
    assert (backlog.events, backlog.oldest_received_at) == (105, NOON)
    assert {(topic, outcome): count for (_, topic, outcome, _), count in inbox.totals().items()} == {
        ("orders/create", "stored"): 125,
        ("products/update", "stored"): 125,
        ("orders/updated", "stored"): 2,
        ("orders/updated", "duplicate"): 3,
        ("other", "rejected"): 2,
    }
    last = inbox.last_seq()
    assert inbox.prune(datetime.now(UTC) + timedelta(seconds=5), through_seq=last - 1, keep={stored.seq}) == 250
    assert [one.seq for one in inbox.read(0, 10)] == [stored.seq, last]


def test_a_reader_beside_many_writers_misses_nothing(inbox: Inbox) -> None:
    """Without the lock, a smaller `seq` could be committed after a larger one that the reader has already seen."""
    seen: list[str] = []
    done = threading.Event()

    def follow() -> None:
        cursor = 0
        while True:
            was_done = done.is_set()
            events = inbox.read(cursor, 1_000)
            seen.extend(one.delivery.webhook_id for one in events)
            cursor = events[-1].seq if events else cursor
            if was_done and not events:
                return

    def write(writer: int) -> None:
        for n in range(25):
            inbox.append([delivery(f"{writer}-{n}-{m}") for m in range(1 + n % 4)])

    reader, writers = threading.Thread(target=follow), [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert len(seen) == len(set(seen)) == inbox.depth(0)


def test_the_receiver_stores_there_and_survives_lost_connections(inbox: Inbox) -> None:
    with running_receiver(inbox, ReceiverOptions(RULES)) as receiver:
        assert receiver.deliver(b'{"id": 7}', webhook_id="a").json() == {"status": "stored"}
        end_other_sessions(inbox)
        statuses = [receiver.deliver(b'{"id": 7}', webhook_id="b").status_code for _ in range(3)]
        assert statuses[-1] == 200
        assert set(statuses) <= {200, 503}
    assert [one.delivery.webhook_id for one in inbox.find("Order", 7)] == ["a", "b"]


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(InboxUnavailableError, match="senders try again"):
        Inbox("postgresql+psycopg2://nobody@127.0.0.1:1/none")


def end_other_sessions(inbox: Inbox) -> None:
    with inbox.engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))
