"""What may be declared of an HTTP target: mistakes are named when a declaration is read, secrets written into it are refused unshown."""

from typing import Any

import pytest
from pydantic import ValidationError

from commerce_assets.activation.targets import DeclaredField, HttpTarget
from commerce_assets.activation.targets.options import TagOptions

URL = "https://hooks.example.com/customers"
FIELDS = (DeclaredField(name="segment"), DeclaredField(name="value", type="money"))


def mistakes(*, fields: tuple[DeclaredField, ...] = FIELDS, **options: Any) -> list[str]:
    return HttpTarget.model_validate({"url": URL} | options).mistakes(fields)


def test_an_address_alone_is_enough() -> None:
    target = HttpTarget(url=URL)
    assert target.mistakes(FIELDS) == []
    assert target.template_for(FIELDS) == {"key": "{key}", "segment": "{segment}", "value": "{value:number}"}


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ({"template": {"id": "{key}", "s": "{segment}"}}, "field value is not in the template: it would never be sent"),
        ({"template": ["{key}", "{segment}", "{value}", "{valeu}"]}, "template names {valeu}, which is no field"),
        ({"template": ["{key}", "{segment}", "{value:float}"]}, "template: {value:float}: there is no hint float"),
        ({"template": ["{key}", "{segment}", "{value}", "Dear {segment}!"]}, "'Dear {segment}!' is no placeholder"),
        ({"template": ["{segment}", "{value}"]}, "how does the receiver know which record it is?"),
        ({"identifiers": ["email"]}, "identifiers name email, which is no field"),
        ({"url": "http://hooks.example.com/"}, "url is http://, which everybody on the way can read"),
        ({"url": "https://user:pass@hooks.example.com/"}, "url holds a user or a password"),
        ({"url": "https://hooks.example.com/?api_key=${API_KEY}"}, "url holds ${…}"),
        ({"url": "https://hooks.example.com/?token=a8f3k2j5h7g9d1s4a6q8w0"}, "url has something like a token"),
        ({"url": "https://{key}.example.com/"}, "url names its host by a placeholder"),
        ({"url": f"{URL}/{{segment}}"}, "url holds {segment}: only {key} can stand in an address"),
        ({"url": f"{URL}/{{key}}", "per": "batch"}, "url holds {key}, and the call is for more than one record"),
        ({"url": f"{URL}#part"}, "url has a part after #"),
        ({"url": "https://hooks.example.com:port/"}, "url is no URL"),
        ({"headers": {"Authorization": "Bearer abc"}}, "header Authorization seems to hold a secret"),
        ({"headers": {"X-Shop-Api-Key": "abc"}}, "header X-Shop-Api-Key seems to hold a secret"),
        ({"headers": {"X-Id": "a8f3k2j5h7g9d1s4a6q8w0"}}, "header X-Id seems to hold a secret"),
        ({"headers": {"X-Id": "sk_live_abc"}}, "header X-Id seems to hold a secret"),
        ({"headers": {"X-Id": "${API KEY}"}}, "header X-Id: an environment variable is written ${NAME}"),
        ({"headers": {"X Id": "a"}}, "'X Id' is no name of a header"),
        ({"headers": {"X-Id": "a\r\nX-Evil: 1"}}, "header X-Id holds characters that no header can"),
        ({"headers": {"Host": "a"}}, "header Host is made of the call itself"),
        ({"headers": {"idempotency-key": "a"}}, "header idempotency-key is set twice"),
        ({"read": {"url": URL, "fields": {"segment": "a", "value": "b"}}}, "read.url holds no {key}"),
        (
            {"read": {"url": "https://other.example.com/{key}", "fields": {"segment": "a", "value": "b"}}},
            "read.url is at another host than url",
        ),
        ({"read": {"url": f"{URL}/{{key}}", "fields": {"segment": "a"}}}, "read.fields lacks value"),
        ({"read": {"url": f"{URL}/{{key}}", "fields": {"segment": "a", "value": "b", "x": "c"}}}, "read.fields names x, which is no field"),
        ({"probe": {"url": "https://other.example.com/"}}, "probe.url is at another host than url"),
        ({"remove": {"url": "https://other.example.com/{key}"}}, "remove.url is at another host than url"),
        ({"remove": {"url": f"{URL}/gone"}}, "which record would be removed?"),
        ({"remove": {"url": f"{URL}/gone"}, "per": "batch"}, "remove.template is missing"),
        ({"remove": {"url": f"{URL}/{{key}}"}, "removals": "skip"}, "`remove` is never used"),
        ({"rows_at": "data"}, "rows_at is for batches: set per: batch"),
        ({"row_errors": {"at": "errors", "key": "id"}}, "row_errors is for batches"),
        ({"per": "batch", "envelope": {"a": 1}}, "envelope needs rows_at"),
        ({"per": "batch", "envelope": {"a": {"b": []}}, "rows_at": "a.b"}, "envelope holds something at a.b already"),
        ({"per": "batch", "envelope": {"a": "text"}, "rows_at": "a.b"}, "envelope holds something at a.b already"),
        ({"per": "batch", "envelope": {"a": "{segment}"}, "rows_at": "b"}, "only {idempotency_key} belongs to a whole batch"),
        ({"fields": (*FIELDS, DeclaredField(name="key"))}, "field key has the name of a placeholder"),
        (
            {"fields": (*FIELDS, DeclaredField(name="t", type="tags", tags=TagOptions(prefixes=("a:",))))},
            "field t has options of Shopify's",
        ),
    ],
)
def test_a_mistake_is_named(options: dict[str, Any], mistake: str) -> None:
    found = mistakes(**options)
    assert any(mistake in one for one in found), found


