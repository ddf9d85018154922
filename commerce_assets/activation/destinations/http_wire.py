"""One call to the receiver: signed, paced, repeated where that does no harm. Secrets are read from the environment as it is sent.

Nothing that goes wrong here is told in the words of a library: those may quote a header or an address.
"""

import base64
import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from commerce_assets.activation.destinations.http_pace import Pace
from commerce_assets.activation.errors import DestinationError
from commerce_assets.activation.records import Meter
from commerce_assets.activation.targets.http import ENV_NAME, HttpTarget, SignOptions

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""What is longer is cut off, and then no JSON."""
TOO_MANY = 429
_CONNECT_SECONDS = 10.0
_FIT = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class Answer:
    """A status with what came with it."""

    status: int
    content: bytes
    asks_seconds: float | None = None
    """Retry-After."""


@dataclass(frozen=True)
class NoAnswer:
    """None came. `was_sent`: whether the call may have been taken all the same."""

    was_sent: bool
    reason: str


class Wire:
    """The way to the receiver. Thread-safe."""

    def __init__(
        self,
        target: HttpTarget,
        meter: Meter,
        *,
        environment: Mapping[str, str],
        pause: Callable[[float], None],
        clock: Callable[[], float],
        now: Callable[[], float],
        random: Callable[[], float],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.target, self.meter = target, meter
        self.pace = Pace(target.rate, clock, pause)
        self._environment, self._pause, self._now, self._random = environment, pause, now, random
        self._transport = transport
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        _keep_addresses_out_of_logs(target.url)

    def close(self) -> None:
        """Give the connections back; another call opens them again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def environment_problems(self) -> list[str]:
        """Variables that are missing or cannot be used, by name."""
        found = []
        for name in self.target.env_names:
            value = self._environment.get(name)
            if not value:
                found.append(f"the environment variable {name} is not set: set it, as the sync's declaration names it")
            elif not _FIT.fullmatch(value) and name in ENV_NAME.findall(" ".join(self.target.headers.values())):
                found.append(f"what {name} holds cannot stand in a header (a line break, or no ASCII): correct it")
        return found

    def send(
        self, method: str, url: str, body: bytes | None, *, operation: str, idempotency_key: str | None = None, is_repeatable: bool
    ) -> Answer | NoAnswer:
        """The last answer. Calls that were answered with "later" are repeated, those that got no answer only where `is_repeatable`.

        Raises `DestinationError` where a secret is missing.
        """
        retries, statuses = self.target.retries, self.target.statuses
        may_be_taken = False
        answer: Answer | NoAnswer
        for attempt in range(1, retries.attempts + 1):
            with self.pace.call():
                answer = self._once(method, url, body, self.headers(body, idempotency_key), operation)
            if isinstance(answer, NoAnswer):
                may_be_taken |= answer.was_sent
                answer = NoAnswer(may_be_taken, answer.reason)
                if answer.was_sent and not is_repeatable:
                    return answer
                asked = None
            elif answer.status in statuses.retry:
                asked = answer.asks_seconds
                if asked is not None and asked > retries.longest_wait_seconds:
                    return answer
            else:
                return answer
            if attempt < retries.attempts:
                self._wait(attempt, asked)
        return answer

    def headers(self, body: bytes | None, idempotency_key: str | None = None) -> dict[str, str]:
        """Of one call, secrets filled in. Never to be kept, logged or shown."""
        target = self.target
        made = {"User-Agent": "commerce-assets"}
        if body is not None:
            made["Content-Type"] = "application/json"
        given = {name: ENV_NAME.sub(lambda found: self._secret(found[1]), value) for name, value in target.headers.items()}
        lowered = {name.lower() for name in given}
        made = {name: value for name, value in made.items() if name.lower() not in lowered} | given
        if target.idempotency_header and idempotency_key:
            made[target.idempotency_header] = idempotency_key
        if target.sign:
            made |= signature(target.sign, self._secret(target.sign.secret_env), body or b"", int(self._now()))
        return made

    def _secret(self, name: str) -> str:
        if not self._environment.get(name):
            raise DestinationError(f"the environment variable {name} is not set: set it, as the sync's declaration names it")
        return self._environment[name]

    def _once(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], operation: str) -> Answer | NoAnswer:
        self._count(operation)
        try:
            with self._http().stream(method, url, content=body, headers=headers) as response:
                content = _bounded(response)
                answer = Answer(response.status_code, content, _seconds_of(response.headers.get("Retry-After"), self._now()))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            return NoAnswer(False, _why_not_reached(error))
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            return NoAnswer(False, f"the call could not be made ({type(error).__name__})")
        except (httpx.HTTPError, httpx.StreamError) as error:
            return NoAnswer(True, f"no answer ({type(error).__name__})")
        if answer.status == TOO_MANY:
            with self._lock:
                self.meter.throttled += 1
        return answer

    def _wait(self, failures: int, asked: float | None) -> None:
        """What the receiver asks for holds for every thread; a pause of ours only for this call."""
        if asked is not None:
            self.pace.hold(asked)
            return
        retries = self.target.retries
        self._pause(self._random() * min(retries.cap_seconds, retries.base_seconds * 2 ** (failures - 1)))

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                seconds, calls = self.target.timeout_seconds, self.target.concurrency
                self._client = httpx.Client(
                    timeout=httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
                    limits=httpx.Limits(max_connections=calls, max_keepalive_connections=calls),
                    transport=self._transport,
                    follow_redirects=False,
                    # A proxy is for what lies beyond this machine.
                    trust_env=not self.target.is_local,
                )
            return self._client

    def _count(self, operation: str) -> None:
        with self._lock:
            self.meter.requests += 1
            self.meter.by_operation[operation] = self.meter.by_operation.get(operation, 0) + 1


