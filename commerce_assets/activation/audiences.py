"""People's identifiers as marketing tools match them: normalised, then SHA-256 in lower-case hex.

Belongs here: the tools' rules, a whole column at once. Does not belong here: which column goes to which tool (targets/file.py).

Sources, read in November 2026. Google: "Format user data" (developers.google.com/data-manager/api/devguides/concepts/formatting) and
"Formatting guidelines for uploading hashed data" (support.google.com/google-ads/answer/7476159). Meta: "Customer information parameters"
(developers.facebook.com, Conversions API) and "Hashing and normalizing data" (Marketing API, custom audiences). They differ, so each hash
is made for one tool: Google takes dots and +suffixes out of Gmail addresses and keeps the + of a phone number, Meta does neither.
"""

from typing import Literal

import duckdb
import polars as pl

Rule = Literal["plain", "google", "meta"]
"""Whose rule: plain is an address trimmed in lower case, and a number in E.164."""

_HASHED = r"^\s*[0-9a-fA-F]{64}\s*$"
_ADDRESS = r"^[^@\s]+@[^@\s]+$"
_GMAIL = r"^([^@+]*)(?:\+[^@]*)?@(gmail\.com|googlemail\.com)$"
_NUMBER_PUNCTUATION = r"[\s().\-/\u2010-\u2015]"
_E164 = r"^\+[1-9][0-9]{6,14}$"
"""ITU-T E.164: at most 15 digits, none of them a leading zero. Fewer than 7 are nobody's international number."""
_SHA256 = "select sha256(value) as value from given"


def email_sha256(emails: pl.Series, rule: Rule = "plain") -> pl.Series:
    """E-mail addresses hashed for one tool; null where there is none or it is no address. What is hashed already is kept."""
    return _hashed(emails, email_normal(pl.col("value"), rule))


def phone_sha256(phones: pl.Series, rule: Rule = "plain") -> pl.Series:
    """Phone numbers hashed for one tool; null where a number does not say its country. What is hashed already is kept."""
    digits = phone_e164(pl.col("value"))
    return _hashed(phones, digits.str.strip_prefix("+") if rule == "meta" else digits)


def name_sha256(names: pl.Series, rule: Rule = "plain") -> pl.Series:
    """First or last names hashed for one tool. What is hashed already is kept."""
    return _hashed(names, name_normal(pl.col("value"), rule))


def place_sha256(places: pl.Series) -> pl.Series:
    """Cities, states and countries as Meta hashes them: lower case, letters and digits only."""
    return _hashed(places, _filled(pl.col("value").str.to_lowercase().str.replace_all(r"[\p{P}\p{S}\s]", "")))


def zip_sha256(zips: pl.Series) -> pl.Series:
    """Postal codes as Meta hashes them: lower case without spaces and dashes, of a ZIP+4 the first five digits."""
    short = pl.col("value").str.strip_chars().str.replace(r"^([0-9]{5})-[0-9]{4}$", "${1}")
    return _hashed(zips, _filled(short.str.to_lowercase().str.replace_all(r"[\s\-]", "")))


def email_normal(email: pl.Expr, rule: Rule = "plain") -> pl.Expr:
    """An address in the form that is hashed, or null.

    Google: no space anywhere; of gmail.com and googlemail.com addresses neither dots nor what follows a +. Meta and plain: trimmed only.
    """
    text = email.str.to_lowercase()
    if rule == "google":
        text = text.str.replace_all(r"\s", "")
        local = text.str.extract(_GMAIL, 1).str.replace_all(".", "", literal=True)
        text = pl.when(local.is_not_null()).then(pl.format("{}@{}", local, text.str.extract(_GMAIL, 2))).otherwise(text)
    else:
        text = text.str.strip_chars()
    return pl.when(text.str.contains(_ADDRESS)).then(text)


def phone_e164(phone: pl.Expr) -> pl.Expr:
    """A number as +<country><number>, or null.

    Only numbers that say their country, by + or 00, can be right: which zeros a national number drops is different in every country, and a
    guessed number is somebody else's. Shopify keeps customers' numbers in E.164. Anything but digits and punctuation (an extension, letters)
    makes it null, too.
    """
    bare = phone.str.replace_all("(0)", "", literal=True).str.replace_all(_NUMBER_PUNCTUATION, "")
    number = bare.str.replace("^00", "+")
    return pl.when(number.str.contains(_E164)).then(number)


def name_normal(name: pl.Expr, rule: Rule = "plain") -> pl.Expr:
    """A name in the form that is hashed: lower case, single spaces; for Meta without punctuation. Null where nothing is left."""
    text = name.str.to_lowercase()
    if rule == "meta":
        text = text.str.replace_all(r"\p{P}", "")
    return _filled(text.str.replace_all(r"\s+", " "))


def sha256_hex(values: pl.Series) -> pl.Series:
    """SHA-256 of each text's UTF-8, in lower-case hex; null stays null. polars has no SHA-256, DuckDB has."""
    with duckdb.connect() as connection:
        connection.register("given", pl.DataFrame({"value": values.cast(pl.String)}))
        return connection.sql(_SHA256).pl().get_column("value").alias(values.name)


def is_sha256(value: str) -> bool:
    """Whether a text is a hash as it is written here."""
    return len(value) == 64 and not value.strip("0123456789abcdef")


def _hashed(given: pl.Series, normal: pl.Expr) -> pl.Series:
    values = pl.DataFrame({"value": given.cast(pl.String)})
    is_hashed = pl.col("value").str.contains(_HASHED)
    hashes = sha256_hex(values.select(pl.when(~is_hashed).then(normal)).to_series()).alias("hash")
    kept = pl.when(is_hashed).then(pl.col("value").str.strip_chars().str.to_lowercase())
    return values.with_columns(hashes).select(kept.otherwise("hash")).to_series().alias(given.name)


def _filled(text: pl.Expr) -> pl.Expr:
    trimmed = text.str.strip_chars()
    return pl.when(trimmed != "").then(trimmed)
