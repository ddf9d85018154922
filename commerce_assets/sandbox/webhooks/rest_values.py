"""Values as REST-shaped payloads write them: ids as integers, money with two decimals, times in the shop's own zone.

Belongs here: what every payload shares. Does not belong here: the payloads themselves. Nothing here raises on a document
that is wrong on purpose: what cannot be read as it should be is passed on as stored.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from commerce_assets.sandbox.documents import CENT, WHOLE, Doc, parse_gid
from commerce_assets.sandbox.geography import COUNTRIES, PROVINCES

ZERO = Decimal(0)
Money = tuple[str, str]
"""An amount in the shop's and in the buyer's currency, both as text."""


def number(value: Any) -> int | None:
    """The number of a gid, or of a `{"id": gid}`; None where there is none to be read."""
    if isinstance(value, dict):
        value = value.get("id")
    with suppress(ValueError, TypeError, AttributeError):
        return parse_gid(value)[1]
    return None


def amount_of(value: Any) -> Decimal:
    """The shop amount of a stored money field; zero where there is none or it is no number."""
    if isinstance(value, dict):
        value = value.get("shopMoney", value)
        value = value.get("amount") if isinstance(value, dict) else value
    return _decimal(value) or ZERO


def units(value: Any) -> int:
    """A count; zero where it is none."""
    return value if isinstance(value, int) else 0


def lowered(value: Any) -> Any:
    """An enum value as REST writes it."""
    return value.lower() if isinstance(value, str) else value


def _decimal(value: Any) -> Decimal | None:
    with suppress(InvalidOperation, TypeError, ValueError):
        found = Decimal(str(value))
        return found if found.is_finite() else None
    return None


def printed(amount: Decimal, currency: str) -> str:
    """An amount with the decimals of its currency, or with all it has where that is more."""
    usual = Decimal(1) if currency in WHOLE else CENT
    short = amount.quantize(usual, ROUND_HALF_UP)
    return str(short) if short == amount else format(amount.normalize(), "f")


class Purse:
    """Writes the money of one order: `currency` is the shop's, `presentment` the buyer's."""

    def __init__(self, order: Doc, shop: Doc) -> None:
        """Reads the currencies and the rate from an order."""
        self.currency: str = order.get("currencyCode") or shop["currencyCode"]
        self.presentment: str = order.get("presentmentCurrencyCode") or self.currency
        rate = order.get("presentmentRate")
        self.rate = None if rate is None else _decimal(rate)

    def pair(self, value: Any) -> Money:
        """A stored money field (amount, bag, or nothing) as two texts."""
        other: Any = None
        if isinstance(value, dict):
            other = value.get("presentmentMoney")
            value = value.get("shopMoney")
            value = value.get("amount") if isinstance(value, dict) else value
            other = other.get("amount") if isinstance(other, dict) else other
        own = ZERO if value is None else _decimal(value)
        if own is None:
            return value, value if other is None else other
        if other is None:
            theirs = own if self.rate is None else (own * self.rate).quantize(CENT)
        else:
            found = _decimal(other)
            if found is None:
                return printed(own, self.currency), other
            theirs = found
        return printed(own, self.currency), printed(theirs, self.presentment)

    def set(self, pair: Money) -> Doc:
        """A price set."""
        return {
            "shop_money": {"amount": pair[0], "currency_code": self.currency},
            "presentment_money": {"amount": pair[1], "currency_code": self.presentment},
        }

    def sums(self, values: list[Any]) -> Money:
        """The sum of stored money fields."""
        pairs = [self.pair(value) for value in values]
        own, theirs = (sum((_decimal(pair[side]) or ZERO for pair in pairs), ZERO) for side in (0, 1))
        return printed(own, self.currency), printed(theirs, self.presentment)


def zone_of(shop: Doc) -> str:
    """The name of the shop's time zone."""
    return str(shop.get("ianaTimezone") or "UTC")


@lru_cache(maxsize=8192)
def _local(text: str, zone: str) -> str:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        return text


def when(text: Any, zone: str) -> Any:
    """A stored time in the shop's zone, with its offset: `2021-12-31T19:00:00-05:00`."""
    return _local(text, zone) if isinstance(text, str) else text


def full_name(first: Any, last: Any) -> str:
    """First and last name in one."""
    return " ".join(part for part in (first, last) if isinstance(part, str) and part)


def country_name(code: Any) -> Any:
    """The name of a country given by code; the code where we know no name."""
    return COUNTRIES.get(code, code) if isinstance(code, str) else code


def address(stored: Any) -> Doc | None:
    """A postal address of an order."""
    if not isinstance(stored, dict):
        return None
    code, province_code = stored.get("countryCodeV2") or stored.get("countryCode"), stored.get("provinceCode")
    province = stored.get("province") or PROVINCES.get(code or "", {}).get(province_code or "", province_code)
    return {
        "first_name": stored.get("firstName"),
        "address1": stored.get("address1"),
        "phone": stored.get("phone"),
        "city": stored.get("city"),
        "zip": stored.get("zip"),
        "province": province,
        "country": stored.get("country") or country_name(code),
        "last_name": stored.get("lastName"),
        "address2": stored.get("address2"),
        "company": stored.get("company"),
        "latitude": stored.get("latitude"),
        "longitude": stored.get("longitude"),
        "name": full_name(stored.get("firstName"), stored.get("lastName")),
        "country_code": code,
        "province_code": province_code,
    }
