"""Who is never written: those held out to measure the effect, and those who do not agree."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import Shelf, desired

from commerce_assets.activation.engine import push
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import CONSENT_COLUMN, Consent, Guards, Holdout, Sync
from commerce_assets.activation.sampling import positions
from commerce_assets.activation.undo import undo

SYNC = Sync("memory", "campaign", mapped=("segment", "value"), guards=Guards(max_removed_share=1.0))
HOLDING_OUT = replace(SYNC, holdout=Holdout(0.2, "spring"))
MANY = desired({f"k{number:04}": ("s", str(number)) for number in range(1_000)})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as made:
        yield made


def arms(ledger: Ledger) -> dict[str, str]:
    with ledger.engine.connect() as connection:
        return {key: arm for key, arm in connection.exec_driver_sql("select record_key, arm from activation_arms")}  # noqa: C416


def test_a_stable_share_is_never_written_and_both_arms_are_recorded(ledger: Ledger) -> None:
    shelf = Shelf()
    report = push(HOLDING_OUT, MANY, ledger, shelf)
    held_out = {key for key, arm in arms(ledger).items() if arm == "holdout"}
    assert 150 < len(held_out) < 250
    assert report.skipped == {"held_out": len(held_out)}
    assert report.desired == report.planned + report.unchanged + sum(report.skipped.values())
    assert set(shelf.held) == set(arms(ledger)) - held_out
    changed = MANY.with_columns(segment=pl.lit("t"))
    push(HOLDING_OUT, pl.concat([changed, desired({"new": ("s", "1")})]), ledger, shelf)
    assert not held_out & set(shelf.held)
    assert {key for key, arm in arms(ledger).items() if arm == "holdout" and key != "new"} == held_out


def test_an_arm_is_for_ever_also_when_the_share_changes(ledger: Ledger) -> None:
    push(HOLDING_OUT, MANY, ledger, Shelf())
    before = arms(ledger)
    push(replace(HOLDING_OUT, holdout=Holdout(0.9, "spring")), MANY, ledger, Shelf())
    assert arms(ledger) == before


def test_records_written_before_the_holdout_go_on_and_are_in_neither_arm(ledger: Ledger) -> None:
    shelf = Shelf()
    push(SYNC, MANY.head(500), ledger, shelf)
    push(HOLDING_OUT, MANY.with_columns(segment=pl.lit("t")), ledger, shelf)
    by_arm = pl.DataFrame(list(arms(ledger).items()), schema=["key", "arm"], orient="row").group_by("arm").len().sort("arm")
    assert by_arm["arm"].to_list() == ["before", "holdout", "treated"]
    assert by_arm["len"].to_list()[0] == 500
    assert all(shelf.held[key]["segment"] == "t" for key in MANY["record_key"].head(500))


def test_planning_assigns_nobody(ledger: Ledger) -> None:
    report = push(HOLDING_OUT, MANY, ledger, Shelf(), dry_run=True)
    assert report.skipped["held_out"] > 0
    assert arms(ledger) == {}


@settings(max_examples=30, deadline=None)
@given(salt=st.text(max_size=20), share=st.floats(0.05, 0.95))
def test_places_of_keys_are_uniform_and_stable(salt: str, share: float) -> None:
    keys = pl.Series("key", [f"gid://shopify/Customer/{number}" for number in range(4_000)])
    places = positions(keys, salt)
    assert places.equals(positions(keys, salt))
    assert abs((places < share).mean() - share) < 0.05
    assert places.is_between(0, 1, closed="left").all()


def test_salts_are_independent() -> None:
    keys = pl.Series("key", [f"k{number}" for number in range(4_000)])
    both = ((positions(keys, "one") < 0.5) & (positions(keys, "other") < 0.5)).mean()
    assert abs(both - 0.25) < 0.05


AGREEING = replace(SYNC, consent=Consent("email"))
THREE = {"a": ("s", "1"), "b": ("s", "2"), "c": ("s", "3")}


class Asked:
    """Whom the storefront says agree; remembers who was asked for."""

    def __init__(self, *agreeing: str) -> None:
        self.agreeing, self.keys = set(agreeing), list[str]()

    def __call__(self, keys: Sequence[str]) -> set[str]:
        self.keys += keys
        return self.agreeing & set(keys)


def test_those_who_do_not_agree_are_in_no_plan_and_leave_the_audience(ledger: Ledger) -> None:
    shelf = Shelf()
    push(AGREEING, desired(THREE, **{CONSENT_COLUMN: [True, True, False]}), ledger, shelf, consents=Asked("a", "b", "c"))
    assert set(shelf.held) == {"a", "b"}
    report = push(AGREEING, desired(THREE, **{CONSENT_COLUMN: [True, False, None]}), ledger, shelf, consents=Asked("a"))
    assert (report.removals, report.skipped) == (1, {"no_consent": 2})
    assert set(shelf.held) == {"a"}


def test_consent_withdrawn_since_the_warehouse_was_built_counts_at_the_last_moment(ledger: Ledger) -> None:
    shelf, asked = Shelf(), Asked("a", "c")
    report = push(AGREEING, desired(THREE, **{CONSENT_COLUMN: [True] * 3}), ledger, shelf, consents=asked)
    assert asked.keys == ["a", "b", "c"]
    assert (report.creates, report.succeeded, report.skipped) == (3, 2, {"no_consent": 1})
    assert set(shelf.held) == {"a", "c"}
    assert ledger.frames()["activation_runs"]["no_consent_count"].to_list() == [1]


def test_an_undo_brings_nobody_back_who_has_left(ledger: Ledger) -> None:
    shelf = Shelf()
    push(AGREEING, desired(THREE, **{CONSENT_COLUMN: [True] * 3}), ledger, shelf, consents=Asked("a", "b", "c"))
    emptied = push(AGREEING, desired(THREE, **{CONSENT_COLUMN: [True, False, False]}), ledger, shelf, consents=Asked("a"))
    undone = undo(AGREEING, emptied.run_id or "", ledger, shelf, consents=Asked("a", "b"))
    assert undone.succeeded == 1
    assert set(shelf.held) == {"a", "b"}


def test_a_sync_that_needs_consent_is_never_pushed_without_anybody_to_ask(ledger: Ledger) -> None:
    with pytest.raises(DesiredStateError, match="do not say who agrees"):
        push(AGREEING, desired(THREE), ledger, Shelf(), consents=Asked())
    with pytest.raises(AssertionError, match="where to ask for it"):
        push(AGREEING, desired(THREE, **{CONSENT_COLUMN: [True] * 3}), ledger, Shelf())
