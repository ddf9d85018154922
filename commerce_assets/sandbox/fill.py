"""Fills an empty sandbox store with a believable shop, the truth behind it kept beside it.

Nothing is left to chance but the seed: the same scale, seed, dirt and moment give the same store, byte for byte. The truth
(`Store.truth(kind)`): `process` (parameters of BG/NBD and gamma-gamma), `customer` (rate, dropout, mean order value, alive),
`stock` (where each level comes from), `dirt` (every record that breaks a contract, see `dirt.py`).

The orders of the process are those with a customer that are neither cancelled nor tests; each is worth its merchandise after
discounts and without gift cards. Cancelled, test and guest orders stand beside the process.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from commerce_assets.sandbox import documents as d
from commerce_assets.sandbox.dirt import ITEM_SPOILERS, LEVEL_SPOILERS, SPOILERS, Soiler
from commerce_assets.sandbox.generate_catalogue import draw_catalogue
from commerce_assets.sandbox.generate_orders import OrderMaker, draw_baskets, draw_plan
from commerce_assets.sandbox.generate_people import (
    DAY,
    HISTORY_DAYS,
    MARKETS,
    BuyingProcess,
    Customers,
    Person,
    customer_document,
    draw_customers,
    person,
)
from commerce_assets.sandbox.generate_stock import draw_stock
from commerce_assets.sandbox.moments import stamp
from commerce_assets.sandbox.store import DEFAULT_ID_START, ID_START, ID_STEP, Store

CUSTOMERS, PRODUCTS = 2_000, 500
BATCH = 4_096
LOCATIONS = (
    ("London warehouse", {"city": "London", "provinceCode": "ENG", "zip": "E16 2AA", "countryCode": "GB"}),
    ("Rotterdam warehouse", {"city": "Rotterdam", "zip": "3011 AA", "countryCode": "NL"}),
    ("New Jersey warehouse", {"city": "Trenton", "provinceCode": "NJ", "zip": "08608", "countryCode": "US"}),
)


class FillError(Exception):
    """The store cannot be filled; the message says why and what to do."""


class Ids:
    """Hands out ids as the store would, without asking it each time; `claim` tells the store at the end."""

    def __init__(self) -> None:
        """Starts where an empty store starts."""
        self._next: Counter[str] = Counter()

    def new(self, kind: str) -> int:
        """The next id of type `kind`."""
        step = self._next[kind]
        self._next[kind] = step + 1
        return ID_START.get(kind, DEFAULT_ID_START) + ID_STEP * step

    def claim(self, store: Store) -> None:
        """Makes sure that the store never gives these ids out again."""
        for kind, count in self._next.items():
            if store.next_ids(kind, count)[:1] != [ID_START.get(kind, DEFAULT_ID_START)]:
                raise FillError(f"the store has given out ids of type {kind} before: fill an empty store")


def fill(store_dir: Path | str, scale: float = 1.0, seed: int = 1, dirt: float = 0.0, as_of: datetime | None = None) -> dict[str, Any]:
    """Fill the empty store in `store_dir`; returns what it holds now and how long it took.

    `scale` 1 is about 2,000 customers, 12,000 orders and 500 products over the two years before `as_of` (default: now);
    `dirt` is the share of records that get one defect each. An `as_of` without zone is taken as UTC.
    """
    if scale <= 0 or not 0 <= dirt < 1:
        raise FillError(f"scale {scale} must be positive and dirt {dirt} at least 0 and below 1")
    began = time.perf_counter()
    moment = datetime.now(UTC) if as_of is None else as_of
    now = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
    store = Store(Path(store_dir))
    try:
        if store.count("Order", limit=1) or store.count("Customer", limit=1) or store.count("Product", limit=1):
            raise FillError(f"the store in {Path(store_dir).name!r} is not empty: give another folder, or remove it first")
        with store.transaction():
            summary = _fill(store, scale, seed, dirt, now)
    finally:
        store.close()
    return {**summary, "seconds": round(time.perf_counter() - began, 2)}


def _fill(store: Store, scale: float, seed: int, dirt: float, now: int) -> dict[str, Any]:
    ids = Ids()
    process = BuyingProcess()
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(8)]
    people_rng, catalogue_rng, plan_rng, basket_rng, order_rng, stock_rng, person_rng, dirt_rng = streams
    opened = now - (HISTORY_DAYS + 60) * DAY

    locations = [ids.new("Location") for _ in LOCATIONS]
    location_docs = [
        d.location_doc(number, name, stamp(opened), address=address) for number, (name, address) in zip(locations, LOCATIONS, strict=True)
    ]
    customers, purchases = draw_customers(people_rng, max(8, round(CUSTOMERS * scale)), process, now)
    catalogue = draw_catalogue(catalogue_rng, max(24, round(PRODUCTS * scale)), now, ids.new)
    plan = draw_plan(plan_rng, customers, purchases, now)
    baskets = draw_baskets(basket_rng, plan, catalogue)

    numbers = [ids.new("Customer") for _ in range(customers.market.size)]
    people = _people(person_rng, customers)
    guests = person_rng.random((plan.at.size, 6)).tolist()
    guest_markets = plan.market.tolist()

    def customer_of(order: int, customer: int) -> tuple[int | None, Person]:
        if customer >= 0:
            return numbers[customer], people[customer]
        return None, person(guests[order], 900_000 + order, MARKETS[guest_markets[order]], -1)

    maker = OrderMaker(order_rng, plan, baskets, catalogue, locations, now, ids.new, customer_of)
    soilers = {kind: Soiler(dirt_rng, dirt, spoilers) for kind, spoilers in SPOILERS.items()}
    counts: Counter[str] = Counter()

    store.set_shop(d.shop_doc("Bramble & Finch", "bramble-and-finch.myshopify.com", "GBP", "Europe/London", stamp(opened)))
    store.insert_many("Location", location_docs)
    store.insert_many("Order", _counted(_soiled(maker.orders(), soilers["Order"]), counts))

    first_seen = np.full(customers.market.size, now)
    np.minimum.at(first_seen, plan.customer[plan.customer >= 0], plan.at[plan.customer >= 0])
    customer_docs = list(_customers(person_rng, customers, numbers, people, first_seen.tolist(), maker.last_touch, now))
    customer_docs += _leads(person_rng, max(1, customers.market.size // 25), ids, now)
    products = catalogue.documents
    items = [variant["inventoryItem"] for product in products for variant in product["variants"]]
    policies = {
        d.gid_number(variant["inventoryItem"]["id"]): variant["inventoryPolicy"]
        for product in products
        for variant in product["variants"]
        if variant["inventoryItem"]["tracked"]
    }
    stock = draw_stock(stock_rng, policies, locations, maker.moves, opened, now)
    store.insert_metafields(_metafields(products, customer_docs, stock_rng, ids, now))

    soilers["Customer"].spoil(customer_docs)
    soilers["Product"].spoil(products)
    soilers["InventoryItem"] = Soiler(dirt_rng, dirt, ITEM_SPOILERS)
    soilers["InventoryItem"].spoil(items)
    soilers["InventoryLevel"] = Soiler(dirt_rng, dirt, LEVEL_SPOILERS)
    bad_items = {defect["id"] for defect in soilers["InventoryItem"].found}
    soilers["InventoryLevel"].spoil([level for level in stock.levels if level["itemId"] not in bad_items])
    spoiled = [defect for soiler in soilers.values() for defect in soiler.found]

    store.insert_many("Customer", customer_docs)
    store.insert_many("Product", products)
    store.insert_levels(stock.levels)
    ids.claim(store)

    parameters = {**asdict(process), "time_unit": "week", "as_of": stamp(now), "seed": seed, "scale": scale, "dirt": dirt}
    store.insert_truth("process", [("parameters", parameters)])
    store.insert_truth("customer", _truth(customers, numbers, process))
    store.insert_truth("stock", ((f"{item}/{location}", how) for (item, location), how in stock.history.items()))
    store.insert_truth("dirt", ((position, defect) for position, defect in enumerate(spoiled)))
    store.set_setting("filled", {"by": "fill", **parameters})
    return {
        "orders": counts["orders"],
        "order_lines": counts["order_lines"],
        "refunds": counts["refunds"],
        "customers": len(customer_docs),
        "products": len(products),
        "variants": len(items),
        "locations": len(location_docs),
        "inventory_levels": len(stock.levels),
        "bad_records": len(spoiled),
        "as_of": stamp(now),
    }


def _soiled(orders: Iterable[d.Doc], soiler: Soiler) -> Iterator[d.Doc]:
    """The orders, spoiled by batches: memory holds one batch, however many there are."""
    remaining = iter(orders)
    while batch := list(islice(remaining, BATCH)):
        soiler.spoil(batch)
        yield from batch


def _counted(orders: Iterable[d.Doc], counts: Counter[str]) -> Iterator[d.Doc]:
    for order in orders:
        counts.update(orders=1, order_lines=len(order["lineItems"]), refunds=len(order.get("refunds", ())))
        yield order


def dirt_list(store_dir: Path | str) -> list[dict[str, Any]]:
    """The records that break a contract, as `{"table", "id", "rule"}`; ids as the contract's key has them (see `dirt.py`)."""
    store = Store(Path(store_dir))
    try:
        return [defect for _, defect in sorted(store.truth("dirt"), key=lambda row: int(row[0]))]
    finally:
        store.close()


