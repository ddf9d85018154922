"""Whatever is sent, the receiver answers with a status it names, never 500; and what it answers 200 to is stored as it came."""

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from receiver_client import CLIENT, RULES, SECRET, SHOP, STOCK_SECRET, running_receiver, webhook_headers

from commerce_assets.events.inbox import Inbox
from commerce_assets.events.receiver import ReceiverOptions, build_app
from commerce_assets.events.signatures import sign
from commerce_assets.events.topics import TOPICS

pytestmark = pytest.mark.xdist_group("events-receiver")
LIMIT = 3_000
STATUSES = {200, 400, 401, 403, 404, 409, 413}
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.sampled_from(["gid://shopify/Order/7", "2026-11-21"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "order_id", "facts", "occurred_at", "customer"]), inner)
    ),
    max_leaves=12,
)
documents = values.map(lambda value: json.dumps(value).encode())
nested = st.integers(1, LIMIT - 1).map(lambda depth: b'{"id":' * (depth // 6) + b"[" * (depth % 6))
cut = st.tuples(documents, st.integers(0, 40)).map(lambda pair: pair[0][: -pair[1] or None])
large = st.integers(LIMIT - 2, LIMIT + 2).map(lambda size: b"x" * size)
bodies = documents | st.binary(max_size=300) | cut | nested | large
# What a header can hold, by HTTP: no line breaks, no NUL.
header_values = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=300)
topics = st.sampled_from(sorted(TOPICS)) | header_values
odd_headers = st.dictionaries(
    st.sampled_from(
        [
            *("x-shopify-topic", "x-shopify-shop-domain", "x-shopify-webhook-id", "x-shopify-triggered-at", "x-shopify-event-id"),
            *("x-shopify-name", "x-shopify-hmac-sha256", "x-signature", "idempotency-key", "content-length", "content-type"),
        ]
    ),
    header_values,
    max_size=4,
)


class App:
    """The application in a loop of its own, without sockets: what a parser would refuse gets through too."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.loop = asyncio.new_event_loop()
        self.app = build_app(ReceiverOptions(RULES, (STOCK_SECRET,), body_limit=LIMIT), inbox)
        self._lifespan = self.app.router.lifespan_context(self.app)
        self.loop.run_until_complete(self._lifespan.__aenter__())

    def close(self) -> None:
        self.loop.run_until_complete(self._lifespan.__aexit__(None, None, None))
        self.loop.close()

    def post(self, path: str, headers: dict[str, str], pieces: list[bytes]) -> int:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "server": ("x", 80),
            "client": ("y", 1),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        statuses: list[int] = []

        async def receive() -> dict[str, object]:
            return messages.pop(0)

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(int(str(message["status"])))

        self.loop.run_until_complete(self.app(scope, receive, send))
        (status,) = statuses
        return status


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with Inbox(f"sqlite:///{tmp_path_factory.mktemp('inbox') / 'inbox.sqlite'}") as inbox:
        app = App(inbox)
        yield app
        app.close()


@FUZZ
@given(body=bodies, topic=topics, odd=odd_headers, pieces=st.integers(1, 4))
def test_any_webhook_gets_a_status_and_200_means_stored(app: App, body: bytes, topic: str, odd: dict[str, str], pieces: int) -> None:
    headers = {name.lower(): value for name, value in webhook_headers(body, topic).items()} | odd
    status = app.post("/webhooks/shopify", headers, split(body, pieces))
    assert status in STATUSES
    if not odd and len(body) <= LIMIT:
        name = topic.strip()
        assert status == (200 if name in RULES.topics else 404 if name and name.isprintable() and len(name) < 256 else 400)
    if status == 200:
        stored = app.inbox.by_webhook_id(headers["x-shopify-webhook-id"].strip())
        assert stored is not None
        assert stored.deliveries > 1 or stored.delivery.body == body
        assert stored.delivery.shop == SHOP


@FUZZ
@given(body=bodies, key=header_values, odd=odd_headers, pieces=st.integers(1, 4))
def test_any_warehouse_report_gets_a_status_and_200_means_stored(app: App, body: bytes, key: str, odd: dict[str, str], pieces: int) -> None:
    headers = {"x-signature": sign(body, STOCK_SECRET), "idempotency-key": key} | odd
    status = app.post("/inventory/wms", headers, split(body, pieces))
    assert status in STATUSES
    if status == 200:
        stored = app.inbox.by_webhook_id("wms:" + headers["idempotency-key"].strip())
        assert stored is not None
        assert stored.delivery.body == body


@settings(FUZZ, max_examples=60)
@given(
    garbage=st.lists(
        st.binary(max_size=200)
        | st.sampled_from(
            [
                *(b"POST /webhooks/shopify HTTP/1.1\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"\r\n", b"hello"),
                *(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"X-Shopify-Topic: \x00\r\n", b"Host: a\r\n"),
                *(b"GET /metrics HTTP/1.1\r\n", b"GET /" + b"%" * 50 + b" HTTP/9.9\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
            ]
        ),
        max_size=8,
    )
)
def test_any_bytes_on_the_wire_lead_to_no_500(address: tuple[str, int], garbage: list[bytes]) -> None:
    with socket.create_connection(address, timeout=5) as wire:
        try:
            wire.sendall(b"".join(garbage))
            wire.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: wire.recv(65_536), b""))
        except ConnectionError:
            answer = b""
    assert b"HTTP/1.1 500" not in answer


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with Inbox(f"sqlite:///{tmp_path_factory.mktemp('inbox') / 'inbox.sqlite'}") as inbox, running_receiver(inbox) as receiver:
        host, port = receiver.url.removeprefix("http://").split(":")
        yield host, int(port)
        assert receiver.deliver(b"{}").status_code == 200


def split(body: bytes, pieces: int) -> list[bytes]:
    size = len(body) // pieces + 1
    return [body[start : start + size] for start in range(0, len(body), size)]


def test_no_request_of_the_described_interface_leads_to_a_server_error(address: tuple[str, int]) -> None:
    """Schemathesis makes the requests from the description; each is signed, else few would come beyond the signature."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra `dev`)")
    order = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    report = {"type": "object", "properties": {"facts": {"type": "array", "items": {"type": "object"}}}, "required": ["facts"]}
    webhook = {"X-Shopify-Topic": sorted(TOPICS), "X-Shopify-Shop-Domain": [SHOP], "X-Shopify-Webhook-Id": None, "X-Shopify-Name": None}
    paths = {
        "/webhooks/shopify": {"post": described(webhook, order)},
        "/inventory/wms": {"post": described({"Idempotency-Key": None}, report)},
        **{path: {"get": described({}, None)} for path in ("/healthz", "/readyz", "/metrics")},
    }
    schema = schemathesis.openapi.from_dict({"openapi": "3.1.0", "info": {"title": "receiver", "version": "1"}, "paths": paths})
    statuses: dict[str, set[int]] = {}
    for result in schema.get_all_operations():

        @settings(FUZZ, max_examples=20)
        @given(case=result.ok().as_strategy())
        def call(case) -> None:
            body = json.dumps(case.body).encode() if isinstance(case.body, dict | list) else b""
            headers = {name: value for name, value in case.headers.items() if value.isascii() and value.isprintable()}
            signed = {"X-Shopify-Hmac-Sha256": sign(body, SECRET), "X-Signature": sign(body, STOCK_SECRET)}
            answer = CLIENT.request(case.method, f"http://{address[0]}:{address[1]}{case.path}", content=body, headers=headers | signed)
            statuses.setdefault(case.path, set()).add(answer.status_code)

        call()
    assert all(200 in found and found <= STATUSES for found in statuses.values()), statuses
    assert statuses.keys() == paths.keys()


def described(headers: dict[str, list[str] | None], body: dict[str, object] | None) -> dict[str, object]:
    """An operation of an OpenAPI description; a header may have values to choose from."""
    parameters = [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string", **({"enum": values} if values else {})}}
        for name, values in headers.items()
    ]
    content = {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}} if body else {}
    return {"parameters": parameters, **content, "responses": {"200": {"description": "ok"}}}
