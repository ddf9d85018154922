"""Any tool that takes JSON over HTTP, as its target declares it: a call a record, or a call for many.

Nothing is known of the tool but what is declared, so every answer is taken for what it is at least sure to mean. A batch that is refused
without naming its records is halved until the bad ones are alone; one that is too large is halved too. A call that got no answer is sent
again only where that does no harm (a PUT, or what the target calls repeatable); else its records are of unknown outcome, and the
engine reads them back, or, where nothing can be read, has them sent again by the next run under the same key. An answer that can only mean
the whole declaration (a wrong key, a wrong address, a redirect) stops the push: it would be the same for every record.
"""

import os
import random
import socket
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import httpx

from commerce_assets.activation.destinations.http_answers import Refusals, held_of, parsed, refusals
from commerce_assets.activation.destinations.http_pace import calls_a_second
from commerce_assets.activation.destinations.http_template import Envelope, Template, UnfitValueError, url_for
from commerce_assets.activation.destinations.http_wire import Answer, NoAnswer, Wire, moment_now, reachability
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Estimate, Fields, Meter, Outcome, RowResult, Sync
from commerce_assets.activation.targets.base import DeclaredField
from commerce_assets.activation.targets.http import IDEMPOTENCY_KEY, KEY, HttpTarget, Per

__all__ = ["HttpDestination"]

ROW_CHUNK = 500
MOST_CHUNK_ROWS = 50_000
"""Records whose intents are open at once, at most; a batch may be as large."""
CALLS_WITHOUT_ANSWER = 3
"""Each has been repeated: after so many in a row the receiver is considered down."""
SECONDS_A_CALL = 0.25
"""Of an estimate, where no rate is declared."""
ALREADY_HELD, NOT_THERE, THERE_ALREADY, GONE = "already held", "not at the destination", "already there", "gone at the destination"
NOT_BEGUN = frozenset({425, 429})
"""Statuses by which a receiver says that it did nothing; other "later" answers may come after it did."""
_ABOUT_ALL = frozenset({401, 402, 404, 405, 407, 410, 411, 415, 421, 426, 431})
"""Statuses that say nothing of a record: whatever is sent, they are the same."""
NO_KEY = "0" * 36
"""As long as a batch's key."""
_NAMESPACE = UUID("0b0c6f0a-5f39-5d8e-9a66-0f3f3b6f1c52")


@dataclass(frozen=True)
class _Sender:
    """How calls of one kind are made."""

    operation: str
    method: str
    url: str
    per: Per
    template: Template | None
    envelope: Envelope
    batch_rows: int
    is_repeatable: bool

    @property
    def names_records(self) -> bool:
        """Whether each record has an address of its own, so that "not found" is said of it."""
        return self.per == "row" and f"{{{KEY}}}" in self.url

    @property
    def makes_no_records(self) -> bool:
        """Whether a record that is not there is answered so, and not made."""
        return self.names_records and self.method != "PUT"

    @property
    def bytes_around(self) -> int:
        """Of a call, beside its records."""
        return len(self.envelope.around([], NO_KEY)) if self.per == "batch" else 0


@dataclass(frozen=True)
class _Row:
    """A change on its way."""

    change: Change
    payload: bytes | None
    held: Fields
    """What is held when it was taken."""

    @property
    def key(self) -> str:
        return self.change.record_key

    @property
    def private(self) -> frozenset[str]:
        """Values that no reason may hold."""
        return frozenset(value for value in (self.key, *self.change.fields.values()) if value)


@dataclass(frozen=True)
class _Job:
    """One call."""

    sender: _Sender
    rows: tuple[_Row, ...]


@dataclass
class _Done:
    """What became of a call: results, calls that follow from it, and whether the push has to stop."""

    results: list[RowResult] = field(default_factory=list)
    after: list[_Job] = field(default_factory=list)
    stop: str | None = None


