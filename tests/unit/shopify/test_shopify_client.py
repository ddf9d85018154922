"""What the client does with each kind of answer."""

import logging
import threading
import warnings

import httpx
import pytest
from shopify_fakes import Clock, Script, answer, client_of, error, throttled

from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.client import ShopifyClient, VersionPolicy, document, missing_scopes, state_of_shop
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
)

QUERY = "query Q { shop { id } }"
MUTATION = "mutation M { tagsAdd(id: 1, tags: []) { node { id } } }"
OK = {"shop": {"id": "gid://shopify/Shop/1"}}


def test_a_query_returns_its_data_and_sends_the_token_as_a_header():
    script = Script([answer(OK)])
    client = client_of(script)
    assert client.execute(QUERY) == OK
    assert script.requests[0].headers["X-Shopify-Access-Token"] == "secret-token"
    assert str(script.requests[0].url) == "https://shop.example/admin/api/2026-10/graphql.json"
    assert (client.meter.requests, client.meter.cost) == (1, 1)


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(502),
        httpx.Response(503),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(200, text="<html"),
    ],
    ids=["502", "503", "timeout", "cut", "not json"],
)
def test_a_query_is_repeated_after_trouble_with_a_jittered_wait(trouble):
    clock, script = Clock(), Script([trouble, trouble, answer(OK)])
    assert client_of(script, clock).execute(QUERY) == OK
    assert clock.slept == [0.25, 0.5]  # half (the fixed "random") of 0.5 s, then of 1 s


def test_retry_after_is_obeyed():
    clock, script = Clock(), Script([httpx.Response(429, headers={"Retry-After": "2.0"}), answer(OK)])
    client_of(script, clock).execute(QUERY)
    assert clock.slept == [2.0]


def test_retries_have_an_end_that_names_shop_and_query():
    script = Script([httpx.Response(500)] * 4)
    with pytest.raises(RequestFailedError, match=r"shop\.example: Q failed 4 times \(HTTP 500\)"):
        client_of(script).execute(QUERY)


