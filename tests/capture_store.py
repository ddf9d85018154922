"""A sandbox store in the state that recorded answers tell of: the objects in them, with the ids they had.

`ingest` takes an answer's data under the fields' own names (`captures.unaliased`) and makes documents of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from commerce_assets.sandbox.documents import Doc, gid_number, inventory_level, inventory_level_gid, parse_gid
from commerce_assets.sandbox.store import TABLES, Store, compare_digest

Json = Any
BARE_WORD = re.compile(r"(?<![-:\w*])[a-z][\w-]{3,}(?![\w:*])")
SEARCH_TERM = re.compile(r"(?<![-\w])(tag|vendor|product_type|status|sku|barcode):('[^']*'|\"[^\"]*\"|[^\s()]+)")
LONG_AGO = "2024-01-01T00:00:00Z"
DOCUMENTS = frozenset(
    {"Article", "BulkOperation", "Collection", "Customer", "DraftOrder", "Location", "Market", "MetafieldDefinition", "Order", "Page"}
    | {"Product", "Segment"}
)
# Fields of an answer that the store computes, or that say nothing of the object itself.
COMPUTED = frozenset(
    {
        *("metafield", "metafields", "totalInventory", "tracksInventory", "inventoryQuantity", "inventoryLevels", "inventoryLevel"),
        *("legacyResourceId", "orders", "lastOrder", "numberOfOrders", "amountSpent", "displayName", "canDelete", "mediaCount"),
        *("variantsCount", "totalVariants", "priceRangeV2", "priceRange", "fulfillmentOrders", "closed", "fullyPaid", "unpaid"),
        *("capturable", "returns", "collections", "product", "events", "paymentTerms", "refundable", "restockable"),
        *("hasOnlyDefaultVariant", "hasOutOfStockVariants", "featuredMedia", "variant", "availableForSale"),
        *("sellableOnlineQuantity", "lifetimeDuration", "addresses", "emailMarketingConsent", "smsMarketingConsent", "email", "phone"),
    }
)
KEPT_ON_ORDERS = frozenset({"email", "phone", "variant", "product"})
DEFAULTS: dict[str, Doc] = {
    "Article": {"title": ""},
    "BulkOperation": {"status": "CREATED", "type": "QUERY", "query": "", "createdAt": LONG_AGO},
    "Customer": {"state": "DISABLED", "locale": "en", "createdAt": LONG_AGO, "updatedAt": LONG_AGO},
    "Location": {"name": "Shop location", "isActive": True, "createdAt": LONG_AGO, "updatedAt": LONG_AGO, "address": {"countryCode": "CA"}},
    "Order": {
        "name": "#1001",
        "createdAt": LONG_AGO,
        "processedAt": LONG_AGO,
        "updatedAt": LONG_AGO,
        "currencyCode": "CAD",
        "displayFulfillmentStatus": "UNFULFILLED",
        "lineItems": [],
    },
    "Product": {
        "title": "",
        "handle": "",
        "vendor": "",
        "productType": "",
        "status": "ACTIVE",
        "createdAt": LONG_AGO,
        "updatedAt": LONG_AGO,
        "publishedAt": LONG_AGO,
        "variants": [],
        "options": [],
    },
    "Segment": {"name": "", "query": "", "creationDate": LONG_AGO, "lastEditDate": LONG_AGO},
    "MetafieldDefinition": {
        "namespace": "custom",
        "key": "unknown",
        "name": "",
        "ownerType": "PRODUCT",
        "type": {"name": "single_line_text_field", "category": "TEXT"},
        "validations": [],
        "validationStatus": "ALL_VALID",
        "access": {"admin": "PUBLIC_READ_WRITE", "storefront": "NONE", "customerAccount": "NONE"},
    },
}


class Seeder:
    """Fills a store from what recorded answers say, and remembers nothing else."""

    def __init__(self, store: Store, ids: dict[str, str] | None = None) -> None:
        self.store = store
        self.ids = {} if ids is None else ids

    # -- finding objects in an answer

    def ingest(self, data: Json, *, overwrite: bool = True) -> None:
        """Every object of an answer into the store; those already there stay as they are unless `overwrite`."""
        for kind, doc in objects(data):
            with suppress(ValueError):
                self.put(kind, doc, overwrite=overwrite)
        self._attach_metafields(data, None, overwrite)

    def put(self, kind: str, found: Doc, *, overwrite: bool) -> None:
        """One object, alone or within the product it belongs to."""
        number = gid_number(found["id"])
        if kind in DOCUMENTS:
            known = self.store.get(kind, number)
            if known is not None and not overwrite and not _thin(known):
                return
            doc = {**DEFAULTS.get(kind, {}), **(known or {}), **self._own_fields(kind, found), "id": found["id"]}
            if kind == "Product":
                doc["variants"] = self._variants(doc, found)
            self.store.put(kind, doc)
            if kind == "Product":
                self._levels_of_product(doc, found)
        elif kind == "ProductVariant":
            self._put_variant(found, overwrite)
        elif kind == "InventoryItem":
            self._put_item(found, overwrite)
        elif kind == "InventoryLevel":
            self._put_level(found, None)

    def _own_fields(self, kind: str, found: Doc) -> Doc:
        kept: Doc = {}
        for name, value in found.items():
            if name.startswith("_also:") or name == "__typename" or (name in COMPUTED and not (kind == "Order" and name in KEPT_ON_ORDERS)):
                continue
            kept[name] = _plain(value)
        if kind == "Customer":
            email, phone = found.get("email"), found.get("phone")
            if email and not kept.get("defaultEmailAddress"):
                kept["defaultEmailAddress"] = {"emailAddress": email}
            if phone and not kept.get("defaultPhoneNumber"):
                kept["defaultPhoneNumber"] = {"phoneNumber": phone}
            if found.get("displayName") and "firstName" not in found:
                kept["displayName"] = found["displayName"]
        if kind == "Order" and isinstance(kept.get("customer"), dict) and kept["customer"].get("id"):
            kept["customer"] = {"id": kept["customer"]["id"]}
        if kind == "Order" and "currentTotalPriceSet" in kept:
            kept["currencyCode"] = kept["currentTotalPriceSet"].get("shopMoney", {}).get("currencyCode", "CAD")
        return kept

    # -- products

    def _variants(self, doc: Doc, found: Doc) -> list[Doc]:
        before = {variant["id"]: variant for variant in doc.get("variants") or () if "id" in variant and "selectedOptions" in variant}
        if "variants" not in found:
            if not before and ("totalInventory" in found or "tracksInventory" in found):
                return [self._hidden_variant(doc, found)]
            return list(before.values())
        return [self._variant(variant, before.get(variant["id"])) for variant in nodes(found["variants"]) if variant.get("id")]

    def _hidden_variant(self, doc: Doc, found: Doc) -> Doc:
        """The variant of a product of which only the stock was recorded."""
        number = gid_number(doc["id"])
        variant = self._variant({"id": f"gid://shopify/ProductVariant/{number}"}, None)
        variant["inventoryItem"]["tracked"] = bool(found.get("tracksInventory", True))
        return variant

    def _variant(self, found: Doc, known: Doc | None) -> Doc:
        number = gid_number(found["id"])
        blank: Doc = {
            "title": "Default Title",
            "price": "0.00",
            "position": 1,
            "taxable": True,
            "inventoryPolicy": "DENY",
            "createdAt": LONG_AGO,
            "updatedAt": LONG_AGO,
            "selectedOptions": [{"name": "Title", "value": "Default Title"}],
        }
        item = {**((known or {}).get("inventoryItem") or {"id": f"gid://shopify/InventoryItem/{number}", "tracked": True})}
        given = found.get("inventoryItem") or {}
        item.update({name: _plain(value) for name, value in given.items() if name not in COMPUTED})
        return {
            **blank,
            **(known or {}),
            **{name: _plain(value) for name, value in found.items() if name not in COMPUTED and not name.startswith("_")},
            "inventoryItem": item,
        }

    def _levels_of_product(self, doc: Doc, found: Doc) -> None:
        for variant in nodes(found.get("variants")):
            self._levels_of_variant(variant, doc)
        total = found.get("totalInventory")
        variants = doc.get("variants") or ()
        if total is not None and variants:
            items = [gid_number(variant["inventoryItem"]["id"]) for variant in variants]
            if self.store.available(items) != total and not any(self.store.levels(item) for item in items):
                self._level(items[0], self.any_location(), {"available": total, "on_hand": total})

    def _levels_of_variant(self, variant: Doc, product: Doc) -> None:
        kept = next((own for own in product["variants"] if own["id"] == variant.get("id")), None)
        if kept is None:
            return
        item = gid_number(kept["inventoryItem"]["id"])
        levels = nodes((variant.get("inventoryItem") or {}).get("inventoryLevels"))
        for level in levels:
            self._put_level(level, item)
        quantity = variant.get("inventoryQuantity")
        if not levels and not self.store.levels(item):
            self._level(item, self.any_location(), {"available": quantity or 0, "on_hand": quantity or 0})

    def _put_variant(self, found: Doc, overwrite: bool) -> None:
        owner = (found.get("product") or {}).get("id")
        number = gid_number(found["id"])
        parent = self.store.parent_of("ProductVariant", number)
        if parent is None:
            base = {**(found.get("product") or {}), "id": owner or f"gid://shopify/Product/{number}"}
            known = self.store.get("Product", gid_number(base["id"])) or {}
            parent = {**DEFAULTS["Product"], **known, **self._own_fields("Product", base)}
            parent["variants"] = [variant for variant in known.get("variants") or () if "selectedOptions" in variant]
        elif not overwrite:
            return
        old = next((variant for variant in parent["variants"] if variant["id"] == found["id"]), None)
        variant = self._variant(found, old)
        parent["variants"] = [own for own in parent["variants"] if own["id"] != found["id"]] + [variant]
        self.store.put("Product", parent)
        self._levels_of_variant(found, parent)

    def _put_item(self, found: Doc, overwrite: bool) -> None:
        number = gid_number(found["id"])
        parent = self.store.parent_of("InventoryItem", number)
        if parent is None:
            owner = found.get("variant") or {"id": f"gid://shopify/ProductVariant/{number}"}
            self._put_variant({**owner, "inventoryItem": found}, overwrite=True)
            return
        if overwrite:
            for variant in parent["variants"]:
                if variant["inventoryItem"]["id"] == found["id"]:
                    variant["inventoryItem"].update({name: _plain(value) for name, value in found.items() if name not in COMPUTED})
            self.store.put("Product", parent)
            for level in nodes(found.get("inventoryLevels")):
                self._put_level(level, number)

    def _put_level(self, level: Doc, item: int | None) -> None:
        place = (level.get("location") or {}).get("id")
        match = re.search(r"inventory_item_id=(\d+)", str(level.get("id", "")))
        item = item or (gid_number(level["item"]["id"]) if (level.get("item") or {}).get("id") else int(match.group(1)) if match else None)
        if place is None or item is None:
            return
        if level.get("id"):
            self.ids[level["id"]] = inventory_level_gid(item, gid_number(place))
        quantities = {entry["name"]: entry["quantity"] for entry in level.get("quantities") or () if "quantity" in entry}
        if self.store.get("Location", gid_number(place)) is None:
            self.put("Location", level["location"], overwrite=False)
        if self.store.parent_id("InventoryItem", item) is None:
            self._put_item({**(level.get("item") or {}), "id": f"gid://shopify/InventoryItem/{item}"}, overwrite=True)
        times = {entry["name"]: entry["updatedAt"] for entry in level.get("quantities") or () if entry.get("updatedAt")}
        self._level(item, gid_number(place), quantities, active=level.get("isActive", True), times=times)

    def _level(
        self, item: int, location: int, quantities: dict[str, int], *, active: bool = True, times: dict[str, str] | None = None
    ) -> None:
        known = self.store.level(item, location) or inventory_level(item, location, LONG_AGO)
        known["quantities"].update(quantities)
        known["isActive"] = active
        known["quantityUpdatedAt"] = {**(known.get("quantityUpdatedAt") or {}), **(times or {})}
        self.store.put_level(known)

    def any_location(self) -> int:
        """The store's first location; made where there is none."""
        first = next((number for _, number, _ in self.store.iterate("Location", limit=1)), None)
        if first is None:
            self.put("Location", {"id": "gid://shopify/Location/106318430514"}, overwrite=False)
            return 106318430514
        return first

    def set_quantity(self, item: str, location: str, name: str, quantity: int) -> None:
        """Stock as a request tells it was before."""
        level = self.store.level(gid_number(item), gid_number(location)) or inventory_level(
            gid_number(item), gid_number(location), LONG_AGO
        )
        others = sum(units for part, units in level["quantities"].items() if part not in ("available", "on_hand", "incoming"))
        if name == "available":
            level["quantities"].update({"available": quantity, "on_hand": quantity + others})
        elif name == "on_hand":
            level["quantities"].update({"on_hand": quantity, "available": quantity - others})
        else:
            level["quantities"][name] = quantity
        self.store.put_level(level)

    # -- what a search tells of the objects that it found

    def fill_in(self, data: Json, variables: dict[str, Json], known: frozenset[str] | None = None) -> None:
        """Fields by which objects were searched but which the answer does not show; a row more where there was a next page.

        Objects in `known` stay as they are; where it is given, no rows are added.
        """
        texts = [value for value in variables.values() if isinstance(value, str)]
        terms = [term for text in texts for term in SEARCH_TERM.findall(text)]
        terms += [("tag", word) for text in texts for word in BARE_WORD.findall(SEARCH_TERM.sub("", text))]
        for connection in (data or {}).values() if isinstance(data, dict) else ():
            if not isinstance(connection, dict) or not ({"nodes", "edges"} & set(connection)):
                continue
            found = nodes(connection)
            for entry in found:
                if entry.get("id") not in (known or ()):
                    self._searched(entry, terms)
            if known is None and found and (connection.get("pageInfo") or {}).get("hasNextPage"):
                self._one_more(found)

    def _searched(self, entry: Doc, terms: list[tuple[str, str]]) -> None:
        doc = self.store.get_by_gid(entry["id"]) if entry.get("id") else None
        if doc is None:
            return
        kind = parse_gid(entry["id"])[0]
        for name, value in terms:
            text = value.strip("'\"")
            if name in ("tag",) and "tags" not in entry:
                doc["tags"] = [*(doc.get("tags") or ()), text]
            elif name in ("sku", "barcode") and kind == "Product" and "variants" not in entry:
                variants = doc.get("variants") or [self._hidden_variant(doc, {})]
                variants[0][name] = text
                doc["variants"] = variants
            elif name in ("vendor", "product_type", "status") and not text.endswith("*"):
                field = {"product_type": "productType"}.get(name, name)
                if field not in entry:
                    doc[field] = text.upper() if name == "status" else text
        if kind in DOCUMENTS:
            self.store.put(kind, doc)

    def _one_more(self, found: list[Doc]) -> None:
        if not all(entry.get("id") for entry in found):
            return
        first, last = (gid_number(entry["id"]) for entry in (found[0], found[-1]))
        kind = parse_gid(found[-1]["id"])[0]
        if kind == "ProductVariant":
            step = 1 if last >= first else -1
            self._put_variant({"id": f"gid://shopify/ProductVariant/{last + step}"}, overwrite=True)
        doc = self.store.get(kind, last)
        if doc is None or kind not in DOCUMENTS:
            return
        number = last + 1 if last >= first else last - 1
        self.store.put(kind, {**doc, "id": f"gid://shopify/{kind}/{number}", "variants": [], "lineItems": []})

    # -- metafields

    def _attach_metafields(self, value: Json, owner: str | None, overwrite: bool) -> None:
        if isinstance(value, list):
            for entry in value:
                self._attach_metafields(entry, owner, overwrite)
            return
        if not isinstance(value, dict):
            return
        own = value.get("id") if isinstance(value.get("id"), str) else None
        if {"namespace", "key", "value"} <= set(value) and (own is None or "/Metafield/" in own):
            target = (value.get("owner") or {}).get("id") or owner
            if target and value["namespace"] and value["value"] is not None:
                self._metafield(target, value, overwrite)
            return
        below = own if own and _can_own(own) else owner
        for name, inner in value.items():
            if name not in ("userErrors", "definition"):
                self._attach_metafields(inner, below, overwrite)

    def _metafield(self, owner: str, found: Doc, overwrite: bool) -> None:
        known = self.store.metafield(owner, found["namespace"], found["key"])
        if known and not overwrite:
            return
        kind = found.get("type") or "single_line_text_field"
        if found.get("compareDigest"):
            self.ids[found["compareDigest"]] = compare_digest(kind, found["value"])
        if known:
            self.store.set_metafield(owner, found["namespace"], found["key"], kind, found["value"], LONG_AGO)
            return
        number = gid_number(found["id"]) if found.get("id") else self.store.next_id("Metafield")
        with suppress(Exception):
            self.store.insert_metafields(
                [
                    {
                        "id": f"gid://shopify/Metafield/{number}",
                        "owner": owner,
                        "namespace": found["namespace"],
                        "key": found["key"],
                        "type": kind,
                        "value": found["value"] if isinstance(found["value"], str) else json.dumps(found["value"]),
                        "createdAt": LONG_AGO,
                        "updatedAt": LONG_AGO,
                    }
                ]
            )


