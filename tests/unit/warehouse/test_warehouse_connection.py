"""Connections close whatever happens, and wait for others with a clear message."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from commerce_assets.warehouse import WarehouseBusyError, WarehouseMissingError, reading, writing

HOLD = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(float(sys.argv[2]))"


def holding(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def test_a_writer_that_fails_leaves_the_file_free(tmp_path: Path) -> None:
    path = tmp_path / "build.duckdb"
    held: list[duckdb.DuckDBPyConnection] = []

    def write_and_fail() -> None:
        with writing(path) as connection:
            held.append(connection)
            connection.execute("CREATE TABLE t AS SELECT 1 AS x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with pytest.raises(duckdb.ConnectionException):
        held[0].execute("SELECT 1")
    subprocess.run([sys.executable, "-c", f"import duckdb; duckdb.connect({str(path)!r}).execute('INSERT INTO t VALUES (2)')"], check=True)
    with reading(path) as again:
        assert again.execute("SELECT sum(x) FROM t").fetchone() == (3,)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    with writing(tmp_path / "build.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    with reading(tmp_path / "build.duckdb") as connection, pytest.raises(duckdb.InvalidInputException):
        connection.execute("INSERT INTO t VALUES (2)")


def test_reading_what_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WarehouseMissingError, match="build the warehouse first"), reading(tmp_path / "none.duckdb"):
        raise AssertionError("opened")


def test_waits_for_another_process_and_says_for_whom(tmp_path: Path) -> None:
    holder = holding(tmp_path / "build.duckdb", 0.7)
    said: list[str] = []
    with writing(tmp_path / "build.duckdb", wait_seconds=30, say=said.append) as connection:
        connection.execute("SELECT 1")
    assert len(said) == 1
    assert f"process {holder.pid}" in said[0]
    holder.wait()


def test_gives_up_at_the_time_limit_with_the_next_step(tmp_path: Path) -> None:
    holder = holding(tmp_path / "build.duckdb", 30)
    try:
        with (
            pytest.raises(WarehouseBusyError, match=f"held by process {holder.pid}.*let it finish or stop it"),
            writing(tmp_path / "build.duckdb", wait_seconds=0.3),
        ):
            raise AssertionError("opened")
    finally:
        holder.kill()
        holder.wait()
