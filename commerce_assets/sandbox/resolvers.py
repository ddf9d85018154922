"""How each field is read from the documents: the exceptions to "the field stands in the document under its name".

A resolver gets the document, the field's arguments and the `Scope` (request, and the top document that the one at hand lives
in). Connections resolve to a list of documents, or to `Stored` (a search over the store) where there may be many; who asks
cuts pages (schema.py) or streams everything (bulk.py). Money, references and defaults are handled for all types alike at the end.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import (
    INVENTORY_NAMES,
    Doc,
    InventoryLevel,
    gid,
    gid_number,
    inventory_level_gid,
    money,
    parse_gid,
    price,
)
from commerce_assets.sandbox.store import TABLES

Arguments = Mapping[str, Any]
MISSING: Any = object()


@dataclass(frozen=True)
class Stored:
    """A connection whose nodes are searched in the store."""

    kind: str
    where: str = "1"
    values: tuple[Any, ...] = ()


class Scope:
    """Where a document stands: the request, and the top document it lives in."""

    __slots__ = ("_index", "context", "root")

    def __init__(self, context: Context, root: Doc | None = None) -> None:
        """`root` is the order of a line item, the product of a variant, …"""
        self.context = context
        self.root = root if root is not None else {}
        self._index: dict[str, Doc] | None = None

    @property
    def currency(self) -> str:
        """The shop's currency, as the document at hand says."""
        return self.root.get("currencyCode") or self.context.shop["currencyCode"]

    def local(self, reference: str) -> Doc | None:
        """A nested document of the same top document, by gid."""
        if self._index is None:
            lists = ("lineItems", "transactions", "addressesV2", "refunds", "fulfillments")
            self._index = {child["id"]: child for name in lists for child in self.root.get(name) or () if "id" in child}
        return self._index.get(reference)


Resolver = Callable[[Doc, Arguments, Scope], Any]
RESOLVERS: dict[tuple[str, str], Resolver] = {}
# Types whose documents are loaded by reference, and those found inside the same top document first.
REFERENCED = frozenset(
    {"Order", "Customer", "Product", "ProductVariant", "InventoryItem", "Location", "Segment", "BulkOperation", "MetafieldDefinition"}
    | {"WebhookSubscription"}
)
LOCAL = frozenset({"LineItem", "OrderTransaction", "MailingAddress", "Refund", "Fulfillment"})


def resolves(kind: str, *names: str) -> Callable[[Resolver], Resolver]:
    """Register a resolver for fields of a type."""

    def register(function: Resolver) -> Resolver:
        for name in names:
            RESOLVERS[kind, name] = function
        return function

    return register


# -- loading


def load(kind: str, number: int, context: Context) -> tuple[Doc, Scope] | None:
    """A document and its scope; kept for the rest of the request."""
    key = (kind, number)
    if key in context.cache:
        found: tuple[Doc, Scope] | None = context.cache[key]
        return found
    table = TABLES.get(kind)
    loaded: tuple[Doc, Scope] | None = None
    if table is not None and table.parent is not None:
        parent_number = context.store.parent_id(kind, number)
        parent = load(table.parent, parent_number, context) if parent_number is not None else None
        if parent is not None:
            for child in table.children(parent[0]):
                if child.get("id") == gid(kind, number):
                    loaded = child, parent[1]
    elif kind == "InventoryLevel":
        raise ValueError("levels are loaded by gid")
    else:
        doc = context.store.get(kind, number)
        loaded = None if doc is None else (doc, Scope(context, doc))
    if len(context.cache) > 4096:
        context.cache.clear()
    context.cache[key] = loaded
    return loaded


def load_gid(reference: str, context: Context) -> tuple[str, Doc, Scope] | None:
    """(type, document, scope) of any gid; None where there is no such object."""
    try:
        kind, number = parse_gid(reference)
    except ValueError:
        return None
    if kind == "InventoryLevel":
        match = re.fullmatch(r"gid://shopify/InventoryLevel/(\d+)\?inventory_item_id=(\d+)", reference)
        level = context.store.level(int(match[2]), int(match[1])) if match else None
        return (kind, level_doc(level), Scope(context)) if level else None
    if kind == "Metafield":
        metafield = context.store.metafield_by_id(number)
        return (kind, dict(metafield), Scope(context)) if metafield else None
    if kind == "FulfillmentOrder":
        order = load("Order", number, context)
        return (kind, fulfillment_orders(order[0])[0], order[1]) if order and order[0].get("lineItems") else None
    if kind == "Shop":
        return (kind, context.shop, Scope(context, context.shop)) if context.shop.get("id") == reference else None
    if kind == "MailingAddress":
        return None
    found = load(kind, number, context)
    return None if found is None else (kind, *found)


# -- money


def expand_money(value: Any, scope: Scope) -> Any:
    """MoneyV2 of an amount (an object is taken as it is)."""
    if value is None or isinstance(value, dict):
        if isinstance(value, dict) and "currencyCode" not in value:
            return {**value, "currencyCode": scope.currency}
        return value
    return {"amount": value, "currencyCode": scope.currency}


def expand_bag(value: Any, scope: Scope) -> Any:
    """MoneyBag of an amount (an object is taken as it is, its amounts expanded)."""
    if value is None:
        return None
    root = scope.root
    shop: Any
    if isinstance(value, dict):
        shop = expand_money(value.get("shopMoney"), scope)
        presentment = value.get("presentmentMoney")
        if presentment is None:
            presentment = _presented(shop.get("amount") if isinstance(shop, dict) else None, root, scope)
        elif not isinstance(presentment, dict):
            presentment = {"amount": presentment, "currencyCode": root.get("presentmentCurrencyCode") or scope.currency}
        return {"shopMoney": shop, "presentmentMoney": presentment}
    return {"shopMoney": {"amount": value, "currencyCode": scope.currency}, "presentmentMoney": _presented(value, root, scope)}


def _presented(amount: Any, root: Doc, scope: Scope) -> Doc:
    rate = root.get("presentmentRate")
    currency = root.get("presentmentCurrencyCode") or scope.currency
    if rate is not None:
        with suppress(InvalidOperation, TypeError, ValueError):
            amount = money((Decimal(str(amount)) * Decimal(str(rate))).quantize(Decimal("0.01")))
    return {"amount": amount, "currencyCode": currency}


def decimal_of(value: Any) -> Decimal:
    """The shop amount of a money field; zero where there is none."""
    if isinstance(value, dict):
        value = value.get("shopMoney", value)
        value = value.get("amount") if isinstance(value, dict) else value
    with suppress(InvalidOperation, TypeError, ValueError):
        return Decimal(str(value)) if value is not None else Decimal(0)
    return Decimal(0)


