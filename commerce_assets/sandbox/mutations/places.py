"""Addresses as documents keep them, with names and codes of country and province."""

from __future__ import annotations

from typing import Any

from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.geography import COUNTRIES, PROVINCES

_COPIED = ("firstName", "lastName", "company", "address1", "address2", "city", "zip", "phone")


def address(given: dict[str, Any], identity: str) -> Doc:
    """A MailingAddressInput as a document: codes and names of country and province agree."""
    country = given.get("countryCode") or _code(COUNTRIES, given.get("country"))
    provinces = PROVINCES.get(country or "", {})
    province = given.get("provinceCode") or _code(provinces, given.get("province"))
    return {
        "id": identity,
        **{name: given[name] for name in _COPIED if given.get(name) is not None},
        "country": COUNTRIES.get(country, country) if country else given.get("country"),
        "countryCodeV2": country,
        "province": provinces.get(province, given.get("province")) if province else given.get("province"),
        "provinceCode": province,
    }


def _code(names: dict[str, str], wanted: str | None) -> str | None:
    if not wanted:
        return None
    if wanted.upper() in names:
        return wanted.upper()
    return next((code for code, name in names.items() if name.casefold() == wanted.casefold()), None)
