"""Stock of the generated store: what each location holds after everything that orders did to it.

For every item and location: on hand = initial + received - shipped + restocked, and on hand = available + committed +
reserved. The left-hand figures of the first equation are kept as truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from commerce_assets.sandbox.documents import InventoryLevel, inventory_level
from commerce_assets.sandbox.generate_orders import StockMoves
from commerce_assets.sandbox.generate_people import DAY
from commerce_assets.sandbox.moments import stamp


@dataclass(frozen=True)
class Stock:
    """Levels as the store keeps them, and how each came about: (item, location) -> initial, received, shipped, restocked."""

    levels: list[InventoryLevel]
    history: dict[tuple[int, int], dict[str, int]]


def draw_stock(
    rng: np.random.Generator, items: dict[int, str], locations: list[int], moves: StockMoves, created_at: int, as_of: int
) -> Stock:
    """Levels of all `items` (id -> inventory policy) at all locations; what may be oversold sometimes is."""
    levels: list[InventoryLevel] = []
    history: dict[tuple[int, int], dict[str, int]] = {}
    draws = rng.random((len(items) * len(locations), 5)).tolist()
    cells = ((item, policy, location) for item, policy in items.items() for location in locations)
    for (item, policy, location), u in zip(cells, draws, strict=True):
        place = (item, location)
        shipped, restocked = moves.shipped.get(place, 0), moves.restocked.get(place, 0)
        committed = moves.committed.get(place, 0)
        initial = int(20 + 80 * u[0])
        reserved = int(u[1] * 6) if u[1] > 0.85 else 0
        oversold = policy == "CONTINUE" and u[2] < 0.15
        spare = -int(1 + 4 * u[3]) if oversold else int(60 * u[3] ** 2)
        # Deliveries brought what sales needed beyond the first stock.
        needed = max(shipped - restocked + committed + reserved + spare - initial, 0)
        on_hand = initial + needed - shipped + restocked
        if on_hand < 0:
            needed, on_hand = needed - on_hand, 0
        available = on_hand - committed - reserved
        incoming = int(10 + 60 * u[4]) if available < 5 else 0
        touched = max(moves.last_at.get(place, 0), created_at + int(u[4] * (as_of - created_at - DAY)))
        quantities = {"available": available, "committed": committed, "reserved": reserved, "on_hand": on_hand, "incoming": incoming}
        level = inventory_level(item, location, stamp(created_at), **quantities)
        level["updatedAt"] = stamp(touched)
        level["quantityUpdatedAt"] = dict.fromkeys(quantities, stamp(touched))
        levels.append(level)
        history[place] = {"initial": initial, "received": needed, "shipped": shipped, "restocked": restocked}
    return Stock(levels, history)
