"""Tags, customers and segments."""

from pathlib import Path

import pytest
from sandbox_shop import CUSTOMER, Shop, errors, order_input

from commerce_assets.sandbox.context import RequestError
from commerce_assets.sandbox.mutations import segment_query


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_tags_are_split_matched_without_case_and_sorted(shop: Shop) -> None:
    shop.done("tagsAdd", id=CUSTOMER, tags=["red", "b, A", " b "])

    assert shop.doc(CUSTOMER)["tags"] == ["A", "b", "Red"]


def test_adding_a_known_tag_is_no_change(shop: Shop) -> None:
    before = shop.doc(CUSTOMER)["updatedAt"]

    shop.done("tagsAdd", id=CUSTOMER, tags=["RED"])

    assert shop.doc(CUSTOMER)["updatedAt"] == before


def test_new_tags_count_as_a_change_of_the_customer(shop: Shop) -> None:
    before = shop.doc(CUSTOMER)["updatedAt"]

    shop.done("tagsAdd", id=CUSTOMER, tags=["lapsed"])

    assert shop.doc(CUSTOMER)["updatedAt"] > before


def test_removing_matches_customers_tags_without_case_and_orders_tags_exactly(shop: Shop) -> None:
    order = shop.done("orderCreate", order=order_input(tags=["Red"]))["order"]["id"]

    shop.done("tagsRemove", id=CUSTOMER, tags=["red", "not there"])
    shop.done("tagsRemove", id=order, tags=["red"])

    assert shop.doc(CUSTOMER)["tags"] == []
    assert shop.doc(order)["tags"] == ["Red"]


def test_a_customer_has_at_most_250_tags_of_255_characters(shop: Shop) -> None:
    too_many = shop.run("tagsAdd", id=CUSTOMER, tags=[f"tag-{number}" for number in range(250)])
    too_long = shop.run("tagsAdd", id=CUSTOMER, tags=["t" * 256])

    assert errors(too_many) == [(["tags"], None)]
    assert errors(too_long) == [(["tags"], None)]
    assert shop.doc(CUSTOMER)["tags"] == ["Red"]


def test_tags_of_what_does_not_exist_or_has_none(shop: Shop) -> None:
    missing = shop.run("tagsAdd", id="gid://shopify/Customer/99", tags=["a"])

    assert [error["message"] for error in missing["userErrors"]] == ["Customer does not exist"]
    with pytest.raises(RequestError, match="invalid id"):
        shop.run("tagsAdd", id="gid://shopify/Location/1", tags=["a"])


def test_customer_update_replaces_all_tags(shop: Shop) -> None:
    shop.done("customerUpdate", input={"id": CUSTOMER, "tags": ["b", "a"]})

    assert shop.doc(CUSTOMER)["tags"] == ["a", "b"]


def test_a_customer_needs_something_to_be_known_by(shop: Shop) -> None:
    nameless = shop.run("customerCreate", input={"note": "who?"})
    cleared = shop.run("customerUpdate", input={"id": CUSTOMER, "email": None, "firstName": None})

    assert errors(nameless) == [(None, None)]
    assert errors(cleared) == [(None, None)]
    assert shop.doc(CUSTOMER)["firstName"] == "Ann"


def test_an_email_belongs_to_one_customer(shop: Shop) -> None:
    assert errors(shop.run("customerCreate", input={"email": "ANN@example.com"})) == [(["email"], None)]


def test_a_customer_is_created_with_consent_address_and_metafields(shop: Shop) -> None:
    created = shop.done(
        "customerCreate",
        input={
            "email": "bob@example.com",
            "lastName": "Roe",
            "emailMarketingConsent": {"marketingState": "SUBSCRIBED"},
            "addresses": [{"countryCode": "DK", "city": "Copenhagen"}],
            "metafields": [{"namespace": "scores", "key": "tier", "type": "single_line_text_field", "value": "gold"}],
        },
    )["customer"]

    doc = shop.doc(created)
    assert doc["defaultEmailAddress"]["marketingState"] == "SUBSCRIBED"
    assert (doc["addressesV2"][0]["country"], doc["addressesV2"][0]["lastName"]) == ("Denmark", "Roe")
    assert doc["defaultAddress"]["id"] == doc["addressesV2"][0]["id"]
    assert [found["value"] for found in shop.store.metafields(created["id"])] == ["gold"]


def test_deleted_customers_are_logged_and_those_with_orders_stay(shop: Shop) -> None:
    other = shop.done("customerCreate", input={"firstName": "Cy"})["customer"]["id"]
    shop.done("orderCreate", order=order_input(customer={"toAssociate": {"id": CUSTOMER}}))

    shop.done("customerDelete", input={"id": other})
    refused = shop.run("customerDelete", input={"id": CUSTOMER})

    assert list(shop.store.deletions("Customer")) == [int(other.rpartition("/")[2])]
    assert errors(refused) == [(["id"], None)]


@pytest.mark.parametrize(
    "query",
    [
        "customer_tags CONTAINS 'lapsed'",
        "number_of_orders >= 1 AND customer_countries CONTAINS 'CA'",
        "(number_of_orders >= 1) OR (NOT amount_spent = 0)",
        "last_order_date BETWEEN -90d AND today",
        "companies IS NOT NULL",
        "products_purchased(id: (1, 2)) = true",
        "metafields.scores.tier = 'gold'",
    ],
)
def test_segment_queries_that_read_well(query: str) -> None:
    assert segment_query.problems(query, frozenset({"scores.tier"})) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("customer_tags CONTAINS", "unexpected end"),
        ("shoe_size = 42", "'shoe_size' filter cannot be found"),
        ("metafields.scores.tier = 'gold'", "filter cannot be found"),
        ("number_of_orders >= AND 1", "'AND' is unexpected"),
        ("number_of_orders = 1 1", "'1' is unexpected"),
    ],
)
def test_segment_queries_that_do_not(query: str, problem: str) -> None:
    assert any(problem in found for found in segment_query.problems(query))


def test_segments_come_change_and_go(shop: Shop) -> None:
    created = shop.done("segmentCreate", name="Lapsed", query="customer_tags CONTAINS 'lapsed'")["segment"]

    changed = shop.done("segmentUpdate", id=created["id"], name="Gone")["segment"]
    shop.done("segmentDelete", id=created["id"])
    missing = shop.run("segmentUpdate", id=created["id"], name="Back")

    assert (changed["name"], changed["query"]) == ("Gone", created["query"])
    assert changed["lastEditDate"] > created["creationDate"]
    assert len(shop.store.deletions("Segment")) == 1
    assert errors(missing) == [(["id"], None)]


def test_a_metafield_in_a_segment_needs_a_definition(shop: Shop) -> None:
    wanted = {"name": "Gold", "query": "metafields.scores.tier = 'gold'"}
    before = shop.run("segmentCreate", **wanted)
    shop.done(
        "metafieldDefinitionCreate",
        definition={"name": "T", "namespace": "scores", "key": "tier", "ownerType": "CUSTOMER", "type": "single_line_text_field"},
    )

    after = shop.run("segmentCreate", **wanted)

    assert errors(before) == [(["query"], None)]
    assert errors(after) == []
