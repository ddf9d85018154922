"""One request's document parsed, validated, paid for and executed against the store."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    execute,
    get_named_type,
    is_leaf_type,
    parse,
)
from graphql.execution.values import get_argument_values, get_directive_values

from commerce_assets.sandbox import access, bulk
from commerce_assets.sandbox.connections import count_of, list_connection, root_connection
from commerce_assets.sandbox.context import Context, RequestError, report
from commerce_assets.sandbox.cost import MAXIMUM_QUERY_COST, Bucket, CostModel
from commerce_assets.sandbox.documents import Doc, gid, gid_number, parse_gid
from commerce_assets.sandbox.mutations import MUTATIONS
from commerce_assets.sandbox.reading import (
    SUPPORTED_VERSIONS,
    Bound,
    bind,
    load_schema,
    reader,
    root_of_connection,
    selects_only_id,
    served_version,
    type_of,
)
from commerce_assets.sandbox.resolvers import Scope, Stored, load_gid
from commerce_assets.sandbox.segment_members import members
from commerce_assets.sandbox.validation import coerce_variables, error, location, oversized_input, syntax_error, validate_document

__all__ = ["answer", "load_schema", "resolve_field", "served_version"]

RATE_LIMITS_PAGE = "https://shopify.dev/api/usage/rate-limits"
COST_MESSAGE = (
    "Query cost is {cost}, which exceeds the single query max cost limit ({limit}).\n\n"
    "See https://shopify.dev/concepts/about-apis/rate-limits for more information on how the\ncost of a query is calculated.\n\n"
    "To query larger amounts of data with fewer limits, bulk operations should be used instead.\n"
    "See https://shopify.dev/api/usage/bulk-operations/queries for usage details.\n"
)


def resolve_field(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    """graphql-core's field resolver for every field."""
    context: Context = info.context
    parent, name = info.parent_type, info.field_name
    kind = get_named_type(info.return_type)
    if source is None:
        access.check_root(name, arguments, context)
        scope = Scope(context)
        value = _mutate(name, arguments, info) if parent.name == "Mutation" else _query(name, arguments, context)
    else:
        scope = source.scope
        access.check_nested(parent.name, name, context)
        value = reader(parent.name, name, str(info.return_type))(source.doc, arguments, scope)
    if is_leaf_type(kind) or value is None:
        return list(value) if isinstance(value, tuple) else value
    if kind.name.endswith("Connection"):
        if isinstance(value, Bound):
            return value
        if isinstance(value, Stored):
            return Bound(root_connection(context, value.kind, arguments, info.path.as_list(), value.where, value.values), scope)
        return Bound(list_connection(value, arguments), scope)
    return bind(value, kind, scope, selects_only_id(info.field_nodes))


# -- roots of queries and mutations

COUNTS = {
    "ordersCount": "Order",
    "customersCount": "Customer",
    "productsCount": "Product",
    "productVariantsCount": "ProductVariant",
    "locationsCount": "Location",
    "segmentsCount": "Segment",
    "webhookSubscriptionsCount": "WebhookSubscription",
}
OBJECTS = {
    "order": "Order",
    "customer": "Customer",
    "product": "Product",
    "productVariant": "ProductVariant",
    "inventoryItem": "InventoryItem",
    "inventoryLevel": "InventoryLevel",
    "refund": "Refund",
    "fulfillment": "Fulfillment",
    "fulfillmentOrder": "FulfillmentOrder",
    "segment": "Segment",
    "bulkOperation": "BulkOperation",
    "webhookSubscription": "WebhookSubscription",
}


def _visible(kind: str, doc: Doc, scope: Scope) -> bool:
    order = scope.root if "lineItems" in scope.root else doc if kind == "Order" else None
    return order is None or access.may_see_order(order, scope.context)


def _object(reference: str, context: Context, kind: str | None = None) -> Bound | None:
    try:
        given = parse_gid(reference)[0]
    except ValueError:
        raise RequestError(f"Invalid global id '{reference}'", code="argumentLiteralsIncompatible") from None
    if kind is not None and given != kind:
        raise RequestError(f"Invalid id: {reference}", code="RESOURCE_NOT_FOUND")
    found = load_gid(reference, context)
    if found is None or not _visible(*found):
        return None
    return Bound(found[1], found[2])


