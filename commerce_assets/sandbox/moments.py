"""Epoch seconds to moments and texts; generators compute with seconds, documents hold texts."""

from __future__ import annotations

from datetime import UTC, datetime
from time import gmtime, strftime


def moment(seconds: int) -> datetime:
    """The moment `seconds` after 1970-01-01 UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def stamp(seconds: int) -> str:
    """The same as the storefront prints it."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))
