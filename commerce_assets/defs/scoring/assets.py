"""The scores as assets: how each is shown, when it runs, what checks it."""

import re
from datetime import timedelta

import dagster as dg

from commerce_assets.defs import automation
from commerce_assets.defs.scoring.score_asset import Shown, score_asset, score_key
from commerce_assets.service.scores.jobs import JOBS
from commerce_assets.service.scores.running import query

RFM_KEY = score_key("customer_rfm")
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
"""Of scores that are made once a day, whatever the tier: twice that, and a little."""
_MART = re.compile(r"\b(marts|staging)\.(\w+)")


def score_assets() -> list[dg.AssetsDefinition]:
    """All of them."""
    return [score_asset(JOBS[name], shown) for name, shown in _SHOWN.items()]


def models_read(name: str) -> list[dg.AssetKey]:
    """The warehouse models that a score's queries name."""
    found = {match for text in map(query, JOBS[name].queries) for match in _MART.findall(text)}
    return [dg.AssetKey(["warehouse", schema, model]) for schema, model in sorted(found)]


_SHOWN: dict[str, Shown] = {
    "customer_rfm": Shown(
        description=(
            "One row a customer with at least one sale: recency, frequency and monetary scores, named segment, lifecycle "
            "(new, active, at risk, lapsed), VIP and high-value-lapsed flags, as of a day."
        ),
        tier=2,
        domain="customers",
        deps=models_read("customer_rfm"),
        automation=automation.when_upstream_changed(),
        freshness=None,
    ),
}
SCORE_KEYS = [score_key(name) for name in _SHOWN]
