"""Customer value: how much a customer has brought and will bring, whether one is leaving, and when the next order is to be expected.

Belongs here: purchase and spend models, what they predict by customer, their calibration and backtest, plots of it. Does not belong here:
RFM segments (scoring/rfm.py), reading or writing anything, Dagster.
"""

from commerce_assets.scoring.customers.bgnbd import BgNbd, fit_bgnbd, grouped_repeats
from commerce_assets.scoring.customers.gamma_gamma import GammaGamma, conditional_spend, fit_gamma_gamma
from commerce_assets.scoring.customers.plots import alive_plot, frequency_plot, lift_plot, reliability_plot
from commerce_assets.scoring.customers.purchases import alive_rate, expected_of_new, expected_purchases, no_purchase_rate
from commerce_assets.scoring.customers.settings import (
    CUSTOMER_VALUE_COLUMNS,
    CUSTOMER_VALUE_SCHEMA,
    TABLE_SCHEMAS,
    VIP_TIERS,
    CustomerValueSettings,
)
from commerce_assets.scoring.customers.value import score_customer_value

__all__ = [
    "CUSTOMER_VALUE_COLUMNS",
    "CUSTOMER_VALUE_SCHEMA",
    "TABLE_SCHEMAS",
    "VIP_TIERS",
    "BgNbd",
    "CustomerValueSettings",
    "GammaGamma",
    "alive_plot",
    "alive_rate",
    "conditional_spend",
    "expected_of_new",
    "expected_purchases",
    "fit_bgnbd",
    "fit_gamma_gamma",
    "frequency_plot",
    "grouped_repeats",
    "lift_plot",
    "no_purchase_rate",
    "reliability_plot",
    "score_customer_value",
]
