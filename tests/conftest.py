"""Fixtures that every test may use; nothing mutable is shared between tests."""

from pathlib import Path

import pytest


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root of the test's own, set as COMMERCE_DATA_ROOT."""
    root = tmp_path / "run"
    root.mkdir()
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(root))
    return root
