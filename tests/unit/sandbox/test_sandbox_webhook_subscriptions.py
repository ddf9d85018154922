"""What the API accepts of webhook subscriptions, and how it lists them."""

from pathlib import Path
from typing import Any

import pytest
from sandbox_shop import Shop

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.schema import answer
from commerce_assets.sandbox.webhooks.subscriptions import included, is_filter, passes

URI = "https://receiver.example.com/webhooks"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def subscribe(shop: Shop, topic: str = "ORDERS_CREATE", **wanted: Any) -> dict[str, Any]:
    return shop.run("webhookSubscriptionCreate", topic=topic, webhookSubscription={"uri": URI, **wanted})


def ask(shop: Shop, query: str) -> Any:
    body = answer(Context(shop.store, shop.store.shop() or {}, "2026-10", ALL_SCOPES), query)
    assert "errors" not in body, body["errors"]
    return body["data"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("  ", "Address can't be blank"),
        ("http://receiver.example.com/", "Address protocol http:// is not supported"),
        ("ftp://receiver.example.com/", "Address protocol ftp:// is not supported"),
        ("https://shop.myshopify.com/hook", "Address cannot be a Shopify or an internal domain"),
        ("https://[::1", "Address is invalid"),
        ("https://a.example.com/x\r\nInjected: yes", "Address is invalid"),
        ("receiver", "Address is invalid"),
    ],
)
def test_addresses_that_are_refused(shop: Shop, uri: str, message: str) -> None:
    (error,) = subscribe(shop, uri=uri)["userErrors"]

    assert (error["field"], error["message"]) == (["webhookSubscription", "callbackUrl"], message)
    assert shop.store.count("WebhookSubscription") == 0


@pytest.mark.parametrize("uri", ["http://127.0.0.1:8900/w", "http://localhost/w", "http://[::1]:1/w", "https://a.example.com/w?x=1"])
def test_addresses_that_are_taken(shop: Shop, uri: str) -> None:
    assert subscribe(shop, uri=uri)["userErrors"] == []


@pytest.mark.parametrize(
    ("wanted", "field"),
    [({"format": "XML"}, "format"), ({"name": "not a name"}, "name"), ({"filter": "id:1 bare"}, None), ({"filter": "bare"}, None)],
)
def test_inputs_that_are_refused(shop: Shop, wanted: dict[str, Any], field: str | None) -> None:
    (error,) = subscribe(shop, **wanted)["userErrors"]

    assert error["field"] == ["webhookSubscription", *([field] if field else [])]


def test_an_address_subscribes_once_to_a_topic_unless_the_filter_differs(shop: Shop) -> None:
    assert subscribe(shop)["userErrors"] == []
    assert subscribe(shop, filter="id:1")["userErrors"] == []
    assert subscribe(shop, "ORDERS_UPDATED")["userErrors"] == []
    assert [error["message"] for error in subscribe(shop)["userErrors"]] == ["Address for this topic has already been taken"]


def test_an_update_changes_what_is_given_and_a_delete_ends_it(shop: Shop) -> None:
    identity = subscribe(shop, includeFields=["id"], filter="id:1")["webhookSubscription"]["id"]

    shop.done("webhookSubscriptionUpdate", id=identity, webhookSubscription={"uri": f"{URI}/2"})
    changed = shop.doc(identity)
    deleted = shop.done("webhookSubscriptionDelete", id=identity)

    assert (changed["uri"], changed["includeFields"], changed["filter"]) == (f"{URI}/2", ["id"], "id:1")
    assert changed["updatedAt"] > changed["createdAt"]
    assert deleted["deletedWebhookSubscriptionId"] == identity
    for name, more in (("webhookSubscriptionDelete", {}), ("webhookSubscriptionUpdate", {"webhookSubscription": {}})):
        assert shop.run(name, id=identity, **more)["userErrors"][0]["message"] == "Webhook subscription does not exist"


def test_subscriptions_are_read_by_id_topic_and_address(shop: Shop) -> None:
    first = subscribe(shop, name="main")["webhookSubscription"]["id"]
    subscribe(shop, "PRODUCTS_UPDATE", uri=f"{URI}/2")

    found = ask(
        shop,
        f"""{{
          webhookSubscription(id: "{first}") {{
            topic uri callbackUrl format name apiVersion {{ handle supported }} endpoint {{ ... on WebhookHttpEndpoint {{ callbackUrl }} }}
          }}
          all: webhookSubscriptions(first: 5) {{ nodes {{ topic }} }}
          byTopic: webhookSubscriptions(first: 5, topics: [PRODUCTS_UPDATE, SHOP_UPDATE]) {{ nodes {{ topic }} }}
          byAddress: webhookSubscriptions(first: 5, uri: "{URI}") {{ nodes {{ topic }} }}
          webhookSubscriptionsCount {{ count }}
        }}""",
    )

    assert found["webhookSubscription"] == {
        "topic": "ORDERS_CREATE",
        "uri": URI,
        "callbackUrl": URI,
        "format": "JSON",
        "name": "main",
        "apiVersion": {"handle": "2026-10", "supported": True},
        "endpoint": {"callbackUrl": URI},
    }
    topics = {name: [node["topic"] for node in found[name]["nodes"]] for name in ("all", "byTopic", "byAddress")}
    assert topics == {"all": ["ORDERS_CREATE", "PRODUCTS_UPDATE"], "byTopic": ["PRODUCTS_UPDATE"], "byAddress": ["ORDERS_CREATE"]}
    assert found["webhookSubscriptionsCount"]["count"] == 2


PAYLOAD = {"id": 7, "total": "10.50", "state": "Paid", "lines": [{"sku": "A-1"}, {"sku": "B-2"}], "customer": {"id": 3}, "note": None}


@pytest.mark.parametrize(
    ("text", "is_through"),
    [
        ("id:7", True),
        ("id:8", False),
        ("id:7.0", True),
        ("total:>10 total:<=10.50", True),
        ("total:>10.50", False),
        ("state:paid", True),
        ("-state:paid", False),
        ("state:pending OR lines.sku:B-2", True),
        ("lines.sku:B*", True),
        ("customer.id:3 lines.sku:C*", False),
        ("note:*", False),
        ("customer.id:*", True),
        ("customer.name.first:x", False),
        (None, True),
        ("", True),
    ],
)
def test_filters_look_into_the_payload(text: str | None, is_through: bool) -> None:
    assert passes(text, PAYLOAD) is is_through


def test_a_filter_names_a_field_in_every_condition() -> None:
    assert is_filter("id:7 OR total:>1")
    assert not is_filter("id:7 OR seven")
    assert not is_filter("   ")


def test_included_fields_keep_their_places() -> None:
    assert included(PAYLOAD, ["lines.sku", "customer", "missing.field"]) == {"lines": PAYLOAD["lines"], "customer": {"id": 3}}
    assert included(PAYLOAD, []) == PAYLOAD