class HttpDestination:
    """The destination of one sync. What is left out of `environment` and `transport` is the process's own; tests replace them and the clock."""

    def __init__(
        self,
        target: HttpTarget,
        fields: Sequence[DeclaredField],
        sync: Sync,
        *,
        environment: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = moment_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.target, self.sync = target, sync
        self.meter = Meter()
        self.can_read = target.read is not None
        self._types = {one.name: one.type for one in fields}
        self._wire = Wire(
            target,
            self.meter,
            environment=os.environ if environment is None else environment,
            pause=pause,
            clock=clock,
            now=now,
            random=jitter,
            transport=transport,
        )
        template = Template(target.template_for(fields), omit_nulls=target.omit_nulls)
        self._writing = self._sender("write", target.method, target.url, target.per, template, Envelope(target.envelope, target.rows_at))
        self._removing = self._removal_sender(template)
        self._lock = threading.Lock()
        self._without_answer = 0

    def close(self) -> None:
        """Give the connections back."""
        self._wire.close()

    # --- before

    def problems(self) -> Sequence[str]:
        found = [*self._wire.environment_problems(), *self._mode_problems()]
        if not self._is_behind_proxy():
            found += reachability(self.target, _connect)
        return found or self._probe_problems()

    def prepare(self) -> None:
        """Nothing is made there. Raises `DestinationError` where a secret is missing."""
        self._wire.headers(b"")

    def settle(self) -> None:
        """What a receiver does after it has answered is its own."""

    def finish(self) -> None:
        """Nothing is made of the whole; the connections are given back."""
        self.close()

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        is_read = self.can_read and self.sync.mode != "append"
        writes = -(-(creates + updates) // self._writing.batch_rows)
        taking = 0 if self.target.removals == "skip" else -(-removals // self._removing.batch_rows)
        requests = writes + taking + (creates if is_read else 0)
        rate = calls_a_second(self.target.rate)
        seconds = requests / rate if rate else requests * SECONDS_A_CALL / self.target.concurrency
        path = "batches" if self.target.per == "batch" else "rows"
        return Estimate(path, self._chunk_rows, requests, 0, reads_new=is_read, seconds=seconds)

    # --- reading

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        """Every field None for a record that is not there.

        Raises `DestinationError` where the target declares no `read`, or an answer is not as it declares; `DestinationUnavailableError`
        where none came.
        """
        if not keys:
            return
        if self.target.read is None:
            raise DestinationError(
                f"{self._shown} cannot tell what it holds: declare `read` in the target of {self.sync.name}, if there is an address to read from"
            )
        with ThreadPoolExecutor(max_workers=self.target.concurrency, thread_name_prefix="read") as pool:
            yield from zip(keys, pool.map(self._read_one, keys), strict=True)

    def _read_one(self, key: str) -> Fields:
        read, nothing = self.target.read, dict.fromkeys(self.sync.fields)
        assert read is not None
        try:
            url = url_for(read.url, key)
        except UnfitValueError:
            return nothing
        answer = self._wire.send(read.method, url, None, operation="read", is_repeatable=True)
        if isinstance(answer, NoAnswer):
            raise DestinationUnavailableError(f"{self._shown}: reading a record got {answer.reason}; run again to go on")
        if answer.status in (404, 410):
            return nothing
        if answer.status in self.target.statuses.retry:
            raise DestinationUnavailableError(
                f"{self._shown}: reading a record was answered with {answer.status} again and again; run again"
            )
        content = parsed(answer.content) if 200 <= answer.status < 300 else None
        if not isinstance(content, dict | list):
            raise DestinationError(
                f"{self._shown}: reading a record was answered with {answer.status}, not with its JSON: correct `read` or the headers"
            )
        return {**nothing, **held_of(content, read.fields, self._types)}

    # --- writing

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        del path
        writes, removals = list[_Row](), list[_Row]()
        there = self._look_for([change for change in changes if change.expects != "any" and change.operation == "update"])
        for change in changes:
            row = self._row(change, there.get(change.record_key, change.held))
            if isinstance(row, RowResult):
                yield row
            else:
                (removals if change.operation == "remove" else writes).append(row)
        jobs: list[_Job] = []
        for sender, rows in ((self._writing, writes), (self._removing, removals)):
            around, fitting = sender.bytes_around, list[_Row]()
            for row in rows:
                too_large = self._too_large(around, row)
                if too_large:
                    yield RowResult(row.key, "failed", too_large)
                else:
                    fitting.append(row)
            jobs += self._packed(sender, fitting, around)
        yield from self._run(jobs)

    def _look_for(self, changes: Sequence[Change]) -> dict[str, Fields | None]:
        """What is held now of known records that have to be there still; somebody may have deleted them since."""
        if not changes or not self.can_read or self._writing.makes_no_records:
            return {}
        return dict(self.read([change.record_key for change in changes]))

    def _row(self, change: Change, held: Fields | None) -> _Row | RowResult:
        """The change as it is sent; or its result, where nothing is."""
        key, is_removal = change.record_key, change.operation == "remove"
        if is_removal and self.target.removals == "skip":
            return RowResult(key, "skipped", "the receiver takes no removals")
        if not key:
            return RowResult(key, "failed", "the key is empty")
        if self.can_read and change.expects != "any" and held is not None:
            is_there = any(value is not None for value in held.values())
            if is_there != (change.expects == "present"):
                return RowResult(key, "skipped", NOT_THERE if change.expects == "present" else THERE_ALREADY)
        wanted: dict[str, str | None] = {name: change.fields.get(name) for name in self.sync.fields}
        if not is_removal and not change.is_whole:
            wanted |= {name: (held or {}).get(name) for name in self.sync.kept_when_null if wanted[name] is None}
            if held is not None and all(wanted[name] == held.get(name) for name in self.sync.mapped):
                return RowResult(key, "succeeded", ALREADY_HELD, held)
        sent = dict(wanted)
        if is_removal:
            # Who it is stays: an address that is cleared could never be written to again.
            sent |= {name: (held or {}).get(name) for name in self.target.identifiers}
        if self.target.identifiers and not any(sent[name] for name in self.target.identifiers):
            return RowResult(
                key, "failed", f"{' and '.join(self.target.identifiers)} without a value: the receiver could not know who it is"
            )
        try:
            url_for((self._removing if is_removal else self._writing).url, key)
            payload = self._payload(change, sent, is_removal)
        except UnfitValueError as error:
            return RowResult(key, "failed", str(error))
        return _Row(change, payload, wanted)

    def _payload(self, change: Change, sent: Fields, is_removal: bool) -> bytes | None:
        template = (self._removing if is_removal else self._writing).template
        if template is None:
            return None
        values = {KEY: change.record_key, IDEMPOTENCY_KEY: change.idempotency_key, **sent}
        kept = () if change.is_whole or is_removal else self.sync.kept_when_null
        # A removal without a call of its own is a write of nulls, whatever else is done with them.
        return template.render(values, left_out=frozenset((*kept, *self.target.identifiers)), send_nulls=is_removal)

    def _too_large(self, around: int, row: _Row) -> str | None:
        size = len(row.payload or b"")
        if self.target.row_bytes is not None and size > self.target.row_bytes:
            return f"the record has {size:,} bytes, more than the {self.target.row_bytes:,} that the receiver takes of one"
        limit = self.target.batch_bytes
        if limit is not None and around + size > limit:
            return f"the record makes a call of {around + size:,} bytes, more than the {limit:,} that the receiver takes"
        return None

    def _packed(self, sender: _Sender, rows: Sequence[_Row], around: int) -> Iterator[_Job]:
        """In their order, as many a call as rows and bytes allow."""
        limit = self.target.batch_bytes
        batch, size = list[_Row](), around
        for row in rows:
            length = len(row.payload or b"") + bool(batch)  # the comma before it
            if batch and (len(batch) >= sender.batch_rows or (limit is not None and size + length > limit)):
                yield _Job(sender, tuple(batch))
                batch, size, length = [], around, length - 1
            batch.append(row)
            size += length
        if batch:
            yield _Job(sender, tuple(batch))

    def _run(self, jobs: Iterable[_Job]) -> Iterator[RowResult]:
        """Make the calls, and those that follow from them, some at once. A call that says stop ends it, after those in flight."""
        todo, after = iter(jobs), deque[_Job]()
        stop: str | None = None
        with ThreadPoolExecutor(max_workers=self.target.concurrency, thread_name_prefix="push") as pool:
            running: set[Future[_Done]] = set()
            while True:
                while stop is None and len(running) < self.target.concurrency:
                    job = after.popleft() if after else next(todo, None)
                    if job is None:
                        break
                    running.add(pool.submit(self._call, job))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    made = future.result()
                    stop = stop or made.stop
                    after.extendleft(reversed(made.after))
                    yield from made.results
        if stop is not None:
            raise DestinationUnavailableError(stop)

    def _call(self, job: _Job) -> _Done:
        sender, rows = job.sender, job.rows
        url = url_for(sender.url, rows[0].key) if sender.per == "row" else sender.url
        answer = self._wire.send(
            sender.method,
            url,
            _body(sender, rows),
            operation=sender.operation,
            idempotency_key=_call_key(sender, rows),
            is_repeatable=sender.is_repeatable,
        )
        if isinstance(answer, NoAnswer):
            return self._lost(rows, "unknown" if answer.was_sent else "failed", answer.reason)
        if answer.status in self.target.statuses.retry:
            return self._later(rows, answer)
        with self._lock:
            self._without_answer = 0
        if sender.per == "row":
            return self._row_answered(sender, rows[0], answer)
        return self._batch_answered(sender, rows, answer)

    def _row_answered(self, sender: _Sender, row: _Row, answer: Answer) -> _Done:
        statuses, status = self.target.statuses, answer.status
        if status in statuses.ok:
            return _Done([RowResult(row.key, "succeeded", held=row.held)])
        if status in statuses.gone and sender.names_records:
            if row.change.operation == "remove":
                return _Done([RowResult(row.key, "succeeded", "was not there any more", row.held)])
            if row.change.expects == "present":
                return _Done([RowResult(row.key, "skipped", NOT_THERE)])
            return _Done([RowResult(row.key, "skipped", GONE, is_gone=True)])
        if status in statuses.exists and row.change.expects == "absent":
            return _Done([RowResult(row.key, "skipped", THERE_ALREADY)])
        if 200 <= status < 300:
            return self._unreadable([row], f"answered {status}, which statuses.ok does not name")
        return self._refused([row], status)

    def _batch_answered(self, sender: _Sender, rows: Sequence[_Row], answer: Answer) -> _Done:
        status, named = answer.status, self._named(rows, answer)
        failed = [RowResult(rows[number].key, "failed", _reason(status, code)) for number, code in named.named.items()]
        others = [row for number, row in enumerate(rows) if number not in named.named]
        if status in self.target.statuses.ok:
            if named.is_readable:
                return _Done([*failed, *(RowResult(row.key, "succeeded", held=row.held) for row in others)])
            done = self._unreadable(others, f"answered {status}, with errors that name no record")
            return _Done([*failed, *done.results], stop=done.stop)
        if 200 <= status < 300:
            return self._unreadable(rows, f"answered {status}, which statuses.ok does not name")
        if failed:
            return _Done(failed, [_Job(sender, tuple(others))] if others else [])
        if len(rows) == 1 or _is_about_all(status) or status == 403:
            return self._refused(rows, status, is_whole=len(rows) > 1 or _is_about_all(status))
        half = len(rows) // 2
        return _Done(after=[_Job(sender, tuple(rows[:half])), _Job(sender, tuple(rows[half:]))])

    def _named(self, rows: Sequence[_Row], answer: Answer) -> Refusals:
        """The records that an answer names; an empty one names none."""
        options = self.target.row_errors
        if options is None or not answer.content.strip():
            return Refusals()
        return refusals(options, parsed(answer.content), [row.key for row in rows], [row.private for row in rows])

    def _refused(self, rows: Sequence[_Row], status: int, *, is_whole: bool = False) -> _Done:
        """Refused for good; where the answer cannot be a record's fault, the others would only be refused too."""
        results = [RowResult(row.key, "failed", _reason(status)) for row in rows]
        if not (is_whole or _is_about_all(status)):
            return _Done(results)
        return _Done(results, stop=f"{self._shown} answered {status}: {self._advice(status)}; the push stops here")

    def _later(self, rows: Sequence[_Row], answer: Answer) -> _Done:
        """It said "later" each time, or asked for more time than a push waits."""
        outcome: Outcome = "failed" if answer.status in NOT_BEGUN else "unknown"
        longest = self.target.retries.longest_wait_seconds
        if answer.asks_seconds is not None and answer.asks_seconds > longest:
            asked = f"asks to wait {answer.asks_seconds:,.0f} seconds, longer than the {longest:,.0f} that a push waits"
            stop = f"{self._shown} answered {answer.status} and {asked}: run again after that"
            return _Done([RowResult(row.key, outcome, f"answered {answer.status}") for row in rows], stop=stop)
        return self._lost(rows, outcome, f"answered {answer.status} each time")

    def _unreadable(self, rows: Sequence[_Row], reason: str) -> _Done:
        """Something was done, but not said to what."""
        return self._lost(rows, "unknown", reason)

    def _lost(self, rows: Sequence[_Row], outcome: Outcome, reason: str) -> _Done:
        results = [RowResult(row.key, outcome, reason) for row in rows]
        with self._lock:
            self._without_answer += 1
            count = self._without_answer
        if count < CALLS_WITHOUT_ANSWER:
            return _Done(results)
        return _Done(
            results,
            stop=f"{self._shown}: {count} calls in a row got no answer of use, the last: {reason}; the push stops here, run again to go on",
        )

    # --- what it is made of

    def _sender(self, operation: str, method: str, url: str, per: Per, template: Template | None, envelope: Envelope) -> _Sender:
        is_repeatable = method in ("PUT", "DELETE") or self.target.repeatable
        return _Sender(operation, method, url, per, template, envelope, self.target.batch_rows if per == "batch" else 1, is_repeatable)

    def _removal_sender(self, template: Template) -> _Sender:
        """How removals go: as declared, or as writes in which every field is null."""
        remove = self.target.remove
        if remove is None:
            writing = self._writing
            return self._sender("remove", writing.method, writing.url, writing.per, template, writing.envelope)
        own = Template(remove.template) if remove.template is not None else None
        envelope = Envelope(remove.envelope, remove.rows_at)
        return self._sender("remove", remove.method, remove.url, self.target.removal_per, own, envelope)

    @property
    def _chunk_rows(self) -> int:
        """Whole batches, so that all but the last are full."""
        if self.target.per == "row":
            return ROW_CHUNK
        rows = self.target.batch_rows
        return rows * max(1, min(self.target.concurrency, MOST_CHUNK_ROWS // rows))

    @property
    def _shown(self) -> str:
        """The receiver in messages: its host, no more."""
        return urlsplit(self.target.url).netloc.rpartition("@")[2]

    def _advice(self, status: int) -> str:
        if status in (401, 403, 407):
            named = ", ".join(self.target.env_names)
            return f"look whether {named} holds what the receiver knows" if named else "it wants to know who calls: declare headers or sign"
        if 300 <= status < 400:
            return "redirects are not followed: declare the address that it leads to"
        if status in (404, 405, 410):
            return "look whether url and method are right"
        return "look whether the declaration is what the receiver takes"

    def _mode_problems(self) -> list[str]:
        if self.can_read or self.sync.mode not in ("update_only", "insert_only"):
            return []
        if self.sync.mode == "update_only" and self._writing.makes_no_records:
            return []
        if self.sync.mode == "insert_only" and self.target.per == "row":
            return []
        return [
            f"mode {self.sync.mode} has to know which records are there: declare `read`, or (update_only) one call a record to its own address, by PATCH"
        ]

    def _probe_problems(self) -> list[str]:
        probe = self.target.probe
        if probe is None:
            return []
        answer = self._wire.send(probe.method, probe.url, None, operation="probe", is_repeatable=True)
        if isinstance(answer, NoAnswer):
            return [f"{self._shown}: the probe got {answer.reason}: look whether it runs"]
        return (
            []
            if answer.status in probe.ok
            else [f"{self._shown}: the probe was answered with {answer.status}: {self._advice(answer.status)}"]
        )

    def _is_behind_proxy(self) -> bool:
        """Then only the proxy can tell whether the host is there."""
        if self.target.is_local:
            return False
        parts = urlsplit(self.target.url)
        return parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or "")


def _body(sender: _Sender, rows: Sequence[_Row]) -> bytes | None:
    payloads = [row.payload or b"" for row in rows]
    if sender.per == "row":
        return payloads[0] if sender.template is not None else None
    return sender.envelope.around(payloads, _call_key(sender, rows))


def _call_key(sender: _Sender, rows: Sequence[_Row]) -> str:
    """A record's own; of a batch, UUIDv5 of the keys of its records in their order."""
    if sender.per == "row":
        return rows[0].change.idempotency_key
    return str(uuid5(_NAMESPACE, "\x1f".join(row.change.idempotency_key for row in rows)))


def _is_about_all(status: int) -> bool:
    return status in _ABOUT_ALL or 300 <= status < 400 or status >= 500


def _reason(status: int, code: str | None = None) -> str:
    return f"refused with {status} ({code})" if code else f"refused with {status}"


def _connect(host: str, port: int, seconds: float) -> Any:
    socket.create_connection((host, port), timeout=seconds).close()
