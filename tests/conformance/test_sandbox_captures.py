"""The sandbox answers what real stores were recorded to answer.

Every recorded request that falls in the covered surface is replayed, in the order of its capture, against a store in the
state that the capture tells of. What must agree is everything but ids, times, cursors, links and digests. The requests that
agree are listed by name in `sandbox_captures_agreeing.txt`; the list may only grow. To write it anew:
`SANDBOX_CAPTURES_WRITE=1 pytest tests/conformance/test_sandbox_captures.py -s`.
"""

from __future__ import annotations

import collections
import gzip
import io
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from capture_store import Seeder, exists
from captures import (
    Capture,
    Exchange,
    NotReconstructed,
    aligned,
    difference,
    gids_in,
    load_captures,
    reconstruct,
    roots,
    shape,
    translated,
    unaliased,
)
from support import shared_path

from commerce_assets.sandbox.bulk import Runner
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import parse_gid, shop_doc
from commerce_assets.sandbox.mutations import accept_staged_upload
from commerce_assets.sandbox.reading import load_schema, served_version
from commerce_assets.sandbox.schema import answer
from commerce_assets.sandbox.store import Store

AGREEING = Path(__file__).with_name("sandbox_captures_agreeing.txt")
EVERY_SCOPE = frozenset(
    f"{verb}_{what}"
    for verb in ("read", "write")
    for what in ("orders", "all_orders", "customers", "products", "inventory", "locations", "fulfillments")
)
STARTED = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Outcome:
    """What became of one recorded request: agreed, or why not; or why it is not part of the covered surface."""

    exchange: Exchange
    kind: str
    in_surface: bool
    reason: str | None

    @property
    def agrees(self) -> bool:
        return self.in_surface and self.reason is None


@cache
def published_fields() -> dict[str, frozenset[str]]:
    """Type -> fields (or input fields) in the published 2026-10 schema; field arguments as `Type.field(argument`."""
    content = gzip.decompress(shared_path("shopify/admin-2026-10.introspection.json.gz").read_bytes())
    found: dict[str, frozenset[str]] = {}
    for kind in json.loads(content)["data"]["__schema"]["types"]:
        fields = [*(kind.get("fields") or ()), *(kind.get("inputFields") or ())]
        names = {entry["name"] for entry in fields}
        names |= {f"{entry['name']}({argument['name']}" for entry in kind.get("fields") or () for argument in entry.get("args") or ()}
        found[kind["name"]] = frozenset(names)
    return found


class Waiting(Runner):
    """Bulk operations that are created and never begin, so that a replay does not depend on how fast they run."""

    def start(self, number: int, work: Callable[[], None]) -> None:
        self.threads[number] = threading.current_thread()

    def cancel(self, number: int) -> dict[str, Any]:
        self.threads[number] = threading.current_thread()
        return super().cancel(number)


