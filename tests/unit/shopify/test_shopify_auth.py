"""Tokens: had in time, renewed once after a 401, rotated safely, never shown."""

import json
import stat
import threading
from urllib.parse import parse_qs

import httpx
import pytest
from shopify_fakes import URL, Clock, answer, client_of

from commerce_assets.sources.shopify.auth import ClientCredentials, RotatingRefreshToken, StaticToken, auth_for
from commerce_assets.sources.shopify.errors import AuthenticationError, RequestFailedError, ShopifyConfigurationError
from commerce_assets.sources.shopify.retry import RetryPolicy

QUERY = "{ shop { id } }"
OK = {"shop": {"id": "1"}}


class TokenShop:
    """Hands out tokens t1, t2, …; accepts only the latest; rotates refresh tokens r1, r2, …"""

    def __init__(self, lifetime: int = 86_399) -> None:
        self.lifetime, self.count, self.grants, self.lock = lifetime, 0, [], threading.Lock()
        self.refresh = "r0"
        self.trouble: list[httpx.Response] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/admin/oauth/access_token":
            return self.grant({key: values[0] for key, values in parse_qs(request.content.decode()).items()})
        if request.headers["X-Shopify-Access-Token"] != f"t{self.count}":
            return httpx.Response(401)
        return answer(OK)

    def grant(self, form: dict[str, str]) -> httpx.Response:
        with self.lock:
            if self.trouble:
                return self.trouble.pop(0)
            self.grants.append(form)
            if form["grant_type"] == "refresh_token":
                if form["refresh_token"] != self.refresh:
                    return httpx.Response(400, json={"error": "invalid_grant"})
                self.refresh = f"r{self.count + 1}"
            self.count += 1
            body = {"access_token": f"t{self.count}", "expires_in": self.lifetime, "scope": "read_orders"}
            return httpx.Response(200, json={**body, "refresh_token": self.refresh} if form["grant_type"] == "refresh_token" else body)


def credentials(clock: Clock) -> ClientCredentials:
    return ClientCredentials(URL, "id", "hush", retry=RetryPolicy(attempts=3, random=lambda: 0.5), clock=clock)


def rotating(state_dir, clock: Clock, seed: str = "r0") -> RotatingRefreshToken:
    return RotatingRefreshToken(URL, "id", "hush", seed, state_dir, retry=RetryPolicy(attempts=3, random=lambda: 0.5), clock=clock)


def test_client_credentials_are_exchanged_once_and_renewed_before_the_end():
    shop, clock = TokenShop(), Clock()
    client = client_of(shop, clock, auth=credentials(clock))
    client.execute(QUERY)
    client.execute(QUERY)
    assert shop.grants == [{"grant_type": "client_credentials", "client_id": "id", "client_secret": "hush"}]
    clock.now += 86_399 - 299
    client.execute(QUERY)
    assert shop.count == 2


def test_a_token_that_ended_early_is_renewed_once():
    shop, clock = TokenShop(), Clock()
    client = client_of(shop, clock, auth=credentials(clock))
    client.execute(QUERY)
    shop.count += 1  # revoked at the shop
    assert client.execute(QUERY) == OK
    assert len(shop.grants) == 2


def test_a_renewed_token_that_is_refused_too_is_an_error():
    clock = Clock()
    client = client_of(
        lambda r: httpx.Response(200, json={"access_token": "x"}) if "oauth" in r.url.path else httpx.Response(401),
        clock,
        auth=credentials(clock),
    )
    with pytest.raises(AuthenticationError, match="renewed token was refused too"):
        client.execute(QUERY)


