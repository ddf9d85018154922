"""A small shop in a store of its own, for tests of mutations: two locations, two products, one customer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import (
    Doc,
    customer_doc,
    gid,
    inventory_level,
    location_doc,
    product_doc,
    shop_doc,
    variant_doc,
)
from commerce_assets.sandbox.mutations import MUTATIONS
from commerce_assets.sandbox.store import Store

BEFORE = "2026-01-01T00:00:00Z"
CUSTOMER, PRODUCT, VARIANT, ITEM = (gid(kind, 1) for kind in ("Customer", "Product", "ProductVariant", "InventoryItem"))
OTHER_ITEM, UNTRACKED_VARIANT = gid("InventoryItem", 2), gid("ProductVariant", 3)
HERE, THERE = gid("Location", 1), gid("Location", 2)


class Shop:
    """Runs mutations against the store, a second later each time."""

    def __init__(self, folder: Path, *, version: str = "2026-10", bulk: Any = None) -> None:
        self.store = Store(folder)
        self.store.set_shop(shop_doc("Test shop", "test-shop.myshopify.com", "GBP", "Europe/London", BEFORE))
        self.version = version
        self.moment = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.bulk = bulk
        places = [location_doc(number, f"Place {number}", BEFORE, address={"countryCode": "GB"}) for number in (1, 2)]
        self.store.insert_many("Location", places)
        variants = [variant_doc(number, number, "Default Title", Decimal("10"), BEFORE, sku=f"SKU-{number}") for number in (1, 2)]
        untracked = variant_doc(3, 3, "Default Title", Decimal("4"), BEFORE, sku="SKU-3", tracked=False)
        docs = [
            product_doc(number, f"Product {number}", f"product-{number}", BEFORE, variants=[variant])
            for number, variant in enumerate([*variants, untracked], start=1)
        ]
        self.store.insert_many("Product", docs)
        levels = [inventory_level(item, 1, BEFORE, available=20, on_hand=20, committed=0) for item in (1, 2)]
        self.store.insert_levels(levels)
        self.store.insert_many("Customer", [customer_doc(1, BEFORE, email="ann@example.com", firstName="Ann", tags=["Red"])])

    def context(self, key: str | None = None) -> Context:
        self.moment += timedelta(seconds=1)
        moment = self.moment
        clock: Callable[[], datetime] = lambda: moment  # noqa: E731
        return Context(self.store, self.store.shop() or {}, self.version, frozenset(), clock=clock, idempotency_key=key, bulk=self.bulk)

    def run(self, name: str, /, *, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        """One mutation by its field name; `key` is `@idempotent(key:)`."""
        return MUTATIONS[name](self.context(key), arguments)

    def done(self, name: str, /, *, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        """One mutation that must not be refused."""
        payload = self.run(name, key=key, **arguments)
        assert payload["userErrors"] == [], payload["userErrors"]
        return payload

    def doc(self, reference: str | Doc) -> Doc:
        """A document by gid or reference."""
        found = self.store.get_by_gid(reference if isinstance(reference, str) else reference["id"])
        assert found is not None, reference
        return found

    def stock(self, item: int = 1, location: int = 1) -> tuple[int, int, int]:
        """(available, committed, on hand) of an item at a location."""
        level = self.store.level(item, location)
        quantities = level["quantities"] if level else {}
        return quantities.get("available", 0), quantities.get("committed", 0), quantities.get("on_hand", 0)


def errors(payload: dict[str, Any]) -> list[tuple[list[str] | None, str | None]]:
    """(field, code) of a payload's user errors."""
    return [(error["field"], error["code"]) for error in payload["userErrors"]]


def order_input(quantity: int = 2, *, price: str = "10.00", **more: Any) -> dict[str, Any]:
    """An order of one line of the first product."""
    line = {"variantId": VARIANT, "quantity": quantity, "priceSet": {"shopMoney": {"amount": price, "currencyCode": "GBP"}}}
    return {"lineItems": [{**line, "requiresShipping": True, "taxLines": []}], "currency": "GBP", **more}


def paid(amount: str, kind: str = "SALE") -> list[dict[str, Any]]:
    """One successful payment."""
    return [{"kind": kind, "status": "SUCCESS", "gateway": "manual", "amountSet": {"shopMoney": {"amount": amount, "currencyCode": "GBP"}}}]
