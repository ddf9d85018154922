"""Which topics follow from which mutations, and that they are recorded with the write or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sandbox_shop import CUSTOMER, HERE, ITEM, PRODUCT, THERE, Shop, order_input, paid

from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks.changes import Recorder
from commerce_assets.sandbox.webhooks.payloads import RENDERERS
from commerce_assets.sandbox.webhooks.subscriptions import Directory, enum_of

CLAIM = {"inventoryBehaviour": "DECREMENT_IGNORING_POLICY"}
URI = "http://127.0.0.1:1/webhooks"
EVERYTHING = sorted(topic for topic in RENDERERS if not topic.endswith(("redact", "data_request")))


class Watched(Shop):
    """A shop whose changes are recorded for a subscriber to every topic."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.announced = 0
        self.recorder = Recorder(Directory(self.store), self.announce)
        self.store.watcher = self.recorder

    def announce(self) -> None:
        self.announced += 1

    def subscribe(self, topic: str, **more: Any) -> dict[str, Any]:
        wanted = {"uri": URI, **more}
        return self.done("webhookSubscriptionCreate", topic=enum_of(topic), webhookSubscription=wanted)["webhookSubscription"]

    def events(self) -> list[dict[str, Any]]:
        names = ["seq", "webhook_id", "event_id", "subscription_id", "topic", "object", "order_id", "triggered_at", "state"]
        rows = self.store.connection.execute(f"SELECT {', '.join(names)}, body FROM webhook_events JOIN webhook_bodies USING (seq)")
        return [{**dict(zip(names, row, strict=False)), "body": orjson.loads(row[-1])} for row in rows]

    def topics_of(self, name: str, /, **arguments: Any) -> list[str]:
        """The topics that one mutation emits."""
        before = len(self.events())
        self.done(name, **arguments)
        return [event["topic"] for event in self.events()[before:]]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Watched]:
    shop = Watched(tmp_path)
    for topic in EVERYTHING:
        shop.subscribe(topic)
    yield shop
    shop.store.close()


def ordered(shop: Watched, **more: Any) -> str:
    return str(shop.done("orderCreate", order=order_input(2, **more), options=CLAIM)["order"]["id"])


class Undone(Exception):
    """Rolls a transaction back."""


def ordered_and_undone(shop: Watched) -> None:
    with shop.store.transaction():
        ordered(shop)
        raise Undone


def test_a_paid_order_of_a_new_customer_is_told_in_one_event(shop: Watched) -> None:
    wanted = order_input(2, transactions=paid("20.00"), customer={"toUpsert": {"email": "new@example.com", "tags": ["vip"]}})

    topics = shop.topics_of("orderCreate", order=wanted, options=CLAIM)

    orders = ["orders/create", "order_transactions/create", "orders/paid"]
    assert topics == ["customers/create", "customer.tags_added", *orders, "inventory_levels/update"]
    events = shop.events()
    assert len({event["event_id"] for event in events}) == 1
    assert len({event["webhook_id"] for event in events}) == len(events)
    times = [event["triggered_at"] for event in events]
    assert times == sorted(set(times))
    number = int(events[2]["object"].rpartition("/")[2])
    assert [event["order_id"] for event in events] == [None, None, number, number, number, None]
    assert events[2]["body"]["id"] == number
    assert events[5]["body"]["available"] == 18


def test_an_order_shipped_at_once_is_fulfilled_and_its_shipment_created(shop: Watched) -> None:
    assert shop.topics_of("orderCreate", order=order_input(1, fulfillmentStatus="FULFILLED")) == [
        "orders/create",
        "fulfillments/create",
        "orders/fulfilled",
    ]


def test_shipments_tell_of_the_part_and_of_the_whole(shop: Watched) -> None:
    order = shop.doc(ordered(shop))
    number, line = order["id"].rpartition("/")[2], order["lineItems"][0]["id"].rpartition("/")[2]
    group: dict[str, Any] = {"fulfillmentOrderId": f"gid://shopify/FulfillmentOrder/{number}"}
    rows = [{"id": f"gid://shopify/FulfillmentOrderLineItem/{line}", "quantity": 1}]

    first = shop.topics_of("fulfillmentCreate", fulfillment={"lineItemsByFulfillmentOrder": [{**group, "fulfillmentOrderLineItems": rows}]})
    second = shop.topics_of("fulfillmentCreate", fulfillment={"lineItemsByFulfillmentOrder": [group]})

    told = ["orders/updated", "fulfillments/create"]
    assert first == [*told, "orders/partially_fulfilled", "inventory_levels/update"]
    assert second == [*told, "orders/fulfilled", "inventory_levels/update"]


