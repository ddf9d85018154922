"""What orders do to stock: units promised, shipped, released, written off and come back.

Belongs here: making postings out of an order's document, and guessing where its units come from. Does not belong here: what shelves do
with postings (shelf.py), and which version of an order holds in the worker's books (decide.py): here the newest document counts as well,
by `updated_at` and, within a second, by how far the order has got.

The storefront's own rules, by line and in time: an order commits its units; a shipment takes them out of what is committed and on hand; a
refund of units not shipped releases them (`cancel`, `return`: for sale again; `no_restock`: written off); a refund of shipped units with
restock puts them back on hand. A document says all that ever happened to the order, so its postings replace those of an older one whole.

Where a line's units come from an order's document does not say until they are shipped. The storefront takes the first location (by id) that
has enough available, else the one with most; so do we, and mark it a guess. A shipment, or a reading of the storefront's own committed
units by location (`adopt`), puts a guess right.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

from commerce_assets.events.stock.ports import Verdict
from commerce_assets.events.stock.shelf import UNALLOCATED, Shelf, Shelves
from commerce_assets.events.stock.tables import ITEMS, ORDERS, POSTINGS, SHELVES, UNKNOWN, chunks, upsert

LOST = frozenset({"cancelled", "error", "failure"})
"""Shipments of these states never left."""
FOR_SALE_AGAIN = frozenset({"return", "cancel", "legacy_restock"})

# key -> (item, location, moment, on hand, committed)
Postings = dict[str, tuple[int, int, datetime, int, int]]


@dataclass
class Line:
    """A line as stock sees it. `place` is where its units come from (0: not known), `is_guess` whether that is only our own rule."""

    line_id: int
    variant_id: int
    quantity: int
    open_quantity: int | None
    place: int = UNALLOCATED
    is_guess: bool = True


@dataclass
class OrderStock:
    """What stock needs of an order's document."""

    order_id: int
    version_at: datetime
    created_at: datetime
    location_id: int | None
    cancelled_at: datetime | None
    lines: list[Line]
    shipments: list[tuple[int, datetime, int | None, list[tuple[int, int]]]]
    """Id, moment, location, [(line, units)]; those that left."""
    refunds: list[tuple[int, datetime, int, int, int | None, str]]
    """Id of the refund's line, moment, line, units, location, restock type."""
    progress: int
    is_deleted: bool = False
    unknown_variants: set[int] = field(default_factory=set)

    @property
    def version(self) -> tuple[bool, datetime, int]:
        return self.is_deleted, self.version_at, self.progress


def take(connection: sa.Connection, bodies: Sequence[bytes], now: datetime | None = None) -> list[Verdict]:
    """Book orders by their documents (bodies of orders/* topics, or the like made of a fetched order); a verdict a body, in order.

    Runs inside the caller's transaction. The same or an older document changes nothing.
    """
    verdicts: list[Verdict] = []
    newest: dict[int, OrderStock] = {}
    places: dict[int, int] = {}
    for number, body in enumerate(bodies):
        try:
            order = order_stock(body)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            verdicts.append(Verdict("refused", f"not an order that stock can be booked by ({type(problem).__name__})"))
            continue
        held = newest.get(order.order_id)
        if held is not None and held.version >= order.version:
            verdicts.append(Verdict("duplicate" if held.version == order.version else "superseded"))
            continue
        if held is not None:
            verdicts[places[order.order_id]] = Verdict("superseded")
        newest[order.order_id], places[order.order_id] = order, number
        verdicts.append(Verdict("applied"))
    for order_id, verdict in _take_orders(connection, newest, now or datetime.now(UTC)).items():
        verdicts[places[order_id]] = verdict
    return verdicts


def forget(connection: sa.Connection, deletions: Mapping[int, datetime], now: datetime | None = None) -> None:
    """Orders that were deleted (id -> moment): what they still held is for sale again; what was shipped stays shipped."""
    now = now or datetime.now(UTC)
    held = _held(connection, deletions)
    for order_id, order in held.items():
        order.is_deleted, order.version_at = True, max(order.version_at, deletions[order_id])
        order.cancelled_at = order.cancelled_at or deletions[order_id]
    for order_id in deletions.keys() - held.keys():
        moment = deletions[order_id]
        held[order_id] = OrderStock(order_id, moment, moment, None, moment, [], [], [], 0, is_deleted=True)
    _book(connection, held, now)


def book_again(connection: sa.Connection, order_ids: Iterable[int], now: datetime | None = None) -> None:
    """Book held orders anew: variants are known now that were not."""
    _book(connection, _held(connection, order_ids), now or datetime.now(UTC))


