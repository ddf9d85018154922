"""Dagster's own storage: set up before anyone opens it, because two first openers of an empty one collide."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.sqlite import sqlite_event_log

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


@contextmanager
def quick_storage(home: Path) -> Iterator[None]:
    """Make this process's writes to Dagster's SQLite files several times cheaper, without giving up that a kill loses nothing.

    Dagster makes an engine for every event, which forgets how its statements compile: here one a file is kept. It opens and closes the
    file each time too, and the last to close a file in WAL mode checkpoints it: so one connection to each is kept open. And WAL with
    synchronous=NORMAL does not wait for the disk at each commit: a power cut may lose the record of the last events, never data (lake,
    warehouse and ledger do wait).
    """
    kept: dict[str, sqlite3.Connection] = {}
    inside = str(home.resolve())

    def on_connect(connection: Any, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        if path.startswith(inside):
            connection.execute("PRAGMA synchronous=NORMAL")
            if path not in kept:
                kept[path] = sqlite3.connect(path, check_same_thread=False)
            with suppress(sqlite3.OperationalError):  # a file that is just being made
                kept[path].execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()

    engines: dict[str, sa.Engine] = {}

    def kept_engine(url: str, **options: Any) -> sa.Engine:
        return engines.get(url) or engines.setdefault(url, sa.create_engine(url, **options))

    module: Any = sqlite_event_log
    create_engine = module.create_engine
    module.create_engine = kept_engine
    sa.event.listen(sa.engine.Engine, "connect", on_connect)
    try:
        yield
    finally:
        module.create_engine = create_engine
        sa.event.remove(sa.engine.Engine, "connect", on_connect)
        for connection in kept.values():
            connection.close()
