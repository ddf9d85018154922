"""dbt as three assets' worth of steps: everything up to the marts; what reads scores (sync models, some marts) and so comes after them; and the
figures of the platform itself, which read the copies of its books and so come after both."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from commerce_assets.defs.names import WAREHOUSE_POOL
from commerce_assets.defs.resources import LakeFolder, Warehouse
from commerce_assets.defs.warehouse.translator import HouseTranslator
from commerce_assets.observability.tables import FOLDERS
from commerce_assets.service.scores.jobs import JOBS
from commerce_assets.service.scores.running import ensure_scores, score_relations
from commerce_assets.warehouse.dbt import DbtFiles, environment_of
from commerce_assets.warehouse.lineage import LineageCache, Relation, lake_columns
from commerce_assets.warehouse.masking import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BEHIND_SCORES = "source:scores+"
"""Models that read scores, and all behind them."""
FIGURES = "source:observability+ source:activation+"
"""Models that read the copies of the books or of the activation ledger, and all behind them."""
KEPT_RUNS = 10
"""Artifact folders of dbt invocations kept under the data root."""


class BuildConfig(dg.Config):
    """How to build."""

    full_refresh: bool = False
    """Build incremental models from nothing."""


def dbt_definitions(files: DbtFiles, manifest: dict[str, Any]) -> list[dg.AssetsDefinition]:
    """Every model of the project as an asset, every test as a check."""
    translator = HouseTranslator(manifest)

    @dbt_assets(
        manifest=manifest, exclude=f"{BEHIND_SCORES} {FIGURES}", name="dbt_models", dagster_dbt_translator=translator, pool=WAREHOUSE_POOL
    )
    def dbt_models(
        context: dg.AssetExecutionContext, config: BuildConfig, dbt: DbtCliResource, lake: LakeFolder, warehouse: Warehouse
    ) -> Iterator[Any]:
        with lake.open().reading():
            yield from _build(context, config, dbt, warehouse, files, manifest)

    @dbt_assets(
        manifest=manifest,
        select=BEHIND_SCORES,
        exclude=FIGURES,
        name="dbt_sync_models",
        dagster_dbt_translator=translator,
        pool=WAREHOUSE_POOL,
    )
    def dbt_sync_models(
        context: dg.AssetExecutionContext, config: BuildConfig, dbt: DbtCliResource, lake: LakeFolder, warehouse: Warehouse
    ) -> Iterator[Any]:
        opened = lake.open()
        ensure_scores(opened, JOBS.values())
        with opened.reading():
            yield from _build(context, config, dbt, warehouse, files, manifest)

    @dbt_assets(manifest=manifest, select=FIGURES, name="dbt_ops_models", dagster_dbt_translator=translator, pool=WAREHOUSE_POOL)
    def dbt_ops_models(
        context: dg.AssetExecutionContext, config: BuildConfig, dbt: DbtCliResource, lake: LakeFolder, warehouse: Warehouse
    ) -> Iterator[Any]:
        from commerce_assets.observability.snapshots import ensure

        opened = lake.open()
        ensure(opened.root)
        with opened.reading():
            yield from _build(context, config, dbt, warehouse, files, manifest)

    return [dbt_models, dbt_sync_models, dbt_ops_models]


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
    yield from _described(events, warehouse, files, run_folder, manifest)
    if failure is not None:
        raise failure


def _described(events: list[Any], warehouse: Warehouse, files: DbtFiles, run_folder: Path, manifest: dict[str, Any]) -> Iterator[Any]:
    """The events, those of models with row counts and column lineage."""
    nodes = {
        str(event.metadata["unique_id"].value): manifest["nodes"][str(event.metadata["unique_id"].value)]
        for event in events
        if isinstance(event, dg.Output)
    }
    if not nodes or not Path(warehouse.build_path).exists():
        yield from events
        return
    with warehouse.reading() as connection:
        counts = _row_counts(connection, nodes)
        copies: dict[Relation, tuple[str, ...]] = {
            (source, name): tuple(schema) for source, tables in FOLDERS.items() for name, schema in tables.items()
        }
        columns = {**lake_columns(), **copies, **score_relations(JOBS.values()), **_built_columns(connection)}
    lineage = _lineage(nodes, columns, files, run_folder, manifest)
    for event in events:
        if isinstance(event, dg.Output):
            unique_id = str(event.metadata["unique_id"].value)
            added = {"dagster/row_count": counts.get(unique_id), "dagster/column_lineage": lineage.get(unique_id)}
            yield event.with_metadata({**event.metadata, **{name: value for name, value in added.items() if value is not None}})
        else:
            yield event


def _row_counts(connection: "DuckDBPyConnection", nodes: dict[str, Any]) -> dict[str, int]:
    """Rows of the tables among the models built, by one query (views are not run for it)."""
    tables = {unique_id: node for unique_id, node in nodes.items() if node["config"]["materialized"] in ("table", "incremental")}
    if not tables:
        return {}
    query = " union all ".join(
        f"select '{unique_id}', count(*) from {quote(node['schema'])}.{quote(_table(node))}" for unique_id, node in tables.items()
    )
    return {str(unique_id): int(rows) for unique_id, rows in connection.execute(query).fetchall()}


def _built_columns(connection: "DuckDBPyConnection") -> dict[Relation, tuple[str, ...]]:
    found: dict[Relation, tuple[str, ...]] = {}
    rows = connection.execute(
        "select schema_name, table_name, column_name from duckdb_columns() where not internal order by all"
    ).fetchall()
    for schema, table, column in rows:
        found[schema, table] = (*found.get((schema, table), ()), column)
    return found


def _lineage(
    nodes: dict[str, Any], columns: dict[Relation, tuple[str, ...]], files: DbtFiles, run_folder: Path, manifest: dict[str, Any]
) -> dict[str, dg.TableColumnLineage]:
    """Column lineage of each model, its parents' tables named by their asset keys."""
    translator = HouseTranslator(manifest)
    parents = {
        (node["schema"], _table(node)): (translator.get_asset_key(node), "")
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
    }
    for source in manifest["sources"].values():
        key = translator.get_asset_key(source)
        parents[source["source_name"], source["name"]] = (key, "" if key.path[-1] == source["name"] else f"{source['name']}.")
    cache, found = LineageCache(files.target_path / "lineage.json"), {}
    for unique_id, node in nodes.items():
        compiled = run_folder / "compiled" / node["package_name"] / node["original_file_path"]
        if not compiled.exists():
            continue
        read = {relation: columns[relation] for relation in _relations_of(node, manifest) if relation in columns}
        deps = {
            column: [
                dg.TableColumnDep(parents[schema, table][0], f"{parents[schema, table][1]}{name}")
                for schema, table, name in origins
                if (schema, table) in parents
            ]
            for column, origins in cache.of(compiled.read_text(), read).items()
        }
        if deps:
            found[unique_id] = dg.TableColumnLineage(deps)
    cache.save()
    return found


def _relations_of(node: dict[str, Any], manifest: dict[str, Any]) -> list[Relation]:
    """What a model reads."""
    relations: list[Relation] = []
    for unique_id in node["depends_on"]["nodes"]:
        if source := manifest["sources"].get(unique_id):
            relations.append((source["source_name"], source["name"]))
        elif parent := manifest["nodes"].get(unique_id):
            relations.append((parent["schema"], _table(parent)))
    return relations


def _table(node: dict[str, Any]) -> str:
    return str(node.get("alias") or node["name"])
