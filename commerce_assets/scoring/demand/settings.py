"""What an operator may set about demand, and the names of series classes that everything here shares."""

from dataclasses import dataclass

from commerce_assets.scoring.errors import ScoringError

CLASSES: tuple[str, ...] = ("smooth", "erratic", "intermittent", "lumpy", "new", "dead")
"""Classes of series; what each means stands in `classes`."""


@dataclass(frozen=True)
class DemandSettings:
    """How demand is read and forecast. Days are calendar days."""

    horizon_days: int = 28
    interval_probability: float = 0.8
    """Nominal share of days within low and high; half of the rest lies on either side."""
    max_history_days: int = 730
    """Older sales are not read: they bound memory, and levels half a year old hardly weigh."""
    new_within_days: int = 28
    dead_after_days: int = 90
    dead_after_gaps: float = 3.0
    """A series that usually sells more rarely is dead only once silent for this many of its own usual gaps."""
    max_adi: float = 1.32
    max_cv2: float = 0.49
    """Cut-offs of Syntetos, Boylan and Croston (2005)."""
    cap_quantile: float = 0.98
    """Sale days above this quantile of the series' own sale days count as that much for the level."""
    spread_cap_quantile: float = 0.95
    """The same for the dispersion, which squares what it sees; the tails are then set on all that sold."""
    profile_days: int = 182
    profile_prior_sale_days: float = 200.0
    """How many sale days of its own a series needs to weigh as much as its location in its weekday profile."""
    dispersion_prior_windows: float = 8.0
    new_prior_days: float = 14.0
    """Days of its own at which a new series weighs as much as its category."""
    stock_memory_days: int = 56
    min_in_stock_days: int = 3
    backtest_lead_days: int = 14
    """Length of the lead time whose sums the backtest looks at."""
    folds: int = 3
    valid_hours: int = 48

    def __post_init__(self) -> None:
        whole = (self.horizon_days, self.new_within_days, self.dead_after_days, self.stock_memory_days, self.min_in_stock_days)
        if min(whole) < 1 or self.horizon_days > 365 or not 1 <= self.backtest_lead_days <= self.horizon_days:
            raise ScoringError(f"demand settings out of range: days from 1, the horizon to 365, the lead days to the horizon, in {self}")
        if self.max_history_days < 2 * self.horizon_days or self.profile_days < 28 or self.valid_hours < 1 or not 0 <= self.folds <= 12:
            raise ScoringError(f"demand settings out of range: too little history, profile, validity, or more than 12 folds, in {self}")
        caps = (self.cap_quantile, self.spread_cap_quantile)
        is_open = 0 < self.interval_probability < 1 and min(caps) > 0.5 and max(caps) <= 1
        if not (is_open and self.max_adi > 1 and self.max_cv2 > 0):
            raise ScoringError(f"demand settings out of range: a probability or a cut-off, in {self}")
        if min(self.profile_prior_sale_days, self.dispersion_prior_windows, self.new_prior_days, self.dead_after_gaps) <= 0:
            raise ScoringError(f"demand settings out of range: priors have to be positive, in {self}")
