"""`sandbox traffic`: buyers who buy, get their parcels, send things back and cancel, all through the Admin API, at a given rate.

Belongs here: carrying out what `traffic_plan.py` draws, on time, and counting what came of it. Does not belong here: the
choices, and anything that reaches into the store past its API.

One thread plays many buyers over one kept-alive connection. What is due is done in the order in which it is due; a server
that is too slow makes the buyers late, not fewer, and the summary says by how much.
"""

from __future__ import annotations

import heapq
import http.client
import json
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from commerce_assets.sandbox.auth import SHOPPER
from commerce_assets.sandbox.traffic_plan import CENT, RESTOCKED_UNITS, Journey, Market, Shares, TrafficError, Variant, journey, order_input

API_VERSION = "2026-10"
WORKERS = 12
# So many apps share the load that none of them meets its rate limit, on any plan.
SHOPPERS = 512
ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.1
TIMEOUT_SECONDS = 30.0
PROGRESS_SECONDS = 1.0
KEYS = uuid.UUID("6b1f5a52-9f0e-5a0c-8a53-3d5e3a1f7c11")
QUERIES = Path(__file__).with_name("traffic_queries")


class _Failed(Exception):
    """One step of one buyer failed; the text says how, without personal data."""


class _NotRun(_Failed):
    """The server did not carry it out, so that it may be tried again."""


class _Unknown(_Failed):
    """Whether the server carried it out is not known."""


@dataclass(frozen=True)
class TrafficSummary:
    """What the traffic came to. `done` counts purchases, shipments, refunds, cancellations, restocks; `errors` by what went wrong."""

    asked: int
    done: dict[str, int]
    errors: dict[str, int]
    requests: int
    seconds: float
    """From the first purchase to the last step."""
    buying_seconds: float
    """From the first purchase to the last."""
    late_seconds: float
    """By how much the slowest purchase was behind its time."""

    @property
    def orders_per_minute(self) -> float:
        """The rate of purchases that was reached."""
        return 60 * self.done.get("orders", 0) / self.buying_seconds if self.buying_seconds > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        rounded = {name: round(value, 3) for name, value in vars(self).items() if isinstance(value, float)}
        return {**vars(self), **rounded, "orders_per_minute": round(self.orders_per_minute, 1)}


def run_traffic(
    base_url: str,
    token: str,
    orders_per_minute: float,
    minutes: float,
    seed: int = 1,
    refund_share: float = 0.05,
    fulfil_share: float = 0.9,
    cancel_share: float = 0.03,
    restock_share: float = 0.05,
    new_customer_share: float = 0.3,
    progress: Callable[[TrafficSummary], None] | None = None,
    stop: threading.Event | None = None,
    workers: int = WORKERS,
) -> TrafficSummary:
    """Buy `orders_per_minute` for `minutes` in the sandbox at `base_url`, with everything that follows from it.

    `token` is the sandbox's static access token. `progress` is called about once a second with what there is so far. When
    `stop` is set, no new step is begun. `TrafficError` where the sandbox cannot be reached, the token is wrong, there is nothing
    to buy, or rate or shares cannot be.
    """
    if orders_per_minute <= 0 or minutes <= 0:
        raise TrafficError(f"{orders_per_minute} orders a minute for {minutes} minutes: give numbers above 0")
    shares = Shares(refund_share, fulfil_share, cancel_share, restock_share, new_customer_share)
    asked = max(1, round(orders_per_minute * minutes))
    counter = _Shopper(base_url, token, 0, attempts=3)
    try:
        market = read_market(counter.ask)
    except _Failed as problem:
        raise TrafficError(f"no traffic to {base_url}: {problem}; is `commerce sandbox serve` running there with this token?") from problem
    finally:
        counter.close()
    run = _Run(market, shares, seed, asked, 60 / orders_per_minute, stop or threading.Event())
    return run.carry_out(base_url, token, workers, progress)


def rehearse(
    ask: Callable[..., dict[str, Any]], shares: Shares, orders: int, interval: float, seed: int, at: Callable[[float], None]
) -> dict[str, int]:
    """Carry the same traffic out one step after the other, as fast as `ask` answers; returns what was done.

    `at` is told before each step how many seconds after the first purchase it is due. `TrafficError` where a step fails.
    """
    run = _Run(read_market(ask), shares, seed, orders, interval, threading.Event())
    run.agenda.add(0.0, run.purchase(0))
    worker = _Worker(ask)
    while run.agenda.is_open:
        due, step = run.agenda.next()
        at(due)
        try:
            for wait, following in step(worker):
                run.agenda.add(due + wait, following)
        except _Failed as problem:
            raise TrafficError(f"the order that is due after {due:.1f} s: {problem}") from problem
        run.agenda.finish()
    return dict(sorted(worker.done.items()))


