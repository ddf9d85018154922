"""Scores as pure functions, frame -> frame, each with its receipt.

Belongs here: the arithmetic of a score and what it was computed from. Does not belong here: reading or
writing anything (defs/scoring and the lake do), Dagster, and any sibling room.
"""

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.rfm import (
    ORDER_COLUMNS,
    RFM_COLUMNS,
    RFM_SCHEMA,
    RfmReceipt,
    RfmSettings,
    rfm_segment,
    score_customers,
)

__all__ = ["ORDER_COLUMNS", "RFM_COLUMNS", "RFM_SCHEMA", "RfmReceipt", "RfmSettings", "ScoringError", "rfm_segment", "score_customers"]
