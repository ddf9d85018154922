"""Shopify's customers, products and orders as destinations: metafields and tags of our own, nothing else of theirs.

What is written is the difference to what the object holds as far as the ledger knows; where it knows nothing (one new to the
sync), the object is read first, which also finds the deleted ones before they could spoil a batch. `metafieldsSet` is atomic a call:
the rows an error names are taken out and the rest is sent again, so that one bad record never stops the others. Tags are added and
removed one by one (`customerUpdate` would overwrite the merchant's), and only tags that start with one of our prefixes are ours.
Metafields go first: a tag is what starts a campaign, and the campaign reads the metafields.

What is restored after a look (an undo) carries the digests of that look: `metafieldsSet` then refuses it where somebody else wrote in
between, and the object is left alone.

Directly, so many calls are in flight as the shop's budget feeds; the client takes each call's points from its copy of the bucket before
it sends, so that none collides. Where it should be quicker (shopify_budget.py), the same writes go through bulk mutations, one object a
line; objects that the ledger does not know are then not read first. A bulk mutation that outlives its process is waited for before
anything is read back (`settle`).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeVar

from commerce_assets.activation.destinations.shopify_budget import (
    OBJECTS_A_READ,
    REQUESTS_AN_OPERATION,
    Budget,
    Pace,
    Spent,
    Workload,
    budget_of,
    keeps_account,
)
from commerce_assets.activation.destinations.shopify_mapping import (
    CustomerMapping,
    MetafieldTarget,
    OrderMapping,
    OwnerMapping,
    ProductMapping,
    canonical,
)
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import CHANGED_SINCE, Change, Estimate, Fields, Meter, RowResult

__all__ = [
    "BulkLine",
    "BulkMutation",
    "CustomerMapping",
    "MetafieldTarget",
    "OrderMapping",
    "ProductMapping",
    "ShopifyAdmin",
    "ShopifyCustomers",
    "ShopifyObjects",
    "ShopifyOrders",
    "ShopifyProducts",
]

METAFIELDS_A_CALL = 25
TAGS_A_CALL = 250
MAX_TAG_LENGTH = 255
DIRECT_CHUNK_ROWS = 250
BULK_CHUNK_ROWS = 50_000
FAILED_CALLS_IN_A_ROW = 3
"""The client has retried each of them for minutes: after so many the shop is considered down."""
MESSAGE_LIMIT = 200
SETTLE_SECONDS = 24 * 3600.0
HELD_BY_ANOTHER = "held by somebody else"
THERE_ALREADY = "already there"
"""As the engine says it of records that it looked at itself."""
_WHY = {
    "read_customers": "; customers also need access to protected customer data, level 1",
}
STALE = frozenset({"STALE_OBJECT", "INVALID_COMPARE_DIGEST"})
"""Codes of a metafield that is not as its digest says, or no longer there."""


class ShopifyAdmin(Protocol):
    """What this destination needs of a client: run a document, keep the budget, retry what may be repeated.

    A client may also keep account of the budget: `throttle` with `status` (its `restore_rate`, or None), `available` and `answer_seconds`,
    and `meter` with `cost` and `throttled` (sources/shopify/client.py does). Without, a Standard plan is assumed.
    """

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
_T = TypeVar("_T")
_R = TypeVar("_R")
Job = Callable[[], Sequence["Job"]]
"""A piece of work with calls to make; what it makes possible comes back as further jobs."""


@dataclass(frozen=True)
class _Look:
    """An object as it was last read: the sync's fields, and the digest of each metafield (None: there was none)."""

    fields: Fields
    digests: Mapping[str, str | None]