@pytest.mark.parametrize("trouble", [httpx.Response(502), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")])
def test_a_mutation_without_an_answer_is_not_repeated(trouble):
    script = Script([trouble, answer(OK)])
    with pytest.raises(UncertainWriteError, match="may or may not have been applied"):
        client_of(script).execute(MUTATION)
    assert len(script.requests) == 1


@pytest.mark.parametrize("trouble", [httpx.ConnectError("no"), httpx.Response(429), throttled(10, 0)])
def test_a_mutation_that_never_began_is_repeated(trouble):
    assert client_of(Script([trouble, answer(OK)])).execute(MUTATION) == OK


def test_a_mutation_that_the_caller_calls_idempotent_is_repeated():
    assert client_of(Script([httpx.Response(502), answer(OK)])).execute(MUTATION, idempotent=True) == OK


def test_errors_of_the_document_are_not_repeated():
    script = Script([answer(errors=[error("Field 'x' doesn't exist", "undefinedField")])])
    with pytest.raises(GraphqlError, match="undefinedField") as caught:
        client_of(script).execute(QUERY)
    assert caught.value.codes == ("undefinedField",)
    assert len(script.requests) == 1


def test_internal_errors_in_a_good_answer_are_repeated():
    assert client_of(Script([answer(errors=[error("Internal error", "INTERNAL_SERVER_ERROR")]), answer(OK)])).execute(QUERY) == OK


def test_access_denied_names_the_scope():
    denied = error("Access denied for orders field.", "ACCESS_DENIED", requiredAccess="`read_orders` access scope.")
    with pytest.raises(AccessDeniedError, match="`read_orders` access scope") as caught:
        client_of(Script([answer({"orders": None}, errors=[denied])])).execute(QUERY)
    assert caught.value.required == "`read_orders` access scope."


def test_an_ignored_search_field_is_an_error():
    # as recorded: the answer holds all rows
    search = [
        {
            "path": ["orders"],
            "query": "x:1",
            "warnings": [{"field": "x", "message": "Invalid search field for this query.", "code": "invalid_field"}],
        }
    ]
    with pytest.raises(SearchWarningError, match="field 'x'"):
        client_of(Script([answer(OK, extensions={"search": search})])).execute(QUERY)


def test_a_search_without_warnings_is_fine():
    assert (
        client_of(Script([answer(OK, extensions={"search": [{"path": ["orders"], "query": "id:1", "parsed": {}}]})])).execute(QUERY) == OK
    )


def test_an_older_version_is_an_error_by_default():
    with pytest.raises(ApiVersionError, match=r"asked for Admin API 2026-10, but 2026-01 answered \(older\)"):
        client_of(Script([answer(OK, version="2026-01")])).execute(QUERY)


def test_a_newer_version_is_warned_of_once_and_kept():
    client = client_of(Script([answer(OK, version="2027-01"), answer(OK, version="2027-01")]))
    with pytest.warns(ApiVersionWarning, match="newer"):
        client.execute(QUERY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.execute(QUERY) == OK
    assert client.version_answered == "2027-01"


def test_the_version_policy_is_the_callers():
    with pytest.warns(ApiVersionWarning):
        client_of(Script([answer(OK, version="2026-01")]), version_policy=VersionPolicy(older="warn")).execute(QUERY)
    with pytest.raises(ApiVersionError):
        client_of(Script([answer(OK, version="2027-01")]), version_policy=VersionPolicy(newer="error")).execute(QUERY)


def test_throttled_waits_exactly_until_the_cost_is_there():
    clock, script = Clock(), Script([throttled(requested=400, available=100, rate=50), answer(OK)])
    assert client_of(script, clock).execute(QUERY) == OK
    assert clock.slept == [pytest.approx((400 - 100) / 50)]


def test_throttled_although_there_is_enough_does_not_hammer():
    clock, script = Clock(), Script([throttled(1, 2_000), throttled(1, 2_000), answer(OK)])
    client_of(script, clock).execute(QUERY)
    assert clock.slept == [0.25, 0.5]


def test_throttling_has_an_end():
    with pytest.raises(RateLimitedError, match="another client"):
        client_of(lambda _: throttled(10, 0)).execute(QUERY)


@pytest.mark.parametrize("trouble", [answer(errors=[error("Query cost is 2003", "MAX_COST_EXCEEDED")]), throttled(5_000, 2_000)])
def test_a_query_that_never_fits_is_not_repeated(trouble):
    script = Script([trouble])
    with pytest.raises(QueryTooExpensiveError):
        client_of(script).execute(QUERY)


@pytest.mark.parametrize(("status", "text"), [(402, "unpaid"), (403, "forbidden"), (404, "no such shop"), (423, "locked")])
def test_a_closed_shop_is_named(status, text):
    script = Script([httpx.Response(status)])
    with pytest.raises(ShopUnavailableError, match=text):
        client_of(script).execute(QUERY)


def test_a_moved_shop_is_not_followed():
    script = Script([httpx.Response(301, headers={"Location": "https://new.example/admin?key=1"})])
    with pytest.raises(ShopUnavailableError, match=r"moved to new\.example;"):
        client_of(script).execute(QUERY)


def test_other_statuses_and_shapes_are_unexpected():
    for trouble in (httpx.Response(418), httpx.Response(200, json=[1]), httpx.Response(200, json={"nothing": 1})):
        with pytest.raises(UnexpectedAnswerError):
            client_of(Script([trouble])).execute(QUERY)


def test_no_error_shows_the_token():
    script = Script([httpx.Response(401), httpx.Response(403), httpx.Response(418)])
    client = client_of(script)
    for _ in range(3):
        with pytest.raises(ShopifyError) as caught:
            client.execute(QUERY)
        assert "secret-token" not in str(caught.value)
    assert "secret-token" not in repr(client.auth)


def test_a_static_token_that_is_refused_says_what_to_do():
    with pytest.raises(AuthenticationError, match="SHOPIFY_ACCESS_TOKEN"):
        client_of(Script([httpx.Response(401)])).execute(QUERY)


def test_the_token_is_never_sent_over_plain_http_to_another_machine():
    with pytest.raises(ShopifyConfigurationError, match="https"):
        ShopifyClient("http://shop.example", "2026-10", StaticToken("http://shop.example", "t"))


def test_signed_addresses_stay_out_of_the_logs(caplog):
    client = client_of(lambda _: httpx.Response(200))
    with caplog.at_level(logging.INFO, logger="httpx"):
        client.http.get("https://storage.example/file?Signature=abc")
    assert "storage.example/file" in caplog.text
    assert "Signature" not in caplog.text


def test_an_interrupted_client_stops_waiting():
    client = ShopifyClient(
        "https://shop.example",
        "2026-10",
        StaticToken("https://shop.example", "t"),
        transport=httpx.MockTransport(lambda _: httpx.Response(429, headers={"Retry-After": "60"})),
    )
    threading.Timer(0.05, client.interrupt).start()
    with pytest.raises(ShopifyInterruptedError):
        client.execute(QUERY)


def test_state_of_shop_tells_what_doctor_needs():
    shop = {
        "shop": {"id": "1", "name": "S", "myshopifyDomain": "s.myshopify.com", "currencyCode": "GBP", "ianaTimezone": "UTC", "plan": None}
    }
    scopes = {"access_scopes": [{"handle": "write_orders"}, {"handle": "read_products"}]}
    state = state_of_shop(client_of(Script([answer(shop, available=1_990), httpx.Response(200, json=scopes)])))
    assert state.scopes == ("read_products", "write_orders")
    assert state.missing_scopes == ("read_all_orders", "read_inventory", "read_locations", "read_customers")
    assert (state.version_asked, state.version_answered) == ("2026-10", "2026-10")
    assert state.throttle is not None
    assert state.throttle.currently_available == 1_990


def test_a_write_scope_holds_its_read_scope():
    assert missing_scopes(("write_customers",), ("read_customers", "write_customers")) == ()


def test_documents_are_found_by_name():
    assert "myshopifyDomain" in document("shop")
