"""REST-shaped payloads of orders and their parts: refunds, fulfillments, payment transactions.

Belongs here: how an order's document becomes the body of an `orders/*`, `refunds/create`, `fulfillments/*` or
`order_transactions/create` delivery. Does not belong here: which topic is sent when.

What Shopify knows and the sandbox does not (carts, browsers, staff, weights) is null or zero. As in the real payloads,
amounts of transactions are in the buyer's currency, a line's `total_discount` counts only discounts meant for that line
(`discount_allocations` has all), and an order says neither when a fulfillment arrived nor its company's name.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.webhooks.rest_customers import order_customer
from commerce_assets.sandbox.webhooks.rest_values import Money, Purse, address, amount_of, lowered, number, printed, units, when, zone_of

if TYPE_CHECKING:
    from commerce_assets.sandbox.store import Store

FULFILLMENT_STATUS = {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial", "RESTOCKED": "restocked"}
SHIPMENT_STATUS = {
    "ATTEMPTED_DELIVERY": "attempted_delivery",
    "CONFIRMED": "confirmed",
    "DELIVERED": "delivered",
    "FAILURE": "failure",
    "IN_TRANSIT": "in_transit",
    "LABEL_PRINTED": "label_printed",
    "LABEL_PURCHASED": "label_purchased",
    "OUT_FOR_DELIVERY": "out_for_delivery",
    "READY_FOR_PICKUP": "ready_for_pickup",
}
NOT_SHIPPED = ("CANCELLED", "ERROR", "FAILURE")
RESTOCKED = ("RETURN", "CANCEL", "LEGACY_RESTOCK")
APPLICATION_TYPES = {
    "AutomaticDiscountApplication": "automatic",
    "DiscountCodeApplication": "discount_code",
    "ManualDiscountApplication": "manual",
    "ScriptDiscountApplication": "script",
}


def order_payload(store: Store, shop: Doc, order: Doc) -> Doc:
    """The body of `orders/create`, `orders/updated`, `orders/paid`, `orders/cancelled`, `orders/fulfilled`, …"""
    return _OrderView(store, shop, order).order()


def refund_payload(store: Store, shop: Doc, order: Doc, refund: str) -> Doc:
    """The body of `refunds/create` for the order's refund with this gid; `LookupError` where it has none."""
    view = _OrderView(store, shop, order)
    return view.refund(_child(order, "refunds", refund))


def fulfillment_payload(store: Store, shop: Doc, order: Doc, fulfillment: str) -> Doc:
    """The body of `fulfillments/create` and `fulfillments/update` for the order's fulfillment with this gid."""
    view = _OrderView(store, shop, order)
    body = view.fulfillment(_child(order, "fulfillments", fulfillment))
    place = store.get("Location", body["location_id"]) if body["location_id"] is not None else None
    return {
        **body,
        "origin_address": None if place is None else _origin(place.get("address") or {}),
        "email": order.get("email"),
        "destination": address(order.get("shippingAddress")),
    }


def transaction_payload(store: Store, shop: Doc, order: Doc, transaction: str) -> Doc:
    """The body of `order_transactions/create` for the order's transaction with this gid."""
    view = _OrderView(store, shop, order)
    found = _child(order, "transactions", transaction)
    return {**view.transaction(found), "payment_details": _payment_details(found)}


def edited_payload(shop: Doc, order: Doc, edit: Doc) -> Doc:
    """The body of `orders/edited`; `edit`: id (number), committedAt, additions and removals as (line item id, units)."""
    zone = zone_of(shop)
    return {
        "order_edit": {
            "id": edit["id"],
            "app_id": None,
            "created_at": when(edit["committedAt"], zone),
            "committed_at": when(edit["committedAt"], zone),
            "notify_customer": False,
            "order_id": number(order),
            "staff_note": "",
            "user_id": None,
            "line_items": {
                kind: [{"id": line, "delta": delta} for line, delta in edit.get(kind) or ()] for kind in ("additions", "removals")
            },
            "discounts": {"line_item": {"additions": [], "removals": []}},
            "shipping_lines": {"additions": [], "removals": []},
        }
    }


def _child(order: Doc, kind: str, wanted: str) -> Doc:
    for child in order.get(kind) or ():
        if isinstance(child, dict) and child.get("id") == wanted:
            return child
    raise LookupError(f"order {order.get('id')} has no {wanted} among its {kind}")


def _origin(stored: Doc) -> Doc:
    names = {"address1": "address1", "city": "city", "country_code": "countryCode", "province_code": "provinceCode", "zip": "zip"}
    return {name: stored.get(source) for name, source in names.items()}


def _payment_details(transaction: Doc) -> Doc:
    return {
        "credit_card_bin": None,
        "avs_result_code": None,
        "cvv_result_code": None,
        "credit_card_number": None,
        "credit_card_company": None,
        "buyer_action_info": None,
        "credit_card_name": None,
        "credit_card_wallet": None,
        "credit_card_expiration_month": None,
        "credit_card_expiration_year": None,
        "payment_method_name": transaction.get("gateway"),
    }


def _dicts(values: Any) -> list[Doc]:
    return [value for value in values or () if isinstance(value, dict)] if isinstance(values, (list, tuple)) else []


class _OrderView:
    """One order while it is written out: its money, its zone, what was shipped of each line, which variants still exist."""

    def __init__(self, store: Store, shop: Doc, order: Doc) -> None:
        self.store, self.shop, self.doc = store, shop, order
        self.zone = zone_of(shop)
        self.purse = Purse(order, shop)
        self.lines = _dicts(order.get("lineItems"))
        self.by_id = {line.get("id"): line for line in self.lines}
        self.number = order["_key"] if isinstance(order.get("_key"), int) else number(order)
        self.shipped: Counter[Any] = Counter()
        for fulfillment in _dicts(order.get("fulfillments")):
            if fulfillment.get("status") not in NOT_SHIPPED:
                for row in _dicts(fulfillment.get("fulfillmentLineItems")):
                    self.shipped[(row.get("lineItem") or {}).get("id")] += units(row.get("quantity"))
        self.variants, self.products = self._catalogue()
        self.explicit = {
            application.get("index")
            for application in _dicts(order.get("discountApplications"))
            if application.get("targetSelection") == "EXPLICIT"
        }

    def _catalogue(self) -> tuple[dict[int, bool], set[int]]:
        """The variants of the order's lines that exist (number -> whether stock is counted), and the products."""
        connection = self.store.connection
        wanted = [found for line in self.lines if (found := number(line.get("variant"))) is not None]
        marks = ",".join("?" * len(wanted))
        rows = connection.execute(
            f"SELECT v.id, v.parent_id, i.tracked FROM t_ProductVariant AS v LEFT JOIN t_InventoryItem AS i ON i.id = v.item_id WHERE v.id IN ({marks})",
            wanted,
        ).fetchall()
        variants = {row[0]: bool(row[2]) for row in rows}
        products = {row[1] for row in rows}
        others = [found for line in self.lines if (found := number(line.get("product"))) is not None and found not in products]
        if others:
            marks = ",".join("?" * len(others))
            products.update(row[0] for row in connection.execute(f"SELECT id FROM t_Product WHERE id IN ({marks})", others))
        return variants, products

    def _time(self, doc: Doc, name: str, other: str | None = None) -> Any:
        value = doc.get(name)
        return when(doc.get(other) if value is None and other else value, self.zone)

    # -- the order itself

    def order(self) -> Doc:
        doc, purse = self.doc, self.purse
        customer = number(doc.get("customer"))
        person = self.store.get("Customer", customer) if customer is not None else None
        subtotal, discounts, tax = (purse.pair(doc.get(name)) for name in ("subtotalPriceSet", "totalDiscountsSet", "totalTaxSet"))
        total, shipping = purse.pair(doc.get("totalPriceSet")), purse.pair(doc.get("totalShippingPriceSet"))
        goods = purse.sums([self._gross(line) for line in self.lines])
        current = {
            "subtotal": purse.pair(doc["currentSubtotalPriceSet"]) if "currentSubtotalPriceSet" in doc else subtotal,
            "discounts": purse.pair(doc["currentTotalDiscountsSet"]) if "currentTotalDiscountsSet" in doc else discounts,
            "tax": purse.pair(doc["currentTotalTaxSet"]) if "currentTotalTaxSet" in doc else tax,
            "total": purse.pair(doc["currentTotalPriceSet"]) if "currentTotalPriceSet" in doc else total,
            "shipping": purse.pair(doc["currentShippingPriceSet"]) if "currentShippingPriceSet" in doc else shipping,
        }
        zero = purse.set(purse.pair(None))
        token = hashlib.md5(str(doc.get("id")).encode(), usedforsecurity=False).hexdigest()
        shop_number = number(self.shop) or 0
        order_number: int = doc["number"] if isinstance(doc.get("number"), int) else _digits(doc.get("name"))
        email = doc.get("email")
        body = {
            "id": self.number,
            "admin_graphql_api_id": doc.get("id"),
            "app_id": None,
            "browser_ip": None,
            "buyer_accepts_marketing": ((person or {}).get("defaultEmailAddress") or {}).get("marketingState") == "SUBSCRIBED",
            "cancel_reason": lowered(doc.get("cancelReason")),
            "cancelled_at": self._time(doc, "cancelledAt"),
            "cart_token": None,
            "checkout_token": None,
            "client_details": None,
            "closed_at": self._time(doc, "closedAt"),
            "confirmation_number": doc.get("confirmationNumber"),
            "confirmed": doc.get("confirmed", False),
            "contact_email": email,
            "created_at": self._time(doc, "createdAt"),
            "currency": purse.currency,
            "current_shipping_price_set": purse.set(current["shipping"]),
            "current_subtotal_price": current["subtotal"][0],
            "current_subtotal_price_set": purse.set(current["subtotal"]),
            "current_total_additional_fees_set": None,
            "current_total_discounts": current["discounts"][0],
            "current_total_discounts_set": purse.set(current["discounts"]),
            "current_total_duties_set": None,
            "current_total_price": current["total"][0],
            "current_total_price_set": purse.set(current["total"]),
            "current_total_tax": current["tax"][0],
            "current_total_tax_set": purse.set(current["tax"]),
            "customer_locale": (person or {}).get("locale"),
            "device_id": None,
            "discount_codes": self._discount_codes(),
            "duties_included": False,
            "email": email,
            "estimated_taxes": False,
            "financial_status": lowered(doc.get("displayFinancialStatus")),
            "fulfillment_status": FULFILLMENT_STATUS.get(doc.get("displayFulfillmentStatus") or ""),
            "landing_site": None,
            "landing_site_ref": None,
            "location_id": number(doc.get("retailLocation")),
            "merchant_business_entity_id": base64.b64encode(str(shop_number).encode()).decode().rstrip("="),
            "merchant_of_record_app_id": None,
            "name": doc.get("name"),
            "note": doc.get("note"),
            "note_attributes": _attributes(doc),
            "number": max(order_number - 1000, 0),
            "order_number": order_number,
            "order_status_url": f"https://{self.shop.get('myshopifyDomain')}/{shop_number}/orders/{token}/authenticate?key={token[:8]}",
            "original_total_additional_fees_set": None,
            "original_total_duties_set": None,
            "payment_gateway_names": list(
                dict.fromkeys(entry["gateway"] for entry in _dicts(doc.get("transactions")) if entry.get("gateway"))
            ),
            "phone": doc.get("phone"),
            "po_number": doc.get("poNumber"),
            "presentment_currency": purse.presentment,
            "processed_at": self._time(doc, "processedAt", "createdAt"),
            "reference": None,
            "referring_site": None,
            "source_identifier": doc.get("sourceIdentifier"),
            "source_name": doc.get("sourceName"),
            "source_url": None,
            "subtotal_price": subtotal[0],
            "subtotal_price_set": purse.set(subtotal),
            "tags": _tags(doc),
            "tax_exempt": bool((person or {}).get("taxExempt")),
            "tax_lines": self._taxes(doc),
            "taxes_included": doc.get("taxesIncluded", False),
            "test": doc.get("test", False),
            "token": token,
            "total_cash_rounding_payment_adjustment_set": zero,
            "total_cash_rounding_refund_adjustment_set": zero,
            "total_discounts": discounts[0],
            "total_discounts_set": purse.set(discounts),
            "total_line_items_price": goods[0],
            "total_line_items_price_set": purse.set(goods),
            "total_outstanding": self._outstanding(),
            "total_price": total[0],
            "total_price_set": purse.set(total),
            "total_shipping_price_set": purse.set(shipping),
            "total_tax": tax[0],
            "total_tax_set": purse.set(tax),
            "total_tip_received": purse.pair(doc.get("totalTipReceivedSet"))[0],
            "total_weight": 0,
            "updated_at": self._time(doc, "updatedAt", "createdAt"),
            "user_id": None,
            "billing_address": address(doc.get("billingAddress")),
            "customer": None if person is None else order_customer(self.shop, person),
            "discount_applications": [_application(found) for found in _dicts(doc.get("discountApplications"))],
            "fulfillments": [self.fulfillment(found) for found in _dicts(doc.get("fulfillments"))],
            "line_items": [self._order_line(line) for line in self.lines],
            "payment_terms": None,
            "refunds": [self.refund(found) for found in _dicts(doc.get("refunds"))],
            "shipping_address": address(doc.get("shippingAddress")),
            "shipping_lines": [self._shipping_line(found) for found in _dicts(doc.get("shippingLines"))],
            "returns": [],
            "line_item_groups": [],
        }
        company = (doc.get("purchasingEntity") or {}).get("company") if isinstance(doc.get("purchasingEntity"), dict) else None
        if company:
            location = (doc["purchasingEntity"].get("location") or {}) if isinstance(doc["purchasingEntity"], dict) else {}
            body["company"] = {"id": number(company), "location_id": number(location)}
        return body

    def _outstanding(self) -> str:
        doc, purse = self.doc, self.purse
        if "totalOutstandingSet" in doc:
            return purse.pair(doc["totalOutstandingSet"])[0]
        if doc.get("cancelledAt"):
            return printed(Decimal(0), purse.currency)
        owed = amount_of(doc.get("currentTotalPriceSet", doc.get("totalPriceSet")))
        paid = amount_of(doc.get("totalReceivedSet")) - amount_of(doc.get("totalRefundedSet"))
        return printed(max(Decimal(0), owed - paid), purse.currency)

    def _discount_codes(self) -> list[Doc]:
        """Each code with what it took off, in the shop's currency."""
        taken: dict[Any, Decimal] = {}
        for line in self.lines:
            for part in _dicts(line.get("discountAllocations")):
                index = (part.get("discountApplication") or {}).get("index")
                taken[index] = taken.get(index, Decimal(0)) + amount_of(part.get("allocatedAmountSet"))
        shipping = [
            amount_of(line.get("originalPriceSet")) - amount_of(line.get("discountedPriceSet"))
            for line in _dicts(self.doc.get("shippingLines"))
        ]
        codes = []
        for application in _dicts(self.doc.get("discountApplications")):
            if not application.get("code"):
                continue
            free = application.get("targetType") == "SHIPPING_LINE"
            percent = (application.get("value") or {}).get("__typename") == "PricingPercentageValue"
            amount = sum(shipping, Decimal(0)) if free else taken.get(application.get("index"), Decimal(0))
            kind = "shipping" if free else "percentage" if percent else "fixed_amount"
            codes.append({"code": application["code"], "amount": printed(amount, self.purse.currency), "type": kind})
        return codes

    def _taxes(self, doc: Doc) -> list[Doc]:
        lines = []
        for tax in _dicts(doc.get("taxLines")):
            pair = self.purse.pair(tax.get("priceSet"))
            lines.append(
                {
                    "price": pair[0],
                    "rate": tax.get("rate"),
                    "title": tax.get("title"),
                    "price_set": self.purse.set(pair),
                    "channel_liable": False,
                }
            )
        return lines

    def _shipping_line(self, line: Doc) -> Doc:
        purse = self.purse
        price = purse.pair(line.get("originalPriceSet"))
        charged = purse.pair(line["discountedPriceSet"]) if "discountedPriceSet" in line else price
        return {
            "id": number(line),
            "carrier_identifier": None,
            "code": line.get("code"),
            "current_discounted_price_set": purse.set(charged),
            "discounted_price": charged[0],
            "discounted_price_set": purse.set(charged),
            "is_removed": False,
            "phone": None,
            "price": price[0],
            "price_set": purse.set(price),
            "requested_fulfillment_service_id": None,
            "source": line.get("source"),
            "title": line.get("title"),
            "tax_lines": self._taxes(line),
            "discount_allocations": self._allocations(line),
        }

    # -- lines

    def _gross(self, line: Doc) -> Any:
        if "originalTotalSet" in line:
            return line["originalTotalSet"]
        return str(amount_of(line.get("originalUnitPriceSet")) * units(line.get("quantity")))

    def _allocations(self, line: Doc) -> list[Doc]:
        parts = []
        for part in _dicts(line.get("discountAllocations")):
            pair = self.purse.pair(part.get("allocatedAmountSet"))
            index = (part.get("discountApplication") or {}).get("index")
            parts.append({"amount": pair[0], "discount_application_index": index, "amount_set": self.purse.set(pair)})
        return parts

    def _open_units(self, line: Doc) -> int:
        """What is still to be shipped."""
        if isinstance(line.get("unfulfilledQuantity"), int):
            return units(line["unfulfilledQuantity"])
        return max(0, units(line.get("currentQuantity", line.get("quantity"))) - self.shipped[line.get("id")])

    def line(self, line: Doc) -> Doc:
        """A line as refunds and fulfillments carry it."""
        purse, title, variant_title = self.purse, line.get("title"), line.get("variantTitle")
        variant, product = number(line.get("variant")), number(line.get("product"))
        price = purse.pair(line.get("originalUnitPriceSet"))
        allocations = self._allocations(line)
        own = [
            part.get("allocatedAmountSet")
            for part in _dicts(line.get("discountAllocations"))
            if (part.get("discountApplication") or {}).get("index") in self.explicit
        ]
        discount: Money = purse.sums(own)
        open_units, shipped = self._open_units(line), self.shipped[line.get("id")]
        return {
            "id": number(line),
            "variant_id": self._kept("ProductVariant", variant, variant in self.variants),
            "title": title,
            "quantity": line.get("quantity"),
            "sku": line.get("sku"),
            "variant_title": variant_title,
            "vendor": line.get("vendor"),
            "fulfillment_service": "manual",
            "product_id": self._kept("Product", product, product in self.products),
            "requires_shipping": line.get("requiresShipping", False),
            "taxable": line.get("taxable", False),
            "gift_card": line.get("isGiftCard", False),
            "name": line.get("name") or (f"{title} - {variant_title}" if variant_title else title),
            "variant_inventory_management": "shopify" if variant is not None and self.variants.get(variant) else None,
            "properties": _attributes(line),
            "product_exists": product in self.products,
            "fulfillable_quantity": 0 if self.doc.get("cancelledAt") else open_units,
            "grams": 0,
            "price": price[0],
            "total_discount": discount[0],
            "fulfillment_status": None if not shipped else "partial" if open_units else "fulfilled",
            "price_set": purse.set(price),
            "total_discount_set": purse.set(discount),
            "discount_allocations": allocations,
            "duties": [],
            "admin_graphql_api_id": line.get("id"),
            "tax_lines": self._taxes(line),
        }

    def _kept(self, kind: str, found: int | None, exists: bool) -> int | None:
        """The id of a variant or product, null once it was deleted."""
        if exists or found is None:
            return found
        sql = "SELECT 1 FROM deletions WHERE kind = ? AND id = ?"
        return None if self.store.connection.execute(sql, (kind, found)).fetchone() else found

    def _order_line(self, line: Doc) -> Doc:
        return {
            **self.line(line),
            "attributed_staffs": [],
            "current_quantity": line.get("currentQuantity", line.get("quantity")),
            "sales_line_item_group_id": None,
        }

    # -- parts

    def fulfillment(self, fulfillment: Doc) -> Doc:
        """A shipment as the order carries it; its lines have the units shipped."""
        lines = []
        for row in _dicts(fulfillment.get("fulfillmentLineItems")):
            line = self.by_id.get((row.get("lineItem") or {}).get("id"))
            if line is not None:
                lines.append({**self.line(line), "quantity": row.get("quantity")})
        tracking = _dicts(fulfillment.get("trackingInfo"))
        numbers = [found["number"] for found in tracking if found.get("number")]
        links = [found["url"] for found in tracking if found.get("url")]
        return {
            "id": number(fulfillment),
            "order_id": self.number,
            "status": lowered(fulfillment.get("status")),
            "created_at": self._time(fulfillment, "createdAt"),
            "service": "manual",
            "updated_at": self._time(fulfillment, "updatedAt", "createdAt"),
            "tracking_company": tracking[0].get("company") if tracking else None,
            "shipment_status": SHIPMENT_STATUS.get(fulfillment.get("displayStatus") or ""),
            "location_id": number(fulfillment.get("location")),
            "origin_address": {},
            "line_items": lines,
            "tracking_number": numbers[0] if numbers else None,
            "tracking_numbers": numbers,
            "tracking_url": links[0] if links else None,
            "tracking_urls": links,
            "receipt": {},
            "name": fulfillment.get("name"),
            "admin_graphql_api_id": fulfillment.get("id"),
        }

    def refund(self, refund: Doc) -> Doc:
        """A refund with its lines, its transactions, and the difference between the two as an adjustment."""
        lines = _dicts(refund.get("refundLineItems"))
        named = {found.get("id") for found in _dicts(refund.get("transactions"))}
        identity = number(refund)
        return {
            "id": identity,
            "order_id": self.number,
            "created_at": self._time(refund, "createdAt"),
            "note": refund.get("note"),
            "user_id": None,
            "processed_at": self._time(refund, "processedAt", "createdAt"),
            "duties": [],
            "total_duties_set": self.purse.set(self.purse.pair(None)),
            "return": None,
            "refund_shipping_lines": [],
            "restock": any(line.get("restockType") in RESTOCKED for line in lines),
            "admin_graphql_api_id": refund.get("id"),
            "order_adjustments": self._adjustments(refund, identity, lines),
            "refund_line_items": [self._refund_line(line) for line in lines],
            "transactions": [self.transaction(found) for found in _dicts(self.doc.get("transactions")) if found.get("id") in named],
        }

    def _refund_line(self, row: Doc) -> Doc:
        purse = self.purse
        subtotal, tax = purse.pair(row.get("subtotalSet")), purse.pair(row.get("totalTaxSet"))
        line = self.by_id.get((row.get("lineItem") or {}).get("id"))
        return {
            "id": number(row),
            "quantity": row.get("quantity"),
            "line_item_id": number(row.get("lineItem")),
            "location_id": number(row.get("location")),
            "restock_type": lowered(row.get("restockType")),
            "subtotal": float(amount_of(row.get("subtotalSet"))),
            "total_tax": float(amount_of(row.get("totalTaxSet"))),
            "subtotal_set": purse.set(subtotal),
            "total_tax_set": purse.set(tax),
            "line_item": None if line is None else self.line(line),
        }

    def _adjustments(self, refund: Doc, identity: int | None, lines: list[Doc]) -> list[Doc]:
        """What was paid back beside the worth of the lines: one discrepancy, negative where more was paid."""
        if "totalRefundedSet" not in refund:
            return []
        included = bool(self.doc.get("taxesIncluded"))
        worth = sum(
            (amount_of(line.get("subtotalSet")) + (Decimal(0) if included else amount_of(line.get("totalTaxSet"))) for line in lines),
            Decimal(0),
        )
        over = worth - amount_of(refund["totalRefundedSet"])
        if not over or identity is None:
            return []
        pair, none = self.purse.pair(str(over)), self.purse.pair(None)
        return [
            {
                # The sandbox keeps no adjustments: their id is made of the refund's.
                "id": identity + 1,
                "order_id": self.number,
                "refund_id": identity,
                "amount": pair[0],
                "tax_amount": none[0],
                "kind": "refund_discrepancy",
                "reason": "Refund discrepancy",
                "amount_set": self.purse.set(pair),
                "tax_amount_set": self.purse.set(none),
            }
        ]

    def transaction(self, transaction: Doc) -> Doc:
        """A payment transaction; its amount is in the buyer's currency."""
        pair = self.purse.pair(transaction.get("amountSet"))
        waits = transaction.get("kind") == "AUTHORIZATION" and transaction.get("status") == "SUCCESS"
        unsettled = pair if waits else self.purse.pair(None)
        transactions = _dicts(self.doc.get("transactions"))
        place = next((index for index, found in enumerate(transactions, start=1) if found is transaction), 0)
        return {
            "id": number(transaction),
            "order_id": self.number,
            "kind": lowered(transaction.get("kind")),
            "gateway": transaction.get("gateway"),
            "status": lowered(transaction.get("status")),
            "message": None,
            "created_at": self._time(transaction, "createdAt"),
            "test": transaction.get("test", False),
            "authorization": None,
            "location_id": None,
            "user_id": None,
            "parent_id": number(transaction.get("parentTransaction")),
            "processed_at": self._time(transaction, "processedAt"),
            "device_id": None,
            "error_code": lowered(transaction.get("errorCode")),
            "source_name": self.doc.get("sourceName"),
            "receipt": {},
            "amount": pair[1],
            "currency": self.purse.presentment,
            "payment_id": f"{self.doc.get('name')}.{place}",
            "total_unsettled_set": {
                "presentment_money": {"amount": unsettled[1], "currency": self.purse.presentment},
                "shop_money": {"amount": unsettled[0], "currency": self.purse.currency},
            },
            "manual_payment_gateway": transaction.get("gateway") in ("manual", "bank_transfer"),
            "amount_rounding": None,
            "admin_graphql_api_id": transaction.get("id"),
        }


