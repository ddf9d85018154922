"""dbt as two assets' worth of steps: everything up to the marts, and the sync models, which read scores and so come after them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from commerce_assets.defs.names import WAREHOUSE_POOL
from commerce_assets.defs.resources import LakeFolder, Warehouse
from commerce_assets.defs.warehouse.translator import HouseTranslator
from commerce_assets.warehouse.dbt import DbtFiles, environment_of

BEHIND_SCORES = "source:scores+"
"""Models that read scores, and all behind them."""
KEPT_RUNS = 10
"""Artifact folders of dbt invocations kept under the data root."""


class BuildConfig(dg.Config):
    """How to build."""

    full_refresh: bool = False
    """Build incremental models from nothing."""


def dbt_definitions(files: DbtFiles, manifest: dict[str, Any]) -> list[dg.AssetsDefinition]:
    """Every model of the project as an asset, every test as a check."""
    translator = HouseTranslator(manifest)

    @dbt_assets(manifest=manifest, exclude=BEHIND_SCORES, name="dbt_models", dagster_dbt_translator=translator, pool=WAREHOUSE_POOL)
    def dbt_models(
        context: dg.AssetExecutionContext, config: BuildConfig, dbt: DbtCliResource, lake: LakeFolder, warehouse: Warehouse
    ) -> Iterator[Any]:
        lake.open()
        yield from _build(context, config, dbt, warehouse, files, manifest)

    @dbt_assets(manifest=manifest, select=BEHIND_SCORES, name="dbt_sync_models", dagster_dbt_translator=translator, pool=WAREHOUSE_POOL)
    def dbt_sync_models(
        context: dg.AssetExecutionContext, config: BuildConfig, dbt: DbtCliResource, lake: LakeFolder, warehouse: Warehouse
    ) -> Iterator[Any]:
        lake.open()
        yield from _build(context, config, dbt, warehouse, files, manifest)

    return [dbt_models, dbt_sync_models]


def _build(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    dbt: DbtCliResource,
    warehouse: Warehouse,
    files: DbtFiles,
    manifest: dict[str, Any],
) -> Iterator[Any]:
    """`dbt build` of what is selected. Its events are held until dbt has let go of the file, so that row counts come with them."""
    files.prune_runs(KEPT_RUNS - 1)
    files.build_path.parent.mkdir(parents=True, exist_ok=True)
    run_folder = files.target_path / "runs" / f"{context.run_id[:8]}-{context.op_execution_context.op.name}"
    arguments = ["build", "--exclude-resource-type", "unit_test", *(["--full-refresh"] if config.full_refresh else [])]
    with environment_of(files):
        invocation = dbt.cli(arguments, context=context, target_path=run_folder)
    events: list[Any] = []
    failure: Exception | None = None
    try:
        for event in invocation.stream():
            events.append(event)
    except Exception as error:  # what was built before it is still reported
        failure = error
    yield from _with_row_counts(events, warehouse, manifest)
    if failure is not None:
        raise failure


def _with_row_counts(events: list[Any], warehouse: Warehouse, manifest: dict[str, Any]) -> Iterator[Any]:
    built = [str(event.metadata["unique_id"].value) for event in events if isinstance(event, dg.Output)]
    counts = _row_counts(warehouse, built, manifest)
    for event in events:
        if isinstance(event, dg.Output) and (rows := counts.get(str(event.metadata["unique_id"].value))) is not None:
            yield event.with_metadata({**event.metadata, "dagster/row_count": rows})
        else:
            yield event


def _row_counts(warehouse: Warehouse, unique_ids: list[str], manifest: dict[str, Any]) -> dict[str, int]:
    """Rows of the tables among the models built, by one query over the file (views are not run for it)."""
    relations = {
        unique_id: f'"{node["schema"]}"."{node.get("alias") or node["name"]}"'
        for unique_id in unique_ids
        if (node := manifest["nodes"][unique_id])["config"]["materialized"] in ("table", "incremental")
    }
    if not relations or not Path(warehouse.build_path).exists():
        return {}
    query = " union all ".join(f"select '{unique_id}', count(*) from {relation}" for unique_id, relation in relations.items())
    with warehouse.reading() as connection:
        return {str(unique_id): int(rows) for unique_id, rows in connection.execute(query).fetchall()}
