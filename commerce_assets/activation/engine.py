"""A push from beginning to end: resolve what is open, plan, guard, write chunk by chunk, keep the receipts.

Exactly once in effect: an intent is durable in the ledger before anything is written outside, its outcome after. Whatever ends a push
in between leaves intents without outcome; the next push (or the end of this one, when only answers were lost) reads those records
back from the destination and takes what is really there as the ledger's truth, so that it writes again only what is missing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

import polars as pl

from commerce_assets.activation.errors import DesiredStateError, DestinationUnavailableError
from commerce_assets.activation.fingerprint import GONE, fingerprint, fingerprints
from commerce_assets.activation.ledger import Ledger, OpenIntent
from commerce_assets.activation.pauses import refuse_when_paused
from commerce_assets.activation.plan import Plan, guard, make_plan
from commerce_assets.activation.plans import refuse_other_plan
from commerce_assets.activation.records import Change, Destination, Estimate, Fields, RowResult, Sync, idempotency_key

FLUSH_ROWS = 100
"""Results kept in memory before they become outcomes in the ledger."""
REASONS_SHOWN = 10
Progress = Callable[[int, int], None]
"""Called with (records done, records in all)."""


@dataclass(frozen=True)
class PushReport:
    """What a push did, or would do. Ids and counts only."""

    run_id: str | None
    destination: str
    sync: str
    dry_run: bool
    status: str
    desired: int
    creates: int
    updates: int
    removals: int
    unchanged: int
    skipped: dict[str, int]
    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    unknown: int = 0
    resolved: int = 0
    """Open outcomes, of this or an earlier push, that were read back."""
    open_before: int = 0
    requests: int = 0
    seconds: float = 0.0
    estimate: Estimate | None = None
    failure_reasons: dict[str, int] = field(default_factory=dict)
    sample: dict[str, list[str]] = field(default_factory=dict)

    @property
    def planned(self) -> int:
        return self.creates + self.updates + self.removals


class PushInterruptedError(DestinationUnavailableError):
    """The push ended early; `report` says how far it came."""

    def __init__(self, message: str, report: PushReport) -> None:
        super().__init__(message)
        self.report = report


def plan_push(sync: Sync, desired: pl.DataFrame, ledger: Ledger, destination: Destination) -> Plan:
    """The plan as things stand; reads the ledger, writes nothing anywhere."""
    _check(sync, desired)
    plan, _ = _plan(sync, desired, ledger, destination)
    return plan


def push(
    sync: Sync,
    desired: pl.DataFrame,
    ledger: Ledger,
    destination: Destination,
    *,
    dry_run: bool = False,
    plan_id: str | None = None,
    requested_by: str | None = None,
    progress: Progress | None = None,
) -> PushReport:
    """Make the destination hold `desired` (`record_key` and the sync's fields, all text) where it does not yet.

    With `plan_id`, only if the plan is the one kept under that id. Raises `GuardTrippedError`, `DesiredStateError`, `SyncPausedError` or
    `PlanDiffersError` with nothing written, `PushInterruptedError` when the destination gives up.
    """
    started = time.monotonic()
    _check(sync, desired)
    if dry_run:
        plan, _ = _plan(sync, desired, ledger, destination)
        report = _report_of(sync, plan, None, "planned", dry_run=True)
        return replace(report, open_before=ledger.count_open_intents(sync), seconds=time.monotonic() - started)
    with ledger.exclusive(sync):
        refuse_when_paused(ledger, sync)
        return _Push(sync, ledger, destination, requested_by, progress).execute(desired, started, plan_id)


def _plan(sync: Sync, desired: pl.DataFrame, ledger: Ledger, destination: Destination) -> tuple[Plan, int]:
    # SQLite and DuckDB both let go of the interpreter's lock: the two big reads run side by side.
    with ThreadPoolExecutor(max_workers=1) as side:
        reading = side.submit(ledger.fingerprints, sync)
        wanted = fingerprints(desired, sync.mapped)
        state = reading.result()
    plan = make_plan(wanted, state)
    counts = [plan.count(operation) for operation in ("create", "update", "remove")]
    return replace(plan, estimate=destination.estimate(*counts)), state.filter(pl.col("fingerprint") != GONE).height


def _check(sync: Sync, desired: pl.DataFrame) -> None:
    expected = ("record_key", *sync.fields)
    missing = [name for name in expected if name not in desired.columns]
    not_text = [name for name in expected if name not in missing and desired.schema[name] != pl.String]
    if missing or not_text:
        raise DesiredStateError(f"{sync.destination}/{sync.name}: desired records lack {missing} and hold {not_text} not as text")


def _report_of(sync: Sync, plan: Plan, run_id: str | None, status: str, *, dry_run: bool = False) -> PushReport:
    return PushReport(
        run_id=run_id,
        destination=sync.destination,
        sync=sync.name,
        dry_run=dry_run,
        status=status,
        desired=plan.desired_rows,
        creates=plan.count("create"),
        updates=plan.count("update"),
        removals=plan.count("remove"),
        unchanged=plan.unchanged,
        skipped=dict(plan.skipped),
        estimate=plan.estimate,
        sample=plan.sample(),
    )


@dataclass
class Tally:
    """What became of a run's changes so far."""

    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    unknown: int = 0
    resolved: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    """Skipped though they are there, by reason."""

    @property
    def status(self) -> str:
        return "partial" if self.failed or self.unknown else "succeeded"

    def add(self, result: RowResult) -> None:
        if result.outcome == "succeeded":
            self.succeeded += 1
        elif result.outcome == "skipped" and result.is_gone:
            self.gone += 1
        elif result.outcome == "skipped":
            reason = result.reason or "no reason given"
            self.left[reason] = self.left.get(reason, 0) + 1
        elif result.outcome == "unknown":
            self.unknown += 1
        else:
            self.failed += 1
            reason = result.reason or "no reason given"
            if reason in self.reasons or len(self.reasons) < REASONS_SHOWN:
                self.reasons[reason] = self.reasons.get(reason, 0) + 1


class Run:
    """A run that writes, of any kind: its row in the ledger, its changes chunk by chunk, its tally."""

    def __init__(self, sync: Sync, ledger: Ledger, destination: Destination, requested_by: str | None, progress: Progress | None) -> None:
        self.sync, self.ledger, self.destination = sync, ledger, destination
        self.requested_by, self.progress = requested_by, progress
        self.run_id = new_id()
        self.tally = Tally()

    def apply(self, chunks: Iterable[Sequence[Change]], total: int, path: str) -> None:
        """Chunk by chunk: intents, the destination, outcomes. At the end, read back what got no answer."""
        done = 0
        lost: dict[str, str] = {}
        for changes in chunks:
            self.ledger.intend(self.sync, self.run_id, changes)
            waiting: list[tuple[str, RowResult]] = []
            try:
                for result in self.destination.load(changes, path):
                    self.tally.add(result)
                    if result.outcome == "unknown":
                        lost[result.record_key] = result.reason or "no answer"
                    waiting.append((self.run_id, result))
                    if len(waiting) >= FLUSH_ROWS:
                        self.ledger.settle(self.sync, self.run_id, waiting)
                        waiting = []
            finally:
                self.ledger.settle(self.sync, self.run_id, waiting)
            done += len(changes)
            if self.progress:
                self.progress(done, total)
        if lost:
            self.tally.unknown = 0
            self.resolve(self.ledger.open_intents(self.sync), lost)

    def resolve(self, intents: Sequence[OpenIntent], lost: Mapping[str, str] | None = None) -> None:
        """Read back every record with an open outcome; what is there is what happened. `lost`: why, for this push's own."""
        if not intents:
            return
        self.destination.settle()
        by_key: dict[str, list[OpenIntent]] = {}
        for intent in intents:
            by_key.setdefault(intent.record_key, []).append(intent)
        waiting: list[tuple[str, RowResult]] = []
        for key, held in self.destination.read(list(by_key)):
            for intent in by_key[key]:
                result = _resolution(self.sync, intent, held, (lost or {}).get(key))
                waiting.append((intent.run_id, result))
                self.tally.resolved += 1
                if lost:
                    self.tally.add(result)
            if len(waiting) >= FLUSH_ROWS:
                self.ledger.settle(self.sync, self.run_id, waiting)
                waiting = []
        self.ledger.settle(self.sync, self.run_id, waiting)

    def finish(self, status: str, counts: Mapping[str, int], error: BaseException | None = None) -> None:
        """Close the run: `counts` beside the tally's own."""
        tally = self.tally
        told = {"succeeded": tally.succeeded, "failed": tally.failed, "unknown": tally.unknown, "resolved": tally.resolved}
        told |= {"request": self.destination.meter.requests, **counts}
        self.ledger.finish_run(self.run_id, status, told, f"{type(error).__name__}: {error}"[:1000] if error else None)


class _Push(Run):
    """A run that brings the destination to a desired state."""

    def execute(self, desired: pl.DataFrame, started: float, plan_id: str | None) -> PushReport:
        open_before = self.ledger.open_intents(self.sync)
        self.ledger.start_run(self.sync, self.run_id, self.requested_by)
        report: PushReport | None = None
        try:
            self.resolve(open_before)
            plan, state_rows = _plan(self.sync, desired, self.ledger, self.destination)
            report = replace(_report_of(self.sync, plan, self.run_id, "running"), open_before=len(open_before))
            if plan_id is not None:
                refuse_other_plan(self.ledger, self.sync, plan_id, plan)
            guard(plan, self.sync, state_rows)
            if not plan.is_empty:
                self.destination.prepare()
                estimate = _estimate_of(plan)
                self.apply(self._chunks(plan, desired, estimate), plan.changes.height, estimate.path)
        except BaseException as error:
            self._end(report, "interrupted", error)
            if isinstance(error, DestinationUnavailableError):
                ended = self._report(report or _empty_report(self.sync, self.run_id, desired.height), "interrupted", started)
                raise PushInterruptedError(str(error), ended) from error
            raise
        status = self.tally.status
        self._end(report, status)
        return self._report(report, status, started)

    def _chunks(self, plan: Plan, desired: pl.DataFrame, estimate: Estimate) -> Iterator[list[Change]]:
        names = list(self.sync.fields)
        # Rows that repeat a key with the same mapped fields may carry different others: any one of them will do, always the same.
        rows = desired.join(plan.changes, on="record_key", how="semi").sort("record_key", *names).unique("record_key", keep="last")
        detailed = plan.changes.join(rows.select("record_key", *names), on="record_key", how="left", maintain_order="left")
        for planned in detailed.iter_slices(estimate.chunk_rows):
            known = self.ledger.fields(self.sync, planned.filter(pl.col("operation") != "create")["record_key"].to_list())
            if estimate.reads_new:
                # Before the intents, so that they say what was there before: without it nothing could be taken back.
                new = planned.filter(pl.col("operation") == "create")["record_key"].to_list()
                known |= {key: held for key, held in self.destination.read(new) if held is not None}
            yield [
                Change(
                    record_key=row["record_key"],
                    operation=row["operation"],
                    fields={name: row[name] for name in names} if row["operation"] != "remove" else {},
                    held=known.get(row["record_key"]),
                    old_fingerprint=row["old_fingerprint"],
                    new_fingerprint=row["new_fingerprint"],
                    idempotency_key=idempotency_key(self.sync, row["record_key"], row["new_fingerprint"]),
                )
                for row in planned.iter_rows(named=True)
            ]

    def _end(self, report: PushReport | None, status: str, error: BaseException | None = None) -> None:
        counts: dict[str, int] = {}
        if report:
            planned = {"desired": report.desired, "create": report.creates, "update": report.updates, "remove": report.removals}
            left = sum(report.skipped.values()) + self.tally.gone + sum(self.tally.left.values())
            counts = planned | {"unchanged": report.unchanged, "skipped": left}
        self.finish(status, counts, error)

    def _report(self, report: PushReport, status: str, started: float) -> PushReport:
        tally = self.tally
        return replace(
            report,
            status=status,
            skipped={**report.skipped, **tally.left},
            succeeded=tally.succeeded,
            failed=tally.failed,
            gone=tally.gone,
            unknown=tally.unknown,
            resolved=tally.resolved,
            requests=self.destination.meter.requests,
            seconds=time.monotonic() - started,
            failure_reasons=dict(tally.reasons),
        )


def _resolution(sync: Sync, intent: OpenIntent, held: Fields | None, lost: str | None) -> RowResult:
    key = intent.record_key
    if held is None:
        return RowResult(key, "skipped", "gone at the destination", is_gone=True)
    prior = _prior_of(sync, intent, held)
    is_empty = all(held.get(name) is None for name in sync.mapped)
    if is_empty if intent.operation == "remove" else fingerprint(held, sync.mapped) == intent.new_fingerprint:
        return RowResult(key, "succeeded", "confirmed by reading back", held, prior=prior)
    return RowResult(key, "failed", f"{lost or 'the push ended early'}; not or only partly applied, by reading back", held, prior=prior)


def _prior_of(sync: Sync, intent: OpenIntent, held: Fields) -> Fields | None:
    """What was there before the intent; a value that is not what it meant to write is none of ours, and not to be undone."""
    if intent.prior is None or intent.intended is None:
        return None
    return {name: (intent.prior if held.get(name) == intent.intended.get(name) else held).get(name) for name in sync.fields}


def _estimate_of(plan: Plan) -> Estimate:
    if plan.estimate is None:
        raise AssertionError("a plan to apply has an estimate")
    return plan.estimate


def new_id() -> str:
    """Of a run or a plan; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}"


def _empty_report(sync: Sync, run_id: str, desired_rows: int) -> PushReport:
    return PushReport(run_id, sync.destination, sync.name, False, "interrupted", desired_rows, 0, 0, 0, 0, {})
