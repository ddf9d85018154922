"""What the buyers of `sandbox traffic` do: who buys what, and what becomes of it.

Belongs here: the choices, drawn from a seed and an order's place in the row alone, so that the same seed gives the same
buyers whatever the server's speed. Does not belong here: talking to the server (`traffic.py`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

CENT = Decimal("0.01")
VAT = Decimal("0.2")
TOWNS = (("Leeds", "LS1 4AP"), ("Bristol", "BS1 5TR"), ("York", "YO1 7HH"), ("Bath", "BA1 1LZ"), ("Derby", "DE1 2GU"))
FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Esme", "Finn", "Gwen", "Hugo", "Iris", "Jude")
LAST_NAMES = ("Ash", "Birch", "Cole", "Dale", "Elm", "Frost", "Grove", "Hill", "Lake", "Moss")
MOST_LINES, MOST_UNITS = 3, 3
RESTOCKED_UNITS = 24
CODE, OFF, CODE_SHARE = "WELCOME10", Decimal("0.1"), 0.12
POSTAGE, POST_FREE_FROM = Decimal("3.95"), Decimal(40)
SECONDS_BETWEEN_STEPS = (0.5, 6.0)


class TrafficError(Exception):
    """The traffic cannot start; the message says what to do."""


@dataclass(frozen=True)
class Variant:
    """Something to buy."""

    id: str
    item: str
    price: Decimal
    is_shipped: bool


@dataclass(frozen=True)
class Shares:
    """The parts of all orders to which something happens, each between 0 and 1."""

    refund: float = 0.05
    fulfil: float = 0.9
    cancel: float = 0.03
    restock: float = 0.05
    new_customer: float = 0.3

    def __post_init__(self) -> None:
        """`TrafficError` where a share is none, or more is cancelled and shipped than ordered."""
        for name, share in vars(self).items():
            if not 0 <= share <= 1:
                raise TrafficError(f"{name}_share is {share}: give a share between 0 and 1")
        if self.fulfil + self.cancel > 1:
            raise TrafficError(f"fulfil_share {self.fulfil} and cancel_share {self.cancel} are more than all orders: lower one of them")


@dataclass(frozen=True)
class Market:
    """What there is to buy, from whom and for whom, as read from the store."""

    currency: str
    variants: tuple[Variant, ...]
    customers: tuple[tuple[str, str | None], ...]
    """(gid, e-mail address)"""
    locations: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """Units of a variant."""

    variant: Variant
    quantity: int


@dataclass(frozen=True)
class Journey:
    """One order and what becomes of it."""

    index: int
    lines: tuple[Line, ...]
    has_code: bool
    customer: dict[str, Any]
    email: str | None
    town: tuple[str, str]
    is_cancelled: bool
    is_shipped: bool
    ships_in_two: bool
    refunds: tuple[int, int] | None
    """(line, units) that come back."""
    is_restocked: bool
    """Whether what comes back is for sale again."""
    refills: str | None
    """The location at which the shelves of its lines are refilled."""
    waits: tuple[float, ...] = field(default=(0.0, 0.0))
    """Seconds before each of the steps that follow the purchase."""

    @property
    def goods(self) -> Decimal:
        """What the lines cost before a discount, tax included."""
        return sum((line.variant.price * line.quantity for line in self.lines), Decimal(0))

    @property
    def postage(self) -> Decimal:
        """What shipping costs."""
        return POSTAGE if self.goods < POST_FREE_FROM else Decimal(0)

    @property
    def total(self) -> Decimal:
        """What is paid."""
        return self.goods - (_cents(self.goods * OFF) if self.has_code else 0) + self.postage

    def worth(self, line: int, units: int) -> Decimal:
        """What units of a line are paid back with."""
        full = self.lines[line].variant.price * units
        return full - _cents(full * OFF) if self.has_code else full


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def journey(seed: int, index: int, market: Market, shares: Shares) -> Journey:
    """The `index`th order of a seed."""
    draw = random.Random(f"{seed}:{index}")
    count = min(draw.choice((1, 1, 1, 2, 2, 3)), MOST_LINES, len(market.variants))
    lines = tuple(Line(variant, draw.randint(1, MOST_UNITS)) for variant in draw.sample(market.variants, count))
    customer, email = _customer(draw, seed, index, market, shares)
    fate = draw.random()
    is_cancelled = fate < shares.cancel
    is_shipped = not is_cancelled and fate < shares.cancel + shares.fulfil
    refunds = None
    # Only what was shipped comes back.
    if is_shipped and draw.random() < min(1.0, shares.refund / shares.fulfil):
        returned = draw.randrange(len(lines))
        refunds = (returned, draw.randint(1, lines[returned].quantity))
    low, high = SECONDS_BETWEEN_STEPS
    return Journey(
        index=index,
        lines=lines,
        has_code=draw.random() < CODE_SHARE,
        customer=customer,
        email=email,
        town=draw.choice(TOWNS),
        is_cancelled=is_cancelled,
        is_shipped=is_shipped,
        ships_in_two=draw.random() < 0.1 and sum(line.quantity for line in lines) > 1,
        refunds=refunds,
        is_restocked=draw.random() < 0.8,
        refills=draw.choice(market.locations) if draw.random() < shares.restock else None,
        waits=tuple(draw.uniform(low, high) for _ in range(3)),
    )


def _customer(draw: random.Random, seed: int, index: int, market: Market, shares: Shares) -> tuple[dict[str, Any], str | None]:
    """(OrderCreateCustomerInput, e-mail address of the order)"""
    if draw.random() >= shares.new_customer and market.customers:
        known, email = draw.choice(market.customers)
        return {"toAssociate": {"id": known}}, email
    email = f"buyer-{seed}-{index}@example.com"
    first, last = draw.choice(FIRST_NAMES), draw.choice(LAST_NAMES)
    return {"toUpsert": {"email": email, "firstName": first, "lastName": last}}, email


def order_input(buyer: Journey, currency: str) -> dict[str, Any]:
    """The OrderCreateOrderInput of a journey: paid in full by card, prices and postage with VAT, sometimes less a discount."""
    town, postcode = buyer.town
    address = {"address1": f"{buyer.index % 200 + 1} Mill Lane", "city": town, "zip": postcode, "countryCode": "GB"}

    def money(amount: Decimal) -> dict[str, Any]:
        return {"shopMoney": {"amount": str(amount), "currencyCode": currency}}

    def tax(gross: Decimal) -> list[dict[str, Any]]:
        return [{"title": "VAT", "rate": str(VAT), "priceSet": money(_cents(gross * VAT / (1 + VAT)))}]

    def line(entry: Line) -> dict[str, Any]:
        gross = entry.variant.price * entry.quantity
        return {
            "variantId": entry.variant.id,
            "quantity": entry.quantity,
            "priceSet": money(entry.variant.price),
            "requiresShipping": entry.variant.is_shipped,
            "taxLines": tax(gross * (1 - OFF) if buyer.has_code else gross),
        }

    postage = {"title": "Standard", "code": "standard", "priceSet": money(buyer.postage), "taxLines": tax(buyer.postage)}
    discount = {"discountCode": {"itemPercentageDiscountCode": {"code": CODE, "percentage": float(OFF * 100)}}} if buyer.has_code else {}
    return {
        "currency": currency,
        "sourceName": "web",
        "taxesIncluded": True,
        "email": buyer.email,
        "customer": buyer.customer,
        "shippingAddress": address,
        "billingAddress": address,
        "lineItems": [line(entry) for entry in buyer.lines],
        "shippingLines": [postage],
        **discount,
        "transactions": [{"kind": "SALE", "status": "SUCCESS", "gateway": "shopify_payments", "amountSet": money(buyer.total)}],
    }
