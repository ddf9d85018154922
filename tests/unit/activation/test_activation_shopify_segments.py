"""Segments at the storefront: made once, corrected where they differ, counted; against a shop in memory and the sandbox."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from inprocess_shop import InProcessShop
from sandbox_shop import CUSTOMER, Shop

from commerce_assets.activation.destinations.shopify_segments import ShopifySegments, StorefrontSegment, StorefrontSegmentState
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError

LAPSED = StorefrontSegment("lapsed", "Lapsed", "customer_tags CONTAINS 'lifecycle:lapsed'")
VIP = StorefrontSegment("vip", "VIP", "customer_tags CONTAINS 'lifecycle:vip'")


class Segments:
    """Segments by gid, the oldest first, in pages of two; `lose` cuts the next answer to an operation, after it took effect."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.lose: str | None = None
        self.refusal: str | None = None

    def put(self, name: str, query: str) -> str:
        gid = f"gid://shopify/Segment/{len(self.held) + 1}"
        self.held[gid] = {"id": gid, "name": name, "query": query}
        return gid

    def execute(self, text: str, variables: Mapping[str, Any] | None = None, *, idempotent: bool = False) -> dict[str, Any]:
        operation = text.split("(")[0].split()[1]
        given = dict(variables or {})
        self.calls.append(operation)
        assert operation != "SegmentCreate" or not idempotent, "made twice, there would be two"
        data = getattr(self, f"_{operation}")(**given)
        if self.lose == operation:
            self.lose = None
            raise ConnectionError("cut")
        return dict(data)

    def _Segments(self, after: str | None) -> dict[str, Any]:
        nodes = list(self.held.values())
        start = int(after or 0)
        page = {"hasNextPage": start + 2 < len(nodes), "endCursor": str(start + 2)}
        return {"segments": {"nodes": nodes[start : start + 2], "pageInfo": page}}

    def _SegmentCreate(self, name: str, query: str) -> dict[str, Any]:
        if self.refusal:
            return {"segmentCreate": {"segment": None, "userErrors": [{"field": ["query"], "message": self.refusal}]}}
        return {"segmentCreate": {"segment": self.held[self.put(name, query)], "userErrors": []}}

    def _SegmentUpdate(self, id: str, name: str, query: str) -> dict[str, Any]:
        self.held[id] |= {"name": name, "query": query}
        return {"segmentUpdate": {"segment": self.held[id], "userErrors": []}}

    def _SegmentMembers(self, id: str) -> dict[str, Any]:
        return {"customerSegmentMembers": {"totalCount": len(self.held[id]["query"])}}


def test_segments_are_made_once_and_then_left_alone() -> None:
    shop = Segments()
    shop.put("Merchant's own", "number_of_orders > 5")
    states = ShopifySegments(shop).ensure([LAPSED, VIP])
    assert states == [
        StorefrontSegmentState("lapsed", "gid://shopify/Segment/2", len(LAPSED.query), "created"),
        StorefrontSegmentState("vip", "gid://shopify/Segment/3", len(VIP.query), "created"),
    ]
    before = {gid: dict(segment) for gid, segment in shop.held.items()}
    again = ShopifySegments(shop).ensure([VIP, LAPSED])
    assert [(state.name, state.changed) for state in again] == [("vip", "unchanged"), ("lapsed", "unchanged")]
    assert shop.held == before


def test_another_query_is_corrected_and_other_spaces_are_not() -> None:
    shop = Segments()
    shop.put("Lapsed", "customer_tags  CONTAINS 'lifecycle:lapsed' ")
    shop.put("VIP", "customer_tags CONTAINS 'vip'")
    states = ShopifySegments(shop).ensure([LAPSED, VIP])
    assert [state.changed for state in states] == ["unchanged", "updated"]
    assert shop.held["gid://shopify/Segment/2"]["query"] == VIP.query


def test_a_renamed_segment_is_found_by_its_gid() -> None:
    shop = Segments()
    gid = shop.put("Old name", LAPSED.query)
    (state,) = ShopifySegments(shop).ensure([LAPSED], {"lapsed": gid})
    assert (state.gid, state.changed) == (gid, "updated")
    assert [segment["name"] for segment in shop.held.values()] == ["Lapsed"]


def test_a_segment_deleted_by_the_merchant_is_made_again() -> None:
    shop = Segments()
    (state,) = ShopifySegments(shop).ensure([LAPSED], {"lapsed": "gid://shopify/Segment/99"})
    assert state.changed == "created"


