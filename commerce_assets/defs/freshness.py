"""How old an asset may be: ONE map by tier, applied to every asset that has no policy of its own.

The windows follow the schedules in `automation.py`: twice and eight times the quarter of an hour at which today's orders and stock
are pulled; twice and a day's worth of the hourly pulls; one and two days for what a nightly run brings.
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

WINDOWS: dict[int, tuple[timedelta, timedelta]] = {
    1: (timedelta(minutes=30), timedelta(hours=2)),
    2: (timedelta(hours=2), timedelta(hours=26)),
    3: (timedelta(hours=4), timedelta(hours=26)),
    4: (timedelta(hours=26), timedelta(hours=50)),
}
"""Tier -> (warn after, fail after)."""


def policy(tier: int) -> dg.FreshnessPolicy:
    """The freshness policy of a tier."""
    warn_after, fail_after = WINDOWS[tier]
    return dg.FreshnessPolicy.time_window(fail_window=fail_after, warn_window=warn_after)


def with_freshness(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Every asset with its tier's policy; one that brought its own keeps it."""
    return [definition.map_asset_specs(_with_policy) for definition in assets]


def _with_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    if "tier" not in spec.tags:
        raise dg.DagsterInvalidDefinitionError(
            f"asset {spec.key.to_user_string()} has no tier tag: freshness follows the tier (defs/names.py)"
        )
    return dg.apply_freshness_policy(spec, policy(int(spec.tags["tier"])), overwrite_existing=False)
