"""An order's flight: each hop says what is, the first that did not pass says what to do next."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from observed_events import NOW, Observed, observed
from observed_orders import LANDED_AT, ORDER, STUCK, build, land, push, refuse, score

from commerce_assets.events import books
from commerce_assets.observability.hops import HOPS, Outcome
from commerce_assets.observability.trace import OrderUnknownError, trace_order


@pytest.fixture
def root(tmp_path: Path) -> Observed:
    return observed(tmp_path)


def outcomes(root: Observed) -> dict[str, str]:
    return {hop.name: hop.outcome.value for hop in trace_order(root.settings, str(ORDER)).hops}


def test_an_order_that_came_by_events_is_followed_through_every_hop(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED, batch_id="b", line=3)
    land(root)
    build(root)
    score(root, NOW - timedelta(seconds=35))
    push(root, NOW - timedelta(seconds=20))
    trace = trace_order(root.settings, "#1001")
    assert [hop.name for hop in trace.hops] == list(HOPS)
    assert {hop.outcome for hop in trace.hops} == {Outcome.DONE}
    assert (trace.order_id, trace.way, trace.stopped_at, trace.next_command) == (ORDER, "events", None, None)
    facts: dict[str, Any] = {hop.name: hop for hop in trace.hops}
    assert facts["landed"].facts["partition"] == "events-20261121T115902000000-orders"
    assert facts["landed"].facts["line"] == 3
    assert facts["in_marts"].facts["build_id"] == "b1"
    assert facts["published"].facts["version"] == "20261121T1"
    assert facts["pushed"].facts["values"] == {"rfm_segment": "loyal"}
    assert [facts[name].latency_seconds for name in ("received", "landed", "published", "scored")] == [2.0, 1.0, 10.0, 5.0]
    assert "arrived" in trace.render()
    assert trace.as_dict()["hops"][0]["at"] == "2026-11-21T11:58:58+00:00"


@pytest.mark.parametrize("given", [str(ORDER), f"gid://shopify/Order/{ORDER}", "#1001", "1001"])
def test_an_order_is_found_by_id_gid_and_name(root: Observed, given: str) -> None:
    root.receive("w1", object_id=ORDER)
    assert trace_order(root.settings, given).order_id == ORDER


def test_an_order_that_nobody_knows_is_said_to_be_unknown(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED)
    for given in ("#9", "9", "gid://shopify/Order/9", "gid://shopify/Order/x", "9" * 20, f"gid://shopify/Order/{2**63}", "²"):
        with pytest.raises(OrderUnknownError, match="commerce worker --once"):
            trace_order(root.settings, given)


@pytest.mark.parametrize(("arrange", "stopped_at", "command"), STUCK, ids=lambda value: getattr(value, "__name__", None))
def test_where_an_order_stopped_comes_with_the_command_that_moves_it_on(
    root: Observed, arrange: Any, stopped_at: str, command: str
) -> None:
    arrange(root)
    trace = trace_order(root.settings, str(ORDER))
    assert (trace.stopped_at, trace.next_command) == (stopped_at, command)
    assert f"next: {command}" in trace.render()
    behind = [hop.outcome for hop in trace.hops[HOPS.index(stopped_at) + 1 :]]
    assert Outcome.DONE not in behind


def test_a_dead_event_stops_an_order_whose_version_before_arrived(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED)
    land(root)
    build(root)
    root.decide(root.receive("w2", "orders/updated", ORDER, ago=10), books.DEAD, reason="OrderShape", attempts=5)
    trace = trace_order(root.settings, str(ORDER))
    assert trace.stopped_at == "validated"
    assert [hop.detail for hop in trace.hops if hop.name == "in_marts"] == ["done with an earlier version"]
    assert [event["state"] for event in trace.events] == ["applied", "dead"]


def test_a_line_in_quarantine_does_not_stop_the_order(root: Observed) -> None:
    land(root, "2026-11-21")
    refuse(root, "order_lines", LANDED_AT)
    found = outcomes(root)
    assert (found["validated"], found["landed"]) == ("partial", "done")


def test_a_guest_has_no_score_and_nothing_to_push(root: Observed) -> None:
    land(root, customer_id=None)
    build(root)
    trace = trace_order(root.settings, str(ORDER))
    assert trace.stopped_at is None
    assert {hop.name: hop.outcome for hop in trace.hops if hop.name in ("scored", "pushed")} == {
        "scored": Outcome.SKIPPED,
        "pushed": Outcome.SKIPPED,
    }


def test_a_build_file_that_is_being_written_is_not_waited_for(root: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    land(root)
    build(root)
    from commerce_assets.observability import facts
    from commerce_assets.warehouse import WarehouseBusyError

    opened = facts.reading_warehouse

    def busy(path: Path, **options: Any) -> Iterator[Any]:
        if path == root.settings.build_path:
            assert options == {"wait_seconds": 0}
            raise WarehouseBusyError("held")
        return opened(path, **options)  # type: ignore[return-value]

    monkeypatch.setattr(facts, "reading_warehouse", busy)
    found = outcomes(root)
    assert [found[name] for name in ("staged", "in_marts", "published")] == ["done", "done", "done"]


def test_a_change_after_the_last_event_came_by_a_pull(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER, ago=90), books.APPLIED)
    land(root, "2026-11-21")
    assert trace_order(root.settings, str(ORDER)).way == "pull"


def test_a_pull_that_brings_the_version_of_an_event_again_does_not_take_its_place(root: Observed) -> None:
    root.decide(root.receive("w1", object_id=ORDER), books.APPLIED, batch_id="b", source_file="storefront/orders/b/payloads.jsonl", line=7)
    land(root, "2026-11-21")
    trace = trace_order(root.settings, str(ORDER))
    landed = trace.hops[HOPS.index("landed")]
    assert (trace.way, landed.facts["file"], landed.facts["line"]) == ("events", "storefront/orders/b/payloads.jsonl", 7)
    assert landed.detail.endswith("partition 2026-11-21, where a later load brought it again")
