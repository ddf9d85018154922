"""What is published of the lake itself: scores, what each load did, and why rows are in quarantine."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from commerce_assets.lake.report import LoadReport, TableReport
from commerce_assets.warehouse.published import lake_extras, published_models


def test_load_reports_become_tables_that_add_up(tmp_path: Path) -> None:
    (tmp_path / "loads").mkdir()
    tables = {"orders": TableReport(10, 7, 2, 1, {"email_format": 1, "currency_known": 1}), "order_lines": TableReport(20, 20, 0, 0, {})}
    loaded_at = datetime(2026, 11, 21, 9, tzinfo=UTC)
    report = LoadReport("l1", "storefront", "orders", "merge", tables, 0, 30, 1, 0.1, [], loaded_at)
    (tmp_path / "loads" / "l1.json").write_text(report.to_json())
    extras = lake_extras(tmp_path)
    loads = extras["observability.loads"]
    assert isinstance(loads, pl.DataFrame)
    assert loads.select("table_name", "read_count", "accepted_count", "quarantined_count", "duplicate_count").rows() == [
        ("order_lines", 20, 20, 0, 0),
        ("orders", 10, 7, 2, 1),
    ]
    rules = extras["quarantine.rejected_by_rule"]
    assert isinstance(rules, pl.DataFrame)
    assert rules.select("table_name", "rule_name", "quarantined_count").rows() == [
        ("orders", "currency_known", 1),
        ("orders", "email_format", 1),
    ]
    assert rules["loaded_at"][0] == loaded_at


def test_scores_are_published_under_their_names_once_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "scores" / "customer_rfm").mkdir(parents=True)
    assert lake_extras(tmp_path) == {}
    pl.DataFrame({"customer_id": [1]}).write_parquet(tmp_path / "scores" / "customer_rfm" / "data.parquet")
    assert set(lake_extras(tmp_path)) == {"scores.customer_rfm"}


def test_only_models_that_bi_sees_are_required() -> None:
    def model(schema: str, name: str) -> dict[str, str]:
        return {"resource_type": "model", "schema": schema, "name": name}

    nodes = {
        "a": model("marts", "fct_order"),
        "b": model("staging", "stg_x"),
        "c": {"resource_type": "test", "schema": "marts", "name": "t"},
        "d": model("ops", "kpi_x"),
        "e": model("activation", "runs"),
    }
    assert published_models({"nodes": nodes}) == ("marts.fct_order",)
