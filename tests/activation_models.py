"""The SQL of schema `activation` and of the lift, without dbt: rendered by Jinja alone and run in DuckDB over copies of the ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import jinja2
import polars as pl
import yaml

PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"
MACROS = ("money", "lift", "activation_keys")
FACTS = {
    "customer_id": pl.Int64(),
    "processed_at": pl.Datetime("us"),
    "net_amount": pl.Decimal(18, 4),
    "currency_code": pl.String(),
    "is_reportable": pl.Boolean(),
    "order_kind": pl.String(),
}
"""What the lift reads of `fct_order`."""


def rendered(text: str, lake: Path | None = None) -> str:
    """SQL with the project's macros, as dbt would compile it."""
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())
    environment = jinja2.Environment(autoescape=False)
    environment.globals.update(
        {
            "ref": lambda model: f"marts.{model}",
            "source": lambda source, name: f"read_parquet('{lake}/{source}/{name}/data.parquet')",
            "var": lambda key: project["vars"][key],
        }
    )
    macros = "".join((PROJECT / "macros" / f"{name}.sql").read_text() for name in MACROS)
    return environment.from_string(macros + text).render()


def model_rows(name: str, lake: Path) -> pl.DataFrame:
    """The rows of a model of schema `activation`."""
    with _connected() as connection:
        return connection.execute(rendered((PROJECT / "models" / "activation" / f"{name}.sql").read_text(), lake)).pl()


def lift_rows(lake: Path, orders: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """The rows of `activation_lift` as of a moment, over the lake's copy of the arms and these orders (columns of FACTS)."""
    sql = rendered((PROJECT / "models" / "marts" / "activation_lift.sql").read_text(), lake)
    with _connected() as connection:
        connection.register("given", orders.select(pl.col(name).cast(dtype) for name, dtype in FACTS.items()).to_arrow())
        connection.execute("create schema marts; create table marts.fct_order as from given")
        lift = connection.execute(sql.replace("now()", f"timestamptz '{at.isoformat()}'")).pl()
    return lift.sort("destination", "sync", "metric", "window_days", nulls_last=True)


def evaluated(expressions: dict[str, str], rows: pl.DataFrame) -> pl.DataFrame:
    """Macros over the columns of some rows: name -> Jinja expression. Keeps the rows' columns beside."""
    columns = ", ".join(f"{{{{ {expression} }}}} as {name}" for name, expression in expressions.items())
    with _connected() as connection:
        connection.register("given", rows.to_arrow())
        return connection.execute(rendered(f"select *, {columns} from given")).pl()


@contextmanager
def _connected() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection
