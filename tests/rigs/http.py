"""A receiver of signed JSON on loopback: the outside of `HttpDestination`. It checks who calls, keeps records, and fails on demand."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from commerce_assets.activation.destinations.http import HttpDestination
from commerce_assets.activation.records import Sync
from commerce_assets.activation.targets import DeclaredField, HttpTarget
from rigs.base import Trait

SYNC = Sync("http", "audience", mapped=("segment", "value"), carried=("as_of",))
FIELDS = (
    DeclaredField(name="segment"),
    DeclaredField(name="value", type="number"),
    DeclaredField(name="as_of", type="date", carried=True),
)
ROWS_A_CALL = 5
LONGEST_VALUE = 60
TOKEN, SECRET = "rig-token-4f1d7c2b9a", "rig-secret-8e6b3a5d1c"
ENVIRONMENT = {"RIG_TOKEN": TOKEN, "RIG_SECRET": SECRET}
SIGN = {"secret_env": "RIG_SECRET", "header": "X-Signature", "prefix": "sha256=", "timestamp_header": "X-Timestamp"}
OLDEST_SECONDS = 300
TEMPLATE = {
    "id": "{key}",
    "attributes": {"segment": "{segment}", "value": "{value:number}", "as_of": "{as_of}"},
}
READ = {name: f"data.attributes.{name}" for name in SYNC.fields}
ROW_ERRORS = {"at": "errors", "pointer": "source.pointer", "pattern": r"^/data/records/([0-9]+)/", "code": "code"}

Refusing = Literal["named", "all_named", "silent"]
"""named: others of the call are taken, errors name records. all_named: nothing is taken, errors name records. silent: nothing is taken, and
no record is named."""


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._lock = threading.Lock()
        self.pauses: list[float] = []

    def now(self) -> float:
        with self._lock:
            return self._now

    def pause(self, seconds: float) -> None:
        with self._lock:
            self.pauses.append(seconds)
            self._now += seconds

    def wall(self) -> float:
        """Seconds since 1970."""
        return 1_790_000_000.0 + self.now()


@dataclass(frozen=True)
class Call:
    """A call as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=str, parse_int=str)


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Answering = Callable[[Call], Reply | None]


