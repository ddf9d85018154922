"""Shopify customers as a destination: metafields and tags of our own, nothing else of theirs.

What is written is the difference to what the customer holds as far as the ledger knows; where it knows nothing (a customer new to the
sync), the customer is read first, which also finds the deleted ones before they could spoil a batch. `metafieldsSet` is atomic a call:
the rows an error names are taken out and the rest is sent again, so that one bad customer never stops the others. Tags are added and
removed one by one (`customerUpdate` would overwrite the merchant's), and only tags that start with one of our prefixes are ours.
Metafields go first: a tag is what starts a campaign, and the campaign reads the metafields.

Above a threshold the same writes go through bulk mutations, one customer a line; customers that the ledger does not know are then not
read first. A bulk mutation that outlives its process is waited for before anything is read back (`settle`).
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Any, Protocol

from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Estimate, Fields, Meter, RowResult

METAFIELDS_A_CALL = 25
CUSTOMERS_A_READ = 50
TAGS_A_CALL = 250
MAX_TAG_LENGTH = 255
DIRECT_CHUNK_ROWS = 250
BULK_CHUNK_ROWS = 50_000
WORKERS = 4
"""Calls in flight: at some 300 ms an answer, enough to use a Standard plan's budget of ten mutations a second."""
FAILED_CALLS_IN_A_ROW = 3
"""The client has retried each of them for minutes: after so many the shop is considered down."""
POINTS_A_MUTATION = 10
MESSAGE_LIMIT = 200
SETTLE_SECONDS = 24 * 3600.0


class ShopifyAdmin(Protocol):
    """What this destination needs of a client: run a document, keep the budget, retry what may be repeated."""

    def execute(self, text: str, variables: Mapping[str, Any] | None = None, *, idempotent: bool = False) -> dict[str, Any]:
        """The answer's data, or an error."""


class BulkLine(Protocol):
    """What became of one row of a bulk mutation."""

    @property
    def line(self) -> int: ...
    @property
    def data(self) -> dict[str, Any] | None: ...
    @property
    def errors(self) -> Sequence[Mapping[str, Any]]: ...


BulkMutation = Callable[[str, Iterable[Mapping[str, Any]]], Iterable[BulkLine]]
"""Applies a mutation to each row of variables; `line` counts the rows from 0."""


@dataclass(frozen=True)
class MetafieldTarget:
    """Where a field goes."""

    field: str
    namespace: str
    key: str
    type: str
    name: str
    description: str
    is_carried: bool = False
    """Written along with others, never alone."""

    @property
    def path(self) -> str:
        return f"{self.namespace}.{self.key}"


@dataclass(frozen=True)
class CustomerMapping:
    """Which fields become which metafields; `tags_field` holds our tags: lower case, sorted, joined by commas."""

    metafields: tuple[MetafieldTarget, ...]
    tags_field: str
    managed_prefixes: tuple[str, ...]

    def is_ours(self, tag: str) -> bool:
        return tag.casefold().startswith(self.managed_prefixes)


@dataclass
class _Work:
    """One customer's change on its way: what there is to do, what was done."""

    change: Change
    held: dict[str, str | None]
    sets: list[tuple[MetafieldTarget, str]] = field(default_factory=list)
    deletes: list[MetafieldTarget] = field(default_factory=list)
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    result: RowResult | None = None

    @property
    def key(self) -> str:
        return self.change.record_key

    @property
    def is_open(self) -> bool:
        return self.result is None

    def fail(self, reason: str) -> None:
        self.result = RowResult(self.key, "failed", reason, dict(self.held))

    def lose(self, reason: str) -> None:
        self.result = RowResult(self.key, "unknown", reason)

    def gone(self) -> None:
        self.result = RowResult(self.key, "skipped", "gone at the destination", is_gone=True)

    def succeed(self, reason: str | None = None) -> None:
        self.result = RowResult(self.key, "succeeded", reason, dict(self.held))


