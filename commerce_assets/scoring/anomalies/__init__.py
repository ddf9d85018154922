"""Daily anomalies: closed days whose orders, revenue, refunds or stock moves are not what the days before let expect.

Belongs here: the calendar of commerce, the robust baseline of a daily series with its limits, and the judgement of days. Does not belong
here: where figures come from (marts), who is alerted (observability), and forecasts of coming days (demand).
"""

from commerce_assets.scoring.anomalies.calendar import OwnEvent, calendar_events
from commerce_assets.scoring.anomalies.judge import ANOMALY_COLUMNS, ANOMALY_SCHEMA, judge_days
from commerce_assets.scoring.anomalies.series import DAILY_METRIC_COLUMNS
from commerce_assets.scoring.anomalies.settings import AnomalySettings

__all__ = [
    "ANOMALY_COLUMNS",
    "ANOMALY_SCHEMA",
    "DAILY_METRIC_COLUMNS",
    "AnomalySettings",
    "OwnEvent",
    "calendar_events",
    "judge_days",
]
