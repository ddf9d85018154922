"""What every mutation shares: user errors, one transaction each, idempotency keys, ids, tags, money.

A mutation validates first and writes after; what it finds wrong it raises as `Rejected`, which rolls everything back
and becomes the payload's `userErrors`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import Doc, gid, instant, parse_gid
from commerce_assets.sandbox.store import Store

Mutation = Callable[[Context, dict[str, Any]], dict[str, Any]]

IDEMPOTENCY_KEPT = timedelta(hours=24)
IDEMPOTENT_FROM = "2026-04"
TAG_LENGTH = 255
TAG_COUNT = 250
# SQLite's largest integer; what is above is nobody's id.
LARGEST_ID = 2**63 - 1


class Rejected(Exception):
    """The mutation's input is refused: these user errors, and these other payload fields (null where not named)."""

    def __init__(self, errors: Sequence[Doc], **payload: Any) -> None:
        """`Rejected([user_error(["id"], "Customer does not exist")], customer=None)`."""
        super().__init__("; ".join(str(error["message"]) for error in errors))
        self.errors = list(errors)
        self.payload = payload


def user_error(path: Iterable[object] | None, message: str, code: str | None = None, **more: Any) -> Doc:
    """One user error; indexes in `path` become text, as Shopify writes them."""
    return {"field": None if path is None else [str(part) for part in path], "message": message, "code": code, **more}


def mutation(function: Mutation) -> Mutation:
    """Run in one transaction; `Rejected` rolls it back and becomes the payload."""

    @functools.wraps(function)
    def run(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
        try:
            with ctx.store.transaction():
                return {"userErrors": [], **function(ctx, args)}
        except Rejected as refusal:
            return {**refusal.payload, "userErrors": refusal.errors}

    return run


# -- idempotency keys

_running: set[tuple[str, str]] = set()
_running_lock = threading.Lock()

MISMATCH = ("IDEMPOTENCY_KEY_PARAMETER_MISMATCH", "The same idempotency key cannot be used with different operation parameters.")
CONCURRENT = ("IDEMPOTENCY_CONCURRENT_REQUEST", "This request is currently in progress, please try again.")
FAILED = (
    "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED",
    "A previous request with this idempotency key failed. Retry with a new idempotency key.",
)


def idempotent_mutation(function: Mutation) -> Mutation:
    """A `mutation` that takes `@idempotent(key:)`: required from 2026-04, keys kept for 24 hours.

    A key seen before with the same arguments gives the first payload again, without doing anything. An attempt that
    ended in user errors or broke uses its key up: the next try needs a new one.
    """
    plain = mutation(function)

    @functools.wraps(function)
    def run(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
        key = ctx.idempotency_key
        if key is None:
            if ctx.api_version >= IDEMPOTENT_FROM:
                raise RequestError("The @idempotent directive is required for this mutation but was not provided.", code="BAD_REQUEST")
            return plain(ctx, args)
        claim = (str(ctx.store.path), key)
        with _running_lock:
            if claim in _running:
                return _refused(CONCURRENT)
            _running.add(claim)
        try:
            return _once(ctx, key, args, function)
        finally:
            with _running_lock:
                _running.discard(claim)

    return run


def _once(ctx: Context, key: str, args: dict[str, Any], function: Mutation) -> dict[str, Any]:
    name = function.__name__
    fingerprint = hashlib.sha256(json.dumps([name, args], sort_keys=True, default=str).encode()).hexdigest()
    ctx.store.drop_idempotency(instant(ctx.clock() - IDEMPOTENCY_KEPT))
    known = ctx.store.idempotency(key)
    if known is not None:
        if known["fingerprint"] != fingerprint:
            return _refused(MISMATCH)
        return known["payload"] if known["state"] == "done" else _refused(FAILED)
    try:
        with ctx.store.transaction():
            payload = {"userErrors": [], **function(ctx, args)}
            ctx.store.set_idempotency(key, name, fingerprint, "done", payload, ctx.now())
            return payload
    except Rejected as refusal:
        ctx.store.set_idempotency(key, name, fingerprint, "failed", None, ctx.now())
        return {**refusal.payload, "userErrors": refusal.errors}
    except Exception:
        ctx.store.set_idempotency(key, name, fingerprint, "failed", None, ctx.now())
        raise


def _refused(reason: tuple[str, str]) -> dict[str, Any]:
    code, message = reason
    return {"userErrors": [user_error(None, message, code)]}


# -- ids


def number_of(value: str, *kinds: str) -> int:
    """The number of a gid of one of these types; anything else is the API's top-level "invalid id"."""
    try:
        kind, number = parse_gid(value)
    except ValueError:
        raise RequestError("invalid id", code="RESOURCE_NOT_FOUND") from None
    if kind not in kinds:
        raise RequestError("invalid id", code="RESOURCE_NOT_FOUND")
    return min(number, LARGEST_ID)


def found(store: Store, kind: str, value: str) -> Doc | None:
    """The document behind a gid, when it is one of type `kind`; None where there is none."""
    return store.get(kind, number_of(value, kind))


def new_gid(store: Store, kind: str) -> str:
    """The next unused gid of a type."""
    return gid(kind, store.next_id(kind))


# -- tags


def split_tags(tags: Iterable[str] | str | None) -> list[str]:
    """Tags as given, comma strings split, blanks dropped, outer spaces cut; the first casing of each tag wins."""
    texts = [tags] if isinstance(tags, str) else list(tags or ())
    wanted: dict[str, str] = {}
    for text in texts:
        for part in text.split(","):
            tag = part.strip()
            if tag:
                wanted.setdefault(tag.casefold(), tag)
    return list(wanted.values())


def sorted_tags(tags: Iterable[str]) -> list[str]:
    """Tags in the order in which the API shows them: alphabetical, case aside."""
    return sorted(tags, key=lambda tag: (tag.casefold(), tag))


def shop_casing(store: Store, tags: Iterable[str]) -> list[str]:
    """Customer tags are one list for the whole shop: a tag known in another casing keeps that one."""
    cased = []
    for tag in tags:
        row = store.connection.execute("SELECT tag FROM tags WHERE kind = 'Customer' AND folded = ? LIMIT 1", (tag.casefold(),)).fetchone()
        cased.append(row[0] if row else tag)
    return cased


def tag_problem(tags: Sequence[str]) -> str | None:
    """What is wrong with this many tags, or tags this long; None where nothing is."""
    if len(tags) > TAG_COUNT:
        return f"Tags exceed the maximum number of tags ({TAG_COUNT})"
    if any(len(tag) > TAG_LENGTH for tag in tags):
        return f"Tag is too long (maximum is {TAG_LENGTH} characters)"
    return None


# -- money


def decimal_of(value: Any) -> Decimal:
    """A decimal from an input scalar (text or number)."""
    if isinstance(value, Decimal):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise RequestError(f"not a decimal: {value!r}", code="BAD_REQUEST") from None


def moment(value: Any, default: str) -> str:
    """A DateTime input as documents write it."""
    if value is None:
        return default
    if isinstance(value, datetime):
        return instant(value)
    return instant(datetime.fromisoformat(str(value).replace("Z", "+00:00")).astimezone(UTC))


def given(args: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of `names` that the client sent, null included."""
    return {name: args[name] for name in names if name in args}
