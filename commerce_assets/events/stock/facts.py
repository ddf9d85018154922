"""What a warehouse system says: counts and movements, booked once each by their keys.

Belongs here: reading the bodies of `POST /inventory/wms` and of files, and booking them. Does not belong here: signatures and the inbox.

A body is one fact or `{"facts": [fact, …]}`; a fact is

    {"key": "…", "kind": "count" | "movement", "sku": "…" or "inventory_item_id": 1, "location_id": 1,
     "quantity": 10, "occurred_at": "2026-11-21T10:00:00Z", "reason": "…"}

A count says what is there at a moment, a movement how many units came (or, negative, went) since. A movement that is not newer than the
last count is part of it; so is what an order did in the very second of the count, for its document tells whole seconds. What orders do
(shipments, restocks) is booked from the orders themselves and is no movement of the warehouse.
Good facts of a body are booked even where others are bad: the same body sent again books only what was missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from commerce_assets.events.stock import commitments
from commerce_assets.events.stock.ports import Verdict
from commerce_assets.events.stock.shelf import Shelves
from commerce_assets.events.stock.tables import FACTS, ITEMS, POSTINGS, UNKNOWN, chunks, upsert

LARGEST_QUANTITY = 1_000_000_000
"""The storefront's own bound."""
LARGEST_ID = 2**63 - 1
KEY_LENGTH = 200
SKU_LENGTH = 255
REASON_LENGTH = 120
FUTURE = timedelta(minutes=5)
"""A clock may be a little ahead. A count from farther ahead would make later ones look old, so it is refused."""


class _BadFactError(Exception):
    """Why a fact cannot be booked; the message has no values beyond key and SKU."""


@dataclass
class _Fact:
    body: int
    key: str
    kind: str
    sku: str | None
    item_id: int | None
    location_id: int
    quantity: int
    occurred_at: datetime
    reason: str | None

    @property
    def content(self) -> tuple[Any, ...]:
        return self.kind, self.item_id, self.location_id, self.quantity, self.occurred_at


@dataclass
class _Tally:
    """Outcomes of the facts of one body."""

    outcomes: list[str]
    problems: list[str]

    def verdict(self) -> Verdict:
        for outcome in ("refused", "retry", "applied", "superseded"):
            if outcome in self.outcomes:
                return Verdict(outcome, "; ".join(self.problems[:5]) or None)
        return Verdict("duplicate")


def take(connection: sa.Connection, bodies: Sequence[bytes], now: datetime | None = None) -> list[Verdict]:
    """Book the facts of these bodies; one verdict a body, in order. Runs inside the caller's transaction; the same bodies again change nothing."""
    now = now or datetime.now(UTC)
    tallies = [_Tally([], []) for _ in bodies]
    facts: list[_Fact] = []
    for number, body in enumerate(bodies):
        for fact in _facts_of(body, number, now):
            if isinstance(fact, str):
                tallies[number].outcomes.append("refused")
                tallies[number].problems.append(fact)
            else:
                facts.append(fact)
    known = _name_items(connection, facts, tallies, now)
    _book(connection, known, tallies, now)
    return [tally.verdict() for tally in tallies]


