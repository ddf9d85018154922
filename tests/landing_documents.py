"""Small documents in the shape of the bulk queries, whose totals add up, for tests of landing."""

import json
from collections.abc import Iterable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

from commerce_assets.lake import Declared, Lake, LoadReport, Mode, ReplaceDays, land
from commerce_assets.sources.shopify.mapping import MAPPINGS

Line = dict[str, Any]
DAY = ReplaceDays(date(2026, 3, 1), date(2026, 3, 1))
MARCH_FIRST = "2026-03-01T10:00:00Z"


def money(amount: str, currency: str | None = None) -> Line:
    return {"shopMoney": {"amount": amount, **({"currencyCode": currency} if currency else {})}}


def order(number: int = 1, *, updated: str = MARCH_FIRST, **changes: Any) -> Line:
    """An order of 2 x 10.00 GBP, 4.00 tax, 5.00 shipping: 29.00, paid."""
    document: Line = {
        "id": f"gid://shopify/Order/{number}",
        "name": f"#{number}",
        "number": number,
        "createdAt": "2026-03-01T09:00:00Z",
        "processedAt": "2026-03-01T09:00:00Z",
        "updatedAt": updated,
        "cancelledAt": None,
        "closedAt": None,
        "cancelReason": None,
        "test": False,
        "confirmed": True,
        "email": "ann@example.com",
        "note": None,
        "tags": ["b2c"],
        "sourceName": "web",
        "currencyCode": "GBP",
        "presentmentCurrencyCode": "GBP",
        "taxesIncluded": False,
        "displayFinancialStatus": "PAID",
        "displayFulfillmentStatus": "FULFILLED",
        "subtotalLineItemsQuantity": 2,
        "customer": {"id": "gid://shopify/Customer/7"},
        "purchasingEntity": {},
        "shippingAddress": {"city": "London", "provinceCode": None, "zip": "SW1A 1AA", "countryCodeV2": "GB"},
        "billingAddress": {"zip": "SW1A 1AA", "countryCodeV2": "GB"},
        "subtotalPriceSet": money("20.00", "GBP"),
        "totalDiscountsSet": money("0.00"),
        "totalTaxSet": money("4.00"),
        "totalShippingPriceSet": money("5.00"),
        "totalTipReceivedSet": money("0.00"),
        "totalPriceSet": {**money("29.00"), "presentmentMoney": {"amount": "29.00"}},
        "currentTotalPriceSet": money("29.00"),
        "totalReceivedSet": money("29.00"),
        "totalRefundedSet": money("0.00"),
        "taxLines": [],
        "transactions": [transaction(number)],
        "refunds": [],
        "fulfillments": [fulfillment(number)],
    }
    return document | changes


def transaction(number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/OrderTransaction/{number}",
        "kind": "SALE",
        "status": "SUCCESS",
        "gateway": "manual",
        "test": False,
        "createdAt": "2026-03-01T09:00:00Z",
        "processedAt": "2026-03-01T09:00:00Z",
        "errorCode": None,
        "parentTransaction": None,
        "amountSet": money("29.00", "GBP"),
    } | changes


def fulfillment(number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/Fulfillment/{number}",
        "name": f"#{number}.1",
        "createdAt": "2026-03-01T09:30:00Z",
        "updatedAt": "2026-03-01T09:30:00Z",
        "deliveredAt": None,
        "inTransitAt": None,
        "status": "SUCCESS",
        "displayStatus": "FULFILLED",
        "totalQuantity": 2,
        "location": {"id": "gid://shopify/Location/3"},
    } | changes


def refund(number: int = 1, amount: str = "10.00", **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/Refund/{number}",
        "createdAt": "2026-03-01T09:45:00Z",
        "processedAt": "2026-03-01T09:45:00Z",
        "updatedAt": "2026-03-01T09:45:00Z",
        "note": None,
        "totalRefundedSet": money(amount, "GBP"),
    } | changes


def line_item(number: int = 1, order_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/LineItem/{number}",
        "title": "Mug",
        "variantTitle": None,
        "sku": "MUG-1",
        "vendor": "Potteries",
        "quantity": 2,
        "currentQuantity": 2,
        "isGiftCard": False,
        "requiresShipping": True,
        "taxable": True,
        "product": {"id": "gid://shopify/Product/5"},
        "variant": {"id": "gid://shopify/ProductVariant/6"},
        "originalUnitPriceSet": money("10.00", "GBP"),
        "originalTotalSet": money("20.00"),
        "discountAllocations": [],
        "taxLines": [{"title": "VAT", "rate": 0.2, "priceSet": money("4.00", "GBP")}],
        "__parentId": f"gid://shopify/Order/{order_number}",
    } | changes


