"""`productSet` and `productDelete`."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, gid, gid_number, inventory_level, money, price, product_doc
from commerce_assets.sandbox.mutations import metafields
from commerce_assets.sandbox.mutations._shared import (
    Rejected,
    decimal_of,
    given,
    mutation,
    new_gid,
    number_of,
    sorted_tags,
    split_tags,
    tag_problem,
    user_error,
)

VARIANT_LIMIT = 2048
OPTION_LIMIT = 3
TEXT_LIMIT = 255
NOTHING: dict[str, Any] = {"product": None, "productSetOperation": None}
DEFAULT_OPTION = ("Title", "Default Title")
COPIED = ("descriptionHtml", "vendor", "productType", "status", "templateSuffix", "giftCardTemplateSuffix", "requiresSellingPlan")
VARIANT_COPIED = ("barcode", "inventoryPolicy", "taxable", "position")
ITEM_COPIED = ("tracked", "requiresShipping", "countryCodeOfOrigin", "provinceCodeOfOrigin", "harmonizedSystemCode")


@mutation
def product_set(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Create a product, or make one what the input says: lists given replace the lists there."""
    wanted, now = args["input"], ctx.now()
    old = _old(ctx, args.get("identifier") or {}, wanted)
    errors = _check(ctx, wanted, old)
    writes, wrong = metafields.check_given(ctx, "Product", wanted.get("metafields") or (), ["input", "metafields"])
    errors.extend({**error, "code": "INVALID_METAFIELD"} for error in wrong)
    if errors:
        raise Rejected(errors, **NOTHING)
    number = gid_number(old["id"]) if old else ctx.store.next_id("Product")
    title = wanted.get("title") or (old or {}).get("title") or ""
    variants, stock = _variants(ctx, wanted, old, now)
    product = dict(old) if old else product_doc(number, title, "", now, variants=variants, vendor=ctx.shop.get("name", ""))
    product.update(given(wanted, *COPIED))
    product.update({"title": title, "variants": variants, "updatedAt": now, "handle": _handle(ctx, wanted, old, title, number)})
    product["isGiftCard"] = bool(wanted.get("giftCard", product.get("isGiftCard")))
    product["status"] = product.get("status") or "ACTIVE"
    if product["status"] != "ACTIVE":
        product["publishedAt"] = None
    elif not product.get("publishedAt"):
        product["publishedAt"] = now
    if "tags" in wanted:
        product["tags"] = sorted_tags(split_tags(wanted["tags"]))
    if wanted.get("files") is not None:
        product["media"] = _media(ctx, wanted["files"])
    product["options"] = _options(ctx, wanted, old, variants)
    ctx.store.put("Product", product)
    _stock(ctx, old, variants, stock, now)
    metafields.write(ctx, metafields.owned_by(product["id"], writes))
    if args.get("synchronous") is False:
        operation: Doc = {"id": new_gid(ctx.store, "ProductSetOperation"), "status": "CREATED", "product": None, "userErrors": []}
        return {"product": None, "productSetOperation": operation}
    return {"product": {"id": product["id"]}, "productSetOperation": None}


def _old(ctx: Context, identifier: dict[str, Any], wanted: dict[str, Any]) -> Doc | None:
    identity, handle = identifier.get("id") or wanted.get("id"), identifier.get("handle")
    if identity:
        product = ctx.store.get("Product", number_of(identity, "Product"))
        if product is None:
            raise Rejected([user_error(["input", "id"], "Product does not exist", "PRODUCT_DOES_NOT_EXIST")], **NOTHING)
        return product
    if handle:
        return next((doc for _, _, doc in ctx.store.iterate("Product", "t.handle = ?", (handle,), limit=1)), None)
    if identifier.get("customId"):
        message = "Resource matching the identifier was not found."
        raise Rejected([user_error(["identifier"], message, "NOT_FOUND")], **NOTHING)
    return None


