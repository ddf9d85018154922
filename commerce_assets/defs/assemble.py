"""Everything Dagster knows, put together: assets layer by layer, gates over what is upstream, freshness by tier, jobs and schedules."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from commerce_assets.config import Settings
from commerce_assets.defs import automation
from commerce_assets.defs.activation.customer_scores import SCORES as CUSTOMER_SCORES
from commerce_assets.defs.activation.customer_scores import customer_scores_push
from commerce_assets.defs.activation.product_recommendations import SCORES as LISTS
from commerce_assets.defs.activation.product_recommendations import product_recommendations_push
from commerce_assets.defs.events.checks import event_checks
from commerce_assets.defs.events.sensor import events_sensor
from commerce_assets.defs.freshness import with_freshness
from commerce_assets.defs.gates import Gate, gate_before
from commerce_assets.defs.lake.compaction import compaction_job
from commerce_assets.defs.observability.books import observability_assets
from commerce_assets.defs.resources import default_resources
from commerce_assets.defs.scoring.assets import score_assets, score_keys
from commerce_assets.defs.storefront.assets import storefront_assets
from commerce_assets.defs.warehouse.dbt import dbt_definitions
from commerce_assets.defs.warehouse.published import published_warehouse
from commerce_assets.service.scores.jobs import made_in
from commerce_assets.warehouse.dbt import DbtFiles

MARTS, FIGURES = "marts", "ops"


def assemble(settings: Settings, overrides: dict[str, Any]) -> dg.Definitions:
    """The definitions as the settings have them, with resources overridden by name."""
    files = DbtFiles.of(settings)
    storefront = storefront_assets(settings)
    dbt = dbt_definitions(files, files.manifest())
    assets = with_freshness([*storefront, *dbt, *score_assets(settings), *observability_assets()])
    marts, figures = (
        [spec.key for definition in dbt for spec in definition.specs if spec.group_name == group] for group in (MARTS, FIGURES)
    )
    assets += with_freshness(
        [
            published_warehouse([*marts, *figures, *score_keys(settings)], gate_before(marts, assets, ignored_layers=("scores",))),
            *pushes(settings, lambda upstream: gate_before(upstream, assets)),
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


def pushes(settings: Settings, gate: Callable[[Sequence[dg.AssetKey]], Gate]) -> list[dg.AssetsDefinition]:
    """The pushes of which every score is made here."""
    made = set(made_in(settings))
    of_scores = {CUSTOMER_SCORES: customer_scores_push, LISTS: product_recommendations_push}
    return [push(gate) for scores, push in of_scores.items() if set(scores) <= made]
