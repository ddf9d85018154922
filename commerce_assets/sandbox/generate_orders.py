"""What happens in the generated store: which orders there are, what they hold, and all that befalls them later.

Belongs here: baskets whose value follows the purchase's target, and the life of one order (payment, shipment, return,
cancellation) as a document whose amounts agree to the penny. All amounts are whole pence until they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from commerce_assets.sandbox import documents as d
from commerce_assets.sandbox.generate_catalogue import Catalogue
from commerce_assets.sandbox.generate_people import (
    DAY,
    HISTORY_DAYS,
    MARKETS,
    Customers,
    Floats,
    Ints,
    Market,
    Person,
    Purchases,
    company_entity,
    local_hours,
    season_weight,
)
from commerce_assets.sandbox.moments import stamp

HOUR = 3_600
PROCESS, CANCELLED, TEST, GUEST = range(4)
MAX_LINES = 8
VENDOR_APPEAL = 4.0
"""In the units of log popularity: a product of a liked vendor is wanted like one some fifty times as popular."""
DRAWS = 40

NO_DISCOUNT, CODE, AUTOMATIC, MANUAL, FIXED_CODE, FREE_SHIPPING = range(6)
DISCOUNT_SHARES = (0.72, 0.11, 0.07, 0.02, 0.05, 0.03)
CODES = (("WELCOME10", 0.10), ("SPRING15", 0.15), ("VIP20", 0.20))
FIXED_CODES = (("TAKE5", 500), ("TENOFF", 1_000))
NOTES = ("Please leave with a neighbour.", "Gift: no prices on the slip, please.", "Ring twice.", "Happy birthday from all of us!")
RETURN_NOTES = ("Arrived damaged", "Changed my mind", "Wrong size", "Not as pictured", "Late delivery")


@dataclass(frozen=True)
class Plan:
    """Every order to be made, in order of time, one entry an order."""

    kind: Ints
    customer: Ints
    """Position in Customers; -1 for a guest."""
    market: Ints
    company: Ints
    at: Ints
    value: Floats
    """What the merchandise comes to after discounts, in the shop's currency."""


@dataclass(frozen=True)
class Baskets:
    """The lines of all orders; order i has those from `start[i]` to `start[i + 1]`."""

    start: list[int]
    variant: list[int]
    """Position in the Catalogue."""
    quantity: list[int]
    discount: list[int]
    discount_choice: list[int]


def draw_plan(rng: np.random.Generator, customers: Customers, purchases: Purchases, as_of: int) -> Plan:
    """The purchases of the process, with cancelled ones (ordered again at once), test orders and guests beside them."""
    count = purchases.at.size
    start = as_of - HISTORY_DAYS * DAY
    undone = rng.choice(count, max(1, round(count * 0.02)), replace=False)
    tried = rng.choice(count, max(1, round(count * 0.005)), replace=False)
    guests = max(1, round(count * 0.075))
    days = np.arange(HISTORY_DAYS)
    weights = season_weight(days, start)
    guest_at = start + DAY * rng.choice(days, guests, p=weights / weights.sum())
    guest_market = rng.choice(len(MARKETS), guests, p=np.array([m.share for m in MARKETS]))
    guest_value = np.maximum(rng.gamma(5.0, 11.0, guests), 5.0)

    kind = np.concatenate([np.full(n, k) for n, k in ((count, PROCESS), (undone.size, CANCELLED), (tried.size, TEST), (guests, GUEST))])
    who = np.concatenate([purchases.customer, purchases.customer[undone], purchases.customer[tried], np.full(guests, -1)])
    again = purchases.at[undone] - rng.integers(600, 5 * HOUR, undone.size)
    at = np.concatenate([purchases.at, again, purchases.at[tried], local_hours(rng, guest_at, guest_market, as_of)])
    value = np.concatenate([purchases.value, purchases.value[undone], purchases.value[tried], guest_value])
    market = np.concatenate([np.where(who[:-guests] >= 0, customers.market[who[:-guests]], 0), guest_market])
    company = np.where(who >= 0, customers.company[who], -1)
    order = np.lexsort((who, kind, at))
    return Plan(kind[order], who[order], market[order], company[order], at[order], value[order])


