"""The shop's budget: what a push is expected to cost and last, which path it takes, how many calls go at once, and what it really spent."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from activation_fakes import FakeShop
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.activation.destinations.shopify import (
    METAFIELDS_A_CALL,
    CustomerMapping,
    MetafieldTarget,
    ShopifyObjects,
    _packed,
    _Work,
)
from commerce_assets.activation.destinations.shopify_budget import MOST_WORKERS, Budget, Pace, Workload
from commerce_assets.activation.records import Change

TARGETS = tuple(MetafieldTarget(f"f{n}", "commerce", f"key_{n}", "single_line_text_field", f"F{n}", "") for n in range(9))
MAPPING = CustomerMapping(TARGETS, tags_field="tags", managed_prefixes=("lifecycle:",))
EMPTY: dict[str, str | None] = {**{target.field: None for target in TARGETS}, "tags": None}


def gid(number: int) -> str:
    return f"gid://shopify/Customer/{number}"


@dataclass
class Status:
    restore_rate: float


@dataclass
class Account:
    """What a client's throttle tells."""

    status: Status | None = None
    available: float = 2_000.0
    answer_seconds: float | None = None


@dataclass
class Spending:
    cost: float = 0.0
    throttled: int = 0


@dataclass
class CountingShop(FakeShop):
    """A shop whose client keeps account: each call costs 10, and each answer tells what is restored."""

    rate: float = 1_000.0
    throttle: Account = field(default_factory=Account)
    meter: Spending = field(default_factory=lambda: Spending(cost=77.0, throttled=5))

    def __post_init__(self) -> None:
        super().__init__(gid(number) for number in range(1, 301))
        self.most_at_once = 0
        self.at_once = 0
        self.gate = threading.Lock()
        self.wait = threading.Event()

    def execute(self, text: str, variables: Mapping[str, Any] | None = None, *, idempotent: bool = False) -> dict[str, Any]:
        with self.gate:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if "TagsAdd" in text:
            self.wait.wait(0.01)
        try:
            return super().execute(text, variables, idempotent=idempotent)
        finally:
            with self.gate:
                self.at_once -= 1
                self.throttle.status = Status(self.rate)
                self.throttle.answer_seconds = 0.3
                self.meter.cost += 10


def load(creates: int = 0, updates: int = 0, removals: int = 0, **more: Any) -> Workload:
    given = {"objects_a_call": 2, "has_tags": True, "direct_chunk_rows": 250, "bulk_chunk_rows": 50_000, **more}
    return Workload(creates, updates, removals, **given)


def test_a_direct_push_lasts_until_its_points_are_restored() -> None:
    empty = Budget(rate=100, available=0, answer_seconds=0.1)
    new = load(creates=1_000)
    assert new.direct_points == 500 * 10 + 1_000 * 10 + 20 * 10
    assert new.direct_seconds(empty) == pytest.approx(152)
    assert new.direct_seconds(Budget(rate=100, available=2_000, answer_seconds=0.1)) == pytest.approx(132)
    assert new.direct_seconds(Budget(rate=1_000, available=0, answer_seconds=0.1)) == pytest.approx(15.2)


def test_within_the_bucket_it_lasts_until_its_answers_have_come() -> None:
    rich = Budget(rate=1_000, available=20_000, answer_seconds=0.3)
    assert rich.workers == 60
    assert load(creates=100).direct_seconds(rich) == pytest.approx(0.3 * (152 / 60 + 3))


def test_calls_in_flight_follow_the_budget_within_bounds() -> None:
    assert [Budget(rate, 0, 0.3).workers for rate in (100, 200, 1_000, 2_000)] == [6, 12, 60, MOST_WORKERS]
    assert Budget(100, 0, 0.01).workers == 4


def test_known_objects_may_have_a_tag_to_remove_and_removed_ones_no_metafields_to_set() -> None:
    assert load(updates=10).mutations == 5 + 10 + 10
    assert load(removals=10).mutations == 5 + 10
    assert load(updates=10, has_tags=False).mutations == 5
    assert (load(removals=10).operations, load(creates=10).operations, load(updates=10).operations) == (1, 2, 3)
    assert load(updates=10, has_tags=False).operations == 1
    assert load(updates=120_000, has_tags=False).operations == 3, "50,000 rows a file"


def test_bulk_mutations_last_for_their_start_and_their_rows() -> None:
    assert load(creates=600).bulk_seconds(Budget(), Pace(fixed_seconds=10, rows_a_second=20)) == pytest.approx(2 * 10 + 1_200 / 20)


@pytest.mark.parametrize(("rate", "quicker_in_bulk_from"), [(100.0, 1_000), (200.0, None), (1_000.0, None)])
def test_what_is_quicker_depends_on_the_plan(rate: float, quicker_in_bulk_from: int | None) -> None:
    budget = Budget(rate, rate * 20, 0.3)
    quicker = [
        n
        for n in (100, 250, 500, 1_000, 5_000, 50_000)
        if load(creates=n).bulk_seconds(budget, Pace()) < load(creates=n).direct_seconds(budget)
    ]
    assert (quicker[0] if quicker else None) == quicker_in_bulk_from


