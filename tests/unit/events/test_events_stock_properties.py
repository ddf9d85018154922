"""Whatever happens, in whichever order it is heard: units are conserved, the books come out the same, and the storefront ends up right."""

import json
import random
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stock_fakes import DownError, FakeStorefront

from commerce_assets.events.stock import commitments, drift, facts, items, tables
from commerce_assets.events.stock.ports import Item
from commerce_assets.events.stock.pusher import Pusher, PusherOptions
from commerce_assets.events.stock.tables import POSTINGS, SHELVES, Rules

ITEMS, PLACES = 3, (1, 2)
an_item, a_place = st.integers(1, ITEMS), st.sampled_from(PLACES)
what_happens = st.one_of(
    st.tuples(st.just("buy"), st.lists(st.tuples(an_item, st.integers(1, 4)), min_size=1, max_size=2)),
    st.tuples(st.just("ship"), st.integers(0, 20), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(
        st.just("refund"),
        st.integers(0, 20),
        st.integers(0, 1),
        st.integers(1, 3),
        st.sampled_from(["return", "cancel", "no_restock"]),
        a_place,
    ),
    st.tuples(st.just("count"), an_item, a_place, st.integers(0, 30)),
    st.tuples(st.just("move"), an_item, a_place, st.integers(-5, 5)),
)
what_disturbs = st.one_of(
    what_happens,
    st.tuples(st.just("meddle"), an_item, a_place, st.integers(-3, 3)),
    st.tuples(st.just("aside"), an_item, a_place, st.integers(-2, 3)),
    st.tuples(st.just("hear"), st.integers(1, 4)),
    st.tuples(st.just("push")),
    st.tuples(st.just("down")),
    st.tuples(st.just("lose")),
)


class Life:
    """A storefront and a warehouse, and all that they said."""

    def __init__(self, places: tuple[int, ...], tick: float) -> None:
        self.storefront, self.places, self.tick = FakeStorefront(items=ITEMS, locations=places), places, tick
        self.facts: list[bytes] = []
        self.said: dict[tuple[int, int], list[tuple[Any, str, int]]] = defaultdict(list)

    def happen(self, event: tuple[Any, ...]) -> None:
        self.storefront.tick(self.tick)
        what, *of = event
        orders = sorted(self.storefront.orders)
        if what == "buy":
            self.storefront.place(list({item: (item, units) for item, units in of[0]}.values()))
        elif what in ("ship", "refund") and orders:
            number = orders[of[0] % len(orders)]
            line = of[1] % len(self.storefront.orders[number]["line_items"])
            if what == "ship":
                self.storefront.ship(number, line, of[2])
            else:
                self.storefront.refund(number, line, of[2], of[3], self._place(of[4]))
        elif what in ("count", "move"):
            self._say(what, of[0], self._place(of[1]), of[2])
        elif what == "aside":
            self.storefront.set_aside(of[0], self._place(of[1]), of[2])
        elif what == "meddle":
            self.storefront.meddle(of[0], self._place(of[1]), of[2])

    def on_hand(self) -> dict[tuple[int, int], int]:
        """What is on each counted shelf, worked out from the start: the last count, and all that moved after it."""
        found = {}
        for key, said in self.said.items():
            counts = [(at, quantity) for at, what, quantity in said if what == "count"]
            if counts:
                since, quantity = max(counts, key=lambda count: count[0])
                by_orders = sum(units for at, shelf, units in self.storefront.on_hand_moves if shelf == key and at > since)
                found[key] = quantity + by_orders + sum(units for at, what, units in said if what == "move" and at > since)
        return found

    def bodies(self, what: str) -> list[bytes]:
        return [body for kind, body, _ in self.storefront.emitted if kind == what]

    def _place(self, wanted: int) -> int:
        return self.places[wanted % len(self.places)]

    def _say(self, what: str, item: int, place: int, quantity: int) -> None:
        at = self.storefront.now
        self.said[item, place].append((at, what, quantity))
        entry = {"key": f"{len(self.facts)}", "kind": "count" if what == "count" else "movement", "inventory_item_id": item}
        self.facts.append(json.dumps(entry | {"location_id": place, "quantity": quantity, "occurred_at": at.isoformat()}).encode())


class Books:
    """Our side, in memory."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        tables.prepare(self.engine, Rules(settle_seconds=0.0))
        items.learn_catalogue(self.engine, [Item(n, 1000 + n, f"SKU-{n}") for n in range(1, ITEMS + 1)])
        self.pusher = Pusher(self.engine, life.storefront, PusherOptions(poll_seconds=0.0, rows_a_push=2))
        self.heard: set[tuple[str, int]] = set()

    def hear(self, what: str, number: int) -> None:
        """One event or fact; again is no matter."""
        self.heard.add((what, number))
        with self.engine.begin() as connection:
            if what == "fact":
                facts.take(connection, [self.life.facts[number]])
                return
            kind, body, at = self.life.storefront.emitted[number]
            if kind == "order":
                commitments.take(connection, [body])
            else:
                drift.observe(connection, [body], [at])

    def unheard(self) -> list[tuple[str, int]]:
        said = [("fact", number) for number in range(len(self.life.facts))]
        said += [("event", number) for number in range(len(self.life.storefront.emitted))]
        return [entry for entry in said if entry not in self.heard]

    def shelves(self) -> dict[tuple[int, int], Any]:
        with self.engine.connect() as connection:
            return {(row.item_id, row.location_id): row for row in connection.execute(sa.select(SHELVES))}

    def recounted(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(moved, committed) of each shelf, summed up from its postings."""
        with self.engine.connect() as connection:
            postings = connection.execute(sa.select(POSTINGS)).all()
        found = {}
        for key, shelf in self.shelves().items():
            own = [row for row in postings if (row.item_id, row.location_id) == key]
            moved = sum(row.on_hand_change for row in own if shelf.counted_at is not None and row.occurred_at > shelf.counted_at)
            found[key] = moved, sum(row.committed_change for row in own)
        return found


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(what_happens, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_any_order_of_what_is_heard_gives_the_same_books(events: list[tuple[Any, ...]], chance: random.Random) -> None:
    # Documents tell moments in whole seconds: a shipment between two refunds of one second cannot be told from one after them.
    life = Life((1,), 1.0)
    for event in events:
        life.happen(event)
    books = Books(life)
    said = [*books.unheard(), *chance.sample(books.unheard(), len(books.unheard()) // 3)]
    chance.shuffle(said)
    for what, number in said:
        books.hear(what, number)
    shelves = books.shelves()
    on_hand = life.on_hand()
    assert {key: shelf.on_hand_quantity for key, shelf in shelves.items() if shelf.counted_at is not None} == on_hand
    for key, stock in life.storefront.stock.items():
        # Orders heard before any shelf of the item was known wait at location 0 until the item is read.
        committed = sum(shelves[item, place].committed_quantity for item, place in (key, (key[0], 0)) if (item, place) in shelves)
        assert committed == stock.committed, key
        if key in on_hand:
            assert shelves[key].available_quantity == on_hand[key] - shelves[key].committed_quantity
    moved = {key: (shelf.moved_quantity if shelf.counted_at is not None else 0, shelf.committed_quantity) for key, shelf in shelves.items()}
    assert moved == books.recounted()
    books.engine.dispose()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(what_disturbs, min_size=1, max_size=25),
    st.sampled_from([(1,), (1, 2)]),
    st.sampled_from([1.0, 0.3]),
    st.randoms(use_true_random=False),
)
def test_the_storefront_ends_up_with_our_numbers_whatever_happened_on_the_way(
    events: list[tuple[Any, ...]], places: tuple[int, ...], tick: float, chance: random.Random
) -> None:
    life = Life(places, tick)
    books = Books(life)
    for event in events:
        if event[0] == "hear":
            for what, number in chance.sample(books.unheard(), min(event[1], len(books.unheard()))):
                books.hear(what, number)
        elif event[0] == "push":
            push_a_little(books)
        elif event[0] == "down":
            life.storefront.is_down = not life.storefront.is_down
        elif event[0] == "lose":
            life.storefront.loses_answers = 1
        else:
            life.happen(event)
    life.storefront.is_down, life.storefront.loses_answers = False, 0
    life.storefront.tick(2.0)
    while some := books.unheard():
        books.hear(*chance.choice(some))
    books.pusher.drain(timeout_seconds=3)
    while some := books.unheard():
        books.hear(*chance.choice(some))
    books.pusher.audit()
    books.pusher.drain(timeout_seconds=3)
    shelves = books.shelves()
    assert books.pusher.status().refused == 0
    for key, shelf in shelves.items():
        if shelf.counted_at is not None:
            stock = life.storefront.stock[key]
            assert stock.available == shelf.available_quantity, key
            assert stock.committed == shelf.committed_quantity + max(0, shelf.unknown_committed_quantity), key
            assert stock.on_hand == shelf.on_hand_quantity, key
    if places == (1,) and tick == 1.0:
        assert {key: life.storefront.stock[key].on_hand for key in life.on_hand()} == life.on_hand()
    books.engine.dispose()


def push_a_little(books: Books) -> None:
    try:
        books.pusher.cycle(is_audited=False)
    except DownError:
        return
