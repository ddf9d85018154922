"""What every destination has to do, whatever is behind it. Each test goes through the engine, with a ledger of its own.

A destination is known here by its rig (tests/rigs): a fresh outside world with faults on demand. What a rig has not (its traits) is skipped
with the reason; a rig that is missing fails.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
import sqlalchemy as sa
from postgres_server import running_postgres
from rigs.base import Rig, Trait
from rigs.quick import one_database_for_fingerprints

from commerce_assets.activation.engine import PushReport, push
from commerce_assets.activation.errors import DestinationUnavailableError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Change, Destination, Mode, RowResult
from commerce_assets.activation.resync import resync
from commerce_assets.activation.undo import UndoReport, undo

RIGS = {
    "memory": ("rigs.memory", "MemoryRig"),
    "shopify": ("rigs.shopify", "ShopifyRig"),
    "file": ("rigs.file", "FileRig"),
    "http": ("rigs.http", "HttpRig"),
    "duckdb": ("rigs.sql", "DuckDbRig"),
    "postgres": ("rigs.sql", "PostgresRig"),
}
RUNS_TO_RECOVER = 4
MOST_ROWS = 2_000
"""Above so many rows a call, one call more is for the destination's own tests: a ledger of so many rows takes seconds."""
MISSING: Mapping[Trait, str] = {
    "reads": "cannot tell what it holds",
    "refuses": "refuses no single record",
    "throttles": "never says later",
    "cuts": "loses no answers",
    "makes_records": "cannot make records",
    "loses_records": "nobody else deletes its records",
}

Records = Mapping[str, Mapping[str, str | None]]
NewRig = Callable[[], Rig]


class KilledError(BaseException):
    """Stands for a process that ends."""


class Killed:
    """A destination whose process ends in its first `load`, before it wrote anything or after it wrote all."""

    def __init__(self, inner: Destination, when: Literal["before", "after"]) -> None:
        self._inner, self._when = inner, when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        if self._when == "after":
            list(self._inner.load(changes, path))
        raise KilledError


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            # Nothing here outlives the server: it need not wait for the disk.
            connection.exec_driver_sql("alter system set fsync to off")
            connection.exec_driver_sql("select pg_reload_conf()")
        yield url


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.xdist_group("contract_postgres" if name == "postgres" else name)) for name in RIGS]
)
def new_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewRig]:
    """Makes rigs of one kind, each a world of its own."""
    module, kind = RIGS[request.param]
    made: list[Rig] = []

    def make() -> Rig:
        if request.param == "postgres":
            place = request.getfixturevalue("postgres_url")
        else:
            place = tmp_path / f"outside-{len(made)}"
            place.mkdir()
        make_one = getattr(importlib.import_module(module), kind)
        # Not every world outside needs a place for it.
        made.append(make_one(place) if inspect.signature(make_one).parameters else make_one())
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(new_rig: NewRig) -> Rig:
    return new_rig()


@pytest.fixture(scope="module", autouse=True)
def quick_fingerprints() -> Iterator[None]:
    with one_database_for_fingerprints():
        yield


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open for the whole test: each opening looks at every table and compiles every statement anew."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


def ledger_beside(ledger: Ledger, name: str) -> Ledger:
    """Another, that knows nothing of this one."""
    return Ledger(f"{ledger.engine.url}.{name}")


def reopened(ledger: Ledger) -> Ledger:
    """The same, as another process has it."""
    return Ledger(str(ledger.engine.url))


def needs(rig: Rig, *traits: Trait) -> None:
    for trait in traits:
        if trait not in rig.traits:
            pytest.skip(f"{rig.name} {MISSING[trait]}")


def as_mode(rig: Rig, mode: Mode) -> None:
    rig.sync = replace(rig.sync, mode=mode)


def wanted(keys: Sequence[str], segment: str = "loyal", as_of: str = "2026-11-28") -> dict[str, dict[str, str | None]]:
    """Each with a number of its own."""
    return {key: {"segment": f"{segment} {number}", "value": f"{number}.5", "as_of": as_of} for number, key in enumerate(keys)}


