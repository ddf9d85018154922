"""Pages of connections: cursors, sort keys, limits, page info.

A cursor is base64 of `{"last_id": …, "last_value": …}`, as the real store's are; times stand in it as epoch milliseconds.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import orjson

from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import Doc, instant
from commerce_assets.sandbox.search import PRODUCT_STOCK, VARIANT_STOCK, UnsupportedSearch, build

PAGE_LIMIT = 250
WINDOW_LIMIT = 25_000
READ_ORDERS_DAYS = 60
COUNT_LIMIT = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Sort key -> column (or SQL with parentheses); the first is the default. RELEVANCE has nothing to rank by here: ids.
SORT_KEYS: dict[str, dict[str, str]] = {
    "Order": {
        "PROCESSED_AT": "processed_at",
        "CREATED_AT": "created_at",
        "UPDATED_AT": "updated_at",
        "ID": "id",
        "RELEVANCE": "id",
        "ORDER_NUMBER": "(json_extract(t.doc, '$.number'))",
        "TOTAL_PRICE": "total",
        "CURRENT_TOTAL_PRICE": "current_total",
        "FINANCIAL_STATUS": "financial_status",
        "FULFILLMENT_STATUS": "fulfillment_status",
        "CUSTOMER_NAME": "(SELECT c.last_name FROM t_Customer c WHERE c.id = t.customer_id)",
        "DESTINATION": "(json_extract(t.doc, '$.shippingAddress.city'))",
        "PO_NUMBER": "(json_extract(t.doc, '$.poNumber'))",
        "TOTAL_ITEMS_QUANTITY": "(json_extract(t.doc, '$.subtotalLineItemsQuantity'))",
    },
    "Customer": {
        "ID": "id",
        "CREATED_AT": "created_at",
        "UPDATED_AT": "updated_at",
        "NAME": "last_name",
        "LOCATION": "country",
        "RELEVANCE": "id",
    },
    "Product": {
        "ID": "id",
        "CREATED_AT": "created_at",
        "UPDATED_AT": "updated_at",
        "PUBLISHED_AT": "published_at",
        "TITLE": "title",
        "VENDOR": "vendor",
        "PRODUCT_TYPE": "product_type",
        "INVENTORY_TOTAL": PRODUCT_STOCK,
        "RELEVANCE": "id",
    },
    "ProductVariant": {
        "ID": "id",
        "TITLE": "title",
        "NAME": "title",
        "FULL_TITLE": "title",
        "POSITION": "position",
        "SKU": "sku",
        "INVENTORY_QUANTITY": VARIANT_STOCK,
        "INVENTORY_LEVELS_AVAILABLE": VARIANT_STOCK,
        "RELEVANCE": "id",
    },
    "InventoryItem": {"ID": "id"},
    "Location": {"NAME": "name", "ID": "id", "RELEVANCE": "id"},
    "Segment": {"CREATION_DATE": "created_at", "LAST_EDIT_DATE": "updated_at", "ID": "id", "RELEVANCE": "id"},
    "MetafieldDefinition": {
        "ID": "id",
        "NAME": "name",
        "PINNED_POSITION": "(json_extract(t.doc, '$.pinnedPosition'))",
        "RELEVANCE": "id",
    },
    "BulkOperation": {"CREATED_AT": "created_at", "COMPLETED_AT": "completed_at"},
    "WebhookSubscription": {"CREATED_AT": "created_at", "ID": "id"},
}
# Bulk operations come newest first, and `reverse: true` turns that round.
DESCENDING = frozenset({"BulkOperation"})


def encode_cursor(number: int, value: Any) -> str:
    """The cursor of an object whose sort value is `value`."""
    if value is None:
        shown: Any = None
    elif isinstance(value, str):
        shown = _milliseconds(value)
    else:
        shown = value
    return base64.b64encode(orjson.dumps({"last_id": number, "last_value": shown})).decode()


def _milliseconds(value: str) -> Any:
    if len(value) == 20 and value[10:11] == "T" and value.endswith("Z"):
        try:
            return round((datetime.fromisoformat(value) - _EPOCH).total_seconds() * 1000)
        except ValueError:
            return value
    return value


def decode_cursor(cursor: str, sort: str) -> tuple[Any, int]:
    """(sort value, number) of a cursor; `RequestError` where it is none."""
    try:
        content = orjson.loads(base64.b64decode(cursor, validate=True))
        number, value = content["last_id"], content.get("last_value")
        if not isinstance(number, int) or isinstance(value, (dict, list)):
            raise ValueError(cursor)
        if sort.endswith("_at") and isinstance(value, int):
            value = instant(_EPOCH + timedelta(milliseconds=value))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, binascii.Error):
        raise RequestError("Malformed cursor", code="BAD_REQUEST") from None
    return value, number


def page_size(arguments: Mapping[str, Any]) -> tuple[int, bool]:
    """(size, from the end?) of a page; `RequestError` as the real store words it."""
    first, last = arguments.get("first"), arguments.get("last")
    if first is None and last is None:
        raise RequestError("you must provide one of first or last", code="BAD_REQUEST")
    if first is not None and last is not None:
        raise RequestError("providing both first and last is not supported", code="BAD_REQUEST")
    name, size = ("first", first) if first is not None else ("last", last)
    if size is None or size < 0:
        raise RequestError(f"{name} must be zero or greater", code="BAD_REQUEST")
    if size > PAGE_LIMIT:
        raise RequestError(f"{name} cannot exceed {PAGE_LIMIT}", code="BAD_REQUEST", argumentName=name)
    return size, first is None


def connection(rows: Sequence[tuple[str, Doc]], has_next: bool, has_previous: bool) -> Doc:
    """A connection of (cursor, node) rows."""
    return {
        "edges": [{"cursor": cursor, "node": node} for cursor, node in rows],
        "nodes": [node for _, node in rows],
        "pageInfo": {
            "hasNextPage": has_next,
            "hasPreviousPage": has_previous,
            "startCursor": rows[0][0] if rows else None,
            "endCursor": rows[-1][0] if rows else None,
        },
    }


def list_connection(nodes: Sequence[Doc], arguments: Mapping[str, Any]) -> Doc:
    """A page of the children of one object, which stand in a list; their cursors are positions."""
    size, from_end = page_size(arguments)
    indexed = list(enumerate(nodes, start=1))
    if arguments.get("reverse"):
        indexed.reverse()
    order = [number for number, _ in indexed]
    start, stop = 0, len(indexed)
    if (after := arguments.get("after")) is not None:
        number = decode_cursor(after, "id")[1]
        start = order.index(number) + 1 if number in order else len(indexed)
    if (before := arguments.get("before")) is not None:
        number = decode_cursor(before, "id")[1]
        stop = order.index(number) if number in order else len(indexed)
    window = indexed[start:stop]
    page = window[max(0, len(window) - size) :] if from_end else window[:size]
    positions = [order.index(number) for number, _ in page[:1] + page[-1:]]
    rows = [(encode_cursor(number, str(number)), node) for number, node in page]
    has_previous = bool(positions and positions[0] > 0) or bool(not positions and start > 0)
    has_next = bool(positions and positions[-1] < len(indexed) - 1)
    return connection(rows, has_next, has_previous)


def scope_filter(context: Context, kind: str) -> tuple[str, list[Any]]:
    """What the token may see of a type: orders of the last 60 days without `read_all_orders`."""
    if kind == "Order" and "read_all_orders" not in context.scopes:
        return "t.created_at >= ?", [instant(context.clock() - timedelta(days=READ_ORDERS_DAYS))]
    return "1", []


def searched(
    context: Context, kind: str, arguments: Mapping[str, Any], path: list[Any], where: str = "1", values: Sequence[Any] = ()
) -> Any:
    """(SQL, parameters) of a root connection's `query:`; its warnings go to the context."""
    text = arguments.get("query")
    try:
        search = build(kind, text, context.shop.get("ianaTimezone", "UTC"))
    except UnsupportedSearch as error:
        raise RequestError(str(error), code="SANDBOX_UNSUPPORTED") from None
    warning = search.extension(path, text or "")
    if warning is not None:
        context.warnings.append(warning)
    visible, bounds = scope_filter(context, kind)
    return f"({search.where}) AND ({visible}) AND ({where})", [*search.parameters, *bounds, *values]


