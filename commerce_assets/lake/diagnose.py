"""Why a raw value could not be typed. Runs on refused lines only, so it may be slow and thorough.

Belongs here: JSON of another shape than the mapping expects. Does not belong here: values of the right shape (the mapping's
`_reasons.sql` judges those).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

REFERENCE = "JSON"
"""The structure's word for an object that is taken as text: `{"id": …}` inside a list, where a struct would hide a value of another shape."""
Place = tuple[str | None, int]
"""The list inside the line and the element's position from 1; (None, 1) is the line itself."""


def odd_shape_pattern(structures: Iterable[Mapping[str, Any]], required: frozenset[str] = frozenset()) -> str:
    """A pattern that finds the lines in which a key that should hold an object or list holds something else that is not null.

    A quote inside a text is escaped, so `key":` can only end a key. It may find too much (a longer key with the same end);
    `odd_places` then looks closely. Keys that are objects in one place and lists or texts in another are left out, and
    those whose absence is noticed anyway. The pattern starts
    with the key, not the quote: that lets the regex engine search for all keys at once, twenty times as fast.
    """
    kinds: dict[str, set[str]] = {}
    for structure in structures:
        for key, kind in _keys(structure):
            kinds.setdefault(key, set()).add(kind)
    parts = []
    for kind, first in (("object", "{"), ("list", r"\[")):
        keys = sorted(key for key, found in kinds.items() if found == {kind} and key not in required)
        if keys:
            parts.append(rf'(?:{"|".join(map(re.escape, keys))})":\s*[^{first}n\s]')
    return "|".join(parts)


def odd_places(text: str, structure: Mapping[str, Any]) -> set[Place]:
    """The rows of a line that hold a value of another shape than the structure says."""
    document = json.loads(text)
    places: set[Place] = set()
    for key, expected in structure.items():
        value = document.get(key)
        if isinstance(expected, list) and isinstance(value, list) and isinstance(expected[0], Mapping):
            places |= {(key, number) for number, element in enumerate(value, start=1) if _is_odd(element, expected[0])}
        elif _is_odd(value, expected):
            places.add((None, 1))
    return places


def _is_odd(value: Any, expected: Any) -> bool:
    if value is None:
        return False
    if isinstance(expected, Mapping):
        return not isinstance(value, dict) or any(_is_odd(value.get(key), inner) for key, inner in expected.items())
    if isinstance(expected, list):
        return not isinstance(value, list) or any(_is_odd(element, expected[0]) for element in value)
    return not isinstance(value, dict) if expected == REFERENCE else isinstance(value, dict | list)


def _keys(structure: Any) -> Iterator[tuple[str, str]]:
    if isinstance(structure, list):
        yield from _keys(structure[0])
    elif isinstance(structure, Mapping):
        for key, inner in structure.items():
            yield key, "object" if isinstance(inner, Mapping) or inner == REFERENCE else "list" if isinstance(inner, list) else "text"
            yield from _keys(inner)
