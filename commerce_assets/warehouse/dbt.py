"""dbt as this project calls it: where its files are, what its environment holds, and its manifest, made anew only when stale.

Nothing here runs a model; `defs/warehouse` does, through dagster-dbt. Preparing the manifest is explicit, because loading the
definitions must work on a fresh clone and be fast ever after.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commerce_assets.config import PROJECT_ROOT, Settings
from commerce_assets.warehouse.connection import WarehouseError

_PARSE_SECONDS = 180
_GENERATED = {"target", "logs", "dbt_packages", ".user.yml", "__pycache__"}


class DbtProjectError(WarehouseError):
    """dbt cannot read the project; the message holds what dbt said."""


@dataclass(frozen=True)
class DbtFiles:
    """Where dbt's project, its artifacts and its inputs are."""

    project_dir: Path
    target_path: Path
    lake_root: Path
    build_path: Path

    @classmethod
    def of(cls, settings: Settings) -> "DbtFiles":
        return cls(PROJECT_ROOT / "dbt_project", settings.data_root / "dbt", settings.lake_root, settings.build_path)

    @property
    def manifest_path(self) -> Path:
        return self.target_path / "manifest.json"

    @property
    def executable(self) -> str:
        """The dbt that stands beside this Python, whatever PATH says."""
        beside = Path(sys.executable).parent / "dbt"
        return str(beside) if beside.exists() else "dbt"

    def environment(self) -> dict[str, str]:
        """What dbt finds in its environment besides the process's own."""
        return {
            "COMMERCE_LAKE_ROOT": str(self.lake_root),
            "COMMERCE_BUILD_PATH": str(self.build_path),
            "DBT_TARGET_PATH": str(self.target_path),
            "DBT_LOG_PATH": str(self.target_path / "logs"),
            "DBT_PROJECT_DIR": str(self.project_dir),
            "DBT_PROFILES_DIR": str(self.project_dir),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }

    def manifest(self, generate: Callable[[Path], object] | None = None) -> dict[str, Any]:
        """The manifest, prepared when it is missing or stale. `generate` writes models that are made, into the project's folder."""
        return dict(json.loads(self.prepare_manifest(generate).read_text()))

    def prepare_manifest(self, generate: Callable[[Path], object] | None = None) -> Path:
        """`dbt parse` when the project or its paths changed since the last time; several processes at once do it once."""
        stamp = self.target_path / "manifest.sha256"
        fingerprint = self.fingerprint()
        if self._is_current(stamp, fingerprint):
            return self.manifest_path
        self.target_path.mkdir(parents=True, exist_ok=True)
        with (self.target_path / "parse.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._is_current(stamp, fingerprint):
                if generate is not None:
                    generate(self.project_dir)
                    fingerprint = self.fingerprint()
                self._parse()
                stamp.write_text(fingerprint)
        return self.manifest_path

    def fingerprint(self) -> str:
        """A hash of everything the manifest depends on: the project's files and the paths rendered into it."""
        digest = hashlib.sha256(f"{self.lake_root}\0{self.build_path}\0".encode())
        for path in self._project_files():
            digest.update(str(path.relative_to(self.project_dir)).encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def prune_runs(self, keep: int) -> None:
        """Remove the artifact folders of all but the `keep` newest dbt invocations."""
        runs = sorted((path for path in (self.target_path / "runs").glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for path in runs[: max(len(runs) - keep, 0)]:
            shutil.rmtree(path, ignore_errors=True)

    def _project_files(self) -> list[Path]:
        if not (self.project_dir / "dbt_project.yml").exists():
            raise DbtProjectError(f"no dbt project at {self.project_dir}: dbt_project.yml is missing (run from a clone of the repository)")
        found = []
        for folder, folders, files in os.walk(self.project_dir):
            folders[:] = sorted(name for name in folders if name not in _GENERATED)
            found += [Path(folder) / name for name in sorted(files) if name not in _GENERATED]
        return found

    def _is_current(self, stamp: Path, fingerprint: str) -> bool:
        return self.manifest_path.exists() and stamp.exists() and stamp.read_text() == fingerprint

    def _parse(self) -> None:
        beside = self.target_path / f".parse-{os.getpid()}-{time.monotonic_ns()}"
        environment = {**os.environ, **self.environment(), "DBT_TARGET_PATH": str(beside), "DBT_LOG_PATH": str(beside)}
        try:
            done = subprocess.run(
                [self.executable, "--no-use-colors", "parse"],
                cwd=self.project_dir,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_PARSE_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                raise DbtProjectError(f"dbt parse failed:\n{(done.stdout + done.stderr).strip()[-4000:]}")
            for name in ("partial_parse.msgpack", "manifest.json"):
                if (beside / name).exists():
                    os.replace(beside / name, self.target_path / name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def environment_of(files: DbtFiles) -> Iterator[None]:
    """dbt's environment in this process's own, for as long as a dbt process is being started from it."""
    before = {name: os.environ.get(name) for name in files.environment()}
    os.environ.update(files.environment())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
