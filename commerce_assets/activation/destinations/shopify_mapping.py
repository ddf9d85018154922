"""Which fields of a record become what on a storefront's object: metafields, and for customers tags.

Belongs here: the mapping and the form in which values are compared. Does not belong here: any call (shopify.py).
"""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar


@dataclass(frozen=True)
class Owner:
    """A kind of object that holds metafields."""

    type: str
    """Its MetafieldOwnerType."""
    plural: str
    """What many of them are called in messages."""
    read: str
    """The document that reads some of them by id."""


CUSTOMERS = Owner("CUSTOMER", "customers", "customers_by_id")
PRODUCTS = Owner("PRODUCT", "products", "products_by_id")


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
