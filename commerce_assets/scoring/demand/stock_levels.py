"""How much stock protects an item: the one formula that the score and its simulation share.

Periodic review with an order-up-to level, the (R, S) system of Silver, Pyke and Peterson, Inventory Management and Production Planning and
Scheduling (3rd ed., 1998), section 7.9: what is ordered now has to last until what is ordered at the next review arrives, so the level is the
quantile, at the service level, of demand over lead time plus review. Added to that interval is the sync latency: for so long sales go on
that the stock does not know of. A lead time that varies adds mean^2 x (its variance over the interval squared) to the variance of the sum
(section 7.10: var = E(L) var(D) + E(D)^2 var(L)). The quantile is that of the demand's own distribution (`spread`), not of a normal one:
demand that comes now and then is far from normal.
"""

import numpy as np
from numpy.typing import NDArray

from commerce_assets.scoring.demand.spread import at_length, probability_up_to, quantile


def order_up_to(
    daily: NDArray[np.float64],
    dispersion: NDArray[np.float64],
    tail: NDArray[np.float64],
    days: NDArray[np.float64],
    lead_time_sd_days: NDArray[np.float64],
    service: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The stock that is enough over `days` with probability `service`; whole units."""
    k = interval_dispersion(dispersion, days, lead_time_sd_days)
    return quantile(service, daily * days, k, at_length(days, tail))


def stock_out_probability(
    stock: NDArray[np.float64],
    daily: NDArray[np.float64],
    dispersion: NDArray[np.float64],
    tail: NDArray[np.float64],
    days: NDArray[np.float64],
    lead_time_sd_days: NDArray[np.float64],
) -> NDArray[np.float64]:
    """P(demand over `days` > `stock`)."""
    k = interval_dispersion(dispersion, days, lead_time_sd_days)
    return 1 - probability_up_to(stock, daily * days, k, at_length(days, tail))


def interval_dispersion(
    dispersion: NDArray[np.float64], days: NDArray[np.float64], lead_time_sd_days: NDArray[np.float64]
) -> NDArray[np.float64]:
    """k of the sum over the interval, the spread of its length in it."""
    return at_length(days, dispersion) + (lead_time_sd_days / np.maximum(days, 1.0)) ** 2
