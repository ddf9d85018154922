"""`orderCreate`, `orderUpdate`, `orderCancel`, `orderDelete`."""

from __future__ import annotations

import re
import uuid
from decimal import Decimal
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, gid, gid_number, money
from commerce_assets.sandbox.mutations import inventory, metafields
from commerce_assets.sandbox.mutations._shared import (
    Rejected,
    decimal_of,
    given,
    moment,
    mutation,
    new_gid,
    number_of,
    shop_casing,
    sorted_tags,
    split_tags,
    tag_problem,
    user_error,
)
from commerce_assets.sandbox.mutations.fulfillments import fill_quantities, fulfill_lines, fulfillment_status
from commerce_assets.sandbox.mutations.order_money import Currencies, Pair, currencies_of, settle, total_of
from commerce_assets.sandbox.mutations.places import address
from commerce_assets.sandbox.mutations.refunds import add_refund

DOES_NOT_EXIST = "Order does not exist"
FIRST_NUMBER = 1001
CLAIMING = ("DECREMENT_IGNORING_POLICY", "DECREMENT_OBEYING_POLICY")
COPIED = ("email", "phone", "note", "poNumber", "sourceName", "sourceIdentifier", "customAttributes")


@mutation
def order_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """A new order with its lines, discount, shipping, payments; optionally shipped at once, and claiming stock."""
    wanted, options = args["order"], args.get("options") or {}
    now = ctx.now()
    _check_new(ctx, wanted, now)
    number = _next_number(ctx)
    currencies = _currencies(ctx, wanted)
    order: Doc = {
        "id": new_gid(ctx.store, "Order"),
        "name": wanted.get("name") or f"#{number}",
        "number": number,
        "createdAt": now,
        "processedAt": moment(wanted.get("processedAt"), now),
        "updatedAt": now,
        "closedAt": moment(wanted["closedAt"], now) if wanted.get("closedAt") else None,
        "confirmed": True,
        "test": bool(wanted.get("test")),
        "currencyCode": currencies.shop,
        "presentmentCurrencyCode": currencies.presentment,
        "taxesIncluded": bool(wanted.get("taxesIncluded")),
        **{name: wanted[name] for name in COPIED if wanted.get(name) is not None},
        "tags": sorted_tags(split_tags(wanted.get("tags"))),
    }
    if currencies.rate != 1:
        order["presentmentRate"] = str(currencies.rate)
    for field in ("billingAddress", "shippingAddress"):
        if wanted.get(field):
            order[field] = address(wanted[field], new_gid(ctx.store, "MailingAddress"))
    _add_lines(ctx, order, wanted, currencies)
    _add_sums(ctx, order, wanted, currencies)
    _add_transactions(ctx, order, wanted, now, currencies)
    if options.get("inventoryBehaviour") in CLAIMING:
        obey = options["inventoryBehaviour"] == "DECREMENT_OBEYING_POLICY"
        claims = [inventory.claim(ctx, line, obey_policy=obey) for line in order["lineItems"]]
        order["_claims"] = [held for held in claims if held]
        if order["_claims"]:
            order["_assignedLocation"] = {"id": gid("Location", order["_claims"][0]["location"])}
    else:
        order["_claims"] = []
    _ship_at_once(ctx, order, wanted)
    customer = _customer(ctx, wanted, now)
    if customer:
        order["customer"] = {"id": customer}
    ctx.store.put("Order", order)
    writes, _ = metafields.check_given(ctx, "Order", wanted.get("metafields") or (), ["order", "metafields"])
    metafields.write(ctx, metafields.owned_by(order["id"], writes))
    return {"order": {"id": order["id"]}}


