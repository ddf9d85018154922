"""`fulfillmentCreate`: shipping what fulfillment orders hold.

Every order has one fulfillment order, derived from it when read (`resolvers.fulfillment_orders`): it has the order's
number, its lines have the numbers of the order's lines. The real store has one for each location; here one call ships from every
location that holds the lines, as a shipment each, and answers with the first.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, fulfillment_doc, gid_number
from commerce_assets.sandbox.mutations import inventory
from commerce_assets.sandbox.mutations._shared import Rejected, mutation, number_of, user_error
from commerce_assets.sandbox.resolvers import fulfillment_orders
from commerce_assets.sandbox.store import Store


def fill_quantities(order: Doc) -> None:
    """Spell out what documents leave out where it is as usual: what is left of each line, and what of it is to be shipped."""
    shipped: Counter[str] = Counter()
    for entry in order.get("fulfillments") or ():
        if entry.get("status") == "SUCCESS":
            for row in entry.get("fulfillmentLineItems") or ():
                shipped[row["lineItem"]["id"]] += row["quantity"]
    for line in order.get("lineItems") or ():
        left = line.setdefault("currentQuantity", line["quantity"])
        line.setdefault("unfulfilledQuantity", max(left - shipped[line["id"]], 0))


def _assigned(store: Store, order: Doc) -> int | None:
    """Where the order is to be shipped from: where its stock is claimed, else the shop's first active location."""
    if order.get("_assignedLocation"):
        return gid_number(order["_assignedLocation"]["id"])
    return next((number for _, number, _ in store.iterate("Location", "t.is_active", limit=1)), None)


def fulfillment_status(order: Doc) -> str:
    """An order's fulfillment status, by what is left to ship."""
    lines = order.get("lineItems") or ()
    left = sum(line.get("unfulfilledQuantity") or 0 for line in lines)
    shipped = any(entry.get("status") == "SUCCESS" for entry in order.get("fulfillments") or ())
    if shipped:
        return "PARTIALLY_FULFILLED" if left else "FULFILLED"
    return "UNFULFILLED"


def fulfill_lines(ctx: Context, order: Doc, lines: list[tuple[Doc, int]], *, location: int | None, tracking: list[Doc]) -> list[Doc]:
    """Add shipments of these (line, quantity) to an order: lines, status and stock follow. The order is not put back.

    Without a `location` there is one shipment for each place that the units leave, so that documents and levels agree; what is not
    counted anywhere goes with the first.
    """
    now = ctx.now()
    parcels: dict[int | None, list[tuple[Doc, int]]] = {}
    loose: list[tuple[Doc, int]] = []
    for line, quantity in lines:
        left = quantity
        for place, units in inventory.ship(ctx, order, line, quantity).items():
            parcels.setdefault(place, []).append((line, units))
            left -= units
        if left or not quantity:
            loose.append((line, left))
        line["unfulfilledQuantity"] = max((line.get("unfulfilledQuantity") or 0) - quantity, 0)
    if location is not None:
        parcels = {location: list(lines)}
    elif loose or not parcels:
        parcels.setdefault(next(iter(parcels), _assigned(ctx.store, order)), []).extend(loose)
    made = [_shipment(ctx, order, rows, now, place, tracking) for place, rows in parcels.items()]
    order["displayFulfillmentStatus"] = fulfillment_status(order)
    order["updatedAt"] = now
    return made


def _shipment(ctx: Context, order: Doc, rows: list[tuple[Doc, int]], now: str, location: int | None, tracking: list[Doc]) -> Doc:
    quantities: dict[int, int] = {}
    for line, quantity in rows:
        number = gid_number(line["id"])
        quantities[number] = quantities.get(number, 0) + quantity
    shipments = order.setdefault("fulfillments", [])
    numbers = ctx.store.next_ids("FulfillmentLineItem", len(quantities))
    fulfillment = fulfillment_doc(
        ctx.store.next_id("Fulfillment"),
        f"{order['name']}-F{len(shipments) + 1}",
        now,
        location=location,
        lines=[(number, line, quantity) for number, (line, quantity) in zip(numbers, quantities.items(), strict=True)],
        trackingInfo=tracking,
    )
    shipments.append(fulfillment)
    return fulfillment


@mutation
def fulfillment_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Ship what is named, or all that remains, of one order's fulfillment order."""
    wanted = args["fulfillment"]
    groups = wanted["lineItemsByFulfillmentOrder"]
    path = ["fulfillment", "lineItemsByFulfillmentOrder"]
    if not groups:
        raise Rejected([user_error(path, "Line items by fulfillment order can't be blank")], fulfillment=None)
    numbers = {number_of(group["fulfillmentOrderId"], "FulfillmentOrder") for group in groups}
    order = ctx.store.get("Order", min(numbers))
    if order is None or len(numbers) > 1:
        message = "Fulfillment order does not exist." if order is None else "All fulfillment orders must be of one order."
        raise Rejected([user_error([*path, "fulfillmentOrderId"], message)], fulfillment=None)
    fill_quantities(order)
    derived = fulfillment_orders(order)
    if not derived or derived[0]["status"] not in ("OPEN", "IN_PROGRESS"):
        status = derived[0]["status"].lower() if derived else "closed"
        message = f"Fulfillment order {min(numbers)} has an unfulfillable status= {status}."
        raise Rejected([user_error(["fulfillment"], message)], fulfillment=None)
    lines = _wanted_lines(order, groups)
    tracking = _tracking(wanted.get("trackingInfo") or {})
    shipments = fulfill_lines(ctx, order, lines, location=None, tracking=tracking)
    ctx.store.put("Order", order)
    return {"fulfillment": {"id": shipments[0]["id"]}}


def _wanted_lines(order: Doc, groups: list[dict[str, Any]]) -> list[tuple[Doc, int]]:
    by_number = {gid_number(line["id"]): line for line in order["lineItems"]}
    wanted: dict[int, int] = {}
    for group in groups:
        rows = group.get("fulfillmentOrderLineItems")
        if not rows:
            wanted.update({number: line.get("unfulfilledQuantity") or 0 for number, line in by_number.items()})
            continue
        for row in rows:
            number = number_of(row["id"], "FulfillmentOrderLineItem")
            wanted[number] = wanted.get(number, 0) + row["quantity"]
    lines = []
    for number, quantity in wanted.items():
        line = by_number.get(number)
        if line is None or quantity > (line.get("unfulfilledQuantity") or 0) or quantity < 0:
            raise Rejected([user_error(["fulfillment"], "Invalid fulfillment order line item quantity requested.")], fulfillment=None)
        if quantity:
            lines.append((line, quantity))
    return lines


def _tracking(given: dict[str, Any]) -> list[Doc]:
    numbers = given.get("numbers") or ([given["number"]] if given.get("number") else [])
    links = given.get("urls") or ([given["url"]] if given.get("url") else [])
    return [
        {"number": number, "company": given.get("company"), "url": links[index] if index < len(links) else None}
        for index, number in enumerate(numbers)
    ]
