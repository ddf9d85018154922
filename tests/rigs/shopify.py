"""A shop in memory: the outside of `ShopifyCustomers`. Customers are there before they are written, and none can be made."""

from pathlib import Path
from typing import Any, Literal

from activation_fakes import FakeCustomer, FakeShop

from commerce_assets.activation.destinations.shopify import ShopifyCustomers
from commerce_assets.activation.destinations.shopify_mapping import CustomerMapping, MetafieldTarget
from commerce_assets.activation.records import Sync
from rigs.base import Trait

NAMESPACE = "commerce"
TYPES = {"segment": "single_line_text_field", "value": "number_decimal", "as_of": "date"}
MAPPING = CustomerMapping(
    metafields=tuple(
        MetafieldTarget(field, NAMESPACE, field, type_, field, "", is_carried=field == "as_of") for field, type_ in TYPES.items()
    )
)
SYNC = Sync("shopify", "audience", mapped=("segment", "value"), carried=("as_of",))
LONGEST_VALUE = 255
ROWS_A_CALL = 8
"""Customers whose three metafields fill one call of 25."""
WRITES = {"metafieldsSet", "metafieldsDelete"}


class _CountingShop(FakeShop):
    """Counts metafields that changed; setting one to what it holds changes nothing."""

    changed = 0

    def _metafieldsSet(self, metafields: list[dict[str, str]]) -> dict[str, Any]:
        before = [self._value(one) for one in metafields]
        answer = super()._metafieldsSet(metafields)
        self.changed += sum(was != self._value(one) for was, one in zip(before, metafields, strict=True))
        return answer

    def _metafieldsDelete(self, metafields: list[dict[str, str]]) -> dict[str, Any]:
        self.changed += sum(self._value(one) is not None for one in metafields)
        return super()._metafieldsDelete(metafields)

    def _value(self, one: dict[str, str]) -> str | None:
        held = self.customers.get(one["ownerId"], FakeCustomer()).metafields.get(f"{one['namespace']}.{one['key']}")
        return held and held[1]


class ShopifyRig:
    name = "shopify"
    traits: frozenset[Trait] = frozenset({"reads", "refuses", "cuts", "loses_records"})
    """The client waits for its budget by itself: tests/integration/test_shopify_client.py shows that."""
    longest_value = LONGEST_VALUE
    rows_a_call = ROWS_A_CALL
    takes_newlines = False

    def __init__(self, root: Path | None = None) -> None:
        self.sync = SYNC
        self.shop = _CountingShop()
        self._refused: set[str] = set()
        self._cuts: list[str] = []
        self.shop.refuse = self._refusal
        self.shop.fault = self._fault

    def destination(self) -> ShopifyCustomers:
        return ShopifyCustomers(self.shop, MAPPING)

    def keys(self, count: int) -> list[str]:
        gids = [f"gid://shopify/Customer/{number}" for number in range(1, count + 1)]
        for gid in gids:
            self.shop.customers.setdefault(gid, FakeCustomer())
        return gids

    def held(self) -> dict[str, dict[str, str]]:
        found = {
            gid: {path.removeprefix(f"{NAMESPACE}."): value for path, (_, value) in customer.metafields.items()}
            for gid, customer in self.shop.customers.items()
        }
        return {gid: fields for gid, fields in found.items() if fields}

    def change(self, key: str, field: str, value: str | None) -> None:
        metafields = self.shop.customers[key].metafields
        if value is None:
            metafields.pop(f"{NAMESPACE}.{field}", None)
        else:
            metafields[f"{NAMESPACE}.{field}"] = (TYPES[field], value)

    def delete(self, key: str) -> None:
        self.shop.customers.pop(key, None)

    def refuse(self, keys: set[str]) -> None:
        self._refused = set(keys)

    def throttle(self, calls: int) -> None:
        raise NotImplementedError("the client waits by itself (trait throttles)")

    def cut(self, when: Literal["before", "after"], calls: int = 1) -> None:
        self._cuts = [when] * calls

    @property
    def writes(self) -> int:
        return self.shop.changed

    def close(self) -> None: ...

    def _refusal(self, owner: str, path: str, value: str) -> str | None:
        if owner in self._refused:
            return "Value is invalid."
        return f"Value must be {LONGEST_VALUE} characters or less." if len(value) > LONGEST_VALUE else None

    def _fault(self, operation: str, _: Any) -> str | None:
        return self._cuts.pop(0) if operation in WRITES and self._cuts else None
