"""The documents of the sandbox store: their shape, their ids, and small builders that make them.

A document is what the GraphQL type of the same name looks like, in camelCase, kept as JSON. Rules that make it small:

* **Sparse**: leave out what has its natural default: null, `[]`, `false`, `0`, an empty money bag ("0.0").
* **Money**: a decimal string in Shopify's form (`money("12.30") == "12.3"`). A field of type `MoneyBag` or `MoneyV2` may
  hold just the amount in the shop's currency; the reader adds the currency (the order's `currencyCode`) and, with the
  order's `presentmentRate`, the presentment money. A full `{"shopMoney": {...}, "presentmentMoney": {...}}` (or
  `{"amount", "currencyCode"}` for MoneyV2) is taken as it is. Fields of the scalar `Money` (variant prices) keep two
  decimals: `price("12.3") == "12.30"`.
* **Connections** are plain lists of nodes: `"lineItems": [{...}, {...}]`.
* **References** to a document of its own are `{"id": gid}`: an order's `customer`, a line's `product` and `variant`,
  any `location`. Inside one order, a refund line's `lineItem` and a transaction's `parentTransaction` are references too,
  and so are a refund's `transactions` and a customer's `defaultAddress`.
* **Computed when read**, never stored: a customer's `numberOfOrders`, `amountSpent`, `lastOrder`, `displayName` (unless
  stored); `inventoryQuantity`, `totalInventory` (from the inventory table); metafields (a table of their own).
* **Times** are `2026-11-21T04:30:00Z` (`instant(datetime)`).
* Unions and interfaces need `"__typename"` (discount applications and their values, media, purchasing entities).

Documents of their own: Order, Customer, Product, Location, Segment, MetafieldDefinition, BulkOperation, and any other type
by name. Line items, refunds, fulfillments, transactions live inside their order; variants and inventory items inside their
product; they can still be looked up by gid (`Store.get`, `Store.parent_of`).

For records that break contracts, three keys steer how a document or nested node appears in bulk results:
`"_key": 123` (the store's key where `id` is malformed), `"_parentId"` (the `__parentId` printed for a nested node instead of
its parent's id), `"_rawLine"` (the line printed instead of the node's JSON). Any value may also simply be wrong: results are
printed as stored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NotRequired, TypedDict

Doc = dict[str, Any]

CENT = Decimal("0.01")
# Currencies without minor units; all others are rounded to hundredths here.
WHOLE = frozenset({"JPY", "KRW", "VND", "CLP", "ISK", "HUF", "TWD", "XAF", "XOF", "XPF", "UGX", "PYG", "RWF"})


class Ref(TypedDict):
    """A pointer to another document."""

    id: str


class TaxLine(TypedDict, total=False):
    """A tax on an order, a line item or a shipping line."""

    title: str
    rate: float
    priceSet: Any


class LineItem(TypedDict, total=False):
    """A line of an order."""

    id: str
    title: str
    variantTitle: str | None
    name: str
    sku: str | None
    vendor: str | None
    quantity: int
    currentQuantity: int
    unfulfilledQuantity: int
    isGiftCard: bool
    requiresShipping: bool
    taxable: bool
    product: Ref | None
    variant: Ref | None
    originalUnitPriceSet: Any
    originalTotalSet: Any
    discountAllocations: list[Any]
    taxLines: list[TaxLine]


class Refund(TypedDict, total=False):
    """A refund of an order, with its lines; `transactions` are references into the order's own."""

    id: str
    createdAt: str
    processedAt: str
    updatedAt: str
    note: str | None
    totalRefundedSet: Any
    refundLineItems: list[Any]
    transactions: list[Ref]


class Fulfillment(TypedDict, total=False):
    """A shipment of an order, with its lines."""

    id: str
    name: str
    createdAt: str
    updatedAt: str
    deliveredAt: str | None
    inTransitAt: str | None
    status: str
    displayStatus: str
    totalQuantity: int
    location: Ref | None
    trackingInfo: list[Any]
    fulfillmentLineItems: list[Any]


class Transaction(TypedDict, total=False):
    """A payment transaction of an order."""

    id: str
    kind: str
    status: str
    gateway: str
    test: bool
    createdAt: str
    processedAt: str | None
    errorCode: str | None
    parentTransaction: Ref | None
    amountSet: Any


