"""What is behind the sources runs when they changed, down to the push, and not when a blocking check is red."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from commerce_assets.defs.automation import at_most_hourly, by_the_clock, by_the_clock_when_green, when_upstream_changed

DAYS = dg.DailyPartitionsDefinition(start_date="2026-11-01", timezone="UTC", end_offset=1)
ORDERS, MART, PUSH = dg.AssetKey(["storefront", "orders"]), dg.AssetKey(["warehouse", "marts", "fct_order"]), dg.AssetKey(["push"])


def graph(mart_check_passes: bool = True, contract_passes: bool = True) -> list[dg.AssetsDefinition]:
    @dg.asset(key=ORDERS, partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("contract_orders", asset=ORDERS, blocking=True)])
    def orders() -> Iterator[dg.MaterializeResult]:
        result = dg.AssetCheckResult(passed=contract_passes, check_name="contract_orders", severity=dg.AssetCheckSeverity.WARN)
        yield dg.MaterializeResult(check_results=[result])

    @dg.asset(
        key=MART,
        deps=[ORDERS],
        check_specs=[dg.AssetCheckSpec("unique", asset=MART, blocking=True)],
        automation_condition=when_upstream_changed(),
    )
    def mart() -> Iterator[dg.MaterializeResult]:
        yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=mart_check_passes, check_name="unique")])

    @dg.asset(key=PUSH, deps=[MART], automation_condition=when_upstream_changed())
    def push() -> None: ...

    return [orders, mart, push]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_one_days_orders_of_many_missing_ones_set_off_all_behind_them(instance: dg.DagsterInstance) -> None:
    definitions = dg.Definitions(graph(contract_passes=False))
    first = dg.evaluate_automation_conditions(definitions, instance)
    assert first.total_requested == 0
    dg.materialize(graph(contract_passes=False), instance=instance, selection=[ORDERS], partition_key="2026-11-02")
    second = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
    assert (second.get_num_requested(MART), second.get_num_requested(PUSH)) == (1, 1)
    third = dg.evaluate_automation_conditions(definitions, instance, cursor=second.cursor)
    assert third.total_requested == 0


def test_a_red_blocking_check_holds_back_what_is_behind_it(instance: dg.DagsterInstance) -> None:
    red = graph(mart_check_passes=False)
    definitions = dg.Definitions(red)
    first = dg.evaluate_automation_conditions(definitions, instance)
    dg.materialize(red, instance=instance, selection=[MART], raise_on_error=False)
    second = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
    assert second.get_num_requested(PUSH) == 0


def test_what_runs_by_the_clock_is_asked_for_once_a_tick(instance: dg.DagsterInstance) -> None:
    @dg.asset(automation_condition=by_the_clock("7 * * * *"))
    def customers() -> None: ...

    definitions = dg.Definitions([customers])

    def at(hour: int, minute: int, cursor: object = None) -> dg.EvaluateAutomationConditionsResult:
        now = datetime(2026, 11, 21, hour, minute, tzinfo=UTC)
        return dg.evaluate_automation_conditions(definitions, instance, evaluation_time=now, cursor=cursor)  # type: ignore[arg-type]

    start = at(10, 0)
    before = at(10, 5, start.cursor)
    due = at(10, 8, before.cursor)
    after = at(10, 9, due.cursor)
    assert [result.total_requested for result in (before, due, after)] == [0, 1, 0]


def test_a_heavy_score_due_by_the_clock_waits_for_a_red_mart_and_runs_once_it_is_green(instance: dg.DagsterInstance) -> None:
    score = dg.AssetKey(["scores", "value"])

    def with_score(passes: bool) -> list[dg.AssetsDefinition]:
        @dg.asset(key=score, deps=[MART], automation_condition=by_the_clock_when_green("25 4 * * *"))
        def value() -> None: ...

        return [*graph(mart_check_passes=passes), value]

    def requested(minute: int, cursor: object = None) -> dg.EvaluateAutomationConditionsResult:
        now = datetime(2026, 11, 21, 4, minute, tzinfo=UTC)
        return dg.evaluate_automation_conditions(dg.Definitions(with_score(True)), instance, evaluation_time=now, cursor=cursor)  # type: ignore[arg-type]

    dg.materialize(with_score(False), instance=instance, selection=[MART], raise_on_error=False)
    start = requested(20)
    red = requested(26, start.cursor)
    dg.materialize(with_score(True), instance=instance, selection=[MART])
    green = requested(30, red.cursor)
    after = requested(31, green.cursor)
    assert [result.get_num_requested(score) for result in (red, green, after)] == [0, 1, 0]


def test_what_may_run_hourly_does_not_follow_every_change(instance: dg.DagsterInstance) -> None:
    source, score = dg.AssetKey("stock"), dg.AssetKey(["scores", "replenishment"])

    @dg.asset(key=source)
    def stock() -> None: ...

    @dg.asset(key=score, deps=[source], automation_condition=when_upstream_changed() & at_most_hourly())
    def replenishment() -> None: ...

    definitions = dg.Definitions([stock, replenishment])

    def requested(hour: int, minute: int, cursor: object = None) -> dg.EvaluateAutomationConditionsResult:
        now = datetime(2026, 11, 21, hour, minute, tzinfo=UTC)
        return dg.evaluate_automation_conditions(definitions, instance, evaluation_time=now, cursor=cursor)  # type: ignore[arg-type]

    cursor, seen = requested(10, 25).cursor, []
    for hour, minute in ((10, 30), (10, 40), (11, 10), (11, 25)):
        dg.materialize([stock], instance=instance)
        result = requested(hour, minute, cursor)
        cursor = result.cursor
        seen.append(result.get_num_requested(score))
        if seen[-1]:
            dg.materialize([replenishment], instance=instance, selection=[score])
    assert seen == [1, 0, 0, 1], "changed four times, run once before the hour's tick and once after it"
