"""Order risk: which orders of the last days people should look at before they ship, and why.

Belongs here: what was known of an order when it was placed, weights of evidence, a model of chargebacks and its test on later orders.
Does not belong here: what is done about a risky order (activation), and hashing of personal data (the caller; keys come in opaque and
never go out).
"""

from commerce_assets.scoring.risk.orders import RISK_ORDER_COLUMNS
from commerce_assets.scoring.risk.score import RISK_COLUMNS, RISK_SCHEMA, score_order_risk
from commerce_assets.scoring.risk.settings import RiskSettings

__all__ = ["RISK_COLUMNS", "RISK_ORDER_COLUMNS", "RISK_SCHEMA", "RiskSettings", "score_order_risk"]
