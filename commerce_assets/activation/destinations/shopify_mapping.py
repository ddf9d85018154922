"""Which fields of a record become what on a storefront's object: metafields and tags.

Belongs here: the mapping, how it comes from a declaration, and the form in which values are compared. Does not belong here: any call
(shopify.py).
"""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.targets import DeclaredField, ShopifyTarget


@dataclass(frozen=True)
class Owner:
    """A kind of object that holds metafields."""

    type: str
    """Its MetafieldOwnerType."""
    plural: str
    """What many of them are called in messages."""
    read: str
    """The document that reads some of them by id."""
    scopes: tuple[str, ...]
    """What an app must have been granted to read and write them."""


CUSTOMERS = Owner("CUSTOMER", "customers", "customers_by_id", ("read_customers", "write_customers"))
PRODUCTS = Owner("PRODUCT", "products", "products_by_id", ("read_products", "write_products"))
# Without read_all_orders an order older than 60 days reads as if it had been deleted: what is written to orders is of the last days, and that
# scope needs Shopify's approval, so it is not asked for here.
ORDERS = Owner("ORDER", "orders", "orders_by_id", ("read_orders", "write_orders"))


@dataclass(frozen=True)
class MetafieldTarget:
    """Where a field goes."""

    field: str
    namespace: str
    key: str
    type: str
    name: str
    description: str
    is_carried: bool = False
    """Written along with others, never alone."""
    is_standard: bool = False
    """Defined by Shopify for all shops: its definition is enabled, not created."""

    @property
    def path(self) -> str:
        return f"{self.namespace}.{self.key}"


@dataclass(frozen=True)
class OwnerMapping:
    """Which fields become which metafields of an object; `tags_field` holds tags of ours, None where the sync has none."""

    owner: ClassVar[Owner]

    metafields: tuple[MetafieldTarget, ...]
    tags_field: str | None = None
    """Tags in lower case, sorted, joined by commas."""
    managed_prefixes: tuple[str, ...] = ()
    yields_to_others: bool = False
    """An object that holds other values in these metafields when we first come to it is somebody else's to keep: it is left alone."""

    def is_ours(self, tag: str) -> bool:
        return tag.casefold().startswith(self.managed_prefixes)


class CustomerMapping(OwnerMapping):
    """Of customers."""

    owner = CUSTOMERS


class ProductMapping(OwnerMapping):
    """Of products."""

    owner = PRODUCTS


class OrderMapping(OwnerMapping):
    """Of orders."""

    owner = ORDERS


_MAPPINGS: dict[str, type[OwnerMapping]] = {"customer": CustomerMapping, "product": ProductMapping, "order": OrderMapping}


def mapping_of(declared: DeclaredSync) -> OwnerMapping:
    """The mapping that a declaration means; `DeclarationError` where its target is not Shopify."""
    if not isinstance(declared.target, ShopifyTarget):
        raise DeclarationError(f"sync {declared.name} writes to {declared.target.kind}, not to shopify")
    tags = next((one for one in declared.fields if one.tags), None)
    return _MAPPINGS[declared.target.object](
        metafields=tuple(_target_of(one) for one in declared.fields if one.metafield),
        tags_field=tags.name if tags else None,
        managed_prefixes=tuple(prefix.casefold() for prefix in tags.tags.prefixes) if tags and tags.tags else (),
        yields_to_others=declared.target.yields_to_others,
    )


def _target_of(one: DeclaredField) -> MetafieldTarget:
    if one.metafield is None:
        raise AssertionError(f"field {one.name} goes to no metafield")
    options = one.metafield
    return MetafieldTarget(
        field=one.name,
        namespace=options.namespace,
        key=options.key or one.name,
        type=options.type,
        name=options.title or one.name.replace("_", " ").capitalize(),
        description=options.description,
        is_carried=one.carried,
        is_standard=options.is_standard,
    )


def canonical(metafield_type: str, value: str | None) -> str | None:
    """A value as read, in the form it is compared in: the storefront may answer 12.50 as 12.5, and a list with other spaces."""
    if value is None:
        return None
    if metafield_type.startswith("list."):
        return _canonical_list(value)
    return _canonical_number(value) if metafield_type.startswith("number") else value


def _canonical_list(value: str) -> str:
    try:
        return json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False)
    except json.JSONDecodeError:
        return value


def _canonical_number(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"
