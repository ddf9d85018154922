"""The outbox: which shelves the storefront is to be told about, in which calls, and what became of them.

Belongs here: choosing, writing calls down before they are made, booking their answers. Does not belong here: making calls (pusher.py), and
what the storefront should show (shelf.py).

A call is written down with its rows and its key before it is sent. Whoever finds it open sends the very same again: the storefront knows
the key and does nothing twice. The key is made of the rows with their versions: 10, then 9, then 10 again are three calls and not two.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from commerce_assets.events.stock.ports import Change, Key
from commerce_assets.events.stock.shelf import DUE, HELD, REFUSED, SETTLED, Shelf, Shelves, close_drift
from commerce_assets.events.stock.tables import IS_ON_ITS_WAY, IS_OPEN, ITEMS, PUSH_ROWS, PUSHES, SHELVES, TARGETS, hold_books

NAMESPACE = uuid.UUID("6b0a7f0e-3f8e-5d55-9a44-0d5c1d8a2f11")
LARGEST_QUANTITY = 1_000_000_000
BY_PUSH = "push"
ACKNOWLEDGED, CONFLICT, AGAIN, WAS_REFUSED = "acknowledged", "conflict", "again", "refused"
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before a shelf whose figure changed under a push is read again: the more often in a row, the longer."""

IS_BLIND = sa.or_(SHELVES.c.expected_quantity.is_(None), SHELVES.c.checked_at.is_(None))
"""Nothing is written to a shelf before it was read once: units may be committed there to orders that nobody here knows."""


@dataclass(frozen=True)
class PushRow:
    """One row of a call."""

    change: Change
    version: int
    occurred_at: datetime | None
    taken_at: datetime | None

    @property
    def key(self) -> Key:
        return self.change.item_id, self.change.location_id


@dataclass(frozen=True)
class Push:
    """A call as written down. `push_id` is its idempotency key."""

    push_id: str
    rows: tuple[PushRow, ...]
    attempts: int = 0

    @property
    def changes(self) -> list[Change]:
        return [row.change for row in self.rows]


def open_push(connection: sa.Connection) -> Push | None:
    """The oldest call that was written down and not yet answered."""
    found = connection.execute(sa.select(PUSHES).where(IS_ON_ITS_WAY).order_by(PUSHES.c.made_at, PUSHES.c.push_id).limit(1)).first()
    if found is None:
        return None
    of_it = sa.select(PUSH_ROWS).where(PUSH_ROWS.c.push_id == found.push_id).order_by(PUSH_ROWS.c.item_id, PUSH_ROWS.c.location_id)
    return Push(found.push_id, tuple(_push_row(row) for row in connection.execute(of_it)), found.attempts)


def make_push(connection: sa.Connection, limit: int, now: datetime) -> Push | None:
    """Write down the next call: due shelves, those of tier 1 first, then those that wait longest. None where nothing is due."""
    hold_books(connection)
    tier = sa.func.coalesce(ITEMS.c.tier, 2)
    query = (
        sa.select(*TARGETS.columns, SHELVES.c.expected_quantity)
        .join(SHELVES, sa.and_(SHELVES.c.item_id == TARGETS.c.item_id, SHELVES.c.location_id == TARGETS.c.location_id))
        .outerjoin(ITEMS, ITEMS.c.item_id == TARGETS.c.item_id)
        .where(IS_OPEN, TARGETS.c.state == DUE, TARGETS.c.push_id.is_(None), ~IS_BLIND)
        .order_by(tier, TARGETS.c.changed_at, TARGETS.c.item_id, TARGETS.c.location_id)
        .limit(limit)
    )
    due = connection.execute(query).all()
    possible = [row for row in due if abs(row.quantity) <= LARGEST_QUANTITY]
    for row in due:
        if abs(row.quantity) > LARGEST_QUANTITY:
            _change_target(connection, (row.item_id, row.location_id), state=REFUSED, reason="beyond what the storefront takes")
    if not possible:
        return None
    rows = tuple(sorted((_due_row(row) for row in possible), key=lambda row: row.key))
    push = Push(key_of(rows), rows)
    connection.execute(sa.insert(PUSHES).values(push_id=push.push_id, state="open", rows=len(rows), attempts=0, made_at=now))
    connection.execute(sa.insert(PUSH_ROWS), [_written(push.push_id, row, now) for row in rows])
    statement = sa.update(TARGETS).where(TARGETS.c.item_id == sa.bindparam("item"), TARGETS.c.location_id == sa.bindparam("location"))
    parameters = [{"item": item, "location": location} for item, location in (row.key for row in rows)]
    connection.execute(statement.values(push_id=push.push_id, occurred_at=None, taken_at=None), parameters)
    return push


def key_of(rows: Sequence[PushRow]) -> str:
    """The idempotency key of a call: the same rows of the same versions have the same key."""
    content = [
        [row.change.item_id, row.change.location_id, row.change.quantity, row.change.change_from, row.version]
        for row in sorted(rows, key=lambda row: row.key)
    ]
    return str(uuid.uuid5(NAMESPACE, orjson.dumps(content).decode()))


def note_attempt(connection: sa.Connection, push: Push) -> None:
    """Count that the call is made (again)."""
    connection.execute(sa.update(PUSHES).where(PUSHES.c.push_id == push.push_id).values(attempts=PUSHES.c.attempts + 1))


def acknowledge(connection: sa.Connection, push: Push, set_at: datetime | None, now: datetime) -> None:
    """The storefront shows what the call said. `set_at`: its own moment of that; None where it changed nothing."""
    shelves = Shelves(connection, now)
    shelves.load({row.change.item_id for row in push.rows})
    for row in push.rows:
        shelf = shelves.at(row.key)
        _show(shelf, row.change, set_at or shelf.seen_at or now)
        shelf.trust(row.change.quantity, set_at or shelf.seen_at or now)
        shelf.cause, shelf.tolerated_difference, shelf.is_touched = "push", 0, True
        if shelf.target is not None and shelf.target.push_id == push.push_id:
            target = shelf.target
            target.push_id, target.conflicts = None, 0
            target.acknowledged_version, target.acknowledged_at = row.version, now
            shelf.is_target_touched = True
    shelves.save()
    close_drift(connection, [row.key for row in push.rows], "corrected", now)
    of_it = sa.update(PUSH_ROWS).where(PUSH_ROWS.c.push_id == push.push_id)
    connection.execute(of_it.values(outcome=ACKNOWLEDGED, acknowledged_at=now))
    _finish(connection, push, "done", None, now)


def refuse(connection: sa.Connection, push: Push, outcomes: Mapping[Key, tuple[str, str | None]], reason: str, now: datetime) -> None:
    """The storefront did none of the call. `outcomes`: shelf -> (conflict, again or refused; why). What is to be told gets a new version, so
    that a later call has a key of its own; what changed under our hands is read before."""
    hold_books(connection)
    for row in push.rows:
        outcome, why = outcomes[row.key]
        of_it = (PUSH_ROWS.c.push_id == push.push_id, PUSH_ROWS.c.item_id == row.key[0], PUSH_ROWS.c.location_id == row.key[1])
        connection.execute(sa.update(PUSH_ROWS).where(*of_it).values(outcome=outcome))
        is_it = (TARGETS.c.item_id == row.key[0], TARGETS.c.location_id == row.key[1], TARGETS.c.push_id == push.push_id)
        target = connection.execute(sa.select(TARGETS).where(*is_it)).first()
        if target is None:
            continue
        values: dict[str, Any] = {"push_id": None, "version": target.version + 1}
        if target.state != SETTLED:
            values |= {"occurred_at": _earliest(target.occurred_at, row.occurred_at), "taken_at": _earliest(target.taken_at, row.taken_at)}
        if target.state in (DUE, HELD) and outcome == CONFLICT:
            pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**target.conflicts) if target.conflicts else 0.0
            values |= {"state": HELD, "not_before": now + timedelta(seconds=pause), "conflicts": target.conflicts + 1}
        elif target.state == DUE and outcome == WAS_REFUSED:
            values |= {"state": REFUSED, "reason": why}
        _change_target(connection, row.key, **values)
    _finish(connection, push, "refused", reason, now)


def items_to_read(connection: sa.Connection, limit: int, now: datetime) -> list[int]:
    """Items with a shelf that must be read before anything is said about it, tier 1 first."""
    is_blind = sa.and_(TARGETS.c.state == DUE, IS_BLIND)
    is_in_doubt = sa.and_(TARGETS.c.state == HELD, TARGETS.c.not_before <= now)
    tier = sa.func.min(sa.func.coalesce(ITEMS.c.tier, 2))
    query = (
        sa.select(TARGETS.c.item_id)
        .join(SHELVES, sa.and_(SHELVES.c.item_id == TARGETS.c.item_id, SHELVES.c.location_id == TARGETS.c.location_id))
        .outerjoin(ITEMS, ITEMS.c.item_id == TARGETS.c.item_id)
        .where(IS_OPEN, TARGETS.c.state.in_((DUE, HELD)), TARGETS.c.push_id.is_(None), sa.or_(is_blind, is_in_doubt))
        .group_by(TARGETS.c.item_id)
        .order_by(tier, sa.func.min(TARGETS.c.changed_at), TARGETS.c.item_id)
        .limit(limit)
    )
    return [row.item_id for row in connection.execute(query)]


