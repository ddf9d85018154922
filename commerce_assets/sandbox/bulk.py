"""Bulk operations: what a bulk query may be, how it runs, and the files it leaves.

A query is compiled once into functions that read documents directly (graphql-core's executor would take a minute for what
takes seconds here), then streamed: memory does not grow with the result. Each operation runs in a thread of its own on one
state of the store. With `groupObjects: true` every child stands right after its parent; without, parents come in blocks and
their children after the block, so that no client can rely on neighbourhood. Slashes are escaped, as in the real files.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
    parse,
)
from graphql.execution.values import get_argument_values

from commerce_assets.sandbox import access
from commerce_assets.sandbox.connections import searched, sort_column
from commerce_assets.sandbox.context import Context, RequestError, report
from commerce_assets.sandbox.documents import Doc, gid, gid_number, instant
from commerce_assets.sandbox.faults import Fault, Faults
from commerce_assets.sandbox.reading import (
    SUPPORTED_VERSIONS,
    Bound,
    dereference,
    is_deleted,
    load_schema,
    plain_default,
    reader,
    root_of_connection,
    type_name,
)
from commerce_assets.sandbox.resolvers import LOCAL, REFERENCED, RESOLVERS, Scope, Stored, load
from commerce_assets.sandbox.store import TABLES, Store
from commerce_assets.sandbox.validation import validate_document

CONCURRENT = 5
QUERY_BYTES = 65_535
MAX_CONNECTIONS = 5
MAX_DEPTH = 2
URL_DAYS = 7
BLOCK = 100
PROGRESS_EVERY = 2_000
FILES = "bulk"
RUNNING = ("CREATED", "RUNNING", "CANCELING")

Project = Callable[[Doc, Scope, list["Pending"]], dict[str, Any]]


# -- may it run?


@dataclass
class _Survey:
    """What the validators need to know of a query."""

    connections: int = 0
    depth: int = 0
    in_list: bool = False
    by_nodes: list[str] = field(default_factory=list)
    without_id: list[str] = field(default_factory=list)


def problems(schema: GraphQLSchema, text: str) -> list[str]:
    """Why a text is no bulk query, in the real store's words; empty where it is one."""
    try:
        document = parse(text)
    except GraphQLError as error:
        message = "syntax error, unexpected end of file" if "<EOF>" in error.message else error.message.removeprefix("Syntax Error: ")
        return [f"Invalid bulk query: {message}"]
    operation = _operation(document)
    if operation is None or operation.operation is not OperationType.QUERY:
        return ["Invalid operation type. Only `query` operations are supported."]
    wrong = validate_document(schema, document)
    if wrong:
        return [f"Invalid bulk query: {error['message']}" for error in wrong]
    walk = _Walker(schema, document)
    survey = _Survey()
    tops = [node.name.value for node, _ in walk.fields(operation.selection_set, schema.query_type)]
    walk.survey(operation.selection_set, schema.query_type, survey)
    found: list[str] = []
    if survey.by_nodes:
        listed = "', '".join(survey.by_nodes)
        found.append(
            "All connection fields in a bulk query must select their contents using 'edges' > 'node', e.g: 'products { edges { node {'."
            f" Selecting via 'nodes' is not supported. Invalid connection fields: '{listed}'."
        )
    found.extend(f"Bulk queries cannot contain a top level `{name}` field." for name in ("node", "nodes") if name in tops)
    if survey.depth > MAX_DEPTH:
        found.append(f"Bulk queries cannot contain connections with a nesting depth greater than {MAX_DEPTH}.")
    if survey.connections > MAX_CONNECTIONS:
        found.append(f"Bulk queries cannot contain more than {MAX_CONNECTIONS} connections.")
    if survey.without_id:
        found.append(
            "The parent 'node' field for a nested connection must select the 'id' field without an alias and must be of 'ID' return type."
            f" Connection fields without 'id': {', '.join(survey.without_id)}."
        )
    if survey.in_list:
        found.append("Queries that contain a connection field within a list field are not currently supported.")
    if not survey.connections and not survey.by_nodes:
        found.append("Bulk queries must contain at least one connection.")
    return found


