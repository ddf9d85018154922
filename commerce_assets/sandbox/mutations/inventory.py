"""`inventorySetQuantities` and `inventoryAdjustQuantities`, and how orders claim, ship, release and return stock.

`on_hand` is the sum of `available`, `committed` and what is set aside; `incoming` is not on hand. `Store.adjust_inventory`
keeps that true: every delta of a part moves `on_hand` along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import Doc, InventoryLevel, gid, gid_number, inventory_level, parse_gid
from commerce_assets.sandbox.mutations._shared import IDEMPOTENT_FROM, Rejected, idempotent_mutation, new_gid, user_error

REASONS = (
    *("correction", "cycle_count_available", "damaged", "movement_canceled", "movement_created", "movement_received"),
    *("movement_updated", "other", "promotion", "quality_control", "received", "reservation_created", "reservation_deleted"),
    *("reservation_updated", "restock", "safety_stock", "shrinkage"),
)
SETTABLE = ("available", "on_hand")
ADJUSTABLE = ("available", "damaged", "incoming", "quality_control", "reserved", "safety_stock")
SET_BOUND = 1_000_000_000
ADJUST_BOUND = 2_000_000_000
ITEM_MISSING = ("The specified inventory item could not be found.", "INVALID_INVENTORY_ITEM")
LOCATION_MISSING = ("The specified location could not be found.", "INVALID_LOCATION")
NOTHING = {"inventoryAdjustmentGroup": None}

# (inventory item, location, name of the quantity, delta, ledger document)
Change = tuple[int, int, str, int, str | None]


@idempotent_mutation
def inventory_set_quantities(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Set `available` or `on_hand` of items at locations, all or none."""
    wanted = args["input"]
    _require_change_from(ctx, wanted["quantities"], "quantities")
    name = wanted["name"]
    if name not in SETTABLE:
        message = "The quantity name must be either 'available' or 'on_hand'."
        raise Rejected([user_error(["input", "name"], message, "INVALID_NAME")], **NOTHING)
    _check_reason(wanted["reason"])
    rows = wanted["quantities"]
    errors = _duplicates(rows) or _set_bounds(name, rows) or _missing(ctx, rows, "quantities")
    errors = errors or _stale(ctx, name, rows, "quantities", "changeFromQuantity", "CHANGE_FROM_QUANTITY_STALE")
    errors = errors or _compared(ctx, wanted)
    if errors:
        raise Rejected(errors, **NOTHING)
    changes: list[Change] = []
    for row in rows:
        item, location = gid_number(row["inventoryItemId"]), gid_number(row["locationId"])
        delta = row["quantity"] - _quantity(_stocked(ctx, item, location), name)
        if delta:
            # What is on hand more or less than before is there for sale: `available` takes the difference.
            changes.append((item, location, "available", delta, None))
    return {"inventoryAdjustmentGroup": _apply(ctx, changes, wanted)}


