"""Copies of the activation ledger: all of it but values, whole or not at all, and no dearer than what happened since the last."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from activation_books import OF_SYNC, SECRET, Books, gid
from observed_events import NOW

from commerce_assets.activation import tables
from commerce_assets.config import Settings
from commerce_assets.observability import activation_log, facts, snapshots
from commerce_assets.observability.activation_log import read, take_activation_log
from commerce_assets.observability.activation_plots import activation_plots
from commerce_assets.observability.tables import ACTIVATION_TABLES

LEFT_OUT = {*tables.VALUES, "idempotency_key", "fields"}
OWN = {"runs": {"freshness_seconds", "budget_use_rate"}}
"""Columns of a copy that the ledger has not."""


@pytest.fixture
def ledger(tmp_path: Path) -> Books:
    return Books(Settings(data_root=tmp_path, _env_file=None))


def test_a_copy_has_every_column_of_the_ledger_but_values() -> None:
    of_ledger = {
        name: {column.name for column in table.columns} - LEFT_OUT for name, table in activation_log._LEDGER.items() if name != "changes"
    }
    assert {name: set(schema) - OWN.get(name, set()) for name, schema in ACTIVATION_TABLES.items() if name != "changes"} == of_ledger
    assert set(ACTIVATION_TABLES["changes"]) == {column.name for column in tables.CHANGES.columns} - LEFT_OUT


def test_without_a_ledger_every_table_is_typed_and_empty_and_nothing_is_made(tmp_path: Path) -> None:
    settings = Settings(data_root=tmp_path, _env_file=None)
    assert take_activation_log(settings) == dict.fromkeys(ACTIVATION_TABLES, 0)
    assert {name: dict(read(settings.lake_root, name).schema) for name in ACTIVATION_TABLES} == ACTIVATION_TABLES
    assert not (tmp_path / "ops.sqlite").exists()


def test_everything_is_copied_and_no_value(ledger: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAGE_ROWS", 2)
    ledger.run("r1", model_at=NOW - timedelta(hours=1), finished_at=NOW + timedelta(minutes=5), succeeded_count=5)
    for number in range(5):
        ledger.change("r1", number)
    held = {"fields": f'{{"segment":"{SECRET}"}}', "fingerprint": "f", "run_id": "r1", "updated_at": NOW}
    ledger.write(tables.STATE, *({"record_key": gid(number), **held} for number in range(3)))
    ledger.write(tables.GATES, {"run_id": "r1", "gate": "min_rows", "message": "3 rows", "outcome": "refused", "tripped_at": NOW})
    ledger.write(tables.OVERRIDES, {"override_id": "o1", "gate": "min_rows", "made_at": NOW, "made_by": "ann", "reason": "sale"})
    ledger.write(
        tables.ARMS,
        *({"record_key": gid(n), "arm": arm, "holdout_share": 0.1, "assigned_at": NOW} for n, arm in enumerate(("treated", "holdout"))),
    )
    segment = {"segment": "vip", "measured_at": NOW, "desired_count": 4, "entered_count": 1, "left_count": 0}
    with ledger.engine.begin() as connection:
        connection.execute(tables.SEGMENTS.insert(), {"destination": "shopify", **segment})
    counts = take_activation_log(ledger.settings)
    assert counts == {"runs": 1, "changes": 5, "snapshots": 3, "segments": 1, "gates": 1, "overrides": 1, "arms": 2}
    assert ledger.copied("changes")["record_key"].sort().to_list() == [gid(number) for number in range(5)]
    assert ledger.copied("changes")["intended_at"].to_list() == [NOW] * 5
    assert ledger.copied("arms")["holdout_share"].to_list() == [0.1, 0.1]
    assert ledger.copied("runs")["freshness_seconds"].to_list() == [65 * 60]
    for name in ACTIVATION_TABLES:
        assert SECRET not in ledger.copied(name).write_json(), name


def test_the_share_of_the_rate_budget_counts_what_was_restored_and_a_full_bucket(ledger: Books) -> None:
    ledger.run("r1", points_a_second=100, writing_seconds=40, point_count=4_500)
    ledger.run("r2", point_count=9)
    ledger.run("r3", kind="undo", model_at=NOW, finished_at=NOW)
    take_activation_log(ledger.settings)
    runs = ledger.copied("runs").sort("run_id")
    assert runs["budget_use_rate"].to_list() == [4_500 / (100 * (40 + 20)), None, None]
    assert runs["freshness_seconds"].to_list() == [None, None, None], "an undo brings nothing new"


def test_later_copies_follow_what_is_open_and_do_not_read_what_is_over_again(ledger: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.run("r1")
    ledger.change("r1", 1)
    ledger.run("r2", "interrupted")
    ledger.change("r2", 1, outcome=None)
    ledger.change("r2", 2)
    take_activation_log(ledger.settings)
    is_open = tables.CHANGES.c.outcome.is_(None)
    with ledger.engine.begin() as connection:
        connection.execute(tables.CHANGES.update().where(is_open), {"outcome": "failed"})
        connection.execute(tables.CHANGES.update().where(tables.CHANGES.c.run_id == "r1"), {"reason": "only a whole copy sees this"})
    ledger.run("r3", "running")
    ledger.change("r3", 3)
    for _ in range(2):
        assert take_activation_log(ledger.settings)["changes"] == 4
        copied = ledger.copied("changes").sort("run_id", "record_key").select("run_id", "outcome", "reason").rows()
        assert copied == [("r1", "succeeded", None), ("r2", "failed", None), ("r2", "succeeded", None), ("r3", "succeeded", None)]
    ledger.change("r3", 4)
    assert take_activation_log(ledger.settings)["changes"] == 5, "a run that goes on is read again though no outcome is open"
    take_activation_log(ledger.settings, whole=True)
    assert ledger.copied("changes").filter(run_id="r1")["reason"].to_list() == ["only a whole copy sees this"]


def test_what_was_deleted_from_the_ledger_is_gone_from_the_next_copy(ledger: Books) -> None:
    ledger.run("r1")
    for number in range(3):
        ledger.change("r1", number)
    take_activation_log(ledger.settings)
    with ledger.engine.begin() as connection:
        connection.execute(tables.CHANGES.delete().where(tables.CHANGES.c.record_key == gid(1)))
    take_activation_log(ledger.settings)
    assert ledger.copied("changes")["record_key"].sort().to_list() == [gid(0), gid(2)]


def test_a_ledger_of_an_older_version_is_copied_as_it_is(ledger: Books) -> None:
    ledger.run("r1", model_at=NOW)
    ledger.change("r1", 1)
    ledger.engine.dispose()
    with closing(sqlite3.connect(str(sa.make_url(ledger.settings.ops_url).database))) as database:
        for column in ("kind", "of_run", "model_at", "points_a_second", "writing_seconds", "point_count"):
            database.execute(f"alter table activation_runs drop column {column}")
        for table in ("gates", "overrides", "arms", "segments"):
            database.execute(f"drop table activation_{table}")
    assert take_activation_log(ledger.settings) == {**dict.fromkeys(ACTIVATION_TABLES, 0), "runs": 1, "changes": 1}
    run = ledger.copied("runs").row(0, named=True)
    assert (run["kind"], run["point_count"], run["model_at"], run["freshness_seconds"]) == ("push", 0, None, None)
    snapshots.take_event_log(ledger.settings, NOW)
    assert snapshots.read(ledger.settings.lake_root, "push_runs")["run_id"].to_list() == ["r1"]


def test_a_copy_that_fails_leaves_the_one_before(ledger: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.run("r1")
    take_activation_log(ledger.settings)
    ledger.run("r2")

    def fails(*_: object) -> pl.DataFrame:
        raise RuntimeError("no room left")

    monkeypatch.setattr(activation_log, "_with_figures", fails)
    with pytest.raises(RuntimeError, match="no room"):
        take_activation_log(ledger.settings)
    assert ledger.copied("runs")["run_id"].to_list() == ["r1"]


def test_undo_and_resync_are_no_pushes_of_an_order(ledger: Books) -> None:
    for run_id, kind in (("r1", "push"), ("r2", "undo"), ("r3", "resync")):
        ledger.run(run_id, kind=kind, started_at=NOW)
        ledger.change(run_id, 1)
    snapshots.take_event_log(ledger.settings, NOW)
    assert snapshots.read(ledger.settings.lake_root, "push_runs")["run_id"].to_list() == ["r1"]
    assert snapshots.read(ledger.settings.lake_root, "pushes")["run_id"].to_list() == ["r1"]


def test_the_trace_of_an_order_takes_no_undo_for_its_push(ledger: Books) -> None:
    ledger.run("r1")
    ledger.change("r1", 1)
    ledger.run("r2", kind="undo", started_at=NOW + timedelta(hours=1))
    ledger.change("r2", 1, "skipped")
    with ledger.engine.begin() as connection:
        is_undo = tables.CHANGES.c.run_id == "r2"
        connection.execute(tables.CHANGES.update().where(is_undo), {"intended_at": NOW + timedelta(hours=1)})
    pushed = facts.push_fact(ledger.settings, 1)
    assert (pushed.outcome, pushed.intended_at, pushed.compared_at) == ("succeeded", NOW, NOW)


@pytest.fixture
def drawn() -> Callable[..., dict[str, bytes]]:
    def draw(runs: list[dict[str, Any]], segments: list[dict[str, Any]] | None = None) -> dict[str, bytes]:
        return activation_plots(
            pl.DataFrame(
                [{**OF_SYNC, "started_at": NOW, "finished_at": NOW, **dict.fromkeys(ZERO, 0), **run} for run in runs],
                schema=ACTIVATION_TABLES["runs"],
            ),
            pl.DataFrame(segments or [], schema=ACTIVATION_TABLES["segments"]),
        )

    return draw


ZERO = ("succeeded_count", "skipped_count", "unknown_count", "failed_count")


def test_there_is_a_plot_of_what_there_is_to_show_and_of_nothing_else(drawn: Callable[..., dict[str, bytes]]) -> None:
    assert drawn([]) == {}
    assert drawn([{"run_id": "r1"}]) == {}
    plots = drawn(
        [
            {"run_id": "r1", "succeeded_count": 9, "failed_count": 1, "freshness_seconds": 600.0, "budget_use_rate": 0.9},
            {"run_id": "r2", "succeeded_count": 3, "started_at": NOW + timedelta(hours=1)},
        ],
        [
            {"destination": "shopify", "segment": "vip", "measured_at": NOW, "desired_count": 4, "member_count": 3},
            {"destination": "shopify", "segment": "new", "measured_at": NOW, "desired_count": 7},
        ],
    )
    assert set(plots) == {"rows_by_outcome", "freshness", "budget_use", "segment_sizes"}
    for name, png in plots.items():
        assert png.startswith(b"\x89PNG"), name
        assert len(png) < 60_000, name
