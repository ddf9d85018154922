"""The figures of the platform itself say what happened: each model of schema `ops` run over books in known states."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from observed_events import NOW, Observed, observed
from observed_orders import ORDER, STUCK, build, land, push, score, stuck_before_the_publish
from ops_models import figures

from commerce_assets.events import books
from commerce_assets.events.inbox import Rejection
from commerce_assets.events.stock import tables as stock
from commerce_assets.observability import kpis, snapshots
from commerce_assets.observability.trace import trace_order

LATER = NOW + timedelta(hours=2)
TODAY = NOW.date()


@pytest.fixture
def root(tmp_path: Path) -> Observed:
    return observed(tmp_path)


def measured(root: Observed, *models: str, at: datetime = LATER) -> Iterator[list[dict[str, Any]]]:
    """Copies taken and the models built as of a moment; the rows of each model asked for."""
    snapshots.take_event_log(root.settings, at)
    snapshots.take_stock(root.settings, at)
    with figures(root.settings, at, models) as connection:
        for model in models:
            yield connection.execute(f"from ops.{model}").pl().to_dicts()


def test_an_order_in_the_table_is_where_its_trace_says(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED, batch_id="b", line=3)
    land(root)
    build(root)
    score(root, NOW - timedelta(seconds=35))
    push(root, NOW - timedelta(seconds=20))
    (traced,) = next(measured(root, "order_trace"))
    by_hop = {hop.name: hop.at for hop in trace_order(root.settings, str(ORDER)).hops}
    hops = ("emitted", "received", "stored", "validated", "landed", "in_marts", "scored", "pushed")
    assert {hop: traced[f"{hop}_at"].replace(tzinfo=UTC) for hop in hops if hop != "pushed"} == {
        hop: by_hop[hop] for hop in hops if hop != "pushed"
    }
    assert (traced["stopped_at"], traced["next_command"], traced["way"]) == (None, None, "events")
    assert (traced["line"], traced["build_id"], traced["push_outcome"]) == (3, "b1", "succeeded")
    assert (traced["receive_seconds"], traced["land_seconds"], traced["mart_seconds"]) == (2.0, 2.0, 18.0)


@pytest.mark.parametrize(
    ("arrange", "stopped_at", "command"),
    [case for case in STUCK if case[0] is not stuck_before_the_publish],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_stuck_order_is_stuck_in_the_table_too(root: Observed, arrange: Any, stopped_at: str, command: str) -> None:
    arrange(root)
    (traced,) = next(measured(root, "order_trace"))
    assert (traced["order_id"], traced["stopped_at"], traced["next_command"]) == (ORDER, stopped_at, command)


def test_an_order_is_not_stopped_before_it_is_its_turn(root: Observed) -> None:
    land(root, "2026-11-21")
    build(root)
    (fresh,) = next(measured(root, "order_trace", at=NOW))
    (old,) = next(measured(root, "order_trace", at=LATER))
    assert (fresh["stopped_at"], old["stopped_at"]) == (None, "scored")


def test_retries_drift_and_outcomes_of_webhooks_are_counted_by_day_and_topic(root: Observed) -> None:
    seqs = [root.receive(f"w{number}", object_id=number, ago=60 + number) for number in range(4)]
    for seq, state in zip(seqs, (books.APPLIED, books.SUPERSEDED, books.DUPLICATE, books.DEAD), strict=True):
        root.decide(seq, state, reason="OrderShape" if state == books.DEAD else None)
    root.inbox.append([event.delivery for event in root.inbox.get(seqs[:1])])
    root.receive("p1", "orders/paid", 1)
    root.inbox.append([], [Rejection("webhook", "orders/create", "signature", NOW)])
    webhooks, dead = measured(root, "kpi_webhooks", "dead_letters")
    assert [(one["topic"], one["retry_rate"]) for one in webhooks if one["topic"] == "orders/paid"] == [("orders/paid", 0.0)]
    (row,) = [one for one in webhooks if one["topic"] == "orders/create"]
    assert (row["received_on"], row["topic"]) == (TODAY, "orders/create")
    counted = {
        name: row[f"{name}_count"] for name in ("delivery", "stored", "duplicate_delivery", "rejected", "applied", "superseded", "dead")
    }
    assert counted == {"delivery": 5, "stored": 4, "duplicate_delivery": 1, "rejected": 1, "applied": 1, "superseded": 1, "dead": 1}
    assert row["retry_rate"] == pytest.approx(1 / 5)
    assert row["drift_max_seconds"] == 2.0
    assert [(one["topic"], one["reason"], one["state"]) for one in dead] == [("orders/create", "OrderShape", "dead")]


def test_backlog_is_deepest_while_nothing_was_finished(root: Observed) -> None:
    start = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    for number in range(6):
        seq = root.receive(f"w{number}", object_id=number, ago=(NOW - start).total_seconds())
        state = books.PENDING if number == 5 else books.APPLIED
        root.decide(seq, state, stored_at=start + timedelta(minutes=number), finished_at=start + timedelta(minutes=20 + number))
    (backlog,) = measured(root, "kpi_event_backlog")
    by_hour = {row["hour_at"].hour: row for row in backlog}
    assert (by_hour[10]["depth_max_count"], by_hour[10]["depth_end_count"], by_hour[10]["finished_count"]) == (6, 1, 5)
    assert by_hour[10]["age_max_seconds"] == 1200.0
    assert by_hour[14]["age_max_seconds"] == (LATER - start - timedelta(minutes=5)).total_seconds(), "the open one, as of the copy"


def test_missed_webhooks_come_from_reconciliations(root: Observed) -> None:
    look = {"object_type": "Order", "since": NOW, "until": NOW, "started_at": NOW, "finished_at": NOW}
    root.write(books.RECONCILIATIONS, [{**look, "seen": 10, "missed": 1}, {**look, "seen": 10, "missed": 0}])
    ((row,),) = measured(root, "kpi_missed_webhooks")
    assert (row["reconciliation_count"], row["changed_object_count"], row["missed_webhook_count"], row["missed_rate"]) == (2, 20, 1, 0.05)


def test_both_integrity_rates(root: Observed) -> None:
    land(root, "2026-11-21")
    build(root)
    batch = {"batch_id": "20261121T115902000000-orders", "lane": "orders", "family": "orders", "kind": "payloads", "status": "landed"}
    root.write(books.BATCHES, [{**batch, "rows": 97, "quarantined": 2}])
    root.decide(root.receive("w1", object_id=2), books.DEAD)
    two_days = timedelta(days=2)
    root.decide(root.receive("w2", object_id=3, ago=two_days.total_seconds()), books.DEAD)
    action = {
        "seq": 9,
        "action": "replay",
        "taken_by": "ada",
        "taken_at": NOW,
        "topic": "orders/create",
        "object_type": "Order",
        "object_id": ORDER,
    }
    root.write(books.ACTIONS, [action])
    integrity, interventions = measured(root, "kpi_data_integrity", "manual_interventions")
    (row,) = [row for row in integrity if row["day_on"] == TODAY]
    assert (row["record_count"], row["error_count"], row["record_integrity_rate"]) == (100, 3, 0.97)
    assert (row["order_count"], row["corrected_order_count"], row["order_integrity_rate"]) == (1, 1, 0.0)
    (dead_only,) = [row for row in integrity if row["day_on"] == (NOW - two_days).date()]
    assert (dead_only["record_count"], dead_only["error_count"], dead_only["record_integrity_rate"]) == (1, 1, 0.0)
    assert [(one["kind"], one["object_id"]) for one in interventions] == [("replay", ORDER)]


def test_stock_that_differs_and_how_fast_it_was_sent(root: Observed) -> None:
    seconds = timedelta(seconds=1)
    shelf = {"item_id": 1, "location_id": 2, "available_quantity": 7, "seen_quantity": 9}
    root.write(stock.SHELVES, [{**shelf, "confirmed_at": NOW, "seen_at": NOW - 30 * seconds, "tolerated_difference": 0}])
    sent = {
        "item_id": 1,
        "location_id": 2,
        "quantity": 7,
        "version": 1,
        "outcome": "acknowledged",
        "occurred_at": NOW - seconds,
        "taken_at": NOW,
    }
    root.write(stock.PUSH_ROWS, [{**sent, "push_id": f"p{number}", "acknowledged_at": NOW + number * seconds} for number in (1, 2, 3)])
    change = {"item_id": 1, "location_id": 2, "writer": "storefront", "expected_quantity": 7, "found_quantity": 9, "difference_units": 2}
    root.write(
        stock.DRIFT, [{**change, "drift_id": 1, "state": "corrected", "seen_at": NOW, "noticed_at": NOW, "ended_at": NOW + 5 * seconds}]
    )
    drift, syncs, incidents = measured(root, "stock_drift", "kpi_stock_sync", "stock_incidents")
    assert [(row["difference_units"], row["difference_seconds"], row["is_different"]) for row in drift] == [(2, 30.0, True)]
    (sync,) = syncs
    assert (sync["sent_on"], sync["acknowledged_count"], sync["sync_p50_seconds"], sync["sync_max_seconds"]) == (TODAY, 3, 2.0, 3.0)
    assert sync["change_p50_seconds"] == 3.0
    assert [(row["writer"], row["difference_units"], row["open_seconds"]) for row in incidents] == [("storefront", 2, 5.0)]


def test_orders_that_came_by_events_have_a_propagation_latency_once_published(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED)
    land(root)
    build(root)
    with duckdb.connect(str(root.settings.published_path)) as connection:
        at = (NOW - timedelta(seconds=30)).isoformat()
        connection.execute(f"create table main.publishes as select '20261121T1' as version, timestamptz '{at}' published_at, 'r' run_id")
    propagation, traces = measured(root, "kpi_order_propagation", "order_trace")
    (row,) = propagation
    assert (row["emitted_on"], row["order_count"], row["published_count"]) == (date(2026, 11, 21), 1, 1)
    assert row["propagation_p50_seconds"] == 32.0
    assert traces[0]["published_version"] == "20261121T1"


def test_what_must_be_told_now_is_found_in_the_copies(root: Observed) -> None:
    root.receive("w1", "customers/update", 7, ago=600)
    for number, reason in enumerate(("OrderShape", "OrderShape", "Timeout")):
        root.decide(root.receive(f"d{number}", object_id=number), books.DEAD, reason=reason)
    shelf = {"location_id": 2, "available_quantity": 7, "is_active": True, "tolerated_difference": 0, "seen_at": NOW - timedelta(hours=1)}
    root.write(
        stock.SHELVES,
        [
            {**shelf, "item_id": 1, "seen_quantity": 9},
            {**shelf, "item_id": 2, "seen_quantity": 9, "seen_at": NOW},
            {**shelf, "item_id": 3, "seen_quantity": 9, "tolerated_difference": 2},
            {**shelf, "item_id": 4, "seen_quantity": 7},
        ],
    )
    snapshots.take_event_log(root.settings, NOW)
    snapshots.take_stock(root.settings, NOW)
    events = snapshots.read(root.settings.lake_root, "events")
    (stored_at,) = events.filter(events["state"] == "stored")["stored_at"]
    backlog = kpis.backlog(events, stored_at + timedelta(seconds=600))
    assert (backlog.depth, backlog.by_lane) == (1, {"customers": (1, 600.0)})
    dead = kpis.dead_letters(events)
    assert (dead.count, dead.by_topic_and_reason[0]) == (3, ("orders/create", "OrderShape", 2))
    drift = kpis.drift(snapshots.read(root.settings.lake_root, "stock_shelves"), NOW, tolerated_seconds=900)
    assert (drift.shelves, drift.different, drift.lasting, drift.units) == (4, 2, 1, 2)
    assert drift.worst[0]["item_id"] == 1