def _facts_of(body: bytes, number: int, now: datetime) -> Iterable[_Fact | str]:
    """The facts of a body, or what is wrong with each."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ["the body is no JSON"]
    entries = content.get("facts") if isinstance(content, dict) and "facts" in content else [content]
    if not isinstance(entries, list) or not entries:
        return ['"facts" must be a list of facts']
    found: list[_Fact | str] = []
    for place, entry in enumerate(entries):
        try:
            found.append(_fact(entry, number, now))
        except _BadFactError as problem:
            found.append(f"fact {place}: {problem}")
    return found


def _fact(entry: Any, number: int, now: datetime) -> _Fact:
    if not isinstance(entry, dict):
        raise _BadFactError("is no object")
    key = _text(entry, "key", KEY_LENGTH)
    kind = _text(entry, "kind", 20)
    if kind not in ("count", "movement"):
        raise _BadFactError('"kind" must be count or movement')
    sku = _text(entry, "sku", SKU_LENGTH) if entry.get("sku") is not None else None
    item = _id(entry, "inventory_item_id") if entry.get("inventory_item_id") is not None else None
    if sku is None and item is None:
        raise _BadFactError('needs "sku" or "inventory_item_id"')
    quantity = _whole(entry, "quantity")
    if abs(quantity) > LARGEST_QUANTITY or (kind == "count" and quantity < 0):
        raise _BadFactError('"quantity" is out of range')
    reason = _text(entry, "reason", REASON_LENGTH) if entry.get("reason") is not None else None
    occurred_at = _moment(entry.get("occurred_at"))
    if occurred_at > now + FUTURE:
        ahead = round((occurred_at - now).total_seconds())
        raise _BadFactError(f'"occurred_at" is {ahead} s ahead: set the clock of the warehouse system, then replay')
    return _Fact(number, key, kind, sku, item, _id(entry, "location_id"), quantity, occurred_at, reason)


def _text(entry: dict[str, Any], name: str, length: int) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > length or "\x00" in value:
        raise _BadFactError(f'"{name}" must be a text of 1 to {length} characters')
    return value


def _whole(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _BadFactError(f'"{name}" must be a whole number')
    return value


def _id(entry: dict[str, Any], name: str) -> int:
    value = _whole(entry, name)
    if not 0 < value <= LARGEST_ID:
        raise _BadFactError(f'"{name}" must be an id')
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _BadFactError('"occurred_at" must be a moment with its offset, such as 2026-11-21T10:00:00Z')
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _BadFactError('"occurred_at" is out of range') from None


def _name_items(connection: sa.Connection, facts: list[_Fact], tallies: list[_Tally], now: datetime) -> list[_Fact]:
    """The facts whose item is known; SKUs nobody knows are noted, so that the pusher asks the storefront about them."""
    skus = sorted({fact.sku for fact in facts if fact.item_id is None and fact.sku is not None})
    items: dict[str, list[int]] = {}
    for some in chunks(skus):
        for row in connection.execute(sa.select(ITEMS.c.sku, ITEMS.c.item_id).where(ITEMS.c.sku.in_(some))):
            items.setdefault(str(row.sku), []).append(int(row.item_id))
    named: list[_Fact] = []
    missing: set[str] = set()
    for fact in facts:
        found = [fact.item_id] if fact.item_id is not None else items.get(fact.sku or "", [])
        tally = tallies[fact.body]
        if len(found) == 1:
            fact.item_id = found[0]
            named.append(fact)
        elif found:
            tally.outcomes.append("refused")
            tally.problems.append(f"SKU {fact.sku} is that of {len(found)} items: send inventory_item_id")
        else:
            missing.add(fact.sku or "")
            tally.outcomes.append("retry")
            tally.problems.append(f"SKU {fact.sku} is not known")
    upsert(connection, UNKNOWN, [_unknown(sku, now) for sku in sorted(missing - _noted(connection, missing))])
    return named


def _unknown(sku: str, now: datetime) -> dict[str, Any]:
    return {"kind": "sku", "name": sku, "order_id": 0, "since": now, "asked_at": None}


def _noted(connection: sa.Connection, skus: set[str]) -> set[str]:
    query = sa.select(UNKNOWN.c.name).where(UNKNOWN.c.kind == "sku")
    return {str(row.name) for some in chunks(sorted(skus)) for row in connection.execute(query.where(UNKNOWN.c.name.in_(some)))}


def _book(connection: sa.Connection, facts: list[_Fact], tallies: list[_Tally], now: datetime) -> None:
    booked = _booked(connection, [fact.key for fact in facts])
    shelves = Shelves(connection, now)
    shelves.load(fact.item_id for fact in facts if fact.item_id is not None)
    rows: list[dict[str, Any]] = []
    postings: list[dict[str, Any]] = []
    for fact in facts:
        tally = tallies[fact.body]
        if fact.key in booked:
            is_same = booked[fact.key] == fact.content
            tally.outcomes.append("duplicate" if is_same else "refused")
            if not is_same:
                tally.problems.append("its key was used for another fact: give every fact a key of its own")
            continue
        booked[fact.key] = fact.content
        shelf = shelves.at((fact.item_id or 0, fact.location_id))
        if fact.kind == "count":
            is_applied = shelf.count(fact.quantity, fact.occurred_at, fact.key)
        else:
            is_applied = shelf.counted_at is None or fact.occurred_at > shelf.counted_at
            if is_applied:
                shelf.post(fact.occurred_at, fact.quantity, 0, is_order=False)
                postings.append(_posting(fact))
        if is_applied:
            shelf.confirmed_at = max(shelf.confirmed_at or fact.occurred_at, fact.occurred_at)
            shelf.fact_at = min(shelf.fact_at or fact.occurred_at, fact.occurred_at)
            shelf.cause = "fact"
        outcome = "applied" if is_applied else "superseded"
        tally.outcomes.append(outcome)
        rows.append({name: getattr(fact, name) for name in _FACT_FIELDS} | {"outcome": outcome, "taken_at": now})
    upsert(connection, FACTS, rows)
    upsert(connection, POSTINGS, postings)
    shelves.save()
    commitments.allocate_late(connection, shelves)


_FACT_FIELDS = ("key", "kind", "item_id", "location_id", "quantity", "occurred_at", "reason")


def _booked(connection: sa.Connection, keys: list[str]) -> dict[str, tuple[Any, ...]]:
    """What is booked under these keys."""
    columns = (FACTS.c.kind, FACTS.c.item_id, FACTS.c.location_id, FACTS.c.quantity, FACTS.c.occurred_at)
    query = sa.select(FACTS.c.key, *columns)
    return {row[0]: tuple(row[1:]) for some in chunks(keys) for row in connection.execute(query.where(FACTS.c.key.in_(some)))}


def _posting(fact: _Fact) -> dict[str, Any]:
    return {
        "key": f"wms:{fact.key}",
        "order_id": None,
        "item_id": fact.item_id,
        "location_id": fact.location_id,
        "occurred_at": fact.occurred_at,
        "on_hand_change": fact.quantity,
        "committed_change": 0,
    }
