"""The definitions load as people load them: by dagster's and dg's own commands, on a data root that holds nothing yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("definitions")]

BIN = Path(sys.executable).parent


def run(data_root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COMMERCE_DATA_ROOT": str(data_root), "DAGSTER_HOME": str(data_root / "dagster_home"), "NO_COLOR": "1"}
    (data_root / "dagster_home").mkdir(exist_ok=True)
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A data root that held nothing, and what validating on it said; the other commands go on from there, so that dbt parses once."""
    root = tmp_path_factory.mktemp("validated")
    return root, run(root, "dagster", "definitions", "validate")


def test_dagster_definitions_validate_from_nothing(validated: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = validated
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location commerce_assets" in done.stdout + done.stderr


def test_workspace_names_the_location_as_dg_does(validated: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    done = run(validated[0], "dagster", "definitions", "validate", "--workspace", "workspace.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location commerce_assets" in done.stdout + done.stderr


@pytest.mark.skipif(not (BIN / "dg").exists(), reason="dg is in the dev extra")
def test_dg_checks_and_lists_the_definitions(validated: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    checked = run(validated[0], "dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = run(validated[0], "dg", "list", "defs", "--json")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    for key in (
        "storefront/orders",
        "warehouse/marts/fct_order",
        "scores/customer_rfm",
        "warehouse/published",
        "activation/shopify/customer_scores",
    ):
        assert key in listed.stdout
