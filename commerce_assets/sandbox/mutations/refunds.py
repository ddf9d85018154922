"""`refundCreate`, and the refund that a cancelled order gets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, gid, gid_number
from commerce_assets.sandbox.mutations import inventory
from commerce_assets.sandbox.mutations._shared import (
    Rejected,
    decimal_of,
    idempotent_mutation,
    moment,
    new_gid,
    number_of,
    user_error,
)
from commerce_assets.sandbox.mutations.fulfillments import fill_quantities, fulfillment_status
from commerce_assets.sandbox.mutations.order_money import Currencies, Pair, currencies_of, settle, shown, total_of

RESTOCKED = ("RETURN", "CANCEL", "LEGACY_RESTOCK")


@idempotent_mutation
def refund_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Refund lines, shipping, money; restock or not."""
    wanted = args["input"]
    order = ctx.store.get("Order", number_of(wanted["orderId"], "Order"))
    if order is None:
        raise Rejected([user_error(["orderId"], "Order does not exist")], refund=None, order=None)
    fill_quantities(order)
    rows = _rows(order, wanted.get("refundLineItems") or ())
    currencies = currencies_of(order)
    payments = _payments(order, wanted, currencies)
    now = ctx.now()
    shipping = _shipping(order, wanted.get("shipping") or {}, currencies)
    refund = add_refund(
        ctx,
        order,
        rows,
        payments,
        at=now,
        note=wanted.get("note"),
        shipping=shipping,
        processed_at=moment(wanted.get("processedAt"), now),
    )
    order["displayFulfillmentStatus"] = fulfillment_status(order)
    order["updatedAt"] = now
    ctx.store.put("Order", order)
    return {"refund": {"id": refund["id"]}, "order": {"id": order["id"]}}


def _rows(order: Doc, entries: Any) -> list[Doc]:
    """The lines to be refunded, each with its line document; more than is left to refund is an error."""
    lines = {line["id"]: line for line in order.get("lineItems") or ()}
    asked: dict[str, int] = {}
    rows, errors = [], []
    for index, entry in enumerate(entries):
        line = lines.get(entry["lineItemId"])
        path: list[str | int] = ["refundLineItems", index]
        if line is None:
            errors.append(user_error([*path, "lineItemId"], "Line item does not exist"))
            continue
        asked[line["id"]] = asked.get(line["id"], 0) + entry["quantity"]
        if entry["quantity"] < 1:
            errors.append(user_error([*path, "quantity"], "Quantity must be greater than 0"))
        elif asked[line["id"]] > refundable(order, line):
            errors.append(user_error([*path, "quantity"], "Quantity cannot refund more items than were purchased"))
        restock = entry.get("restockType") or "NO_RESTOCK"
        location = gid_number(entry["locationId"]) if entry.get("locationId") else None
        if restock == "RETURN" and location is None and not entry.get("restockType"):
            errors.append(user_error([*path, "locationId"], "Location is required to restock"))
        rows.append({"line": line, "quantity": entry["quantity"], "restock": restock, "location": location})
    if errors:
        raise Rejected(errors, refund=None, order={"id": order["id"]})
    return rows


def refundable(order: Doc, line: Doc) -> int:
    """Units of a line not refunded yet."""
    done = sum(
        row["quantity"]
        for refund in order.get("refunds") or ()
        for row in refund.get("refundLineItems") or ()
        if row["lineItem"]["id"] == line["id"]
    )
    return min(int(line["quantity"]) - done, int(line.get("currentQuantity") or 0))


def _payments(order: Doc, wanted: dict[str, Any], currencies: Currencies) -> list[tuple[Doc | None, Pair]]:
    """What is paid back, each with the transaction it reverses; more than was received is an error."""
    known = {entry["id"]: entry for entry in order.get("transactions") or ()}
    payments: list[tuple[Doc | None, Pair]] = []
    for entry in wanted.get("transactions") or ():
        amount = decimal_of(entry["amount"])
        payments.append((known.get(entry.get("parentId") or ""), _in_shop_money(amount, wanted, currencies)))
    for method in wanted.get("refundMethods") or ():
        credit = method.get("storeCreditRefund")
        if credit:
            amount = decimal_of(credit["amount"]["amount"])
            payments.append(({"gateway": "shopify_store_credit"}, _in_shop_money(amount, wanted, currencies)))
    net = currencies.pair(order.get("totalReceivedSet")) - currencies.pair(order.get("totalRefundedSet"))
    paid_back = total_of(pair for _, pair in payments)
    if paid_back.shop > net.shop:
        asked, left = shown(paid_back.shop, currencies.shop), shown(net.shop, currencies.shop)
        message = f"Refund amount {asked} is greater than net payment received {left}"
        raise Rejected([user_error(None, message)], refund=None, order={"id": order["id"]})
    return payments


def _in_shop_money(amount: Decimal, wanted: dict[str, Any], currencies: Currencies) -> Pair:
    """An amount in the currency the input names (the shop's by default)."""
    if wanted.get("currency") == currencies.presentment != currencies.shop and currencies.rate:
        return Pair(currencies.round(amount / currencies.rate, currencies.shop), amount)
    return currencies.pair(amount)


