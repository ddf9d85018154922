"""The main job on Dagster's record, run again, and beside readers; what it carries through is in test_demo_end_to_end.py."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pipeline_runs import LAST_MONTHS, Calm, Shop
from support import running_sandbox

from commerce_assets.defs.dagster_home import open_instance

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runs")]
READER = """
import duckdb, json, pathlib, sys, time
path, stop = sys.argv[1], pathlib.Path(sys.argv[2])
versions, reads = set(), 0
while not stop.exists():
    connection = duckdb.connect(path, read_only=True)
    try:
        for _ in range(5):
            noted = dict(connection.execute('SELECT table_name, row_count FROM published').fetchall())
            for table, rows in noted.items():
                found = connection.execute(f'SELECT count(*) FROM {table}').fetchone()[0]
                assert found == rows, (table, found, rows)
            versions.add(connection.execute('SELECT max(version) FROM published').fetchone()[0]); reads += 1
    finally:
        connection.close()
    time.sleep(0.05)
print(json.dumps({'versions': sorted(versions), 'reads': reads}))
"""


@pytest.fixture(scope="module")
def run(calm: Calm) -> Iterator[tuple[Shop, dict[str, Any]]]:
    """One run on the orders of the last months."""
    calm.from_its_end()
    with running_sandbox(calm.store, "--plan", "plus") as sandbox:
        yield Shop(sandbox, calm.root, LAST_MONTHS), calm.summary


def test_every_table_is_on_dagsters_record_with_rows_and_column_lineage(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    with open_instance(opened.root / "dagster_home") as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["warehouse", "marts", "fct_order"]))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        ((rows,),) = opened.query("SELECT count(*) FROM marts.fct_order")
        assert metadata["dagster/row_count"].value == rows
        lineage: Any = metadata["dagster/column_lineage"].value
        assert any(dep.column_name == "order_id" for dep in lineage.deps_by_column["order_id"])
        assert len(instance.get_materialized_partitions(dg.AssetKey(["storefront", "orders"]))) >= 150


def test_only_the_range_from_the_configured_start_is_pulled(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, summary = run
    assert "before COMMERCE_ORDERS_START_ON" in summary["progress"]
    reports = [json.loads(path.read_text()) for path in (opened.root / "lake" / "loads").glob("*-orders-*.json")]
    assert [report["mode"].split("/")[0] for report in reports] == [opened.settings["COMMERCE_ORDERS_START_ON"]]


def test_a_second_run_pulls_open_days_only_and_readers_never_meet_a_half(run: tuple[Shop, dict[str, Any]], tmp_path: Path) -> None:
    opened, first = run
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", READER, str(opened.root / "warehouse" / "commerce.duckdb"), str(stop)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        again = opened.summary()
    finally:
        stop.touch()
    out, error = reader.communicate(timeout=60)
    assert reader.returncode == 0, error
    assert again["exit_code"] == 0, again["progress"][-4000:]
    assert json.loads(out)["versions"][0] == first["published_version"]
    assert again["published_version"] > first["published_version"]
    assert again["streams"]["orders"]["read"] < first["streams"]["orders"]["read"]


def test_two_at_once_on_one_data_root_is_one_clear_line(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    with (opened.root / "pipeline.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = opened.demo()
    assert done.returncode == 1
    assert "another run of the main job is under way" in done.stderr
    assert "Traceback" not in done.stderr
