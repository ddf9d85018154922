"""Order sums in two currencies: amounts as pairs of shop and presentment money, and the totals made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from commerce_assets.sandbox.documents import CENT, WHOLE, Doc, money
from commerce_assets.sandbox.mutations._shared import decimal_of

ZERO = Decimal(0)
SYMBOLS = {"USD": "$", "CAD": "$", "AUD": "$", "NZD": "$", "GBP": "£", "EUR": "€", "JPY": "¥"}


@dataclass(frozen=True)
class Pair:
    """One amount in the shop's and in the buyer's currency."""

    shop: Decimal = ZERO
    presentment: Decimal = ZERO

    def __add__(self, other: Pair) -> Pair:
        """Sum in each currency."""
        return Pair(self.shop + other.shop, self.presentment + other.presentment)

    def __sub__(self, other: Pair) -> Pair:
        """Difference in each currency."""
        return Pair(self.shop - other.shop, self.presentment - other.presentment)

    def times(self, factor: int | Decimal) -> Pair:
        """The amount so many times."""
        return Pair(self.shop * factor, self.presentment * factor)


@dataclass(frozen=True)
class Currencies:
    """An order's two currencies, and how many presentment units one shop unit makes (where a sum names only one)."""

    shop: str
    presentment: str
    rate: Decimal = Decimal(1)

    def pair(self, given: Any) -> Pair:
        """A MoneyBagInput, or a money bag or bare amount as documents keep it."""
        if given is None:
            return Pair()
        if not isinstance(given, dict):
            shop = decimal_of(given)
            return Pair(shop, self.round(shop * self.rate, self.presentment))
        shop = decimal_of(given["shopMoney"]["amount"])
        other = given.get("presentmentMoney")
        return Pair(shop, decimal_of(other["amount"]) if other else self.round(shop * self.rate, self.presentment))

    def bag(self, pair: Pair) -> Any:
        """A pair as documents keep it: the bare amount where both currencies are one."""
        if self.shop == self.presentment:
            return money(self.round(pair.shop, self.shop))
        return {
            "shopMoney": {"amount": money(self.round(pair.shop, self.shop)), "currencyCode": self.shop},
            "presentmentMoney": {"amount": money(self.round(pair.presentment, self.presentment)), "currencyCode": self.presentment},
        }

    def round(self, amount: Decimal, currency: str) -> Decimal:
        """To the currency's smallest unit."""
        return amount.quantize(Decimal(1) if currency in WHOLE else CENT, ROUND_HALF_UP)

    def allocate(self, total: Pair, weights: list[Decimal]) -> list[Pair]:
        """Split a sum by weights, to the cent; the last with weight takes the rest."""
        whole = sum(weights, ZERO)
        if not whole:
            return [Pair() for _ in weights]
        last = max(index for index, weight in enumerate(weights) if weight)
        shares, left = [], total
        for index, weight in enumerate(weights):
            part = weight / whole
            share = Pair(self.round(total.shop * part, self.shop), self.round(total.presentment * part, self.presentment))
            if index == last:
                share = left
            left = left - share
            shares.append(share)
        return shares


def currencies_of(order: Doc) -> Currencies:
    """The currencies of an order that is kept."""
    shop = order["currencyCode"]
    rate = decimal_of(order["presentmentRate"]) if order.get("presentmentRate") else Decimal(1)
    return Currencies(shop, order.get("presentmentCurrencyCode") or shop, rate)


def total_of(pairs: Iterable[Pair]) -> Pair:
    """The sum of pairs."""
    result = Pair()
    for pair in pairs:
        result = result + pair
    return result


def shown(amount: Decimal, currency: str) -> str:
    """An amount as messages show it ("$25.00")."""
    return f"{SYMBOLS.get(currency, '')}{amount.quantize(CENT, ROUND_HALF_UP):,}"


def settle(order: Doc) -> None:
    """Set what follows from an order's transactions: received, refunded, outstanding, and the financial status."""
    currencies = currencies_of(order)
    done = [entry for entry in order.get("transactions") or () if entry.get("status") == "SUCCESS"]
    received = total_of(currencies.pair(entry["amountSet"]) for entry in done if entry["kind"] in ("SALE", "CAPTURE"))
    refunded = total_of(currencies.pair(entry["amountSet"]) for entry in done if entry["kind"] == "REFUND")
    authorized = total_of(currencies.pair(entry["amountSet"]) for entry in done if entry["kind"] == "AUTHORIZATION")
    captured = total_of(currencies.pair(entry["amountSet"]) for entry in done if entry["kind"] == "CAPTURE")
    total = currencies.pair(order.get("totalPriceSet"))
    capturable = authorized - captured
    outstanding = total - received - (capturable if capturable.shop > 0 else Pair())
    order["totalReceivedSet"] = currencies.bag(received)
    order["totalRefundedSet"] = currencies.bag(refunded)
    order["netPaymentSet"] = currencies.bag(received - refunded)
    order["totalOutstandingSet"] = currencies.bag(outstanding if outstanding.shop > 0 else Pair())
    order["totalCapturableSet"] = currencies.bag(capturable if capturable.shop > 0 else Pair())
    order["capturable"] = capturable.shop > 0
    if refunded.shop > 0:
        order["displayFinancialStatus"] = "REFUNDED" if refunded.shop >= received.shop else "PARTIALLY_REFUNDED"
    elif received.shop > 0:
        order["displayFinancialStatus"] = "PAID" if received.shop >= total.shop else "PARTIALLY_PAID"
    elif authorized.shop > 0:
        order["displayFinancialStatus"] = "AUTHORIZED"
