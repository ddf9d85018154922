"""Members of segments: counted by their query, over tags, metafields and consent."""

from pathlib import Path
from typing import Any

import pytest
from sandbox_shop import BEFORE, Shop

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import customer_doc, gid
from commerce_assets.sandbox.schema import answer

MEMBERS = """query Members($id: ID, $query: String) {
  customerSegmentMembers(segmentId: $id, query: $query, first: 2) {
    totalCount edges { node { id displayName } } pageInfo { hasNextPage }
  }
}"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    consents = ["SUBSCRIBED", "UNSUBSCRIBED", "SUBSCRIBED"]
    shop.store.insert_many(
        "Customer",
        [
            customer_doc(
                number,
                BEFORE,
                email=f"c{number}@example.com",
                tags=[["Lifecycle:Lapsed", "it's"], ["lifecycle:active"], []][number - 2],
                marketing=consents[number - 2],
            )
            for number in (2, 3, 4)
        ],
    )
    for key, kind in (("value", "number_decimal"), ("segment", "single_line_text_field"), ("next_on", "date")):
        definition = {"name": key, "namespace": "commerce", "key": key, "ownerType": "CUSTOMER", "type": kind}
        shop.done("metafieldDefinitionCreate", definition=definition)
    for number, value, segment, day in (
        (2, "9.5", "loyal", "2026-11-01"),
        (3, "100", "loyal", "2026-12-01"),
        (4, "20", "new", "2026-12-05"),
    ):
        given = (("value", "number_decimal", value), ("segment", "single_line_text_field", segment), ("next_on", "date", day))
        owner = gid("Customer", number)
        shop.done(
            "metafieldsSet",
            metafields=[{"ownerId": owner, "namespace": "commerce", "key": key, "type": kind, "value": text} for key, kind, text in given],
        )
    return shop


def asked(shop: Shop, *, scopes: frozenset[str] = ALL_SCOPES, **variables: Any) -> dict[str, Any]:
    context = Context(shop.store, shop.store.shop() or {}, shop.version, scopes)
    return answer(context, MEMBERS, variables)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("customer_tags CONTAINS 'lifecycle:lapsed'", 1),
        ("customer_tags NOT CONTAINS 'lifecycle:lapsed'", 3),
        ("NOT customer_tags CONTAINS 'lifecycle:lapsed'", 3),
        (r"customer_tags CONTAINS 'it\'s'", 1),
        ("customer_tags CONTAINS 'lifecycle'", 0),
        ("customer_tags IS NULL", 1),
        ("customer_tags IS NOT NULL", 3),
        ("metafields.commerce.value > 9.5", 2),
        ("metafields.commerce.value BETWEEN 9.5 AND 20", 2),
        ("metafields.commerce.segment = 'loyal'", 2),
        ("metafields.commerce.segment != 'loyal'", 1),
        ("metafields.commerce.next_on >= 2026-12-01", 2),
        ("metafields.commerce.value IS NULL", 1),
        ("email_subscription_status = 'SUBSCRIBED'", 2),
        ("metafields.commerce.segment = 'new' OR metafields.commerce.segment = 'loyal' AND metafields.commerce.value > 50", 2),
        ("(metafields.commerce.segment = 'new' OR metafields.commerce.segment = 'loyal') AND metafields.commerce.value > 50", 1),
    ],
)
def test_a_query_counts_those_it_means(shop: Shop, query: str, count: int) -> None:
    assert asked(shop, query=query)["data"]["customerSegmentMembers"]["totalCount"] == count


def test_a_segment_has_the_members_of_its_query_in_pages(shop: Shop) -> None:
    segment = shop.done("segmentCreate", name="All but one", query="customer_tags NOT CONTAINS 'lifecycle:lapsed'")["segment"]
    found = asked(shop, id=segment["id"])["data"]["customerSegmentMembers"]
    assert (found["totalCount"], found["pageInfo"]) == (3, {"hasNextPage": True})
    assert [edge["node"]["id"] for edge in found["edges"]] == [gid("CustomerSegmentMember", number) for number in (1, 3)]
    assert found["edges"][0]["node"]["displayName"] == "Ann"


def test_what_cannot_be_counted_is_said_and_not_guessed(shop: Shop) -> None:
    unsupported = asked(shop, query="amount_spent > 5")["errors"][0]
    assert unsupported["extensions"]["code"] == "SANDBOX_UNSUPPORTED"
    assert "amount_spent" in unsupported["message"]
    unknown = asked(shop, query="metafields.commerce.nothing = 'x'")["errors"][0]
    assert "filter cannot be found" in unknown["message"]
    assert asked(shop, id=gid("Segment", 999))["errors"][0]["message"] == "Segment does not exist"
    assert (
        asked(shop, query="customer_tags IS NULL", scopes=frozenset({"read_products"}))["errors"][0]["extensions"]["code"]
        == "ACCESS_DENIED"
    )
