"""Plan, fingerprints and ledger: what holds for any desired state, any ledger, and any order of failures."""

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.quick import one_database_for_fingerprints

from commerce_assets.activation.engine import PushInterruptedError, push
from commerce_assets.activation.errors import DestinationUnavailableError
from commerce_assets.activation.fingerprint import GONE, fingerprint, fingerprints
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.plan import make_plan
from commerce_assets.activation.records import Change, Estimate, Fields, Guards, Meter, RowResult, Sync, idempotency_key
from commerce_assets.activation.tables import METADATA

SYNC = Sync("memory", "test", mapped=("a", "b"), carried=("as_of",), guards=Guards(max_removed_share=1.0))
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where many small ledgers need not wait for a disk."""
VALUES = st.one_of(st.none(), st.sampled_from(["", "x", "y", "ü✓", "a=1"]))
RECORDS = st.dictionaries(st.sampled_from([f"k{n}" for n in range(12)]), st.tuples(VALUES, VALUES), max_size=12)


@pytest.fixture(scope="module", autouse=True)
def quick_fingerprints() -> Iterator[None]:
    with one_database_for_fingerprints():
        yield


@pytest.fixture(scope="module")
def kept_ledger() -> Iterator[Ledger]:
    """For one example after another: the tables and the statements of a new one take longer than the pushes. See `emptied`."""
    with TemporaryDirectory(dir=MEMORY) as folder, Ledger(f"sqlite:///{folder}/ops.sqlite") as ledger:
        yield ledger


def emptied(ledger: Ledger) -> Ledger:
    """As a new one."""
    with ledger.engine.begin() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(table.delete())
    return ledger


def frame(records: dict[str, tuple[str | None, str | None]], as_of: str = "2026-11-21") -> pl.DataFrame:
    rows = [(key, a, b, as_of) for key, (a, b) in records.items()]
    return pl.DataFrame(rows, schema=dict.fromkeys(("record_key", "a", "b", "as_of"), pl.String), orient="row")


class MemoryDestination:
    """Holds records in a dict. Each written row may fail, or be written without an answer, or the whole may go down, by a seeded die."""

    def __init__(self, trouble: float = 0.0, seed: int = 0) -> None:
        self.records: dict[str, dict[str, str | None]] = {}
        self.gone: set[str] = set()
        self.meter = Meter()
        self.trouble, self.dice = trouble, random.Random(seed)
        self.written = 0
        self.can_read = True

    def problems(self) -> Sequence[str]:
        return ()

    def prepare(self) -> None: ...

    def settle(self) -> None: ...

    def finish(self) -> None: ...

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        return Estimate("direct", chunk_rows=3, requests=creates + updates + removals, points=0)

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        for key in keys:
            yield key, None if key in self.gone else {"a": None, "b": None, **self.records.get(key, {})}

    def load(self, changes: Sequence[Change], path: str) -> Iterable[RowResult]:
        order = list(changes)
        self.dice.shuffle(order)
        for change in order:
            fate = self.dice.choice(["fail", "lost", "half", "down"]) if self.dice.random() < self.trouble else "good"
            if fate == "fail":
                yield RowResult(change.record_key, "failed", "no luck")
            elif fate == "down":
                raise DestinationUnavailableError("down")
            elif fate == "half":
                self._write(change, {"a": change.fields.get("a")})
                yield RowResult(change.record_key, "failed", "only a", dict(self.records[change.record_key]))
            else:
                self._write(change, dict(change.fields) or {"a": None, "b": None})
                held = {name: self.records[change.record_key].get(name) for name in ("a", "b")}
                yield RowResult(change.record_key, "unknown" if fate == "lost" else "succeeded", held=None if fate == "lost" else held)

    def _write(self, change: Change, fields: dict[str, str | None]) -> None:
        self.written += 1
        self.records.setdefault(change.record_key, {"a": None, "b": None}).update(fields)

    def holds(self) -> dict[str, tuple[str | None, str | None]]:
        held = {key: (record["a"], record["b"]) for key, record in self.records.items()}
        return {key: values for key, values in held.items() if values != (None, None)}


def meaningful(records: dict[str, tuple[str | None, str | None]]) -> dict[str, tuple[str | None, str | None]]:
    return {key: values for key, values in records.items() if values != (None, None)}


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.text(max_size=4), st.one_of(st.none(), st.text(max_size=6)), st.one_of(st.none(), st.text(max_size=6))), max_size=8
    )
)
def test_fingerprints_of_a_frame_are_those_of_its_records(rows: list[tuple[str, str | None, str | None]]) -> None:
    records = pl.DataFrame(rows, schema=dict.fromkeys(("record_key", "a", "b"), pl.String), orient="row")
    found = fingerprints(records, ("a", "b"))
    assert found["fingerprint"].to_list() == [fingerprint({"a": a, "b": b}, ("a", "b")) for _, a, b in rows]
    assert found["is_clean"].to_list() == ["\x1f" not in (a or "") + (b or "") for _, a, b in rows]


def test_fingerprints_stay_the_same_for_ever() -> None:
    assert fingerprint({"a": "1", "b": None}, ("a", "b")) == "679952102ef8c0830c79be3c41369171", "md5 of a=1, unit separator, b=, NUL"
    assert idempotency_key(SYNC, "k1", "f") == idempotency_key(SYNC, "k1", "f") != idempotency_key(SYNC, "k1", "g")


@settings(max_examples=150, deadline=None)
@given(desired=RECORDS, held=RECORDS, gone=st.sets(st.sampled_from([f"k{n}" for n in range(12)]), max_size=3))
def test_a_plan_accounts_for_every_row_and_names_every_difference(
    desired: dict[str, tuple[str | None, str | None]], held: dict[str, tuple[str | None, str | None]], gone: set[str]
) -> None:
    state = {key: fingerprint({"a": a, "b": b}, SYNC.mapped) for key, (a, b) in held.items()} | dict.fromkeys(gone, GONE)
    plan = make_plan(
        fingerprints(frame(desired), SYNC.mapped),
        pl.DataFrame(list(state.items()), schema={"record_key": pl.String, "fingerprint": pl.String}, orient="row"),
    )
    operations = dict(plan.changes.select("record_key", "operation").iter_rows())
    alive = {key: values for key, values in held.items() if key not in gone}
    expected = {key: "create" for key in desired if key not in state}
    expected |= {key: "update" for key in desired if key in alive and desired[key] != alive[key]}
    expected |= {key: "remove" for key in alive if key not in desired}
    assert operations == expected
    assert plan.desired_rows == plan.count("create") + plan.count("update") + plan.unchanged + sum(plan.skipped.values())


def test_control_characters_and_repeated_keys_are_skipped_and_never_removed() -> None:
    rows = frame({"k1": ("x", None), "k\n2": ("x", None), "k3": ("\x1f", None), "k4": ("x", "y")}).vstack(
        frame({"k4": ("z", "y"), "k1": ("x", None)})
    )
    state = pl.DataFrame({"record_key": ["k3", "k4", "k5"], "fingerprint": ["f3", "f4", "f5"]})
    plan = make_plan(fingerprints(rows, SYNC.mapped), state)
    assert plan.changes.select("record_key", "operation").rows() == [("k1", "create"), ("k5", "remove")]
    assert plan.skipped == {"control_character": 2, "repeated_row": 1, "ambiguous_key": 2}


@settings(max_examples=40, deadline=None)
@given(first=RECORDS, second=RECORDS)
def test_what_was_applied_leaves_an_empty_plan(
    kept_ledger: Ledger, first: dict[str, tuple[str | None, str | None]], second: dict[str, tuple[str | None, str | None]]
) -> None:
    destination, ledger = MemoryDestination(), emptied(kept_ledger)
    for desired in (first, second):
        report = push(SYNC, frame(desired), ledger, destination)
        assert report.succeeded == report.planned
        assert destination.holds() == meaningful(desired)
        written = destination.written
        again = push(SYNC, frame(meaningful(desired), as_of="2027-01-01"), ledger, destination)
        assert (again.planned, destination.written) == (0, written)


@settings(max_examples=40, deadline=None)
@given(first=RECORDS, second=RECORDS, seed=st.integers(0, 2**16), trouble=st.sampled_from([0.2, 0.5, 0.8]))
def test_any_order_of_failures_converges_to_the_desired_state(
    kept_ledger: Ledger,
    first: dict[str, tuple[str | None, str | None]],
    second: dict[str, tuple[str | None, str | None]],
    seed: int,
    trouble: float,
) -> None:
    destination, ledger = MemoryDestination(trouble, seed), emptied(kept_ledger)
    for desired in (first, second):
        desired = meaningful(desired)
        for _ in range(3):
            try:
                report = push(SYNC, frame(desired), ledger, destination)
            except PushInterruptedError as stopped:
                report = stopped.report
            assert report.status == "interrupted" or report.unknown == 0
        destination.trouble = 0.0
        push(SYNC, frame(desired), ledger, destination)
        assert destination.holds() == desired
        assert ledger.open_intents(SYNC) == []
        written = destination.written
        assert push(SYNC, frame(desired), ledger, destination).planned == 0
        assert destination.written == written
        destination.trouble = trouble
    changes = ledger.frames()["activation_changes"]
    assert changes["outcome"].null_count() == 0


def test_state_in_pages_is_all_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_assets.activation.ledger.PAGE_ROWS", 7)
    records = {f"k{n:03}": ("x", str(n)) for n in range(50)}
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as ledger:
        push(SYNC, frame(records), ledger, MemoryDestination())
        push(Sync("memory", "other", mapped=("a", "b")), frame({"k001": ("other", None)}).drop("as_of"), ledger, MemoryDestination())
        state = ledger.fingerprints(SYNC)
    assert dict(state.iter_rows()) == {key: fingerprint({"a": a, "b": b}, SYNC.mapped) for key, (a, b) in records.items()}


def test_a_run_that_was_killed_is_closed_by_the_next(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as ledger:
        ledger.start_run(SYNC, "20260101-killed", None)
        push(SYNC, frame({}), ledger, MemoryDestination())
        runs = ledger.frames()["activation_runs"]
    assert runs.select("status", "error").rows()[0] == ("interrupted", "the process ended before the push did")
