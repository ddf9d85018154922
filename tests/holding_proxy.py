"""A proxy on loopback before a shop that can hold a call, so that a process is killed exactly there and not by the clock.

Held before the shop has it, a call never reaches it; held after, the shop has done what was asked and the caller never hears of it.
Calls that come later, from other threads of the process, are held before: how far it comes does not depend on how soon the kill is there.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx

NOT_PASSED_ON = {"host", "content-length", "connection"}


@dataclass
class Hold:
    """The `nth` call of a root field from now on, held on its way to the shop (`before`) or on its way back (`after`)."""

    root: str
    nth: int
    moment: Literal["before", "after"]
    calls: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        return f"call {self.nth} of {self.root}, held {self.moment} the shop works on it"


class HoldingProxy:
    """Passes GraphQL calls on to a shop, counts each value written, (object, metafield key or tag), and holds what it is told to.

    The shop's own times cannot tell what was written twice: setting a value that is there already changes nothing there.
    """

    def __init__(self, shop_url: str) -> None:
        self.written: Counter[tuple[str, str]] = Counter()
        self._hold: Hold | None = None
        self._lock = threading.Lock()
        proxy = self
        self._forward = forward = httpx.Client(base_url=shop_url, timeout=60)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(forward.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = json.loads(body) if "graphql" in self.path else {}
                hold, is_the_one = proxy._hold_of(sent)
                if hold is not None and (hold.moment == "before" or not is_the_one):
                    if is_the_one:
                        hold.reached.set()
                    hold.released.wait()
                    self.close_connection = True
                    return
                passed = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
                try:
                    answer = forward.post(self.path, content=body, headers=passed)
                except httpx.HTTPError:
                    # The shop cut it off: nobody hears of it, held or not.
                    if hold is not None:
                        hold.reached.set()
                        hold.released.wait()
                    self.close_connection = True
                    return
                if sent and answer.status_code == 200:
                    proxy._note(sent, answer.json())
                if hold is not None:
                    hold.reached.set()
                    hold.released.wait()
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._answer(answer)

            def _answer(self, answer: httpx.Response) -> None:
                self.send_response(answer.status_code)
                for name in ("content-type", "x-shopify-api-version"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextmanager
    def holding(self, hold: Hold) -> Iterator[Hold]:
        """Hold this call until the end of the block."""
        self._hold = hold
        try:
            yield hold
        finally:
            self._hold = None
            hold.released.set()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._forward.close()

    def _hold_of(self, sent: dict[str, Any]) -> tuple[Hold | None, bool]:
        """The hold that this call falls under, and whether it is the call that was meant or a later one."""
        with self._lock:
            hold = self._hold
            if hold is None or hold.calls == hold.nth:
                return hold, False
            hold.calls += bool(re.search(rf"\b{hold.root}\(", sent.get("query", "")))
            return (hold, True) if hold.calls == hold.nth else (None, False)

    def _note(self, sent: dict[str, Any], answer: dict[str, Any]) -> None:
        variables = sent.get("variables") or {}
        for root, payload in (answer.get("data") or {}).items():
            if root not in {"metafieldsSet", "tagsAdd"} or payload["userErrors"]:
                continue
            pairs = [(one["ownerId"], one["key"]) for one in variables.get("metafields", [])]
            pairs += [(variables["id"], tag) for tag in variables.get("tags", [])]
            with self._lock:
                self.written.update(pairs)


def kill_at(proxy: HoldingProxy, hold: Hold, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `python ARGUMENTS` in a process group of its own and SIGKILL it while the call is held; fails where it ends before."""
    with proxy.holding(hold):
        process = subprocess.Popen([sys.executable, *arguments], start_new_session=True, env=environment)
        deadline = time.monotonic() + 240
        try:
            while not hold.reached.wait(0.05):
                assert process.poll() is None, f"the process ended ({process.returncode}) before it came to {hold}"
                assert time.monotonic() < deadline, f"the process never came to {hold}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    assert process.returncode == -signal.SIGKILL