# -- the market


def read_market(ask: Callable[..., Any]) -> Market:
    """What the store sells, to whom, and from where; `ask` answers a query by name. `TrafficError` where there is nothing to buy."""
    places = ask("places")
    variants = []
    for node in _pages(ask, "shelves", "productVariants"):
        on_sale = node["product"]["status"] == "ACTIVE" and not node["product"]["isGiftCard"]
        cost = Decimal(node["price"]).quantize(CENT)
        if on_sale and cost > 0:
            variants.append(Variant(node["id"], node["inventoryItem"]["id"], cost, bool(node["inventoryItem"]["requiresShipping"])))
    customers = tuple((node["id"], (node["defaultEmailAddress"] or {}).get("emailAddress")) for node in _pages(ask, "people", "customers"))
    locations = tuple(node["id"] for node in places["locations"]["nodes"])
    if not variants or not locations:
        raise TrafficError("the store has nothing to buy: fill it with `commerce sandbox fill` first")
    return Market(places["shop"]["currencyCode"], tuple(variants), customers, locations)


def _pages(ask: Callable[..., Any], query: str, connection: str) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = ask(query, {"after": after})[connection]
        yield from page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


# -- one connection


@cache
def query_text(name: str) -> str:
    """A query of the buyers by its name."""
    return (QUERIES / f"{name}.graphql").read_text(encoding="utf-8")


class _Shopper:
    """One kept-alive connection; each request is made by the next of the shopper apps."""

    def __init__(self, base_url: str, token: str, number: int, attempts: int = ATTEMPTS) -> None:
        address = urllib.parse.urlsplit(base_url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(address.hostname or "127.0.0.1", address.port, timeout=TIMEOUT_SECONDS)
        self._path = f"{address.path.rstrip('/')}/admin/api/{API_VERSION}/graphql.json"
        self._token = token
        self._number = number
        self._attempts = attempts
        self.requests = 0

    def close(self) -> None:
        self._connection.close()

    def ask(self, query: str, variables: dict[str, Any] | None = None, *, is_repeatable: bool = True) -> dict[str, Any]:
        """The data of a query by its name; `_Failed` where it is refused, or there is none after some attempts.

        What is not repeatable (a purchase without an idempotency key) is tried again only where the server says that it did
        not carry it out.
        """
        body = json.dumps({"query": query_text(query), "variables": variables or {}}).encode()
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
            try:
                return self._once(body)
            except _NotRun:
                if attempt == self._attempts - 1:
                    raise
            except _Unknown:
                if not is_repeatable or attempt == self._attempts - 1:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, body: bytes) -> dict[str, Any]:
        self._number = (self._number + 1) % SHOPPERS
        headers = {"Content-Type": "application/json", "X-Shopify-Access-Token": f"{self._token}{SHOPPER}{self._number}"}
        self.requests += 1
        try:
            if self._connection.sock is None:
                self._connection.connect()
        except OSError as problem:
            self._connection.close()
            raise _NotRun(f"cannot connect ({type(problem).__name__})") from problem
        try:
            self._connection.request("POST", self._path, body, headers)
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            raise _Unknown(f"no answer ({type(problem).__name__})") from problem
        if response.status in (429, 503):
            raise _NotRun(f"HTTP {response.status}")
        if response.status >= 500:
            raise _Unknown(f"HTTP {response.status}")
        if response.status != 200:
            raise _Failed(f"HTTP {response.status}")
        try:
            answer = json.loads(raw)
        except ValueError as problem:
            raise _Unknown("an answer that is not JSON") from problem
        errors = answer.get("errors")
        if errors:
            first = errors[0] if isinstance(errors, list) else {"message": str(errors)}
            if first.get("extensions", {}).get("code") == "THROTTLED":
                raise _NotRun("throttled")
            raise _Failed(str(first.get("message")))
        found: dict[str, Any] = answer["data"]
        return found


# -- all of them

# What is left to do after a step: (seconds from now, step).
Step = Callable[["_Worker"], "list[tuple[float, Step]]"]