def test_a_refund_tells_of_itself_its_payment_and_the_stock_that_came_back(shop: Watched) -> None:
    order = shop.doc(ordered(shop, transactions=paid("20.00")))
    payment = {"orderId": order["id"], "parentId": order["transactions"][0]["id"], "kind": "REFUND", "gateway": "manual", "amount": "10.00"}
    line = {"lineItemId": order["lineItems"][0]["id"], "quantity": 1, "restockType": "CANCEL", "locationId": HERE}

    topics = shop.topics_of("refundCreate", key="k", input={"orderId": order["id"], "refundLineItems": [line], "transactions": [payment]})

    assert topics == ["orders/updated", "order_transactions/create", "refunds/create", "inventory_levels/update"]
    refund = next(event for event in shop.events() if event["topic"] == "refunds/create")
    assert refund["order_id"] == refund["body"]["order_id"] == int(order["id"].rpartition("/")[2])


def test_cancelling_and_deleting_an_order(shop: Watched) -> None:
    order = ordered(shop)

    cancelled = shop.topics_of("orderCancel", orderId=order, reason="CUSTOMER", restock=True)
    deleted = shop.topics_of("orderDelete", orderId=order)

    assert cancelled == ["orders/updated", "refunds/create", "orders/cancelled", "inventory_levels/update"]
    assert deleted == ["orders/delete"]
    assert shop.events()[-1]["body"] == {"id": int(order.rpartition("/")[2])}


def test_tags_of_a_customer_have_topics_of_their_own(shop: Watched) -> None:
    assert shop.topics_of("tagsAdd", id=CUSTOMER, tags=["Blue", "Green"]) == ["customer.tags_added"]
    assert shop.events()[-1]["body"]["tags"] == ["Blue", "Green"]
    assert shop.topics_of("tagsRemove", id=CUSTOMER, tags=["Blue"]) == ["customer.tags_removed"]
    assert shop.topics_of("tagsAdd", id=CUSTOMER, tags=["green"]) == []
    changed = shop.topics_of("customerUpdate", input={"id": CUSTOMER, "firstName": "Anna", "tags": ["Red", "Gold"]})
    assert changed == ["customers/update", "customer.tags_added", "customer.tags_removed"]
    assert shop.topics_of("customerDelete", input={"id": CUSTOMER}) == ["customers/delete"]


def test_a_product_tells_of_its_items_and_their_levels(shop: Watched) -> None:
    made = shop.topics_of("productSet", input={"title": "Hat", "tags": ["new"]})
    gone = shop.topics_of("productDelete", input={"id": PRODUCT})

    assert made == ["products/create", "inventory_items/create", "inventory_levels/connect"]
    assert gone == ["products/delete", "inventory_items/delete", "inventory_levels/disconnect"]
    assert shop.topics_of("tagsAdd", id="gid://shopify/Product/2", tags=["sale"]) == ["products/update"]


def test_a_level_is_connected_then_updated_and_silent_when_nothing_changes(shop: Watched) -> None:
    def set_to(quantity: int, key: str) -> list[str]:
        row = {"inventoryItemId": ITEM, "locationId": THERE, "quantity": quantity, "changeFromQuantity": None}
        wanted = {"name": "available", "reason": "correction", "quantities": [row]}
        return shop.topics_of("inventorySetQuantities", key=key, input=wanted)

    assert set_to(5, "a") == ["inventory_levels/connect"]
    assert set_to(6, "b") == ["inventory_levels/update"]
    assert set_to(6, "c") == []