class Order(TypedDict, total=False):
    """An order and everything that hangs on it."""

    id: str
    name: str
    number: int
    createdAt: str
    processedAt: str
    updatedAt: str
    cancelledAt: str | None
    closedAt: str | None
    cancelReason: str | None
    test: bool
    confirmed: bool
    email: str | None
    phone: str | None
    note: str | None
    tags: list[str]
    sourceName: str | None
    currencyCode: str
    presentmentCurrencyCode: str
    presentmentRate: str
    taxesIncluded: bool
    displayFinancialStatus: str | None
    displayFulfillmentStatus: str
    subtotalLineItemsQuantity: int
    customer: Ref | None
    purchasingEntity: Any
    shippingAddress: Any
    billingAddress: Any
    subtotalPriceSet: Any
    totalDiscountsSet: Any
    totalTaxSet: Any
    totalShippingPriceSet: Any
    totalTipReceivedSet: Any
    totalPriceSet: Any
    currentTotalPriceSet: Any
    totalReceivedSet: Any
    totalRefundedSet: Any
    taxLines: list[TaxLine]
    lineItems: list[LineItem]
    discountApplications: list[Any]
    shippingLines: list[Any]
    transactions: list[Transaction]
    refunds: list[Refund]
    fulfillments: list[Fulfillment]


class Customer(TypedDict, total=False):
    """A customer. `defaultEmailAddress` carries the e-mail consent, `defaultPhoneNumber` the SMS consent."""

    id: str
    firstName: str | None
    lastName: str | None
    displayName: str
    state: str
    locale: str
    note: str | None
    tags: list[str]
    taxExempt: bool
    verifiedEmail: bool
    createdAt: str
    updatedAt: str
    defaultEmailAddress: Any
    defaultPhoneNumber: Any
    addressesV2: list[Any]
    defaultAddress: Ref | None


class InventoryItem(TypedDict, total=False):
    """The stocked thing behind a variant."""

    id: str
    sku: str | None
    tracked: bool
    requiresShipping: bool
    countryCodeOfOrigin: str | None
    harmonizedSystemCode: str | None
    unitCost: Any
    createdAt: str
    updatedAt: str


class Variant(TypedDict, total=False):
    """A variant of a product; `price` and `compareAtPrice` with two decimals."""

    id: str
    title: str
    sku: str | None
    barcode: str | None
    price: str
    compareAtPrice: str | None
    position: int
    taxable: bool
    inventoryPolicy: str
    createdAt: str
    updatedAt: str
    selectedOptions: list[Any]
    inventoryItem: InventoryItem


class Product(TypedDict, total=False):
    """A product with its variants and media."""

    id: str
    title: str
    handle: str
    descriptionHtml: str
    vendor: str
    productType: str
    status: str
    isGiftCard: bool
    tags: list[str]
    createdAt: str
    updatedAt: str
    publishedAt: str | None
    options: list[Any]
    variants: list[Variant]
    media: list[Any]


class Location(TypedDict, total=False):
    """A place that holds stock. `address` has `countryCode`, `provinceCode`, `city`, `zip`, ..."""

    id: str
    name: str
    isActive: bool
    fulfillsOnlineOrders: bool
    shipsInventory: bool
    createdAt: str
    updatedAt: str
    deactivatedAt: str | None
    address: Any


class InventoryLevel(TypedDict):
    """Stock of one item at one location; quantities by name (`available`, `on_hand`, `committed`, `incoming`, `reserved`, ...)."""

    itemId: int
    locationId: int
    isActive: bool
    createdAt: str
    updatedAt: str
    quantities: dict[str, int]
    quantityUpdatedAt: NotRequired[dict[str, str]]


class Metafield(TypedDict, total=False):
    """A metafield of any owner; `compareDigest` is derived from type and value."""

    id: str
    owner: str
    ownerType: str
    namespace: str
    key: str
    type: str
    value: str
    compareDigest: str
    createdAt: str
    updatedAt: str


INVENTORY_NAMES = ("available", "committed", "damaged", "incoming", "on_hand", "quality_control", "reserved", "safety_stock")


def gid(kind: str, number: int | str) -> str:
    """The global id of object `number` of type `kind`."""
    return f"gid://shopify/{kind}/{number}"


def inventory_level_gid(item_id: int, location_id: int) -> str:
    """The gid of a level: Shopify names the item in a query parameter."""
    return f"gid://shopify/InventoryLevel/{location_id}?inventory_item_id={item_id}"


def parse_gid(value: str) -> tuple[str, int]:
    """Type and number of a gid (a `?…` suffix is dropped); `ValueError` where it is none."""
    prefix, _, rest = value.partition("gid://shopify/")
    kind, slash, number = rest.partition("/")
    digits = number.partition("?")[0]
    if prefix or not kind or not slash or not digits.isdecimal():
        raise ValueError(f"not a gid: {value!r}")
    return kind, int(digits)