class _Agenda:
    """Steps by the time at which they are due; threads take them as they become due."""

    def __init__(self, stop: threading.Event) -> None:
        self._steps: list[tuple[float, int, Step]] = []
        self._wake = threading.Condition()
        self._added = 0
        self._open = 0
        self._stop = stop

    def add(self, due: float, step: Step) -> None:
        with self._wake:
            self._added += 1
            self._open += 1
            heapq.heappush(self._steps, (due, self._added, step))
            self._wake.notify()

    def take(self) -> tuple[float, Step] | None:
        """The next step, when it is due, with its time; None when all is done or stopped."""
        with self._wake:
            while not self._stop.is_set():
                if not self._open:
                    return None
                wait = self._steps[0][0] - time.monotonic() if self._steps else PROGRESS_SECONDS
                if self._steps and wait <= 0:
                    due, _, step = heapq.heappop(self._steps)
                    return due, step
                self._wake.wait(min(wait, PROGRESS_SECONDS))
        return None

    @property
    def is_open(self) -> bool:
        """Whether anything is left to do."""
        return self._open > 0

    def next(self) -> tuple[float, Step]:
        """The next step with its time, whether it is due or not."""
        due, _, step = heapq.heappop(self._steps)
        return due, step

    def finish(self) -> None:
        """One step is over (what follows from it was added before)."""
        with self._wake:
            self._open -= 1
            if not self._open:
                self._wake.notify_all()


@dataclass
class _Worker:
    """What one thread has done, asking the store by `ask` (see `_Shopper.ask`)."""

    ask: Callable[..., dict[str, Any]]
    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    late: float = 0.0
    last_purchase: float = 0.0

    def mutate(self, query: str, field_name: str, variables: dict[str, Any], *, is_repeatable: bool) -> dict[str, Any]:
        """The payload of a mutation; its user errors are a failure."""
        payload: dict[str, Any] = self.ask(query, variables, is_repeatable=is_repeatable)[field_name]
        problems = payload.get("userErrors") or payload.get("orderCancelUserErrors")
        if problems:
            raise _Failed(problems[0]["message"])
        return payload


