"""Fills an empty sandbox store from a file of real transaction lines; nothing of the file is lost, nothing is made up.

What a line is, says `transactions.py`. Where it goes (`docs/decisions/010-online-retail-classes.md` says how to find it again):

* Every invoice with sold lines is an order named like the invoice, `sourceName` `sale` (or `adjustment`, `zero_price` where it
  holds nothing else). Postage is a shipping line, unless the order holds nothing but postage.
* A refund belongs to its order: one Refund per credit note and order, `note` the credit note's number.
* A credit is an order of its own (`sourceName` and tag `credit`), named like the credit note: the purchase that the file does
  not show, received (`gateway` `account`) and refunded whole. It is no sale: the warehouse keeps orders so tagged apart.
* A rejected line is an order with its negative total (`sourceName` `rejected`), which the contracts put in quarantine.
* Write-offs only move stock.

A line's number in the file, from 1, is the id of the line item, shipping line or refund line made of it. The file knows no
shipments: orders are FULFILLED without fulfillments. It knows no tax: there is none, and nothing is taxable.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from commerce_assets.sandbox import documents as d
from commerce_assets.sandbox.countries import country_code
from commerce_assets.sandbox.fill import Ids
from commerce_assets.sandbox.moments import stamp
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.transactions import (
    CREDITED,
    NOT_GOODS,
    ORDERED,
    POSTAGE,
    UNIT,
    LoadError,
    Match,
    class_totals,
    classify,
    read_lines,
)

__all__ = ["LoadError", "load"]

WEEK_SECONDS = 7 * 86_400
COVER = 20
"""Units of each item that were on the shelf beyond what the file needs to never run out."""
SPLIT_SKU = re.compile(r"^(\d{5})([A-Z]{1,2})$")


def load(
    store_dir: Path | str,
    file: Path | str,
    columns: Mapping[str, str] | None = None,
    *,
    timezone: str = "Europe/London",
    currency: str = "GBP",
    recent: bool = False,
) -> dict[str, Any]:
    """Fill the empty store in `store_dir` from `file`; returns the classes (rows, amount, invoices) and what the store holds.

    With `recent` everything happened so many whole weeks later that the last line falls into the week before now (`shifted_days` of the
    answer): weekdays stay what they were. `columns` maps our names (invoice, sku, description, quantity, time, unit_price, customer, country) to the file's.
    """
    began = time.perf_counter()
    lines, matches = classify(read_lines(file, columns, timezone))
    last = int(lines["at"].max() or 0)  # type: ignore[arg-type]
    weeks = max(0, (int(time.time()) - last) // WEEK_SECONDS) if recent else 0
    lines = lines.with_columns(pl.col("at") + weeks * WEEK_SECONDS)
    totals = class_totals(lines)
    if sum(total["rows"] for total in totals.values()) != lines.height:
        raise LoadError("some lines have no class")
    store = Store(Path(store_dir))
    try:
        if store.count("Order", limit=1) or store.count("Customer", limit=1) or store.count("Product", limit=1):
            raise LoadError(f"the store in {Path(store_dir).name!r} is not empty: give another folder, or remove it first")
        with store.transaction():
            summary = _load(store, lines, matches, totals, Path(file).name, timezone, currency)
    finally:
        store.close()
    return {**summary, "shifted_days": weeks * 7, "seconds": round(time.perf_counter() - began, 2)}


def _load(
    store: Store, lines: pl.DataFrame, matches: list[Match], totals: dict[str, dict[str, int]], file: str, timezone: str, currency: str
) -> dict[str, Any]:
    ids = Ids()
    first, last = int(lines["at"].min() or 0), int(lines["at"].max() or 0)  # type: ignore[arg-type]
    opened = stamp(first - 86_400)
    location = ids.new("Location")
    goods = _goods(lines, ids)
    customers = _customer_numbers(lines)
    maker = _OrderMaker(lines, matches, goods, customers, location, ids, currency)

    store.set_shop(d.shop_doc("Transactions of " + file, "transactions.myshopify.com", currency, timezone, opened))
    store.insert_many("Location", [d.location_doc(location, "Warehouse", opened, address={"countryCode": "GB"})])
    store.insert_many("Product", _products(goods))
    orders = store.insert_many("Order", maker.orders())
    people = store.insert_many("Customer", _customers(lines, customers, maker.last_touch, ids))
    levels, history = _stock(lines, goods, location, opened)
    store.insert_levels(levels)
    ids.claim(store)

    if maker.booked != sum(total["amount"] for total in totals.values()):
        raise LoadError(f"the orders made come to {_text(maker.booked)}, the file's lines to something else: nothing was kept")
    classes = {
        name: {**total, "amount": str(Decimal(total["amount"]).scaleb(-4).normalize() + Decimal("0.00"))} for name, total in totals.items()
    }
    store.insert_truth("class", classes.items())
    odd = lines.filter(~pl.col("class").is_in(("sale", "postage"))).select("line", "class")
    store.insert_truth("line_class", odd.iter_rows())
    store.insert_truth("stock", history.items())
    amount = Decimal(sum(total["amount"] for total in totals.values())).scaleb(-4)
    about = {"by": "load", "file": file, "rows": lines.height, "amount": str(amount), "from": stamp(first), "to": stamp(last)}
    store.set_setting("filled", about)
    return {
        "rows": lines.height,
        "amount": str(amount.normalize()),
        "classes": classes,
        "orders": orders,
        "orders_by_class": dict(maker.orders_by_class),
        "refunds": maker.refund_count,
        "customers": people,
        "products": len({good.product for good in goods.values()}),
        "variants": len(goods),
        "from": stamp(first),
        "to": stamp(last),
    }


@lru_cache(maxsize=200_000)
def _text(amount: int) -> str:
    """Ten-thousandths as MoneyV2 prints them."""
    whole, rest = divmod(abs(amount), UNIT)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{rest:04d}".rstrip("0") if rest else f"{sign}{whole}.0"


# -- catalogue and stock


@dataclass(frozen=True)
class _Good:
    """A stocked thing: one stock code, whatever its case."""

    key: str
    product: int
    variant: int
    item: int
    title: str
    price: int
    first_at: int
    last_at: int


def _goods(lines: pl.DataFrame, ids: Ids) -> dict[str, _Good]:
    """Every stock code that stands for goods; codes of five digits with a letter behind are variants of one product."""
    stocked = lines.filter(~pl.col("key").is_in(NOT_GOODS)).sort("at", "line")
    sold = pl.col("price") > 0
    titled = stocked.filter(pl.col("description").is_not_null()).with_columns(sold.alias("sold"))
    titles = (
        titled.group_by("key", "description")
        .agg(pl.len(), pl.col("sold").any())
        .sort("key", "sold", "len", "description", descending=[False, True, True, False])
    ).unique("key", keep="first", maintain_order=True)
    facts = stocked.group_by("key").agg(
        pl.col("price").filter(sold).last().fill_null(0), pl.col("at").min().alias("first_at"), pl.col("at").max().alias("last_at")
    )
    goods: dict[str, _Good] = {}
    products: dict[str, int] = {}
    for key, price, first_at, last_at, title in (
        facts.join(titles.select("key", "description"), on="key", how="left").sort("key").iter_rows()
    ):
        family = SPLIT_SKU.sub(r"\1", key)
        if family not in products:
            products[family] = ids.new("Product")
        goods[key] = _Good(
            key, products[family], ids.new("ProductVariant"), ids.new("InventoryItem"), title or key, price, first_at, last_at
        )
    return goods


def _products(goods: Mapping[str, _Good]) -> Iterator[d.Doc]:
    families: dict[int, list[_Good]] = {}
    for good in goods.values():
        families.setdefault(good.product, []).append(good)
    for product, members in families.items():
        created, updated = stamp(min(good.first_at for good in members)), stamp(max(good.last_at for good in members))
        variants = [
            d.variant_doc(
                good.variant,
                good.item,
                good.title if len(members) > 1 else "Default Title",
                Decimal(good.price).scaleb(-4),
                stamp(good.first_at),
                sku=good.key,
                position=position,
                options={"Code": good.key} if len(members) > 1 else None,
                taxable=False,
                updatedAt=stamp(good.last_at),
            )
            for position, good in enumerate(members, start=1)
        ]
        handle = SPLIT_SKU.sub(r"\1", members[0].key).lower().replace("_", "-")
        yield d.product_doc(product, members[0].title, handle, created, variants=variants, vendor="Unknown", updatedAt=updated)


def _stock(
    lines: pl.DataFrame, goods: Mapping[str, _Good], location: int, opened: str
) -> tuple[list[d.InventoryLevel], dict[str, dict[str, int]]]:
    """Levels after all lines, from a first stock that never ran out; `history` says how each came about."""
    # A write-off is written with a negative quantity and leaves the stock all the same.
    moved = pl.when(pl.col("class") == "write_off").then(pl.col("quantity")).otherwise(-pl.col("quantity"))
    moves = (
        lines.filter(~pl.col("key").is_in(NOT_GOODS) & (pl.col("class") != "rejected"))
        .sort("at", "line")
        .with_columns(moved=moved)
        .with_columns(running=pl.col("moved").cum_sum().over("key"))
        .group_by("key")
        .agg(
            pl.col("running").min().alias("lowest"),
            pl.col("moved").filter(pl.col("class").is_in(ORDERED)).sum().neg().alias("sold"),
            pl.col("moved").filter(pl.col("class").is_in(("refund", *CREDITED))).sum().alias("restocked"),
            pl.col("moved").filter(pl.col("class") == "write_off").sum().neg().alias("written_off"),
            pl.col("at").max().alias("last_at"),
        )
        .sort("key")
    )
    levels, history = [], {}
    for key, lowest, sold, restocked, written_off, last_at in moves.iter_rows():
        initial = max(0, -lowest) + COVER
        on_hand = initial - sold + restocked - written_off
        level = d.inventory_level(
            goods[key].item, location, opened, available=on_hand, on_hand=on_hand, committed=0, incoming=0, reserved=0
        )
        level["updatedAt"] = stamp(last_at)
        levels.append(level)
        how = {"initial": initial, "sold": sold, "restocked": restocked, "written_off": written_off}
        history[f"{goods[key].item}/{location}"] = how
    return levels, history


# -- customers


def _customer_numbers(lines: pl.DataFrame) -> dict[str, int]:
    """The store's number of each customer of the file: the file's own where that is one."""
    names = lines["customer"].drop_nulls().unique().sort().to_list()
    if all(name.isdecimal() and 0 < int(name) < 10**12 for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, start=1)}


def _customers(lines: pl.DataFrame, numbers: Mapping[str, int], last_touch: Mapping[int, int], ids: Ids) -> Iterator[d.Doc]:
    facts = (
        lines.filter(pl.col("customer").is_not_null())
        .sort("at", "line")
        .group_by("customer", maintain_order=True)
        .agg(pl.col("at").first(), pl.col("country").last())
    )
    for customer, first_at, country in facts.iter_rows():
        number = numbers[customer]
        address = {"id": d.gid("MailingAddress", ids.new("MailingAddress")), **_country(country)}
        more: d.Doc = {"updatedAt": stamp(max(first_at, last_touch.get(number, 0))), "addressesV2": [address]}
        if str(number) != customer:
            more["note"] = f"Customer {customer} of the file"
        yield d.customer_doc(number, stamp(first_at), **more)


@lru_cache(maxsize=500)
def _country(text: str | None) -> dict[str, str]:
    """An address with the file's country, and its code where there is one."""
    code = country_code(text or "")
    return {**({"countryCodeV2": code} if code else {}), **({"country": text} if text else {})}


