"""Tokens: a static one, client credentials (24 h), or a rotating refresh token whose renewal is serialised per shop.

A token or secret never stands in a message, a representation or a log.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from commerce_assets.sources.shopify.errors import AuthenticationError, RequestFailedError, ShopifyConfigurationError
from commerce_assets.sources.shopify.retry import RetryPolicy, retry_after_seconds

TOKEN_PATH = "/admin/oauth/access_token"  # noqa: S105 - a path
RENEW_BEFORE_SECONDS = 300.0
LOCK_WAIT_SECONDS = 60.0

Pause = Callable[[float], None]


class Auth(Protocol):
    """What the client asks of a way to authenticate."""

    @property
    def identity(self) -> str:
        """What tells apps apart that share no budget; not a secret."""
        ...

    def token(self, http: httpx.Client, pause: Pause) -> str:
        """A token that is valid now."""
        ...

    def renew(self, http: httpx.Client, pause: Pause, refused: str) -> str:
        """A token other than `refused`, which the shop answered 401 to; `AuthenticationError` when there is none."""
        ...


def auth_for(
    base_url: str,
    *,
    access_token: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    refresh_token: str | None = None,
    state_dir: Path | None = None,
) -> Auth:
    """The way to authenticate that the given credentials allow: refresh token, else static token, else client credentials.

    A static token goes before client credentials because the secret is also set to verify webhooks.
    """
    if refresh_token:
        if not (client_id and client_secret and state_dir):
            raise ShopifyConfigurationError(
                f"{_host(base_url)}: a refresh token needs client id, client secret and a state directory; set SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET"
            )
        return RotatingRefreshToken(base_url, client_id, client_secret, refresh_token, state_dir)
    if access_token:
        return StaticToken(base_url, access_token)
    if client_id and client_secret:
        return ClientCredentials(base_url, client_id, client_secret)
    raise ShopifyConfigurationError(
        f"{_host(base_url)}: no credentials; set SHOPIFY_ACCESS_TOKEN, or SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET (and SHOPIFY_REFRESH_TOKEN for expiring tokens)"
    )


class StaticToken:
    """A token that somebody copied from the shop; it cannot be renewed."""

    def __init__(self, base_url: str, token: str) -> None:
        self._shop, self._token = _host(base_url), token
        self.identity = f"token:{_digest(token)[:12]}"

    def __repr__(self) -> str:
        return f"StaticToken({self._shop})"

    def token(self, http: httpx.Client, pause: Pause) -> str:  # noqa: ARG002 - the protocol's signature
        return self._token

    def renew(self, http: httpx.Client, pause: Pause, refused: str) -> str:  # noqa: ARG002
        raise AuthenticationError(
            f"{self._shop}: the access token was refused (401): it is wrong, revoked or of another shop; make a new one and set SHOPIFY_ACCESS_TOKEN"
        )


class ClientCredentials:
    """The Dev Dashboard's grant: a token for 24 hours, renewed before it ends and after a 401."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        *,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url, self._shop = base_url.rstrip("/"), _host(base_url)
        self._client_id, self._client_secret = client_id, client_secret
        self._retry, self._clock = retry or RetryPolicy(), clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0
        self.identity = f"client:{client_id}"

    def __repr__(self) -> str:
        return f"ClientCredentials({self._shop})"

    def token(self, http: httpx.Client, pause: Pause) -> str:
        with self._lock:
            if self._token is None or self._clock() >= self._renew_at:
                self._fetch(http, pause)
            return self._current()

    def renew(self, http: httpx.Client, pause: Pause, refused: str) -> str:
        with self._lock:
            if self._token == refused:  # else another thread was faster
                self._fetch(http, pause)
            return self._current()

    def _fetch(self, http: httpx.Client, pause: Pause) -> None:
        form = {"grant_type": "client_credentials", "client_id": self._client_id, "client_secret": self._client_secret}
        asked_at = self._clock()
        grant = request_grant(http, self._base_url, form, self._retry, pause)
        self._token = grant.access_token
        self._renew_at = asked_at + grant.lifetime_seconds - _margin(grant.lifetime_seconds)

    def _current(self) -> str:
        assert self._token is not None
        return self._token


