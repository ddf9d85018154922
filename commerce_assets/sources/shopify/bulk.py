"""Bulk operations: start, wait, fetch the result whole or not at all, cancel what nobody waits for; bulk mutations by staged upload.

A start that got no answer is looked for by a mark in its text before it is sent again, so that no operation runs unattended or twice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from commerce_assets.sources.shopify.client import Meter, ShopifyClient, document, user_error_text
from commerce_assets.sources.shopify.download import PART_BYTES, Progress, Written, download
from commerce_assets.sources.shopify.errors import (
    BulkCanceledError,
    BulkError,
    BulkExpiredError,
    BulkFailedError,
    BulkRejectedError,
    BulkResultError,
    BulkSlotError,
    BulkTimeoutError,
    RequestFailedError,
    ShopifyError,
    UncertainWriteError,
)

LOG = logging.getLogger(__name__)
FILTER_MARK = "__FILTER__"
MAX_QUERY_BYTES = 65_535
MAX_INPUT_BYTES = 95_000_000
"""Shopify takes 100 MB a file; the rest is room for the form around it."""
FIRST_POLL_SECONDS = 0.25
LONGEST_POLL_SECONDS = 10.0
RESULT_NAME = "part"
PARTIAL_FOLDER = "partial"

OperationType = Literal["QUERY", "MUTATION"]
_BUSY = {"OPERATION_IN_PROGRESS", "LIMIT_REACHED"}
_FILE_TROUBLE = {"INTERNAL_FILE_SERVER_ERROR", "NO_SUCH_FILE"}
_INTERMITTENT = {"INTERNAL_SERVER_ERROR", "TIMEOUT"}
_ERRORS = {"CANCELED": BulkCanceledError, "EXPIRED": BulkExpiredError}


@dataclass(frozen=True)
class BulkOptions:
    """Limits of waiting."""

    operation_seconds: float = 24 * 3600.0
    slot_seconds: float = 2 * 3600.0
    slot_poll_seconds: float = 5.0
    runs: int = 2
    """How often a query that failed on Shopify's side (INTERNAL_SERVER_ERROR, TIMEOUT) is run in all."""
    part_bytes: int = PART_BYTES


@dataclass(frozen=True)
class BulkOperation:
    """Shopify's account of an operation. The addresses are signed: they are for downloading, not for showing."""

    id: str
    status: str
    type: str | None
    error_code: str | None
    object_count: int
    root_object_count: int
    file_size: int | None
    url: str | None
    partial_data_url: str | None
    created_at: datetime | None
    completed_at: datetime | None

    def __repr__(self) -> str:
        return f"BulkOperation({self.id}, {self.status}, {self.object_count} objects)"

    @property
    def is_over(self) -> bool:
        return self.status in {"COMPLETED", "FAILED", "CANCELED", "EXPIRED"}

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> BulkOperation:
        """Read it from GraphQL, where counts are strings."""
        size = node.get("fileSize")
        return cls(
            id=str(node["id"]),
            status=str(node["status"]),
            type=node.get("type"),
            error_code=node.get("errorCode"),
            object_count=int(node.get("objectCount") or 0),
            root_object_count=int(node.get("rootObjectCount") or 0),
            file_size=None if size is None else int(size),
            url=node.get("url"),
            partial_data_url=node.get("partialDataUrl"),
            created_at=_moment(node.get("createdAt")),
            completed_at=_moment(node.get("completedAt")),
        )


@dataclass(frozen=True)
class BulkResult:
    """A whole result on disk with the operation that made it."""

    operation: BulkOperation
    written: Written


@dataclass(frozen=True)
class MutationLine:
    """What became of one row of a bulk mutation; `line` counts the caller's rows from 0."""

    line: int
    data: dict[str, Any] | None
    errors: tuple[dict[str, Any], ...]


def with_filter(query: str, search: str) -> str:
    """The document with `search` in the place of its mark, escaped as a GraphQL string; the marks must be there."""
    if FILTER_MARK not in query:
        raise ValueError(f"the document holds no {FILTER_MARK}")
    search.encode("utf-8")  # a lone surrogate would not survive the way
    return query.replace(FILTER_MARK, json.dumps(search, ensure_ascii=False)[1:-1])


