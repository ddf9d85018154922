"""Types of columns: which a field may go to, which values a column takes unchanged, and how what is read becomes canonical text.

Belongs here: pure functions on one column and one value. Does not belong here: statements (sql_statements.py), connections.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal
from uuid import UUID

import sqlalchemy as sa

from commerce_assets.activation.targets.base import FieldType

Kind = Literal["text", "numeric", "double", "integer", "boolean", "date", "timestamp", "uuid", "other"]
KEY_KINDS: tuple[Kind, ...] = ("text", "integer", "uuid")
ACCEPTED: Mapping[FieldType, tuple[Kind, ...]] = {
    "text": ("text",),
    # A float would change money's last digits.
    "money": ("numeric",),
    "number": ("numeric", "double"),
    "integer": ("integer", "numeric"),
    "boolean": ("boolean",),
    "date": ("date",),
    "timestamp": ("timestamp",),
    "json": ("text",),
    "tags": ("text",),
    "references": ("text",),
    "email_sha256": ("text",),
    "phone_sha256": ("text",),
}
"""Kinds of columns that a field of each type may go to; the first is the one that is made."""
MONEY_DIGITS, NUMBER_DIGITS = (38, 4), (38, 10)
"""Digits in all and after the point, where a database has no DECIMAL without bounds."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_WHOLE = re.compile(r"-?\d+")
_MOMENT = re.compile(r"(\d{4,}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(?:Z|\+00(?::?00)?)?")


@dataclass(frozen=True)
class Column:
    """A column as the database has it."""

    name: str
    spelled: str
    """Its type in the database's words."""
    kind: Kind
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    has_zone: bool = False

    @property
    def cast_to(self) -> sa.types.TypeEngine[object] | None:
        """What text is cast to before it is written; None for text, so that the column's own length refuses what is too long."""
        plain: dict[Kind, sa.types.TypeEngine[object]] = {
            "numeric": sa.Numeric(self.precision, self.scale),  # type: ignore[dict-item]
            "double": sa.Double(),
            "integer": sa.BigInteger(),  # type: ignore[dict-item]
            "boolean": sa.Boolean(),  # type: ignore[dict-item]
            "date": sa.Date(),  # type: ignore[dict-item]
            "timestamp": sa.DateTime(timezone=self.has_zone),  # type: ignore[dict-item]
            "uuid": sa.Uuid(),  # type: ignore[dict-item]
        }
        return plain.get(self.kind)


def made_type(field_type: FieldType, *, is_duckdb: bool) -> sa.types.TypeEngine[object]:
    """The type of a column that is made for a field. Moments in DuckDB are UTC without a zone, as everywhere in the warehouse."""
    kind = ACCEPTED[field_type][0]
    if kind == "numeric" and is_duckdb:
        return sa.Numeric(*(MONEY_DIGITS if field_type == "money" else NUMBER_DIGITS))  # type: ignore[return-value]
    column = Column("", "", kind, has_zone=not is_duckdb)
    return column.cast_to or sa.Text()  # type: ignore[return-value]


def refusal(column: Column, value: str) -> str | None:
    """Why the column would not give back `value` as it was written; None where it would. Never says the value itself.

    Checked before writing, because some databases round or cut off in silence.
    """
    if "\x00" in value:
        return f"{column.name} holds a NUL character, which the database cannot"
    problem = _REFUSALS[column.kind](column, value)
    return problem and f"{column.name}: {problem}, which column type {column.spelled} does not take unchanged"


def _no_text(column: Column, value: str) -> str | None:
    if column.length is not None and len(value) > column.length:
        return f"{len(value)} characters"
    return None


def _no_numeric(column: Column, value: str) -> str | None:
    if not _NUMBER.fullmatch(value):
        return "no number"
    if column.precision is None:
        return None
    scale = column.scale or 0
    whole, _, fraction = value.lstrip("-").partition(".")
    if len(fraction.rstrip("0")) > scale:
        return f"{len(fraction.rstrip('0'))} digits after the point"
    return f"{len(whole.lstrip('0'))} digits before the point" if len(whole.lstrip("0")) > column.precision - scale else None


def _no_double(column: Column, value: str) -> str | None:  # noqa: ARG001 (all kinds are asked alike)
    if not _NUMBER.fullmatch(value):
        return "no number"
    return None if canonical_number(repr(float(value))) == canonical_number(value) else "more digits than a float has"


def _no_integer(column: Column, value: str) -> str | None:  # noqa: ARG001
    if not _WHOLE.fullmatch(value):
        return "no whole number"
    return None if -(2**63) <= int(value) < 2**63 else "out of range"


def _no_boolean(column: Column, value: str) -> str | None:  # noqa: ARG001
    return None if value in ("true", "false") else "neither true nor false"


def _no_date(column: Column, value: str) -> str | None:  # noqa: ARG001
    try:
        return None if date.fromisoformat(value).isoformat() == value else "no date as YYYY-MM-DD"
    except ValueError:
        return "no date as YYYY-MM-DD"


def _no_timestamp(column: Column, value: str) -> str | None:  # noqa: ARG001
    try:
        datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return "no moment as YYYY-MM-DDTHH:MM:SSZ"
    return None


def _no_uuid(column: Column, value: str) -> str | None:  # noqa: ARG001
    try:
        return None if str(UUID(value)) == value else "a UUID in another form"
    except ValueError:
        return "no UUID"


def _no_other(column: Column, value: str) -> str | None:  # noqa: ARG001
    """`ACCEPTED` has no such column: nothing is written to one."""
    return "a value"


_REFUSALS = {
    "text": _no_text,
    "numeric": _no_numeric,
    "double": _no_double,
    "integer": _no_integer,
    "boolean": _no_boolean,
    "date": _no_date,
    "timestamp": _no_timestamp,
    "uuid": _no_uuid,
    "other": _no_other,
}


def key_refusal(column: Column, key: str) -> str | None:
    """Why a record of that key cannot be in the table; a number written in another way (007) would be another's key when read back."""
    if column.kind == "integer" and _WHOLE.fullmatch(key) and str(int(key)) != key:
        return f"{column.name}: a number written with zeros before it, which column type {column.spelled} does not take unchanged"
    return refusal(column, key)


def canonical(column: Column, read: str | None) -> str | None:
    """What was read (as the database writes it in text) in the form it is compared in: 12.50 as 12.5, moments as the ledger has them."""
    if read is None:
        return None
    if column.kind in ("numeric", "double"):
        return canonical_number(read)
    if column.kind == "boolean":
        return read.lower()
    if column.kind == "timestamp" and (found := _MOMENT.fullmatch(read)):
        day, time, fraction = found.groups()
        return f"{day}T{time}{(fraction or '').rstrip('0').rstrip('.')}Z"
    return read


def canonical_number(text: str) -> str:
    """Without an exponent, and without zeros at the end of a fraction; what is no number (NaN) as it is."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    plain = f"{number:f}"
    short = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if short == "-0" else short