@dataclass
class _Work:
    """One object's change on its way: what there is to do, what was done. Done works are put into `done`."""

    change: Change
    held: dict[str, str | None]
    done: "deque[_Work]"
    digests: Mapping[str, str | None] | None = None
    """Of what it held when it was read, where nothing but that may be overwritten."""
    sets: list[tuple[MetafieldTarget, str]] = field(default_factory=list)
    deletes: list[MetafieldTarget] = field(default_factory=list)
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    is_stale: bool = False
    """Refused, as its digests are not those of what is there."""
    is_left: bool = False
    """Tags to be removed are still there, in another spelling."""
    result: RowResult | None = None

    @property
    def key(self) -> str:
        return self.change.record_key

    @property
    def is_open(self) -> bool:
        return self.result is None

    @property
    def inputs(self) -> list[dict[str, str | None]]:
        """Its metafields as `metafieldsSet` takes them."""
        inputs: list[dict[str, str | None]] = [
            {"ownerId": self.key, "namespace": target.namespace, "key": target.key, "type": target.type, "value": value}
            for target, value in self.sets
        ]
        if self.digests is None:
            return inputs
        return [one | {"compareDigest": self.digests.get(target.field)} for one, (target, _) in zip(inputs, self.sets, strict=True)]

    def has_set(self) -> None:
        """Its metafields are written."""
        self.held.update({target.field: value for target, value in self.sets})
        self.sets = []

    def fail(self, reason: str) -> None:
        self._end(RowResult(self.key, "failed", reason, dict(self.held)))

    def lose(self, reason: str) -> None:
        self._end(RowResult(self.key, "unknown", reason))

    def gone(self) -> None:
        self._end(RowResult(self.key, "skipped", "gone at the destination", is_gone=True))

    def leave(self, reason: str) -> None:
        self._end(RowResult(self.key, "skipped", reason))

    def succeed(self, reason: str | None = None) -> None:
        self._end(RowResult(self.key, "succeeded", reason, dict(self.held)))

    def _end(self, result: RowResult) -> None:
        is_first = self.result is None
        self.result = result
        if is_first:
            self.done.append(self)


