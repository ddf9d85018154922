"""A storefront of Python dicts that moves stock as Shopify does: orders claim, ship, release, return; pushes compare and swap, once a key."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from commerce_assets.events.stock.ports import Change

STARTED = datetime(2025, 11, 21, 8, tzinfo=UTC)


class DownError(Exception):
    """The storefront cannot be asked."""


@dataclass(frozen=True)
class FakeLevel:
    item_id: int
    location_id: int
    is_active: bool
    available: int
    committed: int
    on_hand: int
    updated_at: datetime


@dataclass(frozen=True)
class FakeItem:
    item_id: int
    variant_id: int | None
    sku: str | None
    is_tracked: bool
    levels: tuple[FakeLevel, ...] = ()


@dataclass(frozen=True)
class FakeError:
    row: int | None
    code: str | None


@dataclass(frozen=True)
class FakeAnswer:
    errors: tuple[FakeError, ...] = ()
    set_at: datetime | None = None


@dataclass
class _Stock:
    available: int
    committed: int = 0
    set_aside: int = 0
    updated_at: datetime = STARTED

    @property
    def on_hand(self) -> int:
        return self.available + self.committed + self.set_aside


@dataclass
class FakeStorefront:
    """Items are numbered from 1, variants from 1001; every item at every location."""

    items: int
    locations: tuple[int, ...] = (1, 2)
    units: int = 20
    now: datetime = STARTED
    calls: list[tuple[str, Any]] = field(default_factory=list)
    is_down: bool = False
    loses_answers: int = 0
    """So many pushes are done, and their answers lost."""
    refused_items: dict[int, str] = field(default_factory=dict)
    troubles: tuple[type[Exception], ...] = (DownError,)

    def __post_init__(self) -> None:
        self.stock = {(item, place): _Stock(self.units) for item in range(1, self.items + 1) for place in self.locations}
        self.orders: dict[int, dict[str, Any]] = {}
        self.claims: dict[int, int] = {}
        self.emitted: list[tuple[str, bytes, datetime]] = []
        self.on_hand_moves: list[tuple[datetime, tuple[int, int], int]] = []
        """What orders took from and brought back to each shelf, by the whole second, as documents tell it."""
        self._keys: dict[str, tuple[Any, FakeAnswer]] = {}
        self._numbers = 0

    # --- what happens there

    def tick(self, seconds: float = 1.0) -> None:
        self.now += timedelta(seconds=seconds)

    def place(self, wanted: list[tuple[int, int]]) -> int:
        """An order of (item, units); where each comes from is the first location with enough, else the one with most."""
        number = self._number()
        lines = []
        for item, quantity in wanted:
            line = self._number()
            lines.append({"id": line, "variant_id": 1000 + item, "quantity": quantity, "fulfillable_quantity": quantity})
            places = [(place, self.stock[item, place].available) for place in self.locations]
            chosen = next((place for place, free in places if free >= quantity), None) or max(places, key=lambda entry: entry[1])[0]
            self.claims[line] = chosen
            self._move((item, chosen), available=-quantity, committed=quantity)
        created = self._stamp()
        self.orders[number] = {
            "id": number,
            "admin_graphql_api_id": f"gid://shopify/Order/{number}",
            "created_at": created,
            "updated_at": created,
            "cancelled_at": None,
            "location_id": None,
            "line_items": lines,
            "fulfillments": [],
            "refunds": [],
        }
        self._emit_order(number)
        return number

    def ship(self, number: int, line_at: int, quantity: int) -> None:
        order = self.orders[number]
        line = order["line_items"][line_at]
        quantity = min(quantity, line["fulfillable_quantity"])
        if not quantity:
            return
        line["fulfillable_quantity"] -= quantity
        place = self.claims[line["id"]]
        self._move((line["variant_id"] - 1000, place), committed=-quantity)
        rows = [{"id": line["id"], "quantity": quantity}]
        shipment = {"id": self._number(), "status": "success", "created_at": self._stamp(), "location_id": place, "line_items": rows}
        order["fulfillments"].append(shipment)
        order["updated_at"] = self._stamp()
        self._emit_order(number)

    def refund(self, number: int, line_at: int, quantity: int, restock: str, place: int | None) -> None:
        order = self.orders[number]
        line = order["line_items"][line_at]
        done = sum(
            row["quantity"] for refund in order["refunds"] for row in refund["refund_line_items"] if row["line_item_id"] == line["id"]
        )
        quantity = min(quantity, line["quantity"] - done)
        if quantity <= 0:
            return
        left = line["fulfillable_quantity"]
        waiting = min(left, max(0, quantity - (line["quantity"] - left)) if restock == "return" else quantity)
        item, claimed = line["variant_id"] - 1000, self.claims[line["id"]]
        line["fulfillable_quantity"] -= waiting
        if waiting:
            self._move((item, claimed), committed=-waiting, available=0 if restock == "no_restock" else waiting)
        if restock != "no_restock" and quantity > waiting:
            self._move((item, place or self.locations[0]), available=quantity - waiting)
        row = {"id": self._number(), "line_item_id": line["id"], "quantity": quantity, "location_id": place, "restock_type": restock}
        order["refunds"].append({"id": self._number(), "created_at": self._stamp(), "refund_line_items": [row]})
        order["updated_at"] = self._stamp()
        self._emit_order(number)

    def meddle(self, item: int, place: int, delta: int) -> None:
        """Somebody changes what is available by hand."""
        self._move((item, place), available=delta, is_order=False)

    def set_aside(self, item: int, place: int, quantity: int) -> None:
        """Units are found damaged: on hand, but not available."""
        self.stock[item, place].set_aside += quantity
        self._move((item, place), available=-quantity, is_order=False)

    # --- the port

    def read_items(self, item_ids: Any) -> list[FakeItem]:
        self._ask("read", tuple(item_ids))
        return [self._item(item, with_levels=True) for item in item_ids if item <= self.items]

    def find_items(self, skus: Any, variant_ids: Any) -> list[FakeItem]:
        self._ask("find", (tuple(skus), tuple(variant_ids)))
        found = {number for number in range(1, self.items + 1) if f"SKU-{number}" in skus or 1000 + number in variant_ids}
        return [self._item(number, with_levels=False) for number in sorted(found)]

    def set_available(self, changes: Any, key: str) -> FakeAnswer:
        content = [(change.item_id, change.location_id, change.quantity, change.change_from) for change in changes]
        self._ask("set", (key, content))
        if key in self._keys:
            before, answer = self._keys[key]
            assert before == content, "one key, two contents"
            answer = FakeAnswer((FakeError(None, "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"),)) if answer.errors else answer
        else:
            answer = self._set(changes)
            self._keys[key] = content, answer
        if self.loses_answers:
            self.loses_answers -= 1
            raise DownError("the answer was lost")
        return answer

    def _set(self, changes: list[Change]) -> FakeAnswer:
        errors = []
        for row, change in enumerate(changes):
            if change.item_id in self.refused_items:
                errors.append(FakeError(row, self.refused_items[change.item_id]))
            elif change.change_from is not None and self.stock[change.item_id, change.location_id].available != change.change_from:
                errors.append(FakeError(row, "CHANGE_FROM_QUANTITY_STALE"))
        if errors:
            return FakeAnswer(tuple(errors))
        for change in changes:
            delta = change.quantity - self.stock[change.item_id, change.location_id].available
            if delta:
                self._move((change.item_id, change.location_id), available=delta, is_order=False)
        return FakeAnswer(set_at=self.now.replace(microsecond=0))

    def _ask(self, what: str, of: Any) -> None:
        self.calls.append((what, of))
        if self.is_down:
            raise DownError("down")

    def _item(self, number: int, *, with_levels: bool) -> FakeItem:
        levels = []
        for place in self.locations if with_levels else ():
            stock = self.stock[number, place]
            at = stock.updated_at.replace(microsecond=0)
            levels.append(FakeLevel(number, place, True, stock.available, stock.committed, stock.on_hand, at))
        return FakeItem(number, 1000 + number, f"SKU-{number}", True, tuple(levels))

    def _move(self, key: tuple[int, int], *, available: int = 0, committed: int = 0, is_order: bool = True) -> None:
        stock = self.stock[key]
        if is_order and available + committed:
            self.on_hand_moves.append((self.now.replace(microsecond=0), key, available + committed))
        stock.available += available
        stock.committed += committed
        stock.updated_at = self.now
        body = {"inventory_item_id": key[0], "location_id": key[1], "available": stock.available, "updated_at": self._stamp()}
        if available:
            self.emitted.append(("level", json.dumps(body).encode(), self.now))

    def _emit_order(self, number: int) -> None:
        self.emitted.append(("order", json.dumps(self.orders[number]).encode(), self.now))

    def _stamp(self) -> str:
        return self.now.replace(microsecond=0).isoformat()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    @property
    def pushes(self) -> list[tuple[str, list[tuple[int, int, int, int | None]]]]:
        """(key, rows) of every push that was asked for."""
        return [of for what, of in self.calls if what == "set"]
