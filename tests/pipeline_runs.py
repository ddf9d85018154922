"""Running the whole pipeline in processes of its own, and reading what it left, for end-to-end and chaos tests."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from support import REPOSITORY, RunningSandbox, commerce, running_sandbox

from commerce_assets.sandbox.store import Store

AS_OF = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""The 'now' of filled stores: the same for every store of a test session, so that equal seeds give equal stores."""


ONLY_CUSTOMERS = {"COMMERCE_SCORES": "customer_rfm,customer_value"}
"""Settings of runs whose point is another than the scores: `demo` tests make them all."""
WRITTEN_BACK = {"dim_customer": ("tags", "updated_at")}
OF_THE_SCORING_RUN = {
    "customer_scores": ("rfm_receipt_id", "value_receipt_id", "scored_at", "valid_until"),
    "inventory_health": ("receipt_id", "scored_at", "valid_until"),
}


@dataclass(frozen=True)
class Shop:
    """A filled sandbox store being served, and a data root for the platform that reads it."""

    sandbox: RunningSandbox
    root: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The platform's environment: this data root, this store, nothing of the caller's shop."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPIFY_", "COMMERCE_", "DAGSTER_"))}
        return {**inherited, "COMMERCE_DATA_ROOT": str(self.root), "SHOPIFY_URL": self.sandbox.url, **self.settings}

    def demo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "commerce_assets.cli", "demo", "--json", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=REPOSITORY, timeout=800)

    def summary(self) -> dict[str, Any]:
        """Run the demo; its summary, whether all was well or not."""
        done = self.demo()
        assert done.stdout.strip(), f"no summary; exit code {done.returncode}\n{done.stderr[-4000:]}"
        return {"exit_code": done.returncode, "progress": done.stderr, **json.loads(done.stdout)}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the published warehouse."""
        with duckdb.connect(str(self.root / "warehouse" / "commerce.duckdb"), read_only=True) as connection:
            return connection.sql(sql).fetchall()

    def quarantined(self) -> list[tuple[str, str, list[str]]]:
        """(table, row_key, failed_rules) of every quarantined row."""
        pattern = str(self.root / "lake" / "quarantine" / "**" / "*.parquet")
        sql = f"select \"table\", row_key, failed_rules from read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
        return duckdb.sql(sql).fetchall()

    def quarantined_rows(self) -> list[tuple[str, dict[str, Any]]]:
        """(table, row as it was typed) of every quarantined row."""
        pattern = str(self.root / "lake" / "quarantine" / "**" / "*.parquet")
        sql = f"select \"table\", row from read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
        return [(table, json.loads(row)) for table, row in duckdb.sql(sql).fetchall()]

    def marts(self) -> dict[str, tuple[int, str | None]]:
        """Rows and a content digest of every published mart, without what differs between runs: load times, files, when scores were made, and
        what a push itself changes on the storefront's customers and the next pull brings back."""
        with duckdb.connect(str(self.root / "warehouse" / "commerce.duckdb"), read_only=True) as connection:
            tables = connection.sql("select table_name from information_schema.tables where table_schema = 'marts' order by 1").fetchall()
            found = {}
            for (table,) in tables:
                columns = [
                    name
                    for (name,) in connection.sql(
                        f"select column_name from information_schema.columns where table_schema = 'marts' and table_name = '{table}' order by 1"
                    ).fetchall()
                    if not name.startswith("_") and name not in (*WRITTEN_BACK.get(table, ()), *OF_THE_SCORING_RUN.get(table, ()))
                ]
                listed = ", ".join(f'"{name}"' for name in columns)
                found[table] = connection.sql(f"select count(*), sum(hash(({listed})) % 1000000007)::varchar from marts.{table}").fetchone()
        return found

    def storefront_scores(self) -> dict[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...]]]:
        """What the store holds of ours: by customer, our metafields and tags."""
        store = Store(self.sandbox.store)
        try:
            found = {}
            for _, _, customer in store.iterate("Customer"):
                metafields = tuple(sorted((field["key"], field["value"]) for field in store.metafields(customer["id"], "commerce")))
                number = int(customer["id"].rsplit("/", 1)[1])
                tags = tuple(sorted(tag for tag in store.tags("Customer", number) if tag.startswith(("lifecycle:", "winback:"))))
                if metafields or tags:
                    found[customer["id"]] = (metafields, tags)
            return found
        finally:
            store.close()

    def customers_updated_at(self) -> dict[str, str]:
        store = Store(self.sandbox.store)
        try:
            return {customer["id"]: customer["updatedAt"] for _, _, customer in store.iterate("Customer")}
        finally:
            store.close()