def _people(rng: np.random.Generator, customers: Customers) -> list[Person]:
    draws = rng.random((customers.market.size, 6)).tolist()
    pairs = zip(customers.market.tolist(), customers.company.tolist(), strict=True)
    return [person(draws[index], index, MARKETS[market], company) for index, (market, company) in enumerate(pairs)]


def _customers(
    rng: np.random.Generator,
    customers: Customers,
    numbers: list[int],
    people: list[Person],
    first_seen: list[int],
    last_touch: dict[int, int],
    now: int,
) -> list[d.Doc]:
    """Customers' documents: made with their first order of any kind, changed with their last, or later by the merchant."""
    docs = []
    draws = rng.random((len(numbers), 8)).tolist()
    columns = (numbers, first_seen, customers.market.tolist(), customers.company.tolist())
    for index, (number, first_at, market, company) in enumerate(zip(*columns, strict=True)):
        u = draws[index]
        touched = last_touch.get(index, first_at)
        if u[5] < 0.05:
            touched += int((now - touched) * u[6])
        tags = ["wholesale"] if company >= 0 else []
        if u[7] < 0.1:
            tags.append("newsletter" if u[7] < 0.06 else "Loyalty Club")
        docs.append(customer_document(number, people[index], u, stamp(first_at - 60), stamp(touched), MARKETS[market], tags))
    return docs


