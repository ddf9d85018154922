"""Costs of queries, and the leaky bucket."""

import pytest
from graphql import OperationDefinitionNode, parse
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.sandbox.cost import Bucket, CostModel, scale
from commerce_assets.sandbox.schema import load_schema


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{ shop { name } }", 1),
        ("{ orders(first: 1) { nodes { id } } }", 3),
        ("{ orders(first: 10) { nodes { id } } }", 6),
        ("{ products(first: 250) { nodes { id } pageInfo { hasNextPage } } }", 13),
        ("{ productsCount { count } }", 10),
        ("{ orders(first: 50) { nodes { id lineItems(first: 5) { nodes { id } } totalPriceSet { shopMoney { amount } } } } }", 44),
        ('mutation { tagsAdd(id: "gid://shopify/Order/1", tags: "a") { node { id } userErrors { message } } }', 10),
    ],
)
def test_requested_costs(text: str, cost: int):
    document = parse(text)
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    assert CostModel(load_schema()).requested(document, operation, {}) == cost


@given(st.integers(1, 249))
def test_a_larger_page_never_costs_less(count: int):
    assert scale(count) <= scale(count + 1)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_refuses_what_it_does_not_hold_and_refills_at_its_rate():
    clock = Clock()
    bucket = Bucket(100, clock)
    assert bucket.status() == {"maximumAvailable": 2000, "currentlyAvailable": 2000, "restoreRate": 100}
    assert bucket.take(1990)
    assert not bucket.take(11)
    clock.now = 1.0
    assert bucket.status()["currentlyAvailable"] == 110
    assert bucket.take(110)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 1000), st.integers(0, 1000)), max_size=30))
def test_a_bucket_is_never_overdrawn_or_overfull(steps: list[tuple[float, int, int]]):
    clock = Clock()
    bucket = Bucket(100, clock)
    for seconds, asked, used in steps:
        clock.now += seconds
        if bucket.take(asked):
            bucket.give_back(asked - min(asked, used))
        assert 0 <= bucket.status()["currentlyAvailable"] <= 2000