# -- orders


@dataclass
class _Order:
    """Lines of one document, as rows of the file."""

    source: str
    name: str
    rows: list[int] = field(default_factory=list)


class _OrderMaker:
    """Makes orders one after another, in order of time, so that memory holds one batch of documents only."""

    def __init__(
        self,
        lines: pl.DataFrame,
        matches: Iterable[Match],
        goods: Mapping[str, _Good],
        customers: Mapping[str, int],
        location: int,
        ids: Ids,
        currency: str,
    ) -> None:
        self.goods, self.customers, self.ids, self.currency = goods, customers, ids, currency
        self.location = {"id": d.gid("Location", location)}
        columns = ("invoice", "sku", "key", "description", "quantity", "at", "price", "amount", "customer", "country", "class")
        (
            self.invoice,
            self.sku,
            self.key,
            self.description,
            self.quantity,
            self.at,
            self.price,
            self.amount,
            self.customer,
            self.country,
            self.line_class,
        ) = (lines[column].to_list() for column in columns)
        self.given_back: dict[int, list[int]] = {}
        for match in matches:
            self.given_back.setdefault(match.target - 1, []).append(match.line - 1)
        self.line_docs = {
            key: {
                "product": {"id": d.gid("Product", good.product)},
                "variant": {"id": d.gid("ProductVariant", good.variant)},
                "requiresShipping": True,
            }
            for key, good in goods.items()
        }
        self.last_touch: dict[int, int] = {}
        self.orders_by_class: dict[str, int] = {}
        self.refund_count = 0
        self.booked = 0
        """What the documents made so far come to: totals less refunds, rejected ones included; of credits only the refund counts."""

    def orders(self) -> Iterator[d.Doc]:
        """All documents in order of time."""
        groups: dict[tuple[str, str], _Order] = {}
        for row, (invoice, line_class) in enumerate(zip(self.invoice, self.line_class, strict=True)):
            if line_class in ("write_off", "refund"):
                continue
            kind = "credit" if line_class in CREDITED else "rejected" if line_class == "rejected" else "order"
            if (invoice, kind) not in groups:
                # A credit or rejected line on an invoice that is also an order needs a name of its own.
                name = f"{invoice}-{kind}" if kind != "order" and (invoice, "order") in groups else invoice
                groups[invoice, kind] = _Order(kind, name)
            groups[invoice, kind].rows.append(row)
        for group in sorted(groups.values(), key=lambda group: (self.at[group.rows[0]], group.rows[0])):
            if group.source == "order":
                classes = {self.line_class[row] for row in group.rows}
                group.source = classes.pop() if classes in ({"zero_price"}, {"adjustment"}) else "sale"
            self.orders_by_class[group.source] = self.orders_by_class.get(group.source, 0) + 1
            yield self._credit(group) if group.source == "credit" else self._order(group)

    def _order(self, group: _Order) -> d.Doc:
        """An order as invoiced, and the refunds of its lines."""
        at = min(self.at[row] for row in group.rows)
        postage = [row for row in group.rows if self.key[row] in POSTAGE]
        if len(postage) == len(group.rows):
            postage = []
        apart = set(postage)
        items = [row for row in group.rows if row not in apart]
        shipping = sum(self.amount[row] for row in postage)
        subtotal = sum(self.amount[row] for row in items)
        total = subtotal + shipping
        doc = self._document(group, at, total, subtotal)
        doc["lineItems"] = [self._line(row, self.price[row], self.quantity[row]) for row in items]
        doc["subtotalLineItemsQuantity"] = sum(self.quantity[row] for row in items)
        if postage:
            doc["totalShippingPriceSet"] = _text(shipping)
            doc["shippingLines"] = [
                {
                    "id": d.gid("ShippingLine", row + 1),
                    "title": self.description[row] or self.sku[row],
                    "code": self.sku[row],
                    "originalPriceSet": _text(self.amount[row]),
                    "discountedPriceSet": _text(self.amount[row]),
                }
                for row in postage
            ]
        self.booked += total
        if total > 0:
            sale = self._pay(doc, total, at, "manual")
            returned = [back for row in group.rows for back in self.given_back.get(row, ())]
            if returned:
                self._refund_lines(doc, group.rows, sale)
        self._touch(group)
        return doc

    def _credit(self, group: _Order) -> d.Doc:
        """Money given back for which there is no order: the purchase that the file does not show, received and refunded whole."""
        at = min(self.at[row] for row in group.rows)
        amount = -sum(self.amount[row] for row in group.rows)
        doc = self._document(group, at, amount, amount)
        doc["lineItems"] = [self._line(row, self.price[row], -self.quantity[row], current=0) for row in group.rows]
        doc["subtotalLineItemsQuantity"] = -sum(self.quantity[row] for row in group.rows)
        sale = self._pay(doc, amount, at, "account")
        lines = [self._refund_line(row, row) for row in group.rows]
        self._refund(doc, self.invoice[group.rows[0]], max(self.at[row] for row in group.rows), lines, amount, sale)
        doc["currentTotalPriceSet"] = "0.0"
        self._touch(group)
        return doc

    def _document(self, group: _Order, at: int, total: int, subtotal: int) -> d.Doc:
        """The order's own fields."""
        row = group.rows[0]
        moment = stamp(at)
        address = {"id": d.gid("MailingAddress", self.ids.new("MailingAddress")), **_country(self.country[row])}
        doc: d.Doc = {
            "id": d.gid("Order", self.ids.new("Order")),
            "name": group.name,
            "createdAt": moment,
            "processedAt": moment,
            "updatedAt": moment,
            "closedAt": moment,
            "confirmed": True,
            "currencyCode": self.currency,
            "presentmentCurrencyCode": self.currency,
            "displayFinancialStatus": "PAID" if group.source != "rejected" else "PENDING",
            "displayFulfillmentStatus": "FULFILLED",
            "sourceName": group.source,
            "tags": [group.source.replace("_", "-")],
            "subtotalPriceSet": _text(subtotal),
            "totalPriceSet": _text(total),
            "currentTotalPriceSet": _text(total),
            "shippingAddress": address,
        }
        if self.customer[row] is not None:
            doc["customer"] = {"id": d.gid("Customer", self.customers[self.customer[row]])}
        return doc

    def _line(self, row: int, price: int, quantity: int, *, current: int | None = None) -> d.Doc:
        good = self.goods.get(self.key[row])
        doc: d.Doc = {
            "id": f"gid://shopify/LineItem/{row + 1}",
            "title": self.description[row] or (good.title if good else self.sku[row]),
            "sku": self.sku[row],
            "quantity": quantity,
            "currentQuantity": quantity if current is None else current,
            "originalUnitPriceSet": _text(price),
            "originalTotalSet": _text(price * quantity),
        }
        if good:
            doc.update(self.line_docs[self.key[row]])
        return doc

    def _pay(self, doc: d.Doc, amount: int, at: int, gateway: str) -> int:
        number = self.ids.new("OrderTransaction")
        doc["transactions"] = [d.transaction_doc(number, "SALE", Decimal(amount).scaleb(-4), stamp(at), gateway=gateway)]
        doc["totalReceivedSet"] = _text(amount)
        return number

    def _refund_lines(self, doc: d.Doc, rows: list[int], sale: int) -> None:
        """One refund per credit note, with the lines it gives back; postage given back has no line."""
        notes: dict[str, list[tuple[int, int]]] = {}
        for row in rows:
            for back in self.given_back.get(row, ()):
                notes.setdefault(self.invoice[back], []).append((row, back))
        items = {line["id"]: line for line in doc["lineItems"]}
        for note, pairs in sorted(notes.items(), key=lambda item: (self.at[item[1][0][1]], item[0])):
            lines = []
            for row, back in sorted(pairs, key=lambda pair: pair[1]):
                line = items.get(d.gid("LineItem", row + 1))
                if line is not None:
                    line["currentQuantity"] += self.quantity[back]
                    lines.append(self._refund_line(back, row))
            amount = -sum(self.amount[back] for _, back in pairs)
            self._refund(doc, note, max(self.at[back] for _, back in pairs), lines, amount, sale)
        left = sum(Decimal(refund["totalRefundedSet"]) for refund in doc["refunds"])
        doc["currentTotalPriceSet"] = d.money(Decimal(doc["totalPriceSet"]) - left)

    def _refund_line(self, back: int, row: int) -> d.Doc:
        """The line given back in file row `back`, of the line item made of file row `row`."""
        restocked = self.key[back] in self.goods
        return {
            "id": d.gid("RefundLineItem", back + 1),
            "lineItem": {"id": d.gid("LineItem", row + 1)},
            "quantity": -self.quantity[back],
            "restockType": "RETURN" if restocked else "NO_RESTOCK",
            "restocked": restocked,
            "location": self.location if restocked else None,
            "priceSet": _text(self.price[back]),
            "subtotalSet": _text(-self.amount[back]),
            "totalTaxSet": "0.0",
        }

    def _refund(self, doc: d.Doc, note: str, at: int, lines: list[d.Doc], amount: int, sale: int) -> None:
        paid = self.ids.new("OrderTransaction")
        gateway = doc["transactions"][0]["gateway"]
        worth, moment = Decimal(amount).scaleb(-4), stamp(at)
        doc["transactions"].append(d.transaction_doc(paid, "REFUND", worth, moment, parent=sale, gateway=gateway))
        refund = d.refund_doc(self.ids.new("Refund"), moment, worth, lines=lines, transactions=[paid], note=note)
        doc.setdefault("refunds", []).append(refund)
        refunded = Decimal(doc.get("totalRefundedSet", "0")) + worth
        doc["totalRefundedSet"] = d.money(refunded)
        received = Decimal(doc["totalReceivedSet"])
        doc["displayFinancialStatus"] = "REFUNDED" if refunded == received else "PARTIALLY_REFUNDED"
        doc["updatedAt"] = max(doc["updatedAt"], moment)
        self.refund_count += 1
        self.booked -= amount

    def _touch(self, group: _Order) -> None:
        customer = self.customer[group.rows[0]]
        if customer is not None:
            number = self.customers[customer]
            last = max(
                [self.at[row] for row in group.rows] + [self.at[back] for row in group.rows for back in self.given_back.get(row, ())]
            )
            self.last_touch[number] = max(last, self.last_touch.get(number, 0))
