"""Gates: each names itself, nothing is written behind one that is shut, and each may be passed once, on record."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import Shelf, desired

from commerce_assets.activation.engine import push
from commerce_assets.activation.errors import GuardTrippedError, OverrideError
from commerce_assets.activation.guards import Tripped
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.activation.overrides import allow, unused
from commerce_assets.activation.records import Guards, Sync, ValueRange

SYNC = Sync("memory", "gates", mapped=("segment", "value"))
TEN = {f"k{number}": ("s", str(number)) for number in range(10)}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as made:
        yield made


def refused(sync: Sync, rows: dict[str, tuple[str | None, str | None]], ledger: Ledger, shelf: Shelf, **options: object) -> tuple[str, ...]:
    before = dict(shelf.held)
    with pytest.raises(GuardTrippedError, match="nothing was written") as raised:
        push(sync, desired(rows), ledger, shelf, **options)  # type: ignore[arg-type]
    assert shelf.held == before
    return raised.value.gates


@pytest.mark.parametrize(
    ("guards", "rows", "gate"),
    [
        (Guards(max_rows=9), TEN, "max_rows"),
        (Guards(min_rows=11), TEN, "min_rows"),
        (Guards(values=(ValueRange("value", 0, 8),)), TEN, "values"),
        (Guards(values=(ValueRange("segment", 0, 8),)), TEN, "values"),
    ],
)
def test_a_plan_beyond_its_guards_is_refused_by_name(
    guards: Guards, rows: dict[str, tuple[str | None, str | None]], gate: str, ledger: Ledger
) -> None:
    assert refused(replace(SYNC, guards=guards), rows, ledger, Shelf()) == (gate,)


def test_shares_are_of_known_records_and_a_few_are_never_questioned(ledger: Ledger) -> None:
    shelf = Shelf()
    push(SYNC, desired(TEN), ledger, shelf)
    changed = {key: ("t", value) for key, (_, value) in TEN.items()}
    strict = replace(SYNC, guards=Guards(max_changed_share=0.5, max_removed_share=0.2, always_allowed=0))
    assert refused(strict, changed, ledger, shelf) == ("max_changed_share",)
    assert refused(strict, {"k0": ("s", "0")}, ledger, shelf) == ("max_removed_share",)
    few = {key: TEN[key] for key in list(TEN)[:8]}
    assert push(strict, desired(few), ledger, shelf).removals == 2


def test_rows_without_a_key_are_skipped_until_there_are_too_many(ledger: Ledger) -> None:
    rows = desired({"a": ("s", "1"), "b": ("s", "2")})
    no_keys = rows.with_columns(record_key=rows["record_key"].replace("b", None))
    assert push(SYNC, no_keys, ledger, Shelf()).skipped == {"null_key": 1}
    with pytest.raises(GuardTrippedError) as raised:
        push(replace(SYNC, guards=Guards(max_null_keys=0)), no_keys, ledger, Shelf())
    assert raised.value.gates == ("null_keys",)


def test_a_destination_that_cannot_be_written_to_is_a_gate_with_its_own_words(ledger: Ledger) -> None:
    shelf = Shelf(standing_problems=("scope write_customers is missing: grant it",))
    with pytest.raises(GuardTrippedError, match=r"destination_ready: scope write_customers is missing: grant it"):
        push(SYNC, desired(TEN), ledger, shelf)


def test_all_shut_gates_are_named_at_once_and_recorded(ledger: Ledger) -> None:
    standing = [Tripped("model_freshness", "the model is old"), Tripped("score_receipts", "none"), Tripped("score_receipts", "refused")]
    gates = refused(replace(SYNC, guards=Guards(max_rows=1)), TEN, ledger, Shelf(), standing=standing)
    assert gates == ("model_freshness", "score_receipts", "max_rows")
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("select gate, outcome, message from activation_gates order by gate").all()
    assert [tuple(row)[:2] for row in rows] == [("max_rows", "refused"), ("model_freshness", "refused"), ("score_receipts", "refused")]
    assert rows[2][2] == "none; refused"
    assert ledger.frames()["activation_runs"]["status"].to_list() == ["refused"]


def test_an_override_lets_one_gate_pass_once(ledger: Ledger) -> None:
    shelf, sync = Shelf(), replace(SYNC, guards=Guards(max_rows=3))
    allow(ledger, sync, "max_rows", "ops", "first load of the year")
    report = push(sync, desired(TEN), ledger, shelf)
    assert (report.succeeded, report.overridden) == (10, ("max_rows",))
    assert unused(ledger, sync) == []
    changed = {key: ("t", value) for key, (_, value) in TEN.items()}
    assert refused(sync, changed, ledger, shelf) == ("max_rows",)


def test_an_override_of_one_gate_is_kept_while_another_is_shut(ledger: Ledger) -> None:
    sync = replace(SYNC, guards=Guards(max_rows=3, min_rows=50))
    allow(ledger, sync, "max_rows", "ops", "first load")
    assert refused(sync, TEN, ledger, Shelf()) == ("min_rows",)
    assert [override.gate for override in unused(ledger, sync)] == ["max_rows"]


def test_an_override_needs_a_gate_that_exists_and_a_reason(ledger: Ledger) -> None:
    with pytest.raises(OverrideError, match="there is no gate 'everything'"):
        allow(ledger, SYNC, "everything", "ops", "because")
    with pytest.raises(OverrideError, match="needs a reason"):
        allow(ledger, SYNC, "max_rows", "ops", " ")


def test_gates_are_in_the_ledger_of_a_file_too(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/ops.sqlite"
    with Ledger(url) as ledger:
        refused(replace(SYNC, guards=Guards(max_rows=3)), TEN, ledger, Shelf())
    assert ledger_frames(url)["activation_runs"]["error"].str.contains("max_rows: the plan changes 10 records").to_list() == [True]
