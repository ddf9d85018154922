"""Tokens: the static one and its shoppers', client credentials, and rotating refresh tokens; and what each may do."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.store import Store

CLIENT_CREDENTIALS_SECONDS = 24 * 3600
OFFLINE_SECONDS = 3600
REFRESH_SECONDS = 90 * 24 * 3600
# The first refresh token of a store: what an installation would have handed over. Good for one exchange, as all are.
FIRST_REFRESH_TOKEN = "sandbox-refresh-token"  # noqa: S105 - opens nothing but the store on loopback
# `<static token>/shopper-7` is the seventh of the buyers that `sandbox traffic` plays: each is an app of its own, with a bucket of its
# own, because a shop's buyers are not held up by what an app may ask of the API.
SHOPPER = "/shopper-"


@dataclass(frozen=True)
class Grant:
    """A valid token: what it may do, and the key of the bucket it draws from."""

    scopes: frozenset[str]
    app: str


@dataclass
class Authority:
    """Issues and checks the tokens of one store. Issued tokens live in the store, so they survive restarts."""

    store: Store
    access_token: str
    client_id: str
    client_secret: str
    scopes: frozenset[str] = ALL_SCOPES
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Make sure that there is a first refresh token."""
        if self.store.token(FIRST_REFRESH_TOKEN) is None:
            self.store.put_token(FIRST_REFRESH_TOKEN, "refresh", self.scopes, time.time() + REFRESH_SECONDS, self.client_id)

    def check_static(self, token: str | None) -> Grant | None:
        """What the static token, or one of its shoppers', may do; None for any other. Does not read the store."""
        if not token:
            return None
        if hmac.compare_digest(token.encode(), self.access_token.encode()):
            return Grant(self.scopes, "static")
        owner, shopper, which = token.rpartition(SHOPPER)
        if shopper and which.isdecimal() and hmac.compare_digest(owner.encode(), self.access_token.encode()):
            return Grant(self.scopes, f"shopper-{which}")
        return None

    def check(self, token: str | None) -> Grant | None:
        """What a token may do; None where it is unknown, expired or missing."""
        granted = self.check_static(token)
        if granted is not None or not token:
            return granted
        known = self.store.token(token)
        if known is None or known["kind"] == "refresh" or (known["expiresAt"] is not None and known["expiresAt"] < time.time()):
            return None
        return Grant(frozenset(known["scopes"]), known["clientId"] or token)

    def grant(self, form: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """(status, body) of a request to the token endpoint."""
        if form.get("client_id") != self.client_id or not hmac.compare_digest(
            str(form.get("client_secret", "")).encode(), self.client_secret.encode()
        ):
            return 400, {"error": "invalid_client", "error_description": "Client authentication failed: unknown client or wrong secret."}
        kind = form.get("grant_type")
        if kind == "client_credentials":
            token = self._issue("client", CLIENT_CREDENTIALS_SECONDS, self.scopes)
            return 200, {"access_token": token, "scope": _listed(self.scopes), "expires_in": CLIENT_CREDENTIALS_SECONDS - 1}
        if kind == "refresh_token":
            return self._refresh(str(form.get("refresh_token", "")))
        return 400, {"error": "unsupported_grant_type", "error_description": f"The grant type {kind!r} is not supported."}

    def _issue(self, kind: str, seconds: int, scopes: frozenset[str]) -> str:
        return self.store.issue_token(kind, scopes, time.time() + seconds, self.client_id)

    def _refresh(self, token: str) -> tuple[int, dict[str, Any]]:
        with self._lock:
            known = self.store.token(token)
            if known is None or known["kind"] != "refresh" or known["expiresAt"] < time.time() or not self.store.use_token(token):
                return 400, {"error": "invalid_grant", "error_description": "The refresh token is unknown, expired or was used before."}
            scopes = frozenset(known["scopes"])
            return 200, {
                "access_token": self._issue("offline", OFFLINE_SECONDS, scopes),
                "scope": _listed(scopes),
                "expires_in": OFFLINE_SECONDS,
                "refresh_token": self._issue("refresh", REFRESH_SECONDS, scopes),
                "refresh_token_expires_in": REFRESH_SECONDS,
            }


def _listed(scopes: frozenset[str]) -> str:
    return ",".join(sorted(scopes))
