"""The receiver with 5 KB bodies over 64 keep-alive connections on loopback: storing durably beside the same server storing nothing.

Bounds: at least half the requests a second of the server that stores nothing, in the same run; p99 under 100 ms; resident memory that
does not grow over 500,000 events (`--events` for fewer). Both servers check the signature, read the payload's id and answer; the
load comes from this process over bare sockets, each body signed beforehand and each webhook id new.
"""

import argparse
import asyncio
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvicorn
import uvloop

from commerce_assets.events.inbox import Inbox
from commerce_assets.events.intake_rules import IntakeRules
from commerce_assets.events.intake_writer import GroupWriter
from commerce_assets.events.receiver import WEBHOOKS_PATH, ReceiverOptions, build_app, server_config
from commerce_assets.events.records import Delivery
from commerce_assets.events.signatures import sign

CONNECTIONS = 64
BODY_BYTES = 5_000
ROUND_SECONDS = 5.0
ROUNDS = 5
EVENTS = 500_000
WARM_EVENTS = 50_000
"""After which memory counts: caches of the database and of the allocator are full then."""
RATIO_BOUND, P99_BOUND_SECONDS, GROWTH_BOUND_MIB = 0.5, 0.1, 16
SHOP, SECRET = "bench.myshopify.com", "bench"


class _StoresNothing(GroupWriter):
    """Answers as if it had stored."""

    def store(self, _: Delivery) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(True)
        return answer


def serve(kind: str, port: int, folder: str) -> None:
    """A server in this process, until it is killed."""
    with Inbox(f"sqlite:///{Path(folder) / 'inbox.sqlite'}") as inbox:
        writer = _StoresNothing(inbox) if kind == "nothing" else None
        app = build_app(ReceiverOptions(IntakeRules(SHOP, (SECRET,))), inbox, writer)
        uvicorn.Server(server_config(app, "127.0.0.1", port)).run()


