"""An order's flight: each hop says what is, the first that did not pass says what to do next."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from integration.lake_fixture import conform
from observed_events import NOW, Observed, observed

from commerce_assets.activation.ledger import CHANGES, RUNS, STATE, Ledger
from commerce_assets.contracts import LAKE_COLUMNS, table
from commerce_assets.events import books
from commerce_assets.lake.store import QUARANTINE_SCHEMA
from commerce_assets.observability.hops import HOPS, Outcome
from commerce_assets.observability.trace import OrderUnknownError, trace_order

ORDER, CUSTOMER = 5_600_000_000_001, 7_100_000_000_001
LANDED_AT = NOW - timedelta(seconds=58)
VERSION = NOW - timedelta(seconds=62)


@pytest.fixture
def root(tmp_path: Path) -> Observed:
    return observed(tmp_path)


def land(root: Observed, partition: str = "events-20261121T115902000000-orders", *, customer_id: int | None = CUSTOMER) -> None:
    """One version of the order in the lake, as events or a pull bring it."""
    lake = root.settings.lake_root
    order = conform(
        "orders",
        {
            "order_id": [ORDER],
            "order_gid": [f"gid://shopify/Order/{ORDER}"],
            "order_name": ["#1001"],
            "customer_id": pl.Series([customer_id], dtype=pl.Int64),
            "updated_at": [VERSION],
        },
        1,
    )
    stamped = order.with_columns(
        _source_file=pl.lit("storefront/orders/20261121T115902000000-orders/0.jsonl"),
        _line=pl.lit(3, pl.Int64),
        _loaded_at=pl.lit(LANDED_AT),
        _version_at=pl.lit(VERSION),
    ).cast({**table("orders").schema, **LAKE_COLUMNS})
    folder = lake / "raw" / "storefront" / "orders" / f"partition={partition}"
    folder.mkdir(parents=True)
    stamped.write_parquet(folder / "data.parquet")


def refuse(root: Observed, table_name: str, loaded_at: datetime) -> None:
    row = {
        "load_id": "l1",
        "table": table_name,
        "failed_rules": ["currency_known"],
        "root_id": ORDER,
        "_source_file": "storefront/orders/l1/0.jsonl",
        "_line": 9,
        "_loaded_at": loaded_at,
    }
    folder = root.settings.lake_root / "quarantine" / "storefront" / table_name / "partition=l1"
    folder.mkdir(parents=True)
    pl.DataFrame([{**dict.fromkeys(QUARANTINE_SCHEMA), **row}], schema=QUARANTINE_SCHEMA).write_parquet(folder / "data.parquet")


def build(root: Observed, *, marts: bool = True, publish: bool = True, at: datetime = NOW - timedelta(seconds=40)) -> None:
    """What dbt and the publish would leave of the order."""
    path = root.settings.build_path
    path.parent.mkdir(parents=True, exist_ok=True)
    version, built = VERSION.replace(tzinfo=None), at.replace(tzinfo=None)
    for file in (path, *([root.settings.published_path] if publish else [])):
        with duckdb.connect(str(file)) as connection:
            if file == path:
                connection.execute("create schema staging")
                connection.execute(
                    f"create table staging.stg_storefront__orders as select {ORDER} order_id, timestamp '{version}' _version_at"
                )
            if marts:
                connection.execute("create schema marts; create schema ops")
                connection.execute(
                    f"create table marts.fct_order as select {ORDER} order_id, timestamp '{version}' updated_at, true is_reportable"
                )
                connection.execute(f"create table ops.order_builds as select {ORDER} order_id, 'b1' build_id, timestamp '{built}' built_at, false is_backfilled")
            if file != path:
                later = at + timedelta(seconds=10)
                connection.execute(
                    f"create table main.published as select '20261121T1' as version, timestamptz '{later.isoformat()}' published_at"
                )


def score(root: Observed, at: datetime) -> None:
    folder = root.settings.lake_root / "scores" / "customer_rfm"
    folder.mkdir(parents=True)
    pl.DataFrame({"customer_id": [CUSTOMER], "scored_at": [at], "as_of_on": [at.date()]}).write_parquet(folder / "data.parquet")


def push(root: Observed, at: datetime, outcome: str | None = "succeeded") -> None:
    common = {"destination": "shopify", "sync": "customer_scores", "run_id": "r1"}
    key = f"gid://shopify/Customer/{CUSTOMER}"
    change = {
        "record_key": key,
        "operation": "create",
        "changed_fields": "rfm_segment",
        "idempotency_key": "k",
        "attempt": 1,
        "intended_at": at,
    }
    with Ledger(root.settings.ops_url) as ledger, ledger.engine.begin() as connection:
        connection.execute(RUNS.insert(), {**common, "status": "succeeded", "started_at": at})
        connection.execute(CHANGES.insert(), {**common, **change, "outcome": outcome})
        if outcome == "succeeded":
            held = {"record_key": key, "fingerprint": "f", "fields": '{"rfm_segment":"loyal"}', "updated_at": at}
            connection.execute(STATE.insert(), {**common, **held})


def outcomes(root: Observed) -> dict[str, str]:
    return {hop.name: hop.outcome.value for hop in trace_order(root.settings, str(ORDER)).hops}


def test_an_order_that_came_by_events_is_followed_through_every_hop(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED, batch_id="b", line=3)
    land(root)
    build(root)
    score(root, NOW - timedelta(seconds=35))
    push(root, NOW - timedelta(seconds=20))
    trace = trace_order(root.settings, "#1001")
    assert [hop.name for hop in trace.hops] == list(HOPS)
    assert {hop.outcome for hop in trace.hops} == {Outcome.DONE}
    assert (trace.order_id, trace.way, trace.stopped_at, trace.next_command) == (ORDER, "events", None, None)
    facts: dict[str, Any] = {hop.name: hop for hop in trace.hops}
    assert facts["landed"].facts["partition"] == "events-20261121T115902000000-orders"
    assert facts["landed"].facts["line"] == 3
    assert facts["in_marts"].facts["build_id"] == "b1"
    assert facts["published"].facts["version"] == "20261121T1"
    assert facts["pushed"].facts["values"] == {"rfm_segment": "loyal"}
    assert [facts[name].latency_seconds for name in ("received", "landed", "published", "scored")] == [2.0, 1.0, 10.0, 5.0]
    assert "arrived" in trace.render()
    assert trace.as_dict()["hops"][0]["at"] == "2026-11-21T11:58:58+00:00"


@pytest.mark.parametrize("given", [str(ORDER), f"gid://shopify/Order/{ORDER}", "#1001", "1001"])
def test_an_order_is_found_by_id_gid_and_name(root: Observed, given: str) -> None:
    root.receive("w1", object_id=ORDER)
    assert trace_order(root.settings, given).order_id == ORDER


def test_an_order_that_nobody_knows_is_said_to_be_unknown(root: Observed) -> None:
    for given in ("#9", "9", "gid://shopify/Order/9", "gid://shopify/Order/x"):
        with pytest.raises(OrderUnknownError, match="commerce worker --once"):
            trace_order(root.settings, given)


def stuck_in_the_inbox(root: Observed) -> None:
    root.receive("w1", object_id=ORDER)


def stuck_pending(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.PENDING, attempts=2, reason="the storefront is unavailable")


def stuck_dead(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.DEAD, attempts=5, reason="OrderShape")


def stuck_batched(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.BATCHED, batch_id="b1")


def stuck_in_quarantine(root: Observed) -> None:
    refuse(root, "orders", NOW)


def stuck_before_the_build(root: Observed) -> None:
    land(root, "2026-11-21")


def stuck_in_staging(root: Observed) -> None:
    land(root, "2026-11-21")
    build(root, marts=False, publish=False)


def stuck_before_the_publish(root: Observed) -> None:
    land(root, "2026-11-21")
    build(root, publish=False)


def stuck_before_the_scores(root: Observed) -> None:
    land(root, "2026-11-21")
    build(root)
    score(root, NOW - timedelta(days=1))


def stuck_before_the_push(root: Observed) -> None:
    land(root, "2026-11-21")
    build(root)
    score(root, NOW - timedelta(seconds=30))
    push(root, NOW - timedelta(seconds=25), outcome="failed")


@pytest.mark.parametrize(
    ("arrange", "stopped_at", "command"),
    [
        (stuck_in_the_inbox, "validated", "commerce worker --once"),
        (stuck_pending, "validated", "commerce worker --once"),
        (stuck_dead, "validated", f"commerce dlq replay --object gid://shopify/Order/{ORDER}"),
        (stuck_batched, "landed", "commerce worker --once"),
        (stuck_in_quarantine, "validated", "commerce quarantine replay --family orders"),
        (stuck_before_the_build, "staged", "commerce demo"),
        (stuck_in_staging, "in_marts", "commerce demo"),
        (stuck_before_the_publish, "published", "commerce publish"),
        (stuck_before_the_scores, "scored", "commerce demo"),
        (stuck_before_the_push, "pushed", "commerce sync"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_where_an_order_stopped_comes_with_the_command_that_moves_it_on(
    root: Observed, arrange: Any, stopped_at: str, command: str
) -> None:
    arrange(root)
    trace = trace_order(root.settings, str(ORDER))
    assert (trace.stopped_at, trace.next_command) == (stopped_at, command)
    assert f"next: {command}" in trace.render()
    behind = [hop.outcome for hop in trace.hops[HOPS.index(stopped_at) + 1 :]]
    assert Outcome.DONE not in behind


def test_a_dead_event_stops_an_order_whose_version_before_arrived(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED)
    land(root)
    build(root)
    root.decide(root.receive("w2", "orders/updated", ORDER, ago=10), books.DEAD, reason="OrderShape", attempts=5)
    trace = trace_order(root.settings, str(ORDER))
    assert trace.stopped_at == "validated"
    assert [hop.detail for hop in trace.hops if hop.name == "in_marts"] == ["done with an earlier version"]
    assert [event["state"] for event in trace.events] == ["applied", "dead"]


def test_a_line_in_quarantine_does_not_stop_the_order(root: Observed) -> None:
    land(root, "2026-11-21")
    refuse(root, "order_lines", LANDED_AT)
    found = outcomes(root)
    assert (found["validated"], found["landed"]) == ("partial", "done")


def test_a_guest_has_no_score_and_nothing_to_push(root: Observed) -> None:
    land(root, customer_id=None)
    build(root)
    trace = trace_order(root.settings, str(ORDER))
    assert trace.stopped_at is None
    assert {hop.name: hop.outcome for hop in trace.hops if hop.name in ("scored", "pushed")} == {
        "scored": Outcome.SKIPPED,
        "pushed": Outcome.SKIPPED,
    }


def test_a_build_file_that_is_being_written_is_not_waited_for(root: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    land(root)
    build(root)
    from commerce_assets.observability import facts
    from commerce_assets.warehouse import WarehouseBusyError

    opened = facts.reading_warehouse

    def busy(path: Path, **options: Any) -> Iterator[Any]:
        if path == root.settings.build_path:
            assert options == {"wait_seconds": 0}
            raise WarehouseBusyError("held")
        return opened(path, **options)  # type: ignore[return-value]

    monkeypatch.setattr(facts, "reading_warehouse", busy)
    found = outcomes(root)
    assert [found[name] for name in ("staged", "in_marts", "published")] == ["done", "done", "done"]


def test_a_pull_after_the_last_event_is_how_the_newest_version_came(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER, ago=90), books.APPLIED)
    land(root, "2026-11-21")
    assert trace_order(root.settings, str(ORDER)).way == "pull"