def gid_number(value: str) -> int:
    """The number of a gid."""
    return parse_gid(value)[1]


def ref(kind: str, number: int) -> Ref:
    """A reference to another document."""
    return {"id": gid(kind, number)}


def money(amount: Decimal | str | int | float) -> str:
    """An amount as MoneyV2 prints it: at least one decimal, no further trailing zeros ("12.0", "12.34")."""
    text = format(amount if isinstance(amount, Decimal) else Decimal(str(amount)), "f")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def price(amount: Decimal | str | int | float) -> str:
    """An amount as the scalar Money prints it: two decimals ("12.30")."""
    return str((amount if isinstance(amount, Decimal) else Decimal(str(amount))).quantize(CENT, ROUND_HALF_UP))


def instant(moment: datetime) -> str:
    """A moment as Shopify prints it, in UTC and whole seconds; naive moments are taken as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%SZ")


def tax_line(title: str, rate: float, amount: str) -> Doc:
    """A tax line."""
    return {"title": title, "rate": rate, "priceSet": amount}


def line_item_doc(
    number: int,
    title: str,
    quantity: int,
    unit_price: Decimal,
    *,
    sku: str | None = None,
    product: int | None = None,
    variant: int | None = None,
    current_quantity: int | None = None,
    discounts: list[tuple[int, Decimal]] | None = None,
    tax_lines: list[Doc] | None = None,
    **more: Any,
) -> Doc:
    """A line; `discounts` are (index of the discount application, amount). `more`: vendor, variantTitle, isGiftCard, …"""
    doc: Doc = {
        "id": gid("LineItem", number),
        "title": title,
        "sku": sku,
        "quantity": quantity,
        "currentQuantity": quantity if current_quantity is None else current_quantity,
        "requiresShipping": True,
        "taxable": True,
        "originalUnitPriceSet": money(unit_price),
        "originalTotalSet": money(unit_price * quantity),
        **more,
    }
    if product is not None:
        doc["product"] = ref("Product", product)
    if variant is not None:
        doc["variant"] = ref("ProductVariant", variant)
    if discounts:
        doc["discountAllocations"] = [
            {"allocatedAmountSet": money(amount), "discountApplication": {"index": index}} for index, amount in discounts
        ]
    if tax_lines:
        doc["taxLines"] = tax_lines
    return doc


def discount_code_application(index: int, code: str, *, percentage: float | None = None, amount: str | None = None, **more: Any) -> Doc:
    """A discount by code, over all lines unless `more` says otherwise; give `percentage` or `amount`."""
    return {"__typename": "DiscountCodeApplication", "code": code, **_discount(index, percentage, amount), **more}


def manual_discount_application(index: int, title: str, *, percentage: float | None = None, amount: str | None = None, **more: Any) -> Doc:
    """A discount given by hand."""
    return {"__typename": "ManualDiscountApplication", "title": title, **_discount(index, percentage, amount), **more}


def automatic_discount_application(
    index: int, title: str, *, percentage: float | None = None, amount: str | None = None, **more: Any
) -> Doc:
    """A discount by the shop's rules."""
    return {"__typename": "AutomaticDiscountApplication", "title": title, **_discount(index, percentage, amount), **more}


def _discount(index: int, percentage: float | None, amount: str | None) -> Doc:
    if (percentage is None) == (amount is None):
        raise ValueError("a discount has a percentage or an amount")
    value: Doc = (
        {"__typename": "MoneyV2", "amount": amount}
        if percentage is None
        else {"__typename": "PricingPercentageValue", "percentage": percentage}
    )
    return {"index": index, "allocationMethod": "ACROSS", "targetSelection": "ALL", "targetType": "LINE_ITEM", "value": value}


def shipping_line_doc(number: int, title: str, gross: Decimal, *, net: Decimal | None = None, **more: Any) -> Doc:
    """A shipping method charged; `more`: code, source, taxLines."""
    return {
        "id": gid("ShippingLine", number),
        "title": title,
        "code": title,
        "originalPriceSet": money(gross),
        "discountedPriceSet": money(gross if net is None else net),
        **more,
    }


def transaction_doc(
    number: int, kind: str, amount: Decimal, at: str, *, gateway: str = "shopify_payments", parent: int | None = None, **more: Any
) -> Doc:
    """A successful transaction (kind SALE, AUTHORIZATION, CAPTURE, REFUND, VOID) unless `more` says otherwise."""
    doc: Doc = {
        "id": gid("OrderTransaction", number),
        "kind": kind,
        "status": "SUCCESS",
        "gateway": gateway,
        "createdAt": at,
        "processedAt": at,
        "amountSet": money(amount),
        **more,
    }
    if parent is not None:
        doc["parentTransaction"] = ref("OrderTransaction", parent)
    return doc


