"""Why a raw value could not be typed. Runs on refused lines only, so it may be slow and thorough.

Belongs here: JSON of another shape than the mapping expects. Does not belong here: values of the right shape (the mapping's
`_reasons.sql` judges those).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

REFERENCE = "JSON"
"""The structure's word for an object that is taken as text: `{"id": …}` inside a list, where a struct would hide a value of another shape."""
Place = tuple[str | None, int]
"""The list inside the line and the element's position from 1; (None, 1) is the line itself."""


def odd_shape_sql(structure: Mapping[str, Any]) -> str:
    """SQL that is true where a struct or list came out empty although its key has a value that is neither null nor of that shape.

    It may find too much (white space after the colon); `odd_places` then looks closely. Keys that occur at several places are left
    out: they are Shopify's money bags, whose amounts are required, so that their absence is found without this.
    """
    occurrences = Counter(_keys(structure))
    tests = [
        f"when {path} is null and contains(text, '\"{key}\":') and not contains(text, '\"{key}\":{mark}') "
        f"and not contains(text, '\"{key}\":null') then true"
        for path, key, mark in _containers(structure)
        if occurrences[key] == 1
    ]
    return f"case {' '.join(tests)} else false end" if tests else "false"


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


def _containers(structure: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, str, str]]:
    """(SQL path that is null when it is empty, key, how it begins) of the structs and lists that do not stand in a list."""
    for key, inner in structure.items():
        path = f'{parent}"{key}"'
        if isinstance(inner, Mapping):
            yield from _containers(inner, f"{path}.")
            # DuckDB makes a struct of nulls of what is no object: its first leaf tells.
            yield path + _first_leaf(inner), key, "{"
        elif isinstance(inner, list):
            yield path, key, "["


def _first_leaf(structure: Mapping[str, Any]) -> str:
    key, inner = next(iter(structure.items()))
    return f'."{key}"' + (_first_leaf(inner) if isinstance(inner, Mapping) else "")


def _keys(structure: Any) -> Iterator[str]:
    if isinstance(structure, list):
        yield from _keys(structure[0])
    elif isinstance(structure, Mapping):
        for key, inner in structure.items():
            yield key
            yield from _keys(inner)
