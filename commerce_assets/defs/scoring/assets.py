"""The scores as assets: how each is shown, when it runs, what checks it."""

import re
from datetime import timedelta
from typing import Any

import dagster as dg

from commerce_assets.config import Settings
from commerce_assets.defs import automation
from commerce_assets.defs.names import CRM, DATA_PLATFORM
from commerce_assets.defs.observability.books import STOCK_BOOKS
from commerce_assets.defs.scoring.anomaly_checks import anomaly_check_results, anomaly_check_specs
from commerce_assets.defs.scoring.score_asset import Shown, score_asset, score_key
from commerce_assets.service.scores.jobs import JOBS, made_in
from commerce_assets.service.scores.running import query

RFM_KEY = score_key("customer_rfm")
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
"""Of scores that are made once a day, whatever the tier: twice that, and a little."""
HOURLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=3))
STATISTICS, TREES = frozenset({"polars", "scipy", "parquet"}), frozenset({"polars", "scikitlearn", "parquet"})
_MART = re.compile(r"\b(marts|staging)\.(\w+)")


def score_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Those that are made here."""
    shown = _shown()
    return [score_asset(job, shown[name]) for name, job in made_in(settings).items()]


def score_keys(settings: Settings) -> list[dg.AssetKey]:
    """Of those that are made here."""
    return [score_key(name) for name in made_in(settings)]


def models_read(name: str) -> list[dg.AssetKey]:
    """The warehouse models that a score's queries name."""
    found = {match for text in map(query, JOBS[name].queries) for match in _MART.findall(text)}
    return [dg.AssetKey(["warehouse", schema, model]) for schema, model in sorted(found)]


def _shown() -> dict[str, Shown]:
    daily: dict[str, Any] = {"automation": automation.by_the_clock_when_green(automation.DAILY_SCORES), "freshness": DAILY}
    anomalies = score_key("daily_anomalies")
    return {
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
        "customer_value": Shown(
            description=(
                "One row a customer with at least one order: value to come with its interval (BG/NBD and gamma-gamma on net revenue), chance of "
                "churn, calibrated where that helps, when the next order is to be expected, VIP tier. Backtested against 'the past goes on'."
            ),
            tier=2,
            domain="customers",
            deps=models_read("customer_value"),
            kinds=STATISTICS,
            **daily,
        ),
        "demand_forecast": Shown(
            description=(
                "Expected units by variant, location and day with intervals, made whole for days without stock; series by class and coherent "
                "totals beside it (`demand_series`, `demand_totals`). Backtested against the same weekday of the last week."
            ),
            tier=1,
            domain="inventory",
            owner=DATA_PLATFORM,
            deps=models_read("demand_forecast"),
            kinds=frozenset({"polars", "statsforecast", "parquet"}),
            **daily,
        ),
        "replenishment": Shown(
            description=(
                "One row a tracked variant at a location: safety stock over lead time, review and the measured sync latency, reorder point, days of "
                "cover, stock-out risk, overstock, suggested order. Its service level is simulated on the past."
            ),
            tier=1,
            domain="inventory",
            owner=DATA_PLATFORM,
            deps=[*models_read("replenishment"), score_key("demand_forecast"), STOCK_BOOKS],
            kinds=STATISTICS,
            automation=automation.when_upstream_changed() & automation.at_most_hourly(),
            freshness=DAILY,
        ),
        "product_recommendations": Shown(
            description=(
                "Related and complementary products of every product, and customers' next purchases (`customer_recommendations`), from baskets by "
                "damped item-item similarity; never what is out of stock, archived or already in the list. Backtested against popularity."
            ),
            tier=2,
            domain="catalogue",
            owner=CRM,
            deps=models_read("product_recommendations"),
            kinds=STATISTICS,
            **daily,
        ),
        "order_risk": Shown(
            description=(
                "Risk of every order of the last 30 days by weighted evidence, said in words, and by a gradient-boosted model where enough orders "
                "tagged as charged back are known and it does better; the riskiest within the review capacity are marked."
            ),
            tier=1,
            domain="orders",
            owner=DATA_PLATFORM,
            deps=models_read("order_risk"),
            kinds=TREES,
            automation=automation.by_the_clock_when_green(automation.HOURLY_SCORES),
            freshness=HOURLY,
        ),
        "daily_anomalies": Shown(
            description=(
                "Orders, revenue, refunds and stock moves of every closed day by channel against a robust seasonal baseline with a commerce calendar, "
                "and the money at stake where a day is not usual. Some two false alarms a year and series by design."
            ),
            tier=1,
            domain="orders",
            owner=DATA_PLATFORM,
            deps=models_read("daily_anomalies"),
            kinds=STATISTICS,
            check_specs=anomaly_check_specs(anomalies),
            checks=anomaly_check_results,
            **daily,
        ),
    }
