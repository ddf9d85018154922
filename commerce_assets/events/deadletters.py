"""Dead letters: events that could not be worked, looked at and moved on by people.

Belongs here: listing, showing without personal data, replaying, discarding, each by a filter. Does not belong here: the command line.
Every replay and discard is an intervention by hand and noted in `event_actions`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from commerce_assets.events.books import ACTIONS, DEAD, DECIDE, DISCARDED, METADATA, PENDING, STATES, as_utc, in_batches, now
from commerce_assets.events.database import make_tables, reading
from commerce_assets.events.inbox import Inbox

REPLAY, DISCARD = "replay", "discard"
_DEPTH = 12
_LIST = 50
# What a payload may show: keys that name things, moments, money and states. Whatever is not listed may be about a person.
_SHOWN_KEYS = frozenset(
    {
        *(
            "id",
            "admin_graphql_api_id",
            "kind",
            "status",
            "currency",
            "currency_code",
            "quantity",
            "current_quantity",
            "fulfillable_quantity",
        ),
        *("available", "amount", "price", "sku", "test", "taxes_included", "financial_status", "fulfillment_status", "shipment_status"),
        *(
            "restock_type",
            "restock",
            "cancel_reason",
            "presentment_currency",
            "source_name",
            "gateway",
            "error_code",
            "rate",
            "key",
            "reason",
        ),
        *("requires_shipping", "taxable", "state", "verified_email", "tracked", "order_number", "number", "confirmed", "type"),
    }
)
_SHOWN_ENDS = ("_id", "_at", "_ids", "_gid", "_count", "_price", "_amount", "_outstanding", "_discounts", "_tax", "_currency")
_NEVER_SHOWN = ("email", "phone", "name", "address", "ip", "token", "note", "zip")
_Row = sa.Row[Any]


class NoSuchEventError(Exception):
    """No lane has taken an event of that number."""


@dataclass(frozen=True)
class Filter:
    """Which dead letters: all that match everything given. `reason` is any part of the reason; `since` when they were received."""

    seqs: Sequence[int] | None = None
    topic: str | None = None
    lane: str | None = None
    reason: str | None = None
    object_type: str | None = None
    object_id: int | None = None
    since: datetime | None = None

    @property
    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """As SQL."""
        conditions = [STATES.c.state == DEAD]
        if self.seqs is not None:
            conditions.append(STATES.c.seq.in_(list(self.seqs)))
        if self.reason is not None:
            conditions.append(STATES.c.reason.contains(self.reason, autoescape=True))
        if self.since is not None:
            conditions.append(STATES.c.received_at >= self.since)
        exact = {"topic": self.topic, "lane": self.lane, "object_type": self.object_type, "object_id": self.object_id}
        conditions += [STATES.c[name] == value for name, value in exact.items() if value is not None]
        return conditions


@dataclass(frozen=True)
class DeadLetter:
    """An event in dead letters."""

    seq: int
    topic: str
    object_type: str
    object_id: int | None
    reason: str
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime
    received_at: datetime
    webhook_id: str


@dataclass(frozen=True)
class ShownEvent:
    """An event with its state and its payload; values that may be about a person are masked. `body` is None where it is no JSON."""

    letter: DeadLetter
    state: str
    source: str
    triggered_at: datetime | None
    deliveries: int
    body_bytes: int
    body: Any
    actions: tuple[Mapping[str, Any], ...]


def list_dead(engine: sa.Engine, wanted: Filter | None = None, limit: int = 100) -> list[DeadLetter]:
    """Dead letters, those seen last first."""
    make_tables(engine, METADATA)
    query = sa.select(STATES).where(*(wanted or Filter()).conditions).order_by(STATES.c.decided_at.desc(), STATES.c.seq.desc())
    with reading(engine) as connection:
        return [_letter(row) for row in connection.execute(query.limit(limit))]


def count_dead(engine: sa.Engine, wanted: Filter | None = None) -> int:
    """How many there are."""
    make_tables(engine, METADATA)
    with reading(engine) as connection:
        return connection.scalar(sa.select(sa.func.count()).where(*(wanted or Filter()).conditions)) or 0


def show(engine: sa.Engine, inbox: Inbox, seq: int) -> ShownEvent:
    """An event, dead or not, whose lane has taken it. Raises `NoSuchEventError`."""
    make_tables(engine, METADATA)
    with reading(engine) as connection:
        row = connection.execute(sa.select(STATES).where(STATES.c.seq == seq)).one_or_none()
        actions = connection.execute(sa.select(ACTIONS).where(ACTIONS.c.seq == seq).order_by(ACTIONS.c.action_id)).mappings().all()
    if row is None:
        raise NoSuchEventError(f"no lane has taken an event {seq}; list dead letters with `commerce dlq list`")
    stored = next(iter(inbox.get([seq])), None)
    body = stored.delivery.body if stored else b""
    return ShownEvent(
        letter=_letter(row),
        state=row.state,
        source=row.source,
        triggered_at=as_utc(row.triggered_at),
        deliveries=stored.deliveries if stored else 0,
        body_bytes=len(body),
        body=_masked_body(body),
        actions=tuple(dict(action) for action in actions),
    )


def replay(engine: sa.Engine, wanted: Filter, by: str, why: str | None = None) -> int:
    """Have dead letters decided anew, with all their tries; how many. A second call finds them no longer dead and does nothing."""
    again = {"state": PENDING, "need": DECIDE, "attempts": 0, "waits": 0, "next_try_at": now(), "finished_at": None, "batch_id": None}
    return _intervene(engine, wanted, REPLAY, again, by, why)


def discard(engine: sa.Engine, wanted: Filter, by: str, why: str | None = None) -> int:
    """Put dead letters away for good; how many. They stay in the inbox until it is pruned."""
    return _intervene(engine, wanted, DISCARD, {"state": DISCARDED, "finished_at": now()}, by, why)


def _intervene(engine: sa.Engine, wanted: Filter, action: str, values: Mapping[str, Any], by: str, why: str | None) -> int:
    make_tables(engine, METADATA)
    at = now()
    with engine.begin() as connection:
        dead = connection.execute(sa.select(STATES).where(*wanted.conditions).with_for_update()).all()
        notes = [
            {
                "seq": row.seq,
                "action": action,
                "taken_by": by,
                "taken_at": at,
                "why": why,
                "topic": row.topic,
                "object_type": row.object_type,
                "object_id": row.object_id,
                "was_reason": row.reason,
            }
            for row in dead
        ]
        if notes:
            connection.execute(ACTIONS.insert(), notes)
        for some in in_batches(row.seq for row in dead):
            connection.execute(STATES.update().where(STATES.c.seq.in_(some)).values(**values))
    return len(dead)


def masked(value: Any, depth: int = 0) -> Any:
    """A payload that may be shown: the values of keys that can be about a person become `***`, lists and depths are cut."""
    if depth > _DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            str(key): masked(each, depth + 1) if isinstance(each, dict | list) else _shown(str(key), each) for key, each in value.items()
        }
    if isinstance(value, list):
        shown = [masked(each, depth + 1) if isinstance(each, dict | list) else _shown("", each) for each in value[:_LIST]]
        return shown if len(value) <= _LIST else [*shown, f"… {len(value) - _LIST} more"]
    return _shown("", value)


def _shown(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    is_known = key in _SHOWN_KEYS or key.startswith("total_") or key.endswith(_SHOWN_ENDS)
    return value if is_known and not any(word in key.split("_") for word in _NEVER_SHOWN) else "***"


def _masked_body(body: bytes) -> Any:
    try:
        return masked(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None


def _letter(row: _Row) -> DeadLetter:
    return DeadLetter(
        seq=row.seq,
        topic=row.topic,
        object_type=row.object_type,
        object_id=row.object_id,
        reason=row.reason or "",
        attempts=row.attempts,
        first_seen_at=as_utc(row.first_tried_at) or row.first_tried_at,
        last_seen_at=as_utc(row.decided_at) or row.decided_at,
        received_at=as_utc(row.received_at) or row.received_at,
        webhook_id=row.webhook_id,
    )