def refund_line_doc(
    number: int,
    line_item: int,
    quantity: int,
    unit_price: Decimal,
    *,
    tax: Decimal = Decimal(0),
    subtotal: Decimal | None = None,
    restock_type: str = "NO_RESTOCK",
    location: int | None = None,
    **more: Any,
) -> Doc:
    """A refunded line; `priceSet` is the price of one unit, `subtotalSet` what is paid back before tax."""
    return {
        "id": gid("RefundLineItem", number),
        "lineItem": ref("LineItem", line_item),
        "quantity": quantity,
        "restockType": restock_type,
        "restocked": restock_type in ("RETURN", "CANCEL", "LEGACY_RESTOCK"),
        "location": None if location is None else ref("Location", location),
        "priceSet": money(unit_price),
        "subtotalSet": money(unit_price * quantity if subtotal is None else subtotal),
        "totalTaxSet": money(tax),
        **more,
    }


def refund_doc(
    number: int, at: str, total: Decimal, *, lines: list[Doc] | None = None, transactions: list[int] | None = None, **more: Any
) -> Doc:
    """A refund; its transactions (kind REFUND) stand in the order's `transactions` and are named here by number."""
    return {
        "id": gid("Refund", number),
        "createdAt": at,
        "processedAt": at,
        "updatedAt": at,
        "totalRefundedSet": money(total),
        "refundLineItems": lines or [],
        "transactions": [ref("OrderTransaction", transaction) for transaction in transactions or []],
        **more,
    }


def fulfillment_doc(
    number: int, name: str, at: str, *, location: int | None, lines: list[tuple[int, int, int]], status: str = "SUCCESS", **more: Any
) -> Doc:
    """A shipment; `lines` are (fulfillment line id, line item id, quantity)."""
    return {
        "id": gid("Fulfillment", number),
        "name": name,
        "createdAt": at,
        "updatedAt": at,
        "status": status,
        "displayStatus": "FULFILLED" if status == "SUCCESS" else "CANCELED",
        "totalQuantity": sum(quantity for _, _, quantity in lines),
        "location": None if location is None else ref("Location", location),
        "fulfillmentLineItems": [
            {"id": gid("FulfillmentLineItem", line), "lineItem": ref("LineItem", item), "quantity": quantity}
            for line, item, quantity in lines
        ],
        **more,
    }


def order_doc(
    number: int,
    name: str,
    at: str,
    *,
    currency: str,
    line_items: list[Doc],
    total: Decimal,
    customer: int | None = None,
    presentment_currency: str | None = None,
    presentment_rate: Decimal | None = None,
    **more: Any,
) -> Doc:
    """An order placed at `at`; statuses, money sets and children come in `more` under their GraphQL names.

    Left-out money sets are zero, except that `currentTotalPriceSet` defaults to the total.
    """
    doc: Doc = {
        "id": gid("Order", number),
        "name": name,
        "createdAt": at,
        "processedAt": at,
        "updatedAt": at,
        "confirmed": True,
        "currencyCode": currency,
        "presentmentCurrencyCode": presentment_currency or currency,
        "displayFinancialStatus": "PAID",
        "displayFulfillmentStatus": "UNFULFILLED",
        "subtotalLineItemsQuantity": sum(line["quantity"] for line in line_items),
        "totalPriceSet": money(total),
        "currentTotalPriceSet": money(total),
        "lineItems": line_items,
        **more,
    }
    if customer is not None:
        doc["customer"] = ref("Customer", customer)
    if presentment_rate is not None:
        doc["presentmentRate"] = str(presentment_rate)
    return doc


def customer_doc(
    number: int, at: str, *, email: str | None = None, phone: str | None = None, marketing: str = "NOT_SUBSCRIBED", **more: Any
) -> Doc:
    """A customer created at `at`; `more`: firstName, lastName, tags, addressesV2 (first one becomes the default), …"""
    doc: Doc = {
        "id": gid("Customer", number),
        "state": "DISABLED",
        "locale": "en",
        "verifiedEmail": email is not None,
        "createdAt": at,
        "updatedAt": at,
        **more,
    }
    if email is not None:
        doc["defaultEmailAddress"] = {
            "emailAddress": email,
            "marketingState": marketing,
            "marketingOptInLevel": "SINGLE_OPT_IN" if marketing == "SUBSCRIBED" else None,
            "marketingUpdatedAt": at if marketing == "SUBSCRIBED" else None,
        }
    if phone is not None:
        doc["defaultPhoneNumber"] = {"phoneNumber": phone}
    addresses = doc.get("addressesV2")
    if addresses and "defaultAddress" not in doc:
        doc["defaultAddress"] = {"id": addresses[0]["id"]}
    return doc


