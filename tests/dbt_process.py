"""dbt in processes that have it imported already: each run is a process of its own, as `dbt …` is, without the seconds that importing takes."""

import atexit
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The server is forked from nothing that runs threads: it imports these and forks a child for each run.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["dbt.cli.main", "dbt.adapters.duckdb", "dbt.task.build", "dbt.task.run"])


def run_dbt(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """`dbt ARGUMENTS` with this environment, in this folder; what it printed is in `stdout`."""
    said = folder / f"dbt-{os.getpid()}.out"
    process = _SERVER.Process(target=_main, args=(list(arguments), dict(environment), str(folder), str(said)))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(["dbt", *arguments], timeout, output=said.read_text())
    assert process.exitcode is not None
    return subprocess.CompletedProcess(["dbt", *arguments], process.exitcode, stdout=said.read_text(), stderr="")


def _main(arguments: list[str], environment: dict[str, str], folder: str, said: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.argv = ["dbt", *arguments]
    from dbt.cli.main import cli

    try:
        cli(arguments, prog_name="dbt")
    finally:
        # A forked child ends without them; dbt closes the DuckDB file there, which writes its log into it.
        atexit._run_exitfuncs()
