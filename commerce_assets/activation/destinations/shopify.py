"""Shopify's customers and products as destinations: metafields (and on customers tags) of our own, nothing else of theirs.

What is written is the difference to what the object holds as far as the ledger knows; where it knows nothing (one new to the
sync), the object is read first, which also finds the deleted ones before they could spoil a batch. `metafieldsSet` is atomic a call:
the rows an error names are taken out and the rest is sent again, so that one bad record never stops the others. Tags are added and
removed one by one (`customerUpdate` would overwrite the merchant's), and only tags that start with one of our prefixes are ours.
Metafields go first: a tag is what starts a campaign, and the campaign reads the metafields.

Above a threshold the same writes go through bulk mutations, one object a line; objects that the ledger does not know are then not
read first. A bulk mutation that outlives its process is waited for before anything is read back (`settle`).
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Any, Protocol

from commerce_assets.activation.destinations.shopify_mapping import (
    CustomerMapping,
    MetafieldTarget,
    OwnerMapping,
    ProductMapping,
    canonical,
)
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Estimate, Fields, Meter, RowResult

__all__ = [
    "BulkLine",
    "BulkMutation",
    "CustomerMapping",
    "MetafieldTarget",
    "ProductMapping",
    "ShopifyAdmin",
    "ShopifyCustomers",
    "ShopifyProducts",
]

METAFIELDS_A_CALL = 25
OBJECTS_A_READ = 50
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
HELD_BY_ANOTHER = "held by somebody else"


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


@dataclass
class _Work:
    """One object's change on its way: what there is to do, what was done."""

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

    def leave(self, reason: str) -> None:
        self.result = RowResult(self.key, "skipped", reason)

    def succeed(self, reason: str | None = None) -> None:
        self.result = RowResult(self.key, "succeeded", reason, dict(self.held))


