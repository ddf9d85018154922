"""What events landed in is built soon, in one run, and not by one run an event."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from observed_events import Observed, observed

from commerce_assets.defs.events.sensor import FAMILIES_TAG, NAME, LastBuild, events_sensor, families_due
from commerce_assets.events import books

ORDERS, CUSTOMERS = dg.AssetKey(["storefront", "orders"]), dg.AssetKey(["storefront", "customers"])
STG_ORDERS, STG_CUSTOMERS = (dg.AssetKey(["warehouse", "staging", f"stg_storefront__{name}"]) for name in ("orders", "customers"))
FACTS, PEOPLE = dg.AssetKey(["warehouse", "marts", "fct_order"]), dg.AssetKey(["warehouse", "marts", "dim_customer"])
NOW = datetime.now(UTC)


@dg.multi_asset(
    specs=[
        dg.AssetSpec(STG_ORDERS, deps=[ORDERS]),
        dg.AssetSpec(STG_CUSTOMERS, deps=[CUSTOMERS]),
        dg.AssetSpec(FACTS, deps=[STG_ORDERS]),
        dg.AssetSpec(PEOPLE, deps=[STG_CUSTOMERS]),
    ],
    can_subset=True,
)
def dbt_models(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    for key in (STG_ORDERS, STG_CUSTOMERS, FACTS, PEOPLE):
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Observed:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(tmp_path))
    return observed(tmp_path)


def land(root: Observed, family: str, at: datetime, *, status: str = "landed") -> None:
    batch = {"batch_id": f"{at:%Y%m%dT%H%M%S%f}-{family}", "lane": family, "family": family, "kind": "payloads", "status": status}
    root.write(books.BATCHES, [{**batch, "opened_at": at, "finished_at": at}])


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[list[dg.RunRequest], str | None]:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=dg.Definitions([dbt_models]))
    result = events_sensor(dbt_models)(context)
    if isinstance(result, dg.SkipReason):
        return [], cursor
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or []), result.cursor


def test_what_micro_batches_landed_in_is_asked_for_once(root: Observed, instance: dg.DagsterInstance) -> None:
    for seconds in range(5):
        land(root, "orders", NOW - timedelta(seconds=10 + seconds))
    land(root, "customers", NOW, status="open")
    (request,), cursor = tick(instance)
    assert request.asset_selection == [FACTS, STG_ORDERS]
    assert request.tags[FAMILIES_TAG] == "orders"
    assert tick(instance, cursor)[0] == []


def test_a_batch_that_lands_late_under_an_older_name_is_not_missed(root: Observed, instance: dg.DagsterInstance) -> None:
    land(root, "orders", NOW - timedelta(seconds=10))
    _, cursor = tick(instance)
    begun, landed = NOW - timedelta(minutes=5), NOW
    root.write(
        books.BATCHES,
        [
            {
                "batch_id": f"{begun:%Y%m%dT%H%M%S%f}-customers",
                "lane": "customers",
                "family": "customers",
                "kind": "documents",
                "status": "landed",
                "opened_at": begun,
                "finished_at": landed,
            }
        ],
    )
    (request,), _ = tick(instance, cursor)
    assert request.asset_selection == [PEOPLE, STG_CUSTOMERS]


def test_what_a_run_built_after_the_landing_is_not_built_again(root: Observed, instance: dg.DagsterInstance) -> None:
    land(root, "orders", NOW - timedelta(seconds=10))
    assert dg.materialize([dbt_models], instance=instance).success
    requests, cursor = tick(instance)
    assert requests == []
    assert cursor is not None
    assert datetime.fromisoformat(cursor) >= NOW - timedelta(seconds=11)


def test_nothing_is_asked_for_where_no_event_ever_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(tmp_path))
    assert tick(instance)[0] == []
    assert list(tmp_path.iterdir()) == []


def test_one_build_at_a_time_and_nothing_is_forgotten_meanwhile(root: Observed, instance: dg.DagsterInstance) -> None:
    instance.create_run_for_job(
        dg.Definitions([dbt_models]).resolve_implicit_global_asset_job_def(), tags={"dagster/sensor_name": NAME, FAMILIES_TAG: "orders"}
    )
    land(root, "customers", NOW - timedelta(seconds=5))
    assert tick(instance) == ([], None)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, frozenset({"orders"})),
        (LastBuild(frozenset({"customers"}), True, NOW), frozenset({"orders"})),
        (LastBuild(frozenset({"customers"}), False, NOW - timedelta(minutes=10)), frozenset({"orders", "customers"})),
    ],
)
def test_a_failed_build_is_made_good_with_the_next(last: LastBuild | None, expected: frozenset[str]) -> None:
    assert families_due({"orders"}, last, NOW) == expected


def test_a_build_that_keeps_failing_is_not_asked_for_at_every_tick() -> None:
    assert isinstance(families_due({"orders"}, LastBuild(frozenset({"orders"}), False, NOW - timedelta(minutes=1)), NOW), str)
