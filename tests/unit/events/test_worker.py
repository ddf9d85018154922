"""What becomes of events: versions, parts, notices, deletions, dead letters; with a lake and a shop in memory."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from event_fakes import QUICK, Office, moment, order_body, transaction_body

from commerce_assets.events import books, deadletters
from commerce_assets.events.database import reading
from commerce_assets.events.worker import WorkerStatus


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def test_an_order_lands_from_its_payload_with_the_transactions_that_came_apart(office: Office) -> None:
    created = office.send("orders/create", order_body(1, 10))
    paid = office.send("order_transactions/create", transaction_body(1, 7, 10))
    office.drain()
    assert office.states() == {created: "applied", paid: "applied"}
    assert office.lake.order(1) == {"version": moment(10), "transactions": [7], "refunds": []}
    assert (office.shop.fetched, office.stock.orders) == ([], [1])
    row = office.row(created)
    assert (row.line, row.source_file) == (1, f"{row.batch_id}.jsonl")
    hops = [row.received_at, row.stored_at, row.decided_at, row.landed_at]
    assert hops == sorted(hops)


def test_a_part_that_comes_later_lands_its_order_again(office: Office) -> None:
    office.send("orders/create", order_body(1, 10))
    office.drain()
    refund = office.send("refunds/create", {"id": 5, "order_id": 1, "created_at": moment(20)})
    office.drain()
    assert office.states()[refund] == "applied"
    assert office.lake.order(1) == {"version": moment(10), "transactions": [], "refunds": [5]}


def test_newer_wins_older_is_superseded_and_the_same_is_a_duplicate(office: Office) -> None:
    newest = office.send("orders/updated", order_body(1, 30), second=30)
    created = office.send("orders/create", order_body(1, 10), second=10)
    office.drain()
    late = office.send("orders/paid", order_body(1, 20), second=20)
    same = office.send("orders/fulfilled", order_body(1, 30), second=30)
    office.drain()
    assert office.states() == {newest: "applied", created: "superseded", late: "superseded", same: "duplicate"}
    assert office.lake.order(1) == {"version": moment(30), "transactions": [], "refunds": []}
    assert office.shop.fetched == []


def test_versions_of_one_second_go_by_when_they_were_triggered(office: Office) -> None:
    office.send("orders/create", order_body(1, 10), second=10.1)
    later = office.send("orders/updated", order_body(1, 10, refunds=[{"id": 4}]), second=10.7)
    earlier = office.send("orders/updated", order_body(1, 10, refunds=[]), second=10.4)
    office.drain()
    assert (office.states()[later], office.states()[earlier]) == ("applied", "superseded")
    assert office.lake.order(1) == {"version": moment(10), "transactions": [], "refunds": [4]}


def test_an_order_not_seen_from_its_birth_is_fetched_once_and_lands_from_payloads_after_that(office: Office) -> None:
    office.shop.put("Order", 1, 20, transactions=[7, 8])
    first = office.send("orders/updated", order_body(1, 20), second=20)
    office.drain()
    assert office.shop.fetched == [("Order", (1,))]
    second = office.send("orders/updated", order_body(1, 30), second=30)
    third = office.send("order_transactions/create", transaction_body(1, 9, 31))
    office.drain()
    assert set(office.states().values()) == {"applied"}, (first, second, third)
    assert office.lake.order(1) == {"version": moment(30), "transactions": [7, 8, 9], "refunds": []}
    assert len(office.shop.fetched) == 1


def test_a_part_of_an_unknown_order_waits_shortly_and_is_then_fetched(office: Office) -> None:
    office.shop.put("Order", 1, 20, transactions=[7], refunds=[3])
    part = office.send("order_transactions/create", transaction_body(1, 7, 20))
    office.drain()
    assert office.states() == {part: "applied"}
    assert office.lake.order(1) == {"version": moment(20), "transactions": [7], "refunds": [3]}


def test_a_part_that_overtook_its_order_needs_no_fetch(office: Office) -> None:
    part = office.send("order_transactions/create", transaction_body(1, 7, 10))
    assert office.worker.lanes["orders"].step()
    assert office.states() == {part: "pending"}
    office.send("orders/create", order_body(1, 10))
    office.drain()
    assert set(office.states().values()) == {"applied"}
    assert office.shop.fetched == []
    assert office.lake.order(1) == {"version": moment(10), "transactions": [7], "refunds": []}


def test_notices_of_an_object_are_coalesced_into_one_fetch(office: Office) -> None:
    office.shop.put("Customer", 5, 40)
    office.shop.put("Product", 6, 40)
    for second in (10, 20, 30):
        office.send("customers/update", {"id": 5, "updated_at": moment(second)}, second=second)
    office.send("customer.tags_added", {"customerId": "gid://shopify/Customer/5", "occurredAt": moment(35)}, second=35)
    office.send("products/update", {"id": 6, "updated_at": moment(40)}, second=40)
    office.drain()
    assert sorted(office.shop.fetched) == [("Customer", (5,)), ("Product", (6,))]
    assert set(office.states().values()) == {"applied"}
    old = office.send("customers/update", {"id": 5, "updated_at": moment(15)}, second=15)
    office.drain()
    assert office.states()[old] == "superseded"
    assert len(office.shop.fetched) == 2


def test_a_delivered_order_is_fetched_for_its_payload_does_not_say_when(office: Office) -> None:
    office.shop.put("Order", 1, 10, transactions=[7])
    office.send("orders/create", order_body(1, 10, fulfillments=[{"id": 2, "shipment_status": "delivered"}]), second=10)
    office.drain()
    assert office.shop.fetched == [("Order", (1,))]
    assert office.lake.order(1) == {"version": moment(10), "transactions": [7], "refunds": []}


def test_a_deletion_lands_and_nothing_about_the_object_holds_afterwards(office: Office) -> None:
    office.send("orders/create", order_body(1, 10), second=10)
    gone = office.send("orders/delete", {"id": 1}, second=20)
    late = office.send("orders/updated", order_body(1, 15), second=15)
    again = office.send("orders/delete", {"id": 1}, second=21)
    customer = office.send("customers/delete", {"id": 5}, second=20)
    office.drain()
    states = office.states()
    assert (states[gone], states[late], states[again], states[customer]) == ("applied", "superseded", "duplicate", "applied")
    assert office.lake.deleted() == {("order", 1), ("customer", 5)}
    assert office.stock.dropped == [1]


def test_a_stale_answer_of_the_storefront_does_not_count_for_a_newer_event(office: Office) -> None:
    office.shop.put("Order", 1, 20, transactions=[7])
    newer = office.send("orders/updated", order_body(1, 30), second=30)
    office.drain()
    assert office.states() == {newer: "applied"}
    assert office.lake.order(1) == {"version": moment(30), "transactions": [7], "refunds": []}


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        ("orders/create", b'{"id": 1, "updated_at": ', "malformed"),
        ("orders/create", b"\xff\xfe", "malformed"),
        ("orders/create", b"[" * 100_000, "malformed"),
        ("orders/create", b"[1]", "malformed"),
        ("orders/create", b'{"id": 1}', "no_version"),
        ("orders/create", b'{"id": "one", "updated_at": "2026-11-20T00:00:00Z"}', "no_id"),
        ("orders/create", b'{"id": 99999999999999999999, "updated_at": "2026-11-20T00:00:00Z"}', "no_id"),
        ("refunds/create", b'{"order_id": 1, "created_at": "2026-11-20T00:00:00Z"}', "no_id"),
        ("customers/update", b"{}", "no_id"),
        ("wms/stock", b"nothing", "malformed"),
    ],
)
def test_what_can_never_be_read_is_a_dead_letter_at_once(office: Office, topic: str, body: bytes, reason: str) -> None:
    seq = office.send(topic, body)
    office.drain()
    row = office.row(seq)
    assert (row.state, row.reason.partition(":")[0], row.attempts) == ("dead", reason, 1)


def test_an_id_beyond_the_exact_numbers_is_taken_from_the_gid(office: Office) -> None:
    exact = 820982911946154508
    office.send(
        "orders/create", {"id": 820982911946154500, "admin_graphql_api_id": f"gid://shopify/Order/{exact}", "updated_at": moment(1)}
    )
    office.drain()
    assert office.lake.documents("orders") == [exact]


def test_a_refused_order_is_a_dead_letter_and_replay_after_the_fix_applies_it_once(office: Office) -> None:
    office.lake.refused[2] = "currency_is_known"
    good, bad = office.send("orders/create", order_body(1, 10)), office.send("orders/create", order_body(2, 10))
    office.drain()
    assert office.states() == {good: "applied", bad: "dead"}
    (letter,) = deadletters.list_dead(office.engine, deadletters.Filter(reason="currency_is_known", topic="orders/create"))
    assert (letter.seq, letter.reason, letter.object_id) == (bad, "contract: currency_is_known", 2)
    office.lake.refused.clear()
    wanted = deadletters.Filter(object_type="Order", object_id=2)
    assert [deadletters.replay(office.engine, wanted, "ann", "rule fixed") for _ in range(2)] == [1, 0]
    office.drain()
    assert deadletters.replay(office.engine, wanted, "ann") == 0
    assert office.states() == {good: "applied", bad: "applied"}
    assert office.lake.order(2) is not None
    with reading(office.engine) as connection:
        assert [
            tuple(row) for row in connection.execute(sa.select(books.ACTIONS.c.seq, books.ACTIONS.c.action, books.ACTIONS.c.taken_by))
        ] == [(bad, "replay", "ann")]


def test_a_discarded_letter_stays_discarded(office: Office) -> None:
    bad = office.send("orders/create", b"{")
    office.drain()
    assert deadletters.discard(office.engine, deadletters.Filter(seqs=[bad]), "ann", "a test of the sender") == 1
    assert deadletters.replay(office.engine, deadletters.Filter(seqs=[bad]), "ann") == 0
    office.drain()
    assert office.states() == {bad: "discarded"}


def test_a_shown_event_has_no_personal_data(office: Office) -> None:
    person = {"email": "ann@example.org", "first_name": "Ann", "phone": "+49 1", "default_address": {"zip": "10115", "latitude": 52.5}}
    body = {**order_body(1, 10), "customer": {"id": 9, **person}, "note": "ring twice", "note_attributes": [{"name": "a", "value": "Ann"}]}
    seq = office.send("orders/create", body)
    office.drain()
    shown = deadletters.show(office.engine, office.inbox, seq)
    assert shown.body["customer"]["id"] == 9
    assert shown.body["total_price"] == "10.00"
    assert not any(word in str(shown.body) for word in ("ann@", "Ann", "+49", "10115", "52.5", "ring"))
    with pytest.raises(deadletters.NoSuchEventError):
        deadletters.show(office.engine, office.inbox, 99)


def test_an_event_that_breaks_the_landing_is_found_and_the_others_land(office: Office) -> None:
    def break_on_poison(family: str, rows: list[object]) -> None:
        if any("poison" in str(row) for row in rows):
            raise ValueError("the lake chokes")

    office.lake.hook = break_on_poison
    seqs = [office.send("orders/create", order_body(number, 10, note="poison" if number == 7 else "")) for number in range(1, 12)]
    office.drain()
    assert [seq for seq, state in office.states().items() if state == "dead"] == [seqs[6]]
    assert set(office.lake.documents("orders")) == set(range(1, 12)) - {7}
    assert (office.row(seqs[6]).reason, office.row(seqs[6]).attempts) == ("error: ValueError", 3)


def test_an_event_that_breaks_the_books_of_stock_fails_alone(office: Office) -> None:
    seqs = [office.send("wms/stock", {"key": str(number), **({"breaks": True} if number == 3 else {})}) for number in range(6)]
    seqs.append(office.send("wms/stock", {"key": "same", "outcome": "duplicate"}))
    seqs.append(office.send("wms/stock", {"key": "bad", "outcome": "refused"}))
    seqs.append(office.send("wms/stock", {"key": "early", "outcome": "retry"}))
    office.drain()
    states = [office.states()[seq] for seq in seqs]
    assert states == ["applied", "applied", "applied", "dead", "applied", "applied", "duplicate", "dead", "dead"]
    assert office.row(seqs[8]).attempts == 3, "an unknown SKU is tried again before it is given up"


def test_a_full_lake_costs_no_attempt(office: Office) -> None:
    failures = iter([OSError("no space"), OSError("no space"), None])

    def fail(family: str, rows: list[object]) -> None:
        error = next(failures, None)
        if error is not None:
            raise error

    office.lake.hook = fail
    seq = office.send("orders/create", order_body(1, 10))
    office.drain()
    assert (office.states()[seq], office.row(seq).attempts) == ("applied", 0)


def test_while_the_storefront_is_down_notices_wait_and_payloads_land(office: Office) -> None:
    office.shop.put("Customer", 5, 10)
    office.shop.is_down = True
    notice = office.send("customers/update", {"id": 5, "updated_at": moment(10)}, second=10)
    order = office.send("orders/create", order_body(1, 10))
    office.drain(timeout_seconds=0.3)
    assert office.states() == {notice: "pending", order: "applied"}
    office.shop.is_down = False
    office.drain()
    assert (office.states()[notice], office.row(notice).attempts) == ("applied", 0)


def test_what_the_storefront_does_not_have_is_a_dead_letter_after_some_tries(office: Office) -> None:
    office.shop.put("Customer", 6, 10)
    lost = office.send("customers/update", {"id": 5, "updated_at": moment(10)}, second=10)
    found = office.send("customers/update", {"id": 6, "updated_at": moment(10)}, second=10)
    office.drain()
    assert office.states() == {lost: "dead", found: "applied"}
    assert office.row(lost).reason == "missing: the storefront has no such Customer"


def test_a_failing_customer_does_not_keep_its_order_back_and_succeeds_later(office: Office) -> None:
    office.lake.refused[5] = "email_is_one"
    office.shop.put("Customer", 5, 10)
    order = office.send("orders/create", order_body(1, 10, customer={"id": 5}))
    customer = office.send("customers/create", {"id": 5, "updated_at": moment(10)}, second=10)
    office.drain()
    assert office.states() == {order: "applied", customer: "dead"}
    office.lake.refused.clear()
    deadletters.replay(office.engine, deadletters.Filter(), "ann")
    office.drain()
    assert office.states() == {order: "applied", customer: "applied"}
    assert office.lake.documents("customers") == [5]


def test_duties_and_notes_are_kept_and_acknowledged(office: Office) -> None:
    redact = office.send("customers/redact", {"customer": {"id": 5, "email": "ann@example.org"}, "orders_to_redact": [1]})
    gone = office.send("app/uninstalled", {"id": 9})
    item = office.send("inventory_items/delete", {"id": 3})
    office.drain()
    assert set(office.states().values()) == {"applied"}
    with reading(office.engine) as connection:
        (duty,) = connection.execute(sa.select(books.COMPLIANCE)).all()
        assert (duty.seq, duty.object_id, duty.status, duty.due_at - duty.requested_at) == (redact, 5, "queued", timedelta(days=30))
        assert set(connection.scalars(sa.select(books.CONTROL.c.seq))) == {gone, item}


def test_levels_are_observed_by_the_books_of_stock(office: Office) -> None:
    office.shop.put("InventoryItem", 3, 10)
    level = {"inventory_item_id": 3, "location_id": 1, "available": 4, "updated_at": moment(50)}
    office.send("inventory_levels/update", level, second=50)
    office.drain()
    assert office.stock.levels == [3]
    assert office.lake.documents("inventory") == [3]


def test_reports_wait_for_their_reader_and_tell_what_each_landing_did(office: Office) -> None:
    office.reporter.is_down = True
    office.send("orders/create", order_body(1, 10), second=10)
    office.send("orders/updated", order_body(1, 5), second=5)
    office.drain()
    assert office.worker.status().open_reports == 1
    office.reporter.is_down = False
    office.restart()
    office.drain()
    (report,) = office.reporter.reports
    assert (report.family, report.rows, dict(report.events)) == ("orders", 1, {"applied": 1, "superseded": 1})
    assert office.worker.status().open_reports == 0


def test_missed_changes_are_found_fetched_and_counted(office: Office) -> None:
    office.send("orders/create", order_body(1, 10), second=10)
    office.drain()
    for kind, number in (("Customer", 5), ("Order", 2)):
        office.shop.objects[(kind, number)] = {"id": number, "updated_at": datetime.now(UTC).isoformat()}
    office.shop.put("Order", 1, 10)
    assert office.worker.reconciler.run() == 2
    office.drain()
    assert office.worker.reconciler.run() == 0
    assert office.lake.documents("customers") == [5]
    with reading(office.engine) as connection:
        missed = {row.object_type: row.missed for row in connection.execute(sa.select(books.RECONCILIATIONS)) if row.missed}
    assert missed == {"Customer": 1, "Order": 1}


def test_a_change_whose_event_is_in_the_inbox_was_not_missed(office: Office) -> None:
    at = datetime.now(UTC)
    office.shop.objects[("Order", 1)] = {"id": 1, "updated_at": at.isoformat()}
    office.send("orders/create", {**order_body(1, 10), "updated_at": at.isoformat()})
    assert office.worker.reconciler.run() == 0


def test_more_changes_than_a_page_are_all_found(office: Office) -> None:
    office.send("orders/create", order_body(99, 10), second=10)
    begun = datetime.now(UTC)
    for number in range(1, 24):
        at = begun + timedelta(microseconds=number // 4)
        office.shop.objects[("Product", number)] = {"id": number, "updated_at": at.isoformat()}
    office.worker.desk.options = replace(QUICK, reconcile_limit=3)
    assert office.worker.reconciler.run() == 23


def test_a_paid_order_whose_transaction_never_came_is_fetched_by_reconciliation(office: Office) -> None:
    office.send("orders/create", order_body(1, 10, financial_status="paid"), second=10)
    office.send("orders/create", order_body(2, 10, financial_status="paid"), second=10)
    office.send("order_transactions/create", transaction_body(2, 8, 10))
    office.drain()
    office.shop.put("Order", 1, 10, transactions=[7])
    assert office.worker.reconciler.run() == 1
    office.drain()
    assert office.lake.order(1) == {"version": moment(10), "transactions": [7], "refunds": []}
    assert office.worker.reconciler.run() == 0


def test_bytes_that_were_pruned_have_their_order_fetched(office: Office) -> None:
    office.send("orders/create", order_body(1, 10), second=10)
    office.drain()
    assert office.inbox.prune(datetime.now(UTC) + timedelta(days=1)) == 1
    office.shop.put("Order", 1, 20, transactions=[7], refunds=[])
    part = office.send("order_transactions/create", transaction_body(1, 7, 20))
    office.drain()
    assert office.states()[part] == "applied"
    assert office.lake.order(1) == {"version": moment(20), "transactions": [7], "refunds": []}


def test_a_family_is_folded_after_enough_landings(tmp_path: Path) -> None:
    office = Office(tmp_path, replace(QUICK, fold_batches=3))
    for number in range(1, 6):
        office.send("orders/create", order_body(number, 10))
        office.worker.lanes["orders"].step()
        office.worker.landers["orders"].step()
    assert office.folded == ["orders"]
    office.close()


def test_threads_work_what_comes_and_stop_when_told(office: Office) -> None:
    office.shop.put("Customer", 5, 40)
    stop = threading.Event()
    thread = threading.Thread(target=office.worker.run, args=(stop,))
    thread.start()
    for number in range(1, 20):
        office.send("orders/create", order_body(number, 10))
    office.send("customers/update", {"id": 5, "updated_at": moment(10)}, second=10)
    waited = threading.Event()
    while not (status := office.worker.status()).is_drained or sum(status.states.values()) < 20:
        waited.wait(0.02)
    # A lane without events takes its own time to pass on: one that is told to stop before it did has the next start to do so.
    while {lane.cursor for lane in office.worker.lanes.values()} != {20}:
        waited.wait(0.02)
    with pytest.raises(books.WorkerBusyError):
        office.worker.drain()
    stop.set()
    thread.join()
    assert isinstance(status, WorkerStatus)
    assert status.states == {"applied": 20}
    assert set(books.cursor_seqs(office.engine).values()) == {20}, "where a lane has come to is kept when it stops"


def test_what_ended_long_ago_is_forgotten_and_fetched_if_it_comes_up_again(office: Office) -> None:
    office.send("orders/create", order_body(1, 10), second=10)
    office.send("order_transactions/create", transaction_body(1, 7, 10), second=10)
    office.send("orders/delete", {"id": 2}, second=10)
    bad = office.send("orders/create", b"{")
    office.drain()
    forgotten = books.forget(office.engine, datetime.now(UTC) + timedelta(days=1))
    assert {name: rows for name, rows in forgotten.items() if rows} == {
        "event_states": 3,
        "event_documents": 1,
        "event_parts": 1,
        "event_batches": 2,
        "event_reports": 2,
    }
    assert office.states() == {bad: "dead"}
    office.shop.put("Order", 1, 30, transactions=[7])
    late = [office.send("orders/updated", order_body(1, 30), second=30), office.send("orders/updated", order_body(2, 30), second=30)]
    office.drain()
    assert [office.states()[seq] for seq in late] == ["applied", "superseded"]
    assert office.shop.fetched == [("Order", (1,))]


def test_levels_gather_before_their_item_is_fetched(office: Office) -> None:
    office.shop.put("InventoryItem", 3, 10)
    for second in (50, 51, 52):
        office.send("inventory_levels/update", {"inventory_item_id": 3, "location_id": 1, "available": 4, "updated_at": moment(second)})
    lane, fetcher = office.worker.lanes["inventory"], office.worker.fetchers["inventory"]
    assert lane.step()
    assert not fetcher.step()
    assert office.stock.levels == [3, 3, 3], "the books of stock do not wait"
    office.drain()
    assert office.shop.fetched == [("InventoryItem", (3,))]
    assert set(office.states().values()) == {"applied"}


def test_what_fails_is_logged_without_the_values_it_stumbled_over(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    def fail(family: str, rows: list[object]) -> None:
        raise ValueError(f"could not convert {rows}")

    office.lake.hook = fail
    office.send("orders/create", order_body(1, 10, email="ann@example.org"))
    office.drain()
    assert "ValueError" in caplog.text
    assert "ann@" not in caplog.text


def test_a_payload_that_overtakes_the_answer_of_a_fetch_is_not_lost_to_it(office: Office) -> None:
    office.send("orders/create", order_body(1, 10), second=10)
    office.drain()
    lane, fetcher = office.worker.lanes["orders"], office.worker.fetchers["orders"]
    office.send("orders/edited", {"order_edit": {"order_id": 1, "committed_at": moment(20)}})
    office.send("orders/create", order_body(2, 10), second=10)
    assert lane.step(), "the second order's batch waits for its landing from now on"
    office.shop.put("Order", 1, 20, refunds=[])

    def refund_meanwhile() -> None:
        office.shop.meanwhile = lambda: None
        office.shop.put("Order", 1, 20, refunds=[3])
        office.send("orders/updated", order_body(1, 20, refunds=[{"id": 3}]))
        assert lane.step()

    office.shop.meanwhile = refund_meanwhile
    assert fetcher.step()
    office.drain()
    assert set(office.states().values()) <= {"applied", "superseded"}
    assert office.lake.order(1) == {"version": moment(20), "transactions": [], "refunds": [3]}


def test_an_object_the_storefront_cannot_give_does_not_keep_the_others_waiting(office: Office) -> None:
    for number in range(1, 20):
        office.shop.put("Customer", number, 10)
        office.send("customers/update", {"id": number, "updated_at": moment(10)}, second=10)
    office.shop.broken = frozenset({7})
    lane, fetcher = office.worker.lanes["customers"], office.worker.fetchers["customers"]
    assert lane.step()
    others = set(range(1, 20)) - {7}
    for _ in range(200):
        if set(office.lake.documents("customers")) == others:
            break
        fetcher.rests_until = None
        fetcher.step()
    assert set(office.lake.documents("customers")) == others
    assert list(office.states().values()).count("pending") == 1


def test_a_refused_part_is_a_dead_letter_while_its_order_lands(office: Office) -> None:
    office.lake.refused_parts[("OrderTransaction", 7)] = "amount_known"
    order = office.send("orders/create", order_body(1, 10))
    bad, good = (office.send("order_transactions/create", transaction_body(1, number, 10)) for number in (7, 8))
    office.drain()
    assert office.states() == {order: "applied", bad: "dead", good: "applied"}
    assert office.row(bad).reason == "contract: amount_known"


def test_a_part_refused_for_want_of_a_payment_that_never_came_has_its_order_read(office: Office) -> None:
    office.shop.put("Order", 1, 20, transactions=[7], refunds=[3])
    office.lake.refused_parts[("Refund", 3)] = "refund_within_paid"
    born = office.send("orders/create", order_body(1, 10, financial_status="paid"))
    refund = office.send("refunds/create", {"id": 3, "order_id": 1, "created_at": moment(20)})

    office.drain()

    assert office.states() == {born: "applied", refund: "applied"}
    assert office.shop.fetched == [("Order", (1,))]
    assert office.lake.order(1) == {"version": moment(20), "transactions": [7], "refunds": [3]}
