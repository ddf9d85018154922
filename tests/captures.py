"""Recorded requests of real stores: finding them in the captures, what they say of the store, and what of an answer counts.

Nothing here knows the sandbox's code: it reads the captures (`shopify/captures` of the shared data) and compares answers.
Used by tests/conformance/test_sandbox_captures.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    is_composite_type,
    is_object_type,
    is_required_argument,
    parse,
)

Json = Any
GID = re.compile(r"gid://shopify/([A-Za-z]+)/([0-9]+(?:\?[^\s\"',)]*)?)")


@dataclass(frozen=True)
class Exchange:
    """One request and the answer that was recorded."""

    capture: str
    path: tuple[str | int, ...]
    version: str
    document: str | None
    variables: dict[str, Json]
    answer: dict[str, Json]

    @property
    def name(self) -> str:
        """What the list of agreeing requests calls it."""
        return f"{self.capture}::{'.'.join(str(part) for part in self.path) or 'root'}"

    @property
    def upstream(self) -> bool:
        """Whether it stands among the capture's supporting reads, not in its sequence of steps."""
        return "upstreamCalls" in self.path


@dataclass
class Capture:
    """A capture file: its steps in order, and the supporting reads."""

    name: str
    content: dict[str, Json]
    steps: list[Exchange] = field(default_factory=list)
    reads: list[Exchange] = field(default_factory=list)


def load_captures(folder: Path) -> list[Capture]:
    """All captures under a folder, by name."""
    captures = []
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        content = json.loads(path.read_text(encoding="utf-8"))
        capture = Capture(name, content)
        version = name.partition("/")[0]
        for exchange in _exchanges(name, version, content, (), None):
            (capture.reads if exchange.upstream else capture.steps).append(exchange)
        captures.append(capture)
    return captures


def _exchanges(name: str, version: str, value: Json, path: tuple[str | int, ...], shared: str | None) -> Iterator[Exchange]:
    """Every request with its answer below a value; `shared` is a document given once for several requests."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _exchanges(name, version, entry, (*path, index), shared)
        return
    if not isinstance(value, dict):
        return
    request = value.get("request")
    request = request if isinstance(request, dict) else {}
    document = next(
        (text for text in (request.get("query"), request.get("document"), value.get("query"), value.get("document")) if is_document(text)),
        None,
    )
    variables = request.get("variables", value.get("variables"))
    answer = _body(value.get("response"))
    if answer is None and variables is not None and isinstance(value.get("data"), dict):
        answer = _body(value)
    if answer is not None:
        yield Exchange(name, path, version, document or _if_it_fits(shared, answer), dict(variables or {}), answer)
    mutation = value.get("mutation")
    if answer is None and isinstance(mutation, dict) and _body(mutation.get("response")) and "variables" not in mutation:
        own = Exchange(name, (*path, "mutation"), version, document or shared, dict(variables or {}), _body(mutation["response"]) or {})
        yield own
        skipped: tuple[str, ...] = ("mutation",)
    else:
        skipped = ()
    below = document if answer is None and document is not None else shared
    for key, entry in value.items():
        if key not in ("request", "response", *skipped) and not (answer is not None and key in ("data", "errors")):
            yield from _exchanges(name, version, entry, (*path, key), below)


def _if_it_fits(document: str | None, answer: dict[str, Json]) -> str | None:
    """A document given once for several requests, when the answer has its fields."""
    if document is None:
        return None
    operation = next(node for node in parse(document, no_location=True).definitions if isinstance(node, OperationDefinitionNode))
    fields = [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]
    keys = {(node.alias or node.name).value for node in fields}
    return document if set(answer.get("data") or ()) <= keys else None


def _body(value: Json) -> dict[str, Json] | None:
    """The GraphQL answer in a recorded response (as it is, or under `body` or `payload`)."""
    for _ in range(3):
        if not isinstance(value, dict):
            return None
        if isinstance(value.get("data"), dict) or isinstance(value.get("errors"), list):
            return value
        value = next((value[key] for key in ("body", "payload") if isinstance(value.get(key), dict)), None)
    return None


def is_document(text: Json) -> bool:
    """Whether a text is a GraphQL document that stands for a request of its own (bulk queries without name are not)."""
    if not isinstance(text, str) or "{" not in text:
        return False
    try:
        parse(text, no_location=True)
    except GraphQLSyntaxError:
        return False
    return True


# -- documents


def roots(document: str) -> list[str]:
    """The root fields a document selects."""
    return [
        node.name.value
        for definition in parse(document, no_location=True).definitions
        if isinstance(definition, OperationDefinitionNode)
        for node in definition.selection_set.selections
        if isinstance(node, FieldNode)
    ]


class NotReconstructed(Exception):
    """The shape of an answer does not tell what was asked."""


def reconstruct(exchange: Exchange, schema: GraphQLSchema) -> str:
    """A document for an answer whose request was not recorded: its selections are the answer's fields."""
    data = exchange.answer.get("data") or {}
    mutation = schema.mutation_type
    query = schema.query_type
    if not data or mutation is None or query is None:
        raise NotReconstructed("no data to tell what was asked")
    parent = mutation if next(iter(data)) in mutation.fields else query
    declared: dict[str, str] = {}
    parts = []
    for name, value in data.items():
        if name not in parent.fields:
            raise NotReconstructed(f"root field or alias {name}")
        spec = parent.fields[name]
        if str(spec.type).endswith("Connection!") and not set(spec.args) & set(exchange.variables):
            raise NotReconstructed(f"arguments of {name} not recorded")
        arguments = {arg: str(spec.args[arg].type) for arg in spec.args if arg in exchange.variables}
        if any(is_required_argument(one) and arg not in arguments for arg, one in spec.args.items()):
            raise NotReconstructed(f"arguments of {name} not recorded")
        declared.update(arguments)
        given = ", ".join(f"{arg}: ${arg}" for arg in arguments)
        directive = " @idempotent(key: $idempotencyKey)" if "idempotencyKey" in exchange.variables else ""
        if directive:
            declared["idempotencyKey"] = "String!"
        parts.append(f"{name}{f'({given})' if given else ''}{directive} {_selection(value, spec.type, schema)}")
    unused = set(exchange.variables) - set(declared)
    if unused:
        raise NotReconstructed(f"variables of unknown use: {', '.join(sorted(unused))}")
    head = ", ".join(f"${name}: {kind}" for name, kind in declared.items())
    verb = "mutation" if parent is mutation else "query"
    return f"{verb} Reconstructed{f'({head})' if head else ''} {{ {' '.join(parts)} }}"


