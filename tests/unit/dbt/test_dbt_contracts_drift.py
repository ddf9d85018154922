"""The dbt project says of the lake's tables what the contracts say, and of its own models all that the house rules ask."""

from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import pytest
import yaml

from commerce_assets.contracts import LAKE_COLUMNS, TABLES, TableContract

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
MODELS = sorted((PROJECT / "models").rglob("*.sql"))
OWN_COLUMNS = {
    "orders": {"is_deleted", "deletion_seen_at"},
    "customers": {"is_deleted", "deletion_seen_at"},
    "products": {"is_deleted", "deletion_seen_at"},
    "inventory_levels": {"snapshot_on"},
}
"""What staging adds to a contract's columns."""
TYPES = {
    pl.Int64: "bigint",
    pl.String: "varchar",
    pl.Boolean: "boolean",
    pl.Float64: "double",
    pl.Datetime: "timestamp",
    pl.Date: "date",
    pl.Decimal: "decimal(18,4)",
    pl.List: "varchar[]",
}

each_table = pytest.mark.parametrize("contract", TABLES, ids=lambda contract: contract.name)
each_model = pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)


def described(path: Path) -> dict[str, Any]:
    """The one model that the yml beside a model's SQL describes."""
    models = yaml.safe_load(path.with_suffix(".yml").read_text())["models"]
    assert [model["name"] for model in models] == [path.stem]
    return dict(models[0])


def staged(contract: TableContract) -> dict[str, dict[str, Any]]:
    """Columns of the staging model of a table, by name."""
    columns = described(PROJECT / "models" / "staging" / f"stg_storefront__{contract.name}.sql")["columns"]
    return {column["name"]: column for column in columns}


def is_required(column: dict[str, Any]) -> bool:
    return {"type": "not_null"} in column.get("constraints", [])


@each_table
def test_staging_has_the_columns_of_the_contract_and_of_the_lake(contract: TableContract) -> None:
    assert set(staged(contract)) == {*contract.schema, *LAKE_COLUMNS, *OWN_COLUMNS.get(contract.name, set())}


@each_table
def test_staging_columns_say_what_the_contract_says(contract: TableContract) -> None:
    columns = staged(contract)
    told = {
        name: (column["description"], column["data_type"], is_required(column), bool(column.get("config", {}).get("meta", {}).get("pii")))
        for name, column in columns.items()
        if name in contract.schema
    }
    cleared = {name for name, column in columns.items() if column.get("config", {}).get("meta", {}).get("pii") is False}
    assert told == {
        column.name: (column.description, TYPES[column.dtype.base_type()], not column.nullable, column.pii and column.name not in cleared)
        for column in contract.columns
    }
    assert cleared <= {"city", "postal_code"}, "only the address of a location is nobody's"


@each_table
def test_staging_columns_of_the_lake_have_its_types(contract: TableContract) -> None:
    columns = staged(contract)
    assert {name: columns[name]["data_type"] for name in LAKE_COLUMNS} == {
        name: TYPES[dtype.base_type()] for name, dtype in LAKE_COLUMNS.items()
    }


def test_sources_are_the_tables_of_the_contracts_on_their_families_keys() -> None:
    (source,) = yaml.safe_load((PROJECT / "models" / "staging" / "_storefront__sources.yml").read_text())["sources"]
    told = {
        entry["name"]: (" ".join(entry["description"].split()), entry["config"]["meta"]["dagster"]["asset_key"])
        for entry in source["tables"]
    }
    assert told == {contract.name: (" ".join(contract.description.split()), [contract.source, contract.family]) for contract in TABLES}


def test_staging_macros_know_the_keys_and_roots_of_the_registry() -> None:
    known = lake_tables()
    roots = {contract.family: contract.name for contract in TABLES if contract.is_root}
    for contract in TABLES:
        macro = known.pop(contract.name)
        is_snapshot = macro.get("is_snapshot", False)
        assert macro["key"] == [*contract.key, *(["snapshot_on"] if is_snapshot else [])], contract.name
        assert macro["root_id"] == contract.root_id, contract.name
        assert macro["root"] == (contract.name if is_snapshot else roots[contract.family]), contract.name
    assert known == {}


def lake_tables() -> dict[str, dict[str, Any]]:
    """The table of tables in macros/lake_tables.sql, as Jinja reads it."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    found: list[dict[str, Any]] = []

    environment.globals["return"] = lambda value: found.append(value) or ""
    source = (PROJECT / "macros" / "lake_tables.sql").read_text().replace("tables[name]", "tables")
    environment.from_string(source).module.lake_table("orders")  # type: ignore[attr-defined]
    return dict(found[0])


@each_model
def test_every_model_and_column_is_described(path: Path) -> None:
    model = described(path)
    assert model["description"].strip()
    assert [column["name"] for column in model["columns"] if not column.get("description", "").strip()] == []


@each_model
def test_every_model_has_a_uniqueness_test_and_an_owner(path: Path) -> None:
    model = described(path)
    tests = [*model.get("data_tests", []), *(test for column in model["columns"] for test in column.get("data_tests", []))]
    names = {test if isinstance(test, str) else next(iter(test)) for test in tests}
    assert names & {"unique", "unique_combination"}
    assert model["config"]["meta"]["dagster"]["owners"]
    assert set(model["config"]["meta"]["dagster"]["tags"]) >= {"tier", "domain"}


@each_model
def test_every_amount_has_a_currency_beside_it(path: Path) -> None:
    names = {column["name"] for column in described(path)["columns"]}
    amounts = {name for name in names if name.endswith("_amount")}
    currencies = {name for name in names if name.endswith("currency_code")}
    # A variant's price is in the shop's currency, which the product family does not carry.
    assert not amounts or currencies or path.stem in ("dim_product",)


def test_contracts_are_enforced_where_others_build_on_them() -> None:
    layers = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["models"]["commerce"]
    enforced = {layer for layer, config in layers.items() if isinstance(config, dict) and config.get("+contract", {}).get("enforced")}
    assert enforced == {"staging", "marts", "ops", "activation", "segments", "sync"}
