"""Spoils documents so that each breaks exactly one contract rule, and says which record and which rule.

A defect is named `(table, id, rule)` in the words of the contracts: the table's name, the number that is its key (a composite
key as the text `a|b`, as the quarantine's `row_key` has it) and the rule. A document gets at most one defect. What hangs on a
spoiled record falls with it (`parent_rejected`) and is not listed.

Order and line defects go to orders without refunds, whose line items need no drain through typed GraphQL: only bulk results
print wrong types as they are. A customer's currency cannot be spoiled, since the store computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from commerce_assets.sandbox.documents import Doc, gid_number, instant

# Visa's published test number: passes the Luhn check, belongs to nobody.
CARD_NUMBER = "4111 1111 1111 1111"
UNKNOWN_CURRENCY = "XQZ"
UNKNOWN_COUNTRY = "XQ"

Defect = dict[str, Any]


@dataclass(frozen=True)
class Spoiler:
    """One way to spoil a document: where it applies, and the change, which returns the id of the record that is bad now."""

    table: str
    rule: str
    applies: Callable[[Doc], bool]
    change: Callable[[Doc], int | str]


class Soiler:
    """Spoils about `rate` of the documents of one family, batch after batch (at least one of the first, when `rate` is above 0)."""

    def __init__(self, rng: np.random.Generator, rate: float, spoilers: tuple[Spoiler, ...]) -> None:
        """The ways to spoil take turns, in an order drawn from `rng`."""
        self.rng, self.rate = rng, rate
        self.turn = [spoilers[index] for index in rng.permutation(len(spoilers)).tolist()]
        self.found: list[Defect] = []
        self._seen = self._tried = 0

    def spoil(self, docs: Sequence[Any]) -> None:
        """Spoils documents of a batch in place, so many that the rate holds over all batches so far."""
        if not self.rate or not docs:
            return
        self._seen += len(docs)
        pool = [docs[index] for index in self.rng.permutation(len(docs)).tolist()]
        for step in range(self._tried, max(1, round(self.rate * self._seen))):
            spoiler = self.turn[step % len(self.turn)]
            position = next((position for position, doc in enumerate(pool) if spoiler.applies(doc)), None)
            if position is not None:
                self.found.append({"table": spoiler.table, "id": spoiler.change(pool.pop(position)), "rule": spoiler.rule})
            self._tried += 1


# -- what a change needs to know of a document


def _number(doc: Doc) -> int:
    return gid_number(doc["id"])


def _plain(order: Doc) -> bool:
    return not order.get("refunds") and len(order.get("fulfillments", ())) <= 1


def _with_address(order: Doc) -> bool:
    return _plain(order) and "shippingAddress" in order


def _refunded_once(order: Doc) -> bool:
    return len(order.get("refunds", ())) == 1 and Decimal(order["refunds"][0]["totalRefundedSet"]) > 0


def _with_refund_lines(order: Doc) -> bool:
    return _refunded_once(order) and bool(order["refunds"][0]["refundLineItems"])


def _shipped(order: Doc) -> bool:
    return _plain(order) and bool(order.get("fulfillments"))


def _paid(order: Doc) -> bool:
    return _plain(order) and bool(order.get("transactions"))


def _with_home(customer: Doc) -> bool:
    return bool(customer.get("addressesV2"))


def _any(_: Doc) -> bool:
    return True


def _naive(moment: str) -> str:
    return moment.removesuffix("Z")


def _days_before(moment: str) -> str:
    return instant(datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) - timedelta(days=2))


def _strange(amount: str) -> Doc:
    return {
        "shopMoney": {"amount": amount, "currencyCode": UNKNOWN_CURRENCY},
        "presentmentMoney": {"amount": amount, "currencyCode": UNKNOWN_CURRENCY},
    }


def _worded(amount: str, currency: str = "GBP") -> Doc:
    return {"shopMoney": {"amount": amount, "currencyCode": currency}, "presentmentMoney": {"amount": amount, "currencyCode": currency}}


# -- changes: each takes a document, spoils it, and returns the bad record's id


def _set(key: str, value: Any) -> Callable[[Doc], int]:
    """Sets `key` of the document to a value, or to what a function makes of the old one."""

    def change(doc: Doc) -> int:
        doc[key] = value(doc[key]) if callable(value) else value
        return _number(doc)

    return change


def _inside(name: str, change: Callable[[Doc], int | str]) -> Callable[[Doc], int | str]:
    """Spoils the first node of the list `name`."""
    return lambda doc: change(doc[name][0])


def _plus(amount: str) -> Callable[[str], str]:
    return lambda old: str(Decimal(old) + Decimal(amount))


def _address(key: str, value: str) -> Callable[[Doc], int]:
    def change(order: Doc) -> int:
        order["shippingAddress"] = {**order["shippingAddress"], key: value}
        return _number(order)

    return change


def _early_refund(order: Doc) -> int:
    refund = order["refunds"][0]
    refund["createdAt"] = refund["processedAt"] = _days_before(order["processedAt"])
    return _number(refund)


def _early_shipment(order: Doc) -> int:
    shipment = order["fulfillments"][0]
    shipment["createdAt"] = _days_before(order["processedAt"])
    return _number(shipment)


def _too_much_back(order: Doc) -> int:
    refund = order["refunds"][0]
    refund["totalRefundedSet"] = str(Decimal(order["totalReceivedSet"]) + 100)
    return _number(refund)


def _bad_parent(transaction: Doc) -> int:
    transaction["parentTransaction"] = {"id": "gid://shopify/OrderTransaction/none"}
    return _number(transaction)


def _bad_customer_id(customer: Doc) -> int:
    # The number can still be read, so that only the form is wrong.
    customer["id"] += "?legacy=1"
    return _number(customer)


def _bad_email(customer: Doc) -> int:
    customer["defaultEmailAddress"]["emailAddress"] = customer["defaultEmailAddress"]["emailAddress"].replace("@", " at ")
    return _number(customer)


def _bad_variant(line: Doc) -> int:
    line["variant"] = {"id": "gid://shopify/ProductVariant/none"}
    return _number(line)


def _naive_level(level: Doc) -> str:
    level["createdAt"] = _naive(level["createdAt"])
    return f"{level['itemId']}|{level['locationId']}"


def _foreign(order: Doc) -> int:
    """Only the order's own currency becomes unknown: amounts below it, which follow it, get the currency they had."""
    currency = order["currencyCode"]

    def pin(value: Any) -> None:
        if isinstance(value, list):
            for part in value:
                pin(part)
        elif isinstance(value, dict):
            for key, part in value.items():
                if key.endswith("Set") and isinstance(part, str):
                    value[key] = _worded(part, currency)
                else:
                    pin(part)
            if value.get("__typename") == "MoneyV2":
                value["currencyCode"] = currency

    pin([part for part in order.values() if isinstance(part, list)])
    order["currencyCode"] = UNKNOWN_CURRENCY
    return _number(order)