def sort_column(kind: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
    """(column, descending?) of a root connection."""
    keys = SORT_KEYS[kind]
    key = arguments.get("sortKey") or next(iter(keys))
    if key not in keys:
        raise RequestError(f"the sandbox store cannot sort {kind} by {key}", code="SANDBOX_UNSUPPORTED")
    return keys[key], bool(arguments.get("reverse")) != (kind in DESCENDING)


def root_connection(
    context: Context, kind: str, arguments: Mapping[str, Any], path: list[Any], where: str = "1", values: Sequence[Any] = ()
) -> Doc:
    """A page of all objects of a type: searched, sorted, between cursors."""
    size, from_end = page_size(arguments)
    condition, parameters = searched(context, kind, arguments, path, where, values)
    sort, descending = sort_column(kind, arguments)
    lower = decode_cursor(after, sort) if (after := arguments.get("after")) is not None else None
    upper = decode_cursor(before, sort) if (before := arguments.get("before")) is not None else None
    start, end = (upper, lower) if from_end else (lower, upper)
    walk_descending = descending != from_end
    found = context.store.iterate(kind, condition, parameters, sort=sort, reverse=walk_descending, after=start, limit=size + 1)
    rows = [(value, number, doc) for value, number, doc in islice(found, size + 1)]
    if end is not None:
        rows = [row for row in rows if _is_before(row[0], row[1], end, sort == "id", walk_descending)]
    more = len(rows) > size
    rows = rows[:size]
    if from_end:
        rows.reverse()
    page = [(encode_cursor(number, str(number) if sort == "id" else value), doc) for value, number, doc in rows]
    beyond = start is not None
    return connection(page, beyond if from_end else more, more if from_end else beyond)


def _is_before(value: Any, number: int, end: tuple[Any, int], by_id: bool, descending: bool) -> bool:
    def rank(pair: tuple[Any, int]) -> tuple[Any, ...]:
        if by_id or pair[0] is None:
            return (not by_id and pair[0] is not None, "", pair[1])
        return (True, pair[0].casefold() if isinstance(pair[0], str) else pair[0], pair[1])

    here, there = rank((value, number)), rank(end)
    return here > there if descending else here < there


def count_of(
    context: Context, kind: str, arguments: Mapping[str, Any], path: list[Any], where: str = "1", values: Sequence[Any] = ()
) -> Doc:
    """A `Count`: exact up to `limit` (10,000 unless told), else AT_LEAST."""
    condition, parameters = searched(context, kind, arguments, path, where, values)
    limit = arguments.get("limit", COUNT_LIMIT)
    counted = context.store.count(kind, condition, parameters, None if limit is None else limit + 1)
    if limit is not None and counted > limit:
        return {"count": limit, "precision": "AT_LEAST"}
    return {"count": counted, "precision": "EXACT"}