class ShopifyObjects:
    """The destination, for the owner of its mapping.

    `bulk` is how bulk mutations are run; without it everything goes directly. With `bulk_threshold` more objects than that go through
    them; without, those plans that should be quicker so, bulk mutations being as fast as `pace` says.
    """

    def __init__(
        self,
        client: ShopifyAdmin,
        mapping: OwnerMapping,
        *,
        bulk: BulkMutation | None = None,
        bulk_threshold: int | None = None,
        pace: Pace | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client, self.mapping = client, mapping
        self.bulk, self.bulk_threshold, self.pace = bulk, bulk_threshold, pace or Pace()
        self.meter = Meter()
        self.can_read = True
        self._pause = pause
        self._lock = threading.Lock()
        self._failed_in_a_row = 0
        self._spent_before = Spent.of(client)
        self._scopes: frozenset[str] | None = None
        # Looks at objects, until they are written; the latest ones only, so that memory stays bounded.
        self._looks: dict[str, _Look] = {}

    def problems(self) -> Sequence[str]:
        """The shop does not answer, or scopes are missing. (Whether a customer's data may be seen at all, the shop only says when it is read.)"""
        try:
            granted = self._granted()
        except Exception as error:
            return [f"the shop does not say what the app may do: {_text_of(error)}; check the network and the app with `commerce doctor`"]
        plural = self.mapping.owner.plural
        missing = [scope for scope in self.mapping.owner.scopes if not _holds(granted, scope)]
        return [
            f"the app may not work with {plural}: scope {scope} is not granted: tick it in the app's configuration and install it again"
            f"{_WHY.get(scope, '')}"
            for scope in missing
        ]

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
        batches = [list(keys[start : start + OBJECTS_A_READ]) for start in range(0, len(keys), OBJECTS_A_READ)]
        for ids, nodes in _side_by_side(self._nodes, batches, self._budget.workers):
            for key, node in zip(ids, nodes, strict=True):
                if node and node.get("id"):
                    yield key, self._remember(key, node).fields
                else:
                    yield key, None

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        """An upper bound: every object with all metafields and, where there are tags, one to add and one to remove where it is known."""
        load = Workload(
            creates,
            updates,
            removals,
            objects_a_call=max(1, METAFIELDS_A_CALL // max(1, len(self.mapping.metafields))),
            has_tags=self.mapping.tags_field is not None,
            direct_chunk_rows=DIRECT_CHUNK_ROWS,
            bulk_chunk_rows=BULK_CHUNK_ROWS,
        )
        if load.total:
            self._learn_budget()
        budget = self._budget
        direct, bulk = load.direct_seconds(budget), load.bulk_seconds(budget, self.pace)
        if self._goes_in_bulk(load.total, direct, bulk):
            requests = load.operations * REQUESTS_AN_OPERATION + load.deletions
            return Estimate("bulk", BULK_CHUNK_ROWS, requests, load.bulk_points, seconds=bulk)
        return Estimate("direct", DIRECT_CHUNK_ROWS, load.mutations + load.reads, load.direct_points, reads_new=True, seconds=direct)

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        done: deque[_Work] = deque()
        works = [self._work(change, done) for change in changes]
        failed: list[_Work] = []

        def settled() -> Iterator[RowResult]:
            while done:
                work = done.popleft()
                if work.result is None or work.result.outcome == "failed":
                    failed.append(work)
                else:
                    yield work.result

        try:
            for _ in (self._bulk_steps if path == "bulk" else self._direct_steps)(works):
                yield from settled()
            yield from settled()
            self._sort_out_gone(failed)
        except DestinationUnavailableError:
            yield from settled()
            yield from (work.result for work in failed if work.result)
            raise
        yield from (work.result for work in failed if work.result)

    # --- what is to be done

    def _work(self, change: Change, done: "deque[_Work]") -> _Work:
        work = _Work(change, dict(change.held or {}), done)
        look = self._looks.pop(change.record_key, None)
        is_guarded = change.is_whole or (self.mapping.yields_to_others and change.operation == "create")
        if is_guarded and look is not None and look.fields == change.held:
            work.digests = look.digests
        return work

    def _direct_steps(self, works: list[_Work]) -> Iterator[None]:
        self._look_first([work for work in works if work.change.operation == "create"])
        yield
        self._prepare_works(works)
        yield
        yield from self._write([work for work in works if work.is_open])

    def _look_first(self, new: list[_Work]) -> None:
        """Objects new to the sync: what they hold, and whether it is to be left as it is."""
        self._read_unknown([work for work in new if work.change.held is None])
        names = [target.field for target in self.mapping.metafields]
        for work in new:
            if not work.is_open:
                continue
            if work.change.expects == "absent" and any(value is not None for value in work.held.values()):
                work.leave(THERE_ALREADY)
            elif self.mapping.yields_to_others and any(
                work.held.get(name) is not None and work.held.get(name) != work.change.fields.get(name) for name in names
            ):
                work.leave(HELD_BY_ANOTHER)

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
            look = self._looks.pop(key, None)
            if held is None:
                work.gone()
                continue
            work.held.update(held)
            if self.mapping.yields_to_others and look is not None:
                work.digests = look.digests

    def _write(self, works: list[_Work]) -> Iterator[None]:
        """Each object's metafields, then its tags, many objects side by side."""
        for work in works:
            if not (work.sets or work.deletes or work.add or work.remove):
                work.succeed()
        setting = _packed([work for work in works if work.sets], lambda work: max(len(work.sets), len(work.deletes)))
        deleting = _packed([work for work in works if work.deletes and not work.sets], lambda work: len(work.deletes))
        tagging = [work for work in works if work.is_open and not work.sets and not work.deletes]
        jobs = (self._metafields_job(batch) for batch in [*setting, *deleting])
        yield from self._run([*jobs, *(self._tags_job(work) for work in tagging)])

    # --- metafields

    def _metafields_job(self, batch: list[_Work]) -> Job:
        def job() -> list[Job]:
            self._set_batch([work for work in batch if work.sets])
            self._delete_batch([work for work in batch if work.is_open and work.deletes])
            return [self._tags_job(work) for work in batch if work.is_open]

        return job

    def _set_batch(self, batch: list[_Work]) -> None:
        """One atomic call; rows named by an error fail and the rest is sent again."""
        if len(batch) == 1 and len(batch[0].sets) > METAFIELDS_A_CALL:
            self._set_in_parts(batch[0])
            return
        while batch:
            owner_of = [work for work in batch for _ in work.sets]
            inputs = [one for work in batch for one in work.inputs]
            errors = self._mutate("metafields_set", "metafieldsSet", {"metafields": inputs}, batch).errors
            if errors is None:
                return
            if not errors:
                for work in batch:
                    work.has_set()
                return
            named = _named_rows(errors, owner_of)
            if not named and len(batch) > 1:
                for work in batch:
                    self._set_batch([work])
                return
            stale = {work.key: work for work, error in named if error.get("code") in STALE}
            for work, error in named or [(batch[0], errors[0])]:
                if work.is_open and work.key not in stale:
                    work.fail(_error_text(error))
            self._sort_out_stale([work for work in stale.values() if work.is_open])
            batch = [work for work in batch if work.is_open and work.sets]

    def _set_in_parts(self, work: _Work) -> None:
        """An object with more metafields than a call takes: what was written before an error stays noted as held."""
        sets = work.sets
        for start in range(0, len(sets), METAFIELDS_A_CALL):
            if work.is_open:
                work.sets = sets[start : start + METAFIELDS_A_CALL]
                self._set_batch([work])

    def _sort_out_stale(self, works: list[_Work]) -> None:
        """Objects that are not as they were when they were looked at: left alone, unless it was we who wrote (and the answer was lost)."""
        by_key = {work.key: work for work in works}
        for key, held in self.read(list(by_key)):
            work = by_key[key]
            self._looks.pop(key, None)
            if held is None:
                work.gone()
            elif all(held.get(target.field) == value for target, value in work.sets):
                work.has_set()
            else:
                work.leave(CHANGED_SINCE if work.change.is_whole else HELD_BY_ANOTHER)

    def _delete_batch(self, batch: list[_Work]) -> None:
        if not batch:
            return
        identifiers: list[Any] = [{"ownerId": work.key, "namespace": t.namespace, "key": t.key} for work in batch for t in work.deletes]
        errors = self._mutate("metafields_delete", "metafieldsDelete", {"metafields": identifiers}, batch).errors
        if errors and len(batch) > 1:
            for work in batch:
                self._delete_batch([work])
        elif errors:
            batch[0].fail(_error_text(errors[0]))
        elif errors is not None:
            for work in batch:
                work.held.update({target.field: None for target in work.deletes})
                work.deletes = []

    # --- tags

    def _tags_job(self, work: _Work) -> Job:
        def job() -> list[Job]:
            for document, tags in (("tags_add", work.add), ("tags_remove", work.remove)):
                for start in range(0, len(tags), TAGS_A_CALL):
                    if not self._tag(work, document, tags[start : start + TAGS_A_CALL]):
                        return []
            work.succeed()
            return []

        return job

    def _tag(self, work: _Work, document: str, tags: Sequence[str]) -> bool:
        """Whether it is done."""
        answer = self._mutate(document, _ROOTS[document], {"id": work.key, "tags": list(tags)}, [work])
        if not answer.errors and document == "tags_remove" and (spelled := _still_there(answer.payload, tags)):
            # Of orders, tags are removed only as they are spelled there.
            answer = self._mutate(document, _ROOTS[document], {"id": work.key, "tags": list(spelled)}, [work])
        if answer.errors is None:
            return False
        if answer.errors:
            work.fail(_error_text(answer.errors[0]))
            return False
        self._note_tags(work, document, tags)
        return True

    def _note_tags(self, work: _Work, document: str, tags: Sequence[str]) -> None:
        if self.mapping.tags_field:
            held = set(_tags(work.held.get(self.mapping.tags_field)))
            held = held | set(tags) if document == "tags_add" else held - set(tags)
            work.held[self.mapping.tags_field] = _joined(held)

    def _sort_out_gone(self, failed: list[_Work]) -> None:
        """An object that was refused may have been deleted meanwhile: then it is skipped, not failed."""
        by_key = {work.key: work for work in failed}
        for key, held in self.read(list(by_key)):
            self._looks.pop(key, None)
            if held is None:
                by_key[key].gone()

    # --- bulk

    def _bulk_steps(self, works: list[_Work]) -> Iterator[None]:
        # Not read first: that would cost as much as writing directly. Only who must not overwrite anything has to look.
        new = [work for work in works if work.change.operation == "create"]
        self._look_first(new if self.mapping.yields_to_others else [work for work in new if work.change.expects == "absent"])
        yield
        self._prepare_works(works)
        yield
        setting = [work for work in works if work.is_open and work.sets]
        if self._in_bulk("metafields_set", setting, ({"metafields": work.inputs} for work in setting)):
            for work in setting:
                if work.is_open and not work.is_stale:
                    work.has_set()
            self._sort_out_stale([work for work in setting if work.is_open and work.is_stale])
            yield
            yield from self._run(self._deletions_only([work for work in works if work.is_open and work.deletes]))
            yield from self._tags_in_bulk(works)
        # What is left: everything, where the shop takes no such mutation in bulk.
        yield from self._write([work for work in works if work.is_open])

    def _deletions_only(self, works: list[_Work]) -> Iterator[Job]:
        for batch in _packed(works, lambda work: len(work.deletes)):
            yield _nothing_after(self._delete_batch, batch)

    def _tags_in_bulk(self, works: list[_Work]) -> Iterator[None]:
        for document in ("tags_add", "tags_remove"):
            tagging = [work for work in works if work.is_open and self._tags_to(document, work)]
            rows = ({"id": work.key, "tags": list(self._tags_to(document, work))} for work in tagging)
            if not self._in_bulk(document, tagging, rows):
                return
            for work in tagging:
                if not work.is_open:
                    continue
                if document == "tags_add":
                    self._note_tags(work, document, work.add)
                    work.add = ()
                elif not work.is_left:
                    self._note_tags(work, document, work.remove)
                    work.remove = ()
            yield

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
            self._note_spent()
            if not answered and "allowed mutation" in str(error):
                return False
            for number, work in enumerate(works):
                if number not in answered:
                    work.lose(f"the bulk mutation ended early: {_text_of(error)}")
            return True
        self._note_spent()
        for number, work in enumerate(works):
            if number not in answered:
                work.lose("the bulk mutation's result has no line for it")
        return True

    @staticmethod
    def _read_line(document: str, work: _Work, line: BulkLine) -> None:
        payload = (line.data or {}).get(_ROOTS[document])
        errors = [*line.errors, *((payload or {}).get("userErrors") or [])]
        if errors and any(error.get("code") in STALE for error in errors):
            work.is_stale = True
        elif errors:
            work.fail(_error_text(errors[0]))
        elif payload is None:
            work.lose("the bulk mutation's result says nothing about it")
        elif document == "tags_remove":
            work.is_left = bool(_still_there(payload, work.remove))

    def _running_bulk_mutations(self) -> list[str]:
        try:
            nodes = self._call("bulk_mutations", {})["bulkOperations"]["nodes"]
        except Exception as error:
            raise DestinationUnavailableError(f"bulk operations cannot be read: {_text_of(error)}") from error
        return [node["id"] for node in nodes if node["type"] == "MUTATION" and node["status"] in {"CREATED", "RUNNING", "CANCELING"}]

    def _goes_in_bulk(self, rows: int, direct_seconds: float, bulk_seconds: float) -> bool:
        # Who leaves others' objects alone has to read every one of them, which bulk mutations are there to save.
        is_one_call = len(self.mapping.metafields) <= METAFIELDS_A_CALL
        if self.bulk is None or not rows or self.mapping.yields_to_others or not is_one_call:
            return False
        return rows > self.bulk_threshold if self.bulk_threshold is not None else bulk_seconds < direct_seconds

    # --- what the shop allows

    @property
    def _budget(self) -> Budget:
        return budget_of(self.client) or Budget()

    def _learn_budget(self) -> None:
        """Ask the shop for anything, where nothing is known of its budget yet: each answer tells. The scopes are needed soon anyway."""
        if not keeps_account(self.client) or budget_of(self.client) is not None:
            return
        try:
            self._granted()
        except Exception:
            return  # `problems` will say it; until then a Standard plan is assumed.

    def _granted(self) -> frozenset[str]:
        if self._scopes is None:
            scopes = self._call("access_scopes", {})["currentAppInstallation"]["accessScopes"]
            self._scopes = frozenset(scope["handle"] for scope in scopes)
        return self._scopes

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

    def _nodes(self, ids: list[str]) -> list[dict[str, Any] | None]:
        paths = [target.path for target in self.mapping.metafields]
        try:
            return list(self._call(self.mapping.owner.read, {"ids": ids, "first": max(1, len(paths)), "keys": paths})["nodes"])
        except DestinationUnavailableError:
            raise
        except Exception as error:
            raise DestinationUnavailableError(f"{self.mapping.owner.plural} cannot be read back: {_text_of(error)}") from error

    def _remember(self, key: str, node: Mapping[str, Any]) -> _Look:
        """An object as read, in the sync's own form."""
        by_path = {f"{metafield['namespace']}.{metafield['key']}": metafield for metafield in node["metafields"]["nodes"]}
        fields: dict[str, str | None] = {}
        digests: dict[str, str | None] = {}
        for target in self.mapping.metafields:
            metafield = by_path.get(target.path) or {}
            fields[target.field] = canonical(target.type, metafield.get("value"))
            digests[target.field] = metafield.get("compareDigest")
        if self.mapping.tags_field:
            fields[self.mapping.tags_field] = _joined({tag.casefold() for tag in node["tags"] if self.mapping.is_ours(tag)})
        look = _Look(fields, digests)
        self._looks.pop(key, None)
        self._looks[key] = look
        while len(self._looks) > BULK_CHUNK_ROWS:
            del self._looks[next(iter(self._looks))]
        return look

    def _mutate(self, document: str, root: str, variables: Mapping[str, Any], batch: list[_Work]) -> "_Answer":
        """What the shop says; no errors where no answer came (None), with the batch's works marked as of unknown outcome.

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
            return _Answer(None, None)
        with self._lock:
            self._failed_in_a_row = 0
        if payload is None:
            return _Answer(None, [{"message": f"{root} answered nothing"}])
        return _Answer(payload, list(payload["userErrors"]))

    def _call(self, document: str, variables: Mapping[str, Any], *, idempotent: bool = False) -> dict[str, Any]:
        self._count(document)
        try:
            return self.client.execute(_document(document), variables, idempotent=idempotent)
        finally:
            self._note_spent()

    def _count(self, document: str) -> None:
        with self._lock:
            self.meter.requests += 1
            self.meter.by_operation[document] = self.meter.by_operation.get(document, 0) + 1

    def _note_spent(self) -> None:
        """What the client's account says of everything since this destination was made."""
        spent, budget = Spent.of(self.client), budget_of(self.client)
        with self._lock:
            self.meter.points = max(self.meter.points, round(spent.points - self._spent_before.points))
            self.meter.throttled = max(self.meter.throttled, spent.throttled - self._spent_before.throttled)
            self.meter.points_a_second = budget.rate if budget else None

    def _run(self, jobs: Iterable[Job]) -> Iterator[None]:
        """Do the jobs, and those that come of them, as many at once as the budget feeds; yields whenever some are done.

        The first error ends it, after those in flight.
        """
        todo, after = iter(jobs), deque[Job]()
        with ThreadPoolExecutor(max_workers=(workers := self._budget.workers), thread_name_prefix="push") as pool:
            running: set[Future[Sequence[Job]]] = set()
            while True:
                # What follows goes first, so that objects are done one after the other.
                while len(running) < 2 * workers and (job := after.popleft() if after else next(todo, None)) is not None:
                    running.add(pool.submit(job))
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
                for future in done:
                    after.extend(future.result())
                yield


class ShopifyCustomers(ShopifyObjects):
    """Customers, by a `CustomerMapping`."""


class ShopifyProducts(ShopifyObjects):
    """Products, by a `ProductMapping`."""


class ShopifyOrders(ShopifyObjects):
    """Orders, by an `OrderMapping`."""


@dataclass(frozen=True)
class _Answer:
    payload: Mapping[str, Any] | None
    errors: list[dict[str, Any]] | None


_ROOTS = {"metafields_set": "metafieldsSet", "tags_add": "tagsAdd", "tags_remove": "tagsRemove"}


@cache
def _document(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "queries" / f"{name}.graphql").read_text(encoding="utf-8")


def _holds(granted: frozenset[str], scope: str) -> bool:
    """Whether a scope is granted; a write scope holds its read scope."""
    return scope in granted or (scope.startswith("read_") and f"write_{scope.removeprefix('read_')}" in granted)


def _side_by_side(do: Callable[[_T], _R], items: Sequence[_T], workers: int) -> Iterator[tuple[_T, _R]]:
    """Each item with what `do` makes of it, in order, some of them ahead."""
    if len(items) <= 1:
        yield from ((item, do(item)) for item in items)
        return
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="read") as pool:
        ahead: deque[tuple[_T, Future[_R]]] = deque()
        try:
            for item in items:
                ahead.append((item, pool.submit(do, item)))
                if len(ahead) > workers:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _packed(works: Iterable[_Work], size_of: Callable[[_Work], int]) -> list[list[_Work]]:
    """Whole objects, at most 25 metafields a batch, in few batches: each, the largest first, goes where it fills the most."""
    with_room: list[list[list[_Work]]] = [[] for _ in range(METAFIELDS_A_CALL + 1)]
    batches: list[list[_Work]] = []
    for work in sorted(works, key=size_of, reverse=True):
        size = min(size_of(work), METAFIELDS_A_CALL)
        room = next((room for room in range(size, METAFIELDS_A_CALL + 1) if with_room[room]), None)
        if room is None:
            room, batch = METAFIELDS_A_CALL, list[_Work]()
            batches.append(batch)
        else:
            batch = with_room[room].pop()
        batch.append(work)
        with_room[room - size].append(batch)
    return batches


def _nothing_after(do: Callable[[list[_Work]], None], batch: list[_Work]) -> Job:
    def job() -> list[Job]:
        do(batch)
        return []

    return job


def _still_there(payload: Mapping[str, Any] | None, tags: Iterable[str]) -> tuple[str, ...]:
    """Tags that were to be removed and are there all the same, as they are spelled there."""
    unwanted = {tag.casefold() for tag in tags}
    return tuple(tag for tag in ((payload or {}).get("node") or {}).get("tags") or () if tag.casefold() in unwanted)


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