def run_query(
    client: ShopifyClient,
    query: str,
    folder: Path,
    *,
    label: str,
    progress: Progress,
    meter: Meter | None = None,
    options: BulkOptions | None = None,
) -> BulkResult:
    """Run a bulk query and put its result into `folder/part-*.jsonl`. Raises a `BulkError` unless the result is whole."""
    options = options or BulkOptions()
    for run in range(1, options.runs + 1):
        with _slot(client, "QUERY"), _Operation(client, "QUERY", label, progress, meter, options) as operation:
            operation.start(query)
            over = operation.wait()
            if over.status == "COMPLETED":
                return BulkResult(over, operation.fetch(folder, over))
            if over.error_code in _INTERMITTENT and run < options.runs:
                progress(f"{label}: the shop failed with {over.error_code}; its partial result is not used, running the operation again")
                continue
            raise operation.failure(over, folder)
    raise AssertionError("runs is at least 1")


def run_mutation(
    client: ShopifyClient,
    mutation: str,
    rows: Iterable[Mapping[str, Any]],
    folder: Path,
    *,
    label: str,
    progress: Progress,
    meter: Meter | None = None,
    options: BulkOptions | None = None,
    max_input_bytes: int = MAX_INPUT_BYTES,
) -> Iterator[MutationLine]:
    """Apply `mutation` to each row of variables, and yield what became of each (in no order).

    Rows are sent in files of at most `max_input_bytes`, one operation each. An operation that did not complete raises
    `BulkFailedError`; its `partial_files` (see `read_mutation_lines`) say which rows were applied before.
    """
    options = options or BulkOptions()
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for number, (path, count) in enumerate(_input_files(rows, folder, max_input_bytes)):
        with _slot(client, "MUTATION"), _Operation(client, "MUTATION", label, progress, meter, options) as operation:
            operation.start(mutation, path)
            over = operation.wait()
            if over.status != "COMPLETED":
                raise operation.failure(over, folder / f"result-{number:05d}")
            written = operation.fetch(folder / f"result-{number:05d}", over)
        seen = 0
        for line in read_mutation_lines(written.files):
            seen += 1
            yield replace(line, line=first + line.line)
        if seen != count:
            raise BulkResultError(
                f"{client.shop}: {label}: {count} rows were sent, but {seen} results came back ({over.id}); compare the shop's state before sending again"
            )
        path.unlink()
        first += count


def read_mutation_lines(files: Iterable[Path]) -> Iterator[MutationLine]:
    """The results in files of a bulk mutation, whole or partial; `line` counts the rows of that operation's file."""
    for path in files:
        with path.open("rb") as lines:
            for raw in lines:
                try:
                    body = json.loads(raw)
                    number = int(body["__lineNumber"])
                except (ValueError, KeyError, TypeError):
                    raise BulkResultError(
                        f"a line of {path.name} is no result of a bulk mutation; read the shop's state before sending again"
                    ) from None
                errors = body.get("errors") or []
                yield MutationLine(number, body.get("data"), tuple(errors if isinstance(errors, list) else [{"message": str(errors)}]))


