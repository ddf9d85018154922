"""Taking back what a run wrote: every record that still holds it gets back what it held before; all others are left alone.

An undo is a run of its own, of kind `undo`: intents before, outcomes after. It trusts nothing but what it reads back: a record that
already holds what it held before needs nothing, so that an undo may be repeated, also after a kill. One that a killed undo left half
way (each field as the run wrote it or as it was before) is brought to its end.

The sync is paused before anything is written: its next push would only write the same again.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import sqlalchemy as sa

from commerce_assets.activation.engine import Progress, Run
from commerce_assets.activation.errors import UndoError
from commerce_assets.activation.fingerprint import fingerprint
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.pauses import pause
from commerce_assets.activation.records import CHANGED_SINCE, Change, ConsentCheck, Destination, Fields, Sync, idempotency_key
from commerce_assets.activation.tables import CHANGES, RUNS

SAMPLE_ROWS = 5
Verdict = Literal["restore", "already", "changed_since", "gone"]


@dataclass(frozen=True)
class Written:
    """What a run changed on one record."""

    record_key: str
    prior: Fields
    written: Fields
    was_tried: bool = False
    """Whether an undo of the run set out to take it back before."""


@dataclass(frozen=True)
class UndoReport:
    """What an undo did. Ids and counts only."""

    run_id: str
    of_run: str
    destination: str
    sync: str
    status: str = "running"
    changed: int = 0
    """Records that the run had changed."""
    succeeded: int = 0
    already: int = 0
    """Held already what they held before the run."""
    changed_since: int = 0
    gone: int = 0
    failed: int = 0
    resolved: int = 0
    requests: int = 0
    seconds: float = 0.0
    failure_reasons: Mapping[str, int] = field(default_factory=dict)
    changed_since_sample: tuple[str, ...] = ()


def decide(sync: Sync, one: Written, held: Fields | None) -> Verdict:
    """What is to be done about a record that now holds `held` (None: no longer there)."""
    if held is None:
        return "gone"
    now, before, after = (fingerprint(fields, sync.fields) for fields in (held, one.prior, one.written))
    if now == before:
        return "already"
    if now == after or (one.was_tried and all(_is_between(sync, name, one, held) for name in sync.fields)):
        return "restore"
    return "changed_since"


def undo(
    sync: Sync,
    of_run: str,
    ledger: Ledger,
    destination: Destination,
    *,
    requested_by: str | None = None,
    progress: Progress | None = None,
    consents: ConsentCheck | None = None,
) -> UndoReport:
    """Take back what the run `of_run` wrote, and pause the sync.

    Raises `UndoError` with nothing written, `DestinationUnavailableError` when the destination gives up: run it again to go on.
    """
    started = time.monotonic()
    with ledger.exclusive(sync):
        _refuse_unknown(sync, of_run, ledger)
        if not destination.can_read:
            raise UndoError(
                f"{sync.destination}/{sync.name} cannot be undone: what its destination holds cannot be read; nothing was written"
            )
        run = _Undo(sync, ledger, destination, requested_by, progress, of_run, consents)
        open_before = ledger.open_intents(sync)
        ledger.start_run(sync, run.run_id, requested_by, kind="undo", of_run=of_run)
        try:
            _refuse_forgotten(of_run, ledger)
            pause(ledger, sync, requested_by or "undo", f"run {of_run} was undone")
            run.resolve(open_before)
            run.take_back()
        except BaseException as error:
            run.end("interrupted", error)
            raise
        run.end(run.tally.status)
    return replace(run.report, status=run.tally.status, seconds=time.monotonic() - started)


class _Undo(Run):
    def __init__(
        self,
        sync: Sync,
        ledger: Ledger,
        destination: Destination,
        requested_by: str | None,
        progress: Progress | None,
        of_run: str,
        consents: ConsentCheck | None,
    ) -> None:
        super().__init__(sync, ledger, destination, requested_by, progress, consents)
        self.of_run = of_run
        self.counts: dict[Verdict, int] = {"restore": 0, "already": 0, "changed_since": 0, "gone": 0}
        self.operations = {"update": 0, "remove": 0}
        self.changed_since: list[str] = []

    def take_back(self) -> None:
        total = _count_changed(self.of_run, self.ledger)
        if not total:
            return
        self.destination.prepare()
        estimate = self.destination.estimate(0, total, 0)
        self.apply(self._chunks(estimate.chunk_rows), total, estimate.path)
        self.destination.finish()

    def _chunks(self, chunk_rows: int) -> Iterator[list[Change]]:
        for some in _changed(self.of_run, self.ledger, chunk_rows):
            changes = []
            for key, held in self.destination.read(list(some)):
                verdict = decide(self.sync, some[key], held)
                self.counts[verdict] += 1
                if verdict == "changed_since":
                    self.changed_since = [*self.changed_since, key][:SAMPLE_ROWS]
                elif verdict == "restore" and held is not None:
                    changes.append(_change_back(self.sync, some[key], held))
                    self.operations[changes[-1].operation] += 1
            yield changes

    def end(self, status: str, error: BaseException | None = None) -> None:
        counts = {"desired": sum(self.counts.values()), **self.operations, "unchanged": self.counts["already"]}
        self.finish(
            status,
            counts | {"skipped": self.counts["changed_since"] + self.counts["gone"] + self.tally.gone + sum(self.tally.left.values())},
            error,
        )

    @property
    def report(self) -> UndoReport:
        return UndoReport(
            run_id=self.run_id,
            of_run=self.of_run,
            destination=self.sync.destination,
            sync=self.sync.name,
            changed=sum(self.counts.values()),
            succeeded=self.tally.succeeded,
            already=self.counts["already"],
            changed_since=self.counts["changed_since"] + self.tally.left.get(CHANGED_SINCE, 0),
            gone=self.counts["gone"] + self.tally.gone,
            failed=self.tally.failed + self.tally.unknown,
            resolved=self.tally.resolved,
            requests=self.destination.meter.requests,
            failure_reasons=dict(self.tally.reasons),
            changed_since_sample=tuple(self.changed_since),
        )


def sync_of_run(ledger: Ledger, run_id: str) -> tuple[str, str]:
    """Destination and name of the sync that a run was of; `UndoError` where there is no such run."""
    with ledger.engine.connect() as connection:
        row = connection.execute(sa.select(RUNS.c.destination, RUNS.c.sync).where(RUNS.c.run_id == run_id)).first()
    if row is None:
        raise UndoError(f"there is no run {run_id} in the ledger; `commerce sync history` lists them")
    return row.destination, row.sync


def _change_back(sync: Sync, one: Written, held: Fields) -> Change:
    is_empty = all(one.prior.get(name) is None for name in sync.fields)
    target = None if is_empty else fingerprint(one.prior, sync.mapped)
    return Change(
        record_key=one.record_key,
        operation="remove" if is_empty else "update",
        fields={} if is_empty else one.prior,
        held=held,
        old_fingerprint=fingerprint(held, sync.mapped),
        new_fingerprint=target,
        idempotency_key=idempotency_key(sync, one.record_key, target),
        is_whole=True,
    )


def _is_between(sync: Sync, name: str, one: Written, held: Fields) -> bool:
    """Whether a field is as the run wrote it or as it was before, or, of a set, has elements of both and lacks none that both have."""
    now, before, after = held.get(name), one.prior.get(name), one.written.get(name)
    if now in (before, after):
        return True
    if name not in sync.sets:
        return False
    elements, earlier, later = (set((text or "").split(",")) - {""} for text in (now, before, after))
    return earlier & later <= elements <= earlier | later


def _refuse_unknown(sync: Sync, of_run: str, ledger: Ledger) -> None:
    if sync_of_run(ledger, of_run) != (sync.destination, sync.name):
        raise UndoError(f"run {of_run} is not one of {sync.destination}/{sync.name}; `commerce sync history {sync.name}` lists those")


def _refuse_forgotten(of_run: str, ledger: Ledger) -> None:
    query = sa.select(sa.func.count()).where(CHANGES.c.run_id == of_run, CHANGES.c.prior_fields.is_(None))
    with ledger.engine.connect() as connection:
        forgotten = int(connection.scalar(query) or 0)
    if forgotten:
        raise UndoError(
            f"run {of_run} cannot be undone: what {forgotten} of its records held before is not kept, because it is older than "
            f"COMMERCE_UNDO_DAYS ({ledger.undo_days} days) or than undo itself; nothing was written"
        )


_IS_CHANGED = CHANGES.c.outcome.is_not(None) & (CHANGES.c.prior_fields != CHANGES.c.written_fields)


def _count_changed(of_run: str, ledger: Ledger) -> int:
    with ledger.engine.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).where(CHANGES.c.run_id == of_run, _IS_CHANGED)) or 0)


def _changed(of_run: str, ledger: Ledger, rows: int) -> Iterator[dict[str, Written]]:
    """What the run changed, by key, in portions."""
    of_undo = sa.select(RUNS.c.run_id).where(RUNS.c.kind == "undo", RUNS.c.of_run == of_run)
    after = ""
    while True:
        page = (
            sa.select(CHANGES.c.record_key, CHANGES.c.prior_fields, CHANGES.c.written_fields)
            .where(CHANGES.c.run_id == of_run, _IS_CHANGED, CHANGES.c.record_key > after)
            .order_by(CHANGES.c.record_key)
            .limit(rows)
        )
        with ledger.engine.connect() as connection:
            found = connection.execute(page).all()
            if not found:
                return
            after = found[-1].record_key
            tries = sa.select(CHANGES.c.record_key).where(
                CHANGES.c.run_id.in_(of_undo), CHANGES.c.record_key.between(found[0].record_key, after)
            )
            tried: set[str] = set(connection.scalars(tries))
        yield {
            row.record_key: Written(
                row.record_key, json.loads(row.prior_fields), json.loads(row.written_fields), was_tried=row.record_key in tried
            )
            for row in found
        }