def draw_baskets(rng: np.random.Generator, plan: Plan, catalogue: Catalogue) -> Baskets:
    """Lines whose prices, less the discount drawn, come to each order's value: the last line makes up for the others.

    Who buys has a vendor he likes and mostly stays with, so that what was bought says something of what goes with it and comes next.
    """
    count = plan.at.size
    discount = rng.choice(len(DISCOUNT_SHARES), count, p=np.array(DISCOUNT_SHARES))
    choice = rng.integers(0, 6, count)
    discount[(discount == AUTOMATIC) & (plan.value < 60)] = NO_DISCOUNT
    discount[(discount == FIXED_CODE) & (plan.value < 30)] = CODE
    gross = plan.value * 100
    percent = np.select(
        [discount == CODE, discount == AUTOMATIC, discount == MANUAL], [np.array([c[1] for c in CODES])[choice % 3], 0.10, 0.05], 0.0
    )
    gross = gross / (1 - percent) + np.where(discount == FIXED_CODE, np.array([c[1] for c in FIXED_CODES])[choice % 2], 0)

    lines = 1 + rng.poisson(np.minimum(gross / 3_800, 3.0))
    lines = np.clip(lines, 1, np.clip(gross // 700, 1, MAX_LINES)).astype(int)
    share = rng.gamma(2.5, 1.0, (count, MAX_LINES)) * (np.arange(MAX_LINES) < lines[:, None])
    target = gross[:, None] * share / share.sum(axis=1, keepdims=True)

    months = plan.at.astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12
    winter = (months >= 9) | (months == 0)
    appeal = np.log(catalogue.popularity)
    vendors, vendor_of = np.unique(np.array(catalogue.vendor), return_inverse=True)
    liked = _liked_vendors(rng.spawn(1)[0], plan, vendors.size)
    offsets = np.arange(-12, 13)
    left = gross.copy()
    chosen = np.zeros((count, MAX_LINES), dtype=int)
    quantities = np.zeros((count, MAX_LINES), dtype=int)
    for position in range(MAX_LINES):
        rows = np.flatnonzero(lines > position)
        last = lines[rows] == position + 1
        wanted = np.maximum(np.where(last, left[rows], target[rows, position]), 200.0)
        quantity = rng.choice(np.array([1, 2, 3, 6]), rows.size, p=[0.84, 0.10, 0.04, 0.02])
        quantity = np.where(plan.company[rows] >= 0, quantity * 6, quantity)
        quantity = np.maximum(np.where(wanted / quantity < 400, 1, quantity), np.ceil(wanted / 30_000).astype(int))
        unit = wanted / quantity
        candidates = np.clip(np.searchsorted(catalogue.price_pence, unit)[:, None] + offsets, 0, catalogue.price_pence.size - 1)
        distance = np.abs(catalogue.price_pence[candidates] - unit[:, None]) / unit[:, None]
        score = appeal[candidates] + rng.gumbel(size=candidates.shape) - distance * np.where(last, 400, 40)[:, None]
        score = np.where(catalogue.winter_only[candidates] & ~winter[rows, None], score - 6, score)
        score = np.where(vendor_of[candidates] == liked[rows, None], score + VENDOR_APPEAL, score)
        best = candidates[np.arange(rows.size), np.argmax(score, axis=1)]
        chosen[rows, position], quantities[rows, position] = best, quantity
        left[rows] -= catalogue.price_pence[best] * quantity
    mask = quantities > 0
    starts = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    return Baskets(starts.tolist(), chosen[mask].tolist(), quantities[mask].tolist(), discount.tolist(), choice.tolist())


def _liked_vendors(rng: np.random.Generator, plan: Plan, vendors: int) -> Ints:
    """The vendor that each order leans to: its customer's own four times in five, any other time anyone's."""
    own = rng.integers(0, vendors, int(plan.customer.max(initial=-1)) + 2)[plan.customer]
    is_own = (plan.customer >= 0) & (rng.random(plan.customer.size) < 0.8)
    return np.where(is_own, own, rng.integers(0, vendors, plan.customer.size))


@dataclass
class StockMoves:
    """What orders did to stock, by (inventory item, location): units shipped, put back, and promised; and when last."""

    shipped: dict[tuple[int, int], int] = field(default_factory=dict)
    restocked: dict[tuple[int, int], int] = field(default_factory=dict)
    committed: dict[tuple[int, int], int] = field(default_factory=dict)
    last_at: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, kind: dict[tuple[int, int], int], item: int, location: int, units: int, at: int) -> None:
        """Book `units` of `item` at `location`; item 0 (deleted since) has no stock."""
        if item:
            place = (item, location)
            kind[place] = kind.get(place, 0) + units
            self.last_at[place] = max(at, self.last_at.get(place, 0))


@dataclass
class _Line:
    """A line while its order lives."""

    number: int
    quantity: int
    price: int
    net: int
    """After discounts."""
    tax: int
    item: int
    doc: d.Doc
    returned: int = 0

    def give_back(self, quantity: int) -> tuple[int, int]:
        """Value and tax of the next `quantity` units given back; over all units exactly net and tax."""
        before, after = self.returned, self.returned + quantity
        self.returned = after
        self.doc["currentQuantity"] = self.quantity - after
        return (
            self.net * after // self.quantity - self.net * before // self.quantity,
            self.tax * after // self.quantity - self.tax * before // self.quantity,
        )


def pounds(pence: int) -> Decimal:
    """Pence as an amount."""
    return Decimal(pence).scaleb(-2)


def text(pence: int) -> str:
    """Pence as MoneyV2 prints them."""
    whole, rest = divmod(pence, 100)
    return f"{whole}.{rest:02d}" if rest % 10 else f"{whole}.{rest // 10}"


def split(total: int, weights: list[int]) -> list[int]:
    """`total` over `weights`, whole pence, nothing lost: each part is the difference of rounded running shares."""
    whole, running, parts, given = sum(weights), 0, [], 0
    for weight in weights:
        running += weight
        upto = total * running // whole if whole else 0
        parts.append(upto - given)
        given = upto
    return parts


class OrderMaker:
    """Makes the documents of a plan, one after another, and books what they do to stock."""

    def __init__(
        self,
        rng: np.random.Generator,
        plan: Plan,
        baskets: Baskets,
        catalogue: Catalogue,
        locations: list[int],
        as_of: int,
        new_id: Callable[[str], int],
        customer_of: Callable[[int, int], tuple[int | None, Person]],
    ) -> None:
        """`customer_of(order position, customer position)` gives the customer's id (None for guests) and the person."""
        self.rng, self.plan, self.baskets, self.catalogue = rng, plan, baskets, catalogue
        self.locations, self.as_of, self.new_id, self.customer_of = locations, as_of, new_id, customer_of
        self.moves = StockMoves()
        self.last_touch: dict[int, int] = {}
        """Last moment of each customer's orders, by position."""

    def orders(self) -> Iterator[d.Doc]:
        """The orders' documents in order of time."""
        plan = self.plan
        columns = (plan.kind, plan.customer, plan.market, plan.company, plan.at)
        kinds, customers, markets, companies, moments = (column.tolist() for column in columns)
        for start in range(0, len(kinds), 4_096):
            stop = min(start + 4_096, len(kinds))
            draws = self.rng.random((stop - start, DRAWS)).tolist()
            for index in range(start, stop):
                yield self._order(
                    index, kinds[index], customers[index], MARKETS[markets[index]], companies[index], moments[index], draws[index - start]
                )

    def _order(self, index: int, kind: int, customer: int, market: Market, company: int, at: int, u: list[float]) -> d.Doc:
        number, person = self.customer_of(index, customer)
        name = f"#{1001 + index}"
        counter_sale = company < 0 and market.country == "GB" and u[0] < 0.06 and kind in (PROCESS, GUEST)
        lines, discounts, discount_total = self._lines(index, market, company, u)
        subtotal = sum(line.net for line in lines)
        shipping, shipping_docs, shipping_tax, shipping_off = self._shipping(index, lines, market, subtotal, company, counter_sale, u)
        if shipping_off:
            discounts.append(
                d.discount_code_application(
                    len(discounts), "SHIPFREE", percentage=100.0, targetType="SHIPPING_LINE", allocationMethod="EACH", targetSelection="ALL"
                )
            )
        tax = sum(line.tax for line in lines) + shipping_tax
        tip = round(subtotal * 0.05) if u[2] < 0.012 else 0
        total = subtotal + shipping + tip + (0 if market.taxes_included else tax)

        life = _Life(self, name, at, total, lines, market, shipping, kind == TEST, company >= 0, counter_sale)
        life.pay(u, undone=kind == CANCELLED)
        if kind == CANCELLED:
            life.cancel(u)
        else:
            life.ship(u)
            if kind != TEST:
                life.take_back(u)
        updated = life.close(u)
        if customer >= 0:
            self.last_touch[customer] = max(updated, self.last_touch.get(customer, 0))

        refunded = sum(amount for _, amount in life.refunds)
        imported = u[3] < 0.01 and not counter_sale and kind == PROCESS
        address = d.address_doc(self.new_id("MailingAddress"), **_camel(person.address))
        more: d.Doc = {
            "createdAt": stamp(min(at + round(u[4] * 20 * HOUR), life.first_event) if imported else at),
            "updatedAt": stamp(updated),
            "email": None if counter_sale and u[5] < 0.5 else person.email,
            "taxesIncluded": market.taxes_included,
            "sourceName": "pos" if counter_sale else "import" if imported else "shopify_draft_order" if company >= 0 else "web",
            "displayFinancialStatus": life.financial_status(refunded),
            "displayFulfillmentStatus": life.fulfillment_status(),
            "subtotalPriceSet": text(subtotal),
            "currentTotalPriceSet": text(0 if life.cancelled_at else total - refunded),
            "totalReceivedSet": text(life.received),
        }
        sums = (("totalDiscountsSet", discount_total + shipping_off), ("totalTaxSet", tax), ("totalShippingPriceSet", shipping))
        for key, amount in (*sums, ("totalTipReceivedSet", tip), ("totalRefundedSet", refunded)):
            if amount:
                more[key] = text(amount)
        if tax:
            more["taxLines"] = [d.tax_line(title, rate, text(part)) for (title, rate), part in self._taxes(market, tax)]
        if not counter_sale:
            more["shippingAddress"] = address
        more["billingAddress"] = address
        lists = (("discountApplications", discounts), ("shippingLines", shipping_docs), ("transactions", life.transactions))
        for key, found in (*lists, ("refunds", [doc for doc, _ in life.refunds]), ("fulfillments", life.fulfillments)):
            if found:
                more[key] = found
        tags = _tags(company, counter_sale, kind, u[6])
        if tags:
            more["tags"] = tags
        if u[7] < 0.05:
            more["note"] = NOTES[int(u[7] * 20 * len(NOTES))]
        if kind == TEST:
            more["test"] = True
        if company >= 0:
            more["purchasingEntity"] = company_entity(company)
        if life.cancelled_at:
            more |= {
                "cancelledAt": stamp(life.cancelled_at),
                "cancelReason": ("CUSTOMER", "FRAUD", "INVENTORY", "DECLINED", "OTHER")[int(u[8] ** 2 * 5)],
            }
        if life.closed_at:
            more["closedAt"] = stamp(life.closed_at)
        rate = None
        if market.currency != "GBP" and not counter_sale:
            rate = Decimal(round(market.rate * (1 + 0.04 * np.sin(at / DAY / 60)) * 10_000)).scaleb(-4)
        doc = d.order_doc(
            self.new_id("Order"),
            name,
            stamp(at),
            currency="GBP",
            line_items=[line.doc for line in lines],
            total=pounds(total),
            customer=number,
            presentment_currency=market.currency if rate is not None else None,
            presentment_rate=rate,
            **more,
        )
        doc["number"] = 1001 + index
        return doc

    def _lines(self, index: int, market: Market, company: int, u: list[float]) -> tuple[list[_Line], list[d.Doc], int]:
        """The order's lines, its discount applications on lines, and what they take off."""
        catalogue, baskets = self.catalogue, self.baskets
        span = range(baskets.start[index], baskets.start[index + 1])
        variants = [baskets.variant[i] for i in span]
        quantities = [baskets.quantity[i] for i in span]
        gross = [int(catalogue.price_pence[v]) * q for v, q in zip(variants, quantities, strict=True)]
        application, off = self._discount(index, sum(gross))
        allocated = split(off, gross)
        exempt = company >= 0 and market.country != "GB"
        lines = []
        for variant, quantity, worth, part in zip(variants, quantities, gross, allocated, strict=True):
            price, net = int(catalogue.price_pence[variant]), worth - part
            taxable = bool(catalogue.taxable[variant])
            tax = 0 if exempt or not taxable else self._tax(market, net)
            more: d.Doc = {"vendor": catalogue.vendor[variant]}
            if catalogue.variant_title[variant]:
                more["variantTitle"] = catalogue.variant_title[variant]
            if not taxable:
                more["taxable"] = False
            number = self.new_id("LineItem")
            doc = d.line_item_doc(
                number,
                catalogue.title[variant],
                quantity,
                pounds(price),
                sku=catalogue.sku[variant],
                product=catalogue.product[variant] or None,
                variant=catalogue.variant[variant] or None,
                discounts=[(0, pounds(part))] if part else None,
                tax_lines=[d.tax_line(title, rate, text(share)) for (title, rate), share in self._taxes(market, tax)] if tax else None,
                **more,
            )
            lines.append(_Line(number, quantity, price, net, tax, catalogue.item[variant], doc))
        if u[1] < 0.012 and company < 0:
            value, product, card = catalogue.gift_cards[int(u[1] / 0.012 * len(catalogue.gift_cards))]
            number = self.new_id("LineItem")
            about: d.Doc = {"variantTitle": f"£{value // 100}", "isGiftCard": True, "requiresShipping": False, "taxable": False}
            sku = f"GIFT-{value // 100}"
            doc = d.line_item_doc(number, "Gift Card", 1, pounds(value), sku=sku, product=product, variant=card, **about)
            lines.append(_Line(number, 1, value, value, 0, 0, doc))
        return lines, [application] if application else [], off

    def _discount(self, index: int, gross: int) -> tuple[d.Doc | None, int]:
        kind, choice = self.baskets.discount[index], self.baskets.discount_choice[index]
        if kind == CODE:
            code, share = CODES[choice % len(CODES)]
            return d.discount_code_application(0, code, percentage=round(share * 100, 1)), round(gross * share)
        if kind == AUTOMATIC:
            return d.automatic_discount_application(0, "10 % off larger orders", percentage=10.0), round(gross * 0.10)
        if kind == MANUAL:
            return d.manual_discount_application(0, "Goodwill", percentage=5.0, targetSelection="EXPLICIT"), round(gross * 0.05)
        if kind == FIXED_CODE:
            code, amount = FIXED_CODES[choice % len(FIXED_CODES)]
            return d.discount_code_application(0, code, amount=text(amount)), min(amount, gross)
        return None, 0

    def _tax(self, market: Market, net: int) -> int:
        rate = sum(rate for _, rate in market.taxes)
        return round(net * rate / (1 + rate)) if market.taxes_included else round(net * rate)

    def _taxes(self, market: Market, tax: int) -> list[tuple[tuple[str, float], int]]:
        """Each tax of the market with its part of `tax`."""
        return list(zip(market.taxes, split(tax, [round(rate * 10_000) for _, rate in market.taxes]), strict=True))

    def _shipping(
        self, index: int, lines: list[_Line], market: Market, subtotal: int, company: int, counter_sale: bool, u: list[float]
    ) -> tuple[int, list[d.Doc], int, int]:
        """What shipping costs after discounts, its lines, its tax, and what a discount took off it."""
        if counter_sale or all(not line.item and line.doc.get("isGiftCard") for line in lines):
            return 0, [], 0, 0
        price, free_from, title = ((395, 5_000, "Standard"), (895, 12_000, "Europe tracked"), (1_495, 25_000, "International"))[
            market.home_location
        ]
        if u[9] < 0.1:
            price, free_from, title = price + 600, 10**9, f"{title} express"
        if company >= 0:
            price, free_from, title = 2_500, 50_000, "Pallet"
        gross = 0 if subtotal >= free_from else price
        off = gross if self.baskets.discount[index] == FREE_SHIPPING else 0
        exempt = not market.taxed_shipping or (company >= 0 and market.country != "GB")
        tax = 0 if exempt else self._tax(market, gross - off)
        more: d.Doc = {"source": "shopify"}
        if tax:
            more["taxLines"] = [d.tax_line(title_, rate, text(part)) for (title_, rate), part in self._taxes(market, tax)]
        return (
            gross - off,
            [d.shipping_line_doc(self.new_id("ShippingLine"), title, pounds(gross), net=pounds(gross - off), **more)],
            tax,
            off,
        )


def _camel(address: d.Doc) -> d.Doc:
    """A person's address as `address_doc` takes it."""
    return {"country_code": address["countryCodeV2"], **{key: value for key, value in address.items() if key != "countryCodeV2"}}


def _tags(company: int, counter_sale: bool, kind: int, draw: float) -> list[str]:
    tags = ["wholesale"] if company >= 0 else []
    if counter_sale:
        tags.append("shop")
    if kind == GUEST:
        tags.append("guest")
    if draw < 0.06:
        tags.append("gift-wrap" if draw < 0.04 else "Priority")
    return tags


class _Life:
    """What befalls one order after it is placed; nothing happens after `as_of`."""

    def __init__(
        self,
        maker: OrderMaker,
        name: str,
        at: int,
        total: int,
        lines: list[_Line],
        market: Market,
        shipping: int,
        test: bool,
        on_account: bool,
        counter_sale: bool,
    ) -> None:
        self.maker, self.name, self.at, self.total, self.lines = maker, name, at, total, lines
        self.market, self.shipping, self.test, self.on_account, self.counter_sale = market, shipping, test, on_account, counter_sale
        self.transactions: list[d.Doc] = []
        self.payments: list[list[int]] = []
        """[transaction, what is left of it to pay back]"""
        self.gateways: dict[int, str] = {}
        self.fulfillments: list[d.Doc] = []
        self.refunds: list[tuple[d.Doc, int]] = []
        self.events = [at]
        self.first_event = maker.as_of
        """The first thing after the order was placed."""
        self.received = 0
        self.paid_at = at
        self.authorised = 0
        self._card = 0
        self.cancelled_at = 0
        self.closed_at = 0
        self.delivered_at = 0
        self.shipped_units = 0
        self.home = maker.locations[0 if counter_sale else market.home_location]

    def _event(self, at: int) -> None:
        self.events.append(at)
        if at > self.at:
            self.first_event = min(self.first_event, at)

    def _transaction(self, kind: str, amount: int, at: int, parent: int | None = None, **more: Any) -> int:
        number = self.maker.new_id("OrderTransaction")
        if self.test:
            more["test"] = True
        self.transactions.append(d.transaction_doc(number, kind, pounds(amount), stamp(at), parent=parent, **more))
        self.gateways[number] = more.get("gateway", "shopify_payments")
        self._event(at)
        return number

    def _receive(self, number: int, amount: int) -> None:
        self.payments.append([number, amount])
        self.received += amount
        self.paid_at = max(self.events)

    def pay(self, u: list[float], *, undone: bool) -> None:
        """At once by card (or part by gift card), by authorisation, or a company on account a month later (never, if `undone`)."""
        at, total, as_of = self.at, self.total, self.maker.as_of
        if self.on_account:
            due = at + int((20 + 15 * u[10]) * DAY)
            if due <= as_of and not undone:
                self._receive(self._transaction("SALE", total, due, gateway="bank_transfer"), total)
            return
        if u[10] < 0.03:
            self._transaction("SALE", total, at, status="FAILURE", errorCode="CARD_DECLINED")
        card = total
        if u[11] < 0.02 and not self.test:
            gift = min(total - 1, 1_000 + 1_500 * (u[12] < 0.5))
            self._receive(self._transaction("SALE", gift, at, gateway="gift_card"), gift)
            card = total - gift
        if u[13] < 0.15 and not self.counter_sale:
            self.authorised = self._transaction("AUTHORIZATION", card, at)
            self._card = card
            return
        gateway = "shopify_payments" if u[13] < 0.8 else "paypal"
        self._receive(self._transaction("SALE", card, at, gateway=gateway), card)

    def cancel(self, u: list[float]) -> None:
        """Cancelled before it ships: what was paid goes back, what was authorised is voided."""
        at = min(self.at + 300 + int(u[14] * 20 * HOUR), self.maker.as_of)
        self.cancelled_at = self.closed_at = at
        if self.authorised:
            self._transaction("VOID", self._card, at, parent=self.authorised)
        self._refund(at, [(line, line.quantity) for line in self.lines], self.received, "CANCEL", self.home, "Cancelled by the customer")

    def ship(self, u: list[float]) -> None:
        """One shipment with the whole order, or two from two places; what has not left yet is promised."""
        at = self.at if self.counter_sale else self.at + int((0.3 + 2.2 * u[15] + (4 if u[16] < 0.05 else 0)) * DAY)
        units = sum(line.quantity for line in self.lines)
        whole = [(line, line.quantity) for line in self.lines]
        if u[17] < 0.003 and not self.counter_sale:
            self._fulfil(at - 2 * HOUR, whole, self.home, u, cancelled=True)
        if u[17] > 0.95 and units > 1 and not self.counter_sale:
            cut = max(1, len(whole) // 2)
            if len(whole) == 1:
                line = self.lines[0]
                first, second = [(line, line.quantity // 2)], [(line, line.quantity - line.quantity // 2)]
            else:
                first, second = whole[:cut], whole[cut:]
            self._fulfil(at, first, self.home, u)
            other = self.maker.locations[(self.market.home_location + 1) % len(self.maker.locations)]
            self._fulfil(at + int((1 + 3 * u[18]) * DAY), second, other, u)
        else:
            self._fulfil(at, whole, self.home, u)
        if self.authorised and self.shipped_units:
            captured = min(at + 120, self.maker.as_of)
            self._receive(self._transaction("CAPTURE", self._card, captured, parent=self.authorised), self._card)

    def _fulfil(self, at: int, lines: list[tuple[_Line, int]], location: int, u: list[float], *, cancelled: bool = False) -> None:
        maker, as_of = self.maker, self.maker.as_of
        if at > as_of:
            if not (cancelled or self.test):
                for line, quantity in lines:
                    maker.moves.add(maker.moves.committed, line.item, location, quantity, self.at)
            return
        more: d.Doc = {}
        updated = at
        if not cancelled:
            self.shipped_units += sum(quantity for _, quantity in lines)
            transit, delivered = at + int((0.2 + 0.6 * u[19]) * DAY), at + int((1.5 + 4.5 * u[20]) * DAY)
            if self.counter_sale:
                transit, delivered = as_of + 1, at
            if transit <= as_of:
                more, updated = {"inTransitAt": stamp(transit), "displayStatus": "IN_TRANSIT"}, transit
            if delivered <= as_of:
                more |= {"deliveredAt": stamp(delivered), "displayStatus": "DELIVERED"}
                updated = delivered
                self.delivered_at = max(self.delivered_at, delivered)
            if not self.test:
                for line, quantity in lines:
                    maker.moves.add(maker.moves.shipped, line.item, location, quantity, at)
        held = [(maker.new_id("FulfillmentLineItem"), line.number, quantity) for line, quantity in lines]
        name = f"{self.name}.{len(self.fulfillments) + 1}"
        status = "CANCELLED" if cancelled else "SUCCESS"
        number = maker.new_id("Fulfillment")
        doc = d.fulfillment_doc(
            number, name, stamp(at), location=location, lines=held, status=status, **more | {"updatedAt": stamp(updated)}
        )
        self.fulfillments.append(doc)
        self._event(at)
        self.events.append(updated)

    def take_back(self, u: list[float]) -> None:
        """Returns with or without restock, whole or in part, money back for nothing, once in a while twice."""
        if not self.delivered_at or not self.received or self.shipped_units < sum(line.quantity for line in self.lines):
            return
        at = max(self.delivered_at + int((2 + 20 * u[21]) * DAY), self.paid_at + HOUR)
        if at > self.maker.as_of or u[22] > 0.11:
            return
        note = RETURN_NOTES[int(u[23] * len(RETURN_NOTES))]
        restock = "RETURN" if u[24] < 0.8 else "NO_RESTOCK"
        if u[22] < 0.025:
            self._refund(at, [(line, line.quantity) for line in self.lines], None, restock, self.home, note, shipping=True)
        elif u[22] < 0.04:
            self._refund(at, [], max(1, self.total // 10), "NO_RESTOCK", self.home, "Apology for the delay")
        else:
            line = self.lines[int(u[25] * len(self.lines))]
            first = max(1, int(u[26] * line.quantity))
            self._refund(at, [(line, first)], None, restock, self.home, note)
            again = at + int((1 + 6 * u[27]) * DAY)
            if u[28] < 0.12 and line.returned < line.quantity and again <= self.maker.as_of:
                self._refund(again, [(line, 1)], None, restock, self.home, note)

    def _refund(
        self, at: int, lines: list[tuple[_Line, int]], amount: int | None, restock: str, location: int, note: str, *, shipping: bool = False
    ) -> None:
        """Pays `amount` back (None: what the lines, their tax and perhaps shipping come to), from each payment in turn."""
        maker, docs, worth = self.maker, [], 0
        for line, quantity in lines:
            net, tax = line.give_back(quantity)
            worth += net + (0 if self.market.taxes_included else tax)
            kind = "NO_RESTOCK" if not line.item and restock == "RETURN" else restock
            restocks = kind in ("RETURN", "CANCEL")
            docs.append(
                d.refund_line_doc(
                    maker.new_id("RefundLineItem"),
                    line.number,
                    quantity,
                    pounds(net // quantity),
                    tax=pounds(tax),
                    subtotal=pounds(net),
                    restock_type=kind,
                    location=location if restocks else None,
                )
            )
            if kind == "RETURN" and not self.test:
                maker.moves.add(maker.moves.restocked, line.item, location, quantity, at)
        if amount is None:
            amount = self.received - sum(paid for _, paid in self.refunds) if shipping else worth
        left, transactions = amount, []
        for payment in self.payments:
            part = min(left, payment[1])
            if part:
                gateway = self.gateways[payment[0]]
                transactions.append(self._transaction("REFUND", part, at, parent=payment[0], gateway=gateway))
                payment[1] -= part
                left -= part
        more: d.Doc = {"updatedAt": stamp(at), "note": note}
        number = maker.new_id("Refund")
        self.refunds.append((d.refund_doc(number, stamp(at), pounds(amount), lines=docs, transactions=transactions, **more), amount))
        self._event(at)

    def close(self, u: list[float]) -> int:
        """Archives what is done; returns when the order last changed."""
        as_of = self.maker.as_of
        units = sum(line.quantity for line in self.lines)
        if not self.closed_at and self.received >= self.total and self.shipped_units == units and self.delivered_at:
            closing = max(self.events) + int(u[29] * DAY)
            if closing <= as_of:
                self.closed_at = closing
                self.events.append(closing)
        return min(max(self.events) + int(u[30] * 90), as_of)

    def financial_status(self, refunded: int) -> str:
        """OrderDisplayFinancialStatus."""
        if not self.received:
            if self.authorised:
                return "VOIDED" if self.cancelled_at else "AUTHORIZED"
            return "VOIDED" if self.cancelled_at else "PENDING"
        if refunded >= self.received:
            return "REFUNDED"
        if refunded:
            return "PARTIALLY_REFUNDED"
        return "PAID" if self.received >= self.total else "PARTIALLY_PAID"

    def fulfillment_status(self) -> str:
        """OrderDisplayFulfillmentStatus."""
        units = sum(line.quantity for line in self.lines)
        if self.shipped_units == units:
            return "FULFILLED"
        return "PARTIALLY_FULFILLED" if self.shipped_units else "UNFULFILLED"
