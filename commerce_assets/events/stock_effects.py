"""What events do to the books of stock, as the lanes ask for it.

Belongs here: passing on. Does not belong here: stock's arithmetic (stock/), and when it is asked (lanes.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from commerce_assets.events.stock import commitments, drift, facts
from commerce_assets.events.stock.ports import Verdict


class StockEffects:
    """`lanes.StockBooks` on the tables of `events/stock`, which `stock.tables.prepare` has made."""

    def take_facts(self, connection: sa.Connection, bodies: Sequence[bytes]) -> Sequence[Verdict]:
        """Book a warehouse system's facts; one verdict a body, in order."""
        return facts.take(connection, bodies)

    def take_orders(self, connection: sa.Connection, bodies: Sequence[bytes]) -> None:
        """Book what orders commit, ship and bring back. One that cannot be booked is refused by its contract as well, which says so."""
        commitments.take(connection, bodies)

    def drop_orders(self, connection: sa.Connection, deletions: Mapping[int, datetime]) -> None:
        """Forget what deleted orders held."""
        commitments.forget(connection, deletions)

    def observe_levels(self, connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None]) -> None:
        """Note what the storefront shows; an unreadable one is fetched as every notice, and told there."""
        drift.observe(connection, bodies, triggered)
