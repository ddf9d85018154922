"""Which inventory item a variant or SKU names, whether it is counted, and its tier.

Belongs here: keeping that map, from the catalogue and from what the storefront says. Does not belong here: the catalogue itself.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from commerce_assets.events.stock import commitments
from commerce_assets.events.stock.ports import Item, ReadItem, revenue_tiers
from commerce_assets.events.stock.shelf import Shelves
from commerce_assets.events.stock.tables import ITEMS, UNKNOWN, chunks, hold_books, upsert

ASK_AGAIN = timedelta(minutes=5)
"""How long after the storefront did not know a name it is asked again."""


def learn_catalogue(engine: sa.Engine, items: Iterable[Item]) -> int:
    """Take the catalogue's items, with tiers by their revenue; the number of items. Orders that waited for a variant are booked."""
    known = {item.item_id: item for item in items}
    tiers = revenue_tiers(known.values())
    everything = sorted(known)
    for some in chunks(everything):
        with engine.begin() as connection:
            learn(connection, [known[number] for number in some], tiers)
    return len(everything)


def learn(connection: sa.Connection, items: Sequence[Item | ReadItem], tiers: dict[int, int] | None = None) -> None:
    """Take items as they are now; without `tiers` each keeps the tier it has."""
    if not items:
        return
    hold_books(connection)
    now = datetime.now(UTC)
    before = _present(connection, [item.item_id for item in items])
    rows = []
    for item in items:
        old = before.get(item.item_id)
        tier = (tiers or {}).get(item.item_id, old.tier if old is not None else 2)
        is_same = old is not None and (old.variant_id, old.sku, bool(old.is_tracked), old.tier) == (
            item.variant_id,
            item.sku,
            item.is_tracked,
            tier,
        )
        if not is_same:
            rows.append(
                {
                    "item_id": item.item_id,
                    "variant_id": item.variant_id,
                    "sku": item.sku,
                    "is_tracked": item.is_tracked,
                    "tier": tier,
                    "learnt_at": now,
                }
            )
    upsert(connection, ITEMS, rows)
    _book_what_waited(connection, items, now)
    turned = [item.item_id for item in items if (old := before.get(item.item_id)) is not None and bool(old.is_tracked) != item.is_tracked]
    if turned:
        shelves = Shelves(connection, now)
        shelves.load(turned)
        for shelf in shelves.by_key.values():
            shelf.is_touched, shelf.cause = True, "fact"
        shelves.save()


def wanted(connection: sa.Connection, limit: int, now: datetime | None = None) -> tuple[list[str], list[int]]:
    """(SKUs, variants) that nobody could name an item for, and that the storefront was not asked about lately."""
    since = (now or datetime.now(UTC)) - ASK_AGAIN
    query = (
        sa.select(UNKNOWN.c.kind, UNKNOWN.c.name)
        .where(sa.or_(UNKNOWN.c.asked_at.is_(None), UNKNOWN.c.asked_at < since))
        .distinct()
        .order_by(UNKNOWN.c.kind, UNKNOWN.c.name)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    return [row.name for row in rows if row.kind == "sku"], [int(row.name) for row in rows if row.kind == "variant"]


def asked(connection: sa.Connection, skus: Sequence[str], variants: Sequence[int], now: datetime | None = None) -> None:
    """Note that the storefront was asked about these names."""
    for kind, names in (("sku", list(skus)), ("variant", [str(variant) for variant in variants])):
        for some in chunks(names):
            statement = sa.update(UNKNOWN).where(UNKNOWN.c.kind == kind, UNKNOWN.c.name.in_(some))
            connection.execute(statement.values(asked_at=now or datetime.now(UTC)))


def _present(connection: sa.Connection, item_ids: Sequence[int]) -> dict[int, sa.Row[tuple[object, ...]]]:
    return {
        row.item_id: row
        for some in chunks(item_ids)
        for row in connection.execute(sa.select(*ITEMS.columns).where(ITEMS.c.item_id.in_(some)))
    }


def _book_what_waited(connection: sa.Connection, items: Sequence[Item | ReadItem], now: datetime) -> None:
    """Book the orders that waited for these variants; what waited for SKUs comes again by itself."""
    variants = [str(item.variant_id) for item in items if item.variant_id is not None]
    orders: set[int] = set()
    for kind, names in (("variant", variants), ("sku", [item.sku for item in items if item.sku is not None])):
        for some in chunks(names):
            is_known = sa.and_(UNKNOWN.c.kind == kind, UNKNOWN.c.name.in_(some))
            orders.update(row.order_id for row in connection.execute(sa.select(UNKNOWN.c.order_id).where(is_known)) if row.order_id)
            connection.execute(sa.delete(UNKNOWN).where(is_known))
    if orders:
        commitments.book_again(connection, sorted(orders), now)
