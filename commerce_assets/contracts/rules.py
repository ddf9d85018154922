"""The named semantic rules of the contracts, as pandera checks written in polars expressions.

Belongs here: what a rule says, and the parsers it needs (Luhn, postal codes, e-mail). Does not belong here: which table keeps which
rule (the contract models and `context.py` name them), and reading or writing of data.

A rule is attached to a contract as a class attribute: `currency = rules.currency_known("currency_code")`. Its name, the part after
`rules.`, is what people see in the quarantine, in reports and in asset checks. Null passes every rule; whether null is allowed is the
column's own business.
"""

import re
from collections.abc import Callable
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.api.polars.types import PolarsData

from commerce_assets.contracts.countries import KNOWN_COUNTRIES
from commerce_assets.contracts.currencies import CURRENCIES
from commerce_assets.contracts.postal import POSTAL_FORMATS

EMAIL = r"^[^\s@<>,;:\"()\[\]\\]+@(?:[\pL\pN](?:[\pL\pN-]*[\pL\pN])?\.)+[\pL\pN-]{2,}$"
CUSTOMER_GID = r"^gid://shopify/Customer/[1-9]\d{0,18}$"
CENT = "0.01"

_MAYBE_CARD = r"\d(?:[ -]?\d){12}"
"""Thirteen digits, one after another but for single spaces and dashes: few texts hold that, and only those are looked at closely."""
_CARD = re.compile(r"(?<![\w/+.#-])\d(?:[ -]?\d){12,18}(?![\w/]|[.-]\d)", re.ASCII)
_ISSUERS = re.compile(
    r"(?:4\d{12}|4\d{15}|4\d{18}"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|65\d\d|64[4-9]\d)\d{12,15}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|62\d{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15})"  # Maestro
)


def is_luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of those before it."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_article_number(digits: str) -> bool:
    """Whether it is a well-formed GTIN-13 or GTIN-14 (EAN, ITF-14): one in ten also passes Luhn and starts like a card."""
    if len(digits) not in (13, 14):
        return False
    total = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(reversed(digits)))
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether digits look like a payment card's: an issuer's prefix and length, the Luhn digit, and no article number."""
    return _ISSUERS.fullmatch(digits) is not None and is_luhn(digits) and not is_article_number(digits)


def has_card_number(text: str) -> bool:
    """Whether a text holds a payment card's number, written together or with single spaces or dashes."""
    return any(is_card_number(re.sub(r"[ -]", "", found)) for found in _CARD.findall(text))


def mask_card_numbers(text: str) -> str:
    """The text with all but the last four digits of every card number replaced by stars."""

    def masked(found: re.Match[str]) -> str:
        digits = re.sub(r"[ -]", "", found.group())
        return "*" * (len(digits) - 4) + digits[-4:] if is_card_number(digits) else found.group()

    return _CARD.sub(masked, text)


Passes = Callable[[PolarsData], pl.LazyFrame]


def named(name: str, description: str, columns: tuple[str, ...], passes: Passes) -> Any:
    """A pandera check `name` on each of the columns; `passes` gives one boolean a row."""

    def check(_model: type, data: PolarsData) -> pl.LazyFrame:
        return passes(data)

    check.__name__ = check.__qualname__ = name
    return pa.check(*columns, name=name, description=description, title=name)(check)


def _expression(rule: Callable[[pl.Expr], pl.Expr]) -> Passes:
    return lambda data: data.lazyframe.select(rule(pl.col(data.key)).alias("passes"))


def amount_not_negative(*columns: str) -> Any:
    """The rule on amounts."""
    return named("amount_not_negative", "An amount is not below zero.", columns, _expression(lambda amount: amount >= 0))


def price_not_negative(*columns: str) -> Any:
    """The rule on prices."""
    return named("price_not_negative", "A price is not below zero.", columns, _expression(lambda price: price >= 0))


def quantity_not_negative(*columns: str) -> Any:
    """The rule on quantities."""
    return named("quantity_not_negative", "A quantity is not below zero.", columns, _expression(lambda quantity: quantity >= 0))


