"""What `make run` and `make demo` do: bring up the embedded store when no shop is configured, run the pipeline, say what happened, serve the UI.

The sandbox is a process of its own, reached over HTTP like a real shop; it is left running while the UI is served, so that
schedules have something to read.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from commerce_assets.config import PROJECT_ROOT, SANDBOX_TOKEN, Settings

SANDBOX_START_SECONDS = 30


class DemoError(Exception):
    """The demo cannot start; the message says what to do."""


def run_demo(settings: Settings, *, scale: float, full: bool, as_json: bool) -> int:
    """Run the main job once; 0 when everything was right, 1 otherwise."""
    with storefront(settings, scale=scale, progress=say):
        return _run_once(settings, full=full, as_json=as_json)


def run_and_serve(settings: Settings, *, full: bool, port: int) -> int:
    """Run the main job, then serve the Dagster UI until interrupted; the UI is served even when the run failed, so that one can see why."""
    with storefront(settings, scale=1.0, progress=say):
        code = _run_once(settings, full=full, as_json=False)
        with _event_service(settings):
            say(f"serving the Dagster UI at http://127.0.0.1:{port} (Ctrl-C stops it)")
            return _serve_ui(settings, port) or code


@contextmanager
def _event_service(settings: Settings) -> Iterator[None]:
    """The embedded store's events beside the UI; a configured shop's come to a `commerce serve` of one's own, under an address it can reach."""
    if not settings.is_sandbox:
        yield
        return
    from commerce_assets.service.subscribing import synchronise

    if _answers(f"http://{settings.events_host}:{settings.events_port}"):
        say(f"events are already taken at http://{settings.events_host}:{settings.events_port}")
        yield
        return
    log_path = settings.data_root / "events.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "commerce_assets.cli", "serve"], stdout=log, stderr=log, cwd=PROJECT_ROOT)
    try:
        diff = synchronise(settings)
        topics = len(diff.create) + len(diff.update) + len(diff.unchanged)
        say(f"{topics} webhook topics subscribed; events are taken at port {settings.events_port} (see events.log)")
        yield
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


def run_publish(settings: Settings, *, as_json: bool) -> int:
    """Publish the built warehouse, behind the gate that a run has."""
    from commerce_assets.pipeline import run_publish as publish

    stage = publish(settings, progress=say)
    summary = {
        "is_ok": stage.is_ok,
        "seconds": round(stage.seconds, 1),
        "problems": list(stage.problems),
        "file": str(settings.published_path),
    }
    print(json.dumps(summary, indent=2) if as_json else f"published {settings.published_path}" if stage.is_ok else "not published")
    return 0 if stage.is_ok else 1


def _run_once(settings: Settings, *, full: bool, as_json: bool) -> int:
    from commerce_assets.pipeline import run_pipeline

    summary = run_pipeline(settings, progress=say, full=full)
    print(json.dumps(summary.as_dict(), indent=2, default=str) if as_json else summary.render())
    return 0 if summary.is_ok else 1


_started_at = time.monotonic()


def say(line: str) -> None:
    """One line of progress, with the seconds since the start, on stderr so that --json stays clean."""
    print(f"{time.monotonic() - _started_at:7.1f}s  {line}", file=sys.stderr, flush=True)


@contextmanager
def storefront(settings: Settings, *, scale: float, progress: Callable[[str], None]) -> Iterator[None]:
    """The shop that the run reads: a configured one as it is, else the embedded sandbox, filled when empty and served while needed."""
    _interrupt_on_signals()
    if not settings.is_sandbox:
        progress(f"shop: {settings.storefront_url}")
        yield
        return
    if _answers(settings.storefront_url):
        progress(f"sandbox store already served at {settings.storefront_url}")
        yield
        return
    store = settings.data_root / "sandbox"
    _fill_when_empty(store, scale, progress)
    process = _start_sandbox(settings, store)
    try:
        _wait_until_served(settings.storefront_url, process)
        progress(f"sandbox store served at {settings.storefront_url}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _interrupt_on_signals() -> None:
    """SIGTERM ends a run as Ctrl-C does, children included; so does SIGINT where a background shell had it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _fill_when_empty(store: Path, scale: float, progress: Callable[[str], None]) -> None:
    from commerce_assets.sandbox.store import Store

    if (store / "store.sqlite").exists() and Store(store).count("Order") > 0:
        return
    from commerce_assets.sandbox.fill import fill

    progress(f"filling the sandbox store at scale {scale:g}: customers, catalogue, orders over 24 months")
    summary = fill(store, scale=scale, seed=1, dirt=0.002)
    progress("sandbox store filled: " + ", ".join(f"{value:,} {key}" for key, value in summary.items() if isinstance(value, int)))


def _start_sandbox(settings: Settings, store: Path) -> subprocess.Popen[bytes]:
    url = httpx.URL(settings.storefront_url)
    log_path = settings.data_root / "sandbox.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "commerce_assets.cli",
        "sandbox",
        "serve",
        "--store",
        str(store),
        "--port",
        str(url.port or 8810),
        "--plan",
        "plus",
    ]
    with log_path.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=PROJECT_ROOT)


def _wait_until_served(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SANDBOX_START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the sandbox store stopped with code {process.returncode}; see sandbox.log under the data root")
        if _answers(url):
            return
        time.sleep(0.1)
    raise DemoError(f"the sandbox store did not answer at {url} within {SANDBOX_START_SECONDS} s; see sandbox.log under the data root")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _serve_ui(settings: Settings, port: int) -> int:
    """`dagster dev` in a process of its own; Ctrl-C stops it and returns 0."""
    environment = {**os.environ, "DAGSTER_HOME": str(settings.dagster_home_path.resolve())}
    if settings.is_sandbox:
        environment.setdefault("SHOPIFY_ACCESS_TOKEN", SANDBOX_TOKEN)
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "dev",
        "--workspace",
        "workspace.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        return 0
