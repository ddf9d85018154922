"""What analysts see of the activation ledger: the models of schema `activation` over copies in known states."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from activation_models import PROJECT, model_rows

from commerce_assets.observability import snapshots
from commerce_assets.observability.activation_log import place
from commerce_assets.observability.tables import ACTIVATION_TABLES
from commerce_assets.warehouse.masking import Masking

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
MODELS = sorted(path.stem for path in (PROJECT / "models" / "activation").glob("*.sql"))
CUSTOMER, PRODUCT = "gid://shopify/Customer/7", "gid://shopify/Product/8"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    snapshots.ensure(tmp_path)
    return tmp_path


def put(lake: Path, name: str, *rows: dict[str, Any]) -> None:
    schema = ACTIVATION_TABLES[name]
    common = {"destination": "shopify", "sync": "customer_scores"}
    frame = pl.DataFrame([{**{key: value for key, value in common.items() if key in schema}, **row} for row in rows], schema=schema)
    snapshots.write(place(lake, name), schema, [frame])


def described(name: str) -> list[dict[str, Any]]:
    (model,) = yaml.safe_load((PROJECT / "models" / "activation" / f"{name}.yml").read_text())["models"]
    return list(model["columns"])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_columns_that_its_yml_describes_also_when_nothing_was_ever_pushed(name: str, lake: Path) -> None:
    rows = model_rows(name, lake)
    assert rows.columns == [column["name"] for column in described(name)]
    assert rows.height == 0


def test_a_change_is_a_row_a_field_and_none_is_lost(lake: Path) -> None:
    change = {"run_id": "r1", "operation": "update", "attempt": 2, "intended_at": AT, "old_fingerprint": "a", "new_fingerprint": "b"}
    put(
        lake,
        "changes",
        {**change, "record_key": CUSTOMER, "changed_fields": "segment,tags", "outcome": "failed", "reason": "too long"},
        {**change, "record_key": PRODUCT, "changed_fields": ""},
    )
    rows = model_rows("changes", lake).sort("record_key", "field_name")
    assert rows.select("record_key", "product_id", "field_name", "outcome", "reason", "attempt").rows() == [
        (CUSTOMER, None, "segment", "failed", "too long", 2),
        (CUSTOMER, None, "tags", "failed", "too long", 2),
        (PRODUCT, 8, None, "open", None, 2),
    ]
    assert rows["intended_at"].to_list() == [AT.replace(tzinfo=None)] * 3


def test_a_run_names_the_gates_it_found_shut(lake: Path) -> None:
    run = {name: 0 for name in ACTIVATION_TABLES["runs"] if name.endswith("_count")}
    put(lake, "runs", *({**run, "run_id": name, "kind": "push", "status": "refused", "started_at": AT} for name in ("r1", "r2")))
    gate = {"run_id": "r1", "message": "…", "outcome": "refused", "tripped_at": AT}
    put(lake, "gates", {**gate, "gate": "values"}, {**gate, "gate": "min_rows"})
    assert dict(model_rows("runs", lake).select("run_id", "tripped_gates").iter_rows()) == {"r1": ["min_rows", "values"], "r2": []}


def test_a_record_that_is_gone_has_no_fingerprint(lake: Path) -> None:
    held = {"run_id": "r1", "updated_at": AT}
    put(lake, "snapshots", {**held, "record_key": "1", "fingerprint": "gone"}, {**held, "record_key": "2", "fingerprint": "f"})
    rows = model_rows("snapshots", lake).sort("record_key")
    assert rows.select("fingerprint", "is_gone").rows() == [(None, True), ("f", False)]


def test_the_newest_size_of_a_segment_is_marked(lake: Path) -> None:
    size = {"segment": "vip", "desired_count": 3, "entered_count": 1, "left_count": 0}
    put(lake, "segments", *({**size, "measured_at": AT.replace(hour=hour)} for hour in (1, 3, 2)))
    rows = model_rows("segments", lake).sort("measured_at")
    assert rows["is_latest"].to_list() == [False, False, True]


@pytest.mark.parametrize(
    ("key", "customer_id"), [(CUSTOMER, 7), ("12", 12), (PRODUCT, None), ("a@b.example", None), (f"{CUSTOMER}0x", None), ("9" * 25, None)]
)
def test_the_customer_of_a_key_is_the_number_at_its_end(lake: Path, key: str, customer_id: int | None) -> None:
    put(lake, "arms", {"record_key": key, "arm": "treated", "assigned_at": AT})
    assert model_rows("arms", lake)["customer_id"].to_list() == [customer_id]


def test_keys_of_people_and_what_people_wrote_are_masked_where_they_are_published() -> None:
    personal = {
        f"activation.{name}": frozenset(
            column["name"] for column in described(name) if column.get("config", {}).get("meta", {}).get("pii") is True
        )
        for name in MODELS
    }
    masking = Masking("k", personal)
    masked = {name: masking.columns(f"activation.{name}", [column["name"] for column in described(name)]) for name in MODELS}
    assert masked == {
        "arms": {"record_key", "customer_id"},
        "changes": {"record_key"},
        "gates": set(),
        "overrides": {"made_by", "reason"},
        "runs": {"requested_by"},
        "segments": set(),
        "snapshots": {"record_key"},
    }
    assert "sha256" in masking.expression("record_key", "VARCHAR"), "equal keys stay equal, so that changes can be joined to snapshots"
    assert masking.expression("customer_id", "BIGINT") == "CAST(NULL AS BIGINT)"
