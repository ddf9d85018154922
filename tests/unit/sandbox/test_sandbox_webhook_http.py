"""Webhooks of a whole sandbox server: what a mutation over HTTP makes a subscriber hear, and what tests may see of it."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient
from webhook_listener import Listener

from commerce_assets.sandbox.auth import Authority
from commerce_assets.sandbox.faults import Faults
from commerce_assets.sandbox.server import Sandbox, ServerError, build_app, serve
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks.clock import RetryClock
from commerce_assets.sandbox.webhooks.delivery import DeliveryOptions

pytestmark = pytest.mark.xdist_group("sandbox-webhooks")
SUBSCRIBE = """mutation ($topic: WebhookSubscriptionTopic!, $uri: String!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: {uri: $uri}) { userErrors { message } }
}"""
CUSTOMER = 'mutation { customerCreate(input: {email: "ann@example.com"}) { customer { id } userErrors { message } } }'
BULK = 'mutation { bulkOperationRunQuery(query: "{ orders { edges { node { id } } } }") { bulkOperation { id } userErrors { message } } }'


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    store = Store(tmp_path)
    options = DeliveryOptions("hush", RetryClock(1_000_000))
    sandbox = Sandbox(store, Authority(store, "token", "id", "secret"), Faults(), 1_000, options)
    with TestClient(build_app(sandbox), client=("127.0.0.1", 1), headers={"X-Shopify-Access-Token": "token"}) as client:
        yield client
    store.close()


def ask(client: TestClient, text: str, **variables: Any) -> Any:
    body = client.post("/admin/api/2026-10/graphql.json", json={"query": text, "variables": variables}).json()
    assert "errors" not in body, body["errors"]
    return body["data"]


def settled(client: TestClient, emitted: int) -> dict[str, Any]:
    """The overview, once that many events were emitted and none waits."""
    for _ in range(3_000):
        found: dict[str, Any] = client.get("/sandbox/webhooks").json()
        if found["emitted"] >= emitted and not found["pending"] and not found["waiting"]:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not settled in 30 s: {found}")


def test_a_mutation_and_a_finished_bulk_operation_reach_the_subscriber(client: TestClient, listener: Listener) -> None:
    for topic in ("CUSTOMERS_CREATE", "BULK_OPERATIONS_FINISH"):
        ask(client, SUBSCRIBE, topic=topic, uri=listener.uri)
    customer = ask(client, CUSTOMER)["customerCreate"]["customer"]["id"]
    operation = ask(client, BULK)["bulkOperationRunQuery"]["bulkOperation"]["id"]

    found = settled(client, 2)

    received = {entry.topic: orjson.loads(entry.body) for entry in listener.received}
    assert received["customers/create"]["admin_graphql_api_id"] == customer
    assert received["bulk_operations/finish"]["admin_graphql_api_id"] == operation
    assert {topic: counts["delivered"] for topic, counts in found["topics"].items()} == {"customers/create": 1, "bulk_operations/finish": 1}
    assert [(event["object"], event["state"], event["attempts"]) for event in found["events"]] == [
        (customer, "delivered", 1),
        (operation, "delivered", 1),
    ]
    attempts = client.get("/sandbox/webhooks/attempts").json()["attempts"]
    assert [(attempt["seq"], attempt["status"]) for attempt in attempts] == [(1, 200), (2, 200)]


def test_events_are_listed_page_by_page_and_by_what_they_are(client: TestClient, listener: Listener) -> None:
    listener.answer = lambda received: 500 if received.topic == "shop/redact" else 200
    for _ in range(3):
        client.post("/sandbox/webhooks/emit", json={"topic": "orders/create", "uri": listener.uri})
    client.post("/sandbox/webhooks/emit", json={"topic": "shop/redact", "uri": listener.uri})
    settled(client, 4)

    first = client.get("/sandbox/webhooks", params={"limit": 2}).json()
    second = client.get("/sandbox/webhooks", params={"limit": 2, "after": first["next"]}).json()
    failed = client.get("/sandbox/webhooks", params={"state": "failed"}).json()

    assert [event["seq"] for event in first["events"] + second["events"]] == [1, 2, 3, 4]
    assert (first["emitted"], first["delivered"], first["failed"], first["attempts"]) == (4, 3, 1, 12)
    assert [event["topic"] for event in failed["events"]] == ["shop/redact"]
    assert client.get("/sandbox/webhooks", params={"after": 4}).json()["next"] is None


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"body": {"id": 9007199254740993}}, b'{"id":9007199254740993}'),
        ({"raw": '{"id": 1'}, b'{"id": 1'),
        ({"base64": base64.b64encode(b"\xff\xfe").decode()}, b"\xff\xfe"),
        ({}, b"{}"),
    ],
)
def test_any_body_can_be_emitted_byte_for_byte(client: TestClient, listener: Listener, given: dict[str, Any], body: bytes) -> None:
    moment = "2020-01-01T00:00:00.000000000Z"
    answer = client.post("/sandbox/webhooks/emit", json={"topic": "app/uninstalled", "uri": listener.uri, "triggered_at": moment, **given})
    settled(client, 1)

    (received,) = listener.received
    assert received.body == body
    assert [received.webhook_id] == answer.json()["webhook_ids"]
    assert received.headers["x-shopify-triggered-at"] == moment


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"topic": "orders"}',
        b'{"topic": "orders/create\\r\\nX: y"}',
        b'{"topic": "orders/create", "base64": "%"}',
        b'{"topic": "orders/create", "uri": "file:///etc/passwd"}',
        b'{"topic": "orders/create", "triggered_at": "now\\r\\nX: y"}',
    ],
)
def test_what_cannot_be_emitted_is_refused_with_a_reason(client: TestClient, content: bytes) -> None:
    answer = client.post("/sandbox/webhooks/emit", content=content)

    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_only_this_machine_may_look(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sandbox = Sandbox(store, Authority(store, "token", "id", "secret"), Faults(), 1_000)
    with TestClient(build_app(sandbox), client=("192.0.2.1", 1)) as client:
        assert client.get("/sandbox/webhooks").status_code == 403
        assert client.post("/sandbox/webhooks/emit", json={"topic": "orders/create"}).status_code == 403
    store.close()


def test_a_clock_that_stands_still_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="speed must be above 0"):
        serve(tmp_path, webhook_clock_speed=0)