def allocate_late(connection: sa.Connection, shelves: Shelves) -> None:
    """Allocate what orders did to items none of whose shelves was known then, now that one is. The shelves must have been saved."""
    waiting = [shelf.item_id for shelf in shelves.by_key.values() if shelf.location_id == UNALLOCATED and shelves.of(shelf.item_id)]
    if not waiting:
        return
    is_theirs = sa.and_(POSTINGS.c.item_id.in_(waiting), POSTINGS.c.location_id == UNALLOCATED, POSTINGS.c.order_id.is_not(None))
    orders = [row.order_id for row in connection.execute(sa.select(POSTINGS.c.order_id).where(is_theirs).distinct())]
    book_again(connection, orders, shelves.now)
    is_left = sa.select(POSTINGS.c.item_id).where(POSTINGS.c.location_id == UNALLOCATED)
    is_empty = sa.and_(SHELVES.c.location_id == UNALLOCATED, SHELVES.c.item_id.in_(waiting), SHELVES.c.item_id.not_in(is_left))
    connection.execute(sa.delete(SHELVES).where(is_empty))


def order_stock(body: bytes) -> OrderStock:
    """What stock needs of a body in the shape of an orders/* payload. Raises `KeyError`, `TypeError` or `ValueError` where it has another shape."""
    order = orjson.loads(body)
    order_id = _exact_id(order)
    lines = [
        Line(line["id"], line["variant_id"], int(line["quantity"]), _open(line, order))
        for line in order.get("line_items") or ()
        if line.get("variant_id") is not None
    ]
    shipments = [
        (
            entry["id"],
            _moment(entry["created_at"]),
            entry.get("location_id"),
            [(line["id"], int(line["quantity"])) for line in entry.get("line_items") or ()],
        )
        for entry in order.get("fulfillments") or ()
        if entry.get("status") not in LOST
    ]
    refunds = [
        (
            row["id"],
            _moment(refund["created_at"]),
            row["line_item_id"],
            int(row["quantity"]),
            row.get("location_id"),
            str(row["restock_type"]),
        )
        for refund in order.get("refunds") or ()
        for row in refund.get("refund_line_items") or ()
    ]
    cancelled_at = _moment(order["cancelled_at"]) if order.get("cancelled_at") else None
    return OrderStock(
        order_id,
        _moment(order["updated_at"]),
        _moment(order["created_at"]),
        order.get("location_id"),
        cancelled_at,
        lines,
        shipments,
        refunds,
        progress=len(order.get("fulfillments") or ()) + len(order.get("refunds") or ()) + (cancelled_at is not None),
    )


def postings_of(order: OrderStock, items: Mapping[int, int], first_shelf: Callable[[int], int | None]) -> Postings:
    """The postings of an order. `items`: variant -> item, of those that are counted; `first_shelf`: item -> where returns go that say nowhere.

    The sum of what is committed is what the document says is still to be shipped: where an edit of the order changed that, a posting
    at the document's own moment makes up for it.
    """
    found: Postings = {}
    shipped: dict[int, list[tuple[datetime, int, int, int | None]]] = defaultdict(list)
    refunded: dict[int, list[tuple[datetime, int, int, int | None, str]]] = defaultdict(list)
    for shipment, at, location, rows in order.shipments:
        for line_id, quantity in rows:
            shipped[line_id].append((at, shipment, quantity, location))
    for row_id, at, line_id, quantity, location, restock in order.refunds:
        refunded[line_id].append((at, row_id, quantity, location, restock))
    for line in order.lines:
        item = items.get(line.variant_id)
        if item is not None:
            _post_line(found, order, line, item, shipped[line.line_id], refunded[line.line_id], first_shelf)
    return {key: posting for key, posting in found.items() if posting[3] or posting[4]}


def _post_line(
    found: Postings,
    order: OrderStock,
    line: Line,
    item: int,
    shipped: list[tuple[datetime, int, int, int | None]],
    refunded: list[tuple[datetime, int, int, int | None, str]],
    first_shelf: Callable[[int], int | None],
) -> None:
    """All postings of a line. Moments are of whole seconds: of what happened within one, that order is taken which leaves as many units
    open as the document says."""
    still_open = 0 if order.cancelled_at is not None else line.open_quantity
    postings, left = _life_of(order, line, item, shipped, refunded, first_shelf, shipments_first=True)
    if shipped and refunded and still_open is not None and left != still_open:
        other, other_left = _life_of(order, line, item, shipped, refunded, first_shelf, shipments_first=False)
        if other_left == still_open:
            postings, left = other, other_left
    found |= postings
    if still_open is not None and still_open != left:
        at = order.cancelled_at or order.version_at
        found[f"{_name(order, line)}:edited"] = (item, line.place, at, 0, still_open - left)


