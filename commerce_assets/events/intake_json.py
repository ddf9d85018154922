"""The members of a JSON object as they were written: a payload inside an envelope is kept byte for byte, never encoded again.

Belongs here: taking envelopes apart. Does not belong here: what is in them.
"""

import json
import re

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def members(text: str) -> dict[str, str]:
    """Key -> the value's own text. `ValueError` where the text is no JSON object. Of a key that comes twice, the last holds."""
    try:
        found, position = _members(text, _after_space(text, 0))
    except (IndexError, RecursionError):
        raise ValueError("no JSON object") from None
    if _after_space(text, position) != len(text):
        raise ValueError("something follows the JSON object")
    return found


def _members(text: str, position: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    if text[position] != "{":
        raise ValueError("no JSON object")
    position = _after_space(text, position + 1)
    if text[position] == "}":
        return found, position + 1
    while True:
        key, position = _DECODER.raw_decode(text, position)
        position = _after_space(text, position)
        if not isinstance(key, str) or text[position] != ":":
            raise ValueError("no JSON object")
        start = _after_space(text, position + 1)
        _, position = _DECODER.raw_decode(text, start)
        found[key] = text[start:position]
        position = _after_space(text, position)
        if text[position] == "}":
            return found, position + 1
        if text[position] != ",":
            raise ValueError("no JSON object")
        position = _after_space(text, position + 1)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
