"""What a resolver or mutation is told about the request it serves."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from commerce_assets.sandbox.documents import Doc, instant
from commerce_assets.sandbox.store import Store


def utc_now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def report(problem: BaseException) -> None:
    """Tell whoever runs the server of a defect (the client only hears of an internal error)."""
    traceback.print_exception(problem)


class RequestError(Exception):
    """A top-level GraphQL error of one field: its value becomes null and `errors` gets message, path and `extensions`.

    User errors are not this: they belong into the payload. `@idempotent` missing is this, with code BAD_REQUEST.
    """

    def __init__(self, message: str, **extensions: Any) -> None:
        """`RequestError("Variable $x …", code="BAD_REQUEST")`."""
        super().__init__(message)
        self.extensions = extensions


@dataclass
class Context:
    """One request: the store, who asks, in which version, and the clock.

    Mutations are `Callable[[Context, dict[str, Any]], dict[str, Any]]` in `mutations.MUTATIONS`, keyed by field name; the
    arguments are Python values (enums as their names); the payload is a document whose fields are read like any other.
    A returned reference `{"id": gid}` for a document type is loaded when more than its id is selected.
    `bulk` is the server's `bulk.Runner`: `busy`, `start`, `is_cancelled`, `update`, `path` and `url` serve bulk mutations too.
    `idempotency_key` is set from `@idempotent(key:)` of the field being executed, before the mutation is called.
    """

    store: Store
    shop: Doc
    api_version: str
    scopes: frozenset[str]
    app_id: str = "gid://shopify/App/180000000001"
    base_url: str = "http://127.0.0.1:8810"
    idempotency_key: str | None = None
    clock: Callable[[], datetime] = utc_now
    warnings: list[dict[str, Any]] = field(default_factory=list)
    bulk: Any = None
    groups_by_default: bool = False
    cache: dict[Any, Any] = field(default_factory=dict)

    def now(self) -> str:
        """The present moment as documents write it."""
        return instant(self.clock())
