"""REST-shaped payloads about the shop, the app, its jobs, and duties about people's data.

Belongs here: the bodies of `app/uninstalled`, `bulk_operations/finish`, `customers/redact`, `customers/data_request` and
`shop/redact`. What a shop's document does not say is null.
"""

from __future__ import annotations

from collections.abc import Iterable

from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.geography import COUNTRIES
from commerce_assets.sandbox.webhooks.rest_values import lowered, number, when, zone_of


def shop_payload(shop: Doc) -> Doc:
    """The shop itself: the body of `app/uninstalled`."""
    zone, currency, country = zone_of(shop), shop["currencyCode"], shop.get("countryCode")
    plan = (shop.get("plan") or {}).get("publicDisplayName")
    return {
        "id": number(shop),
        "name": shop.get("name"),
        "email": shop.get("email"),
        "domain": shop.get("myshopifyDomain"),
        "province": None,
        "country": country,
        "address1": None,
        "zip": None,
        "city": None,
        "source": None,
        "phone": None,
        "latitude": None,
        "longitude": None,
        "primary_locale": "en",
        "address2": None,
        "created_at": when(shop.get("createdAt"), zone),
        "updated_at": when(shop.get("createdAt"), zone),
        "country_code": country,
        "country_name": COUNTRIES.get(country or ""),
        "currency": currency,
        "customer_email": shop.get("email"),
        "timezone": zone,
        "iana_timezone": zone,
        "shop_owner": None,
        "money_format": "{{amount}}",
        "money_with_currency_format": f"{{{{amount}}}} {currency}",
        "weight_unit": "kg",
        "province_code": None,
        "taxes_included": None,
        "auto_configure_tax_inclusivity": None,
        "tax_shipping": None,
        "county_taxes": None,
        "plan_display_name": plan,
        "plan_name": lowered(plan),
        "has_discounts": True,
        "has_gift_cards": True,
        "myshopify_domain": shop.get("myshopifyDomain"),
        "google_apps_domain": None,
        "google_apps_login_enabled": None,
        "money_in_emails_format": "{{amount}}",
        "money_with_currency_in_emails_format": f"{{{{amount}}}} {currency}",
        "eligible_for_payments": True,
        "requires_extra_payments_agreement": False,
        "password_enabled": False,
        "has_storefront": True,
        "finances": True,
        "primary_location_id": None,
        "checkout_api_supported": True,
        "multi_location_enabled": True,
        "setup_required": False,
        "pre_launch_enabled": False,
        "enabled_presentment_currencies": [currency],
        "marketing_sms_consent_enabled_at_checkout": False,
        "transactional_sms_disabled": False,
    }


def bulk_operation_payload(shop: Doc, operation: Doc) -> Doc:
    """The body of `bulk_operations/finish`: values in lower case."""
    zone = zone_of(shop)
    return {
        "admin_graphql_api_id": operation["id"],
        "completed_at": when(operation.get("completedAt"), zone),
        "created_at": when(operation.get("createdAt"), zone),
        "error_code": lowered(operation.get("errorCode")),
        "status": lowered(operation.get("status")),
        "type": lowered(operation.get("type", "QUERY")),
    }


def redact_payload(shop: Doc, customer: Doc, orders: Iterable[int]) -> Doc:
    """The body of `customers/redact`; `orders` are the numbers of the orders to be forgotten."""
    return {**shop_redact_payload(shop), "customer": _subject(customer), "orders_to_redact": list(orders)}


def data_request_payload(shop: Doc, customer: Doc, orders: Iterable[int], request: int) -> Doc:
    """The body of `customers/data_request`; `request` is its number."""
    return {
        **shop_redact_payload(shop),
        "customer": _subject(customer),
        "orders_requested": list(orders),
        "data_request": {"id": request},
    }


def shop_redact_payload(shop: Doc) -> Doc:
    """The body of `shop/redact`."""
    return {"shop_id": number(shop), "shop_domain": shop.get("myshopifyDomain")}


def _subject(customer: Doc) -> Doc:
    return {
        "id": number(customer),
        "email": (customer.get("defaultEmailAddress") or {}).get("emailAddress"),
        "phone": (customer.get("defaultPhoneNumber") or {}).get("phoneNumber"),
    }
