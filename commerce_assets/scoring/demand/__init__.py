"""Demand of every variant at every location, and what to order.

Belongs here: the daily history made whole, classes of series, forecasts with their spread and totals, the backtest, replenishment, and the
plots of these. Does not belong here: reading sales and stock (the marts do), writing rows (defs/scoring does), pushing stock (activation).
"""

from commerce_assets.scoring.demand.backtest import RELIABILITY_SCHEMA
from commerce_assets.scoring.demand.history import SALE_COLUMNS, STOCK_COLUMNS, VARIANT_COLUMNS
from commerce_assets.scoring.demand.policies import LATENCY_COLUMNS, POLICY_COLUMNS, ReplenishmentSettings
from commerce_assets.scoring.demand.replenishment import ON_HAND_COLUMNS, REPLENISHMENT_COLUMNS, REPLENISHMENT_SCHEMA, score_replenishment
from commerce_assets.scoring.demand.score import DEMAND_COLUMNS, DEMAND_SCHEMA, SERIES_COLUMNS, SERIES_SCHEMA, last_whole_day, score_demand
from commerce_assets.scoring.demand.settings import CLASSES, DemandSettings
from commerce_assets.scoring.demand.simulation import simulated_service
from commerce_assets.scoring.demand.totals import LEVELS, TOTAL_COLUMNS, TOTAL_SCHEMA

__all__ = [
    "CLASSES",
    "DEMAND_COLUMNS",
    "DEMAND_SCHEMA",
    "LATENCY_COLUMNS",
    "LEVELS",
    "ON_HAND_COLUMNS",
    "POLICY_COLUMNS",
    "RELIABILITY_SCHEMA",
    "REPLENISHMENT_COLUMNS",
    "REPLENISHMENT_SCHEMA",
    "SALE_COLUMNS",
    "SERIES_COLUMNS",
    "SERIES_SCHEMA",
    "STOCK_COLUMNS",
    "TOTAL_COLUMNS",
    "TOTAL_SCHEMA",
    "VARIANT_COLUMNS",
    "DemandSettings",
    "ReplenishmentSettings",
    "last_whole_day",
    "score_demand",
    "score_replenishment",
    "simulated_service",
]
