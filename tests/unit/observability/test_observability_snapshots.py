"""Copies of the books for the figures: complete, typed also when empty, without a body, whole or not at all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from observed_events import NOW, Observed, observed

from commerce_assets.config import Settings
from commerce_assets.events import books
from commerce_assets.events.stock import tables as stock
from commerce_assets.observability import snapshots


@pytest.fixture
def events(tmp_path: Path) -> Observed:
    return observed(tmp_path)


def test_an_installation_without_events_has_every_table_typed_and_empty(tmp_path: Path) -> None:
    settings = Settings(data_root=tmp_path, _env_file=None)
    counts = {**snapshots.take_event_log(settings), **snapshots.take_stock(settings)}
    assert set(counts) == set(snapshots.TABLES) - {"snapshots"}
    assert set(counts.values()) == {0}
    assert {name: dict(snapshots.read(settings.lake_root, name).schema) for name in snapshots.TABLES} == snapshots.TABLES
    assert not (tmp_path / "inbox.sqlite").exists(), "looking makes nothing"
    assert not (tmp_path / "events.sqlite").exists()


def test_every_event_is_copied_once_whether_a_lane_took_it_or_not(events: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAGE_ROWS", 2)
    seqs = [events.receive(f"w{number}") for number in range(5)]
    for seq in seqs[:3]:
        events.decide(seq, books.APPLIED, batch_id="20261121T120000000000-orders", source_file="storefront/orders/x.jsonl", line=seq)
    waiting = events.receive("c1", "customers/update", 7)
    snapshots.take_event_log(events.settings, NOW)
    copied = snapshots.read(events.settings.lake_root, "events").sort("seq")
    assert copied.select("seq", "state", "lane").rows() == [
        *((seq, "applied", "orders") for seq in seqs[:3]),
        *((seq, "stored", "orders") for seq in seqs[3:]),
        (waiting, "stored", "customers"),
    ]
    assert copied["received_at"].to_list() == [NOW - timedelta(seconds=60)] * 6
    assert copied["line"].to_list()[:3] == seqs[:3]


def test_a_later_copy_follows_what_moved_and_keeps_what_had_ended(events: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAGE_ROWS", 2)
    ended, dead, pending, waiting = (events.receive(f"w{number}", object_id=number) for number in range(4))
    events.decide(ended, books.APPLIED)
    events.decide(dead, books.DEAD, reason="OrderShape")
    events.decide(pending, books.PENDING)
    snapshots.take_event_log(events.settings, NOW)
    with events.books.begin() as connection:
        connection.execute(sa.update(books.STATES).where(books.STATES.c.seq == dead).values(state=books.DISCARDED))
        connection.execute(sa.update(books.STATES).where(books.STATES.c.seq == pending).values(state=books.APPLIED))
    events.decide(waiting, books.SUPERSEDED)
    new = events.receive("w4", object_id=4)
    for _ in range(2):
        snapshots.take_event_log(events.settings, NOW)
        copied = snapshots.read(events.settings.lake_root, "events").sort("seq")
        assert copied.select("seq", "state").rows() == [
            (ended, "applied"),
            (dead, "discarded"),
            (pending, "applied"),
            (waiting, "superseded"),
            (new, "stored"),
        ]
    snapshots.take_event_log(events.settings, NOW + timedelta(days=31))
    assert snapshots.read(events.settings.lake_root, "events")["state"].to_list() == ["stored"], "what waits is never too old"


def test_a_copy_of_other_databases_is_not_continued(events: Observed, tmp_path: Path) -> None:
    for number in range(3):
        events.decide(events.receive(f"w{number}"), books.APPLIED)
    snapshots.take_event_log(events.settings, NOW)
    events.inbox.close()
    events.books.dispose()
    for path in tmp_path.glob("*.sqlite*"):
        path.unlink()
    anew = observed(tmp_path)
    anew.decide(anew.receive("other"), books.APPLIED)
    snapshots.take_event_log(anew.settings, NOW)
    assert snapshots.read(anew.settings.lake_root, "events")["webhook_id"].to_list() == ["other"]


def test_events_older_than_what_is_kept_are_left_out(events: Observed) -> None:
    old, new = events.receive("old", ago=86_400 * 31), events.receive("new")
    for seq in (old, new):
        events.decide(seq, books.APPLIED)
    assert snapshots.take_event_log(events.settings, NOW)["events"] == 1
    assert snapshots.read(events.settings.lake_root, "events")["webhook_id"].to_list() == ["new"]


def test_no_copied_column_can_hold_a_body_a_header_or_what_people_wrote(events: Observed) -> None:
    columns = {column for schema in snapshots.TABLES.values() for column in schema}
    assert columns.isdisjoint({"body", "headers", "why", "row", "fields", "state_json"})
    events.decide(events.receive("w1", name="#SECRET"), books.DEAD, reason="OrderShape")
    snapshots.take_event_log(events.settings, NOW)
    for path in (events.settings.lake_root / "observability").rglob("*.parquet"):
        assert b"SECRET" not in path.read_bytes(), path


def test_micro_batches_are_summed_up_by_day(events: Observed) -> None:
    batch = {"lane": "orders", "family": "orders", "kind": "payloads", "status": "landed", "events": 10, "objects": 8, "opened_at": NOW}
    names = ("20261120T235959000000-orders", "20261121T000000000000-orders", "20261121T000001000000-orders")
    events.write(books.BATCHES, [{**batch, "batch_id": name, "rows": 30, "quarantined": 1} for name in names])
    snapshots.take_event_log(events.settings, NOW)
    landings = snapshots.read(events.settings.lake_root, "landings").sort("day")
    assert landings.select("day", "batch_count", "event_count", "row_count", "quarantined_count").rows() == [
        ("20261120", 1, 10, 30, 1),
        ("20261121", 2, 20, 60, 2),
    ]


def test_what_people_did_is_copied_with_who_and_when(events: Observed) -> None:
    action = {"seq": 1, "action": "replay", "taken_by": "ada", "taken_at": NOW, "why": "fixed", "topic": "orders/create"}
    events.write(books.ACTIONS, [{**action, "object_type": "Order", "object_id": 1, "was_reason": "OrderShape"}])
    snapshots.take_event_log(events.settings, NOW)
    copied = snapshots.read(events.settings.lake_root, "interventions")
    assert copied.select("kind", "taken_by", "object_id", "was_reason", "row_count").rows() == [("replay", "ada", 1, "OrderShape", 1)]


def test_a_shelf_is_copied_with_its_sku_and_its_target(events: Observed) -> None:
    shelf = {"item_id": 1, "location_id": 2, "available_quantity": 7, "seen_quantity": 9, "confirmed_at": NOW, "seen_at": NOW}
    events.write(stock.ITEMS, [{"item_id": 1, "variant_id": 9, "sku": "MUG", "is_tracked": True, "tier": 1, "learnt_at": NOW}])
    events.write(stock.SHELVES, [shelf])
    events.write(stock.TARGETS, [{"item_id": 1, "location_id": 2, "quantity": 7, "version": 1, "state": "due"}])
    snapshots.take_stock(events.settings, NOW)
    (row,) = snapshots.read(events.settings.lake_root, "stock_shelves").to_dicts()
    assert (row["sku"], row["available_quantity"], row["seen_quantity"], row["target_state"]) == ("MUG", 7, 9, "due")
    assert row["confirmed_at"] == NOW


def test_a_copy_that_fails_leaves_the_one_before(events: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    events.receive("w1")
    snapshots.take_event_log(events.settings, NOW)
    events.receive("w2")

    def broken(*_: object) -> object:
        yield pl.DataFrame(schema=snapshots.TABLES["events"])
        raise OSError("no room")

    monkeypatch.setattr(snapshots, "_events", broken)
    with pytest.raises(OSError, match="no room"):
        snapshots.take_event_log(events.settings, NOW)
    assert snapshots.read(events.settings.lake_root, "events").height == 1


def test_the_books_of_the_last_hours_say_what_landed_in_a_family(events: Observed) -> None:
    report = {"family": "orders", "partitions": [], "rows": 5, "quarantined": 1, "events": {"applied": 4, "dead": 1}, "finished_at": NOW}
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    events.write(books.REPORTS, [{**report, "batch_id": f"{stamp}-orders"}, {**report, "batch_id": "20200101T000000000000-orders"}])
    found = snapshots.landed_events(events.settings.events_database, "orders", hours=24)
    assert (found.rows, found.quarantined, found.events, found.batches) == (5, 1, {"applied": 4, "dead": 1}, 1)