def shipping_line(number: int = 1, order_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/ShippingLine/{number}",
        "title": "Standard",
        "code": "STD",
        "source": "shopify",
        "originalPriceSet": money("5.00", "GBP"),
        "discountedPriceSet": money("5.00"),
        "taxLines": [],
        "__parentId": f"gid://shopify/Order/{order_number}",
    } | changes


def discount(order_number: int = 1, **changes: Any) -> Line:
    return {
        "__typename": "DiscountCodeApplication",
        "index": 0,
        "allocationMethod": "ACROSS",
        "targetSelection": "ALL",
        "targetType": "LINE_ITEM",
        "value": {"__typename": "PricingPercentageValue", "percentage": 10.0},
        "code": "TEN",
        "__parentId": f"gid://shopify/Order/{order_number}",
    } | changes


def refund_line(number: int = 1, refund_number: int = 1, line_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/RefundLineItem/{number}",
        "quantity": 1,
        "restockType": "RETURN",
        "restocked": True,
        "location": {"id": "gid://shopify/Location/3"},
        "lineItem": {"id": f"gid://shopify/LineItem/{line_number}"},
        "priceSet": money("10.00", "GBP"),
        "subtotalSet": money("10.00"),
        "totalTaxSet": money("2.00"),
        "__parentId": f"gid://shopify/Refund/{refund_number}",
    } | changes


def fulfillment_line(number: int = 1, fulfillment_number: int = 1, line_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/FulfillmentLineItem/{number}",
        "quantity": 1,
        "lineItem": {"id": f"gid://shopify/LineItem/{line_number}"},
        "__parentId": f"gid://shopify/Fulfillment/{fulfillment_number}",
    } | changes


def document(number: int = 1, **changes: Any) -> list[Line]:
    """An order with its line and shipping line, the ids made of its number."""
    return [order(number, **changes), line_item(number, number), shipping_line(number, number)]


def customer(number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/Customer/{number}",
        "firstName": "Ann",
        "lastName": "Archer",
        "displayName": "Ann Archer",
        "state": "ENABLED",
        "locale": "en",
        "note": None,
        "tags": [],
        "taxExempt": False,
        "verifiedEmail": True,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": MARCH_FIRST,
        "numberOfOrders": "3",
        "amountSpent": {"amount": "87.00", "currencyCode": "GBP"},
        "defaultEmailAddress": {
            "emailAddress": "ann@example.com",
            "marketingState": "SUBSCRIBED",
            "marketingOptInLevel": "SINGLE_OPT_IN",
            "marketingUpdatedAt": "2026-01-01T00:00:00Z",
        },
        "defaultPhoneNumber": {
            "phoneNumber": "+442079460958",
            "smsMarketingConsent": {"state": "NOT_SUBSCRIBED", "optInLevel": "UNKNOWN", "updatedAt": None},
        },
        "defaultAddress": {"id": f"gid://shopify/MailingAddress/{number * 10}?model_name=CustomerAddress"},
    } | changes


def address(number: int = 10, customer_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/MailingAddress/{number}?model_name=CustomerAddress",
        "firstName": "Ann",
        "lastName": "Archer",
        "company": None,
        "address1": "1 High Street",
        "address2": None,
        "city": "London",
        "provinceCode": None,
        "zip": "SW1A 1AA",
        "countryCodeV2": "GB",
        "phone": None,
        "__parentId": f"gid://shopify/Customer/{customer_number}",
    } | changes


def metafield(number: int, parent: str, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/Metafield/{number}",
        "namespace": "custom",
        "key": "segment",
        "type": "single_line_text_field",
        "value": "loyal",
        "updatedAt": MARCH_FIRST,
        "__parentId": parent,
    } | changes


def product(number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/Product/{number}",
        "title": "Mug",
        "handle": f"mug-{number}",
        "vendor": "Potteries",
        "productType": "Mugs",
        "status": "ACTIVE",
        "isGiftCard": False,
        "tags": ["enamel"],
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": MARCH_FIRST,
        "publishedAt": None,
    } | changes