class RotatingRefreshToken:
    """Expiring offline tokens: each renewal hands out a new refresh token and ends the old one.

    So renewals of one shop are serialised over all processes by a lock file, and the new refresh token is on disk (mode 0600) before
    the access token that came with it is used. The state on disk wins over the configured refresh token, unless that was changed.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        state_dir: Path,
        *,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url, self._shop = base_url.rstrip("/"), _host(base_url)
        self._client_id, self._client_secret, self._seed = client_id, client_secret, refresh_token
        self._retry, self._clock = retry or RetryPolicy(), clock
        name = re.sub(r"[^A-Za-z0-9.-]", "_", self._shop)
        self._state_path = state_dir / f"{name}.token.json"
        self._lock_path = state_dir / f"{name}.token.lock"
        self._lock = threading.Lock()
        self._state: dict[str, Any] | None = None
        self.identity = f"client:{client_id}"

    def __repr__(self) -> str:
        return f"RotatingRefreshToken({self._shop})"

    def token(self, http: httpx.Client, pause: Pause) -> str:
        with self._lock:
            if not self._is_fresh(self._state):
                self._renew_serialised(http, pause, refused=None)
            return self._current()

    def renew(self, http: httpx.Client, pause: Pause, refused: str) -> str:
        with self._lock:
            if self._current() == refused:
                self._renew_serialised(http, pause, refused)
            return self._current()

    def _renew_serialised(self, http: httpx.Client, pause: Pause, refused: str | None) -> None:
        self._state_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _file_lock(self._lock_path, self._shop, pause):
            kept = self._read()
            if self._is_fresh(kept) and kept is not None and kept["access_token"] != refused:
                self._state = kept  # another process was faster
                return
            refresh_token = kept["refresh_token"] if kept else self._seed
            form = {
                "grant_type": "refresh_token",
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "refresh_token": refresh_token,
            }
            asked_at = self._clock()
            grant = request_grant(http, self._base_url, form, self._retry, pause)
            state = {
                "access_token": grant.access_token,
                "refresh_token": grant.refresh_token or refresh_token,
                "renew_at": asked_at + grant.lifetime_seconds - _margin(grant.lifetime_seconds),
                "seed_digest": _digest(self._seed),
            }
            self._write(state)
            self._state = state

    def _is_fresh(self, state: dict[str, Any] | None) -> bool:
        return state is not None and self._clock() < float(state["renew_at"])

    def _current(self) -> str:
        return str(self._state["access_token"]) if self._state else ""

    def _read(self) -> dict[str, Any] | None:
        try:
            state = json.loads(self._state_path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise AuthenticationError(
                f"{self._shop}: the kept token file {self._state_path.name} is unreadable; delete it, authorise the app again and set SHOPIFY_REFRESH_TOKEN"
            ) from None
        return state if state.get("seed_digest") == _digest(self._seed) else None

    def _write(self, state: dict[str, Any]) -> None:
        beside = self._state_path.with_suffix(".tmp")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._state_path)


@dataclass(frozen=True, repr=False)
class Grant:
    """What the token endpoint hands out."""

    access_token: str
    lifetime_seconds: float
    refresh_token: str | None


def request_grant(http: httpx.Client, base_url: str, form: dict[str, str], retry: RetryPolicy, pause: Pause) -> Grant:
    """POST the form to the token endpoint; retries on network errors, 429 and 5xx."""
    shop, kind = _host(base_url), form["grant_type"]
    for failures in range(1, retry.attempts + 1):
        wait: float | None = None
        try:
            answer = http.post(f"{base_url.rstrip('/')}{TOKEN_PATH}", data=form, headers={"Accept": "application/json"})
        except httpx.TransportError as error:
            problem = type(error).__name__
        else:
            if answer.status_code == 200:
                return _grant(shop, kind, answer)
            if answer.status_code < 500 and answer.status_code != 429:
                raise AuthenticationError(
                    f"{shop}: the {kind} grant was refused ({answer.status_code}{_reason(answer)}); check SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET, that the app is "
                    "installed on this shop"
                    + (", and authorise the app again for a new SHOPIFY_REFRESH_TOKEN" if kind == "refresh_token" else "")
                )
            problem = f"HTTP {answer.status_code}"
            wait = retry_after_seconds(answer.headers.get("Retry-After"))
        if failures < retry.attempts:
            pause(wait if wait is not None else retry.wait_seconds(failures))
    raise RequestFailedError(
        f"{shop}: no token after {retry.attempts} attempts ({problem}); check the network and Shopify's status, then run again"
    )


def _grant(shop: str, kind: str, answer: httpx.Response) -> Grant:
    try:
        body = answer.json()
        return Grant(str(body["access_token"]), float(body.get("expires_in") or 86_399), body.get("refresh_token"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AuthenticationError(
            f"{shop}: the answer to the {kind} grant holds no access_token; check that the address is a Shopify shop"
        ) from None


def _reason(answer: httpx.Response) -> str:
    """Shopify's error word, when it looks like one: never free text that might echo the request."""
    try:
        word = str(answer.json().get("error", ""))
    except (ValueError, AttributeError):
        return ""
    return f", {word}" if re.fullmatch(r"[a-z_]{1,60}", word) else ""


@contextlib.contextmanager
def _file_lock(path: Path, shop: str, pause: Pause) -> Iterator[None]:
    import fcntl

    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AuthenticationError(
                        f"{shop}: another process has held the token lock for {LOCK_WAIT_SECONDS:.0f} s; end it and run again"
                    ) from None
                pause(0.1)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _margin(lifetime_seconds: float) -> float:
    return min(RENEW_BEFORE_SECONDS, lifetime_seconds / 10)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _host(base_url: str) -> str:
    return urlsplit(base_url).netloc or base_url