def _query(name: str, arguments: Mapping[str, Any], context: Context) -> Any:
    stored = root_of_connection(name, arguments)
    if stored is not None:
        return stored
    if name in COUNTS:
        return Bound(count_of(context, COUNTS[name], arguments, [name]), Scope(context))
    if name in OBJECTS:
        found = _object(arguments["id"], context, OBJECTS[name])
        if found is None and name == "segment":
            raise RequestError("Segment does not exist", code="NOT_FOUND")
        return found
    special = {
        "shop": lambda: Bound(context.shop, Scope(context, context.shop)),
        "node": lambda: _object(arguments["id"], context),
        "nodes": lambda: [_object(reference, context) for reference in arguments["ids"]],
        "location": lambda: _location(arguments.get("id"), context),
        "customerSegmentMembers": lambda: Bound(members(arguments, context), Scope(context)),
        "customerByIdentifier": lambda: _customer_by(arguments["identifier"], context),
        "productByIdentifier": lambda: _product_by(arguments["identifier"], context),
        "metafieldDefinition": lambda: _definition_by(arguments, context),
        "currentBulkOperation": lambda: _first("BulkOperation", "t.operation_type = ?", (arguments["type"],), context, newest=True),
        "currentAppInstallation": lambda: Bound(
            {"id": gid("AppInstallation", gid_number(context.app_id)), "app": {"id": context.app_id, "title": "Sandbox client"}},
            Scope(context),
        ),
    }
    return special[name]()


def _first(kind: str, where: str, values: Sequence[Any], context: Context, newest: bool = False) -> Bound | None:
    for _value, _number, doc in context.store.iterate(kind, where, values, reverse=newest, limit=1):
        return Bound(doc, Scope(context, doc))
    return None


def _location(reference: str | None, context: Context) -> Bound | None:
    return _first("Location", "t.is_active", (), context) if reference is None else _object(reference, context, "Location")


def _customer_by(identifier: Mapping[str, Any], context: Context) -> Bound | None:
    if identifier.get("id"):
        return _object(identifier["id"], context, "Customer")
    for argument, column in (("emailAddress", "email"), ("phoneNumber", "phone")):
        if identifier.get(argument):
            return _first("Customer", f"t.{column} = ?", (identifier[argument],), context)
    return _by_metafield("Customer", identifier, context)


def _product_by(identifier: Mapping[str, Any], context: Context) -> Bound | None:
    if identifier.get("id"):
        return _object(identifier["id"], context, "Product")
    if identifier.get("handle"):
        return _first("Product", "t.handle = ?", (identifier["handle"],), context)
    return _by_metafield("Product", identifier, context)


def _by_metafield(kind: str, identifier: Mapping[str, Any], context: Context) -> Bound | None:
    wanted = identifier.get("customId")
    if not wanted:
        return None
    where = "t.id IN (SELECT owner_id FROM metafields WHERE owner_kind = ? AND namespace = ? AND key = ? AND value = ?)"
    return _first(kind, where, (kind, wanted.get("namespace", "custom"), wanted["key"], wanted["value"]), context)


def _definition_by(arguments: Mapping[str, Any], context: Context) -> Bound | None:
    if arguments.get("id"):
        return _object(arguments["id"], context, "MetafieldDefinition")
    wanted = arguments.get("identifier")
    if not wanted:
        return None
    where, values = "t.owner_type = ? AND t.namespace = ? AND t.key = ?", (wanted["ownerType"], wanted.get("namespace"), wanted["key"])
    return _first("MetafieldDefinition", where, values, context)


def _mutate(name: str, arguments: dict[str, Any], info: GraphQLResolveInfo) -> Any:
    context: Context = info.context
    directive = info.schema.get_directive("idempotent")
    given = get_directive_values(directive, info.field_nodes[0], info.variable_values) if directive else None
    context.idempotency_key = given["key"] if given else None
    if name == "bulkOperationRunQuery" and not any(node.name.value == "groupObjects" for node in info.field_nodes[0].arguments):
        arguments = {key: value for key, value in arguments.items() if key != "groupObjects"}
    run = bulk.MUTATIONS.get(name) or MUTATIONS.get(name)
    if run is None:
        raise RequestError(f"{name} is not served by the sandbox store", code="SANDBOX_UNSUPPORTED")
    payload = run(context, arguments)
    context.cache.clear()
    return Bound(payload, Scope(context))


# -- one request


@functools.lru_cache(maxsize=512)
def _prepared(text: str, version: str) -> tuple[DocumentNode | None, tuple[dict[str, Any], ...]]:
    """The parsed document and what is wrong with it."""
    try:
        document = parse(text)
    except GraphQLError as problem:
        return None, (syntax_error(problem),)
    return document, tuple(validate_document(load_schema(version), document))


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name:
        operations = [node for node in operations if node.name and node.name.value == name]
    return operations[0] if len(operations) == 1 else None