def currency_known(*columns: str) -> Any:
    """The rule on currency codes."""
    return named("currency_known", "The currency is an active ISO 4217 code.", columns, _expression(lambda code: code.is_in(CURRENCIES)))


def presentment_currency_known(*columns: str) -> Any:
    """The rule on the customer's currency."""
    rule = _expression(lambda code: code.is_in(CURRENCIES))
    return named("presentment_currency_known", "The currency the customer saw is an active ISO 4217 code.", columns, rule)


def country_known(*columns: str) -> Any:
    """The rule on country codes."""
    rule = _expression(lambda code: code.is_in(KNOWN_COUNTRIES))
    return named(
        "country_known", "The country is an ISO 3166-1 alpha-2 code, after names and other codes were turned into one.", columns, rule
    )


def email_format(*columns: str) -> Any:
    """The rule on e-mail addresses."""
    rule = _expression(lambda email: email.str.contains(EMAIL) & (email.str.len_bytes() <= 320))
    return named("email_format", "An e-mail address has one @, a name before it and a domain behind it.", columns, rule)


def customer_id_format(*columns: str) -> Any:
    """The rule on customers' gids."""
    rule = _expression(lambda gid: gid.str.contains(CUSTOMER_GID))
    return named("customer_id_format", "A customer's gid is gid://shopify/Customer/<number>.", columns, rule)


def no_card_number(*columns: str) -> Any:
    """The rule on free texts and lists of them."""
    return named("no_card_number", "No payment card's number (known issuer, Luhn digit) stands in the text.", columns, _without_card_number)


def postal_code_fits_country(postal_code: str, country: str) -> Any:
    """The rule on `postal_code`, judged by the format of the row's `country`."""

    def passes(data: PolarsData) -> pl.LazyFrame:
        return _fitting(data.lazyframe.select(postal=postal_code, country=country).collect()).lazy()

    return named("postal_code_fits_country", "The postal code has the format of its country, where that has one.", (postal_code,), passes)


def not_before(name: str, description: str, moment: str, earliest: str) -> Any:
    """The rule `name` on `moment`: not before the row's `earliest`."""
    return named(name, description, (moment,), lambda data: data.lazyframe.select((pl.col(moment) >= pl.col(earliest)).alias("passes")))


def compared(name: str, description: str, column: str, passes: Callable[[], pl.Expr]) -> Any:
    """The rule `name` on `column`, as an expression over the row's columns."""
    return named(name, description, (column,), lambda data: data.lazyframe.select(passes().alias("passes")))


def _without_card_number(data: PolarsData) -> pl.LazyFrame:
    column = pl.col(data.key)
    texts = data.lazyframe.select(text=column).collect()["text"]
    if texts.dtype == pl.List(pl.String):
        texts = texts.list.join("\n")
    suspects = texts.str.contains(_MAYBE_CARD).fill_null(False).arg_true()
    passes = pl.repeat(True, len(texts), dtype=pl.Boolean, eager=True)
    failing = [index for index in suspects if has_card_number(texts[index])]
    if failing:
        passes = passes.scatter(failing, False)
    return passes.alias("passes").to_frame().lazy()


def _fitting(places: pl.DataFrame) -> pl.DataFrame:
    """One boolean a row: the postal code fits, or there is none, or its country has no format known."""
    judged = places.with_row_index("row").with_columns(pl.col("postal").str.strip_chars().str.to_uppercase())
    judged = judged.filter(pl.col("postal") != "", pl.col("country").is_in(list(POSTAL_FORMATS)))
    misfits: list[int] = []
    for (country,), here in judged.group_by("country"):
        misfits += here.filter(~pl.col("postal").str.contains(f"^(?:{POSTAL_FORMATS[str(country)]})$"))["row"].to_list()
    passes = pl.repeat(True, len(places), dtype=pl.Boolean, eager=True)
    return (passes.scatter(misfits, False) if misfits else passes).alias("passes").to_frame()