class Replay:
    """One capture replayed against a store of its own."""

    def __init__(self, capture: Capture, folder: Path) -> None:
        self.capture = capture
        self.folder = folder
        self.ids: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.stocked: set[str] = set()
        self.seconds = 0
        self.newest = _newest_ids(capture)
        self.store, self.seeder, _, self.runner = self._fresh("steps")
        self.pending = collections.defaultdict(list)
        for read in capture.reads:
            for identity in _objects_read(read):
                self.pending[identity].append(read)

    def _fresh(self, name: str) -> tuple[Store, Seeder, dict[str, Any], Waiting]:
        store = Store(self.folder / name)
        with store.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", self.newest.items())
        text = json.dumps(self.capture.content)
        identity = re.search(r"gid://shopify/Shop/\d+", text)
        currency = re.search(r'"currencyCode": "([A-Z]{3})"', text)
        domain = str(self.capture.content.get("storeDomain") or "recorded.myshopify.com")
        shop = shop_doc(
            domain.partition(".")[0], domain, currency.group(1) if currency else "CAD", "America/Toronto", "2024-01-01T00:00:00Z"
        )
        shop["id"] = identity.group() if identity else "gid://shopify/Shop/92891250994"
        store.set_shop(shop)
        return store, Seeder(store, self.ids), shop, Waiting(store)

    def ask(self, store: Store, runner: Waiting, version: str, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.seconds += 1
        moment = STARTED + timedelta(seconds=self.seconds)
        context = Context(store, store.shop() or {}, served_version(version), EVERY_SCOPE, clock=lambda: moment, bulk=runner)
        return answer(context, document, variables)

    def run(self) -> list[Outcome]:
        return [*(self.step(exchange) for exchange in self.capture.steps), *self.reads()]

    # -- the capture's own steps, one after the other

    def step(self, exchange: Exchange) -> Outcome:
        outcome = self._step(exchange)
        if not outcome.agrees:
            self._take_over(exchange)
        self.deleted.update(_deleted(exchange.answer.get("data") or {}))
        return outcome

    def _step(self, exchange: Exchange) -> Outcome:
        schema = load_schema(served_version(exchange.version))
        document, kind = exchange.document, "recorded"
        if document is None:
            kind = "reconstructed"
            try:
                document = reconstruct(exchange, schema)
            except NotReconstructed as reason:
                return Outcome(exchange, kind, False, f"no document recorded, and its answer does not tell it ({_general(str(reason))})")
        served = {*(schema.mutation_type.fields if schema.mutation_type else ()), *(schema.query_type.fields if schema.query_type else ())}
        foreign = sorted(set(roots(document)) - served)
        if foreign:
            return Outcome(exchange, kind, False, f"root field {foreign[0]} is not served")
        self._prepare(exchange, document)
        actual = self.ask(self.store, self.runner, exchange.version, document, translated(exchange.variables, self.ids))
        outside = _outside(exchange.answer, actual)
        if outside:
            return Outcome(exchange, kind, False, outside)
        self.ids.update(aligned(exchange.answer.get("data"), actual.get("data")))
        self._upload(exchange, actual)
        return self._judged(exchange, kind, actual)

    def _judged(self, exchange: Exchange, kind: str, actual: dict[str, Any]) -> Outcome:
        exact = kind == "recorded" and exchange.path[-1:] != ("mutation",)
        reason = _disagreement(exchange.answer, actual, exact)
        if reason and EDITED.match(reason):
            return Outcome(exchange, kind, False, "the recorded answer does not have the fields that its document selects")
        return Outcome(exchange, kind, True, reason)

    def _prepare(self, exchange: Exchange, document: str) -> None:
        """Make the objects that the request speaks of, as they were recorded before it."""
        mutation = document.lstrip().startswith("mutation") or "mutation " in document[:40]
        fresh: list[str] = []
        for identity in dict.fromkeys(gids_in(exchange.variables)):
            before = self.pending.get(identity)
            if before and mutation:
                read = before.pop(0)
                self.seeder.ingest(translated(_only(unaliased(read.document, read.answer.get("data")), identity), self.ids))
            elif identity not in self.ids and identity not in self.deleted and not exists(self.store, identity):
                self._first_known(identity)
                if not exists(self.store, identity) and _succeeded(exchange.answer):
                    self.seeder.ingest({"id": identity})
                fresh.append(identity)
        data = unaliased(document, exchange.answer.get("data"))
        if mutation:
            self._before_change(exchange, fresh)
        else:
            known = frozenset(identity for identity in gids_in(translated(data, self.ids)) if exists(self.store, identity))
            self.seeder.ingest(translated(data, self.ids), overwrite=False)
            self.seeder.fill_in(translated(data, self.ids), exchange.variables, known)
            self.seeder.ingest(translated(_of_kind(data, "BulkOperation"), self.ids), overwrite=True)

    def _before_change(self, exchange: Exchange, fresh: list[str]) -> None:
        """What a request and its answer tell of the state before: stock that was set, metafields that were deleted."""
        data = exchange.answer.get("data") or {}
        self._bulk_before(exchange, data)
        for entry in (data.get("metafieldsDelete") or {}).get("deletedMetafields") or ():
            owner = self.ids.get(entry["ownerId"], entry["ownerId"]) if entry else None
            if entry and owner in fresh:
                self.store.set_metafield(owner, entry["namespace"], entry["key"], "single_line_text_field", "x", "2024-01-01T00:00:00Z")
        wanted = exchange.variables.get("input")
        rows = (wanted.get("quantities") or wanted.get("changes") or ()) if isinstance(wanted, dict) else ()
        changes = ((data.get("inventorySetQuantities") or {}).get("inventoryAdjustmentGroup") or {}).get("changes") or ()
        for row in rows:
            item, place = row.get("inventoryItemId"), row.get("locationId")
            if item in self.stocked or self.ids.get(item, item) != item:
                continue
            self.stocked.add(item)
            before = row.get("changeFromQuantity")
            for change in changes:
                same = (change.get("item") or {"id": item})["id"] == item and (change.get("location") or {"id": place})["id"] == place
                if same and change["name"] == wanted["name"] and "quantity" in row:
                    before = row["quantity"] - change["delta"]
            if before is not None and exists(self.store, item) and exists(self.store, place):
                self.seeder.set_quantity(item, place, wanted["name"], before)

    def _bulk_before(self, exchange: Exchange, data: dict[str, Any]) -> None:
        """The uploaded file of a bulk mutation, unless it was missing; how far a cancelled operation had come."""
        path = exchange.variables.get("path") or exchange.variables.get("stagedUploadPath")
        match = UPLOAD_KEY.match(path) if isinstance(path, str) else None
        missing = "NO_SUCH_FILE" in json.dumps(data)
        if match and path not in self.ids and not missing:
            folder = self.store.folder / "staged" / match["ticket"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / match["name"]).write_bytes(b"{}\n")
        cancelled = (data.get("bulkOperationCancel") or {}).get("bulkOperation")
        number = parse_gid(self.ids.get(cancelled["id"], cancelled["id"]))[1] if cancelled else 0
        operation = self.store.get("BulkOperation", number)
        if operation and cancelled and "objectCount" in cancelled:
            counts = {name: cancelled[name] for name in ("objectCount", "rootObjectCount")}
            self.store.put("BulkOperation", {**operation, **counts})

    def _first_known(self, identity: str) -> None:
        for known in (*self.capture.reads, *self.capture.steps):
            data = unaliased(known.document, known.answer.get("data"))
            found = _only(data, identity)
            if found:
                self.seeder.ingest(found, overwrite=False)
                return
        found = _only(self.capture.content, identity)
        self.seeder.ingest(found, overwrite=False)

    def _take_over(self, exchange: Exchange) -> None:
        """Let what was recorded stand in the store, where the request was not or could not be answered here."""
        data = exchange.answer.get("data")
        if isinstance(data, dict):
            self.seeder.ingest(translated(unaliased(exchange.document, data), self.ids))
            for identity in _deleted(data):
                self._delete(self.ids.get(identity, identity), bool(exchange.variables.get("deleteAllAssociatedMetafields")))

    def _delete(self, identity: str, with_metafields: bool) -> None:
        kind, number = parse_gid(identity)
        doc = self.store.get(kind, number)
        self.store.delete(kind, number, "2026-11-20T12:00:00Z")
        if kind == "MetafieldDefinition" and doc and with_metafields:
            sql = "DELETE FROM metafields WHERE namespace = ? AND key = ?"
            self.store.connection.execute(sql, (doc["namespace"], doc["key"]))

    def _upload(self, exchange: Exchange, actual: dict[str, Any]) -> None:
        """Post a line of variables to every upload just prepared, unless the capture leaves it missing."""
        targets = ((actual.get("data") or {}).get("stagedUploadsCreate") or {}).get("stagedTargets") or ()
        for target in targets:
            key = next(entry["value"] for entry in target["parameters"] if entry["name"] == "key")
            if "missing" not in exchange.name.lower():
                accept_staged_upload(self.store.folder, key, io.BytesIO(b"{}\n"))

    # -- the supporting reads, each against a store of its own

    def reads(self) -> list[Outcome]:
        outcomes = []
        seen: set[str] = set()
        for index, exchange in enumerate(self.capture.reads):
            key = json.dumps([exchange.document, exchange.variables, shape(exchange.answer.get("data"))], sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            outcomes.append(self._read(exchange, index))
        return outcomes

    def _read(self, exchange: Exchange, index: int) -> Outcome:
        if exchange.document is None:
            return Outcome(exchange, "recorded", False, "no document recorded")
        schema = load_schema(served_version(exchange.version))
        served = {*(schema.mutation_type.fields if schema.mutation_type else ()), *(schema.query_type.fields if schema.query_type else ())}
        foreign = sorted(set(roots(exchange.document)) - served)
        if foreign:
            return Outcome(exchange, "recorded", False, f"root field {foreign[0]} is not served")
        self.ids.clear()
        store, seeder, _, runner = self._fresh(f"read-{index}")
        try:
            data = unaliased(exchange.document, exchange.answer.get("data"))
            seeder.ingest(data)
            seeder.fill_in(data, exchange.variables)
            actual = self.ask(store, runner, exchange.version, exchange.document, translated(exchange.variables, self.ids))
        finally:
            store.close()
        outside = _outside(exchange.answer, actual)
        if outside:
            return Outcome(exchange, "recorded", False, outside)
        return self._judged(exchange, "recorded", actual)


UPLOAD_KEY = re.compile(r"tmp/\d+/bulk/(?P<ticket>[0-9a-f-]{36})/(?P<name>[^/]+)$")


def _newest_ids(capture: Capture) -> dict[str, int]:
    """The highest id of each type in a capture: what the store makes comes after."""
    newest: dict[str, int] = {}
    for match in re.finditer(r"gid://shopify/([A-Za-z]+)/(\d{1,17})\b", json.dumps(capture.content)):
        kind, number = match.group(1), int(match.group(2))
        newest[kind] = max(newest.get(kind, 0), number)
    return newest


def _objects_read(exchange: Exchange) -> list[str]:
    return list(dict.fromkeys(gids_in(exchange.variables)))


def _only(value: Any, identity: str) -> list[Any]:
    """The objects in a value that have this id."""
    found: list[Any] = []
    if isinstance(value, dict):
        if value.get("id") == identity and len(value) > 1:
            found.append(value)
        for name, inner in value.items():
            if name not in ("variables", "request"):
                found.extend(_only(inner, identity))
    elif isinstance(value, list):
        for inner in value:
            found.extend(_only(inner, identity))
    return found


def _of_kind(value: Any, kind: str) -> list[Any]:
    prefix = f"gid://shopify/{kind}/"
    found: list[Any] = []
    if isinstance(value, dict):
        if str(value.get("id", "")).startswith(prefix):
            found.append(value)
        for inner in value.values():
            found.extend(_of_kind(inner, kind))
    elif isinstance(value, list):
        for inner in value:
            found.extend(_of_kind(inner, kind))
    return found


def _succeeded(recorded: dict[str, Any]) -> bool:
    """Whether a request was answered without errors of any kind."""
    payloads = [payload for payload in (recorded.get("data") or {}).values() if isinstance(payload, dict)]
    return bool(payloads) and not recorded.get("errors") and not any(payload.get("userErrors") for payload in payloads)


def _deleted(data: dict[str, Any]) -> list[str]:
    found = []
    for payload in data.values():
        for name, value in payload.items() if isinstance(payload, dict) else ():
            if name.startswith("deleted") and isinstance(value, str) and value.startswith("gid://shopify/"):
                found.append(value)
    return found


def _typenames(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {name for inner in value.values() for name in _typenames(inner)}
        return found | ({value["__typename"]} if isinstance(value.get("__typename"), str) else set())
    return {name for inner in value for name in _typenames(inner)} if isinstance(value, list) else set()


def _outside(expected: dict[str, Any], actual: dict[str, Any]) -> str | None:
    """Why a request is not part of the covered surface: it asks for what our schema leaves out of the real one."""
    known = load_schema().type_map
    for kind in sorted(_typenames(expected.get("data"))):
        if kind not in known:
            return f"is answered with a {kind}, a type that the sandbox leaves out"
    for payload in (actual.get("data") or {}).values():
        for refusal in (payload.get("userErrors") or ()) if isinstance(payload, dict) else ():
            if "doesn't exist on type" in str(refusal.get("message")):
                return f"names what the sandbox leaves out: {_general(refusal['message'])}"
    recorded = {problem.get("message") for problem in expected.get("errors") or ()}
    for problem in actual.get("errors") or ():
        if problem.get("message") in recorded:
            continue
        extensions = problem.get("extensions") or {}
        code = extensions.get("code")
        if code == "SANDBOX_UNSUPPORTED":
            return problem["message"]
        if code == "undefinedField":
            kind, name = extensions["typeName"], extensions["fieldName"]
            there = name in published_fields().get(kind, ())
            return f"selects {kind}.{name}, {'which the sandbox leaves out' if there else 'gone by 2026-10'}"
        if code == "argumentNotAccepted":
            return f"gives argument {extensions.get('name')}.{extensions.get('argumentName')}, which the sandbox does not take"
        if code in ("undefinedType", "undeclaredVariable", "cannotSpreadFragment", "selectionMismatch") or re.search(
            r"[Uu]nknown type|No such type|can't be spread|can never be of type", problem["message"]
        ):
            return f"names what the sandbox leaves out: {_general(problem['message'])}"
    return None


# A field that only one side has: GraphQL answers what is selected, so the recorded answer was cut or widened later.
EDITED = re.compile(r"\.data\..*: (missing|not in the recorded answer)$")


def _disagreement(expected: dict[str, Any], actual: dict[str, Any], exact: bool) -> str | None:
    keep = ("data", "errors")
    left = shape({name: expected[name] for name in keep if name in expected}, with_locations=exact)
    right = shape({name: actual[name] for name in keep if name in actual}, with_locations=exact)
    search = [answer_.get("extensions", {}).get("search") for answer_ in (expected, actual)]
    return difference(left, right) or (difference(shape(search[0]), shape(search[1]), ".extensions.search") if exact else None)


def _general(text: str) -> str:
    """A reason without what is particular to one request."""
    return re.sub(r"\[\d+\]", "[…]", re.sub(r"\d{4,}", "…", text))[:120]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Every recorded request, replayed."""
    captures = load_captures(shared_path("shopify/captures"))
    found: list[Outcome] = []
    for number, capture in enumerate(captures):
        replay = Replay(capture, tmp_path_factory.mktemp(f"capture-{number}"))
        found.extend(replay.run())
        replay.store.close()
    return found


def report(outcomes: list[Outcome]) -> str:
    """How many agree, and the others by reason."""
    inside = [outcome for outcome in outcomes if outcome.in_surface]
    agreeing = [outcome for outcome in inside if outcome.agrees]
    lines = [f"{len(agreeing)} of {len(inside)} recorded requests agree"]
    for kind in ("recorded", "reconstructed"):
        part = [outcome for outcome in inside if outcome.kind == kind]
        lines.append(f"  {sum(outcome.agrees for outcome in part)} of {len(part)} with a {kind} document")
    reasons = collections.Counter(_general(outcome.reason or "") for outcome in inside if not outcome.agrees)
    lines.append(f"{len(inside) - len(agreeing)} in the covered surface do not agree:")
    lines.extend(f"  {count:4}  {reason}" for reason, count in reasons.most_common())
    outside = collections.Counter(_general(outcome.reason or "") for outcome in outcomes if not outcome.in_surface)
    lines.append(f"{sum(outside.values())} are outside the covered surface:")
    lines.extend(f"  {count:4}  {reason}" for reason, count in outside.most_common())
    return "\n".join(lines)


def test_recorded_requests_that_agreed_still_agree(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    agreeing = sorted(outcome.exchange.name for outcome in outcomes if outcome.agrees)
    with capsys.disabled():
        print("\n" + report(outcomes))
    if os.environ.get("SANDBOX_CAPTURES_WRITE"):
        AGREEING.write_text("\n".join(agreeing) + "\n", encoding="utf-8")
    expected = AGREEING.read_text(encoding="utf-8").splitlines()
    reasons = {outcome.exchange.name: outcome.reason for outcome in outcomes}
    lost = [f"{name}: {reasons.get(name, 'not found any more')}" for name in expected if name not in set(agreeing)]
    assert not lost, "recorded requests that agreed before do not any more:\n" + "\n".join(lost)


def test_four_fifths_of_the_covered_requests_agree(outcomes: list[Outcome]) -> None:
    inside = [outcome for outcome in outcomes if outcome.in_surface]
    share = sum(outcome.agrees for outcome in inside) / len(inside)
    assert len(inside) > 300, f"only {len(inside)} recorded requests are taken as covered"
    assert share > 0.8, f"{share:.1%} of {len(inside)} agree"
