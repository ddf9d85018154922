"""The activation ledger as Parquet, for people who ask what was written where: `lake/activation/<table>/data.parquet`.

Belongs here: what is copied of the ledger, whole or not at all, and the two figures of a run that are worked out once for everybody
(how fresh what it brought was, how much of the rate budget it used). Does not belong here: the models over the copies
(dbt_project/models/activation), and when they are made (defs/observability/activation_log.py).

No value that was written is copied. All tables are copied of one state of the ledger, so that every change has its run; memory is bounded
by pages. A run whose outcomes are all known never changes again: its changes are taken from the copy before, as long as the ledger counts
as many. What rewrites changes in place (an erasure) has to ask for a whole copy.
"""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.ledger import CHANGES, RUNS, STATE
from commerce_assets.activation.tables import ARMS, GATES, OVERRIDES, SEGMENTS
from commerce_assets.config import Settings
from commerce_assets.observability import snapshots
from commerce_assets.observability.facts import looking
from commerce_assets.observability.tables import ACTIVATION_TABLES, Schema

FOLDER = "activation"
BUCKET_SECONDS = 20
"""Of restoring, that a full bucket of points is worth: every plan of Shopify's has 20 times its rate
(https://shopify.dev/docs/api/usage/limits)."""
RUNS_A_QUERY = 500

_LEDGER: dict[str, sa.Table] = {
    "runs": RUNS,
    "changes": CHANGES,
    "snapshots": STATE,
    "segments": SEGMENTS,
    "gates": GATES,
    "overrides": OVERRIDES,
    "arms": ARMS,
}


def place(lake_root: Path, name: str) -> Path:
    """Where a copy lies."""
    return snapshots.place(lake_root, name, FOLDER)


def read(lake_root: Path, name: str) -> pl.DataFrame:
    """A copy as it was last made; typed empty before the first."""
    path = place(lake_root, name)
    return pl.read_parquet(path) if path.exists() else pl.DataFrame(schema=ACTIVATION_TABLES[name])


def take_activation_log(settings: Settings, *, whole: bool = False) -> dict[str, int]:
    """Copy the ledger; rows by table. `whole`: nothing is taken from the copy before."""
    root = settings.lake_root
    snapshots.ensure(root)
    with (root / FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one copier at a time; let go by itself when it dies
        with looking(settings.ops_url, RUNS) as connection:
            return {
                name: snapshots.write(place(root, name), schema, _pages(connection, name, root, whole))
                for name, schema in ACTIVATION_TABLES.items()
            }


def _pages(connection: sa.Connection | None, name: str, root: Path, whole: bool) -> Iterator[pl.DataFrame]:
    """One table of the ledger; nothing where the ledger, or the table in an older one, is not there."""
    if connection is None or not sa.inspect(connection).has_table(_LEDGER[name].name):
        return
    if name == "changes":
        yield from _changes(connection, place(root, name), whole)
        return
    query, schema = _selected(connection, name)
    for page in snapshots.frames(connection, query, schema):
        yield _with_figures(page) if name == "runs" else page


def _selected(connection: sa.Connection, name: str) -> tuple[sa.Select[Any], Schema]:
    """The ledger's own columns of a copy, and their types. One that an older ledger lacks has what it would be given today: its default, or null."""
    table = _LEDGER[name]
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    schema = {column: dtype for column, dtype in ACTIVATION_TABLES[name].items() if column in table.columns}
    return sa.select(*(table.columns[column] if column in there else _default(table.columns[column]) for column in schema)), schema


def _default(column: sa.Column[Any]) -> sa.Label[Any]:
    default = column.server_default.arg if isinstance(column.server_default, sa.DefaultClause) else None
    if default is None:
        return sa.null().label(column.name)
    return sa.literal(int(str(default)) if isinstance(column.type, sa.Integer) else str(default)).label(column.name)


def _with_figures(runs: pl.DataFrame) -> pl.DataFrame:
    """How old what a push brought was when it was all there, and the share of the points it could have had while it wrote that it used."""
    could_have = pl.col("points_a_second") * (pl.col("writing_seconds") + BUCKET_SECONDS)
    age = (pl.col("finished_at") - pl.col("model_at")).dt.total_microseconds() / 1_000_000
    return runs.with_columns(
        freshness_seconds=pl.when((pl.col("kind") == "push") & pl.col("status").is_in(("succeeded", "partial"))).then(age),
        budget_use_rate=pl.when(could_have > 0).then(pl.col("point_count") / could_have),
    )


def _changes(connection: sa.Connection, last: Path, whole: bool) -> Iterator[pl.DataFrame]:
    """Changes of runs that are over from the copy before; those of the others from the ledger."""
    counted = snapshots.frame(
        connection,
        sa.select(CHANGES.c.run_id, sa.func.count().label("change_count")).group_by(CHANGES.c.run_id),
        {"run_id": pl.String(), "change_count": pl.Int64()},
    )
    kept = pl.Series("run_id", [], dtype=pl.String) if whole else _settled(last, counted)
    yield from _copied(last, kept)
    query, schema = _selected(connection, "changes")
    for some in counted.join(kept.to_frame(), on="run_id", how="anti").sort("run_id").iter_slices(RUNS_A_QUERY):
        yield from snapshots.frames(connection, query.where(CHANGES.c.run_id.in_(some["run_id"].to_list())), schema)


def _settled(last: Path, counted: pl.DataFrame) -> pl.Series:
    """Runs of the last copy without an open outcome, of which the ledger holds as many changes (it writes none after a run's last)."""
    copied = (
        pl.scan_parquet(last)
        .group_by("run_id")
        .agg(pl.len().cast(pl.Int64).alias("change_count"), pl.col("outcome").null_count().alias("open_count"))
        .filter(pl.col("open_count") == 0)
        .collect(engine="streaming")
    )
    return copied.join(counted, on=["run_id", "change_count"], how="semi")["run_id"]


def _copied(last: Path, kept: pl.Series) -> Iterator[pl.DataFrame]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(last) as file:
        for batch in file.iter_batches(snapshots.PAGE_ROWS):
            yield pl.DataFrame(batch).filter(pl.col("run_id").is_in(kept.implode()))