def _check_new(ctx: Context, wanted: dict[str, Any], now: str) -> None:
    errors: list[Doc] = []
    lines = wanted.get("lineItems") or ()
    if not lines:
        errors.append(user_error(["order", "lineItems"], "Line items must have at least one line item", "INVALID"))
    nameless = False
    for index, line in enumerate(lines):
        path: list[str | int] = ["order", "lineItems", index]
        variant = line.get("variantId")
        if line["quantity"] < 1:
            errors.append(user_error([*path, "quantity"], "Quantity must be greater than or equal to 1", "INVALID"))
        # An unknown variant is passed over: the line is then a custom one, and needs a title.
        known = variant and metafields.object_exists(ctx, variant, ("ProductVariant",))
        nameless = nameless or (not known and not (line.get("title") or "").strip())
        price = line.get("priceSet")
        if price and decimal_of(price["shopMoney"]["amount"]) < 0:
            errors.append(user_error([*path, "priceSet"], "Price must be greater than or equal to 0", "INVALID"))
    if nameless:
        errors.append(user_error(["order"], "Order Line items is invalid", "INVALID"))
        errors.extend(user_error(["order", "lineItems"], f"Line items {name} can't be blank", "INVALID") for name in ("Name", "Title"))
    if wanted.get("customerId") and wanted.get("customer"):
        message = "Only one of customerId and customer may be given"
        errors.append(user_error(["order", "customerId"], message, "REDUNDANT_CUSTOMER_FIELDS"))
    if wanted.get("processedAt") and moment(wanted["processedAt"], now) > now:
        errors.append(user_error(["order", "processedAt"], "Processed at must not be in the future", "PROCESSED_AT_INVALID"))
    customer = wanted.get("customerId") or ((wanted.get("customer") or {}).get("toAssociate") or {}).get("id")
    if customer and not metafields.object_exists(ctx, customer, ("Customer",)):
        errors.append(user_error(["order", "customerId"], "Customer does not exist", "INVALID"))
    problem = tag_problem(split_tags(wanted.get("tags")))
    if problem:
        errors.append(user_error(["order", "tags"], problem, "INVALID"))
    _, wrong = metafields.check_given(ctx, "Order", wanted.get("metafields") or (), ["order", "metafields"])
    errors.extend({**error, "code": "INVALID"} for error in wrong)
    if errors:
        raise Rejected(errors, order=None)


def _next_number(ctx: Context) -> int:
    last = int(ctx.store.setting("lastOrderNumber") or 0)
    latest = next((doc for _, _, doc in ctx.store.iterate("Order", reverse=True, limit=1)), {})
    digits = re.search(r"\d+", str(latest.get("number") or latest.get("name") or ""))
    number = max(last, int(digits.group()) if digits else 0, FIRST_NUMBER - 1) + 1
    ctx.store.set_setting("lastOrderNumber", number)
    return number


def _currencies(ctx: Context, wanted: dict[str, Any]) -> Currencies:
    priced = [line["priceSet"] for line in wanted["lineItems"] if line.get("priceSet")]
    own = wanted.get("currency") or (priced[0]["shopMoney"]["currencyCode"] if priced else ctx.shop["currencyCode"])
    other = wanted.get("presentmentCurrency") or own
    for price in priced:
        shop, presentment = price["shopMoney"], price.get("presentmentMoney")
        if presentment and decimal_of(shop["amount"]) and presentment["currencyCode"] != own:
            rate = decimal_of(presentment["amount"]) / decimal_of(shop["amount"])
            return Currencies(own, presentment["currencyCode"], rate.quantize(Decimal("0.00000001")))
    return Currencies(own, other)


def _add_lines(ctx: Context, order: Doc, wanted: dict[str, Any], currencies: Currencies) -> None:
    lines: list[Doc] = []
    numbers = ctx.store.next_ids("LineItem", len(wanted["lineItems"]))
    for number, entry in zip(numbers, wanted["lineItems"], strict=True):
        variant = ctx.store.get_by_gid(entry["variantId"]) if entry.get("variantId") else None
        product = ctx.store.parent_of("ProductVariant", gid_number(entry["variantId"])) if variant else None
        unit = currencies.pair(entry["priceSet"] if entry.get("priceSet") else (variant or {}).get("price"))
        quantity = entry["quantity"]
        title = entry.get("title") or (product or {}).get("title") or ""
        variant_title = entry.get("variantTitle") or _variant_title(variant)
        line: Doc = {
            "id": gid("LineItem", number),
            "title": title,
            "name": f"{title} - {variant_title}" if variant_title else title,
            "variantTitle": variant_title,
            "sku": entry.get("sku") or (variant or {}).get("sku"),
            "vendor": entry.get("vendor") or (product or {}).get("vendor"),
            "quantity": quantity,
            "currentQuantity": quantity,
            "unfulfilledQuantity": quantity,
            "refundableQuantity": quantity,
            "isGiftCard": bool(entry.get("giftCard")),
            "requiresShipping": bool(entry.get("requiresShipping")),
            "taxable": entry.get("taxable", True),
            "originalUnitPriceSet": currencies.bag(unit),
            "originalTotalSet": currencies.bag(unit.times(quantity)),
            "customAttributes": [{"key": extra["name"], "value": extra["value"]} for extra in entry.get("properties") or ()],
            "taxLines": _tax_lines(entry.get("taxLines"), currencies),
        }
        owner = entry.get("productId") or (product or {}).get("id")
        if owner:
            line["product"] = {"id": owner}
        if variant:
            line["variant"] = {"id": entry["variantId"]}
        lines.append(line)
    order["lineItems"] = lines
    order["subtotalLineItemsQuantity"] = sum(line["quantity"] for line in lines)


def _variant_title(variant: Doc | None) -> str | None:
    title = (variant or {}).get("title")
    return None if title == "Default Title" else title


def _tax_lines(given_lines: Any, currencies: Currencies) -> list[Doc]:
    return [
        {
            "title": entry["title"],
            "rate": float(decimal_of(entry["rate"])),
            "priceSet": currencies.bag(currencies.pair(entry.get("priceSet"))),
        }
        for entry in given_lines or ()
    ]


def _add_sums(ctx: Context, order: Doc, wanted: dict[str, Any], currencies: Currencies) -> None:
    gross = [currencies.pair(line["originalTotalSet"]) for line in order["lineItems"]]
    shipping = [
        {
            "id": new_gid(ctx.store, "ShippingLine"),
            "title": entry["title"],
            **{name: entry[name] for name in ("code", "source") if entry.get(name) is not None},
            "originalPriceSet": currencies.bag(currencies.pair(entry["priceSet"])),
            "discountedPriceSet": currencies.bag(currencies.pair(entry["priceSet"])),
            "taxLines": _tax_lines(entry.get("taxLines"), currencies),
        }
        for entry in wanted.get("shippingLines") or ()
    ]
    item_discount, shipping_free = _add_discount(order, wanted.get("discountCode") or {}, gross, currencies)
    if shipping_free:
        for entry in shipping:
            entry["discountedPriceSet"] = currencies.bag(Pair())
    order["shippingLines"] = shipping
    charged = total_of(currencies.pair(entry["discountedPriceSet"]) for entry in shipping)
    shipping_discount = total_of(currencies.pair(entry["originalPriceSet"]) for entry in shipping) - charged
    taxes = [*(tax for line in order["lineItems"] for tax in line["taxLines"]), *(tax for entry in shipping for tax in entry["taxLines"])]
    order_taxes = _tax_lines(wanted.get("taxLines"), currencies)
    tax = total_of(currencies.pair(entry["priceSet"]) for entry in taxes or order_taxes)
    order["taxLines"] = order_taxes or _merged(taxes, currencies)
    subtotal = total_of(gross) - item_discount
    total = subtotal + charged + (Pair() if order["taxesIncluded"] else tax)
    for field, pair in (
        ("subtotalPriceSet", subtotal),
        ("currentSubtotalPriceSet", subtotal),
        ("totalDiscountsSet", item_discount + shipping_discount),
        ("currentTotalDiscountsSet", item_discount + shipping_discount),
        ("totalTaxSet", tax),
        ("currentTotalTaxSet", tax),
        ("totalShippingPriceSet", charged),
        ("totalPriceSet", total),
        ("originalTotalPriceSet", total),
        ("currentTotalPriceSet", total),
    ):
        order[field] = currencies.bag(pair)


def _merged(taxes: list[Doc], currencies: Currencies) -> list[Doc]:
    """The order's own tax lines: those of its lines and shipping, one for each title and rate."""
    sums: dict[tuple[str, float], Pair] = {}
    for tax in taxes:
        key = (tax["title"], tax["rate"])
        sums[key] = sums.get(key, Pair()) + currencies.pair(tax["priceSet"])
    return [{"title": title, "rate": rate, "priceSet": currencies.bag(pair)} for (title, rate), pair in sums.items()]


def _add_discount(order: Doc, code: dict[str, Any], gross: list[Pair], currencies: Currencies) -> tuple[Pair, bool]:
    """Put a discount code on the lines; returns what it takes off them, and whether shipping is free."""
    if code.get("freeShippingDiscountCode"):
        _application(
            order, code["freeShippingDiscountCode"]["code"], {"__typename": "PricingPercentageValue", "percentage": 100.0}, "SHIPPING_LINE"
        )
        return Pair(), True
    fixed, share = code.get("itemFixedDiscountCode"), code.get("itemPercentageDiscountCode")
    goods = total_of(gross)
    if fixed:
        off = currencies.pair(fixed.get("amountSet"))
        value: Doc = {"__typename": "MoneyV2", "amount": money(off.shop), "currencyCode": currencies.shop}
        if off.shop > goods.shop:
            off = goods
    elif share:
        percentage = decimal_of(share.get("percentage") or 0)
        off = goods.times(percentage / 100)
        off = Pair(currencies.round(off.shop, currencies.shop), currencies.round(off.presentment, currencies.presentment))
        value = {"__typename": "PricingPercentageValue", "percentage": float(percentage)}
    else:
        return Pair(), False
    _application(order, (fixed or share or {})["code"], value, "LINE_ITEM")
    for line, part in zip(order["lineItems"], currencies.allocate(off, [pair.shop for pair in gross]), strict=True):
        line["discountAllocations"] = [{"allocatedAmountSet": currencies.bag(part), "discountApplication": {"index": 0}}]
    return off, False


def _application(order: Doc, code: str, value: Doc, target: str) -> None:
    order["discountCode"] = code
    order["discountCodes"] = [code]
    order["discountApplications"] = [
        {
            "__typename": "DiscountCodeApplication",
            "index": 0,
            "code": code,
            "allocationMethod": "ACROSS",
            "targetSelection": "ALL",
            "targetType": target,
            "value": value,
        }
    ]


def _add_transactions(ctx: Context, order: Doc, wanted: dict[str, Any], now: str, currencies: Currencies) -> None:
    order["transactions"] = [
        {
            "id": new_gid(ctx.store, "OrderTransaction"),
            "kind": entry.get("kind") or "SALE",
            "status": entry.get("status") or "SUCCESS",
            "gateway": entry.get("gateway") or "",
            "test": bool(entry.get("test")),
            "createdAt": now,
            "processedAt": moment(entry.get("processedAt"), order["processedAt"]),
            "amountSet": currencies.bag(currencies.pair(entry["amountSet"])),
        }
        for entry in wanted.get("transactions") or ()
    ]
    order["paymentGatewayNames"] = list(dict.fromkeys(entry["gateway"] for entry in order["transactions"] if entry["gateway"]))
    settle(order)
    if wanted.get("financialStatus"):
        order["displayFinancialStatus"] = wanted["financialStatus"]


def _ship_at_once(ctx: Context, order: Doc, wanted: dict[str, Any]) -> None:
    status, details = wanted.get("fulfillmentStatus"), wanted.get("fulfillment")
    order["displayFulfillmentStatus"] = "UNFULFILLED"
    if status == "FULFILLED" or (details and status is None):
        location = gid_number(details["locationId"]) if details else None
        tracking = _tracking(details) if details else []
        fulfill_lines(ctx, order, [(line, line["quantity"]) for line in order["lineItems"]], location=location, tracking=tracking)
    elif status == "PARTIAL":
        order["displayFulfillmentStatus"] = "PARTIALLY_FULFILLED"
    elif status == "RESTOCKED":
        order["displayFulfillmentStatus"] = "RESTOCKED"


def _tracking(details: dict[str, Any]) -> list[Doc]:
    numbers = details.get("trackingNumbers") or ([details["trackingNumber"]] if details.get("trackingNumber") else [])
    return [{"number": number, "company": details.get("trackingCompany")} for number in numbers]


def _customer(ctx: Context, wanted: dict[str, Any], now: str) -> str | None:
    """The gid of the order's customer: named, made or changed on the way, or known by e-mail."""
    chosen = wanted.get("customer") or {}
    if wanted.get("customerId"):
        return str(wanted["customerId"])
    if chosen.get("toAssociate"):
        return str(chosen["toAssociate"]["id"])
    upsert = chosen.get("toUpsert")
    email = (upsert or {}).get("email") or wanted.get("email")
    known = next((doc for _, _, doc in ctx.store.iterate("Customer", "t.email = ?", (email,), limit=1)), None) if email else None
    if upsert is None:
        return str(known["id"]) if known else None
    if upsert.get("id"):
        known = ctx.store.get("Customer", number_of(upsert["id"], "Customer")) or known
    customer = known or {"id": new_gid(ctx.store, "Customer"), "state": "DISABLED", "locale": "en", "createdAt": now}
    customer = {
        **customer,
        **{name: upsert[name] for name in ("firstName", "lastName", "note", "taxExempt") if upsert.get(name) is not None},
    }
    if email:
        customer["defaultEmailAddress"] = {**(customer.get("defaultEmailAddress") or {}), "emailAddress": email}
        customer["verifiedEmail"] = True
    if upsert.get("phone"):
        customer["defaultPhoneNumber"] = {**(customer.get("defaultPhoneNumber") or {}), "phoneNumber": upsert["phone"]}
    if upsert.get("tags"):
        customer["tags"] = sorted_tags(shop_casing(ctx.store, split_tags([*(customer.get("tags") or ()), *upsert["tags"]])))
    if upsert.get("addresses") and not customer.get("addressesV2"):
        customer["addressesV2"] = [address(entry, new_gid(ctx.store, "MailingAddress")) for entry in upsert["addresses"]]
        customer["defaultAddress"] = {"id": customer["addressesV2"][0]["id"]}
    customer["updatedAt"] = now
    ctx.store.put("Customer", customer)
    return str(customer["id"])