def _selection(value: Json, kind: Any, schema: GraphQLSchema) -> str:
    named = get_named_type(kind)
    if not is_composite_type(named):
        return ""
    sample = _merged(value)
    if not sample:
        return "{ field message }" if "UserError" in str(named) else "{ __typename }"
    if not is_object_type(named):
        match = GID.match(str(sample.get("id", "")))
        typename = sample.get("__typename") or (match.group(1) if match else None)
        concrete = schema.get_type(typename) if typename else None
        if concrete is None:
            raise NotReconstructed(f"type behind {named}")
        return f"{{ ... on {typename} {_selection(sample, concrete, schema)} }}"
    parts = []
    for name, inner in sample.items():
        if name == "__typename":
            parts.append(name)
            continue
        spec = named.fields.get(name)
        if spec is None:
            raise NotReconstructed(f"field or alias {named}.{name}")
        if any(is_required_argument(one) for one in spec.args.values()):
            raise NotReconstructed(f"argument of {named}.{name} not recorded")
        page = "(first: 50)" if "first" in spec.args and str(get_named_type(spec.type)).endswith("Connection") else ""
        parts.append(f"{name}{page} {_selection(inner, spec.type, schema)}")
    return f"{{ {' '.join(parts)} }}"


def _merged(value: Json) -> dict[str, Json]:
    """All fields that the objects of a value have; nested ones keep a value that shows their shape."""
    if isinstance(value, list):
        result: dict[str, Json] = {}
        for entry in value:
            for name, inner in _merged(entry).items():
                if name not in result or result[name] in (None, [], {}):
                    result[name] = inner
        return result
    return dict(value) if isinstance(value, dict) else {}


def unaliased(document: str | None, data: Json) -> Json:
    """An answer's data under the fields' own names; where a field was asked for several times, what came is merged."""
    if document is None:
        return data
    parsed = parse(document, no_location=True)
    fragments = {node.name.value: node for node in parsed.definitions if isinstance(node, FragmentDefinitionNode)}
    operation = next(node for node in parsed.definitions if isinstance(node, OperationDefinitionNode))
    return _rename(operation.selection_set, data, fragments)


def _rename(selections: SelectionSetNode | None, value: Json, fragments: Mapping[str, FragmentDefinitionNode]) -> Json:
    if isinstance(value, list):
        return [_rename(selections, entry, fragments) for entry in value]
    if not isinstance(value, dict) or selections is None:
        return value
    result: dict[str, Json] = {}
    for node in selections.selections:
        if isinstance(node, FieldNode):
            alias = node.alias.value if node.alias else node.name.value
            if alias not in value:
                continue
            inner = _rename(node.selection_set, value[alias], fragments)
            _merge_in(result, node.name.value, inner, alias)
        elif isinstance(node, (FragmentSpreadNode, InlineFragmentNode)):
            other = fragments[node.name.value].selection_set if isinstance(node, FragmentSpreadNode) else node.selection_set
            for name, inner in _rename(other, value, fragments).items():
                _merge_in(result, name, inner, name)
    return result