def _scalar_of(name: str) -> Resolver:
    return lambda doc, _, scope: price(decimal_of(read(doc, name, scope)))


def _bag_as_money(name: str) -> Resolver:
    return lambda doc, _, __: money(decimal_of(doc.get(name)))


def read(doc: Doc, name: str, scope: Scope) -> Any:
    """A stored value, or what the order's resolver computes for it."""
    if name in doc:
        return doc[name]
    resolver = RESOLVERS.get(("Order", name)) if doc is scope.root and "lineItems" in doc else None
    return resolver(doc, {}, scope) if resolver else None


# -- every type


def _number_text(doc: Doc, _: Arguments, __: Scope) -> str:
    return str(gid_number(doc["id"]))


def _prefix(name: str) -> Resolver:
    """A plain list, cut at `first`."""

    def resolve(doc: Doc, arguments: Arguments, _: Scope) -> Any:
        values = doc.get(name) or []
        first = arguments.get("first")
        return values if first is None else values[: max(first, 0)]

    return resolve


def _children(name: str) -> Resolver:
    return lambda doc, _, __: doc.get(name) or []


def _else(name: str, other: str) -> Resolver:
    """The field, or another one where it was left out."""
    return lambda doc, _, __: doc[name] if name in doc else doc.get(other)


for _kind in (
    "Order",
    "Customer",
    "Product",
    "ProductVariant",
    "InventoryItem",
    "Location",
    "Refund",
    "Fulfillment",
    "Metafield",
    "WebhookSubscription",
):
    RESOLVERS[_kind, "legacyResourceId"] = _number_text

# What is given a metafield by (namespace, key) or listed: everything that HasMetafields.
METAFIELD_OWNERS = ("Order", "Customer", "Product", "ProductVariant", "Location", "Shop")


def app_namespace(namespace: str | None, context: Context) -> str:
    """`$app` and its sub-namespaces stand for the app's reserved ones."""
    app = f"app--{gid_number(context.app_id)}"
    if namespace is None or namespace == "$app":
        return app
    return f"{app}--{namespace[5:]}" if namespace.startswith("$app:") else namespace


def _metafield(doc: Doc, arguments: Arguments, scope: Scope) -> Any:
    namespace, key = arguments.get("namespace"), arguments["key"]
    if namespace is None and "." in key:
        namespace, _, key = key.partition(".")
    found = scope.context.store.metafield(doc["id"], app_namespace(namespace, scope.context), key)
    return None if found is None else dict(found)


def _metafields(doc: Doc, arguments: Arguments, scope: Scope) -> list[Doc]:
    namespace, keys = arguments.get("namespace"), arguments.get("keys")
    if namespace is not None:
        namespace = app_namespace(namespace, scope.context)
    try:
        found = scope.context.store.metafields(doc["id"], namespace)
    except ValueError:
        return []
    if keys is not None:
        wanted = {key if "." in key else f"{namespace}.{key}" for key in keys}
        found = [metafield for metafield in found if f"{metafield['namespace']}.{metafield['key']}" in wanted]
    return [dict(metafield) for metafield in found]


for _kind in METAFIELD_OWNERS:
    RESOLVERS[_kind, "metafield"] = _metafield
    RESOLVERS[_kind, "metafields"] = _metafields


@resolves("Metafield", "jsonValue")
def _json_value(doc: Doc, _: Arguments, __: Scope) -> Any:
    kind, value = doc["type"], doc["value"]
    if kind in ("single_line_text_field", "multi_line_text_field", "url", "color", "date", "date_time", "id") or kind.endswith(
        "_reference"
    ):
        return value if not kind.startswith("list.") else orjson.loads(value)
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(value)
    return value


@resolves("Metafield", "sizeInBytes")
def _size(doc: Doc, _: Arguments, __: Scope) -> int:
    return len(doc["value"].encode())


@resolves("Metafield", "owner")
def _owner(doc: Doc, _: Arguments, __: Scope) -> Any:
    return {"id": doc["owner"]}


@resolves("Metafield", "definition")
def _definition(doc: Doc, _: Arguments, scope: Scope) -> Any:
    where = "t.owner_type = ? AND t.namespace = ? AND t.key = ?"
    values = (doc["ownerType"], doc["namespace"], doc["key"])
    for _value, _number, found in scope.context.store.iterate("MetafieldDefinition", where, values, limit=1):
        return found
    return None


@resolves("MetafieldDefinition", "metafieldsCount")
def _metafields_count(doc: Doc, _: Arguments, scope: Scope) -> int:
    return len(_defined(doc, scope))


@resolves("MetafieldDefinition", "metafields")
def _definition_metafields(doc: Doc, _: Arguments, scope: Scope) -> list[Doc]:
    return _defined(doc, scope)


def _defined(doc: Doc, scope: Scope) -> list[Doc]:
    store = scope.context.store
    rows = store.connection.execute(
        "SELECT id, owner_kind FROM metafields WHERE namespace = ? AND key = ? ORDER BY id", (doc["namespace"], doc["key"])
    ).fetchall()
    found = [store.metafield_by_id(number) for number, _ in rows]
    return [dict(metafield) for metafield in found if metafield is not None and metafield["ownerType"] == doc["ownerType"]]


def _count_of(name: str) -> Resolver:
    return lambda doc, _, __: {"count": len(doc.get(name) or ()), "precision": "EXACT"}


# -- orders

for _name in ("refunds", "fulfillments", "taxLines"):
    RESOLVERS["Order", _name] = _prefix(_name)
RESOLVERS["LineItem", "taxLines"] = _prefix("taxLines")
RESOLVERS["Fulfillment", "trackingInfo"] = _prefix("trackingInfo")
RESOLVERS["Order", "fulfillmentsCount"] = _count_of("fulfillments")
RESOLVERS["Order", "transactionsCount"] = _count_of("transactions")
for _name, _source in {
    "currentSubtotalPriceSet": "subtotalPriceSet",
    "currentTotalTaxSet": "totalTaxSet",
    "currentTotalDiscountsSet": "totalDiscountsSet",
    "currentShippingPriceSet": "totalShippingPriceSet",
    "originalTotalPriceSet": "totalPriceSet",
    "currentTotalPriceSet": "totalPriceSet",
    "presentmentCurrencyCode": "currencyCode",
    "processedAt": "createdAt",
    "updatedAt": "createdAt",
}.items():
    RESOLVERS["Order", _name] = _else(_name, _source)