def _life_of(
    order: OrderStock,
    line: Line,
    item: int,
    shipped: list[tuple[datetime, int, int, int | None]],
    refunded: list[tuple[datetime, int, int, int | None, str]],
    first_shelf: Callable[[int], int | None],
    *,
    shipments_first: bool,
) -> tuple[Postings, int]:
    """The postings of a line's placing, shipments and refunds, and the units still open after them."""
    name = _name(order, line)
    found: Postings = {f"{name}:placed": (item, line.place, order.created_at, 0, line.quantity)}
    left = line.quantity
    events: list[tuple[datetime, bool, int, int, int | None, str | None]] = []
    events += [(at, not shipments_first, number, quantity, place, None) for at, number, quantity, place in shipped]
    events += [(at, shipments_first, number, quantity, place, restock) for at, number, quantity, place, restock in refunded]
    for at, _, number, quantity, location, restock in sorted(events, key=lambda event: event[:3]):
        if restock is None:
            held = min(left, quantity)
            left -= held
            place = location or line.place
            found[f"{name}:shipped:{number}"] = (item, place, at, -quantity, -held if place == line.place else 0)
            if place != line.place:
                found[f"{name}:taken:{number}"] = (item, line.place, at, 0, -held)
            continue
        # A return is of what was shipped, as far as that goes; everything else is first of all of what was not.
        waiting = max(0, quantity - (line.quantity - left)) if restock == "return" else quantity
        waiting = min(left, waiting)
        left -= waiting
        written_off = 0 if restock in FOR_SALE_AGAIN else waiting
        found[f"{name}:released:{number}"] = (item, line.place, at, -written_off, -waiting)
        back = quantity - waiting if restock in FOR_SALE_AGAIN else 0
        if back:
            found[f"{name}:returned:{number}"] = (item, location or first_shelf(item) or line.place, at, back, 0)
    return found, left


def _name(order: OrderStock, line: Line) -> str:
    return f"order:{order.order_id}:{line.line_id}"


def _take_orders(connection: sa.Connection, orders: dict[int, OrderStock], now: datetime) -> dict[int, Verdict]:
    """Book those that are newer than what is held; a verdict an order."""
    held = _held(connection, orders)
    verdicts: dict[int, Verdict] = {}
    newer: dict[int, OrderStock] = {}
    for order_id, order in orders.items():
        before = held.get(order_id)
        if before is not None and before.version >= order.version:
            verdicts[order_id] = Verdict("duplicate" if before.version == order.version else "superseded")
            continue
        if before is not None:
            known = {line.line_id: line for line in before.lines}
            for line in order.lines:
                if line.line_id in known:
                    line.place, line.is_guess = known[line.line_id].place, known[line.line_id].is_guess
        newer[order_id] = order
        verdicts[order_id] = Verdict("applied")
    _book(connection, newer, now)
    return verdicts


def _book(connection: sa.Connection, orders: dict[int, OrderStock], now: datetime) -> None:
    """Replace the postings of these orders, and the state they are held by."""
    if not orders:
        return
    variants = sorted({line.variant_id for order in orders.values() for line in order.lines})
    known = _items_of(connection, variants)
    counted = {variant: item for variant, (item, is_tracked) in known.items() if is_tracked}
    before = _postings_before(connection, orders)
    shelves = Shelves(connection, now)
    shelves.load({*counted.values(), *(posting[0] for some in before.values() for posting in some.values())})
    gone: list[str] = []
    new: list[dict[str, Any]] = []
    for order in sorted(orders.values(), key=lambda order: (order.created_at, order.order_id)):
        order.unknown_variants = {line.variant_id for line in order.lines} - known.keys()
        _allocate(order, counted, shelves)
        _replace(order, before.get(order.order_id, {}), counted, shelves, gone, new)
    for some in chunks(gone):
        connection.execute(sa.delete(POSTINGS).where(POSTINGS.c.key.in_(some)))
    upsert(connection, POSTINGS, new)
    upsert(connection, ORDERS, [_row(order) for order in orders.values()])
    _note_unknown(connection, orders.values(), now)
    shelves.save()


