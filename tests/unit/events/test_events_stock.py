"""The books and the outbox of stock, against a storefront of Python dicts."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from stock_fakes import DownError, FakeStorefront

from commerce_assets.events.database import open_engine
from commerce_assets.events.stock import commitments, drift, facts, items, shelf, tables, targets
from commerce_assets.events.stock.ports import Item, Verdict, revenue_tiers
from commerce_assets.events.stock.pusher import Pusher, PusherOptions, StockNotDrainedError
from commerce_assets.events.stock.tables import DRIFT, POSTINGS, PUSH_ROWS, SHELVES, TARGETS, UNKNOWN, Rules

NOON = datetime(2025, 11, 21, 7, tzinfo=UTC)


class Books:
    """Our books of one fake storefront."""

    def __init__(self, folder: Path, storefront: FakeStorefront, rules: Rules | None = None, *, is_known: bool = True) -> None:
        self.engine = open_engine(f"sqlite:///{folder / 'books.sqlite'}")
        self.storefront = storefront
        self.rules = rules or Rules(settle_seconds=0.0)
        tables.prepare(self.engine, self.rules)
        if is_known:
            items.learn_catalogue(self.engine, [Item(n, 1000 + n, f"SKU-{n}", revenue=Decimal(n)) for n in range(1, storefront.items + 1)])
        self.pusher = Pusher(self.engine, storefront, PusherOptions(poll_seconds=0.001, names_pause_seconds=0.0))
        self.heard = 0

    def take(self, *bodies: dict[str, Any] | bytes) -> list[Verdict]:
        with self.engine.begin() as connection:
            return facts.take(connection, [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies])

    def count(self, item: int, quantity: int, location: int = 1) -> None:
        (verdict,) = self.take(fact(item, quantity, location=location, at=self.storefront.now))
        assert verdict.outcome == "applied", verdict

    def hear(self) -> None:
        """All that the storefront emitted since the last time."""
        some = self.storefront.emitted[self.heard :]
        self.heard += len(some)
        with self.engine.begin() as connection:
            commitments.take(connection, [body for what, body, _ in some if what == "order"])
            levels = [(body, at) for what, body, at in some if what == "level"]
            drift.observe(connection, [body for body, _ in levels], [at for _, at in levels])

    def rows(self, table: sa.Table, *where: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table).where(*where)).mappings()]

    def shelf(self, item: int = 1, location: int = 1) -> dict[str, Any]:
        return self.rows(SHELVES, SHELVES.c.item_id == item, SHELVES.c.location_id == location)[0]

    def shown(self, item: int = 1, location: int = 1) -> int:
        return self.storefront.stock[item, location].available


_numbers = iter(range(1, 10**9))


def fact(item: int, quantity: int, *, kind: str = "count", location: int = 1, at: datetime = NOON, **more: Any) -> dict[str, Any]:
    entry = {"key": f"key-{next(_numbers)}", "kind": kind, "inventory_item_id": item, "location_id": location, "quantity": quantity}
    return entry | {"occurred_at": at.isoformat()} | more


def order(
    number: int, lines: list[tuple[int, int, int]], *, at: str = "2025-11-21T07:30:00Z", updated: str | None = None, **more: Any
) -> bytes:
    """Lines are (item, units, units still open)."""
    entries = [
        {"id": number * 100 + place, "variant_id": 1000 + item, "quantity": quantity, "fulfillable_quantity": left}
        for place, (item, quantity, left) in enumerate(lines)
    ]
    body = {"id": number, "created_at": at, "updated_at": updated or at, "cancelled_at": None, "location_id": None, "line_items": entries}
    return json.dumps(body | {"fulfillments": [], "refunds": []} | more).encode()


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path, FakeStorefront(items=5))


def test_a_count_and_what_moved_after_it_are_on_hand(books: Books) -> None:
    later, earlier = NOON + timedelta(minutes=1), NOON - timedelta(minutes=1)
    verdicts = books.take(
        fact(1, -3, kind="movement", at=later), fact(1, 10), fact(1, 99, kind="movement", at=earlier), fact(1, 55, at=earlier)
    )
    assert [verdict.outcome for verdict in verdicts] == ["applied", "applied", "superseded", "superseded"]
    assert (books.shelf()["on_hand_quantity"], books.shelf()["available_quantity"]) == (7, 7)


def test_a_fact_counts_once_by_its_key_and_another_under_its_key_is_refused(books: Books) -> None:
    first = fact(1, 5, kind="movement")
    outcomes = [verdict.outcome for verdict in books.take(first, first, first | {"quantity": 6})]
    assert outcomes == ["applied", "duplicate", "refused"]
    assert [verdict.outcome for verdict in books.take(first)] == ["duplicate"]
    assert len(books.rows(POSTINGS)) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quantity": -1}, "out of range"),
        ({"quantity": 2_000_000_000}, "out of range"),
        ({"quantity": 1.5}, "whole number"),
        ({"quantity": True}, "whole number"),
        ({"kind": "guess"}, "count or movement"),
        ({"key": ""}, "1 to 200 characters"),
        ({"key": None}, "1 to 200 characters"),
        ({"location_id": 2**63}, "must be an id"),
        ({"inventory_item_id": None}, "sku"),
        ({"occurred_at": "2025-11-21T07:00:00"}, "with its offset"),
        ({"occurred_at": "yesterday"}, "with its offset"),
        ({"occurred_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, "set the clock"),
    ],
)
def test_a_bad_fact_is_refused_by_name_and_the_good_ones_beside_it_are_booked(books: Books, change: dict[str, Any], why: str) -> None:
    (verdict,) = books.take({"facts": [fact(1, 3), fact(1, 4) | change]})
    assert verdict.outcome == "refused"
    assert why in (verdict.reason or "")
    assert books.shelf()["on_hand_quantity"] == 3


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"facts": {}}', b'{"facts": [1]}', b"[" * 5000, b"null"])
def test_a_body_that_holds_no_facts_is_refused(books: Books, body: bytes) -> None:
    assert books.take(body)[0].outcome == "refused"


def test_an_unknown_sku_comes_again_and_the_storefront_is_asked_about_it(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=2), is_known=False)
    body = fact(0, 7) | {"inventory_item_id": None, "sku": "SKU-2"}
    assert books.take(body)[0].outcome == "retry"
    books.pusher.drain()
    assert books.take(body)[0].outcome == "applied"
    assert books.shelf(item=2)["on_hand_quantity"] == 7
    assert books.rows(UNKNOWN) == []


def test_an_order_whose_variant_is_unknown_is_booked_when_it_is_known(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=2), is_known=False)
    books.take(fact(2, 9))
    books.storefront.place([(2, 3)])
    books.hear()
    assert books.shelf(item=2)["committed_quantity"] == 0
    books.pusher.drain()
    assert books.shelf(item=2)["committed_quantity"] == 3
    assert books.shown(item=2) == 6


def test_an_order_commits_ships_releases_and_returns(books: Books) -> None:
    at = "2025-11-21T07:40:00Z"
    shipment = {"id": 1, "status": "success", "created_at": at, "location_id": 1, "line_items": [{"id": 100, "quantity": 2}]}
    lost = shipment | {"id": 2, "status": "cancelled"}
    back = {"id": 5, "line_item_id": 100, "quantity": 1, "location_id": 1, "restock_type": "return"}
    released = {"id": 6, "line_item_id": 101, "quantity": 1, "location_id": None, "restock_type": "cancel"}
    written_off = {"id": 7, "line_item_id": 101, "quantity": 1, "location_id": None, "restock_type": "no_restock"}
    refunds = [{"id": 3, "created_at": at, "refund_line_items": [back, released, written_off]}]
    books.take(fact(1, 20), fact(2, 20))
    with books.engine.begin() as connection:
        commitments.take(connection, [order(1, [(1, 3, 3), (2, 4, 4)])])
    assert [books.shelf(item)["committed_quantity"] for item in (1, 2)] == [3, 4]
    with books.engine.begin() as connection:
        newer = order(1, [(1, 3, 1), (2, 4, 2)], updated=at, fulfillments=[shipment, lost], refunds=refunds)
        assert commitments.take(connection, [newer, newer, order(1, [(1, 3, 3)])])[0].outcome == "applied"
    stock = [(books.shelf(item)["on_hand_quantity"], books.shelf(item)["committed_quantity"]) for item in (1, 2)]
    assert stock == [(20 - 2 + 1, 1), (20 - 1, 2)]


def test_versions_of_one_second_are_ordered_by_how_far_the_order_got(books: Books) -> None:
    at = "2025-11-21T07:30:00Z"
    shipment = {"id": 1, "status": "success", "created_at": at, "location_id": 1, "line_items": [{"id": 100, "quantity": 3}]}
    placed, shipped = order(1, [(1, 3, 3)]), order(1, [(1, 3, 0)], fulfillments=[shipment])
    books.take(fact(1, 20))
    with books.engine.begin() as connection:
        outcomes = [verdict.outcome for body in (shipped, placed, shipped) for verdict in commitments.take(connection, [body])]
    assert outcomes == ["applied", "superseded", "duplicate"]
    assert (books.shelf()["on_hand_quantity"], books.shelf()["committed_quantity"]) == (17, 0)


def test_a_deleted_order_gives_back_what_it_held_and_stays_deleted(books: Books) -> None:
    books.take(fact(1, 20))
    with books.engine.begin() as connection:
        commitments.take(connection, [order(1, [(1, 3, 3)])])
        commitments.forget(connection, {1: NOON + timedelta(hours=1), 2: NOON})
        late = commitments.take(connection, [order(1, [(1, 3, 3)], updated="2025-11-21T23:30:00Z"), order(2, [(1, 1, 1)])])
    assert [verdict.outcome for verdict in late] == ["superseded", "superseded"]
    assert books.shelf()["available_quantity"] == 20


def test_what_is_no_order_is_refused_and_the_others_are_booked(books: Books) -> None:
    with books.engine.begin() as connection:
        verdicts = commitments.take(connection, [b"\xff", b"{}", b"[]", order(1, [(1, 3, 3)])])
    assert [verdict.outcome for verdict in verdicts] == ["refused", "refused", "refused", "applied"]


def test_reservations_and_safety_stock_are_held_back(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=2), Rules(safety_stock=2))
    books.take(fact(1, 20))
    with books.engine.begin() as connection:
        shelf.reserve(connection, "fair", (1, 1), 5)
    assert books.shelf()["available_quantity"] == 13
    with books.engine.begin() as connection:
        shelf.hold_safety(connection, 1, None, 4)
        shelf.hold_safety(connection, 1, 1, 3)
        shelf.reserve(connection, "fair", (1, 1), 0)
    assert books.shelf()["available_quantity"] == 17
    assert tables.prepare(books.engine, Rules(safety_stock=1))
    with books.engine.begin() as connection:
        shelf.hold_safety(connection, 1, None, None)
        shelf.hold_safety(connection, 1, 1, None)
    shelf.recompute(books.engine)
    assert books.shelf()["available_quantity"] == 19


def test_the_owners_number_wins(books: Books) -> None:
    """WMS 10, storefront 12: the storefront shows 10."""
    books.storefront.stock[1, 1].available = 12
    books.count(1, 10)
    books.pusher.drain()
    assert books.shown() == 10
    assert books.storefront.pushes[0][1] == [(1, 1, 10, 12)]


def test_where_the_storefront_owns_stock_nothing_is_pushed(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=1), Rules(owner="storefront"))
    books.count(1, 10)
    books.pusher.drain()
    assert books.shown() == 20
    assert books.storefront.pushes == []


def test_an_order_is_expected_of_the_storefront_and_needs_no_push(books: Books) -> None:
    books.count(1, 20)
    books.pusher.drain()
    calls = len(books.storefront.pushes)
    books.storefront.tick()
    number = books.storefront.place([(1, 3)])
    books.hear()
    books.storefront.tick()
    books.storefront.ship(number, 0, 3)
    books.hear()
    assert books.pusher.status().due == books.pusher.status().held == 0
    assert (len(books.storefront.pushes), books.shelf()["available_quantity"], books.shown()) == (calls, 17, 17)


def test_a_push_that_collides_with_an_order_is_made_anew_from_what_is_there(books: Books) -> None:
    books.count(1, 20)
    books.pusher.drain()
    books.storefront.tick()
    books.storefront.place([(1, 3)])
    books.count(1, 30)
    books.pusher.drain()
    assert books.shown() == 27, "3 of the 30 are promised, though the order's event is not here yet"
    outcomes = [row["outcome"] for row in books.rows(PUSH_ROWS)]
    assert outcomes.count("conflict") == 1
    books.hear()
    books.pusher.drain()
    assert (books.shown(), books.rows(DRIFT)) == (27, [])


def test_ten_nine_ten_nine_are_four_pushes(books: Books) -> None:
    for quantity in (10, 9, 10, 9, 10):
        books.storefront.tick()
        books.count(1, quantity)
        books.pusher.drain()
        assert books.shown() == quantity
    keys = [key for key, _ in books.storefront.pushes]
    assert len(set(keys)) == len(keys) == 5


def test_changes_gather_while_a_push_is_on_its_way(books: Books) -> None:
    books.count(1, 10)
    books.pusher.drain()
    books.storefront.is_down = True
    for quantity in range(11, 31):
        books.storefront.tick()
        books.count(1, quantity)
    with pytest.raises(DownError):
        books.pusher.drain()
    books.storefront.is_down = False
    books.storefront.calls.clear()
    books.pusher.drain()
    assert books.shown() == 30
    assert len(books.storefront.pushes) == 1


def test_a_call_whose_answer_was_lost_is_sent_again_with_its_key(books: Books) -> None:
    books.count(1, 10)
    books.storefront.loses_answers = 1
    with pytest.raises(DownError):
        books.pusher.drain()
    assert books.shown() == 10
    books.storefront.tick()
    books.count(1, 12)
    Pusher(books.engine, books.storefront, PusherOptions(poll_seconds=0.001)).drain()
    keys = [key for key, _ in books.storefront.pushes]
    assert (keys[0], len(set(keys))) == (keys[1], 2)
    assert books.shown() == 12


def test_a_call_that_failed_unheard_is_read_and_made_with_a_new_key(books: Books) -> None:
    books.count(1, 10)
    books.pusher.drain()
    books.storefront.tick()
    books.storefront.place([(1, 2)])
    books.count(1, 15)
    books.storefront.loses_answers = 1
    with pytest.raises(DownError):
        books.pusher.drain()
    books.pusher.drain()
    assert books.shown() == 13


def test_one_refused_shelf_does_not_stop_the_others(books: Books) -> None:
    books.storefront.refused_items[2] = "NON_MUTABLE_INVENTORY_ITEM"
    for item in (1, 2, 3):
        books.count(item, 5)
    books.pusher.drain()
    assert [books.shown(item) for item in (1, 2, 3)] == [5, 20, 5]
    (refused,) = books.rows(TARGETS, TARGETS.c.state == "refused")
    assert (refused["item_id"], refused["reason"]) == (2, "NON_MUTABLE_INVENTORY_ITEM")
    books.storefront.refused_items.clear()
    books.pusher.audit()
    books.pusher.drain()
    assert books.shown(2) == 5


def test_an_item_the_storefront_does_not_have_is_refused(books: Books) -> None:
    books.count(77, 5)
    books.pusher.drain()
    (refused,) = books.rows(TARGETS)
    assert (refused["state"], refused["reason"]) == ("refused", "the storefront has no such item")


def test_what_sells_most_goes_first(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=10))
    books.pusher = Pusher(books.engine, books.storefront, PusherOptions(rows_a_push=2))
    for item in range(1, 11):
        books.count(item, 5)
    books.pusher.drain()
    assert [row[0] for row in books.storefront.pushes[0][1]] == [9, 10]
    assert all(books.shown(item) == 5 for item in range(1, 11))


def test_the_top_fifth_by_revenue_is_tier_1() -> None:
    tiers = revenue_tiers([Item(n, None, None, revenue=Decimal(n % 7)) for n in range(1, 11)])
    assert sorted(item for item, tier in tiers.items() if tier == 1) == [5, 6]
    assert set(revenue_tiers([Item(1, None, None)]).values()) == {2}


def test_what_others_change_is_recorded_and_corrected(books: Books) -> None:
    books.count(1, 10)
    books.pusher.drain()
    books.storefront.tick()
    books.storefront.meddle(1, 1, 4)
    books.hear()
    books.pusher.drain()
    (found,) = books.rows(DRIFT)
    assert (found["writer"], found["expected_quantity"], found["found_quantity"], found["difference_units"]) == ("storefront", 10, 14, 4)
    assert (found["state"], books.shown()) == ("corrected", 10)


def test_what_others_change_is_only_reported_where_that_is_the_policy(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=1), Rules(drift_policy="report", settle_seconds=0.0))
    books.count(1, 10)
    books.pusher.drain()
    books.storefront.tick()
    books.storefront.meddle(1, 1, 4)
    books.hear()
    books.pusher.drain()
    books.storefront.tick()
    books.storefront.place([(1, 2)])
    books.hear()
    books.pusher.drain()
    assert (books.shown(), [row["state"] for row in books.rows(DRIFT)]) == (12, ["reported"])
    books.storefront.tick()
    books.count(1, 11)
    books.pusher.drain()
    assert books.shown() == 9, "the owner's next number wins again"


def test_a_change_that_nobody_told_us_of_is_found_by_an_audit(books: Books) -> None:
    books.count(1, 10)
    books.pusher.drain()
    books.storefront.tick()
    books.storefront.meddle(1, 1, -6)
    books.pusher.audit()
    books.pusher.drain()
    assert (books.shown(), [row["difference_units"] for row in books.rows(DRIFT)]) == (10, [-6])


def test_an_observation_before_its_order_is_no_drift(tmp_path: Path) -> None:
    books = Books(tmp_path, FakeStorefront(items=1), Rules(settle_seconds=60))
    books.count(1, 10)
    books.pusher.cycle()
    books.pusher.cycle()
    books.storefront.tick()
    books.storefront.place([(1, 3)])
    ordered, levels = books.storefront.emitted[-1][1], [(body, at) for what, body, at in books.storefront.emitted if what == "level"]
    with books.engine.begin() as connection:
        drift.observe(connection, [levels[-1][0]], [levels[-1][1]])
    assert (books.pusher.status().held, books.shelf()["trusted_quantity"]) == (1, 10)
    with books.engine.begin() as connection:
        commitments.take(connection, [ordered])
    assert (books.pusher.status().held, books.shelf()["suspected_at"], books.rows(DRIFT)) == (0, None, [])


def test_units_committed_to_orders_nobody_here_knows_are_held_back(books: Books) -> None:
    books.storefront.place([(1, 4)])
    books.storefront.tick()
    books.count(1, 30)
    books.pusher.drain()
    assert books.shown() == 26
    books.storefront.tick()
    books.hear()
    books.pusher.drain()
    assert (books.shown(), books.shelf()["unknown_committed_quantity"], books.shelf()["committed_quantity"]) == (26, 0, 4)


def test_a_wrong_guess_of_the_location_is_put_right_by_a_reading(books: Books) -> None:
    books.count(1, 1)
    books.count(1, 9, location=2)
    books.pusher.drain()
    books.storefront.tick()
    number = books.storefront.place([(1, 3)])
    body = next(body for what, body, _ in books.storefront.emitted if what == "order")
    with books.engine.begin() as connection:
        # We believe that location 1 has plenty.
        connection.execute(sa.update(SHELVES).where(SHELVES.c.location_id == 1).values(counted_quantity=50))
        commitments.take(connection, [body])
        connection.execute(sa.update(SHELVES).where(SHELVES.c.location_id == 1).values(counted_quantity=1))
    assert [books.shelf(1, place)["committed_quantity"] for place in (1, 2)] == [3, 0]
    books.pusher.audit()
    books.pusher.drain()
    assert [books.shelf(1, place)["committed_quantity"] for place in (1, 2)] == [0, 3]
    assert (books.shown(1, 1), books.shown(1, 2)) == (1, 6)
    assert books.storefront.claims[books.storefront.orders[number]["line_items"][0]["id"]] == 2


def test_what_the_storefront_has_set_aside_is_held_back_and_no_drift(books: Books) -> None:
    books.storefront.set_aside(1, 1, 5)
    books.storefront.tick()
    books.count(1, 20)
    books.pusher.drain()
    assert (books.shown(), books.storefront.pushes) == (15, [])
    books.storefront.tick()
    books.storefront.set_aside(1, 1, 2)
    books.hear()
    books.pusher.drain()
    assert (books.shown(), books.storefront.pushes, books.rows(DRIFT)) == (13, [], [])
    assert (books.shelf()["on_hand_quantity"], books.shelf()["set_aside_quantity"]) == (20, 7)


def test_the_latency_of_a_change_is_kept(books: Books) -> None:
    (verdict,) = books.take(fact(1, 10))
    assert verdict.outcome == "applied"
    books.pusher.drain()
    (row,) = books.rows(PUSH_ROWS)
    assert row["occurred_at"] == NOON
    assert row["taken_at"] <= row["sent_at"] <= row["acknowledged_at"]
    with books.engine.connect() as connection:
        assert targets.oldest_untold(connection) is None


def test_what_no_sum_needs_any_more_is_forgotten_and_changes_nothing_if_it_comes_again(books: Books) -> None:
    books.count(1, 10)
    books.take(fact(1, -1, kind="movement", at=books.storefront.now + timedelta(seconds=1)))
    books.storefront.tick()
    open_order, closed_order = books.storefront.place([(1, 2)]), books.storefront.place([(1, 3)])
    books.storefront.ship(closed_order, 0, 3)
    books.hear()
    books.storefront.tick(10)
    books.count(1, 20)
    books.pusher.drain()
    before = books.shelf()
    with books.engine.begin() as connection:
        shelf.forget_old(connection, books.storefront.now - timedelta(seconds=1))
    assert {row["order_id"] for row in books.rows(POSTINGS)} == {open_order}
    books.storefront.tick()
    books.storefront.refund(closed_order, 0, 1, "return", 1)
    books.hear()
    books.pusher.drain()
    after = books.shelf()
    assert (after["committed_quantity"], after["on_hand_quantity"]) == (before["committed_quantity"], before["on_hand_quantity"] + 1)
    assert (books.shown(), books.rows(DRIFT)) == (19, [])


def test_a_storefront_that_stays_down_is_said_so(books: Books) -> None:
    books.count(1, 10)
    books.storefront.is_down = True
    with pytest.raises(DownError):
        books.pusher.drain()
    books.storefront.is_down = False
    books.pusher.storefront.refused_items[1] = "INVALID_LOCATION"
    books.pusher.drain()
    books.pusher.storefront.refused_items.clear()

    def stale(changes: Any, key: str) -> Any:
        return type(books.storefront)._set(books.storefront, [type(changes[0])(c.item_id, c.location_id, c.quantity, -1) for c in changes])

    books.storefront.set_available = stale  # type: ignore[method-assign]
    books.storefront.tick()
    books.count(1, 11)
    with pytest.raises(StockNotDrainedError, match="still holds"):
        books.pusher.drain(timeout_seconds=0.3)