def same_pseudonyms(root: Path) -> None:
    """Give a new data root the same masking key as every other one of these tests, so that their published marts can be compared."""
    key = root / "warehouse" / "restricted" / "masking.key"
    key.parent.mkdir(parents=True)
    key.touch(mode=0o600)
    key.write_text("00" * 32)


@contextmanager
def serving(folder: Path, store: Path, *options: str, settings: dict[str, str] | None = None) -> Iterator[Shop]:
    """Serve a filled store, and give the platform an empty data root under `folder`, with further settings if need be."""
    root = folder / "run"
    root.mkdir()
    same_pseudonyms(root)
    with running_sandbox(store, "--plan", "plus", *options) as sandbox:
        yield Shop(sandbox, root, settings or {})


@contextmanager
def shop(
    folder: Path, *, scale: float, seed: int, dirt: float = 0.0, options: tuple[str, ...] = (), settings: dict[str, str] | None = None
) -> Iterator[Shop]:
    """Fill a store under `folder`, serve it, and give the platform an empty data root beside it."""
    store = folder / "store"
    fill = ("--scale", str(scale), "--seed", str(seed), "--dirt", str(dirt), "--as-of", f"{AS_OF:%Y-%m-%dT%H:%M:%S}")
    commerce("sandbox", "fill", *fill, "--store", str(store))
    with serving(folder, store, *options, settings=settings) as opened:
        yield opened


LAST_MONTHS = {"COMMERCE_ORDERS_START_ON": f"{AS_OF - timedelta(days=150):%Y-%m-%d}", **ONLY_CUSTOMERS}
"""Few order days: Dagster keeps a record of each."""


@dataclass(frozen=True)
class Calm:
    """A run that nothing disturbed, on a small store and the orders of the `LAST_MONTHS`, and what it left.

    Tests go on from there, or from before it, in copies that lie where it was made (`root`, `store`): dbt reads a project anew when a path
    in it is another, which takes seconds. So only one copy is in use at a time.
    """

    folder: Path
    summary: dict[str, Any]
    marts: dict[str, tuple[int, str | None]]
    scores: dict[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...]]]

    @property
    def root(self) -> Path:
        return self.folder / "run"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def from_its_end(self) -> None:
        """Lay out the data root and the store as the run left them."""
        self._clear()
        _copy(self.folder / "left-run", self.root)
        _copy(self.folder / "left-store", self.store)

    def from_nothing(self) -> None:
        """Lay out the store as it was filled, and a data root that holds nothing but dbt's reading of the project."""
        self._clear()
        _copy(self.folder / "filled", self.store)
        same_pseudonyms(self.root)
        for name in ("manifest.json", "manifest.sha256", "partial_parse.msgpack"):
            _copy(self.folder / "left-run" / "dbt" / name, self.root / "dbt" / name)

    def _clear(self) -> None:
        for place in (self.root, self.store):
            shutil.rmtree(place, ignore_errors=True)


def calm_run(folder: Path) -> Calm:
    """Fill a store and run the demo on it, once."""
    fill = ("--scale", "0.02", "--seed", "29", "--as-of", f"{AS_OF:%Y-%m-%dT%H:%M:%S}")
    commerce("sandbox", "fill", *fill, "--store", str(folder / "filled"))
    _copy(folder / "filled", folder / "store")
    with serving(folder, folder / "store", settings=LAST_MONTHS) as opened:
        summary = opened.summary()
        assert summary["exit_code"] == 0, summary["progress"][-4000:]
        marts, scores = opened.marts(), opened.storefront_scores()
    _copy(folder / "run", folder / "left-run")
    _copy(folder / "store", folder / "left-store")
    return Calm(folder, summary, marts, scores)


def _copy(source: Path, target: Path) -> None:
    """A file or a folder, hard links kept: a published file is one of a version's."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