def _replace(
    order: OrderStock, before: Postings, items: Mapping[int, int], shelves: Shelves, gone: list[str], new: list[dict[str, Any]]
) -> None:
    """Post what differs between the postings before and those of the document."""
    after = postings_of(order, items, shelves.first_of)
    for key, (item, location, at, on_hand, committed) in before.items():
        if after.get(key) == (item, location, at, on_hand, committed):
            continue
        shelves.at((item, location)).post(at, -on_hand, -committed, is_order=True)
        if key not in after:
            gone.append(key)
    for key, (item, location, at, on_hand, committed) in after.items():
        if before.get(key) == (item, location, at, on_hand, committed):
            continue
        shelves.at((item, location)).post(at, on_hand, committed, is_order=True)
        new.append(
            {
                "key": key,
                "order_id": order.order_id,
                "item_id": item,
                "location_id": location,
                "occurred_at": at,
                "on_hand_change": on_hand,
                "committed_change": committed,
            }
        )


def _allocate(order: OrderStock, items: Mapping[int, int], shelves: Shelves) -> None:
    """Where each line's units come from: the order's location, else that of its shipment, else the storefront's rule."""
    shipped_from = {line_id: place for _, _, place, rows in order.shipments if place is not None for line_id, _ in rows}
    for line in order.lines:
        item = items.get(line.variant_id)
        if item is None:
            continue
        certain = order.location_id or shipped_from.get(line.line_id)
        if certain is not None:
            line.place, line.is_guess = certain, False
        elif line.place == UNALLOCATED:
            line.place = _first_with(shelves.of(item), line.quantity)


def _first_with(shelves: list[Shelf], quantity: int) -> int:
    """The storefront's rule: the first location with enough available, else the one with most; 0 where no shelf is known."""
    if not shelves:
        return UNALLOCATED
    enough = next((shelf for shelf in shelves if shelf.free >= quantity), None)
    return (enough or max(shelves, key=lambda shelf: shelf.free)).location_id


def adopt(connection: sa.Connection, committed: Mapping[int, Mapping[int, int]], now: datetime | None = None) -> None:
    """Put guesses right by the storefront's own committed units (item -> location -> units) at all locations of these items, as just read.

    Units of which nobody knew where they come from go where the storefront has more than we; guessed ones move only where the totals of an
    item agree, for else the difference may be an order whose event is still on its way.
    """
    now = now or datetime.now(UTC)
    shelves = Shelves(connection, now)
    shelves.load(committed)
    to_move: dict[int, dict[int, int]] = {}
    for item, theirs in committed.items():
        ours = {shelf.location_id: shelf for shelf in shelves.by_item.get(item, ())}
        known = {place: theirs.get(place, 0) - (ours[place].committed_quantity if place in ours else 0) for place in {*ours, *theirs}}
        # Units of orders that nobody here knows were part of an earlier reading; without them the rest may agree.
        news = {place: units - (ours[place].unknown_committed_quantity if place in ours else 0) for place, units in known.items()}
        beyond = next((some for some in (known, news) if sum(some.values()) == 0 and any(some.values())), known)
        if beyond.get(UNALLOCATED, 0) < 0 or (sum(beyond.values()) == 0 and any(beyond.values())):
            to_move[item] = beyond
    if to_move:
        _move(connection, to_move, now)


def _move(connection: sa.Connection, to_move: dict[int, dict[int, int]], now: datetime) -> None:
    """Book guessed lines at other locations: from where we have more than the storefront to where it has more."""
    holders = _open_holders(connection, to_move)
    held = _held(connection, {order_id for order_id, _, _ in holders})
    variants = {line.variant_id for order in held.values() for line in order.lines}
    items = {variant: item for variant, (item, _) in _items_of(connection, sorted(variants)).items()}
    moved: dict[int, OrderStock] = {}
    for order_id, item, place in holders:
        beyond = to_move[item]
        is_settled = sum(beyond.values()) == 0
        if beyond.get(place, 0) >= 0 or (place != UNALLOCATED and not is_settled):
            continue
        for line in held[order_id].lines:
            if items.get(line.variant_id) != item or line.place != place or not line.is_guess:
                continue
            units = line.quantity if line.open_quantity is None else line.open_quantity
            target = max((where for where in beyond if where != UNALLOCATED), key=lambda where: (beyond[where], -where), default=None)
            if target is None or not 0 < units <= -beyond[place] or (units > beyond[target] and place != UNALLOCATED):
                continue
            beyond[place] += units
            beyond[target] -= units
            line.place = target
            moved[order_id] = held[order_id]
    _book(connection, moved, now)


