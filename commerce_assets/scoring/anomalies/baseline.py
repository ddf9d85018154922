"""What a day was expected to be, from the days before it: level, weekday and event, kept up to date robustly, with limits.

On the scale z = 2 asinh(sqrt(y / K)), on which counting noise and proportional noise are alike (a negative binomial law's; a square root
below K a day, a logarithm above), a day is level + weekday + event + error. Each day, for all series at once: forecast, compare,
then move level and weekday by a share of the error cut at two robust standard deviations (Gelper, Fried and Croux, 2010, Robust
forecasting with exponential and Holt-Winters smoothing, equations 8 to 12, without trend). A day beyond its limits moves nothing; when
`adapt_after_days` in a row lie beyond on one side the level is set to theirs, and the former one is remembered, so that the end of an
outage is not an alarm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commerce_assets.scoring.anomalies.limits import MIN_SCALE, Floats, Spread, counting_limits, dispersion_of, spread_of
from commerce_assets.scoring.anomalies.scale import K, from_scale, to_scale, units_of
from commerce_assets.scoring.anomalies.series import DailySeries, Flags

WARM_UP_DAYS = 28
"""Four of each weekday, whose medians start level and weekdays."""
REFRESH_DAYS = 7
CUT, MONTH_CUT = 2.0, 4.0
"""Robust standard deviations at which an error is cut before it moves level and weekday, or a month's first or last day."""
EVENT_SPREAD, MONTH_SPREAD = 0.5, 0.1
"""How far events differ from ordinary days, as a standard deviation: a mean past effect is shrunk by its noise against it."""
EVENT_GAP_DAYS = 7
"""Days without an event after which it is another one of its name."""
UNKNOWN_EVENT, KNOWN_EVENT, SEASON_DAY = 3.0, 1.5, 1.25
"""How much wider limits are on days that stand alone, and in a season."""
EFFECT_SHARE = 0.25
"""An event is not the same every year: its limits reach this share of its effect further."""
CLOSED_LOOK_BACK, CLOSED_MIN_ZEROS = 6, 4
"""A weekday is closed when so many of the last so many were zero."""
CLOSED_FROM_LEVEL = 5.0
"""Below so many a day zeros are chance."""
RUN_SHARE = 0.25
"""Of the designed false alarms that runs of zeros may cause."""
RUN_MARGIN = 1.5
REMEMBER_DAYS = 60
SPARSE_BELOW, SLOW_GAIN = 3.0, 0.03
"""Series of fewer a day are expected at their mean, which follows a month or so."""
GROSS = 1.5
"""So many times as far as its limit a day tells nothing of the usual errors."""
CAP_RARER = 10
"""Small counts: a limit lies no further than the count that is so many times rarer than designed."""


@dataclass(frozen=True)
class EventDays:
    """By day: number of its strongest event (-1: none) and how it is treated."""

    event: NDArray[np.int64]
    stands_alone: Flags
    is_closing: Flags
    is_season: Flags
    count: int
    weekday: NDArray[np.int64]


@dataclass(frozen=True)
class Gains:
    """Of the filter, from the settings."""

    level: float
    weekday: float
    adapt_after_days: int
    residual_days: int
    min_history_days: int


@dataclass(frozen=True)
class Baseline:
    """What each day was expected to be; arrays are series x days, NaN where a series has too little history."""

    expected: Floats
    low: Floats
    high: Floats
    deviation: Floats
    """In robust standard deviations of its side."""
    beyond: NDArray[np.int8]
    """1 above the limits, -1 below (or the last of an unlikely run of zeros), 0 within."""
    is_judged: Flags
    history_days: NDArray[np.int64]
    is_closed: Flags
    """Zero is usual on this weekday."""
    zero_run_days: NDArray[np.int64]
    zero_run_expected: Floats
    """Length of the run of zeros that ends on the day, and what was expected over it."""
    is_sparse: Flags
    """Fewer than SPARSE_BELOW a day were usual."""
    event_seen: NDArray[np.int64]
    """Days of the same event that were learned from before."""
    run_days: NDArray[np.int64]
    """Days in a row beyond the limits on the day's side."""