def test_a_prefix_keeps_a_merchants_segment_of_that_name_apart() -> None:
    shop = Segments()
    shop.put("Lapsed", "number_of_orders = 0")
    shop.put("CRM: VIP", VIP.query)
    states = ShopifySegments(shop, prefix="CRM: ").ensure([LAPSED, VIP])
    assert [state.changed for state in states] == ["created", "unchanged"]
    assert sorted(segment["name"] for segment in shop.held.values()) == ["CRM: Lapsed", "CRM: VIP", "Lapsed"]


def test_a_creation_whose_answer_was_lost_makes_no_second_one() -> None:
    shop = Segments()
    shop.lose = "SegmentCreate"
    (state,) = ShopifySegments(shop).ensure([LAPSED])
    assert (state.changed, len(shop.held)) == ("created", 1)


def test_a_run_killed_between_two_segments_is_finished_by_the_next() -> None:
    shop = Segments()
    shop.lose = "SegmentMembers"
    with pytest.raises(DestinationUnavailableError, match="cut"):
        ShopifySegments(shop).ensure([LAPSED, VIP])
    assert [state.changed for state in ShopifySegments(shop).ensure([LAPSED, VIP])] == ["unchanged", "created"]
    assert len(shop.held) == 2


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([StorefrontSegment("a", "x" * 256, "q")], "the name of segment a has 256 characters"),
        ([StorefrontSegment("a", " ", "q")], "the name of segment a has 1 characters"),
        ([StorefrontSegment("a", "A", "q" * 5_001)], "the query of segment a has 5001 characters"),
        ([StorefrontSegment("a", "A", "q"), StorefrontSegment("b", "A", "q")], "'A' is the name of two segments"),
    ],
)
def test_what_the_shop_would_refuse_is_refused_before_any_call(segments: list[StorefrontSegment], message: str) -> None:
    shop = Segments()
    with pytest.raises(DestinationError, match=f"{message}.*nothing was written"):
        ShopifySegments(shop).ensure(segments)
    assert shop.calls == []


def test_no_more_segments_than_a_shop_may_have() -> None:
    shop = Segments()
    for number in range(5_999):
        shop.put(f"Segment {number}", "q")
    shop._Segments = lambda after: {"segments": {"nodes": list(shop.held.values()), "pageInfo": {"hasNextPage": False}}}  # type: ignore[method-assign]
    with pytest.raises(DestinationError, match="5,999 segments and may have 6,000: 2 more"):
        ShopifySegments(shop).ensure([LAPSED, VIP])
    assert len(shop.held) == 5_999


def test_a_refused_query_is_said_with_what_to_do() -> None:
    shop = Segments()
    shop.refusal = "Query Line 1 Column 0: 'metafields.commerce.x' filter cannot be found."
    with pytest.raises(DestinationError, match=r"filter cannot be found.*push its sync first"):
        ShopifySegments(shop).ensure([LAPSED])


def test_nothing_wanted_asks_nobody() -> None:
    shop = Segments()
    assert ShopifySegments(shop).ensure([]) == []
    assert shop.calls == []


def test_the_sandbox_counts_the_members_of_what_was_made(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.done("tagsAdd", id=CUSTOMER, tags=["lifecycle:lapsed"])
    client = InProcessShop(shop.store).client()
    states = ShopifySegments(client).ensure([LAPSED, VIP])
    assert [(state.member_count, state.changed) for state in states] == [(1, "created"), (0, "created")]
    shop.done("tagsAdd", id=CUSTOMER, tags=["lifecycle:vip"])
    shop.done("tagsRemove", id=CUSTOMER, tags=["lifecycle:lapsed"])
    states = ShopifySegments(client).ensure([LAPSED, VIP])
    assert [(state.member_count, state.changed) for state in states] == [(0, "unchanged"), (1, "unchanged")]
    unknown = StorefrontSegment("risk", "Risk", "metafields.commerce.churn_risk = 'high'")
    with pytest.raises(DestinationError, match="push its sync first"):
        ShopifySegments(client).ensure([unknown])
    definition = {"name": "Churn", "namespace": "commerce", "key": "churn_risk", "ownerType": "CUSTOMER", "type": "single_line_text_field"}
    shop.done("metafieldDefinitionCreate", definition=definition)
    assert [state.member_count for state in ShopifySegments(client).ensure([unknown])] == [0]
