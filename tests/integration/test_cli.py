"""The command line as people use it: what is wrong is one line that says what to do, never a traceback."""

import json
from pathlib import Path

import pytest
from support import commerce, free_port, running_sandbox


def _environment(root: Path, url: str) -> dict[str, str]:
    return {"COMMERCE_DATA_ROOT": str(root), "SHOPIFY_URL": url, "COMMERCE_PORT": str(free_port())}


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    done = commerce("doctor", env={"COMMERCE_DATA_ROOT": str(tmp_path), "COMMERCE_PORT": "99999"}, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "bad setting: port" in done.stderr


def test_doctor_says_what_is_well(tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "store") as sandbox:
        done = commerce("doctor", "--json", env=_environment(tmp_path, sandbox.url), check=False)
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {"python", "duckdb", "free disk", "UI port", "shop", "reachable", "API version", "scopes"} <= set(findings)
    assert "2026-10" in findings["API version"]["seen"]


def test_doctor_says_what_to_do_about_wrong_credentials(tmp_path: Path) -> None:
    secret = "wrong-token-nobody-may-see"
    with running_sandbox(tmp_path / "store") as sandbox:
        environment = {**_environment(tmp_path, sandbox.url), "SHOPIFY_ACCESS_TOKEN": secret}
        done = commerce("doctor", "--json", env=environment, check=False)
    reachable = next(finding for finding in json.loads(done.stdout) if finding["name"] == "reachable")
    assert done.returncode == 1
    assert reachable["advice"]
    assert secret not in done.stdout + done.stderr


def test_an_empty_quarantine_says_so(tmp_path: Path) -> None:
    done = commerce("quarantine", "list", env={"COMMERCE_DATA_ROOT": str(tmp_path)})
    assert done.stdout.strip() == "quarantine is empty"


@pytest.mark.parametrize("arguments", [("publish",), ("publish", "--rollback")])
def test_nothing_to_publish_is_no_traceback(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = commerce(*arguments, env={"COMMERCE_DATA_ROOT": str(tmp_path)}, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
