"""`segmentCreate`, `segmentUpdate`, `segmentDelete`."""

from __future__ import annotations

from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.mutations import segment_query
from commerce_assets.sandbox.mutations._shared import Rejected, found, mutation, new_gid, number_of, user_error

NAME_LIMIT = 255
QUERY_LIMIT = 5000
SEGMENT_LIMIT = 6000
FILTERABLE_TYPES = ("date", "date_time", "number_integer", "number_decimal", "single_line_text_field", "boolean")
DOES_NOT_EXIST = "Segment does not exist"


def known_metafields(ctx: Context) -> frozenset[str]:
    """`namespace.key` of definitions that segments can filter on."""
    definitions = ctx.store.iterate("MetafieldDefinition", "t.owner_type = ?", ("CUSTOMER",))
    return frozenset(f"{doc['namespace']}.{doc['key']}" for _, _, doc in definitions if _filterable(doc))


def _filterable(definition: Doc) -> bool:
    kind = definition["type"]["name"]
    return kind.removeprefix("list.") in FILTERABLE_TYPES


def _check(ctx: Context, wanted: dict[str, Any]) -> None:
    """Refuse a bad name or query; only when both are well-sized is the query's grammar judged."""
    errors = []
    name, query = wanted.get("name"), wanted.get("query")
    if name is not None:
        if not name.strip():
            errors.append(user_error(["name"], "Name can't be blank"))
        elif len(name) > NAME_LIMIT:
            errors.append(user_error(["name"], f"Name is too long (maximum is {NAME_LIMIT} characters)"))
    if query is not None:
        if not query.strip():
            errors.append(user_error(["query"], "Query can't be blank"))
        elif len(query) > QUERY_LIMIT:
            errors.append(user_error(["query"], f"Query is too long (maximum is {QUERY_LIMIT} characters)"))
    if not errors and query is not None:
        errors = [user_error(["query"], problem) for problem in segment_query.problems(query, known_metafields(ctx))]
    if errors:
        raise Rejected(errors, segment=None)


@mutation
def segment_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """A new segment."""
    _check(ctx, args)
    if ctx.store.count("Segment") >= SEGMENT_LIMIT:
        raise Rejected([user_error(None, f"Segment limit of {SEGMENT_LIMIT} reached. Delete a segment to create another.")], segment=None)
    now = ctx.now()
    segment = {
        "id": new_gid(ctx.store, "Segment"),
        "name": args["name"],
        "query": args["query"],
        "creationDate": now,
        "lastEditDate": now,
    }
    ctx.store.put("Segment", segment)
    return {"segment": segment}


@mutation
def segment_update(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Change name or query of a segment."""
    segment = found(ctx.store, "Segment", args["id"])
    if segment is None:
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], segment=None)
    wanted = {name: args[name] for name in ("name", "query") if args.get(name) is not None}
    _check(ctx, wanted)
    segment = {**segment, **wanted, "lastEditDate": ctx.now()}
    ctx.store.put("Segment", segment)
    return {"segment": segment}


@mutation
def segment_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Remove a segment."""
    if not ctx.store.delete("Segment", number_of(args["id"], "Segment"), ctx.now()):
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], deletedSegmentId=None)
    return {"deletedSegmentId": args["id"]}
