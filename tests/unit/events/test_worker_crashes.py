"""Dying anywhere loses nothing and repeats nothing visible; whatever the order of events, the same state comes out."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from event_fakes import EPOCH, Killed, Office, moment, order_body, transaction_body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commerce_assets.events import books, fetcher, lander, lanes
from commerce_assets.events.database import reading


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def kill() -> None:
    raise Killed


def kill_in(office: Office, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Die at a place of the cycle, once."""
    if place == "before the landing":
        office.lake.hook = lambda family, rows: kill()
    elif place == "after the landing":
        office.lake.after = kill
    elif place == "while fetching":
        office.shop.fault = kill
    else:
        modules, name = {
            "in the first transaction": ((lanes, fetcher), "open_batch"),
            "in the second transaction": ((lander, fetcher), "finish_batch"),
        }[place]
        original: Callable[..., None] = getattr(modules[0], name)

        def then_die(*arguments: object) -> None:
            original(*arguments)
            kill()

        for module in modules:
            monkeypatch.setattr(module, name, then_die)


def revive(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    office.lake.hook, office.lake.after, office.shop.fault = (lambda family, rows: None), (lambda: None), (lambda: None)
    office.restart()


@pytest.mark.parametrize(
    "place",
    ["in the first transaction", "before the landing", "after the landing", "in the second transaction", "while fetching"],
)
def test_dying_anywhere_and_starting_anew_ends_as_if_nothing_had_been(office: Office, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    office.shop.put("Order", 3, 20, transactions=[30])
    office.send("orders/create", order_body(1, 10), second=10)
    office.send("order_transactions/create", transaction_body(1, 7, 10), second=10)
    office.send("orders/create", order_body(2, 10), second=10)
    office.send("orders/delete", {"id": 2}, second=11)
    office.send("order_transactions/create", transaction_body(3, 30, 20), second=20)
    office.send("orders/updated", order_body(3, 20), second=20)
    kill_in(office, monkeypatch, place)
    for _ in range(3):
        with pytest.raises(Killed):
            office.drain()
        office.restart()
    revive(office, monkeypatch)
    office.drain()
    assert sorted(office.states().values()) == ["applied"] * 5 + ["superseded"]
    assert office.lake.order(1) == {"version": moment(10), "transactions": [7], "refunds": []}
    assert office.lake.order(3) == {"version": moment(20), "transactions": [30], "refunds": []}
    assert office.lake.deleted() == {("order", 2)}
    assert len(office.lake.documents("orders")) == 2, "landed again under the same id, not beside"
    with reading(office.engine) as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(books.BATCHES.c.status == "open")) == 0
        batches = set(connection.scalars(sa.select(books.BATCHES.c.batch_id).where(books.BATCHES.c.status == "landed")))
    assert {report.batch_id for report in office.reporter.reports} == batches
    assert len(office.reporter.reports) == len(batches)


class History:
    """What happened in a shop, step by step, and the events it sent. Some steps fall into one second, as they do."""

    def __init__(self, steps: list[tuple[int, str, int]]) -> None:
        self.orders: dict[int, dict[str, object]] = {}
        self.clock = 0
        self.steps = steps
        self.next_id = 100

    def advance(self, office: Office) -> list[tuple[str, dict[str, object]]]:
        """The next step: the shop's truth changes; the events that tell of it."""
        if not self.steps:
            return []
        order_id, action, passed = self.steps.pop(0)
        self.clock += passed
        if order_id not in self.orders:
            self.orders[order_id] = {"transactions": set(), "refunds": set()}
            action = "create"
        order = self.orders[order_id]
        self.next_id += 1
        part: list[tuple[str, dict[str, object]]] = []
        if action == "pay":
            order["transactions"].add(self.next_id)  # type: ignore[attr-defined]
            part = [("order_transactions/create", transaction_body(order_id, self.next_id, self.clock))]
        elif action == "refund":
            order["refunds"].add(self.next_id)  # type: ignore[attr-defined]
            part = [("refunds/create", {"id": self.next_id, "order_id": order_id, "created_at": moment(self.clock)})]
        office.shop.put("Order", order_id, self.clock, **order)
        refunds = [{"id": each} for each in sorted(order["refunds"])]  # type: ignore[call-overload]
        body = order_body(order_id, self.clock, refunds=refunds, note=str(self.next_id))
        return [("orders/create" if action == "create" else "orders/updated", body), *part]


STEPS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["pay", "refund", "update"]), st.integers(0, 2)), min_size=1, max_size=9)
ACTS = st.lists(
    st.tuples(st.sampled_from(["advance", "deliver", "deliver", "repeat", "decide", "land", "fetch"]), st.integers(0, 30)), max_size=50
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(steps=STEPS, acts=ACTS)
def test_any_order_and_repetition_of_events_comes_to_the_shops_state(
    steps: list[tuple[int, str, int]], acts: list[tuple[str, int]]
) -> None:
    history = History(list(steps))
    # However it began: at last everything has happened and was delivered.
    acts = [*acts, *[("advance", 0)] * len(steps), *[("deliver", number) for number in range(3 * len(steps))]]
    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        steps = {"decide": office.worker.lanes, "land": office.worker.landers, "fetch": office.worker.fetchers}
        waiting: list[tuple[str, dict[str, object], float]] = []
        sent = 0

        def act(what: str, number: int) -> None:
            nonlocal sent
            if what == "advance":
                triggered = (datetime.now(UTC) - EPOCH).total_seconds()
                waiting.extend((topic, body, triggered) for topic, body in history.advance(office))
            elif what in ("deliver", "repeat") and waiting:
                place = number % len(waiting)
                office.send(*(waiting.pop(place) if what == "deliver" else waiting[place]))
                sent += 1
            elif what in steps:
                if what == "fetch" and number % 2:
                    # The shop goes on while it answers, and its events overtake the answer.
                    office.shop.meanwhile = partial(go_on, number)
                steps[what]["orders"].step()
                office.shop.meanwhile = lambda: None

        def go_on(number: int) -> None:
            for what in ("advance", "deliver", "deliver", "decide", "land"):
                act(what, number)

        for what, number in acts:
            act(what, number)
        assert not waiting
        office.drain()
        states = office.states()
        assert len(states) == sent
        assert set(states.values()) <= {"applied", "superseded", "duplicate"}
        for order_id, order in history.orders.items():
            truth = {name: sorted(order[name]) for name in ("transactions", "refunds")}  # type: ignore[call-overload]
            seen = office.lake.order(order_id)
            assert seen is not None
            assert {name: seen[name] for name in truth} == truth, f"order {order_id}"
            assert seen["version"] == office.shop.objects[("Order", order_id)]["updated_at"]
        office.close()
