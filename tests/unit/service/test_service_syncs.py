"""A sync's life through the service: its model is copied and let go of, its gates look at freshness and receipts, it is scaffolded."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from score_jobs import NOW, inputs, job

from commerce_assets.activation.declarations import DeclaredSync, read_file
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.config import PROJECT_ROOT, Settings, load_settings
from commerce_assets.lake import Lake
from commerce_assets.service.scaffold import ScaffoldError, columns_of, new_sync
from commerce_assets.service.scores.running import in_force, run_score
from commerce_assets.service.syncs import OpenWarehouse, declared_syncs, standing_gates, wanted

DBT = PROJECT_ROOT / "dbt_project"
DECLARED = {
    "name": "test",
    "description": "test",
    "model": "sync_sql__test",
    "target": {"kind": "sql", "url_env": "TEST_URL", "table": "t"},
    "key": {"column": "customer_gid"},
    "fields": [{"name": "points", "type": "integer"}],
}


def sync(**more: object) -> DeclaredSync:
    return DeclaredSync.model_validate({**DECLARED, **more})


@pytest.fixture
def warehouse(data_root: Path) -> OpenWarehouse:
    """A build file with one model and the customers behind it."""
    path = data_root / "build.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("create schema sync")
        connection.execute("create schema marts")
        connection.execute(
            "create table sync.sync_sql__test as select 'gid://shopify/Customer/' || n as customer_gid, n as points, "
            "timestamp '2026-11-28 09:00:00' as scored_at, 'r' || (n % 2) as receipt_id from range(120000) as numbers(n)"
        )
        connection.execute(
            "create table marts.dim_customer as select customer_gid, points % 2 = 0 as is_email_subscribed, points = 1 as is_sms_subscribed, "
            "points = 2 as is_deleted from sync.sync_sql__test"
        )

    @contextmanager
    def opened() -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(path, read_only=True) as connection:
            yield connection

    return opened


def test_a_model_comes_in_slices_and_the_build_file_is_let_go_of(warehouse: OpenWarehouse, data_root: Path) -> None:
    with wanted(sync(), warehouse, load_settings()) as what:
        with duckdb.connect(data_root / "build.duckdb") as writer:  # would fail while a reader is there
            writer.execute("drop table sync.sync_sql__test")
        slices = list(what.records.slices())
        assert [records.height for records in slices] == [50_000, 50_000, 20_000]
        assert pl.concat(slices)["points"].n_unique() == 120_000
        assert what.rows == 120_000
    assert list(data_root.glob("wanted-*")) == []


def test_who_agrees_is_said_beside_each_record(warehouse: OpenWarehouse) -> None:
    with wanted(sync(consent={"channel": "email"}), warehouse, load_settings()) as what:
        first = next(what.records.slices()).head(4)
    assert first["_consents"].to_list() == [True, False, False, False]


def test_a_model_that_was_never_built_is_named_with_what_to_do(warehouse: OpenWarehouse) -> None:
    with (
        pytest.raises(DesiredStateError, match=r"model sync_sql__other is not built yet: `commerce sync build test`"),
        wanted(sync(model="sync_sql__other"), warehouse, load_settings()),
    ):
        pass


def gates(declared: DeclaredSync, warehouse: OpenWarehouse, now: datetime) -> list[str]:
    settings: Settings = load_settings()
    with wanted(declared, warehouse, settings) as what:
        return [str(gate) for gate in standing_gates(declared, what, settings, now)]


def test_a_model_may_be_as_old_as_the_sync_says(warehouse: OpenWarehouse) -> None:
    fresh = sync(freshness={"column": "scored_at", "within_hours": 24})
    built = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
    assert gates(fresh, warehouse, built + timedelta(hours=24)) == []
    (gate,) = gates(fresh, warehouse, built + timedelta(hours=25))
    assert gate.startswith("model_freshness: model sync_sql__test describes 2026-11-28 09:00 UTC, 25.0 h ago, and may be 24 h old")


def test_a_model_built_of_other_rows_than_those_accepted_last_is_a_gate(warehouse: OpenWarehouse, data_root: Path) -> None:
    scored = sync(scores={"churn": "receipt_id"})
    assert gates(scored, warehouse, NOW)[0].startswith("score_receipts: there is no accepted scores/churn yet")
    lake = Lake(load_settings().lake_root)
    run_score(job(), inputs(), lake)
    receipt = in_force(lake, "churn")
    assert receipt is not None
    (gate,) = gates(scored, warehouse, receipt.scored_at)
    assert gate == "score_receipts: model sync_sql__test was built from other rows of scores/churn than those accepted last: build it anew"
    with duckdb.connect(data_root / "build.duckdb") as connection:
        connection.execute("update sync.sync_sql__test set receipt_id = ?", [receipt.receipt_id])
    assert gates(scored, warehouse, receipt.scored_at) == []


@pytest.mark.parametrize("kind", ["shopify", "file", "http", "sql"])
def test_a_scaffolded_sync_is_read_and_has_its_model(tmp_path: Path, kind: str) -> None:
    project = tmp_path / "dbt"
    (project / "models" / "sync").mkdir(parents=True)
    (project / "models" / "marts").symlink_to(DBT / "models" / "marts")
    made = new_sync("loyalty", kind, "customer_360", ["order_count", "country_code"], syncs_root=tmp_path / "syncs", dbt_project=project)
    assert [path.name for path in made] == ["defs.yaml", f"sync_{kind}__loyalty.sql", f"sync_{kind}__loyalty.yml"]
    (placed,) = read_file(made[0])
    assert placed.declared.destination == kind
    assert [(one.name, one.type) for one in placed.declared.fields] == [("order_count", "integer"), ("country_code", "text")]
    assert '{{ ref("customer_360") }}' in made[1].read_text()
    with pytest.raises(ScaffoldError, match="is there already"):
        new_sync("loyalty", kind, "customer_360", ["order_count"], syncs_root=tmp_path / "syncs", dbt_project=project)


@pytest.mark.parametrize(
    ("name", "kind", "relation", "columns", "says"),
    [
        ("Loyal Ones", "shopify", "customer_360", ["order_count"], "is no name for a sync"),
        ("loyal", "fax", "customer_360", ["order_count"], "there is no destination 'fax'"),
        ("loyal", "shopify", "fct_order", ["order_count"], "has not one row a customer"),
        ("loyal", "shopify", "customer_360", ["points"], "customer_360 has no column points; it has"),
        ("loyal", "shopify", "customer_360", [], "name the columns to send"),
    ],
)
def test_what_cannot_be_scaffolded_leaves_nothing(
    tmp_path: Path, name: str, kind: str, relation: str, columns: list[str], says: str
) -> None:
    with pytest.raises(ScaffoldError, match=says):
        new_sync(name, kind, relation, columns, syncs_root=tmp_path, dbt_project=DBT)
    assert list(tmp_path.iterdir()) == []


def test_the_marts_to_scaffold_from_have_their_columns_described() -> None:
    for relation in ("customer_360", "customer_scores", "dim_customer"):
        assert all(data_type for data_type, _ in columns_of(relation, DBT).values())


def test_shipped_syncs_do_not_write_one_field_twice() -> None:
    assert set(declared_syncs(load_settings())) >= {"customer_scores", "customer_segments", "order_risk", "product_recommendations"}


@pytest.mark.parametrize(
    ("send_to", "expected"),
    [
        ("[shopify]", []),
        ("[shopify, {file: {folder: audiences}}]", ["segment_big_file"]),
        ("\n      - file: {folder: audiences}", ["segment_big_file"]),
    ],
)
def test_a_segment_that_is_sent_elsewhere_is_a_sync_of_its_own(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, send_to: str, expected: list[str]
) -> None:
    project = tmp_path / "dbt_project"
    project.mkdir()
    (project / "models").symlink_to(DBT / "models")
    (project / "segments.yml").write_text(
        "# file: {folder: this is a comment}\nsegments:\n  - name: big\n    title: Big\n    description: Big ones.\n"
        f"    owner: team:crm\n    where: c.order_count >= 2\n    consent: email\n    send_to: {send_to}\n"
    )
    monkeypatch.setattr("commerce_assets.service.syncs.PROJECT_ROOT", tmp_path)
    assert [name for name in declared_syncs(load_settings()) if name.startswith("segment_")] == expected