class Server:
    """A receiver in a process of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        folder.mkdir()
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.receiver", "--serve", kind, str(self.port), str(folder)])
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1)
                break
            except OSError:
                time.sleep(0.05)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, sends the next."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._answer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"}"):  # all answers are small JSON objects
            return
        self._load.latencies.append(time.perf_counter() - self._sent)
        if not self._answer.startswith(b"HTTP/1.1 200"):
            self._load.failed += 1
        self._answer = b""
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self._load.failed += 1
            self.done.set_result(None)

    def _next(self) -> None:
        request = self._load.next_request()
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]


@dataclass
class Load:
    """Requests until a moment or a number is reached."""

    prefix: str
    until: float
    events: int
    latencies: list[float]
    failed: int = 0
    sent: int = 0

    def next_request(self) -> bytes | None:
        if self.sent >= self.events or time.perf_counter() >= self.until:
            return None
        self.sent += 1
        return REQUESTS[self.sent % len(REQUESTS)].replace(
            b"WEBHOOK-ID", f"{random.getrandbits(64):016x}-{self.prefix}-{self.sent}".encode()
        )


def make_requests() -> list[bytes]:
    """Signed requests that lack but the webhook id, which is not signed."""
    requests = []
    for number in range(1, 201):
        order = {"id": 5_000_000_000_000 + number, "updated_at": "2026-11-21T12:00:00Z", "lines": []}
        while len(orjson.dumps(order)) < BODY_BYTES - 100:
            line = {"id": random.getrandbits(40), "title": "Sturdy box, blue", "price": "19.90", "quantity": 2, "properties": []}
            order["lines"].append(line)  # type: ignore[attr-defined]
        body = orjson.dumps(order)
        body += b" " * (BODY_BYTES - len(body))
        headers = {
            "Host": "127.0.0.1",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Shopify-Topic": "orders/updated",
            "X-Shopify-Hmac-Sha256": sign(body, SECRET),
            "X-Shopify-Shop-Domain": SHOP,
            "X-Shopify-API-Version": "2026-07",
            "X-Shopify-Webhook-Id": "WEBHOOK-ID",
            "X-Shopify-Event-Id": "WEBHOOK-ID",
            "X-Shopify-Triggered-At": "2026-11-21T12:00:00.123456789Z",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        requests.append(f"POST {WEBHOOKS_PATH} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return requests


async def run_load(port: int, load: Load) -> float:
    """Seconds it took."""
    loop, started = asyncio.get_running_loop(), time.perf_counter()
    connections = [(await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    await asyncio.gather(*(connection.done for connection in connections))
    return time.perf_counter() - started


def measure(server: Server, prefix: str, seconds: float = float("inf"), events: int = 10**9) -> tuple[float, list[float], int]:
    """(requests a second, latencies in seconds sorted, failed ones)."""
    load = Load(prefix, time.perf_counter() + seconds, events, [])
    took = uvloop.run(run_load(server.port, load))
    return len(load.latencies) / took, sorted(load.latencies), load.failed


def compare(servers: dict[str, Server]) -> bool:
    """Rounds in turns, so that what else the machine does meets both."""
    rates: dict[str, list[float]] = {kind: [] for kind in servers}
    latencies: dict[str, list[float]] = {kind: [] for kind in servers}
    failed = 0
    for server in servers.values():
        measure(server, "warm", 1.0)
    for number in range(ROUNDS):
        for kind, server in servers.items():
            rate, times, wrong = measure(server, f"{kind}{number}", ROUND_SECONDS)
            rates[kind].append(rate)
            latencies[kind] += times
            failed += wrong
    ratio = statistics.median(stored / nothing for stored, nothing in zip(rates["store"], rates["nothing"], strict=True))
    print(f"{CONNECTIONS} connections, {BODY_BYTES} B bodies, {ROUNDS} rounds of {ROUND_SECONDS:.0f} s each in turns")
    print(f"{'':<10} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    for kind in servers:
        times = sorted(latencies[kind])
        p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
        print(f"{kind:<10} {statistics.median(rates[kind]):>11.0f} {p50 * 1e3:>8.1f} {p99 * 1e3:>8.1f} {times[-1] * 1e3:>8.1f}")
    kept = ratio >= RATIO_BOUND and p99 < P99_BOUND_SECONDS and failed == 0
    print(f"ratio {ratio:.2f} (bound {RATIO_BOUND}), p99 {p99 * 1e3:.1f} ms (bound 100), {failed} failed: {'kept' if kept else 'MISSED'}")
    return kept


def endure(server: Server, folder: Path, events: int) -> bool:
    """Resident memory of the storing server over many events."""
    step, memory, done, failed = WARM_EVENTS, [], 0, 0
    while done < events:
        rate, times, wrong = measure(server, f"endure{done}", events=step)
        done, failed = done + step, failed + wrong
        memory.append(server.rss_mib())
        wal = (folder / "inbox.sqlite-wal").stat().st_size / 2**20
        p99 = times[int(len(times) * 0.99)] * 1e3
        print(f"{done:>8} events  {rate:>6.0f}/s  p99 {p99:>6.1f} ms  RSS {memory[-1]:>5.0f} MiB  WAL {wal:>4.0f} MiB", flush=True)
    growth = max(memory[1:], default=memory[0]) - memory[0]
    kept = growth <= GROWTH_BOUND_MIB and failed == 0
    print(
        f"RSS grew by {growth:.0f} MiB after the first {WARM_EVENTS} (bound {GROWTH_BOUND_MIB}), {failed} failed: {'kept' if kept else 'MISSED'}"
    )
    return kept


def main(events: int) -> int:
    with tempfile.TemporaryDirectory() as root:
        servers = {kind: Server(kind, Path(root) / kind) for kind in ("nothing", "store")}
        try:
            is_fast = compare(servers)
            is_flat = endure(servers["store"], Path(root) / "store", events)
        finally:
            for server in servers.values():
                server.stop()
    return 0 if is_fast and is_flat else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        raise SystemExit(0)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="how many events memory is watched over")
    REQUESTS = make_requests()
    raise SystemExit(main(parser.parse_args().events))