for _name in ("totalPrice", "subtotalPrice", "totalTax", "totalDiscounts", "totalRefunded", "totalReceived", "totalShippingPrice"):
    RESOLVERS["Order", _name] = _scalar_of(f"{_name}Set")


@resolves("Order", "transactions")
def _transactions(doc: Doc, arguments: Arguments, _: Scope) -> list[Doc]:
    found = doc.get("transactions") or []
    if arguments.get("capturable") is not None:
        settled = {(child.get("parentTransaction") or {}).get("id") for child in found if child.get("kind") in ("CAPTURE", "VOID")}
        found = [
            child
            for child in found
            if (child.get("kind") == "AUTHORIZATION" and child.get("status") == "SUCCESS" and child["id"] not in settled)
            == arguments["capturable"]
        ]
    first = arguments.get("first")
    return found if first is None else found[: max(first, 0)]


@resolves("Order", "closed")
def _closed(doc: Doc, _: Arguments, __: Scope) -> bool:
    return bool(doc.get("closedAt"))


@resolves("Order", "number")
def _order_number(doc: Doc, _: Arguments, __: Scope) -> Any:
    if "number" in doc:
        return doc["number"]
    digits = re.search(r"\d+", str(doc.get("name", "")))
    return int(digits[0]) if digits else 0


@resolves("Order", "discountCodes")
def _discount_codes(doc: Doc, _: Arguments, __: Scope) -> list[str]:
    return [found["code"] for found in doc.get("discountApplications") or () if found.get("code")]


@resolves("Order", "discountCode")
def _discount_code(doc: Doc, arguments: Arguments, scope: Scope) -> str | None:
    codes = _discount_codes(doc, arguments, scope)
    return codes[0] if codes else None


@resolves("Order", "netPaymentSet")
def _net_payment(doc: Doc, _: Arguments, __: Scope) -> str:
    return money(decimal_of(doc.get("totalReceivedSet")) - decimal_of(doc.get("totalRefundedSet")))


@resolves("Order", "totalOutstandingSet")
def _outstanding(doc: Doc, _: Arguments, scope: Scope) -> str:
    if "totalOutstandingSet" in doc:
        return doc["totalOutstandingSet"]
    if doc.get("cancelledAt"):
        return "0.0"
    owed = decimal_of(_else("currentTotalPriceSet", "totalPriceSet")(doc, {}, scope))
    return money(max(Decimal(0), owed - (decimal_of(doc.get("totalReceivedSet")) - decimal_of(doc.get("totalRefundedSet")))))


@resolves("Order", "totalCapturableSet")
def _capturable_amount(doc: Doc, _: Arguments, scope: Scope) -> str:
    return money(sum((decimal_of(child.get("amountSet")) for child in _transactions(doc, {"capturable": True}, scope)), Decimal(0)))


