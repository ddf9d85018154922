"""The schema text made executable, and how fields are read from documents, for requests and bulk queries alike.

`schema.graphql` is the text of the schema; what older versions still had is in `schema_older.graphql`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    extend_schema,
    parse,
)

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, gid, gid_number, parse_gid
from commerce_assets.sandbox.resolvers import (
    ENUM_DEFAULTS,
    LOCAL,
    NULL_MONEY,
    REFERENCED,
    RESOLVERS,
    SCALAR_DEFAULTS,
    Resolver,
    Scope,
    Stored,
    expand_bag,
    expand_money,
    load,
    load_gid,
)
from commerce_assets.sandbox.store import TABLES

SUPPORTED_VERSIONS = ("2026-01", "2026-04", "2026-07", "2026-10")
FOLDER = Path(__file__).parent


# -- the schema itself


def _as_is(value: Any) -> Any:
    return value


@functools.cache
def load_schema(version: str = SUPPORTED_VERSIONS[-1]) -> GraphQLSchema:
    """The schema of an API version. Leaf values pass as they are stored, so that broken records can be served."""
    schema = build_schema((FOLDER / "schema.graphql").read_text(encoding="utf-8"))
    if version < "2026-04":
        schema = extend_schema(schema, parse((FOLDER / "schema_older.graphql").read_text(encoding="utf-8")))
    for kind in schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        if isinstance(kind, (GraphQLEnumType, GraphQLScalarType)):
            kind.serialize = _as_is  # type: ignore[method-assign]
        elif isinstance(kind, (GraphQLInterfaceType, GraphQLUnionType)):
            kind.resolve_type = type_of
    return schema


def served_version(asked: str) -> str:
    """The version that answers: the one asked for, or the oldest supported one where it is not supported (any more)."""
    return asked if asked in SUPPORTED_VERSIONS or asked == "unstable" else SUPPORTED_VERSIONS[0]


# -- reading fields


@dataclass(frozen=True, slots=True)
class Bound:
    """A document with its scope: what graphql-core hands from field to field."""

    doc: Any
    scope: Scope


def type_name(doc: Doc) -> str | None:
    """The type of a document that stands for an interface or union."""
    if "__typename" in doc:
        return str(doc["__typename"])
    reference = doc.get("id") or doc.get("owner") or ""
    try:
        return parse_gid(reference)[0]
    except ValueError:
        return None


def type_of(value: Any, _: GraphQLResolveInfo, __: Any) -> str | None:
    """graphql-core's type resolver for interfaces and unions."""
    return type_name(value.doc) if isinstance(value, Bound) else None


@functools.cache
def reader(kind: str, name: str, shape: str) -> Resolver:
    """How the field `name` of type `kind` (whose GraphQL type reads `shape`) is read from a document."""
    required = shape.endswith("!")
    bare = shape.strip("[]!")
    is_list = shape.startswith("[")
    resolver = RESOLVERS.get((kind, name))
    if resolver is None:
        plain, default = plain_default(kind, name, shape)
        if plain:
            resolver = lambda doc, _, __: doc.get(name, default)  # noqa: E731
        elif kind == "MoneyV2":
            resolver = lambda doc, _, scope: doc.get(name, scope.currency)  # noqa: E731
        else:
            resolver = lambda doc, _, __: doc[name] if name in doc else doc.get("createdAt")  # noqa: E731
    if is_list or bare not in ("MoneyBag", "MoneyV2"):
        return resolver
    unexpanded = resolver
    expand = expand_bag if bare == "MoneyBag" else expand_money
    zero = "0.0" if required or (bare == "MoneyBag" and name not in NULL_MONEY) else None

    def read_money(doc: Doc, arguments: Mapping[str, Any], scope: Scope) -> Any:
        value = unexpanded(doc, arguments, scope)
        if value is None and name not in doc:
            value = zero
        return expand(value, scope)

    return read_money


def plain_default(kind: str, name: str, shape: str) -> tuple[bool, Any]:
    """(whether a field is read by its name alone, what it is where it was left out)."""
    bare = shape.strip("[]!")
    required = shape.endswith("!")
    if (kind, name) == ("MoneyV2", "currencyCode") or (bare == "DateTime" and required and name != "createdAt"):
        return False, None
    if shape.startswith("[") or bare.endswith("Connection"):
        return True, ()
    if not required or name == "id":
        return True, None
    if bare in ("String", "HTML"):
        return True, ""
    return True, SCALAR_DEFAULTS.get(bare, ENUM_DEFAULTS.get(bare))