def run_baseline(series: DailySeries, calendar: EventDays, high_rate: Floats, low_rate: Floats, gains: Gains) -> Baseline:
    """The filter over all days. Rates: share of days that may lie beyond each limit by design, by series."""
    state = _Filter(series, calendar, high_rate, low_rate, gains)
    for day in range(len(series.days)):
        state.step(day)
    return state.result()


class _Filter:
    """Level, weekdays, events and limits of all series as they were known on the morning of a day."""

    def __init__(self, series: DailySeries, calendar: EventDays, high_rate: Floats, low_rate: Floats, gains: Gains) -> None:
        self.values, self.first, self.calendar, self.gains = series.values, series.first, calendar, gains
        self.high_rate, self.low_rate = high_rate, low_rate
        self.unit = units_of(series.values, series.first, series.is_count, calendar.weekday, calendar.stands_alone, gains.min_history_days)
        self.z = to_scale(series.values, self.unit[:, None])
        self.is_count = series.is_count
        self.is_signed = (series.values < 0).any(axis=1)
        lines, days = series.values.shape
        self.level, self.former = np.full(lines, np.nan), np.full(lines, np.nan)
        self.slow_mean, self.former_mean = np.full(lines, np.nan), np.full(lines, np.nan)
        self.former_days = np.zeros(lines, dtype=np.int64)
        self.factor = np.zeros((lines, 7))
        self.zeros = np.zeros((lines, 7, CLOSED_LOOK_BACK), dtype=bool)
        self.event_sum, self.event_count = np.zeros((lines, calendar.count)), np.zeros((lines, calendar.count), dtype=np.int64)
        self.new_sum, self.new_count = np.zeros_like(self.event_sum), np.zeros_like(self.event_count)
        self.event_day = np.full(calendar.count, -EVENT_GAP_DAYS)
        self.run, self.run_errors = np.zeros(lines, dtype=np.int64), np.zeros((lines, gains.adapt_after_days))
        self.zero_days, self.zero_expected = np.zeros(lines, dtype=np.int64), np.zeros(lines)
        self.longest_run = np.zeros(lines)
        self.errors, self.forecasts, self.means = (np.full((lines, days), np.nan) for _ in range(3))
        self.mean_ratio, self.dispersion = np.ones(lines), np.ones(lines)
        nothing = np.full(lines, 0.3)
        self.spread = Spread(nothing, nothing, np.full(lines, 4.0), np.full(lines, 4.0))
        self.out: dict[str, NDArray[np.float64]] = {
            name: np.full((lines, days), np.nan) for name in ("expected", "low", "high", "deviation")
        }
        self.counts = {name: np.zeros((lines, days), dtype=np.int64) for name in ("beyond", "history", "zero_run", "event_seen", "run")}
        self.zero_run_expected = np.zeros((lines, days))
        self.closed, self.sparse = np.zeros((lines, days), dtype=bool), np.zeros((lines, days), dtype=bool)

    def step(self, day: int) -> None:
        """Forecast the day, compare, learn."""
        age = day - self.first
        self.counts["history"][:, day] = np.maximum(age, 0)
        starting = age == WARM_UP_DAYS
        if starting.any():
            self._start(np.flatnonzero(starting), day)
        if day % REFRESH_DAYS == 0:
            self._refresh(day)
        running = age >= WARM_UP_DAYS
        if running.any():
            self._judge(day, running)
        weekday = self.calendar.weekday[day]
        if not self.calendar.stands_alone[day]:
            # A week of zeros is an outage, and no weekday's habit.
            is_zero = (self.values[:, day] == 0) & (self.values[:, max(day - 6, 0) : day] != 0).any(axis=1)
            self.zeros[:, weekday] = np.concatenate((self.zeros[:, weekday, 1:], is_zero[:, None]), axis=1)

    def _start(self, lines: NDArray[np.int64], day: int) -> None:
        recent = self.z[lines, day - WARM_UP_DAYS : day]
        weekdays = self.calendar.weekday[day - WARM_UP_DAYS : day]
        self.level[lines] = np.median(recent, axis=1)
        self.slow_mean[lines] = np.abs(self.values[lines, day - WARM_UP_DAYS : day]).mean(axis=1) / self.unit[lines]
        for weekday in range(7):
            self.factor[lines, weekday] = np.median(recent[:, weekdays == weekday], axis=1) - self.level[lines]

    def _refresh(self, day: int) -> None:
        """Once a week: how wide errors are, and how means relate to the middle of the logarithms."""
        since = max(day - self.gains.residual_days, 0)
        errors, forecasts, means, values = (part[:, since:day] for part in (self.errors, self.forecasts, self.means, self.values))
        known = ~np.isnan(errors)
        enough = known.sum(axis=1) >= 7
        if not enough.any():
            return
        spread = spread_of(errors, self.high_rate, self.low_rate)
        self.spread = Spread(
            *(np.where(enough, getattr(spread, name), getattr(self.spread, name)) for name in ("up", "down", "high_factor", "low_factor"))
        )
        ordinary = ~np.isnan(forecasts)
        seen, forecast = np.where(ordinary, values, 0).sum(axis=1), np.where(ordinary, forecasts, 0).sum(axis=1)
        ratio = np.clip(np.divide(seen, forecast, out=np.ones_like(seen), where=forecast > 0), 0.8, 3.0)
        self.mean_ratio = np.where(enough, ratio, self.mean_ratio)
        dispersion = dispersion_of(values / self.unit[:, None], means / self.unit[:, None])
        self.dispersion = np.where(enough, dispersion, self.dispersion)

    def _judge(self, day: int, running: Flags) -> None:
        calendar, weekday, event = self.calendar, self.calendar.weekday[day], int(self.calendar.event[day])
        alone, y, z = bool(calendar.stands_alone[day]), self.values[:, day], self.z[:, day]
        closed = (self.zeros[:, weekday].sum(axis=1) >= CLOSED_MIN_ZEROS) & (from_scale(self.level, 1.0) >= CLOSED_FROM_LEVEL)
        self._recall(day, event)
        seen = self.event_count[:, event] if event >= 0 else np.zeros(len(y), dtype=np.int64)
        effect, widening = self._event(day, event, seen)
        forecast = self.level + self.factor[:, weekday] + effect
        centre, mean = self._centre(forecast, self.slow_mean)
        low, high = self._limits(centre, mean, widening, closed, alone and bool(calendar.is_closing[day]), seen)
        former_centre, former_mean = self._centre(self.former + self.factor[:, weekday] + effect, self.former_mean)
        former_low, former_high = self._limits(former_centre, former_mean, widening, closed, False, seen)
        back = running & ((z > high) | (z < low)) & (z >= former_low) & (z <= former_high)
        # Back at the former level: that is what was to be expected, once it is over.
        forecast = np.where(back, forecast - self.level + self.former, forecast)
        self.level, self.former = np.where(back, self.former, self.level), np.where(back, np.nan, self.former)
        self.slow_mean = np.where(back, self.former_mean, self.slow_mean)
        centre, mean, low, high = (
            np.where(back, was, now) for was, now in ((former_centre, centre), (former_mean, mean), (former_low, low), (former_high, high))
        )
        mean = np.where(closed, 0.0, mean)
        self.sparse[:, day] = self.slow_mean < SPARSE_BELOW
        beyond = np.where(z > high, 1, np.where(z < low, -1, 0)) * running
        beyond = self._zero_run(day, y, mean, beyond, running & ~closed & ~calendar.is_closing[day])
        error = z - centre
        factor = np.where(error > 0, self.spread.high_factor, self.spread.low_factor)
        scale = np.maximum(np.where(error > 0, high - centre, centre - low) / factor, MIN_SCALE)
        for name, values in (("expected", mean * self.unit), ("low", from_scale(low, self.unit)), ("high", from_scale(high, self.unit))):
            self.out[name][:, day] = np.where(running, values, np.nan)
        self.out["deviation"][:, day] = np.where(running, np.where(closed & (y == 0), 0.0, error / scale), np.nan)
        self.counts["beyond"][:, day], self.counts["event_seen"][:, day], self.closed[:, day] = beyond, seen, closed & running
        self._remember_error(day, error, from_scale(forecast, self.unit), beyond, running & ~closed)
        self._learn(day, z - forecast, z - forecast + effect, beyond, running, closed)

    def _centre(self, forecast: Floats, slow_mean: Floats) -> tuple[Floats, Floats]:
        """What is expected on the scale and as a mean, in units. Of a few a day the middle is none: their own mean is taken."""
        forecast = np.where(self.is_signed, forecast, np.maximum(forecast, 0.0))
        is_sparse = slow_mean < SPARSE_BELOW
        mean = np.where(is_sparse, slow_mean, from_scale(forecast, 1.0) * self.mean_ratio)
        return np.where(is_sparse, to_scale(mean, 1.0), forecast), mean

    def _recall(self, day: int, event: int) -> None:
        """When an event comes again, what it did the last time counts: its first day teaches its second nothing."""
        if event < 0:
            return
        if day - self.event_day[event] > EVENT_GAP_DAYS:
            self.event_sum[:, event] += self.new_sum[:, event]
            self.event_count[:, event] += self.new_count[:, event]
            self.new_sum[:, event], self.new_count[:, event] = 0, 0
        self.event_day[event] = day

    def _event(self, day: int, event: int, seen: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The event's learned effect, and how much wider its limits are."""
        lines = len(self.level)
        if event < 0:
            return np.zeros(lines), np.ones(lines)
        if self.calendar.is_season[day]:
            return np.zeros(lines), np.full(lines, SEASON_DAY)
        alone = self.calendar.stands_alone[day]
        noise = np.maximum(self.spread.up, self.spread.down) / (EVENT_SPREAD if alone else MONTH_SPREAD)
        effect = self.event_sum[:, event] / (seen + noise**2)
        if not alone:
            return effect, np.ones(lines)
        reach = np.minimum(self.spread.high_factor * self.spread.up, self.spread.low_factor * self.spread.down)
        return effect, np.where(seen > 0, KNOWN_EVENT + EFFECT_SHARE * np.abs(effect) / reach, UNKNOWN_EVENT)

    def _limits(
        self, centre: Floats, mean: Floats, widening: Floats, closed: Flags, is_closing: bool, seen: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Lowest and highest usual day, on that scale."""
        low = centre - self.spread.low_factor * self.spread.down * widening
        high = centre + self.spread.high_factor * self.spread.up * widening
        mean = np.maximum(np.nan_to_num(mean), 0)
        fewest, most = counting_limits(mean, self.dispersion, self.high_rate, self.low_rate)
        fewest_capped, most_capped = counting_limits(mean, self.dispersion, self.high_rate / CAP_RARER, self.low_rate / CAP_RARER)
        # Below K counting noise is all there is, and its law is known better than the tail of the errors.
        is_small = self.is_count & (mean < K) & (widening == 1)
        low = np.where(is_small, np.maximum(low, to_scale(fewest_capped, 1.0)), low)
        high = np.where(is_small, np.minimum(high, to_scale(most_capped, 1.0)), high)
        low, high = np.minimum(low, to_scale(fewest, 1.0)), np.maximum(high, to_scale(most, 1.0))
        # On a closed weekday some sales are no news, those of an open day's are; a first Christmas may be a closed one.
        open_high = self.level + self.factor.max(axis=1) + self.spread.high_factor * self.spread.up
        low = np.where(closed | (is_closing & (seen == 0)), np.minimum(low, 0.0), low)
        return np.where(self.is_signed, low, np.maximum(low, 0.0)), np.where(closed, np.fmax(high, open_high), high)

    def _zero_run(self, day: int, y: Floats, mean: Floats, beyond: NDArray[np.int64], counts: Flags) -> NDArray[np.int64]:
        """Marks the days of a run of zeros that is too long to be chance, for series in which one zero says nothing."""
        is_zero = (y == 0) & counts
        ended = counts & (y != 0)
        self.longest_run = np.where(ended, np.maximum(self.longest_run * 0.9, self.zero_expected), self.longest_run)
        self.zero_days = np.where(is_zero, self.zero_days + 1, np.where(ended, 0, self.zero_days))
        self.zero_expected = np.where(is_zero, self.zero_expected + mean, np.where(ended, 0.0, self.zero_expected))
        self.counts["zero_run"][:, day] = np.where(is_zero, self.zero_days, 0)
        self.zero_run_expected[:, day] = np.where(is_zero, self.zero_expected * self.unit, 0.0)
        chance = np.maximum(-np.log(self.low_rate * RUN_SHARE) * self.dispersion, RUN_MARGIN * self.longest_run)
        return np.where(is_zero & (self.zero_days > 1) & (self.zero_expected >= chance), -1, beyond)

    def _remember_error(self, day: int, error: Floats, forecast: Floats, beyond: NDArray[np.int64], counts: Flags) -> None:
        """What the spread of errors is read from. Days that stand alone say nothing of it, nor do days far beyond their limits; of days in a
        row beyond them the first is an error, the others are the same news.
        """
        if self.calendar.stands_alone[day]:
            return
        is_gross = np.abs(self.out["deviation"][:, day]) > GROSS * np.where(error > 0, self.spread.high_factor, self.spread.low_factor)
        is_new = counts & ((beyond == 0) | (~is_gross & (np.sign(self.run) != beyond)))
        self.errors[:, day] = np.where(is_new, error, np.nan)
        self.forecasts[:, day] = np.where(counts & (beyond == 0), np.maximum(forecast, 0), np.nan)
        self.means[:, day] = np.where(counts & (beyond == 0), np.maximum(self.out["expected"][:, day], 0), np.nan)

    def _learn(self, day: int, error: Floats, without_event: Floats, beyond: NDArray[np.int64], running: Flags, closed: Flags) -> None:
        weekday, event = self.calendar.weekday[day], int(self.calendar.event[day])
        if event >= 0 and not self.calendar.is_season[day]:
            learned = running & ~closed
            # A day that stands alone is learned as it was; an outage on the first of a month is no habit of months.
            most = np.inf if self.calendar.stands_alone[day] else MONTH_CUT
            effect = np.clip(without_event, -most * self.spread.down, most * self.spread.up)
            self.new_sum[:, event] += np.where(learned, effect, 0.0)
            self.new_count[:, event] += learned
        if self.calendar.stands_alone[day]:
            return
        moves = running & ~(closed & (self.values[:, day] == 0))
        ordinary = moves & (beyond == 0) & ~closed
        scale = np.where(error > 0, self.spread.up, self.spread.down)
        cut = np.clip(error, -CUT * scale, CUT * scale)
        self.level = np.where(ordinary, self.level + self.gains.level * cut, self.level)
        self.factor[:, weekday] = np.where(ordinary, self.factor[:, weekday] + self.gains.weekday * cut, self.factor[:, weekday])
        in_units = self.values[:, day] / self.unit
        self.slow_mean = np.where(ordinary, self.slow_mean + SLOW_GAIN * (in_units - self.slow_mean), self.slow_mean)
        self.factor[:, weekday] = np.where(moves & closed, self.factor[:, weekday] + error / 2, self.factor[:, weekday])
        self._adapt(day, error, beyond, moves & ~closed)

    def _adapt(self, day: int, error: Floats, beyond: NDArray[np.int64], counts: Flags) -> None:
        """A level that lasted is the usual one; the former is remembered for a while."""
        goes_on = (beyond != 0) & (np.sign(self.run) == beyond)
        self.run = np.where(counts, np.where(goes_on, self.run + beyond, beyond), self.run)
        self.counts["run"][:, day] = np.where(counts, np.abs(self.run), 0)
        self.run_errors = np.where(counts[:, None], np.concatenate((self.run_errors[:, 1:], error[:, None]), axis=1), self.run_errors)
        lasted = counts & (np.abs(self.run) >= self.gains.adapt_after_days)
        self.former_days = np.where(lasted, 0, self.former_days + 1)
        forgotten = self.former_days > REMEMBER_DAYS
        self.former = np.where(lasted, self.level, np.where(forgotten, np.nan, self.former))
        self.former_mean = np.where(lasted, self.slow_mean, self.former_mean)
        self.level = np.where(lasted, self.level + np.median(self.run_errors, axis=1), self.level)
        self.slow_mean = np.where(lasted, np.maximum(from_scale(self.level, 1.0), 0.0), self.slow_mean)
        self.run = np.where(lasted, 0, self.run)
        self.zero_expected = np.where(lasted, 0.0, self.zero_expected)

    def result(self) -> Baseline:
        return Baseline(
            **self.out,
            beyond=self.counts["beyond"].astype(np.int8),
            is_judged=self.counts["history"] >= self.gains.min_history_days,
            history_days=self.counts["history"],
            is_closed=self.closed,
            zero_run_days=self.counts["zero_run"],
            zero_run_expected=self.zero_run_expected,
            is_sparse=self.sparse,
            event_seen=self.counts["event_seen"],
            run_days=self.counts["run"],
        )