def _refund_line(change: Callable[[Doc], int | str]) -> Callable[[Doc], int | str]:
    return _inside("refunds", _inside("refundLineItems", change))


_LINE: tuple[tuple[str, Callable[[Doc], int | str]], ...] = (
    ("price_not_negative", _set("originalUnitPriceSet", lambda old: f"-{old}")),
    ("quantity_not_negative", _set("quantity", lambda old: -old)),
    ("currency_known", _set("originalUnitPriceSet", _strange)),
    ("no_card_number", _set("title", lambda old: f"Card {CARD_NUMBER}: {old}")),
    ("wrong_type", _set("quantity", "three")),
    ("not_null:title", _set("title", None)),
    ("id_format", _bad_variant),
)
_TRANSACTION: tuple[tuple[str, Callable[[Doc], int | str]], ...] = (
    ("amount_not_negative", _set("amountSet", lambda old: f"-{old}")),
    ("currency_known", _set("amountSet", _strange)),
    ("wrong_type", _set("amountSet", _worded("a lot"))),
    ("id_format", _bad_parent),
    ("naive_time", _set("createdAt", _naive)),
    ("not_null:kind", _set("kind", None)),
)
_REFUND: tuple[tuple[str, Callable[[Doc], int | str]], ...] = (
    ("amount_not_negative", _set("totalRefundedSet", lambda old: f"-{old}")),
    ("currency_known", _set("totalRefundedSet", _strange)),
    ("no_card_number", _set("note", f"Refund to {CARD_NUMBER}")),
    ("naive_time", _set("createdAt", _naive)),
)
_ADDRESS: tuple[tuple[str, Callable[[Doc], int | str]], ...] = (
    ("postal_code_fits_country", _set("zip", "99")),
    ("country_known", _set("countryCodeV2", UNKNOWN_COUNTRY)),
    ("no_card_number", _set("address2", f"Card {CARD_NUMBER}")),
)

