"""What a receiver's answer says of single records: which were refused, by which code, and what is held.

Of an answer's text nothing goes on: a message may quote a person's values. What may is a short code that is none of them.
"""

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from commerce_assets.activation.records import Fields
from commerce_assets.activation.targets.base import FieldType
from commerce_assets.activation.targets.http import RowErrorOptions, steps_of

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
_MISSING = object()


@dataclass(frozen=True)
class Refusals:
    """The records of a batch that an answer names: their numbers, each with its code (or None)."""

    named: dict[int, str | None] = field(default_factory=dict)
    is_readable: bool = True
    """False where an error names no record of the batch, or the answer is not as declared: then nothing is known of the others."""


def parsed(content: bytes) -> Any:
    """An answer's JSON, numbers with all their digits; None where it is none."""
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def value_at(answer: Any, path: str) -> Any:
    """What stands at the path; None where nothing does."""
    found = _at(answer, path)
    return None if found is _MISSING else found


def refusals(options: RowErrorOptions, answer: Any, keys: Sequence[str], private: Sequence[Set[str]]) -> Refusals:
    """`keys` of the batch in its order, and `private`: the values of each, which no code may be."""
    errors = _at(answer, options.at)
    if errors is _MISSING or errors is None:
        return Refusals(is_readable=isinstance(answer, dict))
    if not isinstance(errors, list):
        return Refusals(is_readable=False)
    number_of = {key: number for number, key in enumerate(keys)}
    named: dict[int, str | None] = {}
    is_readable = True
    for error in errors:
        number = _number(options, error, number_of)
        if number is None or not 0 <= number < len(keys):
            is_readable = False
        else:
            named[number] = short_code(value_at(error, options.code), private[number]) if options.code else None
    return Refusals(named, is_readable)


def short_code(value: Any, private: Set[str]) -> str | None:
    """The code, where it is one: a word such as `invalid_email`, and no value of the record's."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 100_000 else value
    if not isinstance(text, str) or not (_CODE.fullmatch(text) or text.isdigit()):
        return None
    return None if text.casefold() in {one.casefold() for one in private} else text


def held_of(answer: Any, paths: Mapping[str, str], types: Mapping[str, FieldType]) -> Fields:
    """The fields of one record, in the form in which they are compared."""
    return {name: canonical(value_at(answer, path), types.get(name, "text")) for name, path in paths.items()}


def canonical(value: Any, type_: FieldType) -> str | None:
    """A JSON value as the text that a field of that type is; None for none."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and type_ == "tags":
        return ",".join(sorted({str(one).strip().lower() for one in value} - {""})) or None
    if isinstance(value, list | dict):
        return orjson.dumps(value, default=_plain).decode()
    if isinstance(value, int | Decimal):
        return _shortest(Decimal(value))
    if type_ in ("money", "number", "integer"):
        try:
            return _shortest(Decimal(value))
        except ArithmeticError:
            return str(value)
    return str(value)


def _shortest(number: Decimal) -> str:
    if not number.is_finite():
        return str(number)
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError


def _number(options: RowErrorOptions, error: Any, number_of: Mapping[str, int]) -> int | None:
    if options.key is not None:
        key = value_at(error, options.key)
        return number_of.get(str(key)) if key is not None else None
    place = value_at(error, options.pointer or "")
    found = re.search(options.pattern, str(place)) if isinstance(place, str | int) else None
    text = found[1] if found else None
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


def _at(answer: Any, path: str) -> Any:
    for step in steps_of(path):
        if isinstance(answer, dict):
            answer = answer.get(step, _MISSING)
        elif isinstance(answer, list) and step.isdecimal() and int(step) < len(answer):
            answer = answer[int(step)]
        else:
            return _MISSING
    return answer