def _check(ctx: Context, wanted: dict[str, Any], old: Doc | None) -> list[Doc]:
    errors: list[Doc] = []
    if (old is None or "title" in wanted) and not (wanted.get("title") or "").strip():
        errors.append(user_error(["input", "title"], "Title can't be blank", "INVALID_INPUT"))
    for name, shown in (("title", "Title"), ("vendor", "Vendor"), ("productType", "Product type"), ("handle", "Handle")):
        if len(wanted.get(name) or "") > TEXT_LIMIT:
            message = f"{shown} is too long (maximum is {TEXT_LIMIT} characters)"
            errors.append(user_error(["input", name], message, "INVALID_INPUT"))
    if tag_problem(split_tags(wanted.get("tags"))):
        errors.append(user_error(["input", "tags"], "Product tags is invalid", "INVALID_PRODUCT"))
    variants, options = wanted.get("variants"), wanted.get("productOptions")
    if variants is not None and options is None and old is None:
        message = "Must specify product options when updating variants."
        errors.append(user_error(["input", "productOptions"], message, "PRODUCT_OPTIONS_INPUT_MISSING"))
    if options is not None and variants is None:
        errors.append(user_error(["input", "variants"], "Must specify variants when updating options.", "VARIANTS_INPUT_MISSING"))
    if len(options or ()) > OPTION_LIMIT:
        errors.append(user_error(["input", "productOptions"], "Options over limit.", "OPTIONS_OVER_LIMIT"))
    if len(variants or ()) > VARIANT_LIMIT:
        errors.append(user_error(["input", "variants"], "Number of product variants exceeds shop limit.", "VARIANTS_OVER_LIMIT"))
    seen: set[tuple[str, ...]] = set()
    for index, variant in enumerate(variants or ()):
        errors.extend(_check_variant(ctx, variant, index, old, seen))
    handle = wanted.get("handle")
    if handle:
        taken = ctx.store.count("Product", "t.handle = ? AND t.id <> ?", (handle, gid_number(old["id"]) if old else 0), limit=1)
        if taken:
            message = "Handle already in use. Please provide a new handle."
            errors.append(user_error(["input", "handle"], message, "HANDLE_NOT_UNIQUE"))
    return errors


def _check_variant(ctx: Context, variant: dict[str, Any], index: int, old: Doc | None, seen: set[tuple[str, ...]]) -> list[Doc]:
    path: list[str | int] = ["input", "variants", index]
    errors: list[Doc] = []
    values = tuple((value.get("name") or "").casefold() for value in variant["optionValues"])
    if values in seen:
        shown = " / ".join(value.get("name") or "" for value in variant["optionValues"])
        errors.append(user_error(path, f"The variant '{shown}' already exists.", "INVALID_VARIANT"))
    seen.add(values)
    if variant.get("id") and not any(own["id"] == variant["id"] for own in (old or {}).get("variants") or ()):
        errors.append(user_error([*path, "id"], "Product variant does not exist.", "PRODUCT_VARIANT_DOES_NOT_EXIST"))
    if variant.get("price") is not None and decimal_of(variant["price"]) < 0:
        errors.append(user_error([*path, "price"], "Price must be greater than or equal to 0", "INVALID_VARIANT"))
    for row, entry in enumerate(variant.get("inventoryQuantities") or ()):
        if not metafields.object_exists(ctx, entry["locationId"], ("Location",)):
            message = "The specified location could not be found."
            errors.append(user_error([*path, "inventoryQuantities", row, "locationId"], message, "INVALID_VARIANT"))
    return errors


def _handle(ctx: Context, wanted: dict[str, Any], old: Doc | None, title: str, number: int) -> str:
    if wanted.get("handle"):
        return str(wanted["handle"])
    if old:
        return str(old["handle"])
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or f"product-{number}"
    handle, count = base, 0
    while ctx.store.count("Product", "t.handle = ?", (handle,), limit=1):
        count += 1
        handle = f"{base}-{count}"
    return handle


Stock = list[tuple[int, int, str, int]]


def _variants(ctx: Context, wanted: dict[str, Any], old: Doc | None, now: str) -> tuple[list[Doc], Stock]:
    """The product's variants after the change, and the quantities the input sets (item, location, name, quantity)."""
    entries = wanted.get("variants")
    if entries is None:
        if old:
            return list(old["variants"]), []
        entries = [{"optionValues": [{"optionName": DEFAULT_OPTION[0], "name": DEFAULT_OPTION[1]}]}]
    before = {variant["id"]: variant for variant in (old or {}).get("variants") or ()}
    by_values = {_values(variant): variant for variant in before.values()}
    names = {option["id"]: option["name"] for option in (old or {}).get("options") or ()}
    variants, stock = [], []
    for position, entry in enumerate(entries, start=1):
        options = {
            value.get("optionName") or names.get(value.get("optionId") or "", "Title"): value.get("name") or ""
            for value in entry["optionValues"]
        }
        known = before.get(entry.get("id") or "") or by_values.get(tuple(options.values()))
        variant = _variant(ctx, entry, known, options, position, now)
        variants.append(variant)
        item = gid_number(variant["inventoryItem"]["id"])
        for row in entry.get("inventoryQuantities") or ():
            stock.append((item, gid_number(row["locationId"]), row["name"], row["quantity"]))
        writes, _ = metafields.check_given(ctx, "ProductVariant", entry.get("metafields") or (), ["input", "variants"])
        for write in metafields.owned_by(variant["id"], writes):
            ctx.store.set_metafield(write.owner, write.namespace, write.key, write.type, write.value, now)
    return variants, stock