def _shipping(order: Doc, wanted: dict[str, Any], currencies: Currencies) -> Pair:
    if wanted.get("fullRefund"):
        return currencies.pair(order.get("totalShippingPriceSet")) - currencies.pair(order.get("totalRefundedShippingSet"))
    return currencies.pair(wanted.get("amount"))


def add_refund(
    ctx: Context,
    order: Doc,
    rows: list[Doc],
    payments: list[tuple[Doc | None, Pair]],
    *,
    at: str,
    note: str | None,
    shipping: Pair | None = None,
    processed_at: str | None = None,
) -> Doc:
    """Add a refund to an order: lines, transactions, stock, sums and status follow. The order is not put back."""
    currencies = currencies_of(order)
    lines, worth = [], shipping or Pair()
    numbers = ctx.store.next_ids("RefundLineItem", len(rows))
    for number, row in zip(numbers, rows, strict=True):
        entry, value = _line(number, row, order, currencies)
        lines.append(entry)
        worth = worth + value
        _restock(ctx, order, row)
        line, quantity = row["line"], row["quantity"]
        line["currentQuantity"] = (line.get("currentQuantity") or 0) - quantity
        line["refundableQuantity"] = refundable(order, line)
    transactions = [_transaction(ctx, parent, pair, at, currencies) for parent, pair in payments]
    order.setdefault("transactions", []).extend(transactions)
    paid_back = total_of(pair for _, pair in payments)
    refund: Doc = {
        "id": new_gid(ctx.store, "Refund"),
        "createdAt": at,
        "processedAt": processed_at or at,
        "updatedAt": at,
        "note": note,
        "totalRefundedSet": currencies.bag(paid_back),
        "refundLineItems": lines,
        "transactions": [{"id": entry["id"]} for entry in transactions],
    }
    order.setdefault("refunds", []).append(refund)
    if shipping:
        order["totalRefundedShippingSet"] = currencies.bag(currencies.pair(order.get("totalRefundedShippingSet")) + shipping)
    status = order.get("displayFinancialStatus")
    settle(order)
    if not payments:
        order["displayFinancialStatus"] = status
    # Money paid back beside what lines and shipping are worth is an adjustment of the order's total.
    less = paid_back if payments else worth
    current = currencies.pair(order.get("currentTotalPriceSet")) - less
    order["currentTotalPriceSet"] = currencies.bag(current if current.shop > 0 else Pair())
    return refund


def _line(number: int, row: Doc, order: Doc, currencies: Currencies) -> tuple[Doc, Pair]:
    """A refund line, and what it is worth to the buyer."""
    line, quantity = row["line"], row["quantity"]
    share = Decimal(quantity) / Decimal(line["quantity"])
    unit = currencies.pair(line["originalUnitPriceSet"])
    off = total_of(currencies.pair(part["allocatedAmountSet"]) for part in line.get("discountAllocations") or ())
    tax = total_of(currencies.pair(entry["priceSet"]) for entry in line.get("taxLines") or ()).times(share)
    subtotal = unit.times(quantity) - off.times(share)
    entry: Doc = {
        "id": gid("RefundLineItem", number),
        "lineItem": {"id": line["id"]},
        "quantity": quantity,
        "restockType": row["restock"],
        "restocked": row["restock"] in RESTOCKED,
        "location": None if row["location"] is None else {"id": gid("Location", row["location"])},
        "priceSet": currencies.bag(unit),
        "subtotalSet": currencies.bag(subtotal),
        "totalTaxSet": currencies.bag(tax),
    }
    return entry, subtotal if order.get("taxesIncluded") else subtotal + tax


def _restock(ctx: Context, order: Doc, row: Doc) -> None:
    """Units not shipped are released first; the rest, when restocked, comes back to the shelf."""
    line, quantity, restock = row["line"], row["quantity"], row["restock"] in RESTOCKED
    waiting = min(line.get("unfulfilledQuantity") or 0, quantity)
    if row["restock"] == "RETURN":
        waiting = max(0, quantity - (line["quantity"] - (line.get("unfulfilledQuantity") or 0)))
    if waiting:
        inventory.release(ctx, order, line, waiting, restock=restock)
        line["unfulfilledQuantity"] -= waiting
    if restock and quantity > waiting:
        inventory.take_back(ctx, line.get("variant"), row["location"], quantity - waiting)


def _transaction(ctx: Context, parent: Doc | None, pair: Pair, at: str, currencies: Currencies) -> Doc:
    entry: Doc = {
        "id": new_gid(ctx.store, "OrderTransaction"),
        "kind": "REFUND",
        "status": "SUCCESS",
        "gateway": (parent or {}).get("gateway") or "manual",
        "test": bool((parent or {}).get("test")),
        "createdAt": at,
        "processedAt": at,
        "amountSet": currencies.bag(pair),
    }
    if parent and "id" in parent:
        entry["parentTransaction"] = {"id": parent["id"]}
    return entry