@pytest.mark.parametrize("value", ["Bearer a8f3k2j5h7g9d1s4a6q8w0", "sk_live_51H8a"])
def test_a_secret_written_into_a_header_is_refused_without_being_shown(value: str) -> None:
    found = mistakes(headers={"Authorization": value})
    assert len(found) == 1
    assert value.split()[-1] not in found[0]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://127.0.0.1:8080/"},
        {"url": "http://[::1]/"},
        {"url": "http://localhost/"},
        {"url": "http://crm.internal/", "allow_plain_http": True},
        {"headers": {"Authorization": "Klaviyo-API-Key ${KLAVIYO_API_KEY}", "revision": "2026-07-15"}},
        {"headers": {"Authorization": "Basic ${USER_AND_PASSWORD}", "X-Account": "12345678901234567890"}},
        {"headers": {"Accept": "application/vnd.example.customers.v2+json; charset=utf-8", "X-Tenant": "eu-west-1"}},
        {"url": f"{URL}?version=2026-07-15&notify=false"},
        {"template": ["{key}", "{segment}", "{value}", "{not a placeholder}", "{}"]},
        {"template": {"s": "{segment}", "v": "{value}"}, "identifiers": ["segment"]},
        {"template": {"s": "{segment}", "v": "{value}"}, "url": f"{URL}/{{key}}"},
    ],
)
def test_what_is_right_is_no_mistake(options: dict[str, Any]) -> None:
    assert mistakes(**options) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"colour": "red"}, "colour"),
        ({"statuses": {"ok": [200, 404]}}, "status 404 is to mean two things"),
        ({"statuses": {"ok": [99]}}, "99 is no status"),
        ({"row_errors": {"at": "errors"}}, "row_errors needs pointer or key"),
        ({"row_errors": {"at": "errors", "pointer": "p", "pattern": "["}}, "no regular expression"),
        ({"row_errors": {"at": "errors", "pointer": "p", "pattern": "a"}}, "no group"),
        ({"sign": {"secret_env": "whsec-0123"}}, "secret_env"),
        ({"rate": {"per_second": 0}}, "per_second"),
        ({"read": {"url": URL, "method": "POST", "fields": {}}}, "method"),
        ({"per": "batch", "rows_at": ".a."}, "rows_at"),
    ],
)
def test_what_could_never_be_right_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        HttpTarget.model_validate({"url": URL} | options)


def test_a_claim_goes_by_the_place_in_the_receivers_json() -> None:
    template = {"id": "{key}", "email": "{segment}", "properties": {"value": "{value:number}", "also": ["{value}"]}}
    target = HttpTarget(url="https://Hooks.example.com/customers/", template=template, identifiers=("segment",))
    assert target.claims(FIELDS) == {f"http/{URL}#properties.value", f"http/{URL}#properties.also.0"}
    renamed = (DeclaredField(name="email_address"), DeclaredField(name="amount"))
    other = HttpTarget(url=URL, template={"id": "{key}", "name": "{email_address}", "properties": {"value": "{amount}"}})
    assert target.claims(FIELDS) & other.claims(renamed) == {f"http/{URL}#properties.value"}


def test_the_variables_that_a_call_needs_are_known() -> None:
    headers = {"Authorization": "Bearer ${API_KEY}", "X-Both": "${API_KEY}/${ACCOUNT}"}
    target = HttpTarget.model_validate({"url": URL, "headers": headers, "sign": {"secret_env": "HOOK_SECRET"}})
    assert target.env_names == ("API_KEY", "ACCOUNT", "HOOK_SECRET")
