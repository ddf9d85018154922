"""One order, brought as far as a test wants it: in the lake, in quarantine, built, published, scored, pushed; and where it can be stuck."""

from datetime import datetime, timedelta

import duckdb
import polars as pl
from integration.lake_fixture import conform
from observed_events import NOW, Observed

from commerce_assets.activation.ledger import CHANGES, RUNS, STATE, Ledger
from commerce_assets.contracts import LAKE_COLUMNS, table
from commerce_assets.events import books
from commerce_assets.lake.store import QUARANTINE_SCHEMA

ORDER, CUSTOMER = 5_600_000_000_001, 7_100_000_000_001
LANDED_AT = NOW - timedelta(seconds=58)
VERSION = NOW - timedelta(seconds=62)


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
                    f"create table staging.stg_storefront__orders as select {ORDER} order_id, timestamp '{version}' _version_at, timestamp '{version}' created_at, timestamp '{built}' _loaded_at"
                )
            if marts:
                connection.execute("create schema marts; create schema ops")
                connection.execute(
                    f"create table marts.fct_order as select {ORDER} order_id, timestamp '{version}' updated_at, true is_reportable"
                )
                connection.execute(
                    f"create table ops.order_builds as select {ORDER} order_id, 'b1' build_id, timestamp '{built}' built_at, false is_backfilled"
                )
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


STUCK = [
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
]
"""(how it came to be stuck, hop where it stopped, command that moves it on)"""