def test_a_bulk_operation_that_ended_is_told_once(shop: Watched) -> None:
    doc = {"id": "gid://shopify/BulkOperation/1", "status": "RUNNING", "type": "QUERY", "createdAt": "2026-01-01T00:00:00Z", "query": ""}
    shop.store.put("BulkOperation", doc)
    shop.store.put("BulkOperation", {**doc, "status": "COMPLETED", "completedAt": "2026-01-01T00:01:00Z"})
    shop.store.put("BulkOperation", {**doc, "status": "COMPLETED", "completedAt": "2026-01-01T00:01:00Z", "url": "x"})

    assert [event["topic"] for event in shop.events()] == ["bulk_operations/finish"]
    assert shop.events()[0]["body"]["status"] == "completed"


def test_what_is_refused_or_rolled_back_is_not_told(shop: Watched) -> None:
    refused = shop.run("customerUpdate", input={"id": CUSTOMER, "email": "not an address"})
    with pytest.raises(Undone):
        ordered_and_undone(shop)

    assert refused["userErrors"]
    assert shop.events() == []


def test_a_write_undone_inside_a_transaction_is_not_told(shop: Watched) -> None:
    with shop.store.transaction():
        kept = ordered(shop)
        with pytest.raises(Undone):
            ordered_and_undone(shop)

    assert [event["object"] for event in shop.events() if event["topic"] == "orders/create"] == [kept]


def test_filling_a_store_tells_nobody(shop: Watched) -> None:
    shop.store.insert_many("Customer", [{"id": "gid://shopify/Customer/77", "createdAt": "2026-01-01T00:00:00Z"}])

    assert shop.events() == []


def test_every_subscription_gets_a_delivery_of_its_own_and_none_without(tmp_path: Path) -> None:
    shop = Watched(tmp_path)
    assert shop.topics_of("tagsAdd", id=CUSTOMER, tags=["one"]) == []
    first = shop.subscribe("customer.tags_added")
    shop.subscribe("customer.tags_added", uri="http://127.0.0.1:2/other")
    announced = shop.announced

    assert shop.topics_of("tagsAdd", id=CUSTOMER, tags=["two"]) == ["customer.tags_added"] * 2
    assert len({event["event_id"] for event in shop.events()}) == 1
    assert shop.announced == announced + 1
    shop.done("webhookSubscriptionDelete", id=first["id"])
    assert shop.topics_of("tagsAdd", id=CUSTOMER, tags=["three"]) == ["customer.tags_added"]


def test_a_filter_and_included_fields_decide_what_is_sent(tmp_path: Path) -> None:
    shop = Watched(tmp_path)
    shop.subscribe(
        "orders/create", filter="total_price:>=30 line_items.sku:SKU-1", includeFields=["id", "customer.email", "line_items.sku"]
    )

    ordered(shop)
    dear = shop.done("orderCreate", order=order_input(4, customerId=CUSTOMER))

    (event,) = shop.events()
    assert event["object"] == dear["order"]["id"]
    body = event["body"]
    assert set(body) == {"id", "customer", "line_items"}
    assert set(body["customer"]) == {"email"}
    assert body["line_items"] == [{"sku": "SKU-1"}]


def test_a_raw_emission_goes_where_the_topic_goes(tmp_path: Path) -> None:
    shop = Watched(tmp_path)
    shop.subscribe("orders/create")
    shop.subscribe("orders/updated")

    sent = {
        "subscribed": shop.recorder.emit(shop.store, "orders/create", b"{}"),
        "nobody asked": shop.recorder.emit(shop.store, "products/create", b"{}"),
        "compliance": shop.recorder.emit(shop.store, "shop/redact", b"{}"),
        "to an address": shop.recorder.emit(shop.store, "carts/create", b"{}", "http://127.0.0.1:3/"),
    }

    assert {name: len(ids) for name, ids in sent.items()} == {"subscribed": 1, "nobody asked": 0, "compliance": 1, "to an address": 1}


def test_a_store_made_before_webhooks_gets_their_tables(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.transaction() as connection:
        for table in ("webhook_events", "webhook_bodies", "webhook_attempts", "t_WebhookSubscription"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
    store.close()

    again = Store(tmp_path)

    assert again.count("WebhookSubscription") == 0
    assert again.connection.execute("SELECT count(*) FROM webhook_events").fetchone() == (0,)