@idempotent_mutation
def inventory_adjust_quantities(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Add to or take from quantities of items at locations, all or none."""
    wanted = args["input"]
    _require_change_from(ctx, wanted["changes"], "changes")
    name, rows = wanted["name"], wanted["changes"]
    if name not in ADJUSTABLE:
        names = ", ".join(ADJUSTABLE)
        message = f"The specified quantity name is invalid. Valid values are: {names}."
        raise Rejected([user_error(["input", "name"], message, "INVALID_QUANTITY_NAME")], **NOTHING)
    _check_reason(wanted["reason"])
    errors = _ledger_errors(name, rows) or _adjust_bounds(rows) or _missing(ctx, rows, "changes")
    errors = errors or _stale(ctx, name, rows, "changes", "changeFromQuantity", "CHANGE_FROM_QUANTITY_STALE")
    if errors:
        raise Rejected(errors, **NOTHING)
    changes: list[Change] = []
    for row in rows:
        if row["delta"]:
            item, location = gid_number(row["inventoryItemId"]), gid_number(row["locationId"])
            _stocked(ctx, item, location)
            changes.append((item, location, name, row["delta"], row.get("ledgerDocumentUri")))
    return {"inventoryAdjustmentGroup": _apply(ctx, changes, wanted)}


def _require_change_from(ctx: Context, rows: Sequence[Doc], field: str) -> None:
    """From 2026-04 every row says what it changes from, if only null."""
    if ctx.api_version < IDEMPOTENT_FROM:
        return
    for index, row in enumerate(rows):
        if "changeFromQuantity" not in row:
            message = f"The changeFromQuantity argument must be given (or null) for input.{field}.{index}."
            raise RequestError(message, code="BAD_REQUEST")


def _check_reason(reason: str) -> None:
    if reason not in REASONS:
        message = f"The specified reason is invalid. Valid values are: {', '.join(REASONS)}."
        raise Rejected([user_error(["input", "reason"], message, "INVALID_REASON")], **NOTHING)


def _duplicates(rows: Sequence[Doc]) -> list[Doc]:
    seen = Counter((row["inventoryItemId"], row["locationId"]) for row in rows)
    message = "The combination of inventoryItemId and locationId must be unique."
    return [
        user_error(["input", "quantities", index, "locationId"], message, "NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR")
        for index, row in enumerate(rows)
        if seen[(row["inventoryItemId"], row["locationId"])] > 1
    ]


def _set_bounds(name: str, rows: Sequence[Doc]) -> list[Doc]:
    errors = []
    for index, row in enumerate(rows):
        quantity, path = row["quantity"], ["input", "quantities", index, "quantity"]
        if quantity > SET_BOUND:
            errors.append(user_error(path, f"The quantity can't be higher than {SET_BOUND:,}.", "INVALID_QUANTITY_TOO_HIGH"))
        elif name == "on_hand" and quantity < 0:
            errors.append(user_error(path, "The quantity can't be negative.", "INVALID_QUANTITY_NEGATIVE"))
        elif quantity < -SET_BOUND:
            errors.append(user_error(path, f"The quantity can't be lower than -{SET_BOUND:,}.", "INVALID_QUANTITY_TOO_LOW"))
    return errors


def _adjust_bounds(rows: Sequence[Doc]) -> list[Doc]:
    errors = []
    for index, row in enumerate(rows):
        path = ["input", "changes", index, "delta"]
        if row["delta"] > ADJUST_BOUND:
            errors.append(user_error(path, f"The quantity can't be higher than {ADJUST_BOUND:,}.", "INVALID_QUANTITY_TOO_HIGH"))
        elif row["delta"] < -ADJUST_BOUND:
            errors.append(user_error(path, f"The quantity can't be lower than -{ADJUST_BOUND:,}.", "INVALID_QUANTITY_TOO_LOW"))
    return errors


def _ledger_errors(name: str, rows: Sequence[Doc]) -> list[Doc]:
    errors = []
    for index, row in enumerate(rows):
        document, path = row.get("ledgerDocumentUri"), ["input", "changes", index, "ledgerDocumentUri"]
        if name == "available" and document is not None:
            message = "A ledger document URI is not allowed when adjusting available."
            errors.append(user_error(path, message, "INVALID_AVAILABLE_DOCUMENT"))
        elif name != "available" and not document:
            message = "A ledger document URI is required except when adjusting available."
            errors.append(user_error(path, message, "INVALID_QUANTITY_DOCUMENT"))
        elif document and document.startswith("gid://shopify/"):
            message = "Internal (gid://shopify/) ledger documents are not allowed to be adjusted via API."
            errors.append(user_error(path, message, "INTERNAL_LEDGER_DOCUMENT"))
    if not errors and len({row.get("ledgerDocumentUri") for row in rows}) > 1:
        message = "All changes must have the same ledger document URI or, in the case of adjusting available, no ledger document URI."
        errors.append(user_error(["input", "changes"], message, "MAX_ONE_LEDGER_DOCUMENT"))
    return errors


def _missing(ctx: Context, rows: Sequence[Doc], field: str) -> list[Doc]:
    errors = []
    for index, row in enumerate(rows):
        if not _exists(ctx, "InventoryItem", row["inventoryItemId"]):
            errors.append(user_error(["input", field, index, "inventoryItemId"], *ITEM_MISSING))
        if not _exists(ctx, "Location", row["locationId"]):
            errors.append(user_error(["input", field, index, "locationId"], *LOCATION_MISSING))
    return errors


def _exists(ctx: Context, kind: str, value: str) -> bool:
    try:
        given, number = parse_gid(value)
    except ValueError:
        return False
    return given == kind and ctx.store.count(kind, "t.id = ?", (number,)) > 0


def _stale(ctx: Context, name: str, rows: Sequence[Doc], field: str, argument: str, code: str) -> list[Doc]:
    errors = []
    for index, row in enumerate(rows):
        seen = row.get(argument)
        level = ctx.store.level(gid_number(row["inventoryItemId"]), gid_number(row["locationId"]))
        if seen is not None and seen != _quantity(level, name):
            path = ["input", field, index, argument]
            errors.append(user_error(path, f"The {argument} argument no longer matches the persisted quantity.", code))
    return errors


def _compared(ctx: Context, wanted: Doc) -> list[Doc]:
    """Before 2026-04: every quantity says what it was (`compareQuantity`), or all are set regardless."""
    rows = wanted["quantities"]
    if ctx.api_version >= IDEMPOTENT_FROM or wanted.get("ignoreCompareQuantity"):
        return []
    if any(row.get("compareQuantity") is None and row.get("changeFromQuantity") is None for row in rows):
        message = "The compareQuantity argument must be given to each quantity or ignored using ignoreCompareQuantity."
        return [user_error(["input", "ignoreCompareQuantity"], message, "COMPARE_QUANTITY_REQUIRED")]
    return _stale(ctx, wanted["name"], rows, "quantities", "compareQuantity", "COMPARE_QUANTITY_STALE")


def _quantity(level: InventoryLevel | None, name: str) -> int:
    return level["quantities"].get(name, 0) if level else 0


def _stocked(ctx: Context, item: int, location: int) -> InventoryLevel:
    """The level of an item at a location; it is stocked there when it was not."""
    level = ctx.store.level(item, location)
    if level is None:
        level = inventory_level(item, location, ctx.now(), available=0, on_hand=0)
        ctx.store.put_level(level)
    elif not level["isActive"]:
        level["isActive"] = True
        ctx.store.put_level(level)
    return level


def _apply(ctx: Context, changes: Sequence[Change], wanted: Doc) -> Doc | None:
    """Make the changes and describe them: the named quantities first, then what moved on hand along. None for no change."""
    if not changes:
        return None
    now = ctx.now()
    ctx.store.adjust_inventory([(item, location, name, delta) for item, location, name, delta, _ in changes], now)
    mirrored: list[Change] = [(item, location, "on_hand", delta, None) for item, location, name, delta, _ in changes if name != "incoming"]
    return {
        "id": new_gid(ctx.store, "InventoryAdjustmentGroup"),
        "createdAt": now,
        "reason": wanted["reason"],
        "referenceDocumentUri": wanted.get("referenceDocumentUri"),
        "changes": [
            {
                "name": name,
                "delta": delta,
                "quantityAfterChange": None,
                "ledgerDocumentUri": document,
                "item": {"id": gid("InventoryItem", item)},
                "location": {"id": gid("Location", location)},
            }
            for item, location, name, delta, document in (*changes, *mirrored)
        ],
    }


# -- orders and their stock
#
# An order keeps what it holds of the stock under "_claims": a list of {lineItem, item, location, quantity}, the units
# still committed. It is not a field of the API.


def tracked_item(ctx: Context, variant: int) -> int | None:
    """The inventory item of a variant, when its stock is counted."""
    doc = ctx.store.get("ProductVariant", variant)
    item = (doc or {}).get("inventoryItem")
    return gid_number(item["id"]) if item and item.get("tracked") else None


def claim(ctx: Context, line: Doc, *, obey_policy: bool) -> Doc | None:
    """Commit a new line's units where the item is stocked; None where nothing is counted.

    With `obey_policy` a variant that must not be oversold raises `Rejected`.
    """
    variant = line.get("variant")
    item = tracked_item(ctx, gid_number(variant["id"])) if variant else None
    if item is None:
        return None
    levels = [level for level in ctx.store.levels(item) if level["isActive"]]
    if not levels:
        return None
    quantity = line["quantity"]
    best = next((level for level in levels if _quantity(level, "available") >= quantity), None)
    if best is None:
        doc = ctx.store.get("ProductVariant", gid_number(variant["id"])) if variant else None
        if obey_policy and (doc or {}).get("inventoryPolicy", "DENY") == "DENY":
            message = "Unable to claim inventory for all line items"
            raise Rejected([user_error(["order", "lineItems"], message, "INVENTORY_CLAIM_FAILED")], order=None)
        best = max(levels, key=lambda level: _quantity(level, "available"))
    location = best["locationId"]
    ctx.store.adjust_inventory([(item, location, "available", -quantity), (item, location, "committed", quantity)], ctx.now())
    return {"lineItem": line["id"], "item": item, "location": location, "quantity": quantity}


def _take(ctx: Context, order: Doc, line: Doc, quantity: int) -> list[tuple[int, int, int]]:
    """Take up to `quantity` units of a line out of what the order holds: (item, location, units).

    An order that was not made by `orderCreate` has no list of claims: its units are taken where the item is committed.
    """
    taken, left = [], quantity
    for held in order.get("_claims") or ():
        units = min(held["quantity"], left) if held["lineItem"] == line["id"] else 0
        if units:
            held["quantity"] -= units
            left -= units
            taken.append((held["item"], held["location"], units))
    variant = line.get("variant")
    item = tracked_item(ctx, gid_number(variant["id"])) if variant and "_claims" not in order else None
    if item is not None:
        for level in ctx.store.levels(item):
            units = min(_quantity(level, "committed"), left)
            if units > 0:
                left -= units
                taken.append((item, level["locationId"], units))
    return taken


def ship(ctx: Context, order: Doc, line: Doc, quantity: int) -> dict[int, int]:
    """Units leave the shop: no longer committed, no longer on hand. Returns location -> units, of those that were counted."""
    taken = _take(ctx, order, line, quantity)
    ctx.store.adjust_inventory([(item, location, "committed", -units) for item, location, units in taken], ctx.now())
    left: Counter[int] = Counter()
    for _, location, units in taken:
        left[location] += units
    return dict(left)


def release(ctx: Context, order: Doc, line: Doc, quantity: int, *, restock: bool) -> None:
    """Units will not be shipped: they become available again, or (not restocked) are written off."""
    changes = []
    for item, location, units in _take(ctx, order, line, quantity):
        changes.append((item, location, "committed", -units))
        if restock:
            changes.append((item, location, "available", units))
    ctx.store.adjust_inventory(changes, ctx.now())


def take_back(ctx: Context, variant: Doc | None, location: int | None, quantity: int) -> None:
    """Shipped units come back to a location, for sale."""
    item = tracked_item(ctx, gid_number(variant["id"])) if variant else None
    if item is None:
        return
    place = location
    if place is None:
        levels = ctx.store.levels(item)
        if not levels:
            return
        place = levels[0]["locationId"]
    _stocked(ctx, item, place)
    ctx.store.adjust_inventory([(item, place, "available", quantity)], ctx.now())
