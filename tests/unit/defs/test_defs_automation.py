"""What is behind the sources runs when they changed, down to the push, and not when a blocking check is red."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from commerce_assets.defs.automation import by_the_clock, when_upstream_changed

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
