"""The figures' SQL without dbt: models of schema `ops` rendered by Jinja alone and run in DuckDB over copies of the books."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import yaml

from commerce_assets.config import Settings
from commerce_assets.contracts import table
from commerce_assets.lake import Lake
from commerce_assets.observability.tables import TABLES

PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"
MODELS = PROJECT / "models" / "ops"


class Returned(Exception):
    """What a macro returned."""


def rendered(name: str, lake: Path) -> str:
    """The SQL of a model as dbt would compile it for a first build."""
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    environment.globals.update(
        {
            "ref": lambda model: (
                f"{'staging' if model.startswith('stg_') else 'ops' if (MODELS / f'{model}.sql').exists() else 'marts'}.{model}"
            ),
            "source": lambda source, name: _source(lake, source, name),
            "var": lambda key: project["vars"][key],
            "config": lambda **_: "",
            "is_incremental": lambda: False,
            "invocation_id": "build-1",
            "return": _return,
        }
    )
    macros = "".join((PROJECT / "macros" / f"{file}.sql").read_text() for file in ("seconds",))
    environment.globals["order_tables"] = lambda: _order_tables()
    return environment.from_string(macros + (MODELS / f"{name}.sql").read_text()).render()


@contextmanager
def figures(settings: Settings, at: datetime, models: Sequence[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Models of the schema, built as of a moment beside a copy of what the build file holds."""
    lake = settings.lake_root
    Lake(lake).ensure((table("orders"),))
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'; create schema staging; create schema marts; create schema ops")
        tables = {
            "staging.stg_storefront__orders": "order_id bigint, _version_at timestamp, created_at timestamp, _loaded_at timestamp",
            "marts.fct_order": "order_id bigint, updated_at timestamp, is_reportable boolean",
            "ops.order_builds": "order_id bigint, build_id varchar, built_at timestamp, is_backfilled boolean",
        }
        for full_name, columns in tables.items():
            connection.execute(f"create table {full_name} ({columns})")
        if settings.build_path.exists():
            connection.execute(f"attach '{settings.build_path}' as build (read_only)")
            for full_name in tables:
                schema, _, name = full_name.partition(".")
                found = "select 1 from duckdb_tables() where database_name = 'build' and schema_name = ? and table_name = ?"
                if connection.execute(found, [schema, name]).fetchone():
                    connection.execute(f"insert into {full_name} by name from build.{full_name}")
        moment = f"timestamptz '{at.isoformat()}'"
        for name in dict.fromkeys(["order_trace", *models] if "kpi_order_propagation" in models else models):
            connection.execute(f"create table ops.{name} as {rendered(name, lake).replace('now()', moment)}")
        yield connection


def _source(lake: Path, source: str, name: str) -> str:
    if source == "observability":
        assert name in TABLES
        return f"read_parquet('{lake}/observability/{name}/data.parquet')"
    return f"read_parquet('{lake}/raw/{source}/{name}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"


def _return(value: Any) -> None:
    raise Returned(value)


def _order_tables() -> list[str]:
    environment = jinja2.Environment(autoescape=False)
    environment.globals["return"] = _return
    macro = environment.from_string((PROJECT / "macros" / "order_tables.sql").read_text()).module
    try:
        macro.order_tables()  # type: ignore[attr-defined]
    except Returned as returned:
        return list(returned.args[0])
    raise AssertionError("order_tables returned nothing")