def _application(application: Doc) -> Doc:
    """A discount application; its place in the list is its index."""
    stored = application.get("value")
    value: Doc = stored if isinstance(stored, dict) else {}
    percent = value.get("__typename") == "PricingPercentageValue"
    body = {
        "target_type": lowered(application.get("targetType")),
        "type": APPLICATION_TYPES.get(application.get("__typename") or "", "manual"),
        "value": str(value.get("percentage") if percent else value.get("amount")),
        "value_type": "percentage" if percent else "fixed_amount",
        "allocation_method": lowered(application.get("allocationMethod")),
        "target_selection": lowered(application.get("targetSelection")),
    }
    if application.get("code"):
        body["code"] = application["code"]
    elif application.get("title"):
        body["title"] = application["title"]
        body["description"] = application["title"]
    return body


def _attributes(doc: Doc) -> list[Doc]:
    return [{"name": found.get("key"), "value": found.get("value")} for found in _dicts(doc.get("customAttributes"))]


def _tags(doc: Doc) -> str:
    tags = doc.get("tags") or ()
    return tags if isinstance(tags, str) else ", ".join(str(tag) for tag in tags)


def _digits(name: Any) -> int:
    digits = "".join(sign for sign in str(name) if sign.isascii() and sign.isdigit())
    return int(digits[:15]) if digits else 0
