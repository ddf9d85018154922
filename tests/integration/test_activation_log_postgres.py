"""Copies of an activation ledger on PostgreSQL are those of one on SQLite."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from activation_books import Books, gid
from observed_events import NOW
from postgres_server import running_postgres

from commerce_assets.activation import tables
from commerce_assets.config import Settings
from commerce_assets.observability import snapshots
from commerce_assets.observability.activation_log import take_activation_log
from commerce_assets.observability.tables import ACTIVATION_TABLES

pytestmark = pytest.mark.xdist_group("observability")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_postgres() as url:
        yield url


def copied(books: Books) -> dict[str, list[dict[str, object]]]:
    """What is copied of the same runs, by a first copy and one that goes on from it."""
    books.run("r1", model_at=NOW, finished_at=NOW + timedelta(minutes=1), points_a_second=100, writing_seconds=5.5, point_count=700)
    books.change("r1", 1)
    books.change("r1", 2, outcome=None)
    books.write(tables.ARMS, {"record_key": gid(1), "arm": "holdout", "assigned_at": NOW})
    take_activation_log(books.settings)
    with books.engine.begin() as connection:
        connection.execute(tables.CHANGES.update().where(tables.CHANGES.c.outcome.is_(None)), {"outcome": "failed", "resolved_at": NOW})
    books.run("r2", kind="undo", of_run="r1")
    books.change("r2", 1)
    take_activation_log(books.settings)
    snapshots.take_event_log(books.settings, NOW)
    lake = books.settings.lake_root
    pushes = {name: snapshots.read(lake, name).to_dicts() for name in ("push_runs", "pushes")}
    return {**pushes, **{name: books.copied(name).sort(list(schema)).to_dicts() for name, schema in ACTIVATION_TABLES.items()}}


def test_copies_are_the_same_on_postgresql_and_on_sqlite(tmp_path: Path, database: str) -> None:
    on_postgres = Books(Settings(data_root=tmp_path / "postgres", database_url=database, _env_file=None))
    on_sqlite = Books(Settings(data_root=tmp_path / "sqlite", _env_file=None))
    assert on_postgres.engine.dialect.name == "postgresql"
    seen = copied(on_postgres)
    assert seen == copied(on_sqlite)
    assert [len(seen[name]) for name in ("runs", "changes", "arms", "push_runs", "pushes")] == [2, 3, 1, 1, 2]
    with on_postgres.engine.begin() as connection:
        connection.execute(sa.text("alter table activation_runs drop column kind, drop column model_at, drop column point_count"))
    take_activation_log(on_postgres.settings)
    assert on_postgres.copied("runs")["kind"].to_list() == ["push", "push"], "an older ledger has pushes only"
    on_postgres.engine.dispose()
