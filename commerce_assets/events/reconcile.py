"""Reconciliation: what the storefront says changed, against what events told; what no event told of is a missed webhook.

Belongs here: looking and putting what was missed into the inbox, where it takes the way of every event. Does not belong here: fetching it.

Known limits: a change that did not move an object's `updatedAt` to another second is not seen here; the nightly pull sees it. Of orders
whose payload speaks of transactions that never came, the missing one is seen, though `updatedAt` says nothing.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import orjson
import sqlalchemy as sa

from commerce_assets.events.books import CURSORS, DOCUMENTS, FETCH, OPEN_STATES, RECONCILIATIONS, STATES, as_utc, in_batches, now, upsert
from commerce_assets.events.database import reading
from commerce_assets.events.desk import Desk
from commerce_assets.events.reading import UnreadableError, read_event
from commerce_assets.events.records import Delivery
from commerce_assets.events.topics import Carries

_LOG = logging.getLogger(__name__)
OBJECT_TYPES = ("Order", "Customer", "Product", "InventoryItem")
SOURCE = "reconcile"


class Reconciler:
    """Looks at one object type after the other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Reconcile all object types; how many events were missed. Raises what the storefront raises when it cannot be asked."""
        return sum(self._reconcile(object_type, is_stopping) for object_type in OBJECT_TYPES) + self._lacking_orders()

    def _reconcile(self, object_type: str, is_stopping: Callable[[], bool]) -> int:
        missed, options = 0, self._desk.options
        limit = options.reconcile_limit
        since = self._since(object_type)
        while not is_stopping():
            started_at = now()
            until = started_at - options.reconcile_grace
            changed = self._desk.storefront.changed_since(object_type, since, limit)
            settled = [(object_id, version_at) for object_id, version_at in changed if version_at <= until]
            unknown = self._unknown(object_type, settled)
            events = [_event(options.shop, object_type, object_id, version_at) for object_id, version_at in unknown]
            new = sum(self._desk.inbox.append(events))
            missed += new
            is_full = len(changed) >= limit
            reached = min(changed[-1][1], until) if is_full else until
            self._write(object_type, since, max(reached, since), started_at, len(settled), new)
            if not is_full or reached >= until:
                break
            # More objects of one moment than the limit: a page further is only reached by a larger one.
            limit = limit * 2 if reached <= since else options.reconcile_limit
            since = max(reached, since)
        return missed

    def _since(self, object_type: str) -> datetime:
        """The moment up to which all is accounted for, with overlap; at first the inbox's oldest event, or now."""
        with reading(self._desk.engine) as connection:
            moment = as_utc(connection.scalar(sa.select(CURSORS.c.moment).where(CURSORS.c.name == _cursor(object_type))))
        if moment is not None:
            return moment - self._desk.options.reconcile_overlap
        # What changed before came by a pull.
        first = self._desk.inbox.read(0, 1)
        return first[0].delivery.received_at if first else now()

    def _unknown(self, object_type: str, changed: Sequence[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
        """What neither the books hold in that version nor an event on its way is about."""
        unknown: list[tuple[int, datetime]] = []
        for some in in_batches(changed):
            ids = [object_id for object_id, _ in some]
            with reading(self._desk.engine) as connection:
                # In the order of an event's way: where statements see states of their own (PostgreSQL) none slips past between two looks.
                cursor = connection.scalar(sa.select(CURSORS.c.seq).where(CURSORS.c.name == _LANE[object_type])) or 0
                on_the_way = _on_the_way(connection, object_type, ids)
                held = _held(connection, object_type, ids)
            for object_id, version_at in some:
                version_held, deleted_at = held.get(object_id, (None, None))
                if deleted_at is not None or (version_held is not None and version_held >= version_at):
                    continue
                coming = on_the_way.get(object_id, []) + self._untaken(object_type, object_id, cursor)
                if not any(need == FETCH or (version is not None and version >= version_at) for need, version in coming):
                    unknown.append((object_id, version_at))
        return unknown

    def _untaken(self, object_type: str, object_id: int, cursor: int) -> list[tuple[str | None, datetime | None]]:
        """(need, version) of the events about it that no lane has taken yet."""
        found: list[tuple[str | None, datetime | None]] = []
        for event in self._desk.inbox.find(object_type, object_id):
            if event.seq > cursor:
                try:
                    read = read_event(event)
                except UnreadableError:
                    continue
                found.append((FETCH if read.topic.carries is Carries.NOTICE else None, read.version_at))
        return found

    def _write(self, object_type: str, since: datetime, reached: datetime, started_at: datetime, seen: int, missed: int) -> None:
        at = now()
        look = {"object_type": object_type, "since": since, "until": reached, "started_at": started_at}
        with self._desk.writing() as connection:
            connection.execute(RECONCILIATIONS.insert(), {**look, "finished_at": at, "seen": seen, "missed": missed})
            upsert(connection, CURSORS, [{"name": _cursor(object_type), "seq": 0, "moment": reached, "updated_at": at}])
        if missed:
            _LOG.warning("%d changes of %s had no event; they are fetched", missed, object_type)

    def _lacking_orders(self) -> int:
        """Orders whose payload speaks of transactions that did not come in time are fetched, once a version."""
        before = now() - self._desk.options.reconcile_grace
        lacking = sa.select(DOCUMENTS.c.object_id, DOCUMENTS.c.version_at).where(
            DOCUMENTS.c.object_type == "Order", DOCUMENTS.c.lacks_since <= before, DOCUMENTS.c.deleted_at.is_(None)
        )
        started_at = now()
        with reading(self._desk.engine) as connection:
            orders = [(row.object_id, as_utc(row.version_at)) for row in connection.execute(lacking)]
        events = [_event(self._desk.options.shop, "Order", order_id, version_at, is_lacking=True) for order_id, version_at in orders]
        missed = sum(self._desk.inbox.append(events)) if events else 0
        if missed:
            self._write_lacking(before, started_at, len(orders), missed)
        return missed

    def _write_lacking(self, before: datetime, started_at: datetime, seen: int, missed: int) -> None:
        look = {"object_type": "OrderTransaction", "since": before, "until": before, "started_at": started_at}
        with self._desk.writing() as connection:
            connection.execute(RECONCILIATIONS.insert(), {**look, "finished_at": now(), "seen": seen, "missed": missed})
        _LOG.warning("%d orders lack a transaction no event brought; they are fetched", missed)


_LANE = {"Order": "orders", "Customer": "customers", "Product": "products", "InventoryItem": "inventory"}


def _held(connection: sa.Connection, object_type: str, ids: Sequence[int]) -> dict[int, tuple[datetime | None, datetime | None]]:
    """Object -> (version held, when deleted)."""
    columns = (DOCUMENTS.c.object_id, DOCUMENTS.c.version_at, DOCUMENTS.c.deleted_at)
    query = sa.select(*columns).where(DOCUMENTS.c.object_type == object_type, DOCUMENTS.c.object_id.in_(ids))
    return {row.object_id: (as_utc(row.version_at), row.deleted_at) for row in connection.execute(query)}


def _on_the_way(connection: sa.Connection, object_type: str, ids: Sequence[int]) -> dict[int, list[tuple[str | None, datetime | None]]]:
    """Object -> (need, version) of its events that have no final state yet."""
    columns = (STATES.c.object_id, STATES.c.need, STATES.c.version_at)
    of_objects = (STATES.c.object_type == object_type, STATES.c.object_id.in_(ids), STATES.c.state.in_(OPEN_STATES))
    found: dict[int, list[tuple[str | None, datetime | None]]] = {}
    for row in connection.execute(sa.select(*columns).where(*of_objects)):
        found.setdefault(row.object_id, []).append((row.need, as_utc(row.version_at)))
    return found


def _cursor(object_type: str) -> str:
    return f"reconcile:{object_type}"


def _event(shop: str, object_type: str, object_id: int, version_at: datetime | None, is_lacking: bool = False) -> Delivery:
    """A notice in our own name; its webhook id comes from its content, so that the same find is one event."""
    version = version_at.astimezone(UTC).isoformat() if version_at else "unknown"
    gid = f"gid://shopify/{object_type}/{object_id}"
    body = {"id": object_id, "admin_graphql_api_id": gid}
    return Delivery(
        source=SOURCE,
        webhook_id=f"{SOURCE}:{object_type}:{object_id}:{version}" + (":transactions" if is_lacking else ""),
        topic=f"reconcile/{object_type.lower()}",
        shop=shop,
        # A version would have the notice superseded by the payload that holds: here it is the parts that lack.
        body=orjson.dumps(body if is_lacking else {**body, "updated_at": version}),
        received_at=now(),
        object_type=object_type,
        object_id=object_id,
    )
