"""The graph as it is meant to be: every key with what it depends on, when it runs, what checks it; a change shows as a diff to read.

Refresh with `COMMERCE_REFRESH_SNAPSHOT=1 pytest tests/graph`, then read the diff.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

pytestmark = pytest.mark.xdist_group("graph")
"""On one worker: elsewhere all would be parsed and built once more."""
SNAPSHOT = Path(__file__).parent / "graph_snapshot.json"


@pytest.fixture(scope="module")
def parsed_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data root for all that is built here: dbt parses its project once a root, for six seconds."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def definitions(parsed_root: Path) -> Iterator[dg.Definitions]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMERCE_DATA_ROOT", str(parsed_root))
        patch.delenv("SHOPIFY_SHOP", raising=False)
        from commerce_assets.definitions import build_defs

        yield build_defs()


def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return sorted(definitions.resolve_all_asset_specs(), key=lambda spec: spec.key)


def described(definitions: dg.Definitions) -> dict[str, Any]:
    graph = definitions.resolve_asset_graph()
    checks: dict[dg.AssetKey, dict[str, str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key, {})[key.name] = "blocking" if graph.get(key).blocking else "warning"
    assets = {
        spec.key.to_user_string(): described_asset(spec, graph.get(spec.key), checks.get(spec.key, {})) for spec in specs(definitions)
    }
    repository = definitions.get_repository_def()
    return {
        "assets": assets,
        "schedules": {schedule.name: schedule.cron_schedule for schedule in sorted(repository.schedule_defs, key=lambda one: one.name)},
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
    }


def described_asset(spec: dg.AssetSpec, node: Any, checks: dict[str, str]) -> dict[str, Any]:
    policy = spec.freshness_policy
    return {
        "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
        "group": spec.group_name,
        "owners": sorted(spec.owners),
        "kinds": sorted(spec.kinds),
        "tags": {name: value for name, value in sorted(spec.tags.items()) if not name.startswith("dagster/")},
        "freshness_hours": [
            policy.warn_window.to_timedelta().total_seconds() / 3600,
            policy.fail_window.to_timedelta().total_seconds() / 3600,
        ],
        "automation": spec.automation_condition.get_label() or type(spec.automation_condition).__name__
        if spec.automation_condition
        else None,
        "partitions": type(spec.partitions_def).__name__ if spec.partitions_def else None,
        "pools": sorted(node.pools),
        "checks": dict(sorted(checks.items())),
    }


def test_the_graph_is_the_snapshot(definitions: dg.Definitions) -> None:
    found = described(definitions)
    if os.environ.get("COMMERCE_REFRESH_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    expected = json.loads(SNAPSHOT.read_text())
    assert sorted(found["assets"]) == sorted(expected["assets"])
    for key, asset in expected["assets"].items():
        assert found["assets"][key] == asset, f"{key} changed: refresh the snapshot when that is meant"
    assert {name: part for name, part in found.items() if name != "assets"} == {
        name: part for name, part in expected.items() if name != "assets"
    }


def test_every_asset_says_what_it_is_whose_and_how_critical(definitions: dg.Definitions) -> None:
    lacking = {
        spec.key.to_user_string(): missing
        for spec in specs(definitions)
        if (
            missing := [
                name
                for name, value in {
                    "description": spec.description,
                    "owner": spec.owners,
                    "group": spec.group_name,
                    "kinds": spec.kinds,
                    "tier": spec.tags.get("tier"),
                    "domain": spec.tags.get("domain"),
                    "pii": spec.tags.get("pii"),
                    "freshness": spec.freshness_policy,
                }.items()
                if not value
            ]
        )
    }
    assert lacking == {}


def test_every_table_shows_its_columns(definitions: dg.Definitions) -> None:
    without = [
        spec.key.to_user_string()
        for spec in specs(definitions)
        if spec.key.path[0] in ("storefront", "warehouse", "scores")
        and spec.key.path[-1] != "published"
        and not spec.metadata.get("dagster/column_schema")
    ]
    assert without == []


def test_everything_that_writes_the_build_or_the_published_file_is_in_the_pool(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    outside = [
        spec.key.to_user_string()
        for spec in specs(definitions)
        if spec.key.path[0] == "warehouse" and graph.get(spec.key).pools != {"duckdb_warehouse"}
    ]
    assert outside == []


def test_automation_reaches_from_every_source_to_the_push(definitions: dg.Definitions) -> None:
    unconditioned = sorted(spec.key.to_user_string() for spec in specs(definitions) if spec.automation_condition is None)
    assert unconditioned == ["storefront/ids", "storefront/inventory", "storefront/orders"], (
        "these three are scheduled; all else is declarative"
    )
    push = dg.AssetKey(["activation", "shopify", "customer_scores"])
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_ancestor_asset_keys(push)} >= {
        "storefront/orders",
        "storefront/customers",
        "scores/customer_rfm",
    }


def test_every_dep_is_an_asset_of_the_graph(definitions: dg.Definitions) -> None:
    known = {spec.key for spec in specs(definitions)}
    dangling = {
        spec.key.to_user_string(): sorted(dep.asset_key.to_user_string() for dep in spec.deps if dep.asset_key not in known)
        for spec in specs(definitions)
    }
    assert {key: deps for key, deps in dangling.items() if deps} == {}


def test_behind_every_family_of_events_stand_models_and_none_behind_the_scores(definitions: dg.Definitions) -> None:
    from commerce_assets.defs.events.checks import FAMILIES_OF_EVENTS
    from commerce_assets.defs.events.sensor import models_behind_families

    models = next(asset for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition) and asset.op.name == "dbt_models")
    behind = {family: {key.to_user_string() for key in keys} for family, keys in models_behind_families(models).items()}
    assert set(behind) == set(FAMILIES_OF_EVENTS)
    assert {"warehouse/marts/fct_order", "warehouse/marts/customer_360", "warehouse/ops/order_builds"} <= behind["orders"]
    assert "warehouse/marts/fct_inventory_snapshot" in behind["inventory"]
    assert "warehouse/marts/dim_customer" in behind["deletions"]
    assert not {key for keys in behind.values() for key in keys if key.startswith(("warehouse/sync", "warehouse/ops/order_trace"))}


def test_without_the_scores_behind_it_a_push_is_not_there(parsed_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATA_ROOT", str(parsed_root))
    monkeypatch.setenv("COMMERCE_SCORES", "customer_rfm,customer_value")
    from commerce_assets.definitions import build_defs

    keys = {key.to_user_string() for asset in build_defs().assets or () if isinstance(asset, dg.AssetsDefinition) for key in asset.keys}
    assert {key for key in keys if key.startswith(("scores/", "activation/"))} == {
        "scores/customer_rfm",
        "scores/customer_value",
        "activation/shopify/customer_scores",
        "activation/shopify/customer_segments",
        "activation/shopify/segments",
    }
