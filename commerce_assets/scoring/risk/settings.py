"""Where the lines of order risk are drawn: windows, capacity, how many chargebacks a model needs."""

from dataclasses import dataclass

from commerce_assets.scoring.errors import ScoringError

VERSION = "order-risk-2"


@dataclass(frozen=True)
class RiskSettings:
    """The defaults suit a shop that ships goods, with a chargeback on one order in some hundreds."""

    score_days: int | None = 30
    """Rows are written for orders of the last so many days up to the as-of day; None: for all."""
    label_maturity_days: int = 120
    """Days after which an order that was not charged back never will be (card schemes allow 120): younger orders train nothing."""
    min_chargebacks: int = 50
    """Chargebacks among mature orders from which on a model is trained."""
    min_calibration_chargebacks: int = 20
    """Chargebacks among the orders a probability is calibrated on."""
    calibration_share: float = 0.25
    """Latest share of the mature orders that calibrates and does not train."""
    acceptance_z: float = 2.33
    """Standard errors by which a trained model has to rank better than the evidence (area under the ROC curve): one chance in a hundred.
    Its average precision has to be higher, too."""
    backtest_days: int = 30
    """Days of a hold-out."""
    backtest_folds: int = 4
    max_training_orders: int = 100_000
    """Orders without chargeback a model is trained on at most; a seeded sample of them, weighted back, where there are more."""
    review_capacity_rate: float = 0.02
    """Share of a day's orders that people can look at; at least one order."""
    review_capacity_orders: int | None = None
    """Orders a day instead of a share."""
    medium_from_score: float = 20.0
    high_from_score: float = 50.0
    usual_log_odds: float = -4.0
    """Where an order without any evidence stands: a risk score of 1.8."""
    value_weeks: int = 13
    """Weeks before the order's week that its value is compared with."""
    value_min_orders: int = 30
    ip_days: int = 30
    """Days within which different buyers on one IP address count together: addresses are handed on."""
    shared_key_orders: int = 50
    """A key that carried so many orders more than a week before is an office, a till or a marketplace, no lead."""
    staffed_sources: tuple[str, ...] = ("pos", "shopify_draft_order")
    """`source_name` of orders taken by staff: their IP address, hour and failed payments say nothing about the buyer."""
    time_zone: str = "UTC"
    """Where the buyers' night is."""
    night_hours: tuple[int, int] = (0, 5)
    """First hour of the night, and the first that is none any more."""
    bulk_units: int = 10
    reason_count: int = 4

    def __post_init__(self) -> None:
        positive: tuple[str, ...] = (
            "label_maturity_days",
            "min_chargebacks",
            "min_calibration_chargebacks",
            "backtest_days",
            "backtest_folds",
        )
        positive += ("max_training_orders", "value_weeks", "value_min_orders", "ip_days", "shared_key_orders", "bulk_units", "reason_count")
        low = [name for name in positive if getattr(self, name) < 1]
        if low:
            raise ScoringError(f"risk settings have to be 1 or more: {', '.join(low)}")
        if not 0 < self.review_capacity_rate <= 1 or (self.review_capacity_orders is not None and self.review_capacity_orders < 0):
            raise ScoringError("review capacity has to be a share of (0, 1], or 0 or more orders a day")
        if not 0 < self.medium_from_score <= self.high_from_score <= 100:
            raise ScoringError(f"risk levels out of order: medium from {self.medium_from_score}, high from {self.high_from_score} of 100")
        if not 0 < self.calibration_share < 1:
            raise ScoringError(f"calibration_share has to lie between 0 and 1: {self.calibration_share}")
        if self.score_days is not None and self.score_days < 1:
            raise ScoringError(f"score_days has to be 1 or more, or None for all: {self.score_days}")
        if not 0 <= self.night_hours[0] < self.night_hours[1] <= 24:
            raise ScoringError(f"night_hours has to rise within 0 to 24: {self.night_hours}")
