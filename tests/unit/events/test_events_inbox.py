"""The inbox: stored once, in order, counted, pruned; on SQLite here, on PostgreSQL in integration/test_inbox_postgres.py."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commerce_assets.events.inbox import Inbox, InboxFullError, InboxUnavailableError, Rejection
from commerce_assets.events.records import Delivery

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def delivery(webhook_id: str, topic: str = "orders/updated", body: bytes = b'{"id":1}', **more: object) -> Delivery:
    fields = {"source": "webhook", "shop": "ours.myshopify.com", "received_at": NOON, **more}
    return Delivery(webhook_id=webhook_id, topic=topic, body=body, **fields)  # type: ignore[arg-type]


@pytest.fixture
def inbox(tmp_path: Path):
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        yield inbox


def test_what_is_stored_is_read_back_whole(inbox: Inbox) -> None:
    whole = delivery(
        "a",
        body=b"\xff\x00 not json",
        triggered_at=NOON - timedelta(seconds=3),
        event_id="e",
        api_version="2026-07",
        object_type="Order",
        object_id=2**63 - 1,
        headers={"x-shopify-name": "näme"},
    )
    assert inbox.append([whole, delivery("b")]) == [True, True]
    first, second = inbox.read(0, 10)
    assert first.delivery == whole
    assert second.delivery == delivery("b")
    assert (first.deliveries, first.seq < second.seq, first.stored_at.tzinfo) == (1, True, UTC)
    assert inbox.get([second.seq, 99]) == [second]
    assert inbox.find("Order", 2**63 - 1) == [first]
    assert inbox.by_webhook_id("b") == second
    assert inbox.by_webhook_id("c") is None
    assert inbox.last_seq() == second.seq


def test_a_repeated_webhook_id_is_counted_and_not_stored_again(inbox: Inbox) -> None:
    assert inbox.append([delivery("a"), delivery("a"), delivery("b")]) == [True, False, True]
    assert inbox.append([delivery("b", body=b"other")]) == [False]
    stored = inbox.read(0, 10)
    assert [(one.delivery.webhook_id, one.deliveries, one.delivery.body) for one in stored] == [
        ("a", 2, b'{"id":1}'),
        ("b", 2, b'{"id":1}'),
    ]


def test_reading_goes_on_from_a_cursor_by_topic_and_stops_at_its_limits(inbox: Inbox) -> None:
    inbox.append([delivery(str(n), topic=("orders/create", "products/update", "orders/updated")[n % 3]) for n in range(300)])
    orders = inbox.read(0, 50, topics=("orders/create", "orders/updated"))
    assert [one.delivery.webhook_id for one in orders] == [str(n) for n in range(75) if n % 3 != 1]
    rest = inbox.read(orders[-1].seq, 1000, topics=("orders/create", "orders/updated"))
    assert len(rest) == 150
    assert inbox.read(0, 1000, topics=()) == []
    assert len(inbox.read(0, 1000, max_bytes=20)) == 3
    assert len(inbox.read(0, 1000, max_bytes=1)) == 1
    assert inbox.depth(orders[-1].seq) == 225
    assert inbox.depth(0, topics=("products/update",)) == 100
    (backlog,) = inbox.backlog({"products/update": 0, "orders/delete": 0})
    assert (backlog.topic, backlog.events, backlog.oldest_received_at) == ("products/update", 100, NOON)


def test_counts_survive_and_add_up_by_hour_topic_and_reason(inbox: Inbox, tmp_path: Path) -> None:
    later = NOON + timedelta(hours=1)
    refused = Rejection("webhook", "other", "bad_signature", NOON)
    inbox.append([delivery("a"), delivery("a"), delivery("b", received_at=later)], [refused, refused])
    inbox.append([], [refused])
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as again:
        counts = {(one.hour.hour, one.topic, one.outcome, one.reason): one.count for one in again.counts()}
        assert counts == {
            (12, "orders/updated", "stored", ""): 1,
            (12, "orders/updated", "duplicate", ""): 1,
            (13, "orders/updated", "stored", ""): 1,
            (12, "other", "rejected", "bad_signature"): 3,
        }
        assert [one.count for one in again.counts(since=later)] == [1]


def test_pruning_keeps_what_is_young_unworked_or_wanted_and_numbers_are_not_used_again(inbox: Inbox) -> None:
    inbox.append([delivery(str(n)) for n in range(1200)])
    seqs = [one.seq for one in inbox.read(0, 5000)]
    assert inbox.prune(datetime.now(UTC) - timedelta(hours=1)) == 0
    soon = datetime.now(UTC) + timedelta(seconds=5)
    assert inbox.prune(soon, through_seq=seqs[999], keep={seqs[3], seqs[700]}) == 998
    assert [one.seq for one in inbox.read(0, 5000)] == [seqs[3], seqs[700], *seqs[1000:]]
    assert inbox.prune(soon) == 202
    inbox.append([delivery("new")])
    assert inbox.last_seq() > seqs[-1]


def test_many_writers_store_every_event_once_and_readers_miss_none(inbox: Inbox) -> None:
    seen: list[str] = []
    done = threading.Event()

    def follow() -> None:
        cursor = 0
        while True:
            was_done = done.is_set()
            events = inbox.read(cursor, 20)
            seen.extend(one.delivery.webhook_id for one in events)
            cursor = events[-1].seq if events else cursor
            if was_done and not events:
                return

    def write(start: int) -> None:
        for n in range(start, start + 60, 3):
            inbox.append([delivery(str(n + m)) for m in range(6)])

    reader, writers = threading.Thread(target=follow), [threading.Thread(target=write, args=(n * 30,)) for n in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert sorted(seen, key=int) == [str(n) for n in range(153)]
    assert {one.outcome: one.count for one in inbox.counts()} == {"stored": 153, "duplicate": 4 * 120 - 153}


def test_a_full_database_is_named_keeps_what_it_has_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    with Inbox(f"sqlite:///{path}") as inbox:
        inbox.append([delivery("before")])
        limit_pages(inbox, 40)
        with pytest.raises(InboxFullError, match="no room"):
            inbox.append([delivery(str(n), body=b"x" * 5_000) for n in range(100)])
        assert [one.delivery.webhook_id for one in inbox.read(0, 10)] == ["before"]
        assert inbox.append([delivery(str(n), body=b"x" * 5_000) for n in range(100)]) == [True] * 100
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_database_that_cannot_be_used_is_named_without_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    path.write_bytes(b"this is no database " * 500)
    with pytest.raises(InboxUnavailableError, match="senders try again") as caught:
        Inbox(f"sqlite:///{path}")
    assert caught.value.__cause__ is None


def limit_pages(inbox: Inbox, pages: int) -> None:
    """Let the connection in the pool write no more than so many pages: the limit goes with the connection, which an error closes."""
    with inbox.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