def items_to_audit(connection: sa.Connection, limit: int, before: datetime) -> list[int]:
    """Items with a counted shelf that was not read since `before`, longest ago first."""
    checked = sa.func.min(sa.func.coalesce(SHELVES.c.checked_at, SHELVES.c.counted_at))
    query = (
        sa.select(SHELVES.c.item_id)
        .where(SHELVES.c.counted_at.is_not(None), sa.or_(SHELVES.c.checked_at.is_(None), SHELVES.c.checked_at < before))
        .group_by(SHELVES.c.item_id)
        .order_by(checked, SHELVES.c.item_id)
        .limit(limit)
    )
    return [row.item_id for row in connection.execute(query)]


def counts(connection: sa.Connection) -> dict[str, int]:
    """Open targets by state, and calls on their way as `calls`."""
    query = sa.select(TARGETS.c.state, sa.func.count().label("rows")).where(IS_OPEN).group_by(TARGETS.c.state)
    found = {DUE: 0, HELD: 0, REFUSED: 0} | {row.state: int(row.rows) for row in connection.execute(query)}
    calls = connection.execute(sa.select(sa.func.count()).select_from(PUSHES).where(IS_ON_ITS_WAY)).scalar_one()
    return found | {"calls": int(calls)}


def oldest_untold(connection: sa.Connection) -> datetime | None:
    """When the oldest fact was booked that the storefront was not told yet."""
    on_its_way = sa.select(PUSH_ROWS.c.taken_at).join(PUSHES, PUSHES.c.push_id == PUSH_ROWS.c.push_id).where(IS_ON_ITS_WAY)
    moments = [row.taken_at for row in connection.execute(on_its_way.where(PUSH_ROWS.c.taken_at.is_not(None)))]
    waiting = sa.select(TARGETS.c.taken_at).where(IS_OPEN, TARGETS.c.state != REFUSED, TARGETS.c.taken_at.is_not(None))
    moments += [row.taken_at for row in connection.execute(waiting.order_by(TARGETS.c.taken_at).limit(1))]
    return min(moments, default=None)


def forget_calls(connection: sa.Connection, before: datetime) -> None:
    """Drop calls that ended before a moment."""
    ended = sa.select(PUSHES.c.push_id).where(PUSHES.c.finished_at < before)
    connection.execute(sa.delete(PUSH_ROWS).where(PUSH_ROWS.c.push_id.in_(ended)))
    connection.execute(sa.delete(PUSHES).where(PUSHES.c.finished_at < before))


def _show(shelf: Shelf, change: Change, set_at: datetime) -> None:
    """Take an acknowledgement as what the storefront shows, unless something newer was seen meanwhile.

    The storefront says in whole seconds when it made the change. Of what was seen within that second only the figure that the call
    started from is surely older.
    """
    if shelf.seen_at is not None:
        second = shelf.seen_at.replace(microsecond=0)
        if second > set_at or (second == set_at and shelf.seen_quantity not in (change.change_from, change.quantity)):
            return
    shelf.see(change.quantity, max(set_at, shelf.seen_at or set_at), BY_PUSH)


def _change_target(connection: sa.Connection, key: Key, **values: Any) -> None:
    connection.execute(sa.update(TARGETS).where(TARGETS.c.item_id == key[0], TARGETS.c.location_id == key[1]).values(**values))


def _finish(connection: sa.Connection, push: Push, state: str, reason: str | None, now: datetime) -> None:
    is_it = sa.update(PUSHES).where(PUSHES.c.push_id == push.push_id)
    connection.execute(is_it.values(state=state, reason=reason, finished_at=now))


def _due_row(row: Any) -> PushRow:
    return PushRow(Change(row.item_id, row.location_id, row.quantity, row.expected_quantity), row.version, row.occurred_at, row.taken_at)


def _push_row(row: Any) -> PushRow:
    return PushRow(Change(row.item_id, row.location_id, row.quantity, row.change_from), row.version, row.occurred_at, row.taken_at)


def _written(push_id: str, row: PushRow, now: datetime) -> dict[str, Any]:
    change = row.change
    return {
        "push_id": push_id,
        "item_id": change.item_id,
        "location_id": change.location_id,
        "quantity": change.quantity,
        "change_from": change.change_from,
        "version": row.version,
        "occurred_at": row.occurred_at,
        "taken_at": row.taken_at,
        "sent_at": now,
    }


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)
