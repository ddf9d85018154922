"""Everything Dagster knows, put together: assets layer by layer, gates over what is upstream, freshness by tier, jobs and schedules."""

from pathlib import Path
from typing import Any

import dagster as dg

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.config import Settings
from commerce_assets.defs import automation
from commerce_assets.defs.activation.declared import sync_components
from commerce_assets.defs.activation.pushing import push_asset, push_key
from commerce_assets.defs.activation.segments import segment_assets
from commerce_assets.defs.events.checks import event_checks
from commerce_assets.defs.events.sensor import events_sensor
from commerce_assets.defs.freshness import with_freshness
from commerce_assets.defs.gates import gate_before
from commerce_assets.defs.lake.compaction import compaction_job
from commerce_assets.defs.observability.activation_log import activation_log_asset
from commerce_assets.defs.observability.books import observability_assets
from commerce_assets.defs.resources import default_resources
from commerce_assets.defs.scoring.assets import score_assets, score_keys
from commerce_assets.defs.storefront.assets import storefront_assets
from commerce_assets.defs.warehouse.dbt import dbt_definitions
from commerce_assets.defs.warehouse.published import published_warehouse
from commerce_assets.service.scores.jobs import made_in
from commerce_assets.warehouse.dbt import DbtFiles

MARTS, FIGURES = ("marts",), ("ops", "activation")
"""Groups of dbt's models that BI sees: those a publish must hold, and those about the platform and its pushes."""


def assemble(settings: Settings, overrides: dict[str, Any]) -> dg.Definitions:
    """The definitions as the settings have them, with resources overridden by name."""
    files = DbtFiles.of(settings)
    storefront = storefront_assets(settings)
    dbt = dbt_definitions(files, files.manifest(_write_segment_models))
    syncs = syncs_with_scores(settings)
    log = activation_log_asset([push_key(declared) for declared in syncs])
    assets = with_freshness([*storefront, *dbt, *score_assets(settings), *observability_assets(), log])
    marts, figures = (
        [spec.key for definition in dbt for spec in definition.specs if spec.group_name in groups] for groups in (MARTS, FIGURES)
    )
    assets += with_freshness(
        [
            published_warehouse([*marts, *figures, *score_keys(settings)], gate_before(marts, assets, ignored_layers=("scores",))),
            *(push_asset(declared, lambda upstream: gate_before(upstream, assets)) for declared in syncs),
            *segment_assets(syncs, [spec.key for definition in dbt for spec in definition.specs]),
        ]
    )
    compaction = compaction_job()
    schedules = [
        *automation.storefront_schedules(storefront),
        dg.ScheduleDefinition(
            "compact_lake_nightly",
            job=compaction,
            cron_schedule=automation.NIGHTLY_COMPACTION,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Makes months of the days that are over.",
        ),
    ]
    return dg.Definitions(
        assets=assets,
        asset_checks=event_checks(),
        jobs=[compaction],
        schedules=schedules,
        sensors=[automation.sensor(), events_sensor(dbt[0])],
        resources={**default_resources(settings), **overrides},
        executor=dg.in_process_executor,
    )


def syncs_with_scores(settings: Settings) -> list[DeclaredSync]:
    """The declared syncs of which every score is made here."""
    made = set(made_in(settings))
    return [component.declared for component in sync_components(settings) if set(component.declared.scores) <= made]


def _write_segment_models(project_dir: Path) -> None:
    from commerce_assets.service.segments import build_models

    build_models(project_dir)
