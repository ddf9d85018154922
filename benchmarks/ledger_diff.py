"""Planning a push of 100 k and of 1 M customers, 1 % of them changed: from the sync's model in the build file to the plan.

Bounds for 1 M: 5 s and 1 GiB at its peak, in a process of its own. Beside it, from the same run: the parts, a bare DuckDB anti-join of keys
and fingerprints already in memory, and what reading the ledger costs other ways (driver rows, SQLAlchemy rows), which is why it is read in
text pages. Memory grows with keys and fingerprints, not with how wide records are.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.declarations import read_syncs
from commerce_assets.activation.desired import DesiredFrame, Eligible
from commerce_assets.activation.destinations.shopify import ShopifyObjects
from commerce_assets.activation.destinations.shopify_mapping import mapping_of
from commerce_assets.activation.engine import plan_push
from commerce_assets.activation.fingerprint import fingerprints
from commerce_assets.activation.ledger import STATE, Ledger
from commerce_assets.activation.mapping import as_records
from commerce_assets.activation.plan import make_plan
from commerce_assets.config import Settings
from commerce_assets.service.syncs import wanted

SIZES = (100_000, 1_000_000)
CHANGED_EVERY = 100
BOUND_SECONDS, BOUND_MIB = 5.0, 1024
RUNS = 3
DECLARED = read_syncs(Settings().syncs_root)["customer_scores"].declared
SYNC = DECLARED.as_sync()


class _NoShop:
    """A plan asks nothing of the shop."""

    def execute(self, text: str, variables: Any = None, *, idempotent: bool = False) -> dict[str, Any]:
        raise AssertionError(f"a plan calls nobody, yet here is {text!r} with {variables} ({idempotent=})")


def scores(customers: int, *, changed: bool) -> pl.DataFrame:
    """Rows as the sync's model has them; `changed`: one in a hundred has lapsed."""
    number = pl.int_range(customers, eager=True)
    lapses = (number % CHANGED_EVERY == 7) & changed
    lifecycle = pl.select(pl.when(lapses).then(pl.lit("lapsed")).when(number % 3 == 0).then(pl.lit("active")).otherwise(pl.lit("at_risk")))
    return pl.select(
        customer_gid=pl.format("gid://shopify/Customer/{}", 6_000_000_000_000 + number * 32_768),
        rfm_segment=pl.concat_str(pl.lit("segment_"), number % 11),
        lifecycle=lifecycle.to_series(),
        is_vip=number % 20 == 0,
        monetary_value_amount=((number * 7919) % 1_000_000 / 100).cast(pl.Decimal(18, 4)),
        vip_tier=pl.concat_str(pl.lit("tier_"), number % 4),
        churn_risk=pl.concat_str(pl.lit("risk_"), number % 3),
        predicted_value_amount=((number * 31) % 100_000 / 100).cast(pl.Decimal(18, 4)),
        next_order_expected_on=pl.date(2026, 12, 4),
        as_of_on=pl.date(2026, 11, 21),
        scored_at=pl.datetime(2026, 11, 21),
        rfm_receipt_id=pl.lit("receipt-one"),
        value_receipt_id=pl.lit("receipt-two"),
    ).with_columns(
        lifecycle_tags=pl.concat_list(
            pl.concat_str(pl.lit("lifecycle:"), "lifecycle"), pl.when("is_vip").then(pl.lit("lifecycle:vip"))
        ).list.drop_nulls()
    )


def fill(folder: Path, customers: int) -> None:
    """The build file with the model, and the ledger after a push of everyone; its rows are written directly."""
    with duckdb.connect(folder / "build.duckdb") as connection:
        connection.register("scores", scores(customers, changed=True))
        connection.execute("create schema sync")
        connection.execute(f"create table sync.{DECLARED.model} as from scores")
    records = as_records(DECLARED, scores(customers, changed=False))
    rows = records.join(fingerprints(records, SYNC.mapped), on="record_key")
    fields = rows.select(pl.struct(*SYNC.fields).struct.json_encode()).to_series()
    constant = {"destination": SYNC.destination, "sync": SYNC.name, "run_id": "benchmark", "updated_at": "2026-11-21 00:00:00.000000"}
    columns = [column.name for column in STATE.columns]
    with Ledger(url_of(folder)) as ledger, ledger.engine.begin() as connection:
        cursor = connection.connection.cursor()
        statement = f"insert into {STATE.name} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        table = rows.with_columns(fields=fields, **{name: pl.lit(value) for name, value in constant.items()}).select(columns)
        cursor.executemany(statement, table.iter_rows())


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'ops.sqlite'}"