def _operation(document: DocumentNode) -> OperationDefinitionNode | None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return operations[0] if len(operations) == 1 else None


def _is_list(kind: Any) -> bool:
    return str(kind).startswith("[")


class _Walker:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self.schema = schema
        self.fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}

    def fields(self, selections: SelectionSetNode, parent: Any, concrete: str | None = None) -> Iterator[tuple[FieldNode, Any]]:
        """(field, its type) of a selection, fragments included; only those that apply to type `concrete` where given."""
        for node in selections.selections:
            if isinstance(node, FieldNode):
                definition = parent.fields.get(node.name.value) if hasattr(parent, "fields") else None
                yield node, definition.type if definition is not None else None
                continue
            if isinstance(node, FragmentSpreadNode):
                fragment = self.fragments[node.name.value]
                narrowed, inner = self.schema.type_map[fragment.type_condition.name.value], fragment.selection_set
            elif isinstance(node, InlineFragmentNode):
                narrowed = self.schema.type_map[node.type_condition.name.value] if node.type_condition else parent
                inner = node.selection_set
            else:
                continue
            if concrete is None or self.applies(narrowed, concrete):
                yield from self.fields(inner, narrowed, concrete)

    def applies(self, narrowed: Any, concrete: str) -> bool:
        if narrowed.name == concrete:
            return True
        kind = self.schema.type_map.get(concrete)
        return (
            isinstance(narrowed, (GraphQLInterfaceType, GraphQLUnionType)) and kind is not None and self.schema.is_sub_type(narrowed, kind)
        )

    def node_of(self, selections: SelectionSetNode, connection: Any) -> tuple[SelectionSetNode, Any] | None:
        """The `edges { node { … } }` of a connection, and the node's type."""
        for edges, kind in self.fields(selections, connection):
            if edges.name.value == "edges" and edges.selection_set is not None:
                for node, node_kind in self.fields(edges.selection_set, get_named_type(kind)):
                    if node.name.value == "node" and node.selection_set is not None:
                        return node.selection_set, get_named_type(node_kind)
        return None

    def survey(
        self,
        selections: SelectionSetNode,
        parent: Any,
        found: _Survey,
        depth: int = -1,
        in_list: bool = False,
        above: tuple[str, bool] | None = None,
    ) -> None:
        for node, kind in self.fields(selections, parent):
            if node.selection_set is None or kind is None:
                continue
            named = get_named_type(kind)
            if not named.name.endswith("Connection"):
                self.survey(node.selection_set, named, found, depth, in_list or _is_list(kind), above)
                continue
            if any(inner.name.value == "nodes" for inner, _ in self.fields(node.selection_set, named)):
                found.by_nodes.append(node.name.value)
            inside = self.node_of(node.selection_set, named)
            if inside is None:
                continue
            found.connections += 1
            found.depth = max(found.depth, depth + 1)
            found.in_list = found.in_list or in_list
            if above is not None and not above[1] and above[0] not in found.without_id:
                found.without_id.append(above[0])
            has_id = any(inner.name.value == "id" and inner.alias is None for inner, _ in self.fields(inside[0], inside[1]))
            self.survey(inside[0], inside[1], found, depth + 1, False, (node.name.value, has_id))


# -- from a selection to a function


@dataclass(frozen=True)
class Child:
    """A connection in the query: how its nodes are projected."""

    node_type: str
    project: Project
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pending:
    """A connection met while a node was projected: what is to be printed after it."""

    child: Child
    nodes: Any
    scope: Scope