class ShopifyObjects:
    """The destination, for the owner of its mapping. `bulk` is how bulk mutations are run; without it everything goes directly."""

    def __init__(
        self,
        client: ShopifyAdmin,
        mapping: OwnerMapping,
        *,
        bulk: BulkMutation | None = None,
        bulk_threshold: int = 2_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client, self.mapping = client, mapping
        self.bulk, self.bulk_threshold = bulk, bulk_threshold
        self.meter = Meter()
        self.can_read = True
        self._pause = pause
        self._lock = threading.Lock()
        self._failed_in_a_row = 0

    def problems(self) -> Sequence[str]:
        return ()

    def finish(self) -> None:
        """Nothing is made of the whole."""

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
        for start in range(0, len(keys), OBJECTS_A_READ):
            ids = list(keys[start : start + OBJECTS_A_READ])
            paths = [target.path for target in self.mapping.metafields]
            try:
                nodes = self._call(self.mapping.owner.read, {"ids": ids, "first": len(paths), "keys": paths})["nodes"]
            except DestinationUnavailableError:
                raise
            except Exception as error:
                raise DestinationUnavailableError(f"{self.mapping.owner.plural} cannot be read back: {_text_of(error)}") from error
            for key, node in zip(ids, nodes, strict=True):
                yield key, self._held(node) if node and node.get("id") else None

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        """An upper bound: every object with all metafields and, where there are tags, one to add and one to remove where it is known."""
        written = creates + updates
        total = written + removals
        has_tags = self.mapping.tags_field is not None
        tag_calls = written + updates + removals if has_tags else 0
        deletions = ceil(removals / self._objects_a_call)
        if self._goes_in_bulk(total):
            operations = (3 if has_tags else 1) * ceil(total / BULK_CHUNK_ROWS) if total else 0
            # Metafields are deleted directly: there is no such bulk mutation.
            points = operations * (2 * POINTS_A_MUTATION + 10) + deletions * POINTS_A_MUTATION
            return Estimate("bulk", BULK_CHUNK_ROWS, requests=operations * 6 + deletions, points=points)
        set_calls, reads = ceil(written / self._objects_a_call), ceil(creates / OBJECTS_A_READ)
        mutations = set_calls + tag_calls + deletions
        read_points = creates * (2 + len(self.mapping.metafields))
        points = mutations * POINTS_A_MUTATION + read_points
        return Estimate("direct", DIRECT_CHUNK_ROWS, requests=mutations + reads, points=points, reads_new=True)

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
        new = [work for work in works if work.change.operation == "create"]
        self._read_unknown([work for work in new if work.change.held is None])
        self._yield_to_others([work for work in new if work.is_open])
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
            if self.mapping.tags_field:
                before = tuple(tag for tag in _tags(held.get(self.mapping.tags_field)) if self.mapping.is_ours(tag))
                after = _tags(wanted.get(self.mapping.tags_field))
                held[self.mapping.tags_field] = _joined(before)
                work.add = tuple(tag for tag in after if tag not in before)
                work.remove = tuple(tag for tag in before if tag not in after)
            differing = [target for target in self.mapping.metafields if wanted.get(target.field) != held.get(target.field)]
            if not (work.add or work.remove or any(work.change.is_whole or not target.is_carried for target in differing)):
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
            work = by_key[key]
            if held is None:
                work.gone()
            else:
                work.held.update(held)

    def _yield_to_others(self, works: list[_Work]) -> None:
        """Leave objects alone that hold a value which is not the one we want there, where the mapping says that it is another's then."""
        if not self.mapping.yields_to_others:
            return
        names = [target.field for target in self.mapping.metafields]
        for work in works:
            if any(work.held.get(name) is not None and work.held.get(name) != work.change.fields.get(name) for name in names):
                work.leave(HELD_BY_ANOTHER)

    # --- metafields

    @property
    def _objects_a_call(self) -> int:
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
        if self.mapping.tags_field:
            held = set(_tags(work.held.get(self.mapping.tags_field)))
            held = held | set(tags) if document == "tags_add" else held - set(tags)
            work.held[self.mapping.tags_field] = _joined(held)

    def _sort_out_gone(self, works: list[_Work]) -> None:
        """An object that was refused may have been deleted meanwhile: then it is skipped, not failed."""
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
        """Key -> type of the definitions in a namespace."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            variables = {"ownerType": self.mapping.owner.type, "namespace": namespace, "after": after}
            page = self._call("metafield_definitions", variables)["metafieldDefinitions"]
            found.update((node["key"], node["type"]["name"]) for node in page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    def _ensure(self, target: MetafieldTarget, found: Mapping[str, str]) -> None:
        if target.key not in found:
            error = self._enable(target) if target.is_standard else self._create(target)
            if error is None:
                return
            if error.get("code") != "TAKEN":
                raise DestinationError(f"metafield definition {target.path} cannot be made: {_error_text(error)}")
            # Somebody made it between our look and our call.
            found = self._definitions(target.namespace)
        if (present := found.get(target.key)) != target.type:
            raise DestinationError(
                f"metafield definition {target.path} of {self.mapping.owner.plural} is of type {present}, not {target.type}: "
                "delete or rename it in the shop, then run again"
            )

    def _create(self, target: MetafieldTarget) -> Mapping[str, Any] | None:
        """Make a definition of our own; the error that says most, if there is one."""
        definition = {"ownerType": self.mapping.owner.type, "namespace": target.namespace, "key": target.key, "type": target.type}
        definition |= {"name": target.name, "description": target.description}
        payload = self._call("metafield_definition_create", {"definition": definition}, idempotent=True)["metafieldDefinitionCreate"]
        return min(payload["userErrors"], key=lambda error: error.get("code") == "TAKEN", default=None)

    def _enable(self, target: MetafieldTarget) -> Mapping[str, Any] | None:
        """Enable a definition of Shopify's own; one that is enabled already is simply answered."""
        variables = {"ownerType": self.mapping.owner.type, "namespace": target.namespace, "key": target.key}
        document = "standard_metafield_definition_enable"
        payload = self._call(document, variables, idempotent=True)["standardMetafieldDefinitionEnable"]
        return min(payload["userErrors"], key=lambda error: error.get("code") == "TAKEN", default=None)

    # --- calls

    def _held(self, node: Mapping[str, Any]) -> Fields:
        """An object as read, in the sync's own form."""
        by_path = {f"{metafield['namespace']}.{metafield['key']}": metafield["value"] for metafield in node["metafields"]["nodes"]}
        held: dict[str, str | None] = {t.field: canonical(t.type, by_path.get(t.path)) for t in self.mapping.metafields}
        if self.mapping.tags_field:
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


class ShopifyCustomers(ShopifyObjects):
    """Customers, by a `CustomerMapping`: metafields and tags."""


class ShopifyProducts(ShopifyObjects):
    """Products, by a `ProductMapping`: metafields."""


_ROOTS = {"metafields_set": "metafieldsSet", "tags_add": "tagsAdd", "tags_remove": "tagsRemove"}


@cache
def _document(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "queries" / f"{name}.graphql").read_text(encoding="utf-8")


def _metafield_input(owner: str, target: MetafieldTarget, value: str) -> dict[str, str]:
    return {"ownerId": owner, "namespace": target.namespace, "key": target.key, "type": target.type, "value": value}


def _batches(works: Iterable[_Work], size_of: Callable[[_Work], int]) -> Iterator[list[_Work]]:
    """Whole objects, at most 25 metafields a batch."""
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
    """The works that the errors point at by the path of the input field. (`elementIndex` counts the elements of a list value.)"""
    named: list[tuple[_Work, Mapping[str, Any]]] = []
    for error in errors:
        index = next((int(part) for part in error.get("field") or [] if str(part).isdigit()), None)
        if index is not None and 0 <= index < len(owner_of):
            named.append((owner_of[index], error))
    return named


def _tags(joined: str | None) -> tuple[str, ...]:
    return tuple(tag for tag in (joined or "").split(",") if tag)


def _joined(tags: Iterable[str]) -> str | None:
    return ",".join(sorted(tags)) or None


def _error_text(error: Mapping[str, Any]) -> str:
    code = error.get("code") or (error.get("extensions") or {}).get("code")
    path = ".".join(str(part) for part in error.get("field") or [] if not str(part).isdigit())
    text = f"{code + ': ' if code else ''}{error.get('message') or 'no message'}"
    return f"{text} ({path})"[:MESSAGE_LIMIT] if path else text[:MESSAGE_LIMIT]


def _text_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