class Receiver:
    """Serves `answer` on a free port of loopback. None as a reply cuts the connection."""

    def __init__(self, answer: Answering, clock: Clock) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one_call(handler) -> None:
                length = int(handler.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in handler.headers.items()}
                call = Call(handler.command, handler.path, headers, handler.rfile.read(length), clock.now())
                with self._lock:
                    self.calls.append(call)
                    reply = answer(call)
                if reply is None:
                    handler.close_connection = True
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                content = b"" if reply.body is None else reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                handler.send_response(reply.status)
                for name, value in reply.headers.items():
                    handler.send_header(name, value)
                if reply.status != 204:
                    handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                if handler.command != "HEAD":
                    handler.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_one_call

            def log_message(handler, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class HttpRig:
    """Batches of five to one address by default; with `per="row"` each record has an address of its own, and DELETE takes it away.

    Its clock stands still but where the destination waits, so that nothing sleeps.
    """

    name = "http"
    traits: frozenset[Trait] = frozenset({"reads", "refuses", "throttles", "cuts", "makes_records", "loses_records"})
    longest_value = LONGEST_VALUE

    def __init__(
        self,
        root: Path | None = None,
        *,
        per: Literal["row", "batch"] = "batch",
        refusing: Refusing = "named",
        limits: Sequence[tuple[int, float]] = (),
        **options: Any,
    ) -> None:
        """`limits`: calls that are allowed in how many seconds, windows as the receiver begins them."""
        self.sync = SYNC
        self.rows_a_call = ROWS_A_CALL if per == "batch" else 1
        self.records: dict[str, dict[str, str]] = {}
        self.clock = Clock()
        self.environment = dict(ENVIRONMENT)
        self.refusing, self.limits = refusing, limits
        self.too_large = 0
        """Bytes of a body from which on it is refused with 413; 0: never."""
        self.throttled = 0
        self.unsigned = 0
        """Calls whose signature was wrong or too old."""
        self.retry_after: str | None = "1"
        self.effects: list[str] = []
        """Idempotency keys of calls that took effect."""
        self._answers: dict[str, Reply] = {}
        self._refused: set[str] = set()
        self._later = 0
        self._cuts: list[Literal["before", "after"]] = []
        self._writes = 0
        self._made: list[HttpDestination] = []
        self.receiver = Receiver(self._answer, self.clock)
        self.target = self._target(per, options)

    def _target(self, per: Literal["row", "batch"], options: dict[str, Any]) -> HttpTarget:
        url = self.receiver.url
        shared = {
            "headers": {"Authorization": "Bearer ${RIG_TOKEN}"},
            "sign": SIGN,
            "template": TEMPLATE,
            "concurrency": 2,
            "timeout_seconds": 30,
            "read": {"url": f"{url}/records/{{key}}", "fields": READ},
        }
        own: dict[str, Any] = {
            "url": f"{url}/records",
            "per": "batch",
            "batch_rows": ROWS_A_CALL,
            "envelope": {"data": {"kind": "records", "job": "{idempotency_key}"}},
            "rows_at": "data.records",
            "row_errors": ROW_ERRORS,
        }
        if per == "row":
            removing = {"method": "DELETE", "url": f"{url}/records/{{key}}"}
            own = {"url": f"{url}/records/{{key}}", "method": "PUT", "per": "row", "remove": removing}
        if isinstance(options.get("probe"), dict):
            options["probe"] = options["probe"] | {"url": options["probe"]["url"].replace("@", url)}
        target = HttpTarget.model_validate(shared | own | options)
        assert target.mistakes(FIELDS) == []
        return target

    def destination(self) -> HttpDestination:
        clock = self.clock
        made = HttpDestination(
            self.target,
            FIELDS,
            self.sync,
            environment=self.environment,
            pause=clock.pause,
            clock=clock.now,
            now=clock.wall,
            jitter=lambda: 0.5,
        )
        self._made.append(made)
        return made

    def keys(self, count: int) -> list[str]:
        return [f"gid://shopify/Customer/{1_000 + number}" for number in range(count)]

    def held(self) -> dict[str, dict[str, str]]:
        return {key: dict(fields) for key, fields in self.records.items() if fields}

    def change(self, key: str, field: str, value: str | None) -> None:
        record = self.records.setdefault(key, {})
        if value is None:
            record.pop(field, None)
        else:
            record[field] = value

    def delete(self, key: str) -> None:
        self.records.pop(key, None)

    def refuse(self, keys: set[str]) -> None:
        self._refused = set(keys)

    def throttle(self, calls: int) -> None:
        self._later = calls

    def cut(self, when: Literal["before", "after"], calls: int = 1) -> None:
        self._cuts = [when] * calls

    @property
    def writes(self) -> int:
        return self._writes

    @property
    def calls(self) -> list[Call]:
        return self.receiver.calls

    @property
    def writing_calls(self) -> list[Call]:
        return [call for call in self.calls if call.method != "GET"]

    def close(self) -> None:
        for destination in self._made:
            destination.close()
        self.receiver.close()

    # --- the receiver

    def _answer(self, call: Call) -> Reply | None:
        if call.headers.get("authorization") != f"Bearer {TOKEN}" or (self.target.sign and not self._is_signed(call)):
            self.unsigned += 1
            return Reply(401, {"errors": [{"code": "unauthorized"}]})
        if self._is_throttled(call):
            self.throttled += 1
            return Reply(429, None, {"Retry-After": self.retry_after} if self.retry_after else {})
        if call.method == "GET":
            return self._read(call)
        if self.too_large and len(call.body) > self.too_large:
            return Reply(413)
        cut = self._cuts.pop(0) if self._cuts else None
        if cut == "before":
            return None
        reply = self._write_once(call)
        return None if cut == "after" else reply

    def _is_signed(self, call: Call) -> bool:
        sign = self.target.sign
        assert sign is not None
        signed = call.body
        if sign.timestamp_header:
            moment = call.headers.get(sign.timestamp_header.lower(), "")
            if not moment.isdecimal() or abs(self.clock.wall() - int(moment)) > OLDEST_SECONDS:
                return False
            signed = moment.encode() + b"." + call.body
        digest = hmac.digest(SECRET.encode(), signed, hashlib.sha256)
        expected = digest.hex() if sign.encoding == "hex" else base64.b64encode(digest).decode()
        return hmac.compare_digest(call.headers.get(sign.header.lower(), ""), sign.prefix + expected)

    def _is_throttled(self, call: Call) -> bool:
        if self._later:
            self._later -= 1
            return True
        return any(
            sum(call.at // seconds == other.at // seconds for other in self.receiver.calls) > allowed for allowed, seconds in self.limits
        )

    def _read(self, call: Call) -> Reply:
        key = unquote(call.path.removeprefix("/records/"))
        if key not in self.records:
            return Reply(404)
        held = {name: self.records[key].get(name) for name in SYNC.fields}
        number = held.pop("value")
        content = json.dumps({"data": {"id": key, "attributes": {**held, "value": "@"}}}).replace('"@"', number or "null")
        return Reply(200, content.encode())

    def _write_once(self, call: Call) -> Reply:
        """A repeated key is answered as before and does nothing."""
        key = call.headers.get("idempotency-key", "")
        if self.target.repeatable and key in self._answers:
            return self._answers[key]
        reply = self._take_one(call) if call.path.startswith("/records/") else self._take_many(call)
        if reply.status < 300:
            self.effects.append(key)
            self._answers[key] = reply
        return reply

    def _take_one(self, call: Call) -> Reply:
        key = unquote(call.path.removeprefix("/records/"))
        if call.method in ("DELETE", "PATCH") and key not in self.records:
            return Reply(404)
        attributes = {} if call.method == "DELETE" else call.json["attributes"]
        if code := self._refusal(key, attributes):
            return Reply(422, {"errors": [{"code": code, "detail": f"{attributes} is wrong"}]})
        self._put(key, attributes)
        return Reply(204) if call.method == "DELETE" else Reply(200, {"id": key})

    def _take_many(self, call: Call) -> Reply:
        rows = call.json["data"]["records"]
        codes = [self._refusal(row["id"], row["attributes"]) for row in rows]
        if any(codes) and self.refusing == "silent":
            return Reply(400, {"message": f"one of {rows} is wrong"})
        errors = [
            {"code": code, "detail": f"{rows[number]} is wrong", "source": {"pointer": f"/data/records/{number}/attributes"}}
            for number, code in enumerate(codes)
            if code
        ]
        if errors and self.refusing == "all_named":
            return Reply(422, {"errors": errors})
        for row, code in zip(rows, codes, strict=True):
            if not code:
                self._put(row["id"], row["attributes"])
        return Reply(200, {"errors": errors} if errors else {"taken": len(rows)})

    def _refusal(self, key: str, attributes: dict[str, str | None]) -> str | None:
        if key in self._refused:
            return "not_allowed"
        return "too_long" if any(value and len(value) > LONGEST_VALUE for value in attributes.values()) else None

    def _put(self, key: str, attributes: dict[str, str | None]) -> None:
        held = self.records.get(key, {})
        now = {name: value for name, value in attributes.items() if value is not None}
        self._writes += sum(held.get(name) != now.get(name) for name in {*held, *now})
        self.records[key] = now
        if not now:
            del self.records[key]