def dereference(kind: str, doc: Doc, scope: Scope) -> tuple[Doc, Scope] | None:
    """The document that `{"id": gid}` stands for; None where it does not exist (any more)."""
    found = scope.local(doc["id"]) if kind in LOCAL else None
    if found is not None:
        return found, scope
    loaded = load_gid(doc["id"], scope.context)
    return None if loaded is None else loaded[1:]


def is_deleted(doc: Doc, context: Context) -> bool:
    """Whether a reference points to something that was deleted."""
    deleted = context.cache.get("deletions")
    if deleted is None:
        rows = context.store.connection.execute("SELECT kind, id FROM deletions")
        deleted = context.cache["deletions"] = {gid(kind, number) for kind, number in rows}
    return doc["id"] in deleted


def bind(value: Any, kind: Any, scope: Scope, only_id: bool) -> Any:
    """A value of a composite type, with the scope that its fields are read in."""
    if value is None or isinstance(value, Bound):
        return value
    if isinstance(value, (list, tuple)):
        return [bind(item, kind, scope, only_id) for item in value]
    name = kind.name
    if isinstance(kind, (GraphQLInterfaceType, GraphQLUnionType)):
        name = type_name(value) or name
    if len(value) == 1 and "id" in value and (name in REFERENCED or name in LOCAL):
        if only_id:
            return None if is_deleted(value, scope.context) else Bound(value, scope)
        found = dereference(name, value, scope)
        return None if found is None else Bound(*found)
    table = TABLES.get(name)
    if table is not None and value is not scope.root and "id" in value:
        if table.parent is None:
            return Bound(value, Scope(scope.context, value))
        if not any(child is value for child in table.children(scope.root)):
            found = load(name, gid_number(value["id"]), scope.context)
            return Bound(*found) if found else Bound(value, scope)
    return Bound(value, scope)


def selects_only_id(nodes: Sequence[FieldNode]) -> bool:
    """Whether nothing but `id` (and `__typename`) is asked of an object."""
    return all(
        isinstance(selection, FieldNode) and selection.name.value in ("id", "__typename")
        for node in nodes
        if node.selection_set is not None
        for selection in node.selection_set.selections
    )


# -- connections at the root

CONNECTIONS = {
    "orders": "Order",
    "customers": "Customer",
    "products": "Product",
    "productVariants": "ProductVariant",
    "inventoryItems": "InventoryItem",
    "segments": "Segment",
    "bulkOperations": "BulkOperation",
}
# Arguments of `webhookSubscriptions` that choose among them, and the columns they choose by.
_SUBSCRIPTION_CHOICES = {"uri": "uri", "callbackUrl": "uri", "format": "format", "topics": "topic"}


def root_of_connection(name: str, arguments: Mapping[str, Any]) -> Stored | None:
    """What a root connection searches; None where `name` is none."""
    if name in CONNECTIONS:
        return Stored(CONNECTIONS[name])
    if name == "locations":
        return Stored("Location", "1" if arguments.get("includeInactive") else "t.is_active")
    if name == "metafieldDefinitions":
        return _definitions(arguments)
    if name == "webhookSubscriptions":
        return _subscriptions(arguments)
    return None


def _definitions(arguments: Mapping[str, Any]) -> Stored:
    conditions, values = ["t.owner_type = ?"], [arguments["ownerType"]]
    for name in ("namespace", "key"):
        if arguments.get(name) is not None:
            conditions.append(f"t.{name} = ?")
            values.append(arguments[name])
    pinned = arguments.get("pinnedStatus") or "ANY"
    if pinned != "ANY":
        conditions.append(f"json_extract(t.doc, '$.pinnedPosition') IS {'NOT ' if pinned == 'PINNED' else ''}NULL")
    return Stored("MetafieldDefinition", " AND ".join(conditions), tuple(values))


def _subscriptions(arguments: Mapping[str, Any]) -> Stored:
    conditions, values = ["1"], []
    for argument, column in _SUBSCRIPTION_CHOICES.items():
        wanted = arguments.get(argument)
        if wanted is not None:
            chosen = wanted if isinstance(wanted, list) else [wanted]
            conditions.append(f"t.{column} IN ({','.join('?' * len(chosen))})")
            values.extend(chosen)
    return Stored("WebhookSubscription", " AND ".join(conditions), tuple(values))
