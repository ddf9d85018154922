"""Names of countries and provinces for addresses given by code, and addresses as documents keep them."""

from __future__ import annotations

from typing import Any

from commerce_assets.sandbox.documents import Doc

# The countries that the sandbox's generators and the recorded requests use; others are shown by their code.
COUNTRIES = {
    "AE": "United Arab Emirates",
    "AT": "Austria",
    "AU": "Australia",
    "BE": "Belgium",
    "BH": "Bahrain",
    "BR": "Brazil",
    "CA": "Canada",
    "CH": "Switzerland",
    "CN": "China",
    "CY": "Cyprus",
    "CZ": "Czechia",
    "DE": "Germany",
    "DK": "Denmark",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GB": "United Kingdom",
    "GR": "Greece",
    "HK": "Hong Kong SAR",
    "IE": "Ireland",
    "IL": "Israel",
    "IN": "India",
    "IS": "Iceland",
    "IT": "Italy",
    "JP": "Japan",
    "LB": "Lebanon",
    "LT": "Lithuania",
    "MT": "Malta",
    "MX": "Mexico",
    "NL": "Netherlands",
    "NO": "Norway",
    "NZ": "New Zealand",
    "PL": "Poland",
    "PT": "Portugal",
    "SA": "Saudi Arabia",
    "SE": "Sweden",
    "SG": "Singapore",
    "US": "United States",
    "ZA": "South Africa",
}
PROVINCES = {
    "CA": {
        "AB": "Alberta",
        "BC": "British Columbia",
        "MB": "Manitoba",
        "NB": "New Brunswick",
        "NL": "Newfoundland and Labrador",
        "NS": "Nova Scotia",
        "ON": "Ontario",
        "PE": "Prince Edward Island",
        "QC": "Quebec",
        "SK": "Saskatchewan",
    },
    "US": {
        "CA": "California",
        "FL": "Florida",
        "IL": "Illinois",
        "MA": "Massachusetts",
        "NY": "New York",
        "TX": "Texas",
        "WA": "Washington",
    },
}
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
