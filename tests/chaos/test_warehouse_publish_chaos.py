"""Publishing under fire: readers busy all the while, and SIGKILL at every step that changes a file."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from commerce_assets.warehouse import Masking, Publisher, writing

HEAD = """
import duckdb, os, pathlib, signal, sys, time
from commerce_assets.warehouse import Masking, Publisher, writing
folder = pathlib.Path(sys.argv[1])
def build(n):
    with writing(folder / 'build.duckdb') as connection:
        connection.execute('CREATE SCHEMA IF NOT EXISTS marts')
        connection.execute(f"CREATE OR REPLACE TABLE marts.a AS SELECT {n} AS n, i, 'x' || i AS email FROM range(2000) t(i)")
        connection.execute(f'CREATE OR REPLACE TABLE marts.b AS SELECT {n} AS n, i FROM range(2000) t(i)')
publisher = Publisher(folder / 'build.duckdb', folder / 'commerce.duckdb', folder / 'restricted' / 'r.duckdb', Masking(key='k'), keep=2)
"""
READER = """
import duckdb, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
seen, reads = set(), 0
while not (folder / 'stop').exists():
    connection = duckdb.connect(str(folder / 'commerce.duckdb'), read_only=True)
    try:
        for _ in range(3):
            a = connection.execute('SELECT min(n), max(n), count(*) FROM marts.a').fetchone()
            b = connection.execute('SELECT min(n), max(n), count(*) FROM marts.b').fetchone()
            assert a == b and a[0] == a[1] and a[2] == 2000, (a, b)
            seen.add(a[0]); reads += 1
    finally:
        connection.close()
print(json.dumps({'seen': sorted(seen), 'reads': reads}))
"""
KILL_AT = """
# The process is killed at the count-th call of anything that changes which file is where.
count = int(sys.argv[2])
from commerce_assets.warehouse import publish
def counted(function):
    def wrapper(*arguments, **options):
        global count
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return wrapper
for name in ('replace', 'link', 'fsync'):
    setattr(publish.os, name, counted(getattr(publish.os, name)))
pathlib.Path.unlink = counted(pathlib.Path.unlink)
publish.Publisher._copy = counted(publish.Publisher._copy)
publish.Publisher._write_notes = counted(publish.Publisher._write_notes)
build(2)
publisher.publish('second')
print('done')
"""


def state(folder: Path) -> tuple[int, int]:
    """(n in the published file, n in the restricted file), each whole."""
    found = []
    for path in (folder / "commerce.duckdb", folder / "restricted" / "r.duckdb"):
        with duckdb.connect(str(path), read_only=True) as connection:
            a = connection.execute("SELECT min(n), max(n), count(*) FROM marts.a").fetchone()
            b = connection.execute("SELECT min(n), max(n), count(*) FROM marts.b").fetchone()
        assert a == b, (a, b)
        assert a is not None
        assert (a[0], a[2]) == (a[1], 2000)
        found.append(int(a[0]))
    return found[0], found[1]


def publish_again(folder: Path) -> None:
    """A later publish of n = 1, in this process."""
    with writing(folder / "build.duckdb") as connection:
        connection.execute("CREATE OR REPLACE TABLE marts.a AS SELECT 1 AS n, i, 'x' || i AS email FROM range(2000) t(i)")
        connection.execute("CREATE OR REPLACE TABLE marts.b AS SELECT 1 AS n, i FROM range(2000) t(i)")
    Publisher(folder / "build.duckdb", folder / "commerce.duckdb", folder / "restricted" / "r.duckdb", Masking(key="k"), keep=2).publish(
        "again"
    )


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_busy_reader_sees_no_error_and_no_partial_state_while_pipelines_build_and_publish(tmp_path: Path) -> None:
    first = run(HEAD + "build(0); publisher.publish('r')", tmp_path)
    assert first.returncode == 0, first.stderr
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    rounds = run(HEAD + "\nfor n in range(1, 13):\n    build(n)\n    publisher.publish(f'r{n}')\n", tmp_path)
    (tmp_path / "stop").touch()
    answers = [reader.communicate(timeout=60) for reader in readers]
    assert rounds.returncode == 0, rounds.stderr
    for (out, error), reader in zip(answers, readers, strict=True):
        assert reader.returncode == 0, error
        read = json.loads(out)
        assert read["reads"] > 0
        assert len(read["seen"]) > 1, f"the reader never met a new version: {read}"
    assert state(tmp_path) == (12, 12)


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_a_whole_and_the_next_publish_completes(tmp_path: Path) -> None:
    first = run(HEAD + "build(1); publisher.publish('first')", tmp_path)
    assert first.returncode == 0, first.stderr
    killed = 0
    for step in range(1, 60):
        done = run(HEAD + KILL_AT, tmp_path, step)
        if done.returncode == 0:
            assert "done" in done.stdout
            break
        assert done.returncode == -9, done.stderr
        killed += 1
        masked, restricted = state(tmp_path)
        assert {masked, restricted} <= {1, 2}
        publish_again(tmp_path)
        assert state(tmp_path) == (1, 1)
        left = [path.name for path in tmp_path.rglob("*") if ".tmp" in path.name or ".next" in path.name or path.name == "publishing.json"]
        assert left == [], f"after a kill at step {step} the next publish left {left}"
    else:
        pytest.fail("the publish never got through")
    assert killed >= 12, f"only {killed} steps were killed"
    assert state(tmp_path) == (2, 2)
