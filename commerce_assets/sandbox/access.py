"""Which access scope each part of the schema needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from commerce_assets.sandbox.connections import READ_ORDERS_DAYS
from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import Doc, instant, parse_gid

DOCUMENTATION = "https://shopify.dev/api/usage/access-scopes"
ALL_SCOPES = frozenset(
    {
        "read_all_orders",
        "read_customers",
        "write_customers",
        "read_fulfillments",
        "write_fulfillments",
        "read_inventory",
        "write_inventory",
        "read_locations",
        "read_orders",
        "write_orders",
        "read_products",
        "write_products",
    }
)
_AREAS = {
    "Order": "orders",
    "Refund": "orders",
    "Fulfillment": "orders",
    "OrderTransaction": "orders",
    "LineItem": "orders",
    "FulfillmentOrder": "orders",
    "Customer": "customers",
    "Segment": "customers",
    "Product": "products",
    "ProductVariant": "products",
    "InventoryItem": "inventory",
    "InventoryLevel": "inventory",
    "Location": "locations",
}
_ROOTS = {
    "read_orders": ("order", "orders", "ordersCount", "refund", "fulfillment", "fulfillmentOrder"),
    "read_customers": (
        "customer",
        "customers",
        "customersCount",
        "customerByIdentifier",
        "segment",
        "segments",
        "segmentsCount",
        "customerSegmentMembers",
    ),
    "read_products": (
        "product",
        "products",
        "productsCount",
        "productByIdentifier",
        "productVariant",
        "productVariants",
        "productVariantsCount",
    ),
    "read_inventory": ("inventoryItem", "inventoryItems", "inventoryLevel"),
    "read_locations": ("location", "locations", "locationsCount"),
    "write_customers": ("customerCreate", "customerUpdate", "customerDelete", "segmentCreate", "segmentUpdate", "segmentDelete"),
    "write_orders": ("orderCreate", "orderUpdate", "orderCancel", "orderDelete", "refundCreate"),
    "write_fulfillments": ("fulfillmentCreate",),
    "write_inventory": ("inventorySetQuantities", "inventoryAdjustQuantities"),
    "write_products": ("productSet", "productDelete"),
}
ROOT_SCOPES = {field: scope for scope, fields in _ROOTS.items() for field in fields}
NESTED_SCOPES = {
    ("Order", "customer"): "read_customers",
    ("Customer", "orders"): "read_orders",
    ("Customer", "lastOrder"): "read_orders",
    ("LineItem", "product"): "read_products",
    ("LineItem", "variant"): "read_products",
    ("ProductVariant", "inventoryItem"): "read_inventory",
    ("InventoryItem", "inventoryLevels"): "read_inventory",
    ("InventoryItem", "inventoryLevel"): "read_inventory",
    ("Location", "inventoryLevels"): "read_inventory",
    ("Location", "inventoryLevel"): "read_inventory",
    ("InventoryLevel", "location"): "read_locations",
}
# A scope that also opens what another one does.
_IMPLIED = {"read_inventory": ("read_products",), "read_locations": ("read_inventory", "read_products")}


def holds(scopes: Iterable[str], scope: str) -> bool:
    """Whether a set of scopes covers one: `write_x` includes `read_x`."""
    held = set(scopes)
    choices = {scope, *_IMPLIED.get(scope, ())}
    choices |= {f"write_{choice[5:]}" for choice in choices if choice.startswith("read_")}
    return bool(held & choices)


def denied(field: str, scope: str) -> RequestError:
    """The error for a field that the token may not use."""
    needed = f"`{scope}` access scope."
    return RequestError(
        f"Access denied for {field} field. Required access: {needed}",
        code="ACCESS_DENIED",
        documentation=DOCUMENTATION,
        requiredAccess=needed,
    )


def _written(references: Iterable[Any]) -> set[str]:
    scopes = set()
    for reference in references:
        try:
            area = _AREAS.get(parse_gid(str(reference))[0])
        except ValueError:
            continue
        if area:
            scopes.add(f"write_{area}")
    return scopes


def check_root(field: str, arguments: Mapping[str, Any], context: Context) -> None:
    """Raise where the token may not use a root field with these arguments."""
    needed = {ROOT_SCOPES[field]} if field in ROOT_SCOPES else set()
    if field in ("tagsAdd", "tagsRemove"):
        needed = _written([arguments.get("id")])
    elif field in ("metafieldsSet", "metafieldsDelete"):
        needed = _written(item.get("ownerId") for item in arguments.get("metafields") or ())
    elif field in ("node", "nodes"):
        references = arguments.get("ids") or [arguments.get("id")]
        needed = {f"read_{scope[6:]}" for scope in _written(references)}
    for scope in sorted(needed):
        if not holds(context.scopes, scope):
            raise denied(field, scope)


def check_nested(kind: str, field: str, context: Context) -> None:
    """Raise where the token may not use a field of an object."""
    scope = NESTED_SCOPES.get((kind, field))
    if scope is not None and not holds(context.scopes, scope):
        raise denied(field, scope)


def may_see_order(order: Doc, context: Context) -> bool:
    """`read_orders` alone shows the last 60 days."""
    if "read_all_orders" in context.scopes:
        return True
    return str(order.get("createdAt", "")) >= instant(context.clock() - timedelta(days=READ_ORDERS_DAYS))