def address_doc(number: int, country_code: str, *, kind: str = "MailingAddress", **more: Any) -> Doc:
    """An address; `more`: firstName, lastName, company, address1, address2, city, provinceCode, zip, phone, country, province."""
    return {"id": gid(kind, number), "countryCodeV2": country_code, **more}


def variant_doc(
    number: int,
    item: int,
    title: str,
    amount: Decimal,
    at: str,
    *,
    sku: str | None = None,
    position: int = 1,
    options: dict[str, str] | None = None,
    unit_cost: Decimal | None = None,
    tracked: bool = True,
    requires_shipping: bool = True,
    **more: Any,
) -> Doc:
    """A variant with its inventory item `item`; `more`: barcode, compareAtPrice (two decimals), taxable, …"""
    return {
        "id": gid("ProductVariant", number),
        "title": title,
        "sku": sku,
        "price": price(amount),
        "position": position,
        "taxable": True,
        "inventoryPolicy": "DENY",
        "createdAt": at,
        "updatedAt": at,
        "selectedOptions": [{"name": name, "value": value} for name, value in (options or {"Title": "Default Title"}).items()],
        "inventoryItem": {
            "id": gid("InventoryItem", item),
            "sku": sku,
            "tracked": tracked,
            "requiresShipping": requires_shipping,
            "unitCost": None if unit_cost is None else money(unit_cost),
            "createdAt": at,
            "updatedAt": at,
        },
        **more,
    }


def product_doc(number: int, title: str, handle: str, at: str, *, variants: list[Doc], **more: Any) -> Doc:
    """A published product; `more`: vendor, productType, status, tags, media, options (derived from the variants if left out), …"""
    values: dict[str, list[str]] = {}
    for variant in variants:
        for option in variant["selectedOptions"]:
            seen = values.setdefault(option["name"], [])
            if option["value"] not in seen:
                seen.append(option["value"])
    doc: Doc = {
        "id": gid("Product", number),
        "title": title,
        "handle": handle,
        "vendor": "",
        "productType": "",
        "status": "ACTIVE",
        "createdAt": at,
        "updatedAt": at,
        "publishedAt": at,
        "variants": variants,
        **more,
    }
    doc.setdefault(
        "options",
        [
            {"id": gid("ProductOption", number + position), "name": name, "position": position, "values": found}
            for position, (name, found) in enumerate(values.items(), start=1)
        ],
    )
    return doc


def media_doc(number: int, at: str, *, alt: str | None = None) -> Doc:
    """A ready image of a product, uploaded `at`."""
    return {
        "__typename": "MediaImage",
        "id": gid("MediaImage", number),
        "alt": alt,
        "mediaContentType": "IMAGE",
        "mimeType": "image/jpeg",
        "status": "READY",
        "createdAt": at,
        "updatedAt": at,
    }


def location_doc(number: int, name: str, at: str, *, address: Doc, **more: Any) -> Doc:
    """An active location that ships; `address`: city, provinceCode, zip, countryCode."""
    return {
        "id": gid("Location", number),
        "name": name,
        "isActive": True,
        "fulfillsOnlineOrders": True,
        "shipsInventory": True,
        "createdAt": at,
        "updatedAt": at,
        "address": address,
        **more,
    }


def inventory_level(item_id: int, location_id: int, at: str, **quantities: int) -> InventoryLevel:
    """Stock of one item at one location: `inventory_level(item, place, at, available=5, on_hand=7, committed=2)`."""
    return {
        "itemId": item_id,
        "locationId": location_id,
        "isActive": True,
        "createdAt": at,
        "updatedAt": at,
        "quantities": dict(quantities),
    }


def shop_doc(name: str, domain: str, currency: str, timezone: str, at: str) -> Doc:
    """The shop itself (`Store.set_shop`)."""
    return {
        "id": gid("Shop", 63755419881),
        "name": name,
        "email": f"owner@{domain}",
        "myshopifyDomain": domain,
        "currencyCode": currency,
        "ianaTimezone": timezone,
        "createdAt": at,
        "plan": {"publicDisplayName": "Basic"},
    }