def plan_once(folder: Path, customers: int) -> None:
    """Plan once in this process; print how long that took and the peak of its memory."""
    destination = ShopifyObjects(_NoShop(), mapping_of(DECLARED))
    settings = Settings(data_root=folder)
    base_mib = peak_mib()

    def plan() -> Any:
        with (
            wanted(DECLARED, lambda: duckdb.connect(folder / "build.duckdb", read_only=True), settings) as what,
            Ledger(url_of(folder)) as ledger,
        ):
            return plan_push(SYNC, what.records, ledger, destination)

    started = time.perf_counter()
    made = plan()
    seconds = time.perf_counter() - started
    changed = customers // CHANGED_EVERY
    if (made.count("update"), made.changes.height, made.unchanged) != (changed, changed, customers - changed):
        raise SystemExit(f"the plan is wrong: {made.count('update')} updates of {made.changes.height} changes, {made.unchanged} unchanged")
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "base_mib": base_mib}))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Best of a few runs, with the last result."""
    best, result = float("inf"), None
    for _ in range(RUNS):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return best, result


def parts(folder: Path, customers: int) -> list[tuple[str, float]]:
    """What a plan is made of, and what it is held against."""
    desired = scores(customers, changed=True)
    with Ledger(url_of(folder)) as ledger:
        mapping, records = timed(lambda: as_records(DECLARED, desired))
        empty = pl.Series("record_key", [], dtype=pl.String)
        hashing, survey = timed(lambda: Eligible(SYNC, ledger, DesiredFrame(records)).survey(empty))
        known = survey.take_wanted()
        reading, state = timed(lambda: ledger.fingerprints(SYNC))
        comparing, _ = timed(lambda: make_plan(known, state))
        query = sa.select(STATE.c.record_key, STATE.c.fingerprint)

        def driver_rows() -> pl.DataFrame:
            with ledger.engine.connect() as connection:
                cursor = connection.connection.cursor()
                cursor.execute(str(query))
                return pl.DataFrame(cursor.fetchall(), schema=["record_key", "fingerprint"], orient="row")

        def sqlalchemy_rows() -> pl.DataFrame:
            with ledger.engine.connect() as connection:
                rows = [tuple(row) for row in connection.execute(query)]
                return pl.DataFrame(rows, schema=["record_key", "fingerprint"], orient="row")

        by_driver, _ = timed(driver_rows)
        by_sqlalchemy, _ = timed(sqlalchemy_rows)
    with duckdb.connect() as connection:
        connection.register("wanted", known)
        connection.register("state", state)
        bare, _ = timed(lambda: connection.sql("select record_key from wanted anti join state using (record_key, fingerprint)").fetchall())
    return [
        ("  mapping to fields", mapping),
        ("  fingerprints, beside reading the ledger", hashing),
        ("  ledger in text pages, beside the fingerprints", reading),
        ("  comparing", comparing),
        ("bare DuckDB anti-join, both sides in memory", bare),
        ("reading the ledger as driver rows instead", by_driver),
        ("reading the ledger as SQLAlchemy rows instead", by_sqlalchemy),
    ]


def main() -> int:
    measured: dict[int, dict[str, float]] = {}
    rows: list[tuple[str, float]] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # Each in a process of its own, so that the peak is that of planning.
            subprocess.run([sys.executable, "-m", "benchmarks.ledger_diff", "--fill", name, str(size)], check=True)
            command = [sys.executable, "-m", "benchmarks.ledger_diff", "--plan", name, str(size)]
            found = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(RUNS)]
            best = min(found, key=lambda one: one["seconds"])
            measured[size] = {**best, "peak_mib": max(one["peak_mib"] for one in found)}
            if size == SIZES[-1]:
                rows = parts(folder, size)
    largest = measured[SIZES[-1]]
    bare = dict(rows)["bare DuckDB anti-join, both sides in memory"]
    print(f"{'1 M customers, 1 % changed':<52} {'seconds':>8} {'x anti-join':>12}")
    for name, seconds in [("plan, from the model in the build file", largest["seconds"]), *rows]:
        print(f"{name:<52} {seconds:>8.2f} {seconds / bare:>12.1f}")
    print(f"\n{'customers':>12} {'seconds':>8} {'peak MiB':>9} {'before planning':>16}")
    for size, found in measured.items():
        print(f"{size:>12,} {found['seconds']:>8.2f} {found['peak_mib']:>9.0f} {found['base_mib']:>16.0f}")
    kept = largest["seconds"] <= BOUND_SECONDS and largest["peak_mib"] <= BOUND_MIB
    print(f"bounds for 1 M: {BOUND_SECONDS:.0f} s and {BOUND_MIB} MiB: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(Path(sys.argv[2]), int(sys.argv[3]))
        raise SystemExit(0)
    if sys.argv[1:2] == ["--plan"]:
        plan_once(Path(sys.argv[2]), int(sys.argv[3]))
        raise SystemExit(0)
    raise SystemExit(main())
