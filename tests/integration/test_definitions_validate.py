"""The definitions load as people load them: by dagster's and dg's own commands, on a data root that holds nothing yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

BIN = Path(sys.executable).parent


def run(data_root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COMMERCE_DATA_ROOT": str(data_root), "DAGSTER_HOME": str(data_root / "dagster_home"), "NO_COLOR": "1"}
    (data_root / "dagster_home").mkdir(exist_ok=True)
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_dagster_definitions_validate_from_nothing(data_root: Path) -> None:
    done = run(data_root, "dagster", "definitions", "validate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location commerce_assets" in done.stdout + done.stderr


@pytest.mark.slow
def test_workspace_names_the_location_as_dg_does(data_root: Path) -> None:
    done = run(data_root, "dagster", "definitions", "validate", "--workspace", "workspace.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location commerce_assets" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not (BIN / "dg").exists(), reason="dg is in the dev extra")
def test_dg_checks_and_lists_the_definitions(data_root: Path) -> None:
    checked = run(data_root, "dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = run(data_root, "dg", "list", "defs", "--json")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    for key in (
        "storefront/orders",
        "warehouse/marts/fct_order",
        "scores/customer_rfm",
        "warehouse/published",
        "activation/shopify/customer_scores",
    ):
        assert key in listed.stdout
