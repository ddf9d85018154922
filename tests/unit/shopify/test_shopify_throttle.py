"""The budget: estimates, waits, refunds, and that concurrent threads never collide with the limit."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shopify_fakes import Clock

from commerce_assets.sources.shopify.client import document
from commerce_assets.sources.shopify.throttle import Cost, Throttle, ThrottleStatus, document_size


def cost(requested: float, actual: float | None, available: float, maximum: float = 2_000, rate: float = 100) -> Cost:
    return Cost(requested, actual, ThrottleStatus(maximum, available, rate))


@pytest.mark.parametrize(
    ("text", "variables", "size"),
    [
        ("{ shop { id name } }", {}, 1),
        ("query ($n: Int) { orders(first: $n) { edges { node { id customer { id } } } pageInfo { endCursor } } }", {"n": 5}, 9),
        ("{ orders(last: 3) { nodes { id } } }", {}, 4),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Refund { order { id } } } }", {"ids": ["a", "b"]}, 4),
        ("query ($on: Boolean) { orders(first: 5) @include(if: $on) { nodes { id } } shop { id } }", {"on": False}, 1),
        ("mutation { tagsAdd { node { id } } }", {}, 12),
        ("mutation { a: tagsAdd { node { id } } b: tagsAdd { node { id } } }", {}, 24),
        ("{ ...F } fragment F on QueryRoot { shop { id } }", {}, 1),
    ],
)
def test_the_size_of_a_document_follows_shopifys_rule(text, variables, size):
    assert document_size(text, variables) == size


def test_estimates_follow_what_the_shop_charged():
    throttle = Throttle(Clock())
    query = document("refund_lines")
    before = throttle.estimate(query, {"ids": ["x"] * 10, "first": 10})
    throttle.learn(query, {"ids": ["x"] * 10, "first": 10}, before / 4)
    assert throttle.estimate(query, {"ids": ["x"] * 20, "first": 10}) == pytest.approx(before / 2, abs=1)


def test_a_request_waits_for_what_it_lacks_and_unused_points_come_back():
    clock = Clock()
    throttle = Throttle(clock)
    first = throttle.acquire(2_000, clock.sleep)
    throttle.settle(first, cost(2_000, 500, available=1_500))
    assert clock.slept == []
    second = throttle.acquire(1_700, clock.sleep)
    assert clock.slept == [pytest.approx(2.0)]
    throttle.settle(second, cost(1_700, 1_700, available=0))
    assert throttle.exact_wait_seconds(100) == pytest.approx(1.0)


def test_more_than_the_bucket_holds_waits_for_a_full_bucket():
    clock = Clock()
    throttle = Throttle(clock)
    throttle.settle(throttle.acquire(1, clock.sleep), cost(1, 1, available=0, maximum=1_000, rate=50))
    throttle.acquire(9_999, clock.sleep)
    assert clock.slept == [pytest.approx(20.0)]


def test_an_overtaken_answer_never_raises_the_level():
    clock = Clock()
    throttle = Throttle(clock)
    slow, fast = throttle.acquire(100, clock.sleep), throttle.acquire(100, clock.sleep)
    throttle.settle(fast, cost(100, 100, available=300))
    throttle.settle(slow, cost(100, 100, available=1_900))
    assert throttle.exact_wait_seconds(400) > 0


def test_a_wait_that_is_interrupted_gives_its_points_back():
    clock = Clock()
    throttle = Throttle(clock)
    throttle.acquire(1_500, clock.sleep)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        throttle.acquire(1_500, interrupted)
    assert throttle.exact_wait_seconds(500) == 0


class Bucket:
    """Shopify's own bucket: refuses what it has no points for."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.level, self.at, self.refused = clock, 2_000.0, clock(), 0

    def run(self, requested: float, actual: float) -> Cost:
        self.level = min(2_000.0, self.level + (self.clock() - self.at) * 100)
        self.at = self.clock()
        if requested > self.level + 1e-6:
            self.refused += 1
            return cost(requested, None, self.level)
        self.level -= actual
        return cost(requested, actual, self.level)


@given(st.lists(st.tuples(st.integers(1, 1_000), st.floats(0, 1)), min_size=1, max_size=60))
def test_in_any_sequence_no_request_is_ever_refused(requests):
    clock = Clock()
    throttle, bucket = Throttle(clock), Bucket(clock)
    for requested, share in requests:
        reservation = throttle.acquire(requested, clock.sleep)
        throttle.settle(reservation, bucket.run(requested, requested * share))
    assert bucket.refused == 0


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 3)), min_size=1, max_size=60))
def test_overlapping_requests_are_never_refused_either(requests):
    clock = Clock()
    throttle, bucket = Throttle(clock), Bucket(clock)
    in_flight = []
    for requested, keep in requests:
        reservation = throttle.acquire(requested, clock.sleep)
        in_flight.append((reservation, bucket.run(requested, requested / 2)))
        while len(in_flight) > keep:
            throttle.settle(*in_flight.pop(-1 if keep % 2 else 0))
    assert bucket.refused == 0


def test_threads_share_one_bucket():
    throttle, waits, lock = Throttle(lambda: 0.0), [], threading.Lock()

    def pause(seconds: float) -> None:
        with lock:
            waits.append(seconds)

    threads = [threading.Thread(target=throttle.acquire, args=(500, pause)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [5.0, 10.0]  # 4 fit into 2,000 points; the fifth and sixth wait their turn


def test_how_long_answers_take_is_known_without_the_wait_for_the_budget():
    clock = Clock()
    throttle = Throttle(clock)
    assert throttle.answer_seconds is None
    throttle.settle(throttle.acquire(2_000, clock.sleep), cost(2_000, 2_000, available=0))
    for seconds, expected in ((0.4, 0.04), (0.4, 0.076)):
        reservation = throttle.acquire(100, clock.sleep)
        clock.now += seconds
        throttle.settle(reservation, cost(100, 100, available=0))
        assert throttle.answer_seconds == pytest.approx(expected), "a tenth of each new answer; the waits of a second are not among them"
    throttle.settle(throttle.acquire(1, clock.sleep), None)
    assert throttle.answer_seconds == pytest.approx(0.076), "no answer tells nothing"


def test_what_lies_in_the_bucket_is_told_and_never_negative():
    clock = Clock()
    throttle = Throttle(clock)
    assert throttle.available == 2_000
    throttle.settle(throttle.acquire(10, clock.sleep), cost(10, 10, available=500))
    assert throttle.available == 500
    waiting = threading.Event()
    throttle.acquire(900, lambda seconds: waiting.set())
    assert waiting.is_set()
    assert throttle.available == 0
    clock.now += 5
    assert throttle.available == pytest.approx(100)
