"""REST-shaped payloads of products, inventory items and inventory levels.

Belongs here: how a product's, an inventory item's or a level's document becomes the body of its deliveries. As in the real
payloads only the first 100 variants of a product are told in full; `variant_gids` names them all.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from commerce_assets.sandbox.documents import Doc, InventoryLevel, inventory_level_gid, price
from commerce_assets.sandbox.webhooks.rest_values import lowered, number, when, zone_of

if TYPE_CHECKING:
    from commerce_assets.sandbox.store import Store

FULL_VARIANTS = 100
OPTIONS = 3
# What a payload has an `images` entry for, beside its `media` entry.
IMAGE = "MediaImage"


def product_payload(store: Store, shop: Doc, product: Doc) -> Doc:
    """The body of `products/create` and `products/update`."""
    zone = zone_of(shop)
    identity = product["_key"] if isinstance(product.get("_key"), int) else number(product)
    variants = _dicts(product.get("variants"))
    media = _dicts(product.get("media"))
    images = [_image(identity, place, found, zone) for place, found in enumerate(media, start=1) if found.get("__typename") == IMAGE]
    tags = product.get("tags") or ()
    return {
        "admin_graphql_api_id": product.get("id"),
        "body_html": product.get("descriptionHtml", ""),
        "created_at": when(product.get("createdAt"), zone),
        "handle": product.get("handle"),
        "id": identity,
        "product_type": product.get("productType", ""),
        "published_at": when(product.get("publishedAt"), zone),
        "template_suffix": None,
        "title": product.get("title"),
        "updated_at": when(product.get("updatedAt", product.get("createdAt")), zone),
        "vendor": product.get("vendor", ""),
        "status": lowered(product.get("status", "ACTIVE")),
        "published_scope": "web",
        "tags": tags if isinstance(tags, str) else ", ".join(str(tag) for tag in tags),
        "variants": [_variant(store, identity, found, zone) for found in variants[:FULL_VARIANTS]],
        "options": [_option(identity, found) for found in _dicts(product.get("options"))],
        "images": images,
        "image": images[0] if images else None,
        "media": [_medium(identity, place, found, zone) for place, found in enumerate(media, start=1)],
        "variant_gids": [
            {"admin_graphql_api_id": found.get("id"), "updated_at": _milliseconds(found.get("updatedAt"))} for found in variants
        ],
        "has_variants_that_requires_components": False,
        "category": None,
    }


def inventory_item_payload(shop: Doc, item: Doc) -> Doc:
    """The body of `inventory_items/create` and `inventory_items/update`."""
    zone = zone_of(shop)
    return {
        "id": number(item),
        "sku": item.get("sku"),
        "created_at": when(item.get("createdAt"), zone),
        "updated_at": when(item.get("updatedAt", item.get("createdAt")), zone),
        "requires_shipping": item.get("requiresShipping", False),
        "cost": _cost(item.get("unitCost")),
        **_origin(item),
        "tracked": item.get("tracked", False),
        "weight_value": 0,
        "weight_unit": "kg",
        "admin_graphql_api_id": item.get("id"),
    }


def deleted_inventory_item_payload(item: Doc) -> Doc:
    """The body of `inventory_items/delete`."""
    return {"id": number(item), **_origin(item), "admin_graphql_api_id": item.get("id")}


def inventory_level_payload(shop: Doc, level: InventoryLevel) -> Doc:
    """The body of `inventory_levels/update` and `inventory_levels/connect`."""
    return {
        **disconnected_level_payload(level),
        "available": level["quantities"].get("available", 0),
        "updated_at": when(level["updatedAt"], zone_of(shop)),
        "admin_graphql_api_id": inventory_level_gid(level["itemId"], level["locationId"]),
    }


def disconnected_level_payload(level: InventoryLevel) -> Doc:
    """The body of `inventory_levels/disconnect`."""
    return {"inventory_item_id": level["itemId"], "location_id": level["locationId"]}


def _dicts(values: Any) -> list[Doc]:
    return [value for value in values or () if isinstance(value, dict)] if isinstance(values, (list, tuple)) else []


def _cost(value: Any) -> Any:
    if isinstance(value, dict):
        value = value.get("amount")
    with suppress(ArithmeticError):
        return None if value is None else price(value)
    return value


def _origin(item: Doc) -> Doc:
    return {
        "country_code_of_origin": item.get("countryCodeOfOrigin"),
        "province_code_of_origin": item.get("provinceCodeOfOrigin"),
        "harmonized_system_code": item.get("harmonizedSystemCode"),
        "country_harmonized_system_codes": [],
    }


def _variant(store: Store, product: int | None, variant: Doc, zone: str) -> Doc:
    chosen = [found.get("value") for found in _dicts(variant.get("selectedOptions"))]
    item = number(variant.get("inventoryItem"))
    stock = store.available([item]) if item is not None else 0
    return {
        "admin_graphql_api_id": variant.get("id"),
        "barcode": variant.get("barcode"),
        "compare_at_price": variant.get("compareAtPrice"),
        "created_at": when(variant.get("createdAt"), zone),
        "id": number(variant),
        "inventory_policy": lowered(variant.get("inventoryPolicy", "DENY")),
        "position": variant.get("position", 0),
        "price": variant.get("price", "0.00"),
        "product_id": product,
        "sku": variant.get("sku"),
        "taxable": variant.get("taxable", False),
        "title": variant.get("title"),
        "updated_at": when(variant.get("updatedAt", variant.get("createdAt")), zone),
        **{f"option{place}": chosen[place - 1] if place <= len(chosen) else None for place in range(1, OPTIONS + 1)},
        "image_id": None,
        "inventory_item_id": item,
        "inventory_quantity": stock,
        "old_inventory_quantity": stock,
    }


def _option(product: int | None, option: Doc) -> Doc:
    return {
        "name": option.get("name"),
        "id": number(option),
        "product_id": product,
        "position": option.get("position"),
        "values": list(option.get("values") or ()),
    }


def _image(product: int | None, place: int, media: Doc, zone: str) -> Doc:
    return {
        "id": number(media),
        "alt": media.get("alt"),
        "position": place,
        "product_id": product,
        "created_at": when(media.get("createdAt"), zone),
        "updated_at": when(media.get("updatedAt"), zone),
        "admin_graphql_api_id": None if media.get("id") is None else str(media["id"]).replace(IMAGE, "ProductImage"),
        "width": None,
        "height": None,
        "src": None,
        "variant_ids": [],
    }


def _medium(product: int | None, place: int, media: Doc, zone: str) -> Doc:
    return {
        "id": number(media),
        "product_id": product,
        "position": place,
        "created_at": when(media.get("createdAt"), zone),
        "updated_at": when(media.get("updatedAt"), zone),
        "alt": media.get("alt"),
        "status": media.get("status", "READY"),
        "media_content_type": media.get("mediaContentType", "IMAGE"),
        "preview_image": {"width": None, "height": None, "src": None, "status": media.get("status", "READY")},
        "variant_ids": [],
        "admin_graphql_api_id": media.get("id"),
    }


def _milliseconds(text: Any) -> Any:
    """A time as `variant_gids` writes it: in UTC, with milliseconds."""
    return f"{text[:-1]}.000Z" if isinstance(text, str) and text.endswith("Z") and "." not in text else text
