"""Subscriptions become what is wanted by the fewest changes, and the difference can be read before it is made."""

from pathlib import Path

import pytest
from inprocess_shop import InProcessShop

from commerce_assets.events.topics import TOPICS
from commerce_assets.sandbox.documents import shop_doc
from commerce_assets.sandbox.store import Store
from commerce_assets.sources.shopify.errors import UserErrorsError
from commerce_assets.sources.shopify.webhook_subscriptions import Diff, Subscription, apply, enum_of, plan, read, to_address

HERE, THERE = "https://events.example/webhooks/shopify", "https://old.example/webhooks/shopify"
CREATE = Subscription("ORDERS_CREATE", HERE, id="gid://shopify/WebhookSubscription/1")


@pytest.fixture
def shop(tmp_path: Path) -> InProcessShop:
    store = Store(tmp_path / "store")
    store.set_shop(shop_doc("Test shop", "test-shop.myshopify.com", "GBP", "Europe/London", "2026-01-01T00:00:00Z"))
    return InProcessShop(store)


def test_topics_are_named_as_graphql_does() -> None:
    assert enum_of("customer.tags_added") == "CUSTOMER_TAGS_ADDED"
    assert {topic: enum_of(topic) for topic in TOPICS} == {name: topic.enum for name, topic in TOPICS.items()}


def test_what_is_as_wanted_is_left_alone() -> None:
    diff = plan(to_address(["orders/create", "orders/create"], HERE), [CREATE])
    assert diff == Diff(unchanged=(CREATE,))
    assert diff.is_empty
    assert diff.lines() == ["= 1 unchanged"]


def test_another_address_or_filter_is_an_update_not_a_new_subscription() -> None:
    moved = plan(to_address(["orders/create"], HERE), [Subscription("ORDERS_CREATE", THERE, id="7")])
    assert [(old.id, new.uri, new.id) for old, new in moved.update] == [("7", HERE, "7")]
    assert (moved.create, moved.delete) == ((), ())
    filtered = plan(to_address(["orders/create"], HERE), [Subscription("ORDERS_CREATE", HERE, filter="total_price:>10", id="7")])
    assert [(old.filter, new.filter) for old, new in filtered.update] == [("total_price:>10", None)]


def test_the_one_to_the_same_address_is_changed_and_the_other_ended() -> None:
    there = Subscription("ORDERS_CREATE", THERE, id="6")
    here = Subscription("ORDERS_CREATE", HERE, include_fields=("id",), id="7")
    diff = plan(to_address(["orders/create"], HERE), [there, here])
    assert [old.id for old, _ in diff.update] == ["7"]
    assert [one.id for one in diff.delete] == ["6"]


def test_a_topic_no_longer_wanted_is_ended_and_never_becomes_another() -> None:
    diff = plan(to_address(["products/update"], HERE), [CREATE])
    assert [one.topic for one in diff.create] == ["PRODUCTS_UPDATE"]
    assert diff.delete == (CREATE,)
    assert not diff.update


def test_the_difference_reads_line_by_line() -> None:
    present = [
        CREATE,
        Subscription("ORDERS_PAID", THERE, id="2"),
        Subscription("CARTS_UPDATE", HERE, filter="id:1", include_fields=("id",)),
    ]
    assert plan(to_address(["orders/create", "orders/paid", "orders/updated"], HERE), present).lines() == [
        f"- CARTS_UPDATE -> {HERE} (filter 'id:1'; fields id)",
        f"~ ORDERS_PAID -> {THERE}  =>  ORDERS_PAID -> {HERE}",
        f"+ ORDERS_UPDATED -> {HERE}",
        "= 1 unchanged",
    ]


def test_every_topic_that_has_a_meaning_can_be_subscribed_moved_and_ended(shop: InProcessShop) -> None:
    topics = [name for name, topic in TOPICS.items() if topic.is_subscribable]
    with shop.client() as client:
        for address in (THERE, HERE):
            wanted = to_address(topics, address)
            apply(client, plan(wanted, read(client)))
            found = read(client)
            assert sorted(found, key=str) == sorted(wanted, key=str)
            assert all(one.id and one.api_version == "2026-10" for one in found)
        ids = {one.topic: one.id for one in found}
        before = len(shop.requests)
        assert plan(wanted, read(client)).is_empty
        assert len(shop.requests) - before == 1, "reading is one request"
        narrower = [Subscription("ORDERS_CREATE", HERE, filter="source_name:web", include_fields=("id", "updated_at"))]
        diff = plan(narrower, read(client))
        assert (len(diff.update), len(diff.delete)) == (1, len(topics) - 1)
        apply(client, diff)
        apply(client, diff)  # what is ended already is no error
        assert read(client) == narrower
        assert read(client)[0].id == ids["ORDERS_CREATE"]
        apply(client, plan(to_address(["orders/create"], HERE), read(client)))
        assert read(client) == to_address(["orders/create"], HERE), "a filter can be taken off"


def test_what_the_shop_refuses_is_told_and_the_rest_is_done(shop: InProcessShop) -> None:
    wanted = [Subscription("ORDERS_CREATE", "ftp://events.example/x"), *to_address(["orders/paid"], HERE)]
    with shop.client() as client:
        with pytest.raises(UserErrorsError, match=r"ORDERS_CREATE: .*not supported.*run again"):
            apply(client, plan(wanted, read(client)))
        assert read(client) == wanted[1:]