@given(st.integers(0, 200_000), st.integers(0, 200_000), st.integers(0, 200_000), st.sampled_from([100.0, 200.0, 1_000.0, 2_000.0]))
def test_more_work_never_takes_less(creates: int, updates: int, removals: int, rate: float) -> None:
    budget = Budget(rate, rate * 20)
    less, more = load(creates, updates, removals), load(creates + 50, updates + 1, removals + 1)
    assert more.direct_points > less.direct_points
    assert more.direct_seconds(budget) >= less.direct_seconds(budget)
    assert more.bulk_seconds(budget, Pace()) >= less.bulk_seconds(budget, Pace())


def test_the_model_chooses_and_a_threshold_overrides_it() -> None:
    quick, slow = Pace(fixed_seconds=1, rows_a_second=1_000), Pace(fixed_seconds=60, rows_a_second=1)
    shop = FakeShop()

    def path(count: int, **options: Any) -> str:
        return ShopifyObjects(shop, MAPPING, **options).estimate(count, 0, 0).path

    assert path(1_000, bulk=shop.run_bulk, pace=quick) == "bulk"
    assert path(1_000, bulk=shop.run_bulk, pace=slow) == "direct"
    assert path(1_000, bulk=shop.run_bulk, pace=quick, bulk_threshold=1_000) == "direct"
    assert path(1_001, bulk=shop.run_bulk, pace=slow, bulk_threshold=1_000) == "bulk"
    assert path(100_000, pace=quick) == "direct", "without a way to run bulk mutations"
    assert path(0, bulk=shop.run_bulk, pace=quick) == "direct"


def test_who_yields_to_others_never_goes_in_bulk() -> None:
    shop = FakeShop()
    mapping = CustomerMapping(TARGETS, yields_to_others=True)
    assert ShopifyObjects(shop, mapping, bulk=shop.run_bulk, bulk_threshold=0).estimate(5_000, 0, 0).path == "direct"


def test_an_estimate_says_seconds_and_asks_the_shop_once_for_what_it_restores() -> None:
    shop = CountingShop()
    destination = ShopifyObjects(shop, MAPPING)
    assert destination.estimate(0, 0, 0).seconds == 0
    assert shop.calls == {}, "nothing to do, nothing to ask"
    first = destination.estimate(300, 0, 0)
    assert first.seconds == pytest.approx(load(creates=300).direct_seconds(Budget(1_000, 2_000, 0.3)))
    destination.estimate(300, 0, 0)
    assert destination.problems() == []
    assert shop.calls == {"accessScopes": 1}


def test_an_estimate_survives_a_shop_that_does_not_answer() -> None:
    shop = CountingShop()
    shop.throttle.status = None

    def fault(operation: str, _: Any) -> str | None:
        return "before"

    shop.fault = fault
    destination = ShopifyObjects(shop, MAPPING)
    assert destination.estimate(100, 0, 0).path == "direct"
    assert len(destination.problems()) == 1


def test_the_meter_holds_what_was_spent_since_the_destination_was_made() -> None:
    shop = CountingShop()
    destination = ShopifyObjects(shop, MAPPING)
    fields: dict[str, str | None] = {**EMPTY, "f0": "v", "tags": "lifecycle:new"}
    changes = [Change(gid(number), "create", fields, EMPTY, None, "f", str(number)) for number in range(1, 301)]
    assert sum(result.outcome == "succeeded" for result in destination.load(changes, "direct")) == 300
    meter = destination.meter
    assert (meter.requests, meter.points, meter.throttled, meter.points_a_second) == (312, 3_120, 0, 1_000.0)
    assert meter.by_operation == {"metafields_set": 12, "tags_add": 300}
    shop.meter.throttled += 2
    destination.settle()
    assert destination.meter.throttled == 2


def test_a_large_budget_has_many_calls_in_flight_and_a_small_one_few() -> None:
    most = {}
    for rate in (100.0, 1_000.0):
        shop = CountingShop(rate=rate)
        shop.throttle = Account(Status(rate), available=rate * 20, answer_seconds=0.3)
        changes = [Change(gid(n), "update", {**EMPTY, "tags": "lifecycle:new"}, EMPTY, "o", "f", str(n)) for n in range(1, 301)]
        list(ShopifyObjects(shop, MAPPING).load(changes, "direct"))
        most[rate] = shop.most_at_once
    assert most[100.0] <= 6
    assert 6 < most[1_000.0] <= 60


@given(st.lists(st.integers(1, 25), max_size=60))
def test_batches_hold_whole_objects_and_are_as_full_as_they_get(sizes: list[int]) -> None:
    change = Change("k", "update", {}, {}, None, None, "k")
    works = [_Work(change, {}, None, sets=[(TARGETS[0], "v")] * size) for size in sizes]  # type: ignore[arg-type]
    batches = _packed(works, lambda work: len(work.sets))
    assert sorted(id(work) for batch in batches for work in batch) == sorted(id(work) for work in works)
    filled = [sum(len(work.sets) for work in batch) for batch in batches]
    assert all(size <= METAFIELDS_A_CALL for size in filled)
    assert sum(size <= METAFIELDS_A_CALL // 2 for size in filled) <= 1, "two half-empty calls would have been one"
