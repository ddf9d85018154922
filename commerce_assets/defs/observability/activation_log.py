"""Copies of the activation ledger in the lake, for schema `activation` of the warehouse and the lift of holdouts, with plots.

It depends on no push, though it follows them: the published warehouse stands behind these copies, and must neither wait for a push nor be
held back by one that failed.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.names import CRM, tags
from commerce_assets.defs.resources import LakeFolder
from commerce_assets.defs.schemas import frame_schema
from commerce_assets.observability.tables import ACTIVATION_TABLES

KEY = dg.AssetKey(["observability", "activation_log"])


def activation_log_asset(pushes: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """The copy, made after any of `pushes`."""

    @dg.asset(
        key=KEY,
        description=(
            "The activation ledger, copied for analysts: runs, changes record by record, what each destination should hold now, segments, gates, "
            "overrides, arms of holdouts. Fingerprints only, no value. Copied after every push and every quarter of an hour."
        ),
        group_name="observability",
        owners=[CRM],
        tags=tags(2, "marketing", True),
        kinds={"sqlalchemy", "parquet"},
        metadata={f"{name}/columns": frame_schema(dict(schema), {}) for name, schema in ACTIVATION_TABLES.items()},
        automation_condition=after_any_of(pushes),
    )
    def activation_log(context: dg.AssetExecutionContext, lake: LakeFolder) -> dg.MaterializeResult:
        from commerce_assets.observability.activation_log import read, take_activation_log

        settings, opened = load_settings(), lake.open()
        if settings.lake_root != opened.root:
            raise dg.Failure(f"the lake of this run ({opened.root}) is not that of the settings: copies would lie where nobody reads them")
        counts = take_activation_log(settings)
        metadata: dict[str, Any] = {"dagster/row_count": sum(counts.values()), "rows_by_table": dg.MetadataValue.json(counts)}
        return dg.MaterializeResult(metadata={**metadata, **_pictures(context, lambda name: read(opened.root, name))})

    return activation_log


def after_any_of(pushes: Sequence[dg.AssetKey]) -> dg.AutomationCondition:
    """When any of `pushes` was made anew, and every quarter of an hour."""
    by_the_clock = automation.by_the_clock(automation.QUARTER_HOURLY)
    if not pushes:
        return by_the_clock
    pushed: dg.AutomationCondition = reduce(
        or_, (dg.AutomationCondition.asset_matches(key, dg.AutomationCondition.newly_updated()) for key in pushes)
    )
    due = pushed.since_last_handled() & ~dg.AutomationCondition.in_progress()
    return (due | by_the_clock).with_label("after_any_push_or_quarter_hourly")


def _pictures(context: dg.AssetExecutionContext, read: Callable[[str], Any]) -> dict[str, Any]:
    """Plots as metadata; the copies are in place, so one that cannot be drawn does not make the run say otherwise."""
    from commerce_assets.defs.scoring.score_asset import as_image
    from commerce_assets.observability.activation_plots import activation_plots

    try:
        return {f"plot_{name}": as_image(png) for name, png in activation_plots(read("runs"), read("segments")).items()}
    except Exception as error:
        context.log.warning(f"plots of the activation log left out ({type(error).__name__}: {error})")
        return {}