def _open_holders(connection: sa.Connection, items: Iterable[int]) -> list[tuple[int, int, int]]:
    """(order, item, location) of what orders hold, the newest orders first."""
    found: list[tuple[int, int, int]] = []
    for some in chunks(sorted(items)):
        grouped = (POSTINGS.c.order_id, POSTINGS.c.item_id, POSTINGS.c.location_id)
        query = (
            sa.select(*grouped)
            .where(POSTINGS.c.item_id.in_(some), POSTINGS.c.order_id.is_not(None))
            .group_by(*grouped)
            .having(sa.func.sum(POSTINGS.c.committed_change) > 0)
            .order_by(sa.func.max(POSTINGS.c.occurred_at).desc(), POSTINGS.c.order_id.desc())
        )
        found += [(row.order_id, row.item_id, row.location_id) for row in connection.execute(query)]
    return found


def _items_of(connection: sa.Connection, variants: Sequence[int]) -> dict[int, tuple[int, bool]]:
    """Variant -> (item, whether it is counted)."""
    query = sa.select(ITEMS.c.variant_id, ITEMS.c.item_id, ITEMS.c.is_tracked)
    return {
        row.variant_id: (row.item_id, bool(row.is_tracked))
        for some in chunks(variants)
        for row in connection.execute(query.where(ITEMS.c.variant_id.in_(some)))
    }


def _postings_before(connection: sa.Connection, orders: Iterable[int]) -> dict[int, Postings]:
    found: dict[int, Postings] = defaultdict(dict)
    for some in chunks(sorted(orders)):
        for row in connection.execute(sa.select(POSTINGS).where(POSTINGS.c.order_id.in_(some))):
            posting = (row.item_id, row.location_id, row.occurred_at, row.on_hand_change, row.committed_change)
            found[row.order_id][row.key] = posting
    return found


def _note_unknown(connection: sa.Connection, orders: Iterable[OrderStock], now: datetime) -> None:
    """Remember which orders wait for which variants, so that they are booked again when these are known."""
    rows = [
        {"kind": "variant", "name": str(variant), "order_id": order.order_id, "since": now, "asked_at": None}
        for order in orders
        for variant in sorted(order.unknown_variants)
    ]
    upsert(connection, UNKNOWN, rows)


def _held(connection: sa.Connection, order_ids: Iterable[int]) -> dict[int, OrderStock]:
    """Orders as they are held."""
    return {
        row.order_id: _from_row(row.order_id, row.version_at, row.progress, row.state)
        for some in chunks(sorted(order_ids))
        for row in connection.execute(sa.select(ORDERS).where(ORDERS.c.order_id.in_(some)))
    }


def _row(order: OrderStock) -> dict[str, Any]:
    state = {
        "created": order.created_at,
        "place": order.location_id,
        "cancelled": order.cancelled_at,
        "deleted": order.is_deleted,
        "lines": [[line.line_id, line.variant_id, line.quantity, line.open_quantity, line.place, line.is_guess] for line in order.lines],
        "shipments": order.shipments,
        "refunds": order.refunds,
    }
    return {
        "order_id": order.order_id,
        "version_at": order.version_at,
        "progress": order.progress,
        "state": orjson.dumps(state).decode(),
    }


def _from_row(order_id: int, version_at: datetime, progress: int, text: str) -> OrderStock:
    state = orjson.loads(text)
    return OrderStock(
        order_id,
        version_at,
        _moment(state["created"]),
        state["place"],
        _moment(state["cancelled"]) if state["cancelled"] else None,
        [Line(*line) for line in state["lines"]],
        [(number, _moment(at), place, [(line, quantity) for line, quantity in rows]) for number, at, place, rows in state["shipments"]],
        [(number, _moment(at), line, quantity, place, restock) for number, at, line, quantity, place, restock in state["refunds"]],
        progress,
        state["deleted"],
    )


def _open(line: Mapping[str, Any], order: Mapping[str, Any]) -> int | None:
    """Units of a line still to be shipped, where the document says so."""
    if order.get("cancelled_at"):
        return 0
    value = line.get("fulfillable_quantity")
    return None if value is None else int(value)


def _exact_id(order: Mapping[str, Any]) -> int:
    """The order's id; the gid is exact where a large number was rounded on its way."""
    gid = order.get("admin_graphql_api_id")
    return int(gid.rpartition("/")[2]) if isinstance(gid, str) else int(order["id"])


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without its offset")
    return moment.astimezone(UTC)