@mutation
def order_update(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Change what is given of an order's contact, note, tags, attributes, address, metafields."""
    wanted = args["input"]
    order = ctx.store.get("Order", number_of(wanted["id"], "Order"))
    if order is None:
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], order=None)
    errors: list[Doc] = []
    changed = {**order, **given(wanted, "customAttributes", "email", "note", "phone", "poNumber")}
    if "tags" in wanted:
        changed["tags"] = sorted_tags(split_tags(wanted["tags"]))
        problem = tag_problem(changed["tags"])
        if problem:
            errors.append(user_error(["tags"], problem))
    if wanted.get("shippingAddress"):
        old = order.get("shippingAddress") or {}
        changed["shippingAddress"] = address(wanted["shippingAddress"], old.get("id") or new_gid(ctx.store, "MailingAddress"))
    writes, wrong = metafields.check_given(ctx, "Order", wanted.get("metafields") or (), ["metafields"])
    errors.extend(wrong)
    if errors:
        raise Rejected(errors, order=None)
    changed["updatedAt"] = ctx.now()
    ctx.store.put("Order", changed)
    metafields.write(ctx, metafields.owned_by(order["id"], writes))
    return {"order": {"id": order["id"]}}


@mutation
def order_cancel(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Cancel an order at once (the real store does it in a job): stock back or not, payment back or not."""
    order = ctx.store.get("Order", number_of(args["orderId"], "Order"))
    if order is None:
        _refuse_cancel(["orderId"], DOES_NOT_EXIST, "NOT_FOUND")
        raise AssertionError  # unreachable: the line above raises
    if order.get("cancelledAt"):
        _refuse_cancel(["orderId"], "Cannot cancel an order that has already been canceled", "INVALID")
    fill_quantities(order)
    now, reason = ctx.now(), args["reason"]
    pay_back = bool(args.get("refund")) or bool((args.get("refundMethod") or {}).get("originalPaymentMethodsRefund"))
    currencies = currencies_of(order)
    open_lines = [line for line in order.get("lineItems") or () if line.get("currentQuantity")]
    net = currencies.pair(order.get("totalReceivedSet")) - currencies.pair(order.get("totalRefundedSet"))
    authorized_only = order.get("displayFinancialStatus") in ("AUTHORIZED", "PENDING", None)
    order.update({"cancelledAt": now, "cancelReason": reason, "closedAt": order.get("closedAt") or now, "updatedAt": now})
    if args.get("staffNote"):
        order["cancellation"] = {"staffNote": args["staffNote"]}
    payments: list[tuple[Doc | None, Pair]] = [(None, net)] if pay_back and net.shop > 0 else []
    if open_lines:
        rows = [
            {"line": line, "quantity": line["currentQuantity"], "restock": "CANCEL" if args["restock"] else "NO_RESTOCK", "location": None}
            for line in open_lines
        ]
        add_refund(ctx, order, rows, payments, at=now, note=None)
    if authorized_only and net.shop <= 0:
        order["displayFinancialStatus"] = "VOIDED"
    order["displayFulfillmentStatus"] = fulfillment_status(order)
    ctx.store.put("Order", order)
    return {"job": {"id": f"gid://shopify/Job/{uuid.uuid4()}", "done": False}, "orderCancelUserErrors": []}


def _refuse_cancel(path: list[str], message: str, code: str) -> None:
    error = user_error(path, message, code)
    raise Rejected([error], job=None, orderCancelUserErrors=[error])


@mutation
def order_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Remove an order; what it holds of the stock is available again."""
    order = ctx.store.get("Order", number_of(args["orderId"], "Order"))
    if order is None:
        raise Rejected([user_error(["orderId"], DOES_NOT_EXIST, "NOT_FOUND")], deletedId=None)
    fill_quantities(order)
    for line in order.get("lineItems") or ():
        inventory.release(ctx, order, line, line.get("unfulfilledQuantity") or 0, restock=True)
    ctx.store.delete("Order", gid_number(order["id"]), ctx.now())
    return {"deletedId": order["id"]}