class ShopifyCustomers:
    """The destination. `bulk` is how bulk mutations are run; without it everything goes directly."""

    def __init__(
        self,
        client: ShopifyAdmin,
        mapping: CustomerMapping,
        *,
        bulk: BulkMutation | None = None,
        bulk_threshold: int = 2_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client, self.mapping = client, mapping
        self.bulk, self.bulk_threshold = bulk, bulk_threshold
        self.meter = Meter()
        self._pause = pause
        self._lock = threading.Lock()
        self._failed_in_a_row = 0

    def prepare(self) -> None:
        """Every metafield has its definition, of the right type: segments can only filter on defined ones."""
        for namespace in sorted({target.namespace for target in self.mapping.metafields}):
            found = self._definitions(namespace)
            for target in self.mapping.metafields:
                if target.namespace == namespace:
                    self._ensure(target, found)

    def settle(self) -> None:
        waited = 0.0
        while busy := self._running_bulk_mutations():
            if waited >= SETTLE_SECONDS:
                raise DestinationUnavailableError(
                    f"bulk mutation {busy[0]} of an earlier push is still running after {waited:.0f} s; run again later"
                )
            self._pause(2.0)
            waited += 2.0

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        for start in range(0, len(keys), CUSTOMERS_A_READ):
            ids = list(keys[start : start + CUSTOMERS_A_READ])
            paths = [target.path for target in self.mapping.metafields]
            try:
                nodes = self._call("customers_by_id", {"ids": ids, "first": len(paths), "keys": paths})["nodes"]
            except DestinationUnavailableError:
                raise
            except Exception as error:
                raise DestinationUnavailableError(f"customers cannot be read back: {_text_of(error)}") from error
            for key, node in zip(ids, nodes, strict=True):
                yield key, self._held(node) if node and node.get("id") else None

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        """An upper bound: every customer with all metafields, one tag to add, and one to remove where it is known."""
        written = creates + updates
        total = written + removals
        tag_calls = written + updates + removals
        if self._goes_in_bulk(total):
            operations = 3 * ceil(total / BULK_CHUNK_ROWS) if total else 0
            return Estimate("bulk", BULK_CHUNK_ROWS, requests=operations * 6, points=operations * (2 * POINTS_A_MUTATION + 10))
        set_calls, reads = ceil(written / self._customers_a_call), ceil(creates / CUSTOMERS_A_READ)
        mutations = set_calls + tag_calls + ceil(removals / self._customers_a_call)
        read_points = creates * (2 + len(self.mapping.metafields))
        return Estimate("direct", DIRECT_CHUNK_ROWS, requests=mutations + reads, points=mutations * POINTS_A_MUTATION + read_points)

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        works = [_Work(change, dict(change.held or {})) for change in changes]
        reported: set[str] = set()

        def settled(*, with_failed: bool) -> Iterator[RowResult]:
            for work in works:
                if work.result is not None and work.key not in reported and (with_failed or work.result.outcome != "failed"):
                    reported.add(work.key)
                    yield work.result

        try:
            for _ in (self._bulk_steps if path == "bulk" else self._direct_steps)(works):
                yield from settled(with_failed=False)
            self._sort_out_gone(works)
        except DestinationUnavailableError:
            yield from settled(with_failed=True)
            raise
        yield from settled(with_failed=True)

    # --- what is to be done

    def _direct_steps(self, works: list[_Work]) -> Iterator[None]:
        self._read_unknown([work for work in works if work.change.operation == "create"])
        yield
        self._prepare_works(works)
        yield
        yield from self._set_metafields([work for work in works if work.is_open and work.sets])
        yield from self._delete_metafields([work for work in works if work.is_open and work.deletes])
        yield from self._write_tags([work for work in works if work.is_open])

    def _prepare_works(self, works: list[_Work]) -> None:
        for work in works:
            if not work.is_open:
                continue
            wanted, held = work.change.fields, work.held
            before = tuple(tag for tag in _tags(held.get(self.mapping.tags_field)) if self.mapping.is_ours(tag))
            after = _tags(wanted.get(self.mapping.tags_field))
            held[self.mapping.tags_field] = _joined(before)
            work.add = tuple(tag for tag in after if tag not in before)
            work.remove = tuple(tag for tag in before if tag not in after)
            differing = [target for target in self.mapping.metafields if wanted.get(target.field) != held.get(target.field)]
            if not (work.add or work.remove or any(not target.is_carried for target in differing)):
                work.succeed("already held")
                continue
            work.sets = [(target, value) for target in differing if (value := wanted.get(target.field)) is not None]
            work.deletes = [target for target in differing if wanted.get(target.field) is None]
            bad = [tag for tag in work.add if not self.mapping.is_ours(tag) or len(tag) > MAX_TAG_LENGTH]
            if bad:
                work.fail(
                    f"tag {bad[0][:60]!r} is not one of ours ({', '.join(self.mapping.managed_prefixes)}) or longer than {MAX_TAG_LENGTH}"
                )

    def _read_unknown(self, works: list[_Work]) -> None:
        by_key = {work.key: work for work in works}
        for key, held in self.read(list(by_key)):
            if held is None:
                by_key[key].gone()
            else:
                by_key[key].held.update(held)

    # --- metafields

    @property
    def _customers_a_call(self) -> int:
        return max(1, METAFIELDS_A_CALL // max(1, len(self.mapping.metafields)))

    def _set_metafields(self, works: list[_Work]) -> Iterator[None]:
        yield from self._in_parallel(_batches(works, lambda work: len(work.sets)), self._set_batch)

    def _set_batch(self, batch: list[_Work]) -> None:
        """One atomic call; rows named by an error fail and the rest is sent again."""
        while batch:
            inputs = [_metafield_input(work.key, target, value) for work in batch for target, value in work.sets]
            owner_of = [work for work in batch for _ in work.sets]
            errors = self._mutate("metafields_set", "metafieldsSet", {"metafields": inputs}, batch)
            if errors is None:
                return
            if not errors:
                for work in batch:
                    work.held.update({target.field: value for target, value in work.sets})
                return
            named = _named_rows(errors, owner_of)
            if not named and len(batch) > 1:
                for work in batch:
                    self._set_batch([work])
                return
            for work, error in named or [(batch[0], errors[0])]:
                if work.is_open:
                    work.fail(_error_text(error))
            batch = [work for work in batch if work.is_open]

    def _delete_metafields(self, works: list[_Work]) -> Iterator[None]:
        yield from self._in_parallel(_batches(works, lambda work: len(work.deletes)), self._delete_batch)

    def _delete_batch(self, batch: list[_Work]) -> None:
        identifiers: list[Any] = [{"ownerId": work.key, "namespace": t.namespace, "key": t.key} for work in batch for t in work.deletes]
        errors = self._mutate("metafields_delete", "metafieldsDelete", {"metafields": identifiers}, batch)
        if errors and len(batch) > 1:
            for work in batch:
                self._delete_batch([work])
        elif errors:
            batch[0].fail(_error_text(errors[0]))
        elif errors is not None:
            for work in batch:
                work.held.update({target.field: None for target in work.deletes})

    # --- tags

    def _write_tags(self, works: list[_Work]) -> Iterator[None]:
        yield from self._in_parallel([[work] for work in works if work.add or work.remove], self._tag_one)
        for work in works:
            if work.is_open:
                work.succeed()

    def _tag_one(self, batch: list[_Work]) -> None:
        (work,) = batch
        for document, tags in (("tags_add", work.add), ("tags_remove", work.remove)):
            for start in range(0, len(tags), TAGS_A_CALL):
                some = tags[start : start + TAGS_A_CALL]
                variables: dict[str, Any] = {"id": work.key, "tags": list(some)}
                errors = self._mutate(document, _ROOTS[document], variables, batch)
                if errors is None:
                    return
                if errors:
                    work.fail(_error_text(errors[0]))
                    return
                self._note_tags(work, document, some)

    def _note_tags(self, work: _Work, document: str, tags: Sequence[str]) -> None:
        held = set(_tags(work.held.get(self.mapping.tags_field)))
        held = held | set(tags) if document == "tags_add" else held - set(tags)
        work.held[self.mapping.tags_field] = _joined(held)

    def _sort_out_gone(self, works: list[_Work]) -> None:
        """A customer that was refused may have been deleted meanwhile: then it is skipped, not failed."""
        by_key = {work.key: work for work in works if work.result is not None and work.result.outcome == "failed"}
        for key, held in self.read(list(by_key)):
            if held is None:
                by_key[key].gone()

    # --- bulk

    def _bulk_steps(self, works: list[_Work]) -> Iterator[None]:
        self._prepare_works(works)
        yield
        setting = [work for work in works if work.is_open and work.sets]
        inputs = ({"metafields": [_metafield_input(work.key, target, value) for target, value in work.sets]} for work in setting)
        if self._in_bulk("metafields_set", setting, inputs):
            for work in setting:
                if work.is_open:
                    work.held.update({target.field: value for target, value in work.sets})
        else:
            yield from self._set_metafields(setting)
        yield from self._delete_metafields([work for work in works if work.is_open and work.deletes])
        for document in ("tags_add", "tags_remove"):
            tagging = [work for work in works if work.is_open and self._tags_to(document, work)]
            rows = ({"id": work.key, "tags": list(self._tags_to(document, work))} for work in tagging)
            if not self._in_bulk(document, tagging, rows):
                break
            for work in tagging:
                if work.is_open:
                    self._note_tags(work, document, self._tags_to(document, work))
                    work.add, work.remove = (() if document == "tags_add" else work.add), (() if document == "tags_remove" else work.remove)
        yield from self._write_tags([work for work in works if work.is_open])

    @staticmethod
    def _tags_to(document: str, work: _Work) -> tuple[str, ...]:
        return work.add if document == "tags_add" else work.remove

    def _in_bulk(self, document: str, works: list[_Work], rows: Iterable[Mapping[str, Any]]) -> bool:
        """Run one bulk mutation over the works, in order. False where the shop does not take this mutation in bulk: nothing was done."""
        if not works or self.bulk is None:
            return True
        answered: set[int] = set()
        self._count(document)
        try:
            for line in self.bulk(_document(document), rows):
                answered.add(line.line)
                self._read_line(document, works[line.line], line)
        except Exception as error:
            if not answered and "allowed mutation" in str(error):
                return False
            for number, work in enumerate(works):
                if number not in answered:
                    work.lose(f"the bulk mutation ended early: {_text_of(error)}")
            return True
        for number, work in enumerate(works):
            if number not in answered:
                work.lose("the bulk mutation's result has no line for it")
        return True

    @staticmethod
    def _read_line(document: str, work: _Work, line: BulkLine) -> None:
        payload = (line.data or {}).get(_ROOTS[document])
        errors = [*line.errors, *((payload or {}).get("userErrors") or [])]
        if errors:
            work.fail(_error_text(errors[0]))
        elif payload is None:
            work.lose("the bulk mutation's result says nothing about it")

    def _running_bulk_mutations(self) -> list[str]:
        try:
            nodes = self._call("bulk_mutations", {})["bulkOperations"]["nodes"]
        except Exception as error:
            raise DestinationUnavailableError(f"bulk operations cannot be read: {_text_of(error)}") from error
        return [node["id"] for node in nodes if node["type"] == "MUTATION" and node["status"] in {"CREATED", "RUNNING", "CANCELING"}]

    def _goes_in_bulk(self, rows: int) -> bool:
        return self.bulk is not None and rows > self.bulk_threshold

    # --- definitions

    def _definitions(self, namespace: str) -> dict[str, str]:
        """Key -> type of the customers' definitions in a namespace."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            variables = {"ownerType": "CUSTOMER", "namespace": namespace, "after": after}
            page = self._call("metafield_definitions", variables)["metafieldDefinitions"]
            found.update((node["key"], node["type"]["name"]) for node in page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    def _ensure(self, target: MetafieldTarget, found: Mapping[str, str]) -> None:
        if target.key not in found:
            definition = {"ownerType": "CUSTOMER", "namespace": target.namespace, "key": target.key, "type": target.type}
            definition |= {"name": target.name, "description": target.description}
            payload = self._call("metafield_definition_create", {"definition": definition}, idempotent=True)["metafieldDefinitionCreate"]
            errors = payload["userErrors"]
            if not errors:
                return
            if any(error.get("code") != "TAKEN" for error in errors):
                raise DestinationError(f"metafield definition {target.path} cannot be created: {_error_text(errors[0])}")
            # Somebody made it between our look and our call.
            found = self._definitions(target.namespace)
        if (present := found.get(target.key)) != target.type:
            raise DestinationError(
                f"metafield definition {target.path} of customers is of type {present}, not {target.type}: delete or rename it in the shop, then run again"
            )

    # --- calls

    def _held(self, node: Mapping[str, Any]) -> Fields:
        """A customer as read, in the sync's own form."""
        by_path = {f"{metafield['namespace']}.{metafield['key']}": metafield["value"] for metafield in node["metafields"]["nodes"]}
        held: dict[str, str | None] = {t.field: _canonical(t.type, by_path.get(t.path)) for t in self.mapping.metafields}
        held[self.mapping.tags_field] = _joined({tag.casefold() for tag in node["tags"] if self.mapping.is_ours(tag)})
        return held

    def _mutate(self, document: str, root: str, variables: Mapping[str, Any], batch: list[_Work]) -> list[dict[str, Any]] | None:
        """The userErrors; None when no answer came, with the batch's works marked as of unknown outcome.

        Every mutation here sets a state and may be repeated, so the client may retry it.
        """
        try:
            payload = self._call(document, variables, idempotent=True)[root]
        except Exception as error:
            for work in batch:
                work.lose(_text_of(error))
            with self._lock:
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= FAILED_CALLS_IN_A_ROW:
                    raise DestinationUnavailableError(
                        f"{self._failed_in_a_row} calls in a row got no answer, the last: {_text_of(error)}; the push stops here, run again to go on"
                    ) from error
            return None
        with self._lock:
            self._failed_in_a_row = 0
        if payload is None:
            return [{"message": f"{root} answered nothing"}]
        return list(payload["userErrors"])

    def _call(self, document: str, variables: Mapping[str, Any], *, idempotent: bool = False) -> dict[str, Any]:
        self._count(document)
        return self.client.execute(_document(document), variables, idempotent=idempotent)

    def _count(self, document: str) -> None:
        with self._lock:
            self.meter.requests += 1
            self.meter.by_operation[document] = self.meter.by_operation.get(document, 0) + 1

    def _in_parallel(self, batches: Iterable[list[_Work]], do: Callable[[list[_Work]], None]) -> Iterator[None]:
        """Run `do` over the batches, a few at a time; yields whenever some are done. The first error ends it, after those in flight."""
        todo = iter(batches)
        with ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="push") as pool:
            running: set[Future[None]] = set()
            while True:
                while len(running) < 2 * WORKERS and (batch := next(todo, None)) is not None:
                    running.add(pool.submit(do, batch))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                failed = [error for future in done if (error := future.exception()) is not None]
                if failed:
                    for future in running:
                        future.cancel()
                    wait(running)
                    yield
                    raise failed[0]
                yield


_ROOTS = {"metafields_set": "metafieldsSet", "tags_add": "tagsAdd", "tags_remove": "tagsRemove"}


@cache
def _document(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "queries" / f"{name}.graphql").read_text(encoding="utf-8")


def _metafield_input(owner: str, target: MetafieldTarget, value: str) -> dict[str, str]:
    return {"ownerId": owner, "namespace": target.namespace, "key": target.key, "type": target.type, "value": value}


def _batches(works: Iterable[_Work], size_of: Callable[[_Work], int]) -> Iterator[list[_Work]]:
    """Whole customers, at most 25 metafields a batch."""
    batch: list[_Work] = []
    size = 0
    for work in works:
        if batch and size + size_of(work) > METAFIELDS_A_CALL:
            yield batch
            batch, size = [], 0
        batch.append(work)
        size += size_of(work)
    if batch:
        yield batch


def _named_rows(errors: Sequence[Mapping[str, Any]], owner_of: Sequence[_Work]) -> list[tuple[_Work, Mapping[str, Any]]]:
    """The works that the errors point at, by element index or by the path of the input field."""
    named: list[tuple[_Work, Mapping[str, Any]]] = []
    for error in errors:
        path = error.get("field") or []
        index = error.get("elementIndex")
        if index is None:
            index = next((int(part) for part in path if str(part).isdigit()), None)
        if index is not None and 0 <= index < len(owner_of):
            named.append((owner_of[index], error))
    return named


def _tags(joined: str | None) -> tuple[str, ...]:
    return tuple(tag for tag in (joined or "").split(",") if tag)


def _joined(tags: Iterable[str]) -> str | None:
    return ",".join(sorted(tags)) or None


def _canonical(metafield_type: str, value: str | None) -> str | None:
    """A value as read, in the form it is compared in: the storefront may answer 12.50 as 12.5."""
    if value is None or not metafield_type.startswith("number"):
        return value
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"


def _error_text(error: Mapping[str, Any]) -> str:
    code = error.get("code") or (error.get("extensions") or {}).get("code")
    path = ".".join(str(part) for part in error.get("field") or [] if not str(part).isdigit())
    text = f"{code + ': ' if code else ''}{error.get('message') or 'no message'}"
    return f"{text} ({path})"[:MESSAGE_LIMIT] if path else text[:MESSAGE_LIMIT]


def _text_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