def _leads(rng: np.random.Generator, count: int, ids: Ids, now: int) -> list[d.Doc]:
    """People who left their address and never bought."""
    docs = []
    for index, u in enumerate(rng.random((count, 12)).tolist()):
        created = now - int(u[11] * HISTORY_DAYS * DAY)
        market = MARKETS[int(u[10] * len(MARKETS))]
        who = person(u[:6], 800_000 + index, market, -1)
        docs.append(customer_document(ids.new("Customer"), who, u[5:10], stamp(created), stamp(created), market, ["newsletter"]))
    return docs


def _metafields(products: list[d.Doc], customers: list[d.Doc], rng: np.random.Generator, ids: Ids, now: int) -> list[d.Metafield]:
    """Care notes of products, and a loyalty number that another app keeps on some customers."""
    fields: list[d.Metafield] = []

    def add(owner: str, owner_type: str, namespace: str, key: str, kind: str, value: str, at: str) -> None:
        number = ids.new("Metafield")
        about = {"namespace": namespace, "key": key, "type": kind, "value": value, "createdAt": at, "updatedAt": at}
        fields.append(d.Metafield(id=d.gid("Metafield", number), owner=owner, ownerType=owner_type, **about))  # type: ignore[typeddict-item]

    for product, draw in zip(products, rng.random(len(products)).tolist(), strict=True):
        if draw < 0.6:
            value = ("Wipe clean", "Hand wash only", "Dishwasher safe", "Keep away from children")[int(draw / 0.6 * 4)]
            add(product["id"], "PRODUCT", "custom", "care", "single_line_text_field", value, product["createdAt"])
    for customer, draw in zip(customers, rng.random(len(customers)).tolist(), strict=True):
        if draw < 0.15:
            add(
                customer["id"], "CUSTOMER", "loyalty", "points", "number_integer", str(int(draw * 4_000)), stamp(now - int(draw * 90 * DAY))
            )
    return fields


def _truth(customers: Customers, numbers: list[int], process: BuyingProcess) -> list[tuple[int, dict[str, Any]]]:
    columns = (customers.rate_per_week, customers.dropout, customers.spend_rate, customers.alive, customers.first_at)
    rows = zip(numbers, *(column.tolist() for column in columns), strict=True)
    return [
        (
            number,
            {
                "rate_per_week": rate,
                "dropout": dropout,
                "mean_order_value": process.p / spend_rate,
                "alive": alive,
                "first_at": stamp(first_at),
            },
        )
        for number, rate, dropout, spend_rate, alive, first_at in rows
    ]