def _merge_in(result: dict[str, Json], name: str, inner: Json, alias: str) -> None:
    old = result.get(name)
    if old is None:
        result[name] = inner
    elif isinstance(old, dict) and isinstance(inner, dict):
        for key, entry in inner.items():
            if isinstance(old.get(key), list) and isinstance(entry, list):
                old[key] = old[key] + entry
            elif key not in old or old[key] is None:
                old[key] = entry
        if alias != name:
            result.setdefault(f"_also:{name}:{alias}", inner)
    elif isinstance(old, list) and isinstance(inner, list):
        result[name] = old + inner


# -- comparing answers

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
NAME = re.compile(r"#D?\d+$")
VOLATILE = frozenset(
    {"cursor", "startCursor", "endCursor", "url", "resourceUrl", "partialDataUrl", "statusPageUrl", "compareDigest", "legacyResourceId"}
)
UPLOAD_FIELDS = frozenset({"key", "policy", "x-goog-date", "x-goog-credential", "x-goog-signature"})
JOB = re.compile(r"gid://shopify/Job/[0-9a-f-]{36}")


def shape(value: Json, key: str = "", *, with_locations: bool = True) -> Json:
    """What of an answer must agree: everything but ids, times, cursors, links, digests, order names."""
    if isinstance(value, dict):
        if set(value) == {"name", "value"} and value["name"] in UPLOAD_FIELDS:
            return {"name": value["name"], "value": "<volatile>"}
        return {
            name: shape(inner, name, with_locations=with_locations)
            for name, inner in value.items()
            if not (name == "locations" and not with_locations)
        }
    if isinstance(value, list):
        return [shape(inner, key, with_locations=with_locations) for inner in value]
    if key in VOLATILE:
        return None if value is None else f"<{key}>"
    if isinstance(value, str):
        if TIME.match(value) and key not in ("value", "jsonValue", "query"):
            return "<time>"
        if key in ("name", "orderName") and NAME.match(value):
            return "<order name>"
        text = GID.sub(r"gid://shopify/\1/…", JOB.sub("gid://shopify/Job/…", value))
        return re.sub(r"\bapp--\d+", "app--…", text)
    return value


def difference(expected: Json, actual: Json, path: str = "") -> str | None:
    """The first place where two shapes differ, in words; None where they do not."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in expected:
            if name not in actual:
                return f"{path}.{name}: missing"
            found = difference(expected[name], actual[name], f"{path}.{name}")
            if found:
                return found
        extra = [name for name in actual if name not in expected]
        return f"{path}.{extra[0]}: not in the recorded answer" if extra else None
    if isinstance(expected, list) and isinstance(actual, list):
        for index, (left, right) in enumerate(zip(expected, actual, strict=False)):
            found = difference(left, right, f"{path}[{index}]")
            if found:
                return found
        return None if len(expected) == len(actual) else f"{path}: {len(expected)} recorded, {len(actual)} answered"
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)) and not isinstance(expected, bool):
        return None if expected == actual else f"{path}: {expected!r} recorded, {actual!r} answered"
    return None if expected == actual else f"{path}: {_short(expected)} recorded, {_short(actual)} answered"


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}…"


def gids_in(value: Json) -> Iterator[str]:
    """Every gid in a value's texts."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from gids_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from gids_in(inner)
    elif isinstance(value, str):
        for match in GID.finditer(value):
            yield match.group()


def translated(value: Json, ids: Mapping[str, str]) -> Json:
    """A value with recorded ids replaced by the store's own."""
    if isinstance(value, dict):
        return {name: translated(inner, ids) for name, inner in value.items()}
    if isinstance(value, list):
        return [translated(inner, ids) for inner in value]
    if isinstance(value, str) and value in ids:
        return ids[value]
    if isinstance(value, str):
        return GID.sub(lambda match: ids.get(match.group(), match.group()), value)
    return value


def aligned(expected: Json, actual: Json, key: str = "") -> Iterator[tuple[str, str]]:
    """(recorded, the store's) wherever both answers have a gid of the same type, a cursor, a digest, an upload's key.

    In the order of the recorded answer, so that the same pair comes last in every process. Where two pages do not have the
    same number of rows, the first and last row of one are not those of the other: their cursors are no pair.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        unlike = any(len(nodes) != len(actual.get(name) or ()) for name, nodes in expected.items() if name in ("nodes", "edges") and nodes)
        for name in expected:
            if name in actual and not (unlike and name == "pageInfo"):
                yield from aligned(expected[name], actual[name], name)
    elif isinstance(expected, list) and isinstance(actual, list):
        for left, right in zip(expected, actual, strict=False):
            yield from aligned(left, right)
    elif isinstance(expected, str) and isinstance(actual, str):
        left_gid, right_gid = GID.fullmatch(expected), GID.fullmatch(actual)
        if (left_gid and right_gid and left_gid.group(1) == right_gid.group(1) and expected != actual) or (
            expected != actual
            and (
                key in ("cursor", "startCursor", "endCursor", "compareDigest")
                or (expected.startswith("tmp/") and actual.startswith("tmp/"))
            )
        ):
            yield expected, actual