def frame(records: Records) -> pl.DataFrame:
    columns = ("record_key", "segment", "value", "as_of")
    rows = [(key, *(fields.get(name) for name in columns[1:])) for key, fields in records.items()]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def as_held(records: Records) -> dict[str, dict[str, str]]:
    """As `Rig.held` tells it."""
    filled = {key: {name: value for name, value in fields.items() if value is not None} for key, fields in records.items()}
    return {key: fields for key, fields in filled.items() if fields}


def push_to(rig: Rig, records: Records, ledger: Ledger, destination: Destination | None = None) -> PushReport:
    return push(rig.sync, frame(records), ledger, destination or rig.destination())


def push_until_done(rig: Rig, records: Records, ledger: Ledger) -> PushReport:
    """As a schedule would: again while something is left open or failed."""
    for _ in range(RUNS_TO_RECOVER):
        try:
            report = push_to(rig, records, ledger)
        except DestinationUnavailableError:
            continue
        if report.status == "succeeded":
            return report
    raise AssertionError(f"not done after {RUNS_TO_RECOVER} runs")


def undo_at(rig: Rig, run_id: str | None, ledger: Ledger) -> UndoReport:
    assert run_id
    return undo(rig.sync, run_id, ledger, rig.destination(), requested_by="test")


def writes_of_a_quiet_push(new_rig: NewRig, ledger: Ledger, count: int, *pushes: Callable[[list[str]], Records]) -> int:
    """How many writes the same takes where nothing goes wrong."""
    quiet = new_rig()
    keys = quiet.keys(count)
    with ledger_beside(ledger, "quiet") as quiet_ledger:
        for number, records in enumerate(pushes):
            assert push_to(quiet, records(keys), quiet_ledger).failed == 0, number
    return quiet.writes


def test_an_empty_set_writes_nothing_and_asks_nothing(rig: Rig, ledger: Ledger) -> None:
    first = push_to(rig, {}, ledger)
    assert (first.status, first.planned, rig.writes) == ("succeeded", 0, 0)
    if rig.name != "file":
        # An audience of nobody is a file too: it is there from the first run on.
        assert first.requests == 0
    assert push_to(rig, {}, ledger).requests == 0


def test_no_changes_load_to_no_results(rig: Rig) -> None:
    destination = rig.destination()
    assert (list(destination.load([], destination.estimate(0, 0, 0).path)), rig.writes) == ([], 0)


def test_what_is_made_changed_and_removed_arrives_exactly(rig: Rig, ledger: Ledger) -> None:
    keys = rig.keys(12)
    first = push_to(rig, wanted(keys[:10]), ledger)
    assert (first.creates, first.succeeded, first.failed) == (10, 10, 0)
    assert rig.held() == as_held(wanted(keys[:10]))
    then = {**wanted(keys[:7]), **wanted(keys[7:9], "lapsed"), **wanted(keys[10:], "new")}
    second = push_to(rig, then, ledger)
    assert (second.creates, second.updates, second.removals, second.succeeded, second.failed) == (2, 2, 1, 5, 0)
    assert rig.held() == as_held(then)


def test_what_is_only_written_along_is_not_written_alone(rig: Rig, ledger: Ledger) -> None:
    keys = rig.keys(3)
    push_to(rig, wanted(keys), ledger)
    before, writes = rig.held(), rig.writes
    report = push_to(rig, wanted(keys, as_of="2026-12-01"), ledger)
    assert (report.planned, report.unchanged, rig.held(), rig.writes) == (0, 3, before, writes)
    changed = {**wanted(keys, as_of="2026-12-01"), keys[0]: {"segment": "vip", "value": "0.5", "as_of": "2026-12-01"}}
    push_to(rig, changed, ledger)
    assert rig.held() == {**before, keys[0]: as_held(changed)[keys[0]]}