def _values(variant: Doc) -> tuple[str, ...]:
    return tuple(option["value"] for option in variant["selectedOptions"])


def _variant(ctx: Context, entry: dict[str, Any], known: Doc | None, options: dict[str, str], position: int, now: str) -> Doc:
    variant: Doc = dict(known or {"id": new_gid(ctx.store, "ProductVariant"), "createdAt": now, "taxable": True, "inventoryPolicy": "DENY"})
    variant.update({name: entry[name] for name in VARIANT_COPIED if entry.get(name) is not None})
    variant["title"] = " / ".join(options.values())
    variant["position"] = entry.get("position") or position
    variant["selectedOptions"] = [{"name": name, "value": value} for name, value in options.items()]
    variant["updatedAt"] = now
    if entry.get("price") is not None or "price" not in variant:
        variant["price"] = price(decimal_of(entry.get("price") or 0))
    if "compareAtPrice" in entry:
        variant["compareAtPrice"] = None if entry["compareAtPrice"] is None else price(decimal_of(entry["compareAtPrice"]))
    wanted_item = entry.get("inventoryItem") or {}
    item = dict(variant.get("inventoryItem") or {"id": new_gid(ctx.store, "InventoryItem"), "createdAt": now, "requiresShipping": True})
    item.update({name: wanted_item[name] for name in ITEM_COPIED if wanted_item.get(name) is not None})
    if wanted_item.get("cost") is not None:
        item["unitCost"] = money(decimal_of(wanted_item["cost"]))
    if "sku" in entry or "sku" in wanted_item:
        variant["sku"] = entry.get("sku") or wanted_item.get("sku")
    item["sku"] = variant.get("sku")
    item["updatedAt"] = now
    variant["inventoryItem"] = item
    return variant


def _options(ctx: Context, wanted: dict[str, Any], old: Doc | None, variants: list[Doc]) -> list[Doc]:
    known = {option["name"]: option for option in (old or {}).get("options") or ()}
    names = [option["name"] for option in wanted.get("productOptions") or () if option.get("name")]
    used = list(dict.fromkeys(option["name"] for variant in variants for option in variant["selectedOptions"]))
    options = []
    for position, name in enumerate([name for name in names if name in used] + [name for name in used if name not in names], start=1):
        values = dict.fromkeys(option["value"] for variant in variants for option in variant["selectedOptions"] if option["name"] == name)
        identity = known[name]["id"] if name in known else new_gid(ctx.store, "ProductOption")
        options.append({"id": identity, "name": name, "position": position, "values": list(values)})
    return options


def _media(ctx: Context, files: list[dict[str, Any]]) -> list[Doc]:
    return [
        {
            "__typename": "MediaImage",
            "id": entry.get("id") or gid("MediaImage", ctx.store.next_id("MediaImage")),
            "alt": entry.get("alt"),
            "mediaContentType": "IMAGE",
            "status": "READY",
        }
        for entry in files
    ]


def _stock(ctx: Context, old: Doc | None, variants: list[Doc], stock: Stock, now: str) -> None:
    """Set the quantities asked for; new items are stocked (with nothing) at the shop's first location otherwise."""
    kept = {variant["inventoryItem"]["id"] for variant in variants}
    for variant in (old or {}).get("variants") or ():
        item = variant["inventoryItem"]["id"]
        if item not in kept:
            ctx.store.connection.execute("DELETE FROM inventory WHERE item_id = ?", (gid_number(item),))
    for item, location, name, quantity in stock:
        level = ctx.store.level(item, location)
        if level is None:
            level = inventory_level(item, location, now, available=0, on_hand=0)
            ctx.store.put_level(level)
        delta = quantity - level["quantities"].get(name, 0)
        if delta:
            ctx.store.adjust_inventory([(item, location, "available", delta)], now)
    first = next((number for _, number, _ in ctx.store.iterate("Location", "t.is_active", limit=1)), None)
    for variant in variants:
        item = gid_number(variant["inventoryItem"]["id"])
        if first is not None and not ctx.store.levels(item):
            ctx.store.put_level(inventory_level(item, first, now, available=0, on_hand=0))


@mutation
def product_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Remove a product with its variants and their stock."""
    identity = args["input"]["id"]
    shop = {"shop": ctx.shop, "productDeleteOperation": None}
    product = ctx.store.get("Product", number_of(identity, "Product"))
    if product is None:
        raise Rejected([user_error(["id"], "Product does not exist")], deletedProductId=None, **shop)
    for variant in product.get("variants") or ():
        sql = "DELETE FROM metafields WHERE owner_kind = 'ProductVariant' AND owner_id = ?"
        ctx.store.connection.execute(sql, (gid_number(variant["id"]),))
    ctx.store.delete("Product", gid_number(identity), ctx.now())
    return {"deletedProductId": identity, **shop}