def answer(
    context: Context, text: Any, variables: Mapping[str, Any] | None = None, operation_name: str | None = None, bucket: Bucket | None = None
) -> dict[str, Any]:
    """The response body for a GraphQL request; its cost is taken from `bucket`."""
    if not isinstance(text, str) or not text.strip():
        return {"errors": [{"message": "No query string was present"}]}
    version = context.api_version if context.api_version in SUPPORTED_VERSIONS else SUPPORTED_VERSIONS[-1]
    schema = load_schema(version)
    document, problems = _prepared(text, version)
    if document is None or problems:
        return {"errors": list(problems)}
    operation = _operation(document, operation_name or None)
    if operation is None:
        return {
            "errors": [{"message": "An operation name is required" if not operation_name else f'No operation named "{operation_name}"'}]
        }
    values, problems_of_variables = coerce_variables(schema, operation, variables or {})
    if problems_of_variables:
        return {"errors": problems_of_variables}
    model = CostModel(schema)
    requested = model.requested(document, operation, values)
    refusal = _refusal(schema, document, operation, values, requested)
    if refusal is not None:
        return _priced({"errors": [refusal]}, requested, None, bucket)
    if bucket is not None and not bucket.take(requested):
        throttled = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": RATE_LIMITS_PAGE}}
        return _priced({"errors": [throttled]}, requested, None, bucket)
    try:
        result = execute(schema, document, None, context, dict(variables or {}), operation_name or None, resolve_field, type_of)
    except BaseException:
        if bucket is not None:
            bucket.give_back(requested)
        raise
    if not isinstance(result, ExecutionResult):
        raise TypeError("resolvers here are synchronous")
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [_formatted(problem) for problem in result.errors]
    body["data"] = result.data
    actual = min(requested, model.actual(document, operation, values, result.data))
    if bucket is not None:
        bucket.give_back(requested - actual)
    return _priced(body, requested, actual, bucket, context.warnings)


def _refusal(
    schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode, values: Mapping[str, Any], requested: int
) -> dict[str, Any] | None:
    """Why a valid operation is not executed at all: an input array too long, a query too expensive."""
    root = schema.get_root_type(operation.operation)
    for node in _root_fields(document, operation.selection_set):
        definition = root.fields.get(node.name.value) if root else None
        if definition is None:
            continue
        for name, value in get_argument_values(definition, node, dict(values)).items():
            found = oversized_input(value, [node.alias.value if node.alias else node.name.value, name])
            if found is not None:
                message = f"The input array size of {found[0]} is greater than the maximum allowed of 250."
                return error(message, node, found[1], code="MAX_INPUT_SIZE_EXCEEDED")
    if requested > MAXIMUM_QUERY_COST:
        message = COST_MESSAGE.format(cost=requested, limit=MAXIMUM_QUERY_COST)
        more = {"code": "MAX_COST_EXCEEDED", "cost": requested, "maxCost": MAXIMUM_QUERY_COST, "documentation": RATE_LIMITS_PAGE}
        return {"message": message, "extensions": more}
    return None


def _root_fields(document: DocumentNode, selections: Any) -> Iterator[FieldNode]:
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, FragmentSpreadNode):
            if selection.name.value in fragments:
                yield from _root_fields(document, fragments[selection.name.value].selection_set)
        else:
            yield from _root_fields(document, selection.selection_set)


def _formatted(problem: GraphQLError) -> dict[str, Any]:
    doc: dict[str, Any] = {"message": problem.message, "locations": location(problem.nodes[0]) if problem.nodes else []}
    original = problem.original_error
    if isinstance(original, RequestError):
        doc["extensions"] = original.extensions
    elif original is not None and not isinstance(original, GraphQLError):
        doc["message"] = f"Internal error. {type(original).__name__} in the sandbox store."
        doc["extensions"] = {"code": "INTERNAL_SERVER_ERROR"}
        report(original)
    if problem.path is not None:
        doc["path"] = problem.path
    return doc


def _priced(
    body: dict[str, Any], requested: int, actual: int | None, bucket: Bucket | None, warnings: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    extensions: dict[str, Any] = {"cost": {"requestedQueryCost": requested, "actualQueryCost": actual}}
    if bucket is not None:
        extensions["cost"]["throttleStatus"] = bucket.status()
    if warnings:
        extensions["search"] = list(warnings)
    body["extensions"] = extensions
    return body