def test_what_is_held_already_is_not_written_again(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads")
    keys = rig.keys(4)
    push_to(rig, wanted(keys), ledger)
    writes = rig.writes
    # A ledger that knows nothing: everything is new to it.
    with ledger_beside(ledger, "empty") as empty_ledger:
        report = push_to(rig, wanted(keys, as_of="2026-12-01"), empty_ledger)
    assert (report.creates, report.succeeded, rig.writes) == (4, 4, writes)
    assert rig.held() == as_held(wanted(keys))


def test_a_second_push_of_the_same_plans_nothing_and_asks_nothing(rig: Rig, ledger: Ledger) -> None:
    keys = rig.keys(9)
    push_to(rig, wanted(keys), ledger)
    before, writes = rig.held(), rig.writes
    report = push_to(rig, wanted(keys), ledger)
    assert (report.planned, report.unchanged, report.requests) == (0, 9, 0)
    assert (rig.held(), rig.writes) == (before, writes)


def test_refused_records_fail_alone_and_come_back_in_the_next_run(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "refuses")
    keys = rig.keys(20)
    refused = {keys[3], keys[4], keys[19]}
    rig.refuse(refused)
    first = push_to(rig, wanted(keys), ledger)
    assert (first.status, first.succeeded, first.failed) == ("partial", 17, 3)
    assert rig.held() == {key: fields for key, fields in as_held(wanted(keys)).items() if key not in refused}
    writes = rig.writes
    second = push_to(rig, wanted(keys), ledger)
    assert (second.planned, second.failed, rig.writes) == (3, 3, writes)
    rig.refuse(set())
    third = push_to(rig, wanted(keys), ledger)
    assert (third.planned, third.succeeded, third.failed) == (3, 3, 0)
    assert rig.held() == as_held(wanted(keys))
    changes = ledger.frames()["activation_changes"].filter(pl.col("record_key").is_in(list(refused)))
    tries = changes.sort("run_id").group_by("record_key").agg("attempt", "outcome")
    assert tries["attempt"].to_list() == [[1, 2, 3]] * 3
    assert tries["outcome"].to_list() == [["failed", "failed", "succeeded"]] * 3


def test_a_refusal_has_a_reason_that_tells_no_value(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "refuses")
    keys = rig.keys(3)
    rig.refuse({keys[1]})
    report = push_to(rig, wanted(keys, "Jane Doe"), ledger)
    reasons = ledger.frames()["activation_changes"].filter(pl.col("outcome") == "failed")["reason"].to_list()
    assert (len(reasons), len(report.failure_reasons)) == (1, 1)
    assert reasons[0]
    assert "Jane" not in reasons[0]


def test_a_refused_removal_stays_and_comes_back(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "refuses")
    if rig.name == "shopify":
        pytest.skip("deletions of metafields are not refused one by one")
    keys = rig.keys(4)
    push_to(rig, wanted(keys), ledger)
    rig.refuse({keys[0]})
    report = push_to(rig, wanted(keys[2:]) | {}, ledger)
    assert (report.removals, report.failed) == (2, 1)
    assert keys[0] in rig.held()
    assert keys[1] not in rig.held()
    rig.refuse(set())
    push_to(rig, {key: as_held(wanted(keys[2:]))[key] for key in keys[2:]}, ledger)
    assert set(rig.held()) == set(keys[2:])


def test_a_destination_that_says_later_gets_everything_once(rig: Rig, new_rig: NewRig, ledger: Ledger) -> None:
    needs(rig, "throttles")
    keys = rig.keys(2 * min(rig.rows_a_call, 10) + 1)
    expected = writes_of_a_quiet_push(new_rig, ledger, len(keys), wanted)
    rig.throttle(2)
    destination = rig.destination()
    report = push_to(rig, wanted(keys), ledger, destination)
    assert (report.status, report.succeeded, destination.meter.throttled) == ("succeeded", len(keys), 2)
    assert (rig.held(), rig.writes) == (as_held(wanted(keys)), expected)


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answers_end_in_the_same_state_with_nothing_written_twice(
    rig: Rig, new_rig: NewRig, ledger: Ledger, when: Literal["before", "after"]
) -> None:
    needs(rig, "cuts")
    keys = rig.keys(12)

    def later(keys: list[str]) -> Records:
        return {**wanted(keys[:5]), **wanted(keys[5:11], "lapsed")}

    expected = writes_of_a_quiet_push(new_rig, ledger, 12, wanted, later)
    rig.cut(when)
    push_until_done(rig, wanted(keys), ledger)
    assert rig.held() == as_held(wanted(keys))
    rig.cut(when)
    push_until_done(rig, later(keys), ledger)
    assert (rig.held(), rig.writes) == (as_held(later(keys)), expected)
    assert ledger.count_open_intents(rig.sync) == 0
    assert push_to(rig, later(keys), ledger).planned == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_between_intent_and_outcome_is_taken_up_by_the_next(
    rig: Rig, new_rig: NewRig, ledger: Ledger, when: Literal["before", "after"]
) -> None:
    keys = rig.keys(9)

    def later(keys: list[str]) -> Records:
        return {**wanted(keys[:3]), **wanted(keys[3:7], "lapsed")}

    expected = writes_of_a_quiet_push(new_rig, ledger, 9, wanted, later)
    for records in (wanted(keys), later(keys)):
        with pytest.raises(KilledError), reopened(ledger) as killed_ledger:
            push_to(rig, records, killed_ledger, Killed(rig.destination(), when))
        assert ledger.count_open_intents(rig.sync) > 0
        push_until_done(rig, records, ledger)
        assert rig.held() == as_held(records)
    assert rig.writes == expected


def test_an_undo_gives_back_exactly_what_was_held(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads")
    keys = rig.keys(8)
    push_to(rig, {**wanted(keys[:6]), keys[0]: {"segment": None, "value": "1", "as_of": None}}, ledger)
    before = rig.held()
    second = push_to(rig, {**wanted(keys[:2], "lapsed"), **wanted(keys[4:], "new")}, ledger)
    assert (second.creates, second.updates, second.removals) == (2, 4, 2)
    report = undo_at(rig, second.run_id, ledger)
    assert (report.status, report.succeeded, report.changed_since, report.failed) == ("succeeded", 8, 0, 0)
    assert rig.held() == before
    writes = rig.writes
    again = undo_at(rig, second.run_id, ledger)
    assert (again.succeeded, again.already, rig.writes) == (0, 8, writes)


def test_an_undo_of_the_first_push_leaves_nothing_and_gives_back_what_was_found(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads")
    keys = rig.keys(4)
    push_to(rig, wanted(keys[:1]), ledger)
    rig.change(keys[1], "segment", "from another time")
    before = rig.held()
    second = push_to(rig, wanted(keys, "loyal"), ledger)
    assert rig.held() == as_held(wanted(keys))
    assert undo_at(rig, second.run_id, ledger).succeeded == 3
    assert rig.held() == before


def test_an_undo_leaves_what_others_changed_since(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads")
    keys = rig.keys(4)
    push_to(rig, wanted(keys), ledger)
    before = rig.held()
    second = push_to(rig, wanted(keys, "lapsed"), ledger)
    rig.change(keys[2], "segment", "by hand")
    theirs = rig.held()[keys[2]]
    report = undo_at(rig, second.run_id, ledger)
    assert (report.succeeded, report.changed_since, report.changed_since_sample) == (3, 1, (keys[2],))
    assert rig.held() == {**before, keys[2]: theirs}


def test_an_undo_that_lost_answers_is_finished_by_the_next(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads", "cuts")
    keys = rig.keys(10)
    push_to(rig, wanted(keys), ledger)
    before = rig.held()
    second = push_to(rig, wanted(keys, "lapsed"), ledger)
    for when in ("before", "after"):
        rig.cut(when)
        undo_at(rig, second.run_id, ledger)
    report = undo_at(rig, second.run_id, ledger)
    assert (report.failed, report.changed_since) == (0, 0)
    assert rig.held() == before


def test_a_resync_finds_what_others_changed_and_the_next_push_sets_it_right(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads")
    keys = rig.keys(5)
    push_to(rig, wanted(keys), ledger)
    rig.change(keys[1], "segment", "by hand")
    rig.change(keys[2], "value", None)
    report = resync(rig.sync, ledger, rig.destination())
    assert (report.read, report.differing, report.gone) == (5, 2, 0)
    second = push_to(rig, wanted(keys), ledger)
    assert (second.updates, second.succeeded) == (2, 2)
    assert rig.held() == as_held(wanted(keys))


UNICODE = [
    "naïve café",
    "👩‍👩‍👧‍👦 🇬🇧 💛",
    "שלום עולם",
    "مرحبا \u202bRTL\u202c",
    "e\u0301 combining, not é",
    "'; drop table x; --",
    'double "quotes" and \\backslash\\n',
    "tab\tinside",
    "{value} ${HOME} %s $1",
    "日本語の文字",
    "\ufeffBOM and \u200bzero width",
    "<b>&amp;</b>",
]
NEWLINES = ["two\nlines", "two\r\nlines"]


def test_every_character_arrives_as_it_was(rig: Rig, ledger: Ledger) -> None:
    values = UNICODE + (NEWLINES if getattr(rig, "takes_newlines", True) else [])
    keys = rig.keys(len(values))
    records: Records = {key: {"segment": value, "value": "1", "as_of": None} for key, value in zip(keys, values, strict=True)}
    report = push_to(rig, records, ledger)
    assert report.failure_reasons == {}
    assert rig.held() == as_held(records)
    if "reads" in rig.traits:
        assert dict(rig.destination().read(keys)) == records, "read back as written"
    assert push_to(rig, records, ledger).planned == 0


def test_a_null_clears_its_field_and_no_other(rig: Rig, ledger: Ledger) -> None:
    keys = rig.keys(3)
    push_to(rig, wanted(keys), ledger)
    cleared = wanted(keys)
    cleared[keys[0]]["segment"] = None
    cleared[keys[1]]["value"] = None
    cleared[keys[2]] |= {"value": "7", "as_of": None}
    report = push_to(rig, cleared, ledger)
    assert (report.updates, report.succeeded) == (3, 3)
    assert rig.held() == as_held(cleared)
    assert push_to(rig, cleared, ledger).planned == 0


def test_a_value_that_is_one_too_long_fails_alone(rig: Rig, ledger: Ledger) -> None:
    if not rig.longest_value:
        pytest.skip(f"{rig.name} has no longest value")
    keys = rig.keys(5)
    records = wanted(keys)
    records[keys[1]]["segment"] = "x" * rig.longest_value
    records[keys[3]]["segment"] = "x" * (rig.longest_value + 1)
    report = push_to(rig, records, ledger)
    assert (report.succeeded, report.failed) == (4, 1)
    assert rig.held() == {key: fields for key, fields in as_held(records).items() if key != keys[3]}


def test_one_row_more_than_a_call_takes_arrives_too(rig: Rig, ledger: Ledger) -> None:
    if rig.rows_a_call > MOST_ROWS:
        pytest.skip(f"{rig.name} takes {rig.rows_a_call} rows a call: shown by its own tests")
    keys = rig.keys(rig.rows_a_call + 1)
    report = push_to(rig, wanted(keys), ledger)
    assert (report.succeeded, report.failed) == (len(keys), 0)
    assert rig.held() == as_held(wanted(keys))


def test_a_record_that_was_deleted_outside_is_made_anew_or_known_as_gone(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "loses_records")
    keys = rig.keys(5)
    push_to(rig, wanted(keys), ledger)
    rig.delete(keys[1])
    report = push_to(rig, wanted(keys, "lapsed"), ledger)
    if "makes_records" in rig.traits:
        assert (report.succeeded, report.gone, report.failed) == (5, 0, 0)
        assert rig.held() == as_held(wanted(keys, "lapsed"))
        return
    assert (report.succeeded, report.gone, report.failed) == (4, 1, 0)
    assert rig.held() == {key: fields for key, fields in as_held(wanted(keys, "lapsed")).items() if key != keys[1]}
    again = push_to(rig, wanted(keys, "vip"), ledger)
    assert (again.succeeded, again.skipped) == (4, {"gone_at_destination": 1})


def test_removing_what_was_deleted_outside_is_no_failure(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "loses_records")
    keys = rig.keys(4)
    push_to(rig, wanted(keys), ledger)
    rig.delete(keys[3])
    report = push_to(rig, wanted(keys[:3]), ledger)
    assert (report.removals, report.failed) == (1, 0)
    assert rig.held() == as_held(wanted(keys[:3]))
    assert push_to(rig, wanted(keys[:3]), ledger).planned == 0


def test_an_upsert_writes_and_leaves_what_left_the_set(rig: Rig, ledger: Ledger) -> None:
    as_mode(rig, "upsert")
    keys = rig.keys(4)
    push_to(rig, wanted(keys[:3]), ledger)
    report = push_to(rig, {**wanted(keys[:1], "lapsed"), **wanted(keys[3:], "new")}, ledger)
    assert (report.creates, report.updates, report.removals, report.failed) == (1, 1, 0, 0)
    assert rig.held() == as_held({**wanted(keys[:3]), **wanted(keys[:1], "lapsed"), **wanted(keys[3:], "new")})


def test_update_only_never_makes_a_record(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads", "makes_records")
    keys = rig.keys(4)
    push_to(rig, wanted(keys[:1]), ledger)
    rig.change(keys[1], "segment", "theirs")
    as_mode(rig, "update_only")
    report = push_to(rig, wanted(keys, "ours"), ledger)
    assert (report.succeeded, report.failed, report.gone, report.skipped) == (2, 0, 0, {"not at the destination": 2})
    assert rig.held() == as_held(dict(list(wanted(keys, "ours").items())[:2]))
    rig.change(keys[2], "segment", "there now")
    assert push_to(rig, wanted(keys, "ours"), ledger).succeeded == 1, "what comes to be there is written then"
    assert set(rig.held()) == set(keys[:3])


def test_insert_only_leaves_what_is_there_and_writes_each_once(rig: Rig, ledger: Ledger) -> None:
    needs(rig, "reads")
    keys = rig.keys(4)
    with ledger_beside(ledger, "earlier") as earlier_ledger:
        push_to(rig, wanted(keys[:1]), earlier_ledger)
    rig.change(keys[1], "segment", "theirs")
    there = rig.held()
    as_mode(rig, "insert_only")
    report = push_to(rig, wanted(keys, "ours"), ledger)
    assert (report.succeeded, report.failed, report.skipped) == (2, 0, {"already there": 2})
    ours = {key: as_held(wanted(keys, "ours"))[key] for key in keys[2:]}
    assert rig.held() == {**there, **ours}
    writes = rig.writes
    push_to(rig, wanted(keys, "other"), ledger)
    push_to(rig, {}, ledger)
    assert (rig.held(), rig.writes) == ({**there, **ours}, writes)


def test_an_appended_record_is_sent_once_and_never_looked_after(rig: Rig, ledger: Ledger) -> None:
    as_mode(rig, "append")
    keys = rig.keys(4)
    push_to(rig, wanted(keys[:3]), ledger)
    sent, writes = rig.held(), rig.writes
    report = push_to(rig, wanted(keys[:2], "corrected"), ledger)
    assert (report.planned, report.requests, rig.writes) == (0, 0, writes)
    push_to(rig, wanted(keys), ledger)
    assert rig.held() == {**sent, keys[3]: as_held(wanted(keys))[keys[3]]}
