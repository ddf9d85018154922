"""The scale on which daily figures are compared: z = 2 asinh(sqrt(y / K)), a square root below K a day and a logarithm above.

On it counting noise and proportional noise are alike, as it steadies the variance of a negative binomial law (Anscombe, 1948).
"""

import numpy as np
from numpy.typing import NDArray

from commerce_assets.scoring.anomalies.series import Flags, Floats

K = 15.0
"""Where counting noise ends and proportional noise begins: days that differ by a quarter for reasons of their own (K = 1 / 0.26^2)."""
COMMON_ZEROS, DAY_IN_UNITS = 0.1, 50.0
"""Money: the share of days without any from which on they are common, and units of a usual day where they are not."""


def to_scale(values: Floats, unit: Floats | float) -> Floats:
    """Figures, in units of `unit`, on the scale; the sign is kept."""
    return np.sign(values) * 2 * np.arcsinh(np.sqrt(np.abs(values) / unit / K))


def from_scale(z: Floats, unit: Floats | float) -> Floats:
    """Back from the scale to figures."""
    return np.sign(z) * K * np.sinh(np.abs(z) / 2) ** 2 * unit


def units_of(
    figures: Floats, first: NDArray[np.int64], is_count: Flags, weekdays: NDArray[np.int64], stands_alone: Flags, days: int
) -> Floats:
    """What counts as one: 1 for counts; for money about an order's worth where days without any are common, else a fiftieth of a usual day.

    Read from the first days only, which are never judged.
    """
    units = np.ones(len(figures))
    for line in np.flatnonzero(~is_count):
        start = int(first[line])
        ordinary = ~stands_alone[start : start + days]
        values, weekday = np.abs(figures[line, start : start + days])[ordinary], weekdays[start : start + days][ordinary]
        if not values.any():
            continue
        open_days = np.isin(weekday, np.unique(weekday[values > 0]))
        zero_rate = float((values[open_days] == 0).mean())
        orders_a_day = -np.log(zero_rate) if zero_rate >= COMMON_ZEROS else DAY_IN_UNITS
        units[line] = float(np.median(values[values > 0])) / max(orders_a_day, 1.0)
    return units