def test_grants_are_retried_on_trouble_and_refused_on_bad_credentials():
    shop, clock = TokenShop(), Clock()
    shop.trouble = [httpx.Response(503), httpx.Response(429, headers={"Retry-After": "7"})]
    assert client_of(shop, clock, auth=credentials(clock)).execute(QUERY) == OK
    assert clock.slept == [0.25, 7.0]
    shop.trouble = [httpx.Response(401, json={"error": "application_cannot_be_found"})]
    with pytest.raises(AuthenticationError, match="401, application_cannot_be_found") as caught:
        client_of(shop, clock, auth=credentials(clock)).execute(QUERY)
    assert "hush" not in str(caught.value)
    shop.trouble = [httpx.Response(503)] * 3
    with pytest.raises(RequestFailedError, match="no token after 3 attempts"):
        client_of(shop, clock, auth=credentials(clock)).execute(QUERY)


def test_a_refresh_token_rotates_and_is_on_disk_before_its_access_token_is_used(tmp_path):
    shop, clock = TokenShop(lifetime=3_600), Clock()
    on_disk: list[str] = []

    def spying(request: httpx.Request) -> httpx.Response:
        if "graphql" in request.url.path:
            on_disk.append(json.loads((tmp_path / "state" / "shop.example.token.json").read_text())["refresh_token"])
        return shop(request)

    client = client_of(spying, clock, auth=rotating(tmp_path / "state", clock))
    client.execute(QUERY)
    clock.now += 3_600
    client.execute(QUERY)
    assert on_disk == ["r1", "r2"]
    assert [grant["refresh_token"] for grant in shop.grants] == ["r0", "r1"]
    assert stat.S_IMODE((tmp_path / "state" / "shop.example.token.json").stat().st_mode) == 0o600


def test_another_process_goes_on_with_the_kept_token(tmp_path):
    shop, clock = TokenShop(lifetime=3_600), Clock()
    client_of(shop, clock, auth=rotating(tmp_path, clock)).execute(QUERY)
    client_of(shop, clock, auth=rotating(tmp_path, clock)).execute(QUERY)
    assert len(shop.grants) == 1


def test_a_newly_configured_refresh_token_wins_over_the_kept_one(tmp_path):
    shop, clock = TokenShop(lifetime=3_600), Clock()
    client_of(shop, clock, auth=rotating(tmp_path, clock)).execute(QUERY)
    shop.refresh = "authorised-anew"
    client_of(shop, clock, auth=rotating(tmp_path, clock, seed="authorised-anew")).execute(QUERY)
    assert shop.grants[-1]["refresh_token"] == "authorised-anew"


def test_two_renewals_at_once_use_each_refresh_token_once(tmp_path):
    shop, clock = TokenShop(lifetime=3_600), Clock()
    clients = [client_of(shop, clock, auth=rotating(tmp_path, clock)) for _ in range(6)]
    threads = [threading.Thread(target=client.execute, args=(QUERY,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [grant["refresh_token"] for grant in shop.grants] == ["r0"]


def test_a_dead_refresh_token_says_to_authorise_again(tmp_path):
    shop, clock = TokenShop(), Clock()
    with pytest.raises(AuthenticationError, match=r"invalid_grant.*authorise the app again"):
        client_of(shop, clock, auth=rotating(tmp_path, clock, seed="dead")).execute(QUERY)


def test_the_kind_of_auth_follows_the_credentials(tmp_path):
    assert isinstance(auth_for(URL, access_token="t", client_id="i", client_secret="s"), StaticToken)
    assert isinstance(auth_for(URL, client_id="i", client_secret="s"), ClientCredentials)
    assert isinstance(auth_for(URL, refresh_token="r", client_id="i", client_secret="s", state_dir=tmp_path), RotatingRefreshToken)
    for wrong in ({}, {"client_id": "i"}, {"refresh_token": "r", "client_id": "i", "client_secret": "s"}):
        with pytest.raises(ShopifyConfigurationError, match="SHOPIFY_CLIENT_ID"):
            auth_for(URL, **wrong)
    for auth in (auth_for(URL, access_token="hush"), auth_for(URL, client_id="i", client_secret="hush")):
        assert "hush" not in repr(auth) + auth.identity
