"""What is alarming: false alarms a year, history needed, how fast a new level becomes the usual one."""

from dataclasses import dataclass

from commerce_assets.scoring.anomalies.calendar import OwnEvent
from commerce_assets.scoring.errors import ScoringError

VERSION = "daily-anomalies-2"


@dataclass(frozen=True)
class AnomalySettings:
    """The defaults suit daily figures by channel, looked at every morning."""

    judge_days: int = 35
    """Rows are written for the last so many closed days."""
    false_alarms_a_year: float = 2.0
    """Designed for each metric and channel: what limits allow where nothing happened."""
    min_history_days: int = 56
    residual_days: int = 182
    """Days whose one-step errors say how wide the limits are."""
    adapt_after_days: int = 5
    """Alarms in a row, all to one side, after which the new level is the usual one."""
    level_gain: float = 0.12
    """Share of a day's error that moves the level."""
    weekday_gain: float = 0.15
    """Share of a day's error that moves its weekday's factor."""
    high_only_metrics: tuple[str, ...] = ("refunds", "returns", "cancellations", "payment_failures")
    """Metrics of which only too many are alarming."""
    low_only_metrics: tuple[str, ...] = ()
    own_events: tuple[OwnEvent, ...] = ()
    """Sales, closures and campaigns of the shop; one name for what comes again."""
    backtest_days: int = 28
    backtest_folds: int = 4

    def __post_init__(self) -> None:
        low = [
            name
            for name in ("judge_days", "residual_days", "adapt_after_days", "backtest_days", "backtest_folds")
            if getattr(self, name) < 1
        ]
        if low:
            raise ScoringError(f"anomaly settings have to be 1 or more: {', '.join(low)}")
        if self.min_history_days < 42:
            raise ScoringError(f"min_history_days is {self.min_history_days}: weekdays and errors need 42 or more")
        if not 0 < self.false_alarms_a_year <= 50:
            raise ScoringError(f"false_alarms_a_year has to lie between 0 and 50: {self.false_alarms_a_year}")
        if not 0 < self.level_gain < 1 or not 0 < self.weekday_gain < 1:
            raise ScoringError("level_gain and weekday_gain have to lie between 0 and 1")
        both = set(self.high_only_metrics) & set(self.low_only_metrics)
        if both:
            raise ScoringError(f"{', '.join(sorted(both))}: only too many or only too few are alarming, not both")
