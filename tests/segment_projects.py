"""A dbt project of nothing but what segments read, and a small warehouse with its marts, for tests of segments."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import yaml

from commerce_assets.config import PROJECT_ROOT

PROJECT = PROJECT_ROOT / "dbt_project"
MARTS = ("customer_360", "customer_scores", "dim_customer")
REF = re.compile(r"\{\{ ref\(\"(\w+)\"\) \}\}")


def project_with(folder: Path, segments: str) -> Path:
    """A project with the marts' yml and this segments.yml."""
    marts = folder / "models" / "marts"
    marts.mkdir(parents=True, exist_ok=True)
    for mart in MARTS[:2]:
        shutil.copy(PROJECT / "models" / "marts" / f"{mart}.yml", marts)
    (folder / "segments.yml").write_text(segments)
    return folder


def columns_of(mart: str) -> dict[str, str]:
    """Name -> type, as the mart's contract has them."""
    (model,) = yaml.safe_load((PROJECT / "models" / "marts" / f"{mart}.yml").read_text())["models"]
    return {column["name"]: column["data_type"] for column in model["columns"]}


def warehouse_with(path: Path, marts: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """A build file with the three marts, holding these rows; columns that a row leaves out are null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("begin")
        connection.execute("create schema if not exists marts")
        for mart in MARTS:
            listed = ", ".join(f'"{name}" {dtype}' for name, dtype in columns_of(mart).items())
            connection.execute(f"create or replace table marts.{mart} ({listed})")
            for row in marts.get(mart, ()):
                names = ", ".join(f'"{name}"' for name in row)
                connection.execute(f"insert into marts.{mart} ({names}) values ({', '.join('?' * len(row))})", list(row.values()))
        connection.execute("commit")
    return path


def build_model(connection: duckdb.DuckDBPyConnection, models_dir: Path, name: str) -> None:
    """Run a generated model as dbt would: into the schema of its folder."""
    (path,) = models_dir.rglob(f"{name}.sql")
    schema = path.parent.name
    connection.execute(f"create schema if not exists {schema}")
    connection.execute(f"create or replace table {schema}.{name} as {REF.sub(lambda found: _placed(found[1]), path.read_text())}")


def _placed(model: str) -> str:
    return f"marts.{model}" if model in MARTS else f"segments.{model}"