def _can_own(value: str) -> bool:
    with suppress(ValueError):
        return parse_gid(value)[0] in (DOCUMENTS | {"ProductVariant", "Shop"}) - {"MetafieldDefinition", "BulkOperation", "Segment"}
    return False


def _thin(doc: Doc) -> bool:
    """Whether a document was made of a mere reference."""
    return bool(doc.get("_thin"))


def nodes(value: Json) -> list[Doc]:
    """The objects of a connection or a list."""
    if isinstance(value, dict):
        listed = value.get("nodes")
        if listed is None:
            listed = [edge.get("node") for edge in value.get("edges") or ()]
        return [entry for entry in listed if isinstance(entry, dict)]
    return [entry for entry in value or () if isinstance(entry, dict)]


def _plain(value: Json) -> Json:
    """A value with its connections as lists."""
    if isinstance(value, dict):
        if "nodes" in value or "edges" in value:
            return [_plain(entry) for entry in nodes(value)]
        return {name: _plain(inner) for name, inner in value.items() if not name.startswith("_also:")}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def objects(value: Json, within: str | None = None) -> Iterator[tuple[str, Doc]]:
    """(type, fields) of every object with a document of its own (or within a product), outer ones first."""
    if isinstance(value, list):
        for entry in value:
            yield from objects(entry, within)
        return
    if not isinstance(value, dict):
        return
    identity = value.get("id")
    kind = within
    if isinstance(identity, str):
        with suppress(ValueError):
            kind = parse_gid(identity)[0]
            known = kind in DOCUMENTS or kind in ("ProductVariant", "InventoryItem", "InventoryLevel")
            if known and not (set(value) <= {"id", "__typename"} and kind in ("Order",)):
                yield kind, value
    for name, inner in value.items():
        if name not in ("userErrors",):
            yield from objects(inner, kind)


def exists(store: Store, value: str) -> bool:
    """Whether the store knows an object by this gid."""
    try:
        kind, number = parse_gid(value)
    except ValueError:
        return False
    if kind == "Metafield":
        return store.metafield_by_id(number) is not None
    if kind in TABLES:
        return store.count(kind, "t.id = ?", (number,)) > 0
    return store.get(kind, number) is not None
