"""Dagster's own storage: set up before anyone opens it, because two first openers of an empty one collide."""

import fcntl
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

TEMPLATE = Path(__file__).parent / "dagster.yaml"
_NO_COMPUTE_LOGS = {"compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}}


def initialise(home: Path) -> None:
    """Write `dagster.yaml` and create the storage's tables, once; a `dagster.yaml` that is there is left alone."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".initialise.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = home / "dagster.yaml"
        if not config.exists():
            config.write_text(TEMPLATE.read_text())
        with _opened(home) as instance:
            instance.get_runs(limit=1)
            instance.get_asset_keys(limit=1)


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance at `home`, set up when it is new. Without capture of step output, which costs two processes a step."""
    initialise(home)
    return _opened(home)


def _opened(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=_NO_COMPUTE_LOGS))
