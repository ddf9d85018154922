"""What each mode of a sync does about records that are new, changed, gone from the set, or there already."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import Shelf, desired

from commerce_assets.activation.engine import push
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Guards, Sync

SYNC = Sync("memory", "modes", mapped=("segment", "value"), guards=Guards(max_removed_share=1.0))
BEFORE = desired({"a": ("vip", "1"), "b": ("new", "2")})
AFTER = desired({"a": ("lapsed", "1"), "c": ("new", "3")})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as made:
        yield made


def test_upsert_writes_new_and_changed_and_leaves_what_left_the_set(ledger: Ledger) -> None:
    sync, shelf = replace(SYNC, mode="upsert"), Shelf()
    push(sync, BEFORE, ledger, shelf)
    report = push(sync, AFTER, ledger, shelf)
    assert (report.creates, report.updates, report.removals) == (1, 1, 0)
    assert shelf.held == {
        "a": {"segment": "lapsed", "value": "1"},
        "b": {"segment": "new", "value": "2"},
        "c": {"segment": "new", "value": "3"},
    }


def test_mirror_takes_away_only_what_the_sync_itself_wrote(ledger: Ledger) -> None:
    shelf = Shelf(records={"theirs": {"segment": "by hand", "value": None}})
    push(SYNC, BEFORE, ledger, shelf)
    report = push(SYNC, AFTER, ledger, shelf)
    assert report.removals == 1
    assert set(shelf.held) == {"a", "c", "theirs"}


def test_insert_only_never_changes_and_counts_why(ledger: Ledger) -> None:
    sync, shelf = replace(SYNC, mode="insert_only"), Shelf()
    push(sync, BEFORE, ledger, shelf)
    report = push(sync, AFTER, ledger, shelf)
    assert (report.creates, report.updates, report.removals, report.skipped) == (1, 0, 0, {"already_written": 1})
    assert report.desired == report.planned + report.unchanged + sum(report.skipped.values())
    assert shelf.held["a"] == {"segment": "vip", "value": "1"}
    assert shelf.expectations == {"absent"}


def test_insert_only_leaves_what_somebody_else_put_there_and_asks_once(ledger: Ledger) -> None:
    sync, shelf = replace(SYNC, mode="insert_only"), Shelf(records={"a": {"segment": "by hand", "value": None}}, reads_new=True)
    first = push(sync, BEFORE, ledger, shelf)
    assert (first.succeeded, first.skipped) == (1, {"already there": 1})
    assert shelf.held["a"] == {"segment": "by hand"}
    assert push(sync, BEFORE, ledger, shelf).planned == 0


def test_update_only_tells_the_destination_that_the_record_has_to_be_there(ledger: Ledger) -> None:
    shelf = Shelf()
    push(replace(SYNC, mode="update_only"), BEFORE, ledger, shelf)
    assert shelf.expectations == {"present"}


def test_append_sends_each_event_once_whatever_becomes_of_it_in_the_model(ledger: Ledger) -> None:
    sync, shelf = replace(SYNC, mode="append"), Shelf(can_read=False)
    push(sync, BEFORE, ledger, shelf)
    report = push(sync, AFTER, ledger, shelf)
    assert (report.creates, report.skipped) == (1, {"already_written": 1})
    assert shelf.order == ["a", "b", "c"]


def test_failed_records_come_back_in_the_next_run_and_only_they(ledger: Ledger) -> None:
    shelf = Shelf(refused={"b"})
    assert push(SYNC, BEFORE, ledger, shelf).failed == 1
    shelf.refused.clear()
    shelf.order.clear()
    assert push(SYNC, BEFORE, ledger, shelf).succeeded == 1
    assert shelf.order == ["b"]


def test_a_null_clears_or_leaves_as_the_field_says(ledger: Ledger) -> None:
    shelf = Shelf()
    keeping = replace(SYNC, kept_when_null=("value",))
    push(keeping, BEFORE, ledger, shelf)
    without = desired({"a": ("vip", None), "b": ("now lapsed", None)})
    report = push(keeping, without, ledger, shelf)
    assert (report.updates, report.unchanged) == (1, 1)
    assert shelf.held == {"a": {"segment": "vip", "value": "1"}, "b": {"segment": "now lapsed", "value": "2"}}
    clearing = push(replace(SYNC, kept_when_null=()), without, ledger, shelf)
    assert clearing.updates == 2
    assert shelf.held == {"a": {"segment": "vip"}, "b": {"segment": "now lapsed"}}


def test_what_is_made_of_the_whole_is_made_also_when_nothing_changed(ledger: Ledger) -> None:
    shelf = Shelf()
    push(SYNC, BEFORE, ledger, shelf)
    push(SYNC, BEFORE, ledger, shelf)
    assert shelf.finished == 2