@resolves("Order", "capturable")
def _capturable(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return bool(_transactions(doc, {"capturable": True}, scope))


@resolves("Order", "fullyPaid")
def _fully_paid(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return decimal_of(_outstanding(doc, {}, scope)) == 0


@resolves("Order", "unpaid")
def _unpaid(doc: Doc, _: Arguments, __: Scope) -> bool:
    return decimal_of(doc.get("totalReceivedSet")) == 0 and decimal_of(doc.get("totalPriceSet")) > 0


@resolves("Order", "canMarkAsPaid")
def _can_mark_as_paid(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return not doc.get("cancelledAt") and not _fully_paid(doc, {}, scope)


@resolves("Order", "canNotifyCustomer")
def _can_notify(doc: Doc, _: Arguments, __: Scope) -> bool:
    return bool(doc.get("email") or doc.get("phone"))


@resolves("Order", "merchantEditable")
def _editable(doc: Doc, _: Arguments, __: Scope) -> bool:
    return not doc.get("cancelledAt") and doc.get("displayFulfillmentStatus") != "FULFILLED"


@resolves("Order", "refundable")
def _refundable(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return decimal_of(_net_payment(doc, {}, scope)) > 0


@resolves("Order", "restockable")
def _restockable(doc: Doc, _: Arguments, __: Scope) -> bool:
    return any(line.get("currentQuantity", line.get("quantity", 0)) for line in doc.get("lineItems") or ())


@resolves("Order", "fulfillable")
def _fulfillable(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return not doc.get("cancelledAt") and any(unfulfilled(line, scope) > 0 for line in doc.get("lineItems") or ())


@resolves("Order", "requiresShipping")
def _requires_shipping(doc: Doc, _: Arguments, __: Scope) -> bool:
    return any(line.get("requiresShipping") for line in doc.get("lineItems") or ())


@resolves("Order", "currentSubtotalLineItemsQuantity")
def _current_quantity(doc: Doc, _: Arguments, __: Scope) -> int:
    return sum(line.get("currentQuantity", line.get("quantity", 0)) for line in doc.get("lineItems") or ())


@resolves("Order", "paymentGatewayNames")
def _gateways(doc: Doc, _: Arguments, __: Scope) -> list[str]:
    return list(dict.fromkeys(child["gateway"] for child in doc.get("transactions") or () if child.get("gateway")))


@resolves("Order", "billingAddressMatchesShippingAddress")
def _addresses_match(doc: Doc, _: Arguments, __: Scope) -> bool:
    ours = [{key: value for key, value in (doc.get(name) or {}).items() if key != "id"} for name in ("billingAddress", "shippingAddress")]
    return bool(ours[0]) and ours[0] == ours[1]


@resolves("Order", "returnStatus")
def _return_status(doc: Doc, _: Arguments, __: Scope) -> str:
    if "returnStatus" in doc:
        return doc["returnStatus"]
    returned = any(
        line.get("restockType") == "RETURN" for refund in doc.get("refunds") or () for line in refund.get("refundLineItems") or ()
    )
    return "RETURNED" if returned else "NO_RETURN"


@resolves("Order", "statusPageUrl")
def _status_page(doc: Doc, _: Arguments, scope: Scope) -> str:
    shop = scope.context.shop
    return f"https://{shop['myshopifyDomain']}/{gid_number(shop['id'])}/orders/{gid_number(doc['id'])}"


@resolves("Order", "merchantBusinessEntity")
def _business_entity(_: Doc, __: Arguments, scope: Scope) -> Doc:
    shop = scope.context.shop
    return {
        "id": gid("BusinessEntity", gid_number(shop["id"])),
        "companyName": shop["name"],
        "displayName": shop["name"],
        "primary": True,
        "address": {"countryCode": shop.get("countryCode", "GB")},
    }


@resolves("Order", "totalCashRoundingAdjustment")
def _cash_rounding(_: Doc, __: Arguments, ___: Scope) -> Doc:
    return {"paymentSet": "0.0", "refundSet": "0.0"}


@resolves("Order", "shippingLine")
def _shipping_line(doc: Doc, _: Arguments, __: Scope) -> Any:
    lines = doc.get("shippingLines") or [None]
    return lines[0]


@resolves("Order", "fulfillmentOrders")
def _fulfillment_orders(doc: Doc, _: Arguments, __: Scope) -> list[Doc]:
    return fulfillment_orders(doc)


def fulfillment_orders(order: Doc) -> list[Doc]:
    """The order's fulfillment order: one, with the order's number as its own, its lines numbered as the line items are."""
    lines = [line for line in order.get("lineItems") or () if "id" in line]
    if not lines:
        return []
    scope = Scope.__new__(Scope)
    scope.root, scope._index = order, None
    rows = [
        {
            "id": gid("FulfillmentOrderLineItem", gid_number(line["id"])),
            "lineItem": {"id": line["id"]},
            "totalQuantity": line.get("currentQuantity", line.get("quantity", 0)),
            "remainingQuantity": unfulfilled(line, scope),
            "sku": line.get("sku"),
            "productTitle": line.get("title", ""),
            "variantTitle": line.get("variantTitle"),
            "requiresShipping": bool(line.get("requiresShipping")),
        }
        for line in lines
    ]
    open_quantity = sum(row["remainingQuantity"] for row in rows)
    started = any(row["remainingQuantity"] < row["totalQuantity"] for row in rows)
    status = "CANCELLED" if order.get("cancelledAt") else "CLOSED" if not open_quantity else "IN_PROGRESS" if started else "OPEN"
    location = next(
        (found["location"] for found in order.get("fulfillments") or () if found.get("location")), order.get("_assignedLocation")
    )
    return [
        {
            "id": gid("FulfillmentOrder", gid_number(order["id"])),
            "status": status,
            "requestStatus": "CLOSED" if status in ("CLOSED", "CANCELLED") else "UNSUBMITTED",
            "createdAt": order["createdAt"],
            "updatedAt": order.get("updatedAt", order["createdAt"]),
            "order": {"id": order["id"]},
            "orderId": order["id"],
            "orderName": order.get("name", ""),
            "orderProcessedAt": order.get("processedAt", order["createdAt"]),
            "assignedLocation": {"location": location},
            "lineItems": rows,
        }
    ]


@resolves("FulfillmentOrderAssignedLocation", "location")
def _assigned_location(doc: Doc, _: Arguments, scope: Scope) -> Any:
    if doc.get("location"):
        return doc["location"]
    for _value, _number, found in scope.context.store.iterate("Location", "t.is_active", limit=1):
        return found
    return None


@resolves("FulfillmentOrderAssignedLocation", "name")
def _assigned_name(doc: Doc, _: Arguments, scope: Scope) -> str:
    place = _assigned_location(doc, {}, scope)
    if place and "name" not in place:
        found = load_gid(place["id"], scope.context)
        place = found[1] if found else None
    return place["name"] if place else ""


@resolves("FulfillmentOrderLineItem", "inventoryItemId")
def _fulfillment_item(doc: Doc, _: Arguments, scope: Scope) -> Any:
    line = scope.local(doc["lineItem"]["id"]) or {}
    variant = line.get("variant")
    found = load_gid(variant["id"], scope.context) if variant else None
    return found[1]["inventoryItem"]["id"] if found else None


# -- line items


def unfulfilled(line: Doc, scope: Scope) -> int:
    """Units still to be shipped: what is left of the line, less what went out."""
    if "unfulfilledQuantity" in line:
        return int(line["unfulfilledQuantity"])
    shipped = sum(
        row.get("quantity") or 0
        for shipment in scope.root.get("fulfillments") or ()
        if shipment.get("status") not in ("CANCELLED", "ERROR", "FAILURE")
        for row in shipment.get("fulfillmentLineItems") or ()
        if (row.get("lineItem") or {}).get("id") == line.get("id")
    )
    quantity = line.get("currentQuantity", line.get("quantity", 0))
    return max(0, quantity - shipped) if isinstance(quantity, int) else 0


def _discounts(line: Doc) -> Decimal:
    return sum((decimal_of(found.get("allocatedAmountSet")) for found in line.get("discountAllocations") or ()), Decimal(0))


RESOLVERS["LineItem", "currentQuantity"] = _else("currentQuantity", "quantity")
RESOLVERS["LineItem", "originalTotal"] = _scalar_of("originalTotalSet")
RESOLVERS["LineItem", "originalUnitPrice"] = _scalar_of("originalUnitPriceSet")


@resolves("LineItem", "unfulfilledQuantity", "fulfillableQuantity")
def _unfulfilled(doc: Doc, _: Arguments, scope: Scope) -> int:
    return unfulfilled(doc, scope)


@resolves("LineItem", "fulfillmentStatus")
def _line_status(doc: Doc, _: Arguments, scope: Scope) -> str:
    left, quantity = unfulfilled(doc, scope), doc.get("quantity", 0)
    return "fulfilled" if left == 0 else "unfulfilled" if left == quantity else "partial"


@resolves("LineItem", "refundableQuantity")
def _refundable_quantity(doc: Doc, _: Arguments, __: Scope) -> Any:
    return doc.get("currentQuantity", doc.get("quantity", 0))


@resolves("LineItem", "name")
def _line_name(doc: Doc, _: Arguments, __: Scope) -> str:
    if "name" in doc:
        return doc["name"]
    variant = doc.get("variantTitle")
    return f"{doc.get('title', '')} - {variant}" if variant else str(doc.get("title", ""))


@resolves("LineItem", "originalTotalSet")
def _line_total(doc: Doc, _: Arguments, __: Scope) -> Any:
    if "originalTotalSet" in doc:
        return doc["originalTotalSet"]
    return money(decimal_of(doc.get("originalUnitPriceSet")) * int(doc.get("quantity", 0)))


@resolves("LineItem", "totalDiscountSet")
def _line_discount(doc: Doc, _: Arguments, __: Scope) -> str:
    return money(_discounts(doc))


@resolves("LineItem", "discountedTotalSet")
def _line_discounted(doc: Doc, arguments: Arguments, scope: Scope) -> str:
    applications = scope.root.get("discountApplications") or []
    with_codes = arguments.get("withCodeDiscounts", False)
    total = Decimal(0)
    for found in doc.get("discountAllocations") or ():
        index = (found.get("discountApplication") or {}).get("index")
        by_code = any(item.get("index") == index and item.get("code") for item in applications)
        if with_codes or not by_code:
            total += decimal_of(found.get("allocatedAmountSet"))
    return money(decimal_of(_line_total(doc, {}, scope)) - total)


@resolves("LineItem", "discountedUnitPriceSet")
def _line_unit(doc: Doc, _: Arguments, scope: Scope) -> str:
    quantity = doc.get("quantity", 0) or 1
    return money((decimal_of(_line_discounted(doc, {}, scope)) / quantity).quantize(Decimal("0.01")))


@resolves("LineItem", "unfulfilledOriginalTotalSet")
def _unfulfilled_total(doc: Doc, _: Arguments, scope: Scope) -> str:
    return money(decimal_of(doc.get("originalUnitPriceSet")) * unfulfilled(doc, scope))


@resolves("LineItem", "unfulfilledDiscountedTotalSet")
def _unfulfilled_discounted(doc: Doc, _: Arguments, scope: Scope) -> str:
    share = Decimal(unfulfilled(doc, scope)) / (doc.get("quantity", 0) or 1)
    return money((decimal_of(_line_discounted(doc, {}, scope)) * share).quantize(Decimal("0.01")))


@resolves("DiscountAllocation", "discountApplication")
def _application(doc: Doc, _: Arguments, scope: Scope) -> Any:
    reference = doc.get("discountApplication") or {}
    for found in scope.root.get("discountApplications") or ():
        if found.get("index") == reference.get("index"):
            return found
    return {"__typename": "ManualDiscountApplication", **reference}


@resolves("TaxLine", "ratePercentage")
def _rate_percentage(doc: Doc, _: Arguments, __: Scope) -> Any:
    rate = doc.get("rate")
    return round(rate * 100, 6) if isinstance(rate, (int, float)) else None


RESOLVERS["TaxLine", "price"] = _scalar_of("priceSet")
for _name in ("originalPrice", "discountedPrice"):
    RESOLVERS["ShippingLine", _name] = _bag_as_money(f"{_name}Set")
RESOLVERS["ShippingLine", "price"] = _scalar_of("originalPriceSet")
RESOLVERS["ShippingLine", "discountedPriceSet"] = _else("discountedPriceSet", "originalPriceSet")
RESOLVERS["ShippingLine", "currentDiscountedPriceSet"] = RESOLVERS["ShippingLine", "discountedPriceSet"]


# -- refunds, fulfillments, transactions


@resolves("Refund", "order")
@resolves("Fulfillment", "order")
@resolves("OrderTransaction", "order")
def _order(doc: Doc, _: Arguments, scope: Scope) -> Any:
    return doc.get("order") or ({"id": scope.root["id"]} if "id" in scope.root else None)


RESOLVERS["Refund", "totalRefunded"] = _bag_as_money("totalRefundedSet")
RESOLVERS["Refund", "processedAt"] = _else("processedAt", "createdAt")
RESOLVERS["Refund", "updatedAt"] = _else("updatedAt", "createdAt")
RESOLVERS["Fulfillment", "updatedAt"] = _else("updatedAt", "createdAt")
RESOLVERS["RefundLineItem", "price"] = _scalar_of("priceSet")
RESOLVERS["RefundLineItem", "subtotal"] = _scalar_of("subtotalSet")
RESOLVERS["RefundLineItem", "totalTax"] = _scalar_of("totalTaxSet")
RESOLVERS["OrderTransaction", "amount"] = _scalar_of("amountSet")
RESOLVERS["OrderTransaction", "amountV2"] = _bag_as_money("amountSet")


@resolves("OrderTransaction", "formattedGateway")
def _gateway(doc: Doc, _: Arguments, __: Scope) -> Any:
    name = doc.get("gateway")
    return name.replace("_", " ").title() if isinstance(name, str) else None


@resolves("Fulfillment", "requiresShipping")
def _shipment_ships(doc: Doc, _: Arguments, __: Scope) -> bool:
    return bool(doc.get("requiresShipping", True))


@resolves("Fulfillment", "totalQuantity")
def _shipment_quantity(doc: Doc, _: Arguments, __: Scope) -> Any:
    if "totalQuantity" in doc:
        return doc["totalQuantity"]
    return sum(row.get("quantity") or 0 for row in doc.get("fulfillmentLineItems") or ())


def _shipped_amount(discounted: bool) -> Resolver:
    def resolve(doc: Doc, _: Arguments, scope: Scope) -> str:
        line = scope.local((doc.get("lineItem") or {}).get("id", "")) or {}
        total = decimal_of(_line_discounted(line, {}, scope) if discounted else _line_total(line, {}, scope))
        share = Decimal(doc.get("quantity") or 0) / (line.get("quantity") or 1)
        return money((total * share).quantize(Decimal("0.01")))

    return resolve


RESOLVERS["FulfillmentLineItem", "originalTotalSet"] = _shipped_amount(discounted=False)
RESOLVERS["FulfillmentLineItem", "discountedTotalSet"] = _shipped_amount(discounted=True)


# -- customers and addresses


@resolves("Customer", "displayName")
def _display_name(doc: Doc, _: Arguments, __: Scope) -> str:
    if "displayName" in doc:
        return doc["displayName"]
    name = " ".join(part for part in (doc.get("firstName"), doc.get("lastName")) if part)
    contact = (doc.get("defaultEmailAddress") or {}).get("emailAddress") or (doc.get("defaultPhoneNumber") or {}).get("phoneNumber")
    return name or contact or ""


RESOLVERS["CustomerSegmentMember", "displayName"] = _display_name


def _figures(doc: Doc, scope: Scope) -> tuple[int, Decimal, int | None]:
    return scope.context.store.customer_figures(gid_number(doc["id"]))


@resolves("Customer", "numberOfOrders")
def _number_of_orders(doc: Doc, _: Arguments, scope: Scope) -> str:
    return str(_figures(doc, scope)[0])


@resolves("Customer", "amountSpent")
def _amount_spent(doc: Doc, _: Arguments, scope: Scope) -> str:
    return money(_figures(doc, scope)[1])


@resolves("Customer", "lastOrder")
def _last_order(doc: Doc, _: Arguments, scope: Scope) -> Any:
    number = _figures(doc, scope)[2]
    return None if number is None else {"id": gid("Order", number)}


@resolves("Customer", "canDelete")
def _can_delete(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return _figures(doc, scope)[2] is None


@resolves("Customer", "orders")
def _customer_orders(doc: Doc, _: Arguments, __: Scope) -> Stored:
    return Stored("Order", "t.customer_id = ?", (gid_number(doc["id"]),))


@resolves("Customer", "email")
def _email(doc: Doc, _: Arguments, __: Scope) -> Any:
    return (doc.get("defaultEmailAddress") or {}).get("emailAddress")


@resolves("Customer", "phone")
def _phone(doc: Doc, _: Arguments, __: Scope) -> Any:
    return (doc.get("defaultPhoneNumber") or {}).get("phoneNumber")


@resolves("Customer", "validEmailAddress")
def _valid_email(doc: Doc, arguments: Arguments, scope: Scope) -> bool:
    return bool(re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(_email(doc, arguments, scope) or "")))


@resolves("Customer", "addresses")
def _addresses(doc: Doc, arguments: Arguments, _: Scope) -> Any:
    return _prefix("addressesV2")(doc, arguments, _)


@resolves("Customer", "emailMarketingConsent")
def _email_consent(doc: Doc, _: Arguments, __: Scope) -> Any:
    address = doc.get("defaultEmailAddress")
    if not address:
        return None
    return {
        "marketingState": address.get("marketingState", "NOT_SUBSCRIBED"),
        "marketingOptInLevel": address.get("marketingOptInLevel"),
        "consentUpdatedAt": address.get("marketingUpdatedAt"),
    }


@resolves("Customer", "smsMarketingConsent")
def _sms_state(doc: Doc, _: Arguments, __: Scope) -> Any:
    number = doc.get("defaultPhoneNumber")
    if not number:
        return None
    consent = number.get("smsMarketingConsent") or {}
    return {
        "marketingState": consent.get("state", "NOT_SUBSCRIBED"),
        "marketingOptInLevel": consent.get("optInLevel") or "UNKNOWN",
        "consentUpdatedAt": consent.get("updatedAt"),
        "consentCollectedFrom": consent.get("collectedFrom"),
    }


@resolves("CustomerPhoneNumber", "smsMarketingConsent")
def _sms_consent(doc: Doc, _: Arguments, __: Scope) -> Doc:
    return doc.get("smsMarketingConsent") or {"state": "NOT_SUBSCRIBED"}


for _name, _source in {"State": "state", "OptInLevel": "optInLevel", "UpdatedAt": "updatedAt", "CollectedFrom": "collectedFrom"}.items():
    RESOLVERS["CustomerPhoneNumber", f"marketing{_name}"] = lambda doc, _, scope, _source=_source: _sms_consent(doc, _, scope).get(_source)  # type: ignore[misc]


@resolves("CustomerEmailAddress", "validFormat")
def _valid_format(doc: Doc, _: Arguments, __: Scope) -> bool:
    return bool(re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(doc.get("emailAddress") or "")))


@resolves("Customer", "lifetimeDuration")
def _lifetime(doc: Doc, _: Arguments, scope: Scope) -> str:
    days = (scope.context.clock() - datetime.fromisoformat(doc["createdAt"])).days
    for length, name in ((365, "year"), (30, "month"), (1, "day")):
        if days >= length:
            count = days // length
            return f"{'about ' if length > 1 else ''}{count} {name}{'s' if count > 1 else ''}"
    return "less than a day"


@resolves("MailingAddress", "name")
def _address_name(doc: Doc, _: Arguments, __: Scope) -> str | None:
    return doc.get("name") or " ".join(part for part in (doc.get("firstName"), doc.get("lastName")) if part) or None


@resolves("MailingAddress", "countryCode")
def _address_country(doc: Doc, _: Arguments, __: Scope) -> Any:
    return doc.get("countryCode", doc.get("countryCodeV2"))


@resolves("MailingAddress", "id")
def _address_id(doc: Doc, _: Arguments, scope: Scope) -> Any:
    if "id" in doc or "id" not in scope.root:
        return doc.get("id")
    return gid("MailingAddress", gid_number(scope.root["id"]))


@resolves("MailingAddress", "formattedArea")
def _area(doc: Doc, _: Arguments, __: Scope) -> str | None:
    parts = (doc.get("city"), doc.get("province") or doc.get("provinceCode"), doc.get("country") or doc.get("countryCodeV2"))
    return ", ".join(str(part) for part in parts if part) or None


@resolves("MailingAddress", "formatted")
def _formatted(doc: Doc, arguments: Arguments, scope: Scope) -> list[str]:
    parts = [_address_name(doc, {}, scope)] if arguments.get("withName") else []
    parts += [doc.get("company")] if arguments.get("withCompany", True) else []
    place = " ".join(str(part) for part in (doc.get("city"), doc.get("provinceCode"), doc.get("zip")) if part)
    parts += [doc.get("address1"), doc.get("address2"), place, doc.get("country") or doc.get("countryCodeV2")]
    return [str(part) for part in parts if part]


@resolves("LocationAddress", "formatted")
def _location_formatted(doc: Doc, _: Arguments, __: Scope) -> list[str]:
    place = " ".join(str(part) for part in (doc.get("city"), doc.get("provinceCode"), doc.get("zip")) if part)
    return [str(part) for part in (doc.get("address1"), doc.get("address2"), place, doc.get("country") or doc.get("countryCode")) if part]


# -- catalogue


def _variants(doc: Doc) -> list[Doc]:
    return doc.get("variants") or []


def _stock(variants: Iterable[Doc], scope: Scope) -> int:
    items = [gid_number(variant["inventoryItem"]["id"]) for variant in variants if variant.get("inventoryItem", {}).get("tracked")]
    return scope.context.store.available(items)


@resolves("Product", "totalInventory")
def _total_inventory(doc: Doc, _: Arguments, scope: Scope) -> int:
    return _stock(_variants(doc), scope)


@resolves("Product", "tracksInventory")
def _tracks(doc: Doc, _: Arguments, __: Scope) -> bool:
    return any(variant.get("inventoryItem", {}).get("tracked") for variant in _variants(doc))


@resolves("Product", "hasOnlyDefaultVariant")
def _only_default(doc: Doc, _: Arguments, __: Scope) -> bool:
    return len(_variants(doc)) == 1 and _variants(doc)[0].get("title") == "Default Title"


@resolves("Product", "hasOutOfStockVariants")
def _out_of_stock(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return any(variant.get("inventoryItem", {}).get("tracked") and _stock([variant], scope) <= 0 for variant in _variants(doc))


@resolves("Product", "totalVariants")
def _total_variants(doc: Doc, _: Arguments, __: Scope) -> int:
    return len(_variants(doc))


RESOLVERS["Product", "variantsCount"] = _count_of("variants")
RESOLVERS["Product", "mediaCount"] = _count_of("media")
RESOLVERS["Product", "options"] = _prefix("options")


@resolves("Product", "variants")
def _sorted_variants(doc: Doc, arguments: Arguments, _: Scope) -> list[Doc]:
    keys: dict[str, Callable[[Doc], Any]] = {
        "TITLE": lambda variant: str(variant.get("title") or ""),
        "SKU": lambda variant: str(variant.get("sku") or ""),
        "ID": lambda variant: gid_number(variant["id"]),
    }
    key = keys.get(arguments.get("sortKey") or "POSITION")
    return sorted(_variants(doc), key=key) if key else _variants(doc)


@resolves("Product", "bodyHtml")
def _body(doc: Doc, _: Arguments, __: Scope) -> Any:
    return doc.get("descriptionHtml", "")


@resolves("Product", "description")
def _description(doc: Doc, arguments: Arguments, __: Scope) -> str:
    text = html.unescape(re.sub(r"<[^>]+>", "", doc.get("descriptionHtml") or ""))
    cut = arguments.get("truncateAt")
    return text if cut is None or len(text) <= cut else text[: max(0, cut - 3)] + "..."


@resolves("Product", "featuredMedia")
def _featured(doc: Doc, _: Arguments, __: Scope) -> Any:
    media = doc.get("media") or [None]
    return media[0]


@resolves("Product", "priceRangeV2")
def _price_range(doc: Doc, _: Arguments, __: Scope) -> Doc:
    prices = [Decimal(str(variant["price"])) for variant in _variants(doc) if variant.get("price") is not None] or [Decimal(0)]
    return {"minVariantPrice": money(min(prices)), "maxVariantPrice": money(max(prices))}


@resolves("Product", "compareAtPriceRange")
def _compare_range(doc: Doc, _: Arguments, __: Scope) -> Any:
    prices = [Decimal(str(variant["compareAtPrice"])) for variant in _variants(doc) if variant.get("compareAtPrice") is not None]
    return {"minVariantCompareAtPrice": money(min(prices)), "maxVariantCompareAtPrice": money(max(prices))} if prices else None


@resolves("ProductOption", "optionValues")
def _option_values(doc: Doc, _: Arguments, scope: Scope) -> list[Doc]:
    used = {
        option.get("value")
        for variant in _variants(scope.root)
        for option in variant.get("selectedOptions") or ()
        if option.get("name") == doc.get("name")
    }
    return [
        value
        if isinstance(value, dict)
        else {"id": gid("ProductOptionValue", gid_number(doc["id"]) + at), "name": value, "hasVariants": value in used}
        for at, value in enumerate(doc.get("optionValues") or doc.get("values") or ())
    ]


@resolves("ProductVariant", "product")
def _product(doc: Doc, _: Arguments, scope: Scope) -> Any:
    return doc.get("product") or {"id": scope.root["id"]}


@resolves("ProductVariant", "inventoryQuantity", "sellableOnlineQuantity")
def _variant_stock(doc: Doc, _: Arguments, scope: Scope) -> int:
    return _stock([doc], scope)


@resolves("ProductVariant", "availableForSale")
def _for_sale(doc: Doc, _: Arguments, scope: Scope) -> bool:
    tracked = doc.get("inventoryItem", {}).get("tracked")
    return not tracked or doc.get("inventoryPolicy") == "CONTINUE" or _stock([doc], scope) > 0


@resolves("ProductVariant", "displayName")
def _variant_name(doc: Doc, _: Arguments, scope: Scope) -> str:
    return f"{scope.root.get('title', '')} - {doc.get('title', '')}"


def _variant_of(doc: Doc, scope: Scope) -> Doc | None:
    for variant in _variants(scope.root):
        if (variant.get("inventoryItem") or {}).get("id") == doc["id"]:
            return variant
    return None


@resolves("InventoryItem", "variant")
def _variant(doc: Doc, _: Arguments, scope: Scope) -> Any:
    return _variant_of(doc, scope)


@resolves("InventoryItem", "variants")
def _item_variants(doc: Doc, _: Arguments, scope: Scope) -> list[Doc]:
    variant = _variant_of(doc, scope)
    return [variant] if variant else []


@resolves("InventoryItem", "sku")
def _item_sku(doc: Doc, _: Arguments, scope: Scope) -> Any:
    return doc["sku"] if "sku" in doc else (_variant_of(doc, scope) or {}).get("sku")


@resolves("InventoryItem", "duplicateSkuCount")
def _duplicates(doc: Doc, arguments: Arguments, scope: Scope) -> int:
    sku = _item_sku(doc, arguments, scope)
    return max(0, scope.context.store.count("ProductVariant", "t.sku = ?", (sku,)) - 1) if sku else 0


@resolves("InventoryItem", "measurement")
def _measurement(doc: Doc, _: Arguments, __: Scope) -> Doc:
    return {"id": gid("InventoryItemMeasurement", gid_number(doc["id"])), **(doc.get("measurement") or {})}


# -- inventory levels


def level_doc(level: InventoryLevel) -> Doc:
    """A level as a document."""
    return {
        "id": inventory_level_gid(level["itemId"], level["locationId"]),
        "isActive": level["isActive"],
        "createdAt": level["createdAt"],
        "updatedAt": level["updatedAt"],
        "item": {"id": gid("InventoryItem", level["itemId"])},
        "location": {"id": gid("Location", level["locationId"])},
        "_quantities": level["quantities"],
        "_times": level.get("quantityUpdatedAt") or {},
    }


@resolves("InventoryItem", "inventoryLevels")
def _levels(doc: Doc, arguments: Arguments, scope: Scope) -> list[Doc]:
    levels = scope.context.store.levels(gid_number(doc["id"]))
    return [level_doc(level) for level in levels if level["isActive"] or arguments.get("includeInactive")]


@resolves("InventoryItem", "locationsCount")
def _locations_count(doc: Doc, arguments: Arguments, scope: Scope) -> Doc:
    return {"count": len(_levels(doc, arguments, scope)), "precision": "EXACT"}


@resolves("InventoryItem", "inventoryLevel")
def _item_level(doc: Doc, arguments: Arguments, scope: Scope) -> Any:
    level = scope.context.store.level(gid_number(doc["id"]), _number(arguments["locationId"]))
    return level_doc(level) if level and (level["isActive"] or arguments.get("includeInactive")) else None


@resolves("Location", "inventoryLevel")
def _location_level(doc: Doc, arguments: Arguments, scope: Scope) -> Any:
    level = scope.context.store.level(_number(arguments["inventoryItemId"]), gid_number(doc["id"]))
    return level_doc(level) if level and (level["isActive"] or arguments.get("includeInactive")) else None


@resolves("Location", "inventoryLevels")
def _location_levels(doc: Doc, arguments: Arguments, scope: Scope) -> list[Doc]:
    levels = scope.context.store.location_levels(gid_number(doc["id"]), limit=-1)
    return [level_doc(level) for level in levels if level["isActive"] or arguments.get("includeInactive")]


@resolves("Location", "hasActiveInventory")
def _active_inventory(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return any(level["isActive"] for level in scope.context.store.location_levels(gid_number(doc["id"])))


@resolves("Location", "isPrimary")
def _primary(doc: Doc, _: Arguments, scope: Scope) -> bool:
    return scope.context.store.count("Location", "t.id < ?", (gid_number(doc["id"]),)) == 0


@resolves("Location", "activatable")
def _activatable(_: Doc, __: Arguments, ___: Scope) -> bool:
    return True


@resolves("Location", "deactivatable", "deletable")
def _deactivatable(doc: Doc, arguments: Arguments, scope: Scope) -> bool:
    return not _primary(doc, arguments, scope) and not _active_inventory(doc, arguments, scope)


@resolves("InventoryLevel", "quantities")
def _quantities(doc: Doc, arguments: Arguments, _: Scope) -> list[Doc]:
    unknown = [name for name in arguments["names"] if name not in INVENTORY_NAMES]
    if unknown:
        raise RequestError(f"The quantity names {', '.join(unknown)} are not valid.", code="BAD_REQUEST")
    item = doc["item"]["id"].rpartition("/")[2]
    return [
        {
            "id": f"gid://shopify/InventoryQuantity/{doc['location']['id'].rpartition('/')[2]}?inventory_item_id={item}&name={name}",
            "name": name,
            "quantity": doc["_quantities"].get(name, 0),
            "updatedAt": doc["_times"].get(name),
        }
        for name in arguments["names"]
    ]


@resolves("InventoryLevel", "canDeactivate")
def _can_deactivate(doc: Doc, _: Arguments, __: Scope) -> bool:
    return not any(doc["_quantities"].get(name) for name in ("committed", "incoming", "reserved"))


# -- shop


@resolves("Shop", "plan")
def _plan(doc: Doc, _: Arguments, __: Scope) -> Doc:
    plan = doc.get("plan") or {}
    name = plan.get("publicDisplayName", "Basic")
    return {"displayName": name, "partnerDevelopment": True, "shopifyPlus": name == "Shopify Plus", **plan}


@resolves("Shop", "url")
def _shop_url(doc: Doc, _: Arguments, __: Scope) -> str:
    return f"https://{doc['myshopifyDomain']}"


@resolves("Shop", "primaryDomain")
def _domain(doc: Doc, _: Arguments, __: Scope) -> Doc:
    return {
        "id": gid("Domain", gid_number(doc["id"])),
        "host": doc["myshopifyDomain"],
        "url": f"https://{doc['myshopifyDomain']}",
        "sslEnabled": True,
    }


RESOLVERS["Shop", "contactEmail"] = _else("contactEmail", "email")
RESOLVERS["Shop", "updatedAt"] = _else("updatedAt", "createdAt")


@resolves("Shop", "enabledPresentmentCurrencies")
def _presentment(doc: Doc, _: Arguments, __: Scope) -> list[str]:
    return doc.get("enabledPresentmentCurrencies") or [doc["currencyCode"]]


@resolves("Shop", "timezoneOffsetMinutes")
def _offset_minutes(doc: Doc, _: Arguments, scope: Scope) -> int:
    offset = scope.context.clock().astimezone(ZoneInfo(doc.get("ianaTimezone", "UTC"))).utcoffset()
    return int(offset.total_seconds() // 60) if offset else 0


@resolves("Shop", "timezoneOffset")
def _offset(doc: Doc, arguments: Arguments, scope: Scope) -> str:
    minutes = _offset_minutes(doc, arguments, scope)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


@resolves("Shop", "timezoneAbbreviation")
def _abbreviation(doc: Doc, _: Arguments, scope: Scope) -> str:
    return scope.context.clock().astimezone(ZoneInfo(doc.get("ianaTimezone", "UTC"))).tzname() or "UTC"


# -- the app


@resolves("AppInstallation", "accessScopes")
def _access_scopes(_: Doc, __: Arguments, scope: Scope) -> list[Doc]:
    return [{"handle": handle, "description": handle.replace("_", " ").capitalize()} for handle in sorted(scope.context.scopes)]


# -- webhook subscriptions

RESOLVERS["WebhookSubscription", "callbackUrl"] = lambda doc, _, __: doc["uri"]
RESOLVERS["WebhookSubscription", "endpoint"] = lambda doc, _, __: {"__typename": "WebhookHttpEndpoint", "callbackUrl": doc["uri"]}


# -- what a field left out of its document is

ENUM_DEFAULTS = {
    "OrderDisplayFulfillmentStatus": "UNFULFILLED",
    "CustomerState": "DISABLED",
    "CustomerProductSubscriberStatus": "NEVER_SUBSCRIBED",
    "CustomerEmailAddressMarketingState": "NOT_SUBSCRIBED",
    "CustomerSmsMarketingState": "NOT_SUBSCRIBED",
    "CustomerMarketingConsentState": "NOT_SUBSCRIBED",
    "ProductStatus": "ACTIVE",
    "ProductVariantInventoryPolicy": "DENY",
    "MediaContentType": "IMAGE",
    "MediaStatus": "READY",
    "CountPrecision": "EXACT",
    "UnitSystem": "METRIC_SYSTEM",
    "WeightUnit": "KILOGRAMS",
    "RefundLineItemRestockType": "NO_RESTOCK",
    "OrderTransactionStatus": "SUCCESS",
    "FulfillmentStatus": "SUCCESS",
    "MetafieldDefinitionValidationStatus": "ALL_VALID",
    "MetafieldCustomerAccountAccess": "NONE",
}
SCALAR_DEFAULTS: dict[str, Any] = {"Int": 0, "Float": 0.0, "Boolean": False, "Money": "0.00", "Decimal": "0.0", "UnsignedInt64": "0"}
NULL_MONEY = frozenset(
    {"currentTotalAdditionalFeesSet", "currentTotalDutiesSet", "originalTotalAdditionalFeesSet", "originalTotalDutiesSet", "unitCost"}
)


def _number(value: str) -> int:
    try:
        return gid_number(value)
    except ValueError:
        raise RequestError(f"Invalid id: {value}", code="RESOURCE_NOT_FOUND") from None
