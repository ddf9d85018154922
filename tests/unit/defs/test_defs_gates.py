"""The gate looks at how blocking checks upstream last ended, whoever launches the asset behind it."""

from collections.abc import Iterator

import dagster as dg
import pytest

from commerce_assets.defs.gates import gate_before

ROOT, MIDDLE, PUSH = dg.AssetKey(["root"]), dg.AssetKey(["middle"]), dg.AssetKey(["push"])


def graph(
    passed: bool = True, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR, blocking: bool = True
) -> list[dg.AssetsDefinition]:
    @dg.asset(key=ROOT, check_specs=[dg.AssetCheckSpec("sound", asset=ROOT, blocking=blocking)])
    def root() -> Iterator[dg.MaterializeResult]:
        yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=passed, check_name="sound", severity=severity)])

    @dg.asset(key=MIDDLE, deps=[ROOT])
    def middle() -> None: ...

    gate = gate_before([MIDDLE], [root, middle])

    @dg.asset(key=PUSH, deps=[MIDDLE])
    def push(context: dg.AssetExecutionContext) -> None:
        gate.refuse_when_shut(context.instance, "push")

    return [root, middle, push]


def run(instance: dg.DagsterInstance, assets: list[dg.AssetsDefinition], *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    return dg.materialize(assets, instance=instance, selection=list(keys), raise_on_error=False)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_a_push_launched_alone_is_refused_after_a_blocking_check_upstream_of_its_parents_failed(instance: dg.DagsterInstance) -> None:
    assets = graph(passed=False)
    run(instance, assets, ROOT)
    result = run(instance, assets, PUSH)
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "root:sound last failed" in failure.user_failure_data.description


def test_it_goes_through_when_the_check_passes_again(instance: dg.DagsterInstance) -> None:
    run(instance, graph(passed=False), ROOT)
    assets = graph(passed=True)
    run(instance, assets, ROOT)
    assert run(instance, assets, PUSH).success


@pytest.mark.parametrize(("severity", "blocking"), [(dg.AssetCheckSeverity.WARN, True), (dg.AssetCheckSeverity.ERROR, False)])
def test_warnings_and_checks_that_do_not_block_do_not_shut_it(
    instance: dg.DagsterInstance, severity: dg.AssetCheckSeverity, blocking: bool
) -> None:
    assets = graph(passed=False, severity=severity, blocking=blocking)
    run(instance, assets, ROOT)
    assert run(instance, assets, PUSH).success


def test_checks_that_never_ran_do_not_shut_it(instance: dg.DagsterInstance) -> None:
    assert run(instance, graph(), PUSH).success


def test_a_check_planned_by_a_run_that_ended_before_it_shuts_it(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=ROOT, check_specs=[dg.AssetCheckSpec("sound", asset=ROOT, blocking=True)])
    def root() -> Iterator[dg.MaterializeResult]:
        raise ValueError("killed before its check")
        yield

    assets = graph()
    run(instance, [root], ROOT)
    result = run(instance, assets, PUSH)
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "was planned by a run that ended before it" in failure.user_failure_data.description


def test_a_pull_that_ended_before_its_checks_does_not_shut_it(instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey(["storefront", "orders"])

    @dg.asset(key=key, check_specs=[dg.AssetCheckSpec("contract_orders", asset=key, blocking=True)])
    def orders() -> Iterator[dg.MaterializeResult]:
        raise ConnectionError("the shop is away; nothing was replaced")
        yield

    run(instance, [orders], key)
    assert gate_before([key], [orders]).obstacles(instance) == []
