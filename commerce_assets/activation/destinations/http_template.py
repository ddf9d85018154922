"""A record as the receiver's JSON: values put into a template, each as its hint says, digits and all.

Numbers go out as they are written (`0.10` never becomes a float on the way). A value that is not what its hint says refuses its record.
"""

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import quote

import orjson

from commerce_assets.activation.targets.http import KEY, Hint, Placeholder, placeholder, steps_of

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_BOOLEANS = {"true": True, "false": False}
_NAMES: Mapping[Hint, str] = {"number": "number", "integer": "whole number", "boolean": "true or false", "json": "JSON"}


class UnfitValueError(Exception):
    """A value that cannot be sent as the template says; names the field, never the value."""


class _Omitted:
    """Stands for a member that is left out."""


_OMITTED = _Omitted()


class Template:
    """A compiled template of one record."""

    def __init__(self, template: Any, *, omit_nulls: bool = False) -> None:
        self._tree = _compiled(template)
        self._omit_nulls = omit_nulls

    def render(self, values: Mapping[str, str | None], *, left_out: Set[str] = frozenset(), send_nulls: bool = False) -> bytes:
        """The record as JSON in UTF-8. `left_out`: names whose members are left out where they have no value, whatever the template does.

        Raises `UnfitValueError`.
        """
        omit_nulls = self._omit_nulls and not send_nulls

        def filled(node: Any) -> Any:
            if isinstance(node, Placeholder):
                value = values.get(node.name)
                if value is None:
                    return _OMITTED if omit_nulls or node.name in left_out else None
                return as_json(node, value)
            if isinstance(node, dict):
                return {name: made for name, child in node.items() if (made := filled(child)) is not _OMITTED}
            if isinstance(node, list):
                # The places in a list have a meaning: a null keeps its own.
                return [None if (made := filled(child)) is _OMITTED else made for child in node]
            return node

        made = filled(self._tree)
        try:
            return orjson.dumps(None if made is _OMITTED else made)
        except orjson.JSONEncodeError:
            raise UnfitValueError("a value is no valid Unicode") from None


class Envelope:
    """The JSON around the records of a batch."""

    def __init__(self, envelope: Mapping[str, Any], rows_at: str | None) -> None:
        self._tree = _compiled(dict(envelope))
        self._steps = steps_of(rows_at or "")

    def around(self, rows: Sequence[bytes], idempotency_key: str) -> bytes:
        """The body of one call."""
        records = [orjson.Fragment(row) for row in rows]
        return orjson.dumps(self._placed(self._tree, self._steps, records, idempotency_key))

    def _placed(self, node: Any, steps: Sequence[str], records: Any, key: str) -> Any:
        if not steps:
            return records
        others = {name: _with_key(child, key) for name, child in node.items() if name != steps[0]}
        return others | {steps[0]: self._placed(node.get(steps[0], {}), steps[1:], records, key)}


def as_json(one: Placeholder, value: str) -> Any:
    """The value as the placeholder's hint says."""
    if one.hint == "text":
        return value
    if one.hint == "list":
        return [part for part in value.split(",") if part]
    if one.hint == "boolean" and value in _BOOLEANS:
        return _BOOLEANS[value]
    if (one.hint == "number" and _NUMBER.fullmatch(value)) or (one.hint == "integer" and _INTEGER.fullmatch(value)):
        return orjson.Fragment(value)
    if one.hint == "json" and _is_json(value):
        return orjson.Fragment(value)
    raise UnfitValueError(f"{one.name} is no {_NAMES[one.hint]}" if one.hint != "boolean" else f"{one.name} is neither true nor false")


def url_for(url: str, key: str) -> str:
    """The address of one record: nothing in a key can lead anywhere else. Raises `UnfitValueError` for a key that could."""
    if f"{{{KEY}}}" not in url:
        return url
    if key in (".", ".."):
        raise UnfitValueError("the key cannot stand in an address")
    try:
        return url.replace(f"{{{KEY}}}", quote(key, safe=""))
    except UnicodeEncodeError:
        raise UnfitValueError("the key is no valid Unicode") from None


def _compiled(template: Any) -> Any:
    if isinstance(template, Mapping):
        return {str(name): _compiled(child) for name, child in template.items()}
    if isinstance(template, list | tuple):
        return [_compiled(child) for child in template]
    if isinstance(template, str):
        return placeholder(template) or template
    return template


def _with_key(node: Any, key: str) -> Any:
    if isinstance(node, Placeholder):
        return key
    if isinstance(node, dict):
        return {name: _with_key(child, key) for name, child in node.items()}
    if isinstance(node, list):
        return [_with_key(child, key) for child in node]
    return node


def _is_json(value: str) -> bool:
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True
