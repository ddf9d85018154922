"""The connection to one shop's Admin GraphQL API: budget, retries, tokens, versions, and errors that say what to do. Thread-safe."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import httpx

from commerce_assets.sources.shopify.auth import Auth
from commerce_assets.sources.shopify.errors import (
    AccessDeniedError,
    ApiVersionError,
    ApiVersionWarning,
    AuthenticationError,
    GraphqlError,
    QueryTooExpensiveError,
    RateLimitedError,
    RequestFailedError,
    SearchWarningError,
    ShopifyConfigurationError,
    ShopifyError,
    ShopifyInterruptedError,
    ShopUnavailableError,
    UncertainWriteError,
    UnexpectedAnswerError,
    UserErrorsError,
)
from commerce_assets.sources.shopify.retry import RetryPolicy, retry_after_seconds
from commerce_assets.sources.shopify.throttle import Cost, Throttle, ThrottleStatus, is_mutation, operation_of, shared_throttle

LOG = logging.getLogger(__name__)
TOKEN_HEADER = "X-Shopify-Access-Token"  # noqa: S105 - a header's name
VERSION_HEADER = "X-Shopify-API-Version"
BULK_SLOTS = 5
"""Bulk operations that may run at once per app, shop and type."""
MAX_THROTTLED = 60
REQUIRED_SCOPES = ("read_orders", "read_all_orders", "read_products", "read_inventory", "read_locations", "read_customers")
"""What the streams read. Activation needs write_customers beside them."""
_TIMEOUT = httpx.Timeout(connect=10, read=60, write=60, pool=120)
# A Plus plan's budget takes some sixty calls in flight; each keeps its connection, for a new one costs several round trips.
_LIMITS = httpx.Limits(max_connections=128, max_keepalive_connections=128)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_MESSAGE_LIMIT = 300

Policy = Literal["error", "warn"]


@dataclass(frozen=True)
class VersionPolicy:
    """What to do when the shop answers with an older or newer API version than the one asked for.

    Shopify falls forward from an unsupported version to a newer one: the documents still run, so that is a loud warning. An older answer
    means that fields we rely on may be missing.
    """

    older: Policy = "error"
    newer: Policy = "warn"


@dataclass
class Meter:
    """Requests sent, points spent and THROTTLED answers of one piece of work; may be shared by threads."""

    requests: int = 0
    cost: float = 0.0
    throttled: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, requests: int = 0, cost: float = 0.0, throttled: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.cost += cost
            self.throttled += throttled


@dataclass(frozen=True)
class ShopState:
    """What `commerce doctor` wants to know of a shop."""

    name: str
    domain: str
    currency_code: str
    timezone: str
    plan: str | None
    scopes: tuple[str, ...]
    missing_scopes: tuple[str, ...]
    version_asked: str
    version_answered: str | None
    throttle: ThrottleStatus | None


@cache
def document(name: str) -> str:
    """The text of `queries/<name>.graphql`."""
    return (files("commerce_assets.sources.shopify") / "queries" / f"{name}.graphql").read_text(encoding="utf-8")


class ShopifyClient:
    """One shop, one app. `execute` returns the answer's data or raises a named error."""

    def __init__(
        self,
        base_url: str,
        version: str,
        auth: Auth,
        *,
        throttle: Throttle | None = None,
        retry: RetryPolicy | None = None,
        version_policy: VersionPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        verify: Any = True,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self.base_url, self.version, self.auth = base_url.rstrip("/"), version, auth
        self.shop = urlsplit(self.base_url).netloc
        self.retry = retry or RetryPolicy()
        self.version_policy = version_policy or VersionPolicy()
        self.version_answered: str | None = None
        self.meter = Meter()
        budget_key = f"{self.base_url}|{auth.identity}"
        self.throttle = throttle or shared_throttle(budget_key)
        self._slots = _shared_slots(budget_key) if throttle is None else _new_slots()
        self._pause = pause
        self._stop = threading.Event()
        self._warned = False
        self._refuse_plain_http()
        _keep_query_strings_out_of_logs()
        # Results lie at another host, which must never see the token: it is a header of each call, not of the session.
        self.http = httpx.Client(http2=False, timeout=_TIMEOUT, limits=_LIMITS, transport=transport, verify=verify, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back. Waiting threads end with `ShopifyInterruptedError`."""
        self.interrupt()
        self.http.close()

    def interrupt(self) -> None:
        """Make every thread that waits for this client stop waiting with `ShopifyInterruptedError`."""
        self._stop.set()

    def pause(self, seconds: float) -> None:
        """Sleep, unless the client is interrupted."""
        if self._pause is not None:
            self._pause(seconds)
        elif self._stop.wait(seconds):
            raise ShopifyInterruptedError(f"{self.shop}: interrupted while waiting; run again")

    def bulk_slot(self, operation_type: Literal["QUERY", "MUTATION"]) -> threading.BoundedSemaphore:
        """The slots for bulk operations of this type that this process may hold at once."""
        return self._slots[operation_type]

    def execute(
        self,
        text: str,
        variables: Mapping[str, Any] | None = None,
        *,
        idempotent: bool = False,
        attempts: int | None = None,
        meter: Meter | None = None,
        even_when_interrupted: bool = False,
    ) -> dict[str, Any]:
        """Run a GraphQL document and return its `data`.

        Queries are repeated on 5xx, 429 and network errors; a mutation only when the caller says that it is `idempotent`, or when it is
        certain that the shop never began with it. `userErrors` are the caller's (see `raise_user_errors`).
        """
        call = _Call(self, text, dict(variables or {}), idempotent or not is_mutation(text), attempts or self.retry.attempts, meter)
        if even_when_interrupted:
            call.pause = self._pause or time.sleep
        return call.run()

    def rest(self, path: str, *, meter: Meter | None = None) -> dict[str, Any]:
        """GET one of the few REST addresses that GraphQL has no equal for."""
        return _RestCall(self, path, self.retry.attempts, meter).run()

    def shop_info(self) -> dict[str, Any]:
        """Name, domain, currency, time zone and plan of the shop."""
        return dict(self.execute(document("shop"))["shop"])

    def access_scopes(self) -> tuple[str, ...]:
        """The scopes that the token was granted, sorted."""
        answer = self.rest("/admin/oauth/access_scopes.json")
        return tuple(sorted(scope["handle"] for scope in answer["access_scopes"]))

    def note_version(self, answered: str | None) -> None:
        """Compare the version that answered with the one asked for, and act by the policy."""
        if not answered:
            return
        self.version_answered = answered
        if answered == self.version:
            return
        is_older = answered < self.version
        message = (
            f"{self.shop}: asked for Admin API {self.version}, but {answered} answered ({'older' if is_older else 'newer'}); "
            f"set SHOPIFY_API_VERSION to a version that the shop supports, and check the documents against it"
        )
        if (self.version_policy.older if is_older else self.version_policy.newer) == "error":
            raise ApiVersionError(message)
        if not self._warned:
            self._warned = True
            LOG.warning(message)
            warnings.warn(message, ApiVersionWarning, stacklevel=2)

    def _refuse_plain_http(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme != "https" and (address.scheme != "http" or address.hostname not in _LOOPBACK):
            raise ShopifyConfigurationError(
                f"{self.shop or self.base_url}: the token is only sent over https; set SHOPIFY_URL to https://<shop>.myshopify.com"
            )


def state_of_shop(client: ShopifyClient) -> ShopState:
    """Shop, scopes, version answered and budget, in two requests."""
    shop = client.shop_info()
    scopes = client.access_scopes()
    return ShopState(
        name=shop["name"],
        domain=shop["myshopifyDomain"],
        currency_code=shop["currencyCode"],
        timezone=shop["ianaTimezone"],
        plan=(shop.get("plan") or {}).get("publicDisplayName"),
        scopes=scopes,
        missing_scopes=missing_scopes(scopes),
        version_asked=client.version,
        version_answered=client.version_answered,
        throttle=client.throttle.status,
    )


def missing_scopes(granted: tuple[str, ...], required: tuple[str, ...] = REQUIRED_SCOPES) -> tuple[str, ...]:
    """The required scopes that are not granted; a write scope holds its read scope."""
    held = set(granted) | {"read_" + scope.removeprefix("write_") for scope in granted if scope.startswith("write_")}
    return tuple(scope for scope in required if scope not in held)


def raise_user_errors(client: ShopifyClient, what: str, errors: list[dict[str, Any]]) -> None:
    """`UserErrorsError` when a mutation answered any."""
    if errors:
        raise UserErrorsError(f"{client.shop}: {what} was refused: {user_error_text(errors)}", [str(error.get("code")) for error in errors])


def user_error_text(errors: list[dict[str, Any]]) -> str:
    """The first few userErrors as one line."""
    lines = [f"{error.get('code') or 'error'}: {error.get('message')}" for error in errors[:3]]
    return _short("; ".join(lines)) + (f" (and {len(errors) - 3} more)" if len(errors) > 3 else "")


@dataclass
class _Attempts:
    """Failures so far of one call, and what is still allowed."""

    client: ShopifyClient
    what: str
    may_repeat: bool
    allowed: int
    failures: int = 0

    def failed(self, problem: str, *, never_began: bool, wait: float | None = None) -> float:
        """Seconds to wait before the next attempt; raises when there is none."""
        self.failures += 1
        shop = self.client.shop
        if not (self.may_repeat or never_began):
            raise UncertainWriteError(
                f"{shop}: {self.what} got no answer ({problem}) and is not safe to repeat: it may or may not have been applied; read the shop's state before trying again"
            ) from None
        if self.failures >= self.allowed:
            raise RequestFailedError(
                f"{shop}: {self.what} failed {self.failures} times ({problem}); check the network and Shopify's status, then run again"
            ) from None
        LOG.info("%s: %s: %s; trying again", shop, self.what, problem)
        return wait if wait is not None else self.client.retry.wait_seconds(self.failures)


class _HttpCall:
    """One HTTP exchange with its retries, token renewal and status codes; what a good answer means is the subclass's."""

    def __init__(self, client: ShopifyClient, what: str, may_repeat: bool, attempts: int, meter: Meter | None) -> None:
        self.client, self.what = client, what
        self.attempts = _Attempts(client, what, may_repeat, attempts)
        self.meters = [client.meter] + ([meter] if meter else [])
        self.was_renewed = False
        self.token: str | None = None
        self.wait = 0.0
        self.pause: Callable[[float], None] = client.pause

    def count(self, requests: int = 0, cost: float = 0.0, throttled: int = 0) -> None:
        for meter in self.meters:
            meter.add(requests, cost, throttled)

    def failed(self, problem: str, *, never_began: bool = False, wait: float | None = None) -> None:
        """Note that another attempt is due, and after which wait."""
        self.wait = self.attempts.failed(problem, never_began=never_began, wait=wait)

    def rest(self) -> None:
        """Wait as long as the last failure asks for."""
        wait, self.wait = self.wait, 0.0
        if wait > 0:
            self.pause(wait)

    def exchange(self, send: Callable[[str], httpx.Response]) -> httpx.Response | None:
        """One attempt: the 200 answer, or None when it failed in a way that allows another attempt after a `rest`."""
        client = self.client
        if self.token is None:
            self.token = client.auth.token(client.http, self.pause)
        self.count(requests=1)
        try:
            answer = send(self.token)
        except httpx.TransportError as error:
            never_began = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError)
            self.failed(type(error).__name__, never_began=never_began)
            return None
        status = answer.status_code
        if status == 200:
            return answer
        if status == 401:
            if self.was_renewed:
                raise AuthenticationError(
                    f"{client.shop}: a renewed token was refused too (401) for {self.what}; check that the app is still installed"
                )
            self.was_renewed = True
            self.token = client.auth.renew(client.http, self.pause, self.token)
            return None
        wait = retry_after_seconds(answer.headers.get("Retry-After"))
        if status == 429:
            self.failed("HTTP 429, too many requests", never_began=True, wait=wait)
            return None
        if status >= 500:
            self.failed(f"HTTP {status}", wait=wait)
            return None
        raise self._refusal(status, answer)

    def _refusal(self, status: int, answer: httpx.Response) -> ShopifyError:
        shop = self.client.shop
        if 300 <= status < 400:
            target = urlsplit(answer.headers.get("Location", "")).netloc or "another address"
            return ShopUnavailableError(f"{shop}: moved to {target}; set SHOPIFY_SHOP to the shop's <name>.myshopify.com")
        advice = {
            402: "the shop is frozen for an unpaid bill; its owner must settle it",
            403: "access is forbidden; check that the app is installed and the shop is open",
            404: "there is no such shop or API version; check SHOPIFY_SHOP and SHOPIFY_API_VERSION",
            423: "the shop is locked; ask Shopify's support",
        }
        if status in advice:
            return ShopUnavailableError(f"{shop}: HTTP {status} for {self.what}: {advice[status]}")
        return UnexpectedAnswerError(f"{shop}: HTTP {status} for {self.what}; this is not retried: report it with the shop's name")


class _RestCall(_HttpCall):
    def __init__(self, client: ShopifyClient, path: str, attempts: int, meter: Meter | None) -> None:
        super().__init__(client, path, True, attempts, meter)
        self.url = client.base_url + path

    def run(self) -> dict[str, Any]:
        while True:
            answer = self.exchange(
                lambda token: self.client.http.get(self.url, headers={TOKEN_HEADER: token, "Accept": "application/json"})
            )
            if answer is None:
                self.rest()
                continue
            try:
                body = answer.json()
            except ValueError:
                self.failed("an answer that is not JSON")
                self.rest()
                continue
            if isinstance(body, dict):
                return body
            raise UnexpectedAnswerError(f"{self.client.shop}: {self.what} answered no JSON object; check SHOPIFY_SHOP")


class _Call(_HttpCall):
    """One GraphQL call until it has data, or a named error."""

    def __init__(
        self, client: ShopifyClient, text: str, variables: dict[str, Any], may_repeat: bool, attempts: int, meter: Meter | None
    ) -> None:
        operation = operation_of(text)
        super().__init__(client, operation.name.value if operation.name else operation.operation.value, may_repeat, attempts, meter)
        self.text, self.variables = text, variables
        self.url = f"{client.base_url}/admin/api/{client.version}/graphql.json"
        self.points = client.throttle.estimate(text, variables)
        self.throttled = 0

    def run(self) -> dict[str, Any]:
        while True:
            data = self._attempt()
            if data is not None:
                return data
            self.rest()

    def _attempt(self) -> dict[str, Any] | None:
        throttle = self.client.throttle
        reservation = throttle.acquire(self.points, self.pause)
        cost: Cost | None = None
        try:
            answer = self.exchange(self._send)
            if answer is None:
                return None
            body = self._body(answer)
            if body is None:
                return None
            cost = Cost.of(body.get("extensions") or {})
        finally:
            throttle.settle(reservation, cost)
        if cost is not None:
            throttle.learn(self.text, self.variables, cost.requested)
            self.count(cost=cost.actual or 0.0)
        self.client.note_version(answer.headers.get(VERSION_HEADER))
        return self._data(body, cost)

    def _send(self, token: str) -> httpx.Response:
        payload: dict[str, Any] = {"query": self.text}
        if self.variables:
            payload["variables"] = self.variables
        return self.client.http.post(self.url, json=payload, headers={TOKEN_HEADER: token, "Accept": "application/json"})

    def _body(self, answer: httpx.Response) -> dict[str, Any] | None:
        try:
            body = answer.json()
        except ValueError:
            self.failed("an answer that is not JSON")
            return None
        if isinstance(body, dict):
            return body
        raise UnexpectedAnswerError(f"{self.client.shop}: {self.what} answered no JSON object; check SHOPIFY_SHOP and SHOPIFY_URL")

    def _data(self, body: dict[str, Any], cost: Cost | None) -> dict[str, Any] | None:
        errors = body.get("errors")
        if errors:
            self._raise_or_wait(errors if isinstance(errors, list) else [{"message": str(errors)}], cost)
            return None
        self._refuse_ignored_search(body.get("extensions") or {})
        data = body.get("data")
        if not isinstance(data, dict):
            raise UnexpectedAnswerError(f"{self.client.shop}: {self.what} answered neither data nor errors; check SHOPIFY_API_VERSION")
        return data

    def _raise_or_wait(self, errors: list[Any], cost: Cost | None) -> None:
        """Return when another attempt makes sense, else raise the named error."""
        found = [error if isinstance(error, dict) else {"message": str(error)} for error in errors]
        codes = [str((error.get("extensions") or {}).get("code", "")) for error in found]
        shop, text = self.client.shop, _short("; ".join(str(error.get("message", "")) for error in found[:3]))
        if "THROTTLED" in codes:
            return self._wait_for_budget(cost)
        if "MAX_COST_EXCEEDED" in codes:
            raise QueryTooExpensiveError(f"{shop}: {self.what} costs more than one query may: {text}; ask for smaller pages or fewer ids")
        if "ACCESS_DENIED" in codes:
            extensions = found[codes.index("ACCESS_DENIED")].get("extensions") or {}
            required = str(extensions.get("requiredAccess") or "").strip() or None
            raise AccessDeniedError(
                f"{shop}: access denied for {self.what}: {f'required is {_short(required)}' if required else text}; tick the scope in the app's configuration and install it again",
                required,
            )
        if set(codes) & {"INTERNAL_SERVER_ERROR", "TIMEOUT"}:
            return self.failed(text or "internal server error")
        raise GraphqlError(
            f"{shop}: {self.what} was refused: {text} ({', '.join(filter(None, codes)) or 'no code'}); fix the document or its variables",
            codes,
        )

    def _wait_for_budget(self, cost: Cost | None) -> None:
        client = self.client
        self.throttled += 1
        self.count(throttled=1)
        if cost is not None:
            if cost.status is not None and cost.requested > cost.status.maximum_available:
                raise QueryTooExpensiveError(
                    f"{client.shop}: {self.what} costs {cost.requested:.0f} points, but the bucket holds {cost.status.maximum_available:.0f}; ask for less at a time"
                )
            self.points = max(self.points, cost.requested)
        if self.throttled >= MAX_THROTTLED:
            raise RateLimitedError(
                f"{client.shop}: {self.what} was throttled {self.throttled} times: another client of this app uses up the budget; run them one after the other"
            )
        if client.throttle.exact_wait_seconds(self.points) <= 0:
            # The shop says there is enough, and throttles all the same: do not hammer it. Else `acquire` waits the exact time.
            self.wait = client.retry.wait_seconds(min(self.throttled, 6))

    def _refuse_ignored_search(self, extensions: Mapping[str, Any]) -> None:
        for search in extensions.get("search") or []:
            for warning in search.get("warnings") or []:
                raise SearchWarningError(
                    f"{self.client.shop}: {self.what} ({'.'.join(map(str, search.get('path') or []))}): the shop ignores a part of the search, field "
                    f"{warning.get('field')!r}: {_short(str(warning.get('message')))}; its answer would hold rows nobody asked for: fix the filter"
                )


def _short(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[:_MESSAGE_LIMIT] + "…"


_slots_by_key: dict[str, dict[str, threading.BoundedSemaphore]] = {}
_slots_lock = threading.Lock()


def _new_slots() -> dict[str, threading.BoundedSemaphore]:
    return {kind: threading.BoundedSemaphore(BULK_SLOTS) for kind in ("QUERY", "MUTATION")}


def _shared_slots(key: str) -> dict[str, threading.BoundedSemaphore]:
    with _slots_lock:
        return _slots_by_key.setdefault(key, _new_slots())


class _NoQueryString(logging.Filter):
    """httpx logs each address; the query string of a signed one opens a shop's data for days."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(arg.copy_with(query=None) if isinstance(arg, httpx.URL) and arg.query else arg for arg in record.args)
        return True


def _keep_query_strings_out_of_logs() -> None:
    logger = logging.getLogger("httpx")
    if not any(isinstance(present, _NoQueryString) for present in logger.filters):
        logger.addFilter(_NoQueryString())
