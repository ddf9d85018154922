"""What the storefront shows against what it should show: observations, suspicions, verdicts, and the table of it all.

Belongs here: telling a change that somebody else made from one whose event is on its way. Does not belong here: reading and correcting the
storefront (pusher.py).

An `inventory_levels/update` that shows what is expected confirms it. One that does not may be the shadow of an order or shipment whose
event is still coming: a suspicion is noted, and settles by itself if the event explains it. If it does not within `Rules.settle_seconds`
the item is read. An order moves units from available to committed, setting units aside moves them too, and both leave what the storefront
has on hand as it is: so what differs in that was done by others, and is drift: corrected or only reported, by policy. Who did it the
storefront does not say.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from commerce_assets.events.stock import commitments
from commerce_assets.events.stock.ports import Key, Level, Observation, ReadItem, Verdict
from commerce_assets.events.stock.shelf import UNALLOCATED, Shelf, Shelves
from commerce_assets.events.stock.tables import DRIFT, POSTINGS, SHELVES, chunks

BY_EVENT, BY_READING = "event", "reading"
STOREFRONT = "storefront"
"""Who wrote what we did not: somebody there; it does not say who."""


def observe(
    connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None] | None = None, now: datetime | None = None
) -> list[Verdict]:
    """Take bodies of `inventory_levels/*` topics, with `X-Shopify-Triggered-At` of each where known (its whole seconds alone order less).

    One verdict a body, in order. Runs inside the caller's transaction; an older one than what was seen last changes nothing.
    """
    verdicts: list[Verdict] = []
    seen: list[tuple[int, Observation]] = []
    for number, body in enumerate(bodies):
        try:
            seen.append((number, observation(body, triggered[number] if triggered else None)))
            verdicts.append(Verdict("applied"))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            verdicts.append(Verdict("refused", f"not a level of stock ({type(problem).__name__})"))
    shelves = Shelves(connection, now)
    shelves.load(entry.item_id for _, entry in seen)
    for number, entry in seen:
        if not _observe(shelves, entry):
            verdicts[number] = Verdict("superseded")
    shelves.save()
    commitments.allocate_late(connection, shelves)
    return verdicts


def observation(body: bytes, triggered_at: datetime | None = None) -> Observation:
    """The body of an `inventory_levels/*` topic. `KeyError`, `TypeError` or `ValueError` where it is none."""
    level = orjson.loads(body)
    gid = level.get("admin_graphql_api_id")
    item = int(gid.rpartition("=")[2]) if isinstance(gid, str) and "inventory_item_id=" in gid else int(level["inventory_item_id"])
    updated_at = datetime.fromisoformat(level["updated_at"]) if level.get("updated_at") else None
    at = triggered_at or updated_at
    if at is None or at.tzinfo is None:
        raise ValueError("a level without a moment")
    available = level.get("available")
    return Observation(item, int(level["location_id"]), None if available is None else int(available), at.astimezone(UTC))


def _observe(shelves: Shelves, entry: Observation) -> bool:
    shelf = shelves.at((entry.item_id, entry.location_id))
    if shelf.seen_at is not None and entry.seen_at < shelf.seen_at:
        return False
    if shelf.cause == "order":
        shelf.cause = "seen"
    if entry.available is None:
        shelf.is_touched, shelf.is_active = True, False
        shelf.expected_quantity, shelf.seen_quantity, shelf.seen_at, shelf.seen_by = None, None, entry.seen_at, BY_EVENT
        return True
    expected, known_at = shelf.expected_quantity, shelf.seen_at
    shelf.is_active = True
    shelf.see(entry.available, entry.seen_at, BY_EVENT)
    if expected is not None and expected != entry.available:
        shelf.suspect(shelves.now, expected, known_at)
    return True


def known_before(connection: sa.Connection, item_ids: Sequence[int]) -> dict[Key, datetime]:
    """The newest moment that is known of each shelf: what happened until then, a reading asked for after this must show."""
    columns = (SHELVES.c.item_id, SHELVES.c.location_id, SHELVES.c.posted_at, SHELVES.c.seen_at)
    found: dict[Key, datetime] = {}
    for some in chunks(item_ids):
        for row in connection.execute(sa.select(*columns).where(SHELVES.c.item_id.in_(some))):
            moments = [moment for moment in (row.posted_at, row.seen_at) if moment is not None]
            if moments:
                found[row.item_id, row.location_id] = max(moments)
    return found


def take_reading(
    connection: sa.Connection,
    items: Sequence[ReadItem],
    asked_for: Sequence[int],
    read_at: datetime,
    known: Mapping[Key, datetime],
    now: datetime | None = None,
) -> None:
    """Take items as read, each with all its levels, and judge what differs. `read_at`: when they were asked for; `known`: `known_before` that.

    Items asked for and not found are gone from the storefront: their targets are refused until something changes.
    """
    levels = {(level.item_id, level.location_id): level for item in items for level in item.levels}
    present = {item.item_id for item in items}
    commitments.adopt(connection, {item.item_id: _committed(item) for item in items}, now)
    shelves = Shelves(connection, now)
    shelves.load(asked_for)
    for key in levels:
        shelves.at(key)
    drifted = []
    for shelf in shelves.by_key.values():
        shelf.cause, shelf.is_touched = "reading", True
        if shelf.item_id not in present:
            shelf.refusal, shelf.expected_quantity, shelf.checked_at = "the storefront has no such item", None, read_at
        elif shelf.location_id != UNALLOCATED:
            drift = _read(shelves, shelf, levels.get(shelf.key), read_at, known.get(shelf.key))
            if drift is not None:
                drifted.append(drift)
    if drifted:
        connection.execute(sa.insert(DRIFT), drifted)
    shelves.save()
    commitments.allocate_late(connection, shelves)


def _committed(item: ReadItem) -> dict[int, int]:
    return {level.location_id: level.committed for level in item.levels}


def _read(shelves: Shelves, shelf: Shelf, level: Level | None, read_at: datetime, known: datetime | None) -> dict[str, Any] | None:
    """Take one level as read; the drift it proves, if any."""
    available, committed, on_hand = (level.available, level.committed, level.on_hand) if level else (0, 0, 0)
    at = level.updated_at if level else read_at
    # By the storefront's clock: when the level last changed, or later what we had heard of before we asked.
    at = max(at, known or at)
    believed, since = shelf.expected_quantity, shelf.seen_at
    if shelf.suspected_at is not None:
        believed, since = shelf.trusted_quantity, shelf.trusted_at
    # Only a shelf that was read before can be judged: else units committed to orders that nobody here knows would look like drift.
    is_known = believed is not None and shelf.read_at is not None
    believed_on_hand = (believed or 0) + shelf.committed_quantity + shelf.unknown_committed_quantity + shelf.set_aside_quantity
    shelf.is_active = level is not None and level.is_active
    # A level says in whole seconds when it last changed: what was seen of a later second is news that the reading missed.
    if shelf.seen_at is None or shelf.seen_at.replace(microsecond=0) <= at:
        shelf.see(available, max(at, shelf.seen_at or at), BY_READING)
    set_aside = on_hand - available - committed
    shelf.read(committed, set_aside, at)
    shelf.checked_at = read_at
    shelves.complete([shelf])
    shelf.work_out()
    unexplained = (shelf.seen_quantity or 0) + committed + set_aside - believed_on_hand
    if not is_known or unexplained == 0 or shelf.difference in (None, shelf.tolerated_difference):
        shelf.forgive()
        return None
    least, most = _undecided(shelves, shelf, since)
    if least <= unexplained <= most:
        shelf.forgive()
        return None
    shelf.suspect(shelves.now, believed, since)
    if shelf.suspected_at is not None and shelves.now < shelf.suspected_at + timedelta(seconds=shelves.rules.settle_seconds):
        return None
    is_corrected = shelves.rules.drift_policy == "correct"
    if not is_corrected:
        shelf.tolerated_difference += unexplained
    shelf.forgive()
    return {
        "item_id": shelf.item_id,
        "location_id": shelf.location_id,
        "writer": STOREFRONT,
        "seen_at": shelf.seen_at,
        "noticed_at": shelves.now,
        "expected_quantity": available - unexplained,
        "found_quantity": available,
        "difference_units": unexplained,
        "state": "correcting" if is_corrected else "reported",
    }


def _undecided(shelves: Shelves, shelf: Shelf, since: datetime | None) -> tuple[int, int]:
    """By how much a figure may be off, at least and at most: orders of the very second that it is of may be part of it or not."""
    if since is None:
        return 0, 0
    second = since.replace(microsecond=0)
    is_of_it = sa.and_(POSTINGS.c.occurred_at >= second, POSTINGS.c.occurred_at < second + timedelta(seconds=1))
    query = sa.select(POSTINGS.c.on_hand_change, POSTINGS.c.committed_change).where(
        POSTINGS.c.item_id == shelf.item_id, POSTINGS.c.location_id == shelf.location_id, POSTINGS.c.order_id.is_not(None), is_of_it
    )
    changes = [row.on_hand_change - row.committed_change for row in shelves.connection.execute(query)]
    return sum(change for change in changes if change < 0), sum(change for change in changes if change > 0)