def signature(sign: SignOptions, secret: str, body: bytes, seconds: int) -> dict[str, str]:
    """The headers that prove who sends it: HMAC of the very bytes that are sent, with the moment before them where there is one."""
    signed = f"{seconds}.".encode() + body if sign.timestamp_header else body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    text = digest.hex() if sign.encoding == "hex" else base64.b64encode(digest).decode()
    made = {sign.header: f"{sign.prefix}{text}"}
    return made | {sign.timestamp_header: str(seconds)} if sign.timestamp_header else made


def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            break
    return bytes(content[:MAX_ANSWER_BYTES])


def _seconds_of(header: str | None, now: float) -> float | None:
    """Retry-After: seconds, or a date."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    return max(seconds, 0.0) if seconds == seconds else None


def _why_not_reached(error: httpx.TransportError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "not reached: its certificate could not be verified"
    return f"not reached ({type(error).__name__})"


class _NoAddress(logging.Filter):
    """httpx logs each call's address, which may hold a record's key."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: set[tuple[str, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._short(one) if isinstance(one, httpx.URL) else one for one in record.args)
        return True

    def _short(self, url: httpx.URL) -> Any:
        origin = (url.scheme, url.netloc.decode())
        return f"{origin[0]}://{origin[1]}/…" if origin in self.origins else url


_ADDRESSES = _NoAddress()


def _keep_addresses_out_of_logs(url: str) -> None:
    address = httpx.URL(url)
    _ADDRESSES.origins.add((address.scheme, address.netloc.decode()))
    logger = logging.getLogger("httpx")
    if _ADDRESSES not in logger.filters:
        logger.addFilter(_ADDRESSES)


def reachability(target: HttpTarget, connect: Callable[[str, int, float], None]) -> Sequence[str]:
    """Why nothing answers at the target's host; empty where it can be connected to."""
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connect(host, port, min(target.timeout_seconds, _CONNECT_SECONDS))
    except OSError as error:
        is_name = type(error).__name__ == "gaierror"
        what = "its name is not known" if is_name else f"nothing answers there ({type(error).__name__})"
        return [f"{host}:{port} cannot be reached, {what}: look whether url is right and the network is there"]
    return []


def moment_now() -> float:
    """Seconds since 1970, as a signature's timestamp is."""
    return datetime.now(UTC).timestamp()
