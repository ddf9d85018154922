"""A sandbox shop for tests of stock: items at two locations, orders through the Admin API, and the events they cause, rendered by hand.

`python stock_shop.py DATABASE_URL SHOP_URL` runs a pusher in a process of its own, that can be killed.
"""

import itertools
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from commerce_assets.events.database import open_engine
from commerce_assets.events.stock import commitments, drift, facts, items, tables
from commerce_assets.events.stock.ports import Item
from commerce_assets.events.stock.pusher import Pusher, PusherOptions
from commerce_assets.sandbox.documents import inventory_level, location_doc, product_doc, shop_doc, variant_doc
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks.payloads import render
from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.retry import RetryPolicy
from commerce_assets.sources.shopify.stock import ShopifyStock
from commerce_assets.sources.shopify.throttle import Throttle

OPENED = "2026-01-01T00:00:00Z"
HERE, THERE = 1, 2
LEVELS = """
query Levels($after: String) {
  inventoryItems(first: 50, after: $after) {
    nodes { id inventoryLevels(first: 5) { nodes { location { id } quantities(names: ["available", "committed", "on_hand"]) { name quantity } } } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
ORDER = """
mutation Order($order: OrderCreateOrderInput!) {
  orderCreate(order: $order, options: {inventoryBehaviour: DECREMENT_IGNORING_POLICY}) { order { id } userErrors { message } }
}
"""
SHIP = """
mutation Ship($id: ID!) {
  fulfillmentCreate(fulfillment: {lineItemsByFulfillmentOrder: [{fulfillmentOrderId: $id}]}) { fulfillment { id } userErrors { message } }
}
"""
CANCEL = """
mutation Cancel($id: ID!) {
  orderCancel(orderId: $id, reason: CUSTOMER, restock: true, refund: false) { userErrors { message } }
}
"""
ADJUST = """
mutation Adjust($input: InventoryAdjustQuantitiesInput!, $key: String!) {
  inventoryAdjustQuantities(input: $input) @idempotent(key: $key) { userErrors { message } }
}
"""
_keys = itertools.count(1)


def fill(folder: Path, count: int, units: int = 100) -> None:
    """Items 1 to `count` (SKU-1 …, variant 1001 …), each with `units` at location 1 and none at location 2."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder)
    store.set_shop(shop_doc("Stocked", "stocked.myshopify.com", "GBP", "Europe/London", OPENED))
    store.insert_many("Location", [location_doc(n, f"Place {n}", OPENED, address={"countryCode": "GB"}) for n in (HERE, THERE)])
    products = []
    for n in range(1, count + 1):
        variant = variant_doc(1000 + n, n, "Default Title", Decimal("10"), OPENED, sku=f"SKU-{n}")
        products.append(product_doc(n, f"Product {n}", f"product-{n}", OPENED, variants=[variant]))
    store.insert_many("Product", products)
    rows = [inventory_level(n, HERE, OPENED, available=units, on_hand=units, committed=0) for n in range(1, count + 1)]
    rows += [inventory_level(n, THERE, OPENED, available=0, on_hand=0, committed=0) for n in range(1, count + 1)]
    store.insert_levels(rows)
    store.close()


def catalogue(count: int) -> list[Item]:
    return [Item(n, 1000 + n, f"SKU-{n}", revenue=Decimal(n)) for n in range(1, count + 1)]


@contextmanager
def stock_client(url: str, attempts: int = 3) -> Iterator[ShopifyClient]:
    retry = RetryPolicy(attempts=attempts, base_seconds=0.05) if attempts < 3 else RetryPolicy(attempts=attempts)
    with ShopifyClient(url, "2026-10", StaticToken(url, "sandbox-token"), throttle=Throttle(), retry=retry) as client:
        yield client


