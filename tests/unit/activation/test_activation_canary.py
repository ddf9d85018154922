"""The canary: a part first, the rest only when that part came out well."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from shelf import Shelf, desired

from commerce_assets.activation.engine import push
from commerce_assets.activation.errors import CanaryStoppedError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.overrides import allow
from commerce_assets.activation.records import CANARY_COLUMN, Canary, Sync
from commerce_assets.activation.undo import undo

SYNC = Sync("memory", "canary", mapped=("segment", "value"), canary=Canary(share=0.1, at_least=5))
HUNDRED = desired({f"k{number:03}": ("s", str(number)) for number in range(100)})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as made:
        yield made


@contextmanager
def another_ledger() -> Iterator[Ledger]:
    with TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ops.sqlite") as made:
        yield made


def last_run(ledger: Ledger) -> dict[str, object]:
    return ledger.frames()["activation_runs"].row(-1, named=True)


def test_the_same_part_goes_first_every_time_and_the_rest_follows(ledger: Ledger) -> None:
    shelf, other = Shelf(), Shelf()
    report = push(SYNC, HUNDRED, ledger, shelf)
    assert (report.succeeded, report.canary, report.canary_failed, report.canary_differing) == (100, 10, 0, 0)
    with another_ledger() as another:
        push(SYNC, HUNDRED, another, other)
    assert set(shelf.order[:10]) == set(other.order[:10])
    assert shelf.order[:10] != sorted(shelf.held)[:10]
    assert last_run(ledger)["canary_count"] == 10


def test_a_canary_that_fails_stops_the_run_before_the_rest(ledger: Ledger) -> None:
    first = Shelf()
    with another_ledger() as another:
        push(SYNC, HUNDRED, another, first)
    shelf = Shelf(refused=set(first.order[:3]))
    with pytest.raises(CanaryStoppedError, match=r"stopped after the canary: 3 of 10 failed, more than 2.0%"):
        push(SYNC, HUNDRED, ledger, shelf)
    assert len(shelf.held) == 7
    assert (last_run(ledger)["status"], last_run(ledger)["canary_failed_count"]) == ("stopped", 3)


def test_a_canary_that_reads_back_differently_stops_the_run_and_can_be_undone(ledger: Ledger) -> None:
    first = Shelf()
    with another_ledger() as another:
        push(SYNC, HUNDRED, another, first)
    shelf = Shelf(forgotten={first.order[0]})
    with pytest.raises(CanaryStoppedError, match=r"1 of 10 read back differently"):
        push(SYNC, HUNDRED, ledger, shelf)
    assert len(shelf.held) == 9
    undone = undo(SYNC, str(last_run(ledger)["run_id"]), ledger, shelf)
    assert (undone.succeeded, undone.already) == (9, 1)
    assert shelf.held == {}


def test_the_run_after_a_stop_goes_on_from_there(ledger: Ledger) -> None:
    first = Shelf()
    with another_ledger() as another:
        push(SYNC, HUNDRED, another, first)
    shelf = Shelf(refused=set(first.order[:3]))
    with pytest.raises(CanaryStoppedError):
        push(SYNC, HUNDRED, ledger, shelf)
    shelf.refused.clear()
    report = push(SYNC, HUNDRED, ledger, shelf)
    assert report.planned == report.succeeded == 93
    assert len(shelf.held) == 100


def test_the_stop_can_be_passed_once_by_name(ledger: Ledger) -> None:
    shelf = Shelf(refused={f"k{number:03}" for number in range(100)} - {"k000"})
    allow(ledger, SYNC, "canary", "ops", "the other ninety-nine are known to be refused")
    assert push(SYNC, HUNDRED, ledger, shelf).failed == 99


def test_a_small_plan_is_written_as_one(ledger: Ledger) -> None:
    report = push(SYNC, HUNDRED.head(5), ledger, Shelf(refused={"k000", "k001"}))
    assert (report.canary, report.failed) == (0, 2)


def test_a_column_may_mark_the_part(ledger: Ledger) -> None:
    marked = HUNDRED.with_columns((HUNDRED["value"].cast(int) % 25 == 0).alias(CANARY_COLUMN))
    shelf = Shelf()
    report = push(replace(SYNC, canary=Canary(share=0.0, column="is_first_store", at_least=2)), marked, ledger, shelf)
    assert report.canary == 4
    assert set(shelf.order[:4]) == {"k000", "k025", "k050", "k075"}