class _Operation:
    """One operation from its start to its result; leaving it on an exception cancels it."""

    def __init__(
        self, client: ShopifyClient, kind: OperationType, label: str, progress: Progress, meter: Meter | None, options: BulkOptions
    ) -> None:
        self.client, self.kind, self.label, self.progress, self.meter, self.options = client, kind, label, progress, meter, options
        self.id: str | None = None
        self.mark: str | None = None
        self.is_over = False

    def __enter__(self) -> _Operation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and not self.is_over:
            self._cancel()

    def start(self, text: str, rows: Path | None = None) -> None:
        """Start the operation, waiting while others hold all slots."""
        deadline = time.monotonic() + self.options.slot_seconds
        is_told = False
        file_troubles = 0
        path = self._stage(rows) if rows else None
        while True:
            errors = self._submit(text, path)
            if not errors:
                return
            codes = {str(error.get("code")) for error in errors}
            if codes & _FILE_TROUBLE and rows and file_troubles < 2:
                file_troubles += 1
                self.client.pause(self.client.retry.wait_seconds(file_troubles))
                path = self._stage(rows)
            elif codes & _BUSY:
                if time.monotonic() > deadline:
                    raise BulkSlotError(
                        f"{self.client.shop}: {self.label}: other bulk operations of this app have held every slot for "
                        f"{self.options.slot_seconds:.0f} s ({user_error_text(errors)}); wait for them or cancel them, then run again"
                    )
                if not is_told:
                    self.progress(f"{self.label}: waiting, other bulk operations of this app hold every slot")
                is_told = True
                self.client.pause(self.options.slot_poll_seconds)
            else:
                raise BulkRejectedError(
                    f"{self.client.shop}: {self.label}: the shop refused the bulk operation: {user_error_text(errors)}; fix the document or its filter",
                    [str(error.get("code")) for error in errors],
                )

    def wait(self) -> BulkOperation:
        """Poll until it is over."""
        deadline = time.monotonic() + self.options.operation_seconds
        poll, told = FIRST_POLL_SECONDS, 0
        while True:
            operation = self.read()
            if operation.is_over:
                self.is_over = True
                if operation.status == "COMPLETED":
                    self.progress(f"{self.label}: the shop has {operation.object_count:,} objects ready")
                return operation
            if time.monotonic() > deadline:
                raise BulkTimeoutError(
                    f"{self.client.shop}: {self.label}: still {operation.status} after {self.options.operation_seconds:.0f} s with {operation.object_count:,} objects; "
                    "cancelled: ask for a shorter range"
                )
            if operation.object_count >= told + 10_000:
                told = operation.object_count
                self.progress(f"{self.label}: the shop is at {told:,} objects")
            self.client.pause(poll)
            poll = min(poll * 1.5, LONGEST_POLL_SECONDS)

    def read(self) -> BulkOperation:
        """The operation as it is now."""
        node = self.client.execute(document("bulk_operation"), {"id": self.id}, meter=self.meter)["bulkOperation"]
        if node is None:
            self.is_over = True
            raise BulkError(f"{self.client.shop}: {self.label}: the shop no longer knows the operation {self.id}; run again")
        return BulkOperation.of(node)

    def fetch(self, folder: Path, over: BulkOperation) -> Written:
        """The whole result of a completed operation; nothing was found when it has no address."""
        if over.url is None:
            if over.object_count > 0:
                raise BulkResultError(
                    f"{self.client.shop}: {self.label}: the operation {over.id} found {over.object_count:,} objects but has no result file; run again"
                )
            return Written((), 0, 0)
        return self._download(over.url, folder, RESULT_NAME, over.file_size, lambda: self.read().url)

    def failure(self, over: BulkOperation, folder: Path) -> BulkFailedError:
        """The error for an operation that did not complete, with its partial data kept aside."""
        kept: tuple[Path, ...] = ()
        if over.partial_data_url:
            try:
                aside = folder / PARTIAL_FOLDER
                kept = self._download(over.partial_data_url, aside, PARTIAL_FOLDER, None, lambda: self.read().partial_data_url).files
            except (ShopifyError, OSError) as error:
                LOG.warning("%s: %s: the partial result could not be kept: %s", self.client.shop, self.label, error)
        advice = {
            "ACCESS_DENIED": "a scope is missing: run `commerce doctor`, tick it in the app's configuration and install the app again",
            "TIMEOUT": "ask for a shorter range",
        }.get(over.error_code or "", "run again")
        partial = f"; its partial data ({len(kept)} files) lies in {PARTIAL_FOLDER}/ of the load and is not used" if kept else ""
        message = (
            f"{self.client.shop}: {self.label}: the bulk operation {over.id} ended {over.status}"
            f"{f' ({over.error_code})' if over.error_code else ''} after {over.object_count:,} objects{partial}; {advice}"
        )
        return _ERRORS.get(over.status, BulkFailedError)(message, over.error_code, kept)

    def _download(self, url: str, folder: Path, name: str, size: int | None, fresh_url: Callable[[], str | None]) -> Written:
        return download(
            self.client,
            url,
            folder,
            name,
            expected_bytes=size,
            fresh_url=fresh_url,
            label=self.label,
            progress=self.progress,
            part_bytes=self.options.part_bytes,
            meter=self.meter,
        )

    def _submit(self, text: str, path: str | None) -> list[dict[str, Any]]:
        """Send the start; userErrors, or [] when it runs. A start without an answer is looked for before it is sent again."""
        self.mark = f"# commerce_assets {uuid.uuid4()}"
        marked = f"{self.mark}\n{text}"
        if len(marked.encode()) > MAX_QUERY_BYTES:
            raise BulkRejectedError(f"{self.client.shop}: {self.label}: the document is longer than {MAX_QUERY_BYTES:,} bytes; shorten it")
        root = "bulkOperationRunQuery" if self.kind == "QUERY" else "bulkOperationRunMutation"
        variables: dict[str, Any] = {"query": marked} if self.kind == "QUERY" else {"mutation": marked, "path": path}
        name = "bulk_run_query" if self.kind == "QUERY" else "bulk_run_mutation"
        for failures in range(1, self.client.retry.attempts + 1):
            try:
                answer = self.client.execute(document(name), variables, meter=self.meter)[root]
            except UncertainWriteError as error:
                self.client.pause(self.client.retry.wait_seconds(failures))
                self.id = self._find_marked()
                if self.id:
                    return []
                LOG.info("%s: %s: %s; it is not running, starting it again", self.client.shop, self.label, error)
                continue
            if answer["userErrors"]:
                return list(answer["userErrors"])
            self.id = answer["bulkOperation"]["id"]
            return []
        raise RequestFailedError(
            f"{self.client.shop}: {self.label}: no answer to {self.client.retry.attempts} starts of a bulk operation; check Shopify's status and run again"
        )

    def _find_marked(self, even_when_interrupted: bool = False) -> str | None:
        query = document("bulk_operations_latest")
        found = self.client.execute(query, {"first": 20}, meter=self.meter, even_when_interrupted=even_when_interrupted)
        edges = found["bulkOperations"]["edges"]
        return next((edge["node"]["id"] for edge in edges if self.mark and self.mark in (edge["node"]["query"] or "")), None)

    def _cancel(self) -> None:
        """Best effort: whatever made us leave is what the caller must see."""
        with contextlib.suppress(Exception):
            if self.id is None and self.mark is not None:
                self.id = self._find_marked(even_when_interrupted=True)
            if self.id is not None:
                self.client.execute(
                    document("bulk_cancel"), {"id": self.id}, idempotent=True, attempts=2, meter=self.meter, even_when_interrupted=True
                )
                self.progress(f"{self.label}: cancelled the bulk operation")

    def _stage(self, rows: Path) -> str:
        """Upload the rows; the path to name in the mutation."""
        target_input = {
            "resource": "BULK_MUTATION_VARIABLES",
            "filename": rows.name,
            "mimeType": "text/jsonl",
            "httpMethod": "POST",
        }
        answer = self.client.execute(document("staged_upload"), {"input": [target_input]}, idempotent=True, meter=self.meter)
        staged = answer["stagedUploadsCreate"]
        if staged["userErrors"]:
            raise BulkRejectedError(
                f"{self.client.shop}: {self.label}: no place to upload the rows: {user_error_text(staged['userErrors'])}; check the app's write scopes"
            )
        target = staged["stagedTargets"][0]
        form = {parameter["name"]: parameter["value"] for parameter in target["parameters"]}
        self._upload(target["url"], form, rows)
        return form["key"]

    def _upload(self, url: str, form: dict[str, str], rows: Path) -> None:
        """Multipart POST with the file last. Putting the same bytes at the same key again changes nothing, so it may be repeated."""
        retry = self.client.retry
        for failures in range(1, retry.attempts + 1):
            try:
                with rows.open("rb") as file:
                    answer = self.client.http.post(url, data=form, files={"file": (rows.name, file, "text/jsonl")})
            except httpx.TransportError as error:
                problem = type(error).__name__
            else:
                if answer.status_code in (200, 201, 204):
                    return
                problem = f"HTTP {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    raise BulkError(f"{self.client.shop}: {self.label}: the upload of the rows was refused ({problem}); run again")
            if failures < retry.attempts:
                self.client.pause(retry.wait_seconds(failures))
        raise RequestFailedError(
            f"{self.client.shop}: {self.label}: the rows could not be uploaded ({problem}, {retry.attempts} times); nothing was changed: run again"
        )


@contextlib.contextmanager
def _slot(client: ShopifyClient, kind: OperationType) -> Iterator[None]:
    """One of this process's places for bulk operations of a kind, so that our own threads do not collide."""
    slot = client.bulk_slot(kind)
    while not slot.acquire(timeout=0.5):
        client.pause(0)
    try:
        yield
    finally:
        slot.release()


def _input_files(rows: Iterable[Mapping[str, Any]], folder: Path, max_bytes: int) -> Iterator[tuple[Path, int]]:
    """The rows as files small enough for Shopify, each with its number of rows."""
    number, size, count = 0, 0, 0
    path = folder / "rows-00000.jsonl"
    file = path.open("wb")
    try:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if count and size + len(line) > max_bytes:
                file.close()
                yield path, count
                number, size, count = number + 1, 0, 0
                path = folder / f"rows-{number:05d}.jsonl"
                file = path.open("wb")
            file.write(line)
            size, count = size + len(line), count + 1
        file.close()
        if count:
            yield path, count
        else:
            path.unlink(missing_ok=True)
    finally:
        file.close()


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