@dataclass
class StockShop:
    """The shop, our books, and what travels between them."""

    client: ShopifyClient
    store: Store
    engine: sa.Engine
    pusher: Pusher
    orders: list[int] = field(default_factory=list)

    def count(self, sku: int, quantity: int, location: int = HERE, at: datetime | None = None) -> str:
        body = fact("count", sku, quantity, location, at)
        with self.engine.begin() as connection:
            (verdict,) = facts.take(connection, [body])
        return verdict.outcome

    def buy(self, *skus: int, quantity: int = 1) -> int:
        lines = [{"variantId": f"gid://shopify/ProductVariant/{1000 + sku}", "quantity": quantity} for sku in skus]
        payload = self.client.execute(ORDER, {"order": {"lineItems": lines}})["orderCreate"]
        assert payload["userErrors"] == [], payload
        order = int(payload["order"]["id"].rsplit("/", 1)[1])
        self.orders.append(order)
        return order

    def ship(self, order: int) -> None:
        payload = self.client.execute(SHIP, {"id": f"gid://shopify/FulfillmentOrder/{order}"})["fulfillmentCreate"]
        assert payload["userErrors"] == [], payload

    def cancel(self, order: int) -> None:
        payload = self.client.execute(CANCEL, {"id": f"gid://shopify/Order/{order}"})["orderCancel"]
        assert payload["userErrors"] == [], payload

    def meddle(self, sku: int, delta: int, location: int = HERE) -> None:
        """Somebody changes what is available by hand."""
        change = {
            "delta": delta,
            "inventoryItemId": f"gid://shopify/InventoryItem/{sku}",
            "locationId": f"gid://shopify/Location/{location}",
        }
        variables = {"input": {"name": "available", "reason": "correction", "changes": [change | {"changeFromQuantity": None}]}}
        payload = self.client.execute(ADJUST, variables | {"key": f"meddle-{next(_keys)}"})["inventoryAdjustQuantities"]
        assert payload["userErrors"] == [], payload

    def hear_orders(self, *orders: int) -> None:
        """The events of these orders come in, in their newest versions."""
        shop = self.store.shop() or {}
        bodies = []
        for order in orders or self.orders:
            bodies.append(json.dumps(render(self.store, shop, "orders/updated", None, self.store.get("Order", order))).encode())
        with self.engine.begin() as connection:
            verdicts = commitments.take(connection, bodies)
        assert {verdict.outcome for verdict in verdicts} <= {"applied", "duplicate", "superseded"}, verdicts

    def hear_level(self, sku: int, location: int = HERE) -> None:
        level = self.store.level(sku, location)
        body = json.dumps(render(self.store, self.store.shop() or {}, "inventory_levels/update", None, level)).encode()
        with self.engine.begin() as connection:
            drift.observe(connection, [body], [datetime.now(UTC)])

    def shown(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """(available, committed, on hand) of every level of the storefront."""
        found: dict[tuple[int, int], tuple[int, int, int]] = {}
        after = None
        while True:
            page = self.client.execute(LEVELS, {"after": after})["inventoryItems"]
            for node in page["nodes"]:
                for level in node["inventoryLevels"]["nodes"]:
                    quantities = {entry["name"]: entry["quantity"] for entry in level["quantities"]}
                    key = int(node["id"].rsplit("/", 1)[1]), int(level["location"]["id"].rsplit("/", 1)[1])
                    found[key] = quantities["available"], quantities["committed"], quantities["on_hand"]
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    def rows(self, table: sa.Table, *where: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table).where(*where)).mappings()]


def fact(kind: str, sku: int, quantity: int, location: int = HERE, at: datetime | None = None, key: str | None = None) -> bytes:
    moment = at or datetime.now(UTC)
    entry = {"key": key or f"fact-{next(_keys)}", "kind": kind, "sku": f"SKU-{sku}", "quantity": quantity}
    return json.dumps(entry | {"location_id": location, "occurred_at": moment.isoformat()}).encode()


@contextmanager
def stock_shop(folder: Path, url: str, count: int, *, rules: tables.Rules | None = None, name: str = "books") -> Iterator[StockShop]:
    """Our books beside a sandbox that serves the store in `folder`."""
    engine = open_engine(f"sqlite:///{folder / f'{name}.sqlite'}")
    tables.prepare(engine, rules or tables.Rules(settle_seconds=0.1))
    items.learn_catalogue(engine, catalogue(count))
    with stock_client(url) as client:
        store = Store(folder / "store")
        try:
            yield StockShop(client, store, engine, Pusher(engine, ShopifyStock(client), PusherOptions(poll_seconds=0.005)))
        finally:
            store.close()
            engine.dispose()


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


if __name__ == "__main__":
    with stock_client(sys.argv[2]) as own_client:
        Pusher(open_engine(sys.argv[1]), ShopifyStock(own_client)).run(threading.Event())