class _Run:
    def __init__(self, market: Market, shares: Shares, seed: int, asked: int, interval: float, stop: threading.Event) -> None:
        self.market, self.shares, self.seed = market, shares, seed
        self.asked, self.interval, self.stop = asked, interval, stop
        # Two runs of one seed are two runs: what one may repeat, the other may not take for its own.
        self.key = uuid.uuid4().hex
        self.agenda = _Agenda(stop)
        self.started = 0.0

    def carry_out(self, base_url: str, token: str, threads: int, progress: Callable[[TrafficSummary], None] | None) -> TrafficSummary:
        shoppers = [_Shopper(base_url, token, number * SHOPPERS // threads) for number in range(threads)]
        workers = [_Worker(shopper.ask) for shopper in shoppers]
        self.started = time.monotonic()
        self.agenda.add(self.started, self.purchase(0))
        running = [threading.Thread(target=self._work, args=(worker,), name="traffic", daemon=True) for worker in workers]
        for thread in running:
            thread.start()
        try:
            for thread in running:
                while thread.is_alive():
                    thread.join(PROGRESS_SECONDS)
                    if progress is not None and thread.is_alive():
                        progress(self._summary(workers, shoppers))
        except KeyboardInterrupt:
            self.stop.set()
            for thread in running:
                thread.join(TIMEOUT_SECONDS)
        for shopper in shoppers:
            shopper.close()
        return self._summary(workers, shoppers)

    def _summary(self, workers: list[_Worker], shoppers: list[_Shopper]) -> TrafficSummary:
        done: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        for worker in workers:
            # Copies: the threads go on counting.
            done.update(dict(worker.done))
            errors.update(dict(worker.errors))
        last = max(worker.last_purchase for worker in workers)
        return TrafficSummary(
            asked=self.asked,
            done=dict(sorted(done.items())),
            errors=dict(errors.most_common()),
            requests=sum(shopper.requests for shopper in shoppers),
            seconds=time.monotonic() - self.started,
            buying_seconds=max(last - self.started, self.interval) if last else 0.0,
            late_seconds=max(worker.late for worker in workers),
        )

    def _work(self, worker: _Worker) -> None:
        while (taken := self.agenda.take()) is not None:
            due, step = taken
            try:
                for wait, following in step(worker):
                    self.agenda.add(time.monotonic() + wait, following)
            except _Failed as problem:
                worker.errors[f"{getattr(step, '__name__', 'step')}: {problem}"] += 1
            finally:
                self.agenda.finish()
            if getattr(step, "__name__", "") == "buy":
                worker.late = max(worker.late, time.monotonic() - due)
                worker.last_purchase = time.monotonic()

    def _key(self, *parts: object) -> str:
        return str(uuid.uuid5(KEYS, ":".join((self.key, *map(str, parts)))))

    # -- the steps of a buyer

    def purchase(self, index: int) -> Step:
        def buy(worker: _Worker) -> list[tuple[float, Step]]:
            if index + 1 < self.asked:
                self.agenda.add(self.started + (index + 1) * self.interval, self.purchase(index + 1))
            buyer = journey(self.seed, index, self.market, self.shares)
            wanted = {
                "order": order_input(buyer, self.market.currency),
                "options": {"inventoryBehaviour": "DECREMENT_IGNORING_POLICY"},
            }
            order = worker.mutate("buy", "orderCreate", wanted, is_repeatable=False)["order"]
            worker.done["orders"] += 1
            worker.done["new_customers"] += "toUpsert" in buyer.customer
            following: list[tuple[float, Step]] = []
            if buyer.is_cancelled:
                following.append((buyer.waits[0], self._cancel(order)))
            elif buyer.is_shipped:
                following.append((buyer.waits[0], self._ship(buyer, order)))
            if buyer.refills:
                following.append((buyer.waits[2], self._restock(buyer, buyer.refills)))
            return following

        return buy

    def _cancel(self, order: dict[str, Any]) -> Step:
        def cancel(worker: _Worker) -> list[tuple[float, Step]]:
            worker.mutate("cancel", "orderCancel", {"orderId": order["id"], "reason": "CUSTOMER"}, is_repeatable=False)
            worker.done["cancellations"] += 1
            return []

        return cancel

    def _ship(self, buyer: Journey, order: dict[str, Any], *, is_rest: bool = False) -> Step:
        def ship(worker: _Worker) -> list[tuple[float, Step]]:
            number = order["fulfillmentOrders"]["nodes"][0]["id"]
            parcel: dict[str, Any] = {"fulfillmentOrderId": number}
            is_part = buyer.ships_in_two and not is_rest
            if is_part:
                lines = worker.ask("shipping_lines", {"id": number})["fulfillmentOrder"]["lineItems"]["nodes"]
                parcel["fulfillmentOrderLineItems"] = [{"id": lines[0]["id"], "quantity": 1}]
            tracking = {"number": f"TR{buyer.index:09d}{'B' if is_rest else 'A'}", "company": "Royal Mail"}
            wanted = {"fulfillment": {"lineItemsByFulfillmentOrder": [parcel], "trackingInfo": tracking}}
            worker.mutate("ship", "fulfillmentCreate", wanted, is_repeatable=False)
            worker.done["shipments"] += 1
            if is_part:
                return [(buyer.waits[1] / 2, self._ship(buyer, order, is_rest=True))]
            return [(buyer.waits[1], self._refund(buyer, order, *buyer.refunds))] if buyer.refunds else []

        return ship

    def _refund(self, buyer: Journey, order: dict[str, Any], line: int, units: int) -> Step:
        def refund(worker: _Worker) -> list[tuple[float, Step]]:
            back: dict[str, Any] = {"lineItemId": order["lineItems"]["nodes"][line]["id"], "quantity": units, "restockType": "NO_RESTOCK"}
            if buyer.is_restocked:
                back |= {"restockType": "RETURN", "locationId": self.market.locations[buyer.index % len(self.market.locations)]}
            payment = {
                "orderId": order["id"],
                "parentId": order["transactions"][0]["id"],
                "kind": "REFUND",
                "gateway": "shopify_payments",
                "amount": str(buyer.worth(line, units)),
            }
            wanted = {"orderId": order["id"], "refundLineItems": [back], "transactions": [payment], "note": "Sent back"}
            worker.mutate("refund", "refundCreate", {"input": wanted, "key": self._key("refund", order["id"])}, is_repeatable=True)
            worker.done["refunds"] += 1
            return []

        return refund

    def _restock(self, buyer: Journey, location: str) -> Step:
        def restock(worker: _Worker) -> list[tuple[float, Step]]:
            items = dict.fromkeys(line.variant.item for line in buyer.lines)
            changes = [
                {"inventoryItemId": item, "locationId": location, "delta": RESTOCKED_UNITS, "changeFromQuantity": None} for item in items
            ]
            wanted = {"name": "available", "reason": "received", "changes": changes}
            key = self._key("restock", buyer.index)
            worker.mutate("restock", "inventoryAdjustQuantities", {"input": wanted, "key": key}, is_repeatable=True)
            worker.done["restocks"] += 1
            return []

        return restock