def variant(number: int = 1, product_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/ProductVariant/{number}",
        "title": "Blue",
        "sku": "MUG-1",
        "barcode": "4006381333931",
        "price": "10.00",
        "compareAtPrice": None,
        "position": 1,
        "taxable": True,
        "inventoryPolicy": "DENY",
        "inventoryQuantity": -2,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": MARCH_FIRST,
        "inventoryItem": {
            "id": f"gid://shopify/InventoryItem/{number}",
            "tracked": True,
            "requiresShipping": True,
            "unitCost": {"amount": "4.00", "currencyCode": "GBP"},
        },
        "selectedOptions": [{"name": "Colour", "value": "Blue"}],
        "__parentId": f"gid://shopify/Product/{product_number}",
    } | changes


def media(number: int = 1, product_number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/MediaImage/{number}",
        "alt": "A mug",
        "mediaContentType": "IMAGE",
        "status": "READY",
        "__parentId": f"gid://shopify/Product/{product_number}",
    } | changes


def inventory_item(number: int = 1, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/InventoryItem/{number}",
        "sku": "MUG-1",
        "tracked": True,
        "requiresShipping": True,
        "countryCodeOfOrigin": "GB",
        "harmonizedSystemCode": None,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": MARCH_FIRST,
        "unitCost": {"amount": "4.00", "currencyCode": "GBP"},
    } | changes


def inventory_level(number: int = 1, item_number: int = 1, location_number: int = 3, **changes: Any) -> Line:
    counts = {"available": 5, "on_hand": 7, "committed": 2, "incoming": 0, "reserved": 0}
    return {
        "id": f"gid://shopify/InventoryLevel/{number}?inventory_item_id={item_number}",
        "isActive": True,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": MARCH_FIRST,
        "location": {"id": f"gid://shopify/Location/{location_number}"},
        "quantities": [{"name": name, "quantity": count, "updatedAt": None} for name, count in counts.items()],
        "__parentId": f"gid://shopify/InventoryItem/{item_number}",
    } | changes


def location(number: int = 3, **changes: Any) -> Line:
    return {
        "id": f"gid://shopify/Location/{number}",
        "name": "Warehouse",
        "isActive": True,
        "fulfillsOnlineOrders": True,
        "shipsInventory": True,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": MARCH_FIRST,
        "deactivatedAt": None,
        "address": {"city": "London", "provinceCode": None, "zip": "SW1A 1AA", "countryCode": "GB"},
    } | changes


def with_value(line: Line, path: str, value: Any) -> Line:
    """A copy of a line with the value at a path such as `transactions.0.test` changed."""
    changed = deepcopy(line)
    *outer, last = path.split(".")
    inner: Any = changed
    for key in outer:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    inner[last] = value
    return changed


class Landing:
    """A lake in a folder, and one call to land lines in it."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake(root / "lake")
        self.lake.ensure()

    def land(
        self,
        lines: Iterable[Line | str | bytes],
        family: str = "orders",
        *,
        load_id: str = "load-1",
        mode: Mode = DAY,
        declared: Declared | None = None,
        max_reject_rate: float = 1.0,
        drained: Iterable[Line] = (),
        parts: int = 1,
        **more: Any,
    ) -> LoadReport:
        folder = self.lake.new_load_dir("storefront", family, load_id)
        for old in folder.iterdir():
            old.unlink()
        raw = [as_bytes(line) for line in lines]
        size = -(-max(len(raw), 1) // parts)
        for part in range(parts):
            (folder / f"part-{part:05d}.jsonl").write_bytes(b"".join(line + b"\n" for line in raw[part * size : (part + 1) * size]))
        for kind in ("RefundLineItem", "FulfillmentLineItem"):
            mine = [as_bytes(line) for line in drained if f"/{kind}/" in line["id"]]
            if mine:
                name = "refund_lines" if kind == "RefundLineItem" else "fulfillment_lines"
                (folder / f"drain-{name}-00000.jsonl").write_bytes(b"\n".join(mine))
        files = sorted(folder.glob("*.jsonl"))
        return land(self.lake, family, MAPPINGS[family], files, load_id, mode, declared, max_reject_rate=max_reject_rate, **more)

    def ids(self, table: str, column: str) -> list[Any]:
        return sorted(self.lake.read(table)[column].to_list())


def as_bytes(line: Line | str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line, separators=(",", ":"))).encode()
