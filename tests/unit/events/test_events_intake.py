"""The ways in that fetch, without their servers: envelopes, the folder of JSON lines, the pace."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.events import intake_pace
from commerce_assets.events.inbox import Inbox, InboxUnavailableError
from commerce_assets.events.intake_folder import FolderIntake
from commerce_assets.events.intake_json import members
from commerce_assets.events.intake_pace import BacklogLimit, Pace
from commerce_assets.events.intake_rules import IntakeRules, object_of
from commerce_assets.events.intake_writer import GroupWriter
from commerce_assets.events.metrics import Progress
from commerce_assets.events.records import Delivery
from commerce_assets.events.topics import TOPICS

RULES = IntakeRules("ours.myshopify.com", ("secret",))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.text(), JSON, max_size=4), indent=st.none() | st.integers(0, 2))
def test_members_are_the_text_as_it_was_written(document: dict[str, object], indent: int | None) -> None:
    text = json.dumps(document, indent=indent)
    found = members(f" {text}\n")
    assert {key: json.loads(value) for key, value in found.items()} == document
    assert all(value in text for value in found.values())


def test_numbers_keep_their_digits() -> None:
    assert members('{"a": {"price": 1.10, "id":123456789012345678901234567890}}') == {
        "a": '{"price": 1.10, "id":123456789012345678901234567890}'
    }


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,}', "{1:2}", "{} x", '{"a":' + "[" * 100_000, "nul"])
def test_what_is_no_object_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError):
        members(text)


@pytest.mark.parametrize(
    ("topic", "body", "object_type", "object_id"),
    [
        ("refunds/create", {"id": 1, "order_id": 2}, "Order", 2),
        ("order_transactions/create", {"id": 1, "order_id": 2, "admin_graphql_api_id": "gid://shopify/OrderTransaction/1"}, "Order", 2),
        ("orders/edited", {"order_edit": {"id": 1, "order_id": 2}}, "Order", 2),
        ("orders/edited", {"order_edit": None}, "Order", None),
        ("customer.tags_added", {"customerId": "gid://shopify/Customer/7"}, "Customer", 7),
        ("customers/redact", {"shop_id": 1, "customer": {"id": 7}}, "Customer", 7),
        ("inventory_levels/update", {"inventory_item_id": 9, "location_id": 1}, "InventoryItem", 9),
        ("bulk_operations/finish", {"admin_graphql_api_id": "gid://shopify/BulkOperation/147"}, "BulkOperation", 147),
        ("products/delete", {"id": 5}, "Product", 5),
        ("wms/stock", {"facts": []}, "StockFact", None),
    ],
)
def test_the_object_of_an_event_is_what_its_topic_says(topic: str, body: object, object_type: str, object_id: int | None) -> None:
    assert object_of(TOPICS[topic], json.dumps(body).encode()) == (object_type, object_id)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with Inbox(f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        yield inbox


def line(body: str, webhook_id: str | None, topic: str = "orders/updated", shop: str = "ours.myshopify.com") -> str:
    headers = {"X-Shopify-Topic": topic, "X-Shopify-Shop-Domain": shop} | ({"X-Shopify-Webhook-Id": webhook_id} if webhook_id else {})
    return f'{{"headers": {json.dumps(headers)}, "body": {body}}}\n'


def put(folder: Path, name: str, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("".join(lines))
    os.utime(path, (0, 0))
    return path


def test_a_folder_s_lines_are_taken_as_written_once_and_put_away(inbox: Inbox, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = put(folder, "a.jsonl", line('{"id": 7,  "price": 1.10}', "w1"), "\n", line('"{\\"id\\": 8}"', "w2"), line("{}", None))
    intake = FolderIntake(inbox, RULES, folder)
    assert intake.take_files() == 3
    stored = [one.delivery for one in inbox.read(0, 10)]
    assert [(one.webhook_id[:7], one.body, one.object_id, one.source) for one in stored] == [
        ("w1", b'{"id": 7,  "price": 1.10}', 7, "folder"),
        ("w2", b'{"id": 8}', 8, "folder"),
        ("folder:", b"{}", None, "folder"),
    ]
    assert not path.exists()
    (done,) = (folder / "done").iterdir()
    os.utime(done.rename(folder / "again.jsonl"), (0, 0))
    assert intake.take_files() == 0
    assert {one.deliveries for one in inbox.read(0, 10)} == {2}


def test_refused_lines_are_counted_and_lie_beside_the_file(inbox: Inbox, tmp_path: Path) -> None:
    bad = [line("{}", "x", shop="other.myshopify.com"), line("{}", "x", topic="carts/update"), "no json\n", '{"body": {}}\n', "[1]\n"]
    put(tmp_path, "b.jsonl", *bad, line("{}", "good"))
    (tmp_path / "b.jsonl").write_bytes((tmp_path / "b.jsonl").read_bytes() + b'{"body": "\xff"}')
    os.utime(tmp_path / "b.jsonl", (0, 0))
    assert FolderIntake(inbox, RULES, tmp_path).take_files() == 1
    (refused,) = (tmp_path / "done").glob("*.refused")
    assert refused.read_bytes().splitlines() == [*(text.strip().encode() for text in bad), b'{"body": "\xff"}']
    rejected = {one.reason: one.count for one in inbox.counts() if one.outcome == "rejected"}
    assert rejected == {"other_shop": 1, "unknown_topic": 1, "not_a_delivery": 3, "missing_header": 1}


def test_a_file_still_being_written_is_left_alone(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text(line("{}", "w"))
    assert FolderIntake(inbox, RULES, tmp_path).take_files() == 0
    assert (tmp_path / "new.jsonl").exists()


def test_a_file_that_could_not_be_stored_is_taken_whole_the_next_time(inbox: Inbox, tmp_path: Path, monkeypatch) -> None:
    path = put(tmp_path, "c.jsonl", line("{}", "w"))
    intake = FolderIntake(inbox, RULES, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "append", unavailable)
        with pytest.raises(InboxUnavailableError):
            intake.take_files()
    assert path.exists()
    assert list((tmp_path / "done").iterdir()) == []
    assert intake.take_files() == 1


def test_a_warehouse_leaves_its_counts_in_the_folder_as_they_are(inbox: Inbox, tmp_path: Path) -> None:
    fact = '{"key": "c1", "kind": "count", "sku": "MUG", "location_id": 1, "quantity": 5, "occurred_at": "2026-11-21T10:00:00Z"}'
    put(tmp_path, "counts.jsonl", f"{fact}\n", f'{{"facts": [{fact}]}}\n', '{"sku": "MUG"}\n')
    assert FolderIntake(inbox, RULES, tmp_path).take_files() == 2
    stored = [event.delivery for event in inbox.read(0, 10)]
    assert [(one.topic, one.object_type, one.object_id) for one in stored] == [("wms/stock", "StockFact", None)] * 2
    assert stored[0].body == fact.encode()
    (refused,) = (tmp_path / "done").glob("*.refused")
    assert refused.read_text() == '{"sku": "MUG"}\n'


def test_a_folder_is_followed_until_told_to_stop(inbox: Inbox, tmp_path: Path) -> None:
    put(tmp_path, "d.jsonl", line("{}", "w"))
    stop = threading.Event()
    thread = threading.Thread(target=FolderIntake(inbox, RULES, tmp_path).run, args=(stop,))
    thread.start()
    while inbox.by_webhook_id("w") is None:
        assert thread.is_alive()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_after_failures_the_pauses_grow_to_a_limit_and_success_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_pace.random, "uniform", lambda low, high: high)
    pauses: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            return False

    pace, stop = Pace(), Stop()
    assert not any(pace.attempt("x", unavailable, stop) for _ in range(8))
    assert pace.attempt("x", lambda stop: None, stop)
    pace.attempt("x", unavailable, stop)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5]


def test_what_nobody_foresaw_ends_no_way_in_and_its_text_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def stumble(_: threading.Event) -> None:
        raise LookupError("ada@example.com")

    stop = threading.Event()
    stop.set()
    pace = Pace()
    assert not pace.attempt("folder", stumble, stop)
    assert pace.attempt("folder", lambda _: None, stop)
    assert "LookupError at test_events_intake.py" in caplog.text
    assert "ada@" not in caplog.text


def test_a_failure_nobody_foresaw_refuses_its_group_and_what_comes_next_is_stored(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def delivery(webhook_id: str) -> Delivery:
        return Delivery("webhook", webhook_id, "orders/create", "ours.myshopify.com", b"{}", datetime.now(UTC))

    def stumble(*_: object) -> None:
        raise LookupError("ada@example.com")

    async def deliver() -> None:
        writer = GroupWriter(inbox)
        writer.start()
        with monkeypatch.context() as patched:
            patched.setattr(inbox, "append", stumble)
            with pytest.raises(InboxUnavailableError, match=r"^((?!ada@).)*$"):
                await writer.store(delivery("w1"))
        assert await writer.store(delivery("w2"))
        await writer.stop()

    asyncio.run(deliver())
    assert [event.delivery.webhook_id for event in inbox.read(0, 10)] == ["w2"]


def test_while_too_much_waits_to_be_worked_nothing_is_fetched(inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_pace, "LOOK_EVERY_SECONDS", 0.01)
    cursors = {"orders": 0}
    put(tmp_path, "e.jsonl", line("{}", "w1"), line("{}", "w2"))
    assert FolderIntake(inbox, RULES, tmp_path).take_files() == 2
    intake = FolderIntake(inbox, RULES, tmp_path, Pace(BacklogLimit(inbox, lambda: Progress(cursors), limit=2)))
    put(tmp_path, "f.jsonl", line("{}", "w3"))
    thread = threading.Thread(target=intake.take_files)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    cursors["orders"] = inbox.last_seq()
    thread.join(10)
    assert inbox.by_webhook_id("w3") is not None


def unavailable(*_: object) -> None:
    raise InboxUnavailableError("gone")
