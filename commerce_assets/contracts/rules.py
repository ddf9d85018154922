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


Passes = Callable[[pl.LazyFrame], pl.LazyFrame]


def named(name: str, description: str, column: str, passes: Passes) -> Any:
    """A pandera check `name`, reported on `column`; `passes` makes one boolean a row of the whole frame."""

    def check(_model: type, data: PolarsData) -> pl.LazyFrame:
        return passes(data.lazyframe)

    check.__name__ = check.__qualname__ = name
    return pa.check(column, name=name, description=description, title=name)(check)


def _each(rule: Callable[[pl.Expr], pl.Expr], columns: tuple[str, ...]) -> Passes:
    """A rule that every one of the columns keeps: one check for all of them, since each check costs pandera a millisecond."""
    return lambda frame: frame.select(passes=pl.all_horizontal(rule(pl.col(column)).fill_null(True) for column in columns))


def amount_not_negative(*columns: str) -> Any:
    """The rule on amounts."""
    return named("amount_not_negative", "No amount is below zero.", columns[0], _each(lambda amount: amount >= 0, columns))


def price_not_negative(*columns: str) -> Any:
    """The rule on prices."""
    return named("price_not_negative", "No price is below zero.", columns[0], _each(lambda price: price >= 0, columns))


def quantity_not_negative(*columns: str) -> Any:
    """The rule on quantities."""
    return named("quantity_not_negative", "No quantity is below zero.", columns[0], _each(lambda quantity: quantity >= 0, columns))


def currency_known(*columns: str) -> Any:
    """The rule on currency codes."""
    rule = _each(lambda code: code.is_in(CURRENCIES), columns)
    return named("currency_known", "The currency is an active ISO 4217 code.", columns[0], rule)


def presentment_currency_known(*columns: str) -> Any:
    """The rule on the customer's currency."""
    rule = _each(lambda code: code.is_in(CURRENCIES), columns)
    return named("presentment_currency_known", "The currency the customer saw is an active ISO 4217 code.", columns[0], rule)


def country_known(*columns: str) -> Any:
    """The rule on country codes."""
    rule = _each(lambda code: code.is_in(KNOWN_COUNTRIES), columns)
    return named("country_known", "The country is an ISO 3166-1 alpha-2 code, after names were turned into one.", columns[0], rule)


def email_format(*columns: str) -> Any:
    """The rule on e-mail addresses."""
    rule = _each(lambda email: email.str.contains(EMAIL) & (email.str.len_bytes() <= 320), columns)
    return named("email_format", "An e-mail address has one @, a name before it and a domain behind it.", columns[0], rule)


def customer_id_format(*columns: str) -> Any:
    """The rule on customers' gids."""
    rule = _each(lambda gid: gid.str.contains(CUSTOMER_GID), columns)
    return named("customer_id_format", "A customer's gid is gid://shopify/Customer/<number>.", columns[0], rule)


def no_card_number(*columns: str) -> Any:
    """The rule on free texts and lists of them."""
    description = "No payment card's number (known issuer, Luhn digit) stands in any text."
    return named("no_card_number", description, columns[0], lambda frame: _without_card_number(frame, columns))


def postal_code_fits_country(**countries: str) -> Any:
    """The rule on postal codes: column of the code = column of its country."""

    def passes(frame: pl.LazyFrame) -> pl.LazyFrame:
        places = frame.select(*countries, *countries.values()).collect()
        fits = [_fitting(places[code], places[country]).alias(code) for code, country in countries.items()]
        return pl.LazyFrame(fits).select(passes=pl.all_horizontal(pl.all()))

    return named(
        "postal_code_fits_country", "The postal code has the format of its country, where that has one.", next(iter(countries)), passes
    )


def not_before(name: str, description: str, moment: str, earliest: str) -> Any:
    """The rule `name`: the row's `moment` is not before its `earliest`."""
    return named(name, description, moment, lambda frame: frame.select(passes=pl.col(moment) >= pl.col(earliest)))


def compared(name: str, description: str, column: str, passes: Callable[[], pl.Expr]) -> Any:
    """The rule `name` as an expression over the row's columns."""
    return named(name, description, column, lambda frame: frame.select(passes=passes()))


def _without_card_number(frame: pl.LazyFrame, columns: tuple[str, ...]) -> pl.LazyFrame:
    """One boolean a row. A cheap pattern finds the few texts with enough digits; only those are looked at closely."""
    types = frame.collect_schema()
    texts = [pl.col(name).list.join("\n") if types[name] == pl.List(pl.String) else pl.col(name) for name in columns]
    suspicious = pl.any_horizontal(text.str.contains(_MAYBE_CARD).fill_null(False) for text in texts)
    suspects = frame.with_row_index("row").filter(suspicious).select("row", *texts).collect()
    failing = [row[0] for row in suspects.iter_rows() if any(text and has_card_number(text) for text in row[1:])]
    return frame.select(passes=pl.int_range(pl.len()).is_in(failing).not_())


def _fitting(codes: pl.Series, countries: pl.Series) -> pl.Series:
    """One boolean a row: the postal code fits, or there is none, or its country has no format known."""
    judged = pl.DataFrame({"postal": codes, "country": countries}).with_row_index("row")
    judged = judged.filter(pl.col("country").is_in(list(POSTAL_FORMATS))).with_columns(
        pl.col("postal").str.strip_chars().str.to_uppercase()
    )
    judged = judged.filter(pl.col("postal") != "")
    misfits: list[int] = []
    for (country,), here in judged.group_by("country"):
        misfits += here.filter(~pl.col("postal").str.contains(f"^(?:{POSTAL_FORMATS[str(country)]})$"))["row"].to_list()
    passes = pl.repeat(True, len(codes), dtype=pl.Boolean, eager=True)
    return passes.scatter(misfits, False) if misfits else passes
