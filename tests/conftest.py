"""Fixtures that every test may use; nothing mutable is shared between tests."""

import os
import sys
from pathlib import Path

import pytest
from pipeline_runs import Calm, calm_run

os.environ.setdefault("DBT_LOG_LEVEL_FILE", "none")
"""dbt writes a line of JSON for each thing it does into a file that no test reads: a fifth of a build's time."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
"""Tests start this package in hundreds of processes: where it may not be kept compiled, each of them compiles it anew, for seconds."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a module stay on one worker where they name no group: what a module makes once is then made once, and not by every worker."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """One undisturbed run for all tests of the xdist group `runs`."""
    return calm_run(tmp_path_factory.mktemp("calm"))


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root of the test's own, set as COMMERCE_DATA_ROOT."""
    root = tmp_path / "run"
    root.mkdir()
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(root))
    return root