SPOILERS: dict[str, tuple[Spoiler, ...]] = {
    "Order": (
        Spoiler("orders", "order_total_matches_lines", _plain, _set("totalPriceSet", _plus("5"))),
        Spoiler("orders", "amount_not_negative", _plain, _set("totalRefundedSet", "-5.0")),
        Spoiler("orders", "currency_known", _plain, _foreign),
        Spoiler("orders", "presentment_currency_known", _plain, _set("presentmentCurrencyCode", UNKNOWN_CURRENCY)),
        Spoiler("orders", "email_format", _plain, _set("email", "ada at example.com")),
        Spoiler("orders", "postal_code_fits_country", _with_address, _address("zip", "99")),
        Spoiler("orders", "country_known", _with_address, _address("countryCodeV2", UNKNOWN_COUNTRY)),
        Spoiler("orders", "no_card_number", _plain, _set("note", f"Charge {CARD_NUMBER} instead")),
        Spoiler("orders", "naive_time", _plain, _set("createdAt", _naive)),
        Spoiler("orders", "wrong_type", _plain, _set("subtotalLineItemsQuantity", "a dozen")),
        Spoiler("orders", "not_null:order_name", _plain, _set("name", None)),
        *(Spoiler("order_lines", rule, _plain, _inside("lineItems", change)) for rule, change in _LINE),
        *(Spoiler("transactions", rule, _paid, _inside("transactions", change)) for rule, change in _TRANSACTION),
        Spoiler("refunds", "refund_not_before_order", _refunded_once, _early_refund),
        Spoiler("refunds", "refund_within_paid", _refunded_once, _too_much_back),
        *(Spoiler("refunds", rule, _refunded_once, _inside("refunds", change)) for rule, change in _REFUND),
        Spoiler("refund_lines", "quantity_not_negative", _with_refund_lines, _refund_line(_set("quantity", lambda old: -old))),
        Spoiler("refund_lines", "amount_not_negative", _with_refund_lines, _refund_line(_set("subtotalSet", "-2.0"))),
        Spoiler("fulfillments", "fulfillment_not_before_order", _shipped, _early_shipment),
        Spoiler("fulfillments", "naive_time", _shipped, _inside("fulfillments", _set("createdAt", _naive))),
    ),
    "Customer": (
        Spoiler("customers", "email_format", _any, _bad_email),
        Spoiler("customers", "customer_id_format", _any, _bad_customer_id),
        Spoiler("customers", "no_card_number", _any, _set("note", f"Card on file: {CARD_NUMBER}")),
        Spoiler("customers", "naive_time", _any, _set("createdAt", _naive)),
        Spoiler("customers", "wrong_type", _any, _set("verifiedEmail", "perhaps")),
        Spoiler("customers", "not_null:locale", _any, _set("locale", None)),
        *(Spoiler("customer_addresses", rule, _with_home, _inside("addressesV2", change)) for rule, change in _ADDRESS),
    ),
    "Product": (
        Spoiler("products", "not_null:title", _any, _set("title", None)),
        Spoiler("products", "naive_time", _any, _set("createdAt", _naive)),
        Spoiler("variants", "price_not_negative", _any, _inside("variants", _set("price", lambda old: f"-{old}"))),
        Spoiler("variants", "wrong_type", _any, _inside("variants", _set("position", "first"))),
        Spoiler("variants", "not_null:title", _any, _inside("variants", _set("title", None))),
    ),
}
ITEM_SPOILERS = (
    # Only what the product family does not show too: a defect belongs to one family.
    Spoiler("inventory_items", "naive_time", _any, _set("createdAt", _naive)),
    Spoiler("inventory_items", "country_known", _any, _set("countryCodeOfOrigin", UNKNOWN_COUNTRY)),
)
LEVEL_SPOILERS = (Spoiler("inventory_levels", "naive_time", _any, _naive_level),)
