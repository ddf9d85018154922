"""Settings of customer value, and the columns of its rows and tables."""

from dataclasses import dataclass

import polars as pl

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.transactions import MONEY

VIP_TIERS = ("platinum", "gold", "silver", "none")


@dataclass(frozen=True)
class CustomerValueSettings:
    """Horizons, lines and least amounts of history. The defaults suit a shop whose customers buy a few times a year."""

    horizon_days: int = 365
    """Of the predicted value and the expected orders."""
    annual_discount_rate: float = 0.10
    churn_horizon_days: int = 90
    """A customer who does not order within it is counted as churned; also the hold-out of the backtest's folds."""
    backtest_folds: int = 3
    min_history_days: int = 90
    """Before the first fold."""
    min_repeat_customers: int = 50
    """With fewer customers who came back, the shapes of the model are not fitted but taken as documented."""
    min_spend_customers: int = 50
    """With fewer customers of positive spend in a currency, the spread of spend is taken from the currency with most customers."""
    min_calibration_customers: int = 200
    """In the hold-outs, of both those who ordered and those who did not."""
    interval_rate: float = 0.9
    """Of the predicted value."""
    next_order_interval_rate: float = 0.8
    likely_lapsed_below_rate: float = 0.5
    """A customer whose chance of still being one is below it gets no date of a next order."""
    platinum_share: float = 0.2
    gold_share: float = 0.5
    silver_share: float = 0.8
    """Tiers: the fewest customers who together bring up to this share of their currency's total value."""
    transition_days: int = 30
    lapsed_after_days: int = 90
    """Of the lifecycle whose transitions are shown: to be that of the RFM score."""
    valid_days: int = 7

    def __post_init__(self) -> None:
        rates = (self.interval_rate, self.next_order_interval_rate)
        days = (
            self.horizon_days,
            self.churn_horizon_days,
            self.min_history_days,
            self.transition_days,
            self.lapsed_after_days,
            self.valid_days,
        )
        least = (self.min_repeat_customers, self.min_spend_customers, self.min_calibration_customers)
        if (
            min(days) < 1
            or max(days) > 3650
            or min(least) < 1
            or self.backtest_folds < 0
            or not all(0 < rate < 1 for rate in rates)
            or not 0 <= self.likely_lapsed_below_rate <= 1
            or not 0 <= self.annual_discount_rate <= 1
            or not 0 <= self.platinum_share <= self.gold_share <= self.silver_share <= 1
        ):
            raise ScoringError(f"customer value settings out of range (days 1 to 3650, shares 0 to 1 and rising): {self}")


_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("customer_id", pl.Int64(), "Customer id (numeric part of the gid)."),
    ("as_of_on", pl.Date(), "Day the score describes; later orders are not in it."),
    ("currency_code", pl.String(), "Currency of every amount: that of the customer's last order (ISO 4217)."),
    ("order_count", pl.Int64(), "Orders neither cancelled nor test, those of which refunds left nothing included."),
    ("repeat_count", pl.Int64(), "Days with orders after the day of the first one; what the purchase model counts."),
    ("recency_days", pl.Int64(), "Days from the last order to the as-of day."),
    ("age_days", pl.Int64(), "Days from the first order to the as-of day."),
    ("average_gap_days", pl.Float64(), "Mean days between days with orders; null with one such day."),
    ("historic_value_amount", MONEY, "Net value of the orders in `currency_code` so far; may be negative after refunds."),
    ("average_order_amount", MONEY, "Expected net value of a day with orders, between the customer's own mean and everyone's."),
    ("expected_order_count", pl.Float64(), "Expected days with orders in the horizon (365 days by default)."),
    ("predicted_value_amount", MONEY, "Expected net value of the orders to come in the horizon, discounted (10 % a year by default)."),
    ("predicted_value_low_amount", MONEY, "Lower end of the interval (90 % by default) in which the value to come will lie."),
    ("predicted_value_high_amount", MONEY, "Upper end of that interval."),
    ("total_value_amount", MONEY, "Historic plus predicted value."),
    ("alive_rate", pl.Float64(), "Chance that the customer has not left for good; 1 for who bought once, of whom nothing says otherwise."),
    (
        "churn_rate",
        pl.Float64(),
        "Chance of no order in the churn horizon (90 days by default), calibrated on hold-outs where there are enough.",
    ),
    (
        "next_order_expected_on",
        pl.Date(),
        "Day by which the next order of a customer who has not left is as likely as not; null where none is to be expected (see reasons).",
    ),
    ("next_order_earliest_on", pl.Date(), "Start of the interval (80 % by default) of the next order of a customer who has not left."),
    ("next_order_latest_on", pl.Date(), "End of that interval; null beyond ten years."),
    ("vip_tier", pl.String(), "platinum, gold, silver or none, by share of total value in the currency."),
    ("model_name", pl.String(), "Purchase and spend model behind the row."),
    ("reasons", pl.List(pl.String()), "What the figures rest on, in words."),
    ("valid_until", pl.Datetime("us", "UTC"), "Until when the row may be used."),
    ("scored_at", pl.Datetime("us", "UTC"), "When the score was computed."),
)
CUSTOMER_VALUE_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
CUSTOMER_VALUE_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}

TABLE_SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "transitions": {
        "lifecycle_before": pl.String(),
        "lifecycle_now": pl.String(),
        "customer_count": pl.Int64(),
        "share_rate": pl.Float64(),
    },
    "calibration": {
        "stage": pl.String(),
        "bin": pl.Int64(),
        "customer_count": pl.Int64(),
        "predicted_rate": pl.Float64(),
        "observed_rate": pl.Float64(),
    },
    "alive_matrix": {
        "repeat_count": pl.Int64(),
        "recency_days": pl.Int64(),
        "age_days": pl.Int64(),
        "alive_rate": pl.Float64(),
    },
    "value_lift": {
        "currency_code": pl.String(),
        "decile": pl.Int64(),
        "customer_count": pl.Int64(),
        "predicted_value_amount": MONEY,
        "realised_value_amount": MONEY,
        "cumulative_gain_rate": pl.Float64(),
    },
    "frequency_holdout": {
        "repeat_count": pl.Int64(),
        "customer_count": pl.Int64(),
        "predicted_mean": pl.Float64(),
        "realised_mean": pl.Float64(),
    },
}
"""Tables of `Scored.tables`: lifecycle `transitions` (before: `transition_days` earlier; `new_customer` where there was no sale yet; share
of that before), `calibration` of churn on the last fold (stage raw or calibrated), `alive_matrix` (P(alive) at the oldest customer's age),
`value_lift` (deciles of the last fold by predicted value, 1 the best) and `frequency_holdout` (days with orders in the last fold's hold-out
by repeats before it; 7 stands for 7 and more)."""
