"""REST-shaped payloads of customers.

Belongs here: how a customer's document becomes the body of `customers/*` and `customer.tags_*` deliveries, and the customer
inside an order. As in the real payloads they have no tags, no counters, no consents.
"""

from __future__ import annotations

from typing import Any

from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.webhooks.rest_values import address, country_name, lowered, number, when, zone_of


def customer_payload(shop: Doc, customer: Doc) -> Doc:
    """The body of `customers/create` and `customers/update`."""
    addresses = [found for found in customer.get("addressesV2") or () if isinstance(found, dict)]
    body = order_customer(shop, customer)
    default = body.pop("default_address")
    chosen = (customer.get("defaultAddress") or {}).get("id")
    body["addresses"] = [_address(customer, found, is_default=found.get("id") == chosen) for found in addresses]
    return {**body, "default_address": default}


def order_customer(shop: Doc, customer: Doc) -> Doc:
    """A customer as an order carries it."""
    zone = zone_of(shop)
    chosen = (customer.get("defaultAddress") or {}).get("id")
    default = next((found for found in customer.get("addressesV2") or () if isinstance(found, dict) and found.get("id") == chosen), None)
    return {
        "id": customer["_key"] if isinstance(customer.get("_key"), int) else number(customer),
        "created_at": when(customer.get("createdAt"), zone),
        "updated_at": when(customer.get("updatedAt", customer.get("createdAt")), zone),
        "first_name": customer.get("firstName"),
        "last_name": customer.get("lastName"),
        "state": lowered(customer.get("state", "DISABLED")),
        "note": customer.get("note"),
        "verified_email": customer.get("verifiedEmail", False),
        "multipass_identifier": None,
        "tax_exempt": customer.get("taxExempt", False),
        "email": _of(customer.get("defaultEmailAddress"), "emailAddress"),
        "phone": _of(customer.get("defaultPhoneNumber"), "phoneNumber"),
        "currency": shop["currencyCode"],
        "tax_exemptions": list(customer.get("taxExemptions") or ()),
        "admin_graphql_api_id": customer.get("id"),
        "default_address": None if default is None else _address(customer, default, is_default=True),
    }


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _address(customer: Doc, stored: Doc, *, is_default: bool) -> Doc:
    """An address in a customer's book."""
    plain = address(stored) or {}
    return {
        "id": number(stored),
        "customer_id": number(customer),
        **{name: plain[name] for name in ("first_name", "last_name", "company", "address1", "address2", "city")},
        **{name: plain[name] for name in ("province", "country", "zip", "phone", "name", "province_code", "country_code")},
        "country_name": country_name(plain["country_code"]),
        "default": is_default,
    }
