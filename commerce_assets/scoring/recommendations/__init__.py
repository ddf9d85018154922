"""Which products go together, and what a customer may buy next.

Belongs here: item-item similarity from orders and customers, lists and their reasons, their backtest against popularity (and, for
comparison only, ALS), plots. Does not belong here: reading or writing anything, and how lists reach the storefront (activation).
"""

from commerce_assets.scoring.recommendations.inputs import LINE_COLUMNS, PRODUCT_COLUMNS
from commerce_assets.scoring.recommendations.plots import plot_backtest, plot_list_lengths
from commerce_assets.scoring.recommendations.score import recommend_products
from commerce_assets.scoring.recommendations.settings import (
    NEXT_PURCHASE_COLUMNS,
    NEXT_PURCHASE_SCHEMA,
    RECOMMENDATION_COLUMNS,
    RECOMMENDATION_SCHEMA,
    RecommendationSettings,
)

__all__ = [
    "LINE_COLUMNS",
    "NEXT_PURCHASE_COLUMNS",
    "NEXT_PURCHASE_SCHEMA",
    "PRODUCT_COLUMNS",
    "RECOMMENDATION_COLUMNS",
    "RECOMMENDATION_SCHEMA",
    "RecommendationSettings",
    "plot_backtest",
    "plot_list_lengths",
    "recommend_products",
]
