"""A push from beginning to end: resolve what is open, plan, pass the gates, write chunk by chunk, keep the receipts.

Exactly once in effect: an intent is durable in the ledger before anything is written outside, its outcome after. Whatever ends a push
in between leaves intents without outcome; the next push (or the end of this one, when only answers were lost) reads those records
back from the destination and takes what is really there as the ledger's truth, so that it writes again only what is missing.

A sync with a canary writes a part first, looks at what became of it, and writes the rest only if that was well. Keys that are held out,
and customers who do not agree, are in no plan; consent is asked for again right before each chunk is written.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import polars as pl

from commerce_assets.activation.arms import HELD_OUT, assign
from commerce_assets.activation.desired import Desired, DesiredFrame, Eligible
from commerce_assets.activation.errors import (
    CanaryStoppedError,
    DestinationUnavailableError,
    GuardTrippedError,
    PlanDiffersError,
)
from commerce_assets.activation.fingerprint import GONE, fingerprint
from commerce_assets.activation.guards import RangeTally, Tripped, tripped
from commerce_assets.activation.ledger import Ledger, OpenIntent
from commerce_assets.activation.overrides import pass_or_refuse
from commerce_assets.activation.pauses import refuse_when_paused
from commerce_assets.activation.plan import Plan, make_plan
from commerce_assets.activation.plans import refuse_other_plan
from commerce_assets.activation.records import (
    Canary,
    Change,
    ConsentCheck,
    Destination,
    Estimate,
    Expectation,
    Fields,
    Mode,
    RowResult,
    Sync,
    idempotency_key,
)
from commerce_assets.activation.sampling import positions

FLUSH_ROWS = 100
"""Results kept in memory before they become outcomes in the ledger."""
REASONS_SHOWN = 10
KEYS_A_READ = 500
_EXPECTS: Mapping[Mode, Expectation] = {"update_only": "present", "insert_only": "absent"}
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
    canary: int = 0
    """Records written first."""
    canary_failed: int = 0
    canary_differing: int = 0
    """Of them, those that read back differently."""
    overridden: tuple[str, ...] = ()
    """Gates that were shut and passed by permission."""
    points: int = 0
    throttled: int = 0
    points_a_second: float | None = None
    writing_seconds: float = 0.0

    @property
    def planned(self) -> int:
        return self.creates + self.updates + self.removals


class PushInterruptedError(DestinationUnavailableError):
    """The push ended early; `report` says how far it came."""

    def __init__(self, message: str, report: PushReport) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class Planned:
    """A plan with what it was made from."""

    plan: Plan
    eligible: Eligible
    ranges: RangeTally
    canary_keys: pl.DataFrame | None

    @property
    def estimate(self) -> Estimate:
        if self.plan.estimate is None:
            raise AssertionError("a plan to apply has an estimate")
        return self.plan.estimate


def plan_push(sync: Sync, desired: pl.DataFrame | Desired, ledger: Ledger, destination: Destination) -> Plan:
    """The plan as things stand; reads the ledger, writes nothing anywhere."""
    return planned_push(sync, desired, ledger, destination).plan


def planned_push(sync: Sync, desired: pl.DataFrame | Desired, ledger: Ledger, destination: Destination) -> Planned:
    """As `plan_push`, with the records behind it."""
    return _plan(sync, desired, ledger, destination)


def push(
    sync: Sync,
    desired: pl.DataFrame | Desired,
    ledger: Ledger,
    destination: Destination,
    *,
    dry_run: bool = False,
    plan_id: str | None = None,
    requested_by: str | None = None,
    progress: Progress | None = None,
    standing: Sequence[Tripped] = (),
    consents: ConsentCheck | None = None,
    model_at: datetime | None = None,
) -> PushReport:
    """Make the destination hold `desired` (`record_key` and the sync's fields, all text) where it does not yet.

    `standing`: gates that the caller found shut. `consents` is asked before each chunk of a sync that needs consent. `model_at`: the moment
    that the desired records describe. With `plan_id`, only if the plan is the one kept under that id.
    Raises `GuardTrippedError`, `DesiredStateError`, `SyncPausedError` or `PlanDiffersError` with nothing written, `CanaryStoppedError` with
    only the canary written, `PushInterruptedError` when the destination gives up.
    """
    started = time.monotonic()
    if dry_run:
        report = _report_of(sync, _plan(sync, desired, ledger, destination).plan, None, "planned", dry_run=True)
        return replace(report, open_before=ledger.count_open_intents(sync), seconds=time.monotonic() - started)
    if sync.consent and consents is None:
        raise AssertionError(f"{sync.destination}/{sync.name} needs consent: a push of it has to be given where to ask for it")
    with ledger.exclusive(sync):
        refuse_when_paused(ledger, sync)
        run = _Push(sync, ledger, destination, requested_by, progress, consents)
        return run.execute(desired, started, plan_id, standing, model_at)


def _plan(sync: Sync, desired: pl.DataFrame | Desired, ledger: Ledger, destination: Destination) -> Planned:
    eligible = Eligible(sync, ledger, DesiredFrame(desired) if isinstance(desired, pl.DataFrame) else desired)
    # SQLite and DuckDB both let go of the interpreter's lock: the two big reads run side by side.
    with ThreadPoolExecutor(max_workers=1) as side:
        reading = side.submit(ledger.fingerprints, sync)
        known = _known(reading.result()) if sync.holdout else pl.Series("record_key", [], dtype=pl.String)
        survey = eligible.survey(known)
        state = reading.result()
    if eligible.arms is not None:
        state = state.join(eligible.arms.filter(pl.col("arm") == HELD_OUT), on="record_key", how="anti")
    plan = make_plan(survey.take_wanted(), state, sync.mode)
    counts = [plan.count(operation) for operation in ("create", "update", "remove")]
    skipped = {**plan.skipped, **survey.skipped}
    plan = replace(plan, desired_rows=survey.desired_rows, skipped=skipped, estimate=destination.estimate(*counts))
    return Planned(plan, eligible, survey.ranges, survey.canary_keys)


def _known(state: pl.DataFrame) -> pl.Series:
    return state.filter(pl.col("fingerprint") != GONE)["record_key"]


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
            self.leave(result.reason or "no reason given")
        elif result.outcome == "unknown":
            self.unknown += 1
        else:
            self.failed += 1
            reason = result.reason or "no reason given"
            if reason in self.reasons or len(self.reasons) < REASONS_SHOWN:
                self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def leave(self, reason: str, count: int = 1) -> None:
        """Skipped at the last moment."""
        if count:
            self.left[reason] = self.left.get(reason, 0) + count


class Run:
    """A run that writes, of any kind: its row in the ledger, its changes chunk by chunk, its tally."""

    def __init__(
        self,
        sync: Sync,
        ledger: Ledger,
        destination: Destination,
        requested_by: str | None,
        progress: Progress | None,
        consents: ConsentCheck | None = None,
    ) -> None:
        self.sync, self.ledger, self.destination = sync, ledger, destination
        self.requested_by, self.progress, self.consents = requested_by, progress, consents
        self.run_id = new_id()
        self.tally = Tally()
        self.writing_seconds = 0.0

    def apply(self, chunks: Iterable[Sequence[Change]], total: int, path: str, done: int = 0) -> None:
        """Chunk by chunk: consent, intents, the destination, outcomes. At the end, read back what got no answer. `done`: records before these."""
        started = time.monotonic()
        try:
            self._apply(chunks, total, path, done)
        finally:
            self.writing_seconds += time.monotonic() - started

    def _apply(self, chunks: Iterable[Sequence[Change]], total: int, path: str, done: int) -> None:
        lost: dict[str, str] = {}
        for planned in chunks:
            changes = self._with_consent(planned)
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
            done += len(planned)
            if self.progress:
                self.progress(done, total)
        if lost:
            self.tally.unknown = 0
            self.resolve(self.ledger.open_intents(self.sync), lost)

    def _with_consent(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Without those whose customers do not agree now, whatever the warehouse knew; what is taken away may always be."""
        if self.sync.consent is None:
            return changes
        if self.consents is None:
            raise AssertionError(f"{self.sync.destination}/{self.sync.name} needs consent and was given nobody to ask")
        asked = [change.record_key for change in changes if change.operation != "remove"]
        agreeing = self.consents(asked) if asked else set()
        self.tally.leave("no_consent", len(asked) - len(agreeing & set(asked)))
        return [change for change in changes if change.operation == "remove" or change.record_key in agreeing]

    def resolve(self, intents: Sequence[OpenIntent], lost: Mapping[str, str] | None = None) -> None:
        """Read back every record with an open outcome; what is there is what happened. `lost`: why, for this push's own."""
        if not intents:
            return
        if not self.destination.can_read:
            self._resend(intents, lost)
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

    def _resend(self, intents: Sequence[OpenIntent], lost: Mapping[str, str] | None) -> None:
        """Nothing can be read back: they count as failed, so that the next run sends them again under the same idempotency key."""
        waiting: list[tuple[str, RowResult]] = []
        for intent in intents:
            why = (lost or {}).get(intent.record_key, "the push ended early")
            result = RowResult(intent.record_key, "failed", f"{why}; sent again with the next run, under the same idempotency key")
            waiting.append((intent.run_id, result))
            self.tally.resolved += 1
            if lost:
                self.tally.add(result)
        self.ledger.settle(self.sync, self.run_id, waiting)

    def finish(self, status: str, counts: Mapping[str, int], error: BaseException | None = None, **measures: Any) -> None:
        """Close the run: `counts` beside the tally's own, `measures` that are no counts."""
        tally, meter = self.tally, self.destination.meter
        told = {"succeeded": tally.succeeded, "failed": tally.failed, "unknown": tally.unknown, "resolved": tally.resolved}
        told |= {"request": meter.requests, "point": meter.points, "throttled": meter.throttled, **counts}
        self.ledger.finish_run(
            self.run_id,
            status,
            told,
            f"{type(error).__name__}: {error}"[:1000] if error else None,
            points_a_second=meter.points_a_second,
            writing_seconds=self.writing_seconds,
            **measures,
        )


class _Push(Run):
    """A run that brings the destination to a desired state."""

    canary_counts: tuple[int, int, int] = (0, 0, 0)
    overridden: tuple[str, ...] = ()
    model_at: datetime | None = None
    is_checked = False

    def execute(
        self, desired: pl.DataFrame | Desired, started: float, plan_id: str | None, standing: Sequence[Tripped], model_at: datetime | None
    ) -> PushReport:
        open_before = self.ledger.open_intents(self.sync)
        self.ledger.start_run(self.sync, self.run_id, self.requested_by)
        self.model_at = model_at
        report: PushReport | None = None
        try:
            if open_before:
                self._pass([*standing, *self._problems()])
                standing = ()
                self.resolve(open_before)
            planned = _plan(self.sync, desired, self.ledger, self.destination)
            plan = planned.plan
            report = replace(_report_of(self.sync, plan, self.run_id, "running"), open_before=len(open_before))
            if plan_id is not None:
                refuse_other_plan(self.ledger, self.sync, plan_id, plan)
            problems = [] if plan.is_empty else self._problems()
            self._pass([*standing, *problems, *tripped(plan, self.sync, planned.ranges)])
            if planned.eligible.new_arms is not None:
                assign(self.ledger, self.sync, planned.eligible.new_arms)
            if not plan.is_empty:
                self.destination.prepare()
                self._write(planned)
            self.destination.finish()
        except BaseException as error:
            refused = isinstance(error, GuardTrippedError | PlanDiffersError)
            status = "refused" if refused else "stopped" if isinstance(error, CanaryStoppedError) else "interrupted"
            self._end(report, status, error)
            if isinstance(error, DestinationUnavailableError):
                ended = self._report(report or _empty_report(self.sync, self.run_id), "interrupted", started)
                raise PushInterruptedError(str(error), ended) from error
            raise
        status = self.tally.status
        self._end(report, status)
        return self._report(report, status, started)

    # --- gates

    def _problems(self) -> list[Tripped]:
        """Why the destination cannot be written to; asked once a run."""
        if self.is_checked:
            return []
        self.is_checked = True
        return [Tripped("destination_ready", problem) for problem in self.destination.problems()]

    def _pass(self, shut: Sequence[Tripped]) -> None:
        """Raise `GuardTrippedError` unless there is a permission for each gate that is shut."""
        if stopping := pass_or_refuse(self.ledger, self.sync, self.run_id, shut):
            gates = tuple(dict.fromkeys(one.gate for one in stopping))
            raise GuardTrippedError(
                f"{self.sync.destination}/{self.sync.name}: {'; '.join(str(one) for one in stopping)}; nothing was written: mend what is named, "
                f"or let it pass once with `commerce sync override {self.sync.name} {gates[0]} --reason …`",
                gates,
            )
        self.overridden = (*self.overridden, *(one.gate for one in shut))

    # --- writing

    def _write(self, planned: Planned) -> None:
        """The canary, then the rest; or all at once."""
        changes, estimate, total = planned.plan.changes, planned.estimate, planned.plan.changes.height
        first = _canary_of(self.sync, changes, planned.canary_keys) if self.sync.canary else None
        if self.sync.canary is None or first is None:
            self.apply(self._chunks(changes, planned.eligible, estimate), total, estimate.path)
            return
        rest = changes.join(first, on="record_key", how="anti", maintain_order="left")
        part = changes.join(first, on="record_key", how="semi", maintain_order="left")
        self.apply(self._chunks(part, planned.eligible, estimate), total, estimate.path)
        try:
            self._look_at(self.sync.canary, part)
        except CanaryStoppedError:
            self.destination.finish()
            raise
        self.apply(self._chunks(rest, planned.eligible, estimate), total, estimate.path, done=part.height)

    def _look_at(self, canary: Canary, part: pl.DataFrame) -> None:
        """Stop when too many of the canary failed, or read back differently from what was written."""
        failed = self.tally.failed
        differing = self._count_differing(part) if self.destination.can_read else 0
        self.canary_counts = (part.height, failed, differing)
        found = [
            f"{count:,} of {part.height:,} {what}, more than {allowed:.1%}"
            for what, count, allowed in (
                ("failed", failed, canary.max_failed_rate),
                ("read back differently", differing, canary.max_differing_rate),
            )
            if count > allowed * part.height
        ]
        if found and (stopping := pass_or_refuse(self.ledger, self.sync, self.run_id, [Tripped("canary", "; ".join(found))])):
            raise CanaryStoppedError(
                f"{self.sync.destination}/{self.sync.name}: stopped after the canary: {stopping[0].message}; the other records were not written: see "
                f"`commerce sync history {self.sync.name}`, mend it and push again, or take it back with `commerce sync undo {self.run_id}`"
            )

    def _count_differing(self, part: pl.DataFrame) -> int:
        expected: dict[str, str | None] = dict(part.select("record_key", "new_fingerprint").iter_rows())
        written = self.ledger.succeeded_keys(self.run_id)
        self.destination.settle()
        differing = 0
        for some in _in_steps([key for key in expected if key in written]):
            for key, held in self.destination.read(some):
                is_empty = held is None or all(held.get(name) is None for name in self.sync.mapped)
                is_right = is_empty if expected[key] is None else held is not None and fingerprint(held, self.sync.mapped) == expected[key]
                differing += not is_right
        return differing

    def _chunks(self, changes: pl.DataFrame, eligible: Eligible, estimate: Estimate) -> Iterator[list[Change]]:
        """What is to be written, in the order of the desired records, then what is to be taken away."""
        waiting: list[pl.DataFrame] = []
        for detailed in self._detailed(changes, eligible):
            waiting.append(detailed)
            if sum(frame.height for frame in waiting) >= estimate.chunk_rows:
                rows = pl.concat(waiting)
                whole = rows.height - rows.height % estimate.chunk_rows
                for planned in rows.head(whole).iter_slices(estimate.chunk_rows):
                    yield self._changes(planned, estimate)
                waiting = [rows.slice(whole)]
        if waiting and (rows := pl.concat(waiting)).height:
            yield self._changes(rows, estimate)

    def _detailed(self, changes: pl.DataFrame, eligible: Eligible) -> Iterator[pl.DataFrame]:
        """Changes with the fields to be written beside them, slice by slice."""
        names = list(self.sync.fields)
        open_changes = changes.filter(pl.col("operation") != "remove")
        for records in eligible.slices():
            if open_changes.is_empty():
                break
            # Rows that repeat a key with the same mapped fields may carry different others: any one of them will do, always the same.
            rows = records.select("record_key", *names).join(open_changes, on="record_key", how="inner")
            rows = rows.sort("record_key", *names).unique("record_key", keep="last", maintain_order=True)
            if rows.height:
                open_changes = open_changes.join(rows, on="record_key", how="anti")
                yield rows.select(*changes.columns, *names)
        removals = changes.filter(pl.col("operation") == "remove")
        if removals.height:
            yield removals.with_columns(pl.lit(None, pl.String).alias(name) for name in names)

    def _changes(self, planned: pl.DataFrame, estimate: Estimate) -> list[Change]:
        names = self.sync.fields
        known = self.ledger.fields(self.sync, planned.filter(pl.col("operation") != "create")["record_key"].to_list())
        if estimate.reads_new:
            # Before the intents, so that they say what was there before: without it nothing could be taken back.
            new = planned.filter(pl.col("operation") == "create")["record_key"].to_list()
            known |= {key: held for key, held in self.destination.read(new) if held is not None}
        there = self._already_there(planned, known) if self.sync.mode == "insert_only" else frozenset()
        return [
            Change(
                record_key=row["record_key"],
                operation=row["operation"],
                fields={name: row[name] for name in names} if row["operation"] != "remove" else {},
                held=known.get(row["record_key"]),
                old_fingerprint=row["old_fingerprint"],
                new_fingerprint=row["new_fingerprint"],
                idempotency_key=idempotency_key(self.sync, row["record_key"], row["new_fingerprint"]),
                expects=_EXPECTS.get(self.sync.mode, "any"),
            )
            for row in planned.iter_rows(named=True)
            if row["record_key"] not in there
        ]

    def _already_there(self, planned: pl.DataFrame, known: Mapping[str, Fields]) -> frozenset[str]:
        """Records that hold something already, and that a sync which only inserts leaves alone; the ledger learns of them."""
        there = [key for key in planned["record_key"].to_list() if any(value is not None for value in known.get(key, {}).values())]
        self.ledger.learn(self.sync, self.run_id, [(key, known[key]) for key in there])
        self.tally.leave("already there", len(there))
        return frozenset(there)

    def _end(self, report: PushReport | None, status: str, error: BaseException | None = None) -> None:
        counts: dict[str, int] = {}
        if report:
            planned = {"desired": report.desired, "create": report.creates, "update": report.updates, "remove": report.removals}
            left = sum(report.skipped.values()) + self.tally.gone + sum(self.tally.left.values())
            counts = planned | {"unchanged": report.unchanged, "skipped": left}
            counts |= {"held_out": report.skipped.get("held_out", 0)}
            counts |= {"no_consent": report.skipped.get("no_consent", 0) + self.tally.left.get("no_consent", 0)}
        canary = dict(zip(("canary", "canary_failed", "canary_differing"), self.canary_counts, strict=True))
        self.finish(status, counts | canary, error, model_at=self.model_at)

    def _report(self, report: PushReport, status: str, started: float) -> PushReport:
        tally = self.tally
        return replace(
            report,
            status=status,
            skipped={name: report.skipped.get(name, 0) + tally.left.get(name, 0) for name in dict.fromkeys((*report.skipped, *tally.left))},
            succeeded=tally.succeeded,
            failed=tally.failed,
            gone=tally.gone,
            unknown=tally.unknown,
            resolved=tally.resolved,
            requests=self.destination.meter.requests,
            seconds=time.monotonic() - started,
            failure_reasons=dict(tally.reasons),
            canary=self.canary_counts[0],
            canary_failed=self.canary_counts[1],
            canary_differing=self.canary_counts[2],
            overridden=self.overridden,
            points=self.destination.meter.points,
            throttled=self.destination.meter.throttled,
            points_a_second=self.destination.meter.points_a_second,
            writing_seconds=self.writing_seconds,
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


def _canary_of(sync: Sync, changes: pl.DataFrame, marked: pl.DataFrame | None) -> pl.DataFrame | None:
    """`record_key` of the changes that are written first; None where the plan is no larger than that part would have to be."""
    canary = sync.canary
    if canary is None or changes.height <= canary.at_least:
        return None
    if canary.column is not None:
        if marked is None:
            return None
        part = changes.select("record_key").join(marked, on="record_key", how="semi")
        return part if 0 < part.height < changes.height else None
    places = changes.select("record_key", place=pl.lit(positions(changes["record_key"], f"canary:{sync.name}"))).sort("place", "record_key")
    size = max(canary.at_least, round(canary.share * changes.height))
    return places.head(size).select("record_key") if size < changes.height else None


def _in_steps(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), KEYS_A_READ):
        yield list(keys[start : start + KEYS_A_READ])


def new_id() -> str:
    """Of a run or a plan; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}"


def _empty_report(sync: Sync, run_id: str) -> PushReport:
    return PushReport(run_id, sync.destination, sync.name, False, "interrupted", 0, 0, 0, 0, 0, {})
