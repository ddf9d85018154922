"""Helpers for tests: shared data nobody here wrote, free ports, a sandbox store in its own process."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SANDBOX_TOKEN = "sandbox-token"


def shared_path(name: str) -> Path:
    """A file or folder of the shared data; skips the test, saying which, where it is absent."""
    root = Path(os.environ.get("COMMERCE_SHARED", REPOSITORY.parent / "shared"))
    path = root / name
    if not path.exists():
        pytest.skip(f"shared data {name!r} is absent (set COMMERCE_SHARED to the folder that holds it)")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class RunningSandbox:
    url: str
    store: Path
    process: subprocess.Popen[bytes]
    token: str = SANDBOX_TOKEN


def commerce(
    *arguments: str, env: dict[str, str] | None = None, check: bool = True, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `commerce …` in a process of its own and return it with its output."""
    done = subprocess.run(
        [sys.executable, "-m", "commerce_assets.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        cwd=REPOSITORY,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"commerce {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@contextmanager
def running_sandbox(store: Path, *options: str) -> Iterator[RunningSandbox]:
    """`commerce sandbox serve` on a free port, stopped at the end."""
    port = free_port()
    log = (store.parent / f"sandbox-{port}.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "commerce_assets.cli", "sandbox", "serve", "--port", str(port), "--store", str(store), *options],
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=REPOSITORY,
    )
    scheme = "https" if "--tls-cert" in options else "http"
    url = f"{scheme}://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if process.poll() is not None:
                raise AssertionError(f"sandbox exited {process.returncode}: {Path(log.name).read_text()}")
            try:
                httpx.get(f"{url}/healthz", verify=False, timeout=1)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"sandbox did not answer: {Path(log.name).read_text()}")
        yield RunningSandbox(url, store, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()