class Compiler:
    """Compiles the selections of one bulk query into functions over documents."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        """For the queries of `document`."""
        self.schema = schema
        self.walk = _Walker(schema, document)

    def roots(self, operation: OperationDefinitionNode) -> list[tuple[str, Mapping[str, Any], Child]]:
        """(field, arguments, nodes) of every connection at the top."""
        query = self.schema.query_type
        found = []
        for node, kind in self.walk.fields(operation.selection_set, query):
            named = get_named_type(kind)
            if named is None or not named.name.endswith("Connection"):
                continue
            found.append((node.name.value, self._arguments(query, node), self._child(node, named, {})))
        return found

    def _arguments(self, parent: Any, node: FieldNode) -> Mapping[str, Any]:
        return get_argument_values(parent.fields[node.name.value], node, {})

    def _child(self, node: FieldNode, connection: Any, arguments: Mapping[str, Any]) -> Child:
        inside = self.walk.node_of(node.selection_set, connection) if node.selection_set else None
        if inside is None:
            return Child("", lambda _doc, _scope, _pending: {}, arguments)
        return Child(inside[1].name, self.node(inside[0], inside[1]), arguments)

    def node(self, selections: SelectionSetNode, kind: Any) -> Project:
        """A function that projects documents of a type (chosen per document for interfaces and unions)."""
        if not isinstance(kind, (GraphQLInterfaceType, GraphQLUnionType)):
            return self._object(selections, kind)
        compiled: dict[str, Project] = {}

        def project(doc: Doc, scope: Scope, pending: list[Pending]) -> dict[str, Any]:
            name = type_name(doc) or ""
            chosen = compiled.get(name)
            if chosen is None:
                concrete = self.schema.type_map.get(name)
                chosen = compiled[name] = self._object(selections, concrete, name) if concrete is not None else lambda *_: {}
            return chosen(doc, scope, pending)

        return project

    def _object(self, selections: SelectionSetNode, kind: Any, concrete: str | None = None) -> Project:
        steps: list[tuple[str, Callable[[Doc, Scope, list[Pending]], Any]]] = []
        seen: dict[str, int] = {}
        for node, _ in self.walk.fields(selections, kind, concrete or kind.name):
            key = node.alias.value if node.alias else node.name.value
            step = self._field(node, kind)
            if key in seen:
                continue
            seen[key] = len(steps)
            if step is not None:
                steps.append((key, step))
        fixed = tuple(steps)

        def project(doc: Doc, scope: Scope, pending: list[Pending]) -> dict[str, Any]:
            out = {}
            for key, step in fixed:
                value = step(doc, scope, pending)
                if value is not _PENDING:
                    out[key] = value
            return out

        return project

    def _field(self, node: FieldNode, parent: Any) -> Callable[[Doc, Scope, list[Pending]], Any] | None:
        name = node.name.value
        if name == "__typename":
            title = parent.name
            return lambda _doc, _scope, _pending: title
        definition = parent.fields[name]
        kind = get_named_type(definition.type)
        arguments = self._arguments(parent, node)
        read = reader(parent.name, name, str(definition.type))
        if is_leaf_type(kind):
            if (parent.name, name) not in RESOLVERS and not str(definition.type).startswith("["):
                plain = _plain_leaf(parent.name, name, str(definition.type))
                if plain is not None:
                    return plain
            return lambda doc, scope, _pending: _listed(read(doc, arguments, scope))
        if kind.name.endswith("Connection"):
            child = self._child(node, kind, arguments)

            def note(doc: Doc, scope: Scope, pending: list[Pending]) -> Any:
                pending.append(Pending(child, read(doc, arguments, scope), scope))
                return _PENDING

            return note
        if node.selection_set is None:
            return None
        if kind.name == "MoneyBag":
            fast = self._money_bag(node.selection_set, kind, parent.name, name, str(definition.type))
            if fast is not None:
                return fast
        return self._composite(node.selection_set, kind, read, arguments)

    def _money_bag(
        self, selections: SelectionSetNode, kind: Any, parent: str, name: str, shape: str
    ) -> Callable[[Doc, Scope, list[Pending]], Any] | None:
        """The common case `{ shopMoney { amount currencyCode } }` of a stored amount, without expanding the whole bag."""
        if (parent, name) in RESOLVERS:
            return None
        fields = [node for node, _ in self.walk.fields(selections, kind)]
        if [node.name.value for node in fields] != ["shopMoney"] or fields[0].alias or fields[0].selection_set is None:
            return None
        inner = [node for node, _ in self.walk.fields(fields[0].selection_set, self.schema.type_map["MoneyV2"])]
        names = [node.name.value for node in inner]
        if any(node.alias for node in inner) or names not in (["amount"], ["amount", "currencyCode"]):
            return None
        with_currency = len(names) == 2
        read = reader(parent, name, shape)
        general = self.node(selections, kind)

        def step(doc: Doc, scope: Scope, pending: list[Pending]) -> Any:
            value = doc.get(name)
            if type(value) is str:
                return {"shopMoney": {"amount": value, "currencyCode": scope.currency} if with_currency else {"amount": value}}
            bag = read(doc, {}, scope)
            return None if bag is None else general(bag, scope, pending)

        return step

    def _composite(
        self, selections: SelectionSetNode, kind: Any, read: Any, arguments: Mapping[str, Any]
    ) -> Callable[[Doc, Scope, list[Pending]], Any]:
        project = self.node(selections, kind)
        only_id = all(node.name.value in ("id", "__typename") for node, _ in self.walk.fields(selections, kind))
        abstract = isinstance(kind, (GraphQLInterfaceType, GraphQLUnionType))
        referable = abstract or kind.name in REFERENCED or kind.name in LOCAL

        def one(value: Any, scope: Scope, pending: list[Pending]) -> Any:
            if value is None or not isinstance(value, (dict, Bound)):
                return value
            if isinstance(value, Bound):
                return project(value.doc, value.scope, pending)
            if referable and len(value) == 1 and "id" in value:
                if only_id:
                    return None if is_deleted(value, scope.context) else project(value, scope, pending)
                found = dereference(type_name(value) or kind.name if abstract else kind.name, value, scope)
                return None if found is None else project(found[0], found[1], pending)
            inner = Scope(scope.context, value) if _is_top(kind.name, value, scope) else scope
            return project(value, inner, pending)

        def step(doc: Doc, scope: Scope, pending: list[Pending]) -> Any:
            value = read(doc, arguments, scope)
            if isinstance(value, (list, tuple)):
                return [one(item, scope, pending) for item in value]
            return one(value, scope, pending)

        return step


_PENDING: Any = object()


def _is_top(kind: str, value: Doc, scope: Scope) -> bool:
    table = TABLES.get(kind)
    return table is not None and table.parent is None and value is not scope.root and "id" in value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _plain_leaf(parent: str, name: str, shape: str) -> Callable[[Doc, Scope, list[Pending]], Any] | None:
    found, default = plain_default(parent, name, shape)
    return (lambda doc, _scope, _pending: doc.get(name, default)) if found else None


# -- running


@dataclass
class Tally:
    """What was written so far."""

    objects: int = 0
    roots: int = 0
    size: int = 0


class Cancelled(Exception):
    """The operation was cancelled while it ran."""


class Interrupted(Exception):
    """A fault ended the operation."""


def line_of(doc: Doc, projected: dict[str, Any], parent: str | None) -> bytes:
    """One line of a result file."""
    raw = doc.get("_rawLine")
    if raw is not None:
        return str(raw).encode() + b"\n"
    if parent is not None:
        projected["__parentId"] = doc.get("_parentId", parent)
    return orjson.dumps(projected).replace(b"/", b"\\/") + b"\n"


class Writer:
    """Writes the nodes of a bulk query to a file."""

    def __init__(self, context: Context, out: BinaryIO, grouped: bool, tick: Callable[[Tally], None]) -> None:
        """`tick` is called now and then, and may raise to stop."""
        self.context = context
        self.out = out
        self.grouped = grouped
        self.tally = Tally()
        self.tick = tick
        self.next_tick = PROGRESS_EVERY

    def write(self, line: bytes) -> None:
        """Add one line."""
        self.out.write(line)
        self.tally.objects += 1
        self.tally.size += len(line)
        if self.tally.objects >= self.next_tick:
            self.next_tick += PROGRESS_EVERY
            self.tick(self.tally)

    def run(self, roots: Iterable[tuple[Doc, Scope]], child: Child) -> None:
        """Print all roots with everything below them."""
        block: list[tuple[str, list[Pending]]] = []
        for doc, scope in roots:
            pending: list[Pending] = []
            self.write(line_of(doc, child.project(doc, scope, pending), None))
            self.tally.roots += 1
            if self.grouped:
                self.children(doc.get("id", ""), pending)
            elif pending:
                block.append((doc.get("id", ""), pending))
                if len(block) >= BLOCK:
                    self.flush(block)
                    block = []
        self.flush(block)
        self.tick(self.tally)

    def flush(self, block: Sequence[tuple[str, list[Pending]]]) -> None:
        """Print the children of a block of parents, connection by connection."""
        depth = max((len(pending) for _, pending in block), default=0)
        for position in range(depth):
            below: list[tuple[str, list[Pending]]] = []
            for parent, pending in block:
                if position < len(pending):
                    below.extend(self.nodes(parent, pending[position]))
            self.flush(below)

    def nodes(self, parent: str, connection: Pending) -> Iterator[tuple[str, list[Pending]]]:
        """Print the nodes of one connection; gives what is below each."""
        for doc, scope in nodes_of(self.context, connection.nodes, connection.child, connection.scope):
            pending: list[Pending] = []
            self.write(line_of(doc, connection.child.project(doc, scope, pending), parent))
            if pending:
                yield doc.get("id", ""), pending

    def children(self, parent: str, pending: Sequence[Pending]) -> None:
        """Print everything below one parent, in place."""
        for connection in pending:
            for doc, scope in nodes_of(self.context, connection.nodes, connection.child, connection.scope):
                below: list[Pending] = []
                self.write(line_of(doc, connection.child.project(doc, scope, below), parent))
                self.children(doc.get("id", ""), below)


def nodes_of(context: Context, nodes: Any, child: Child, scope: Scope) -> Iterator[tuple[Doc, Scope]]:
    """(document, scope) of the nodes of a connection."""
    if isinstance(nodes, Stored):
        yield from stored_nodes(context, nodes, child.arguments)
        return
    for value in nodes or ():
        if len(value) == 1 and "id" in value:
            found = dereference(child.node_type, value, scope)
            if found is not None:
                yield found
        else:
            yield value, Scope(scope.context, value) if _is_top(child.node_type, value, scope) else scope


def stored_nodes(context: Context, stored: Stored, arguments: Mapping[str, Any]) -> Iterator[tuple[Doc, Scope]]:
    """Everything a stored connection finds; page arguments do not apply in bulk."""
    where, values = searched(context, stored.kind, arguments, [], stored.where, stored.values)
    sort, descending = sort_column(stored.kind, arguments) if arguments.get("sortKey") else ("id", bool(arguments.get("reverse")))
    nested = TABLES[stored.kind].parent is not None
    for _value, number, doc in context.store.iterate(stored.kind, where, values, sort=sort, reverse=descending):
        if nested:
            found = load(stored.kind, number, context)
            if found is not None:
                yield found
        else:
            yield doc, Scope(context, doc)


def export(context: Context, schema: GraphQLSchema, text: str, grouped: bool, out: BinaryIO, tick: Callable[[Tally], None]) -> Tally:
    """Run a (valid) bulk query and write its result."""
    document = parse(text)
    operation = _operation(document)
    if operation is None:
        raise ValueError("a bulk query has one operation")
    compiler = Compiler(schema, document)
    writer = Writer(context, out, grouped, tick)
    for name, arguments, child in compiler.roots(operation):
        access.check_root(name, arguments, context)
        stored = root_of_connection(name, arguments)
        if stored is None:
            raise RequestError(f"{name} is not exported in bulk by the sandbox store", code="SANDBOX_UNSUPPORTED")
        writer.run(stored_nodes(context, stored, arguments), child)
    return writer.tally


class Runner:
    """Runs bulk operations in threads, at most five of a type, and knows which of them were cancelled."""

    def __init__(self, store: Store, faults: Faults | None = None) -> None:
        """Operations that an earlier process left running are failed now."""
        self.store = store
        self.faults = faults or Faults()
        self.folder = store.folder / FILES
        self.folder.mkdir(exist_ok=True)
        self.lock = threading.Lock()
        self.cancelled: set[int] = set()
        self.threads: dict[int, threading.Thread] = {}
        self._secret = store.setting("url_secret")
        if self._secret is None:
            self._secret = hashlib.sha256(str(time.time_ns()).encode() + store.path.name.encode()).hexdigest()
            store.set_setting("url_secret", self._secret)
        for doc in list(self.unfinished()):
            ending = {"status": "CANCELED"} if doc["status"] == "CANCELING" else {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR"}
            self.update(gid_number(doc["id"]), completedAt=instant(datetime.now(UTC)), **ending)

    def unfinished(self, kind: str | None = None) -> Iterator[Doc]:
        """Operations that have not ended, oldest first."""
        where = "t.status IN ('CREATED', 'RUNNING', 'CANCELING')"
        values: tuple[Any, ...] = ()
        if kind is not None:
            where, values = where + " AND t.operation_type = ?", (kind,)
        for _value, _number, doc in self.store.iterate("BulkOperation", where, values):
            yield doc

    def update(self, number: int, **changes: Any) -> Doc:
        """Change an operation's document; a cancelled one does not go back to running."""
        with self.store.transaction():
            doc = self.store.get("BulkOperation", number)
            if doc is None:
                raise KeyError(number)
            if doc["status"] == "CANCELING" and changes.get("status") == "RUNNING":
                changes = {key: value for key, value in changes.items() if key != "status"}
            doc.update(changes)
            self.store.put("BulkOperation", doc)
            return doc

    def busy(self, kind: str) -> str | None:
        """The message that refuses another operation of a type; None where there is room."""
        ids = [doc["id"] for doc in self.unfinished(kind)]
        if len(ids) < CONCURRENT:
            return None
        return f"A bulk {kind.lower()} operation for this app and shop is already in progress: {', '.join(ids)}."

    def start(self, number: int, work: Callable[[], None]) -> None:
        """Run the work of an operation in a thread of its own."""

        def run() -> None:
            try:
                work()
            finally:
                with self.lock:
                    self.threads.pop(number, None)
                    self.cancelled.discard(number)

        thread = threading.Thread(target=run, name=f"bulk-{number}", daemon=True)
        with self.lock:
            self.threads[number] = thread
        thread.start()

    def cancel(self, number: int) -> Doc:
        """Ask an operation to stop."""
        with self.lock:
            alive = number in self.threads
            self.cancelled.add(number)
        if alive:
            return self.update(number, status="CANCELING")
        return self.update(number, status="CANCELED", completedAt=instant(datetime.now(UTC)))

    def is_cancelled(self, number: int) -> bool:
        """Whether somebody asked it to stop."""
        with self.lock:
            return number in self.cancelled

    def path(self, number: int, partial: bool = False) -> Path:
        """The result file of an operation."""
        return self.folder / f"{'partial-' if partial else ''}bulk-{number}.jsonl"

    def url(self, number: int, base_url: str, partial: bool = False) -> str:
        """A signed URL of the result file, good for seven days."""
        name = self.path(number, partial).name
        expires = int((datetime.now(UTC) + timedelta(days=URL_DAYS)).timestamp())
        parameters = {
            "Expires": str(expires),
            "Signature": self.signature(name, str(expires)),
            "response-content-disposition": f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}",
            "response-content-type": "application/jsonl",
        }
        return f"{base_url}/bulk-operation-outputs/{name}?{urllib.parse.urlencode(parameters)}"

    def signature(self, name: str, expires: str) -> str:
        """What makes a URL ours."""
        return hmac.new(str(self._secret).encode(), f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def run_query(self, number: int, context: Context, schema: GraphQLSchema, text: str, grouped: bool) -> None:
        """The work of a bulk query: from RUNNING to its end, whatever that is."""
        faults = {fault.kind: fault for fault in self.faults.strike("bulk", text)}
        target = self.path(number)
        working = target.with_suffix(".tmp")
        reading = Store(self.store.folder)
        inside = replace(context, store=reading, cache={}, warnings=[])
        tally = Tally()
        ending: dict[str, Any]
        try:
            self.update(number, status="RUNNING")
            if "bulk_slow" in faults:
                self.linger(number, float(faults["bulk_slow"].option("seconds", 2)))
            reading.connection.execute("BEGIN")
            with working.open("wb", buffering=1 << 20) as out:
                tally = export(inside, schema, text, grouped, out, self._tick(number, tally, faults.get("bulk_failed_partial")))
            ending = self.completed(number, working, tally, faults, context.base_url)
        except Cancelled:
            ending = {"status": "CANCELED"}
        except Interrupted:
            ending = {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR", **self.partial(number, working, faults, context.base_url)}
        except RequestError as error:
            denied = error.extensions.get("code") == "ACCESS_DENIED"
            ending = {"status": "FAILED", "errorCode": "ACCESS_DENIED" if denied else "INTERNAL_SERVER_ERROR"}
        except Exception as error:
            report(error)
            ending = {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR"}
        finally:
            reading.close()
            working.unlink(missing_ok=True)
        self.update(number, completedAt=instant(datetime.now(UTC)), **ending)

    def linger(self, number: int, seconds: float) -> None:
        """Wait, unless cancelled meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.is_cancelled(number):
                raise Cancelled
            time.sleep(0.02)

    def _tick(self, number: int, seen: Tally, fault: Fault | None) -> Callable[[Tally], None]:
        def tick(tally: Tally) -> None:
            seen.objects, seen.roots = tally.objects, tally.roots
            if self.is_cancelled(number):
                raise Cancelled
            if fault is not None:
                raise Interrupted
            self.update(number, objectCount=str(tally.objects), rootObjectCount=str(tally.roots))

        return tick

    def completed(self, number: int, working: Path, tally: Tally, faults: Mapping[str, Fault], base_url: str) -> dict[str, Any]:
        """How an operation that ran to its end is left: its file in place, with a URL (and with the faults that are due)."""
        ending: dict[str, Any] = {
            "status": "COMPLETED",
            "objectCount": str(tally.objects),
            "rootObjectCount": str(tally.roots),
            "fileSize": str(tally.size) if tally.objects else None,
        }
        if not tally.objects:
            return ending
        if "jsonl_truncated" in faults:
            _truncate(working, float(faults["jsonl_truncated"].option("at", 0.9)))
        if "jsonl_corrupted" in faults:
            _corrupt(working, int(faults["jsonl_corrupted"].option("line", 2)))
        working.replace(self.path(number))
        return {**ending, "url": self.url(number, base_url)}

    def partial(self, number: int, working: Path, faults: Mapping[str, Fault], base_url: str) -> dict[str, Any]:
        """How an operation that a fault ended is left: the first rows in a file of their own."""
        kept = int(faults["bulk_failed_partial"].option("after_objects", 10))
        target = self.path(number, partial=True)
        count = size = roots = 0
        with working.open("rb") as source, target.open("wb") as out:
            for line in source:
                if count >= kept:
                    break
                out.write(line)
                count += 1
                size += len(line)
                roots += b'"__parentId":' not in line
        return {
            "objectCount": str(count),
            "rootObjectCount": str(roots),
            "fileSize": str(size),
            "partialDataUrl": self.url(number, base_url, partial=True) if count else None,
        }


def _truncate(path: Path, share: float) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        cut = max(1, int(size * share))
        file.seek(cut - 1)
        while file.read(1) == b"\n" and cut > 1:
            cut -= 1
            file.seek(cut - 1)
        file.truncate(max(1, cut - 1))


def _corrupt(path: Path, number: int) -> None:
    broken = path.with_suffix(".broken")
    with path.open("rb") as source, broken.open("wb") as out:
        for position, line in enumerate(source, start=1):
            # as long as before: the file still has the size that the operation tells
            out.write((line[: len(line) // 2] + b"\xff\x00}").ljust(len(line) - 1, b"~") + b"\n" if position == number else line)
    broken.replace(path)


# -- the mutations


def _refused(message: str, code: str | None, field_path: list[str] | None) -> dict[str, Any]:
    return {"bulkOperation": None, "userErrors": [{"field": field_path, "message": message, "code": code}]}


def new_operation(context: Context, kind: str, text: str) -> Doc:
    """The document of an operation that was just created (not stored yet)."""
    return {
        "id": gid("BulkOperation", context.store.next_id("BulkOperation")),
        "status": "CREATED",
        "type": kind,
        "query": text,
        "createdAt": context.now(),
        "objectCount": "0",
        "rootObjectCount": "0",
    }


def run_query(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """`bulkOperationRunQuery`."""
    runner: Runner = context.bulk
    text = arguments["query"]
    length = len(text.encode())
    if length > QUERY_BYTES:
        return _refused(f"Query is too large ({length} bytes; maximum is {QUERY_BYTES} bytes)", "INVALID", ["query"])
    version = context.api_version if context.api_version in SUPPORTED_VERSIONS else SUPPORTED_VERSIONS[-1]
    schema = load_schema(version)
    wrong = problems(schema, text)
    if wrong:
        errors = [{"field": ["query"], "message": message, "code": "INVALID"} for message in wrong]
        return {"bulkOperation": None, "userErrors": errors}
    with context.store.transaction():
        busy = runner.busy("QUERY")
        if busy is not None:
            return _refused(busy, "OPERATION_IN_PROGRESS", None)
        doc = new_operation(context, "QUERY", text)
        context.store.put("BulkOperation", doc)
    grouped = bool(arguments.get("groupObjects", context.groups_by_default))
    number = gid_number(doc["id"])
    runner.start(number, lambda: runner.run_query(number, context, schema, text, grouped))
    return {"bulkOperation": doc, "userErrors": []}


def cancel(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """`bulkOperationCancel`, of queries and mutations."""
    runner: Runner = context.bulk
    try:
        number = gid_number(arguments["id"])
    except ValueError:
        raise RequestError("Invalid id: " + arguments["id"], code="RESOURCE_NOT_FOUND") from None
    doc = context.store.get("BulkOperation", number)
    if doc is None:
        return {"bulkOperation": None, "userErrors": [{"field": ["id"], "message": "Bulk operation does not exist"}]}
    if doc["status"] not in RUNNING:
        message = f"A bulk operation cannot be canceled when it is {doc['status'].lower()}"
        return {"bulkOperation": doc, "userErrors": [{"field": None, "message": message}]}
    return {"bulkOperation": runner.cancel(number), "userErrors": []}


MUTATIONS: dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {
    "bulkOperationRunQuery": run_query,
    "bulkOperationCancel": cancel,
}
