"""What the same key did before: counts over trailing windows, for all orders at once.

The orders of a key are put one after the other on one line of integers, key x span + second, so that a window's first order is one
binary search and a count is a difference of positions: a million orders take some tenths of a second a key.
"""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

Integers = NDArray[np.int64]
SECONDS_A_DAY = 86_400
FOREVER_DAYS = 36_500


class KeyHistory:
    """The orders of each key in time.

    `keys`: one value an order, null where it has none; `seconds`: when, not falling. An order's history is those of its key before
    it; of several in one second, the earlier by position. Where the key is null, every figure is 0.
    """

    def __init__(self, keys: pl.Series, seconds: Integers) -> None:
        codes = keys.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
        with_key = np.flatnonzero(codes > 0)
        self._rows = with_key[np.argsort(codes[with_key], kind="stable")]
        self._count = len(codes)
        self._first_second = int(seconds[0]) if len(seconds) else 0
        elapsed = seconds[self._rows] - self._first_second
        self._span = int(elapsed.max(initial=0)) + FOREVER_DAYS * SECONDS_A_DAY + 1
        self._codes = codes[self._rows]
        self._line = self._codes * self._span + elapsed
        self._positions = np.arange(len(self._rows))

    def counts(self, window_seconds: int) -> Integers:
        """Earlier orders of the key within the window, its edge included."""
        return self._by_order(self._positions - self._window_start(window_seconds))

    @cached_property
    def all_counts(self) -> Integers:
        """Earlier orders of the key."""
        return self.counts(FOREVER_DAYS * SECONDS_A_DAY)

    def sums(self, values: Integers, window_seconds: int) -> Integers:
        """Sum of a value an order over the key's earlier orders within the window."""
        before = np.concatenate(([0], np.cumsum(values[self._rows])))
        return self._by_order(before[self._positions] - before[self._window_start(window_seconds)])

    def other_buyers(self, buyers: pl.Series, window_seconds: int) -> Integers:
        """Buyers other than the order's who used the key for the first time within the window; orders without a buyer count as none."""
        buyer = buyers.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()[self._rows]
        pairs = self._codes * (int(buyer.max(initial=0)) + 1) + buyer
        _, first_positions, pair = np.unique(pairs, return_index=True, return_inverse=True)
        is_first = np.zeros(len(pairs), dtype=np.int64)
        is_first[first_positions] = 1
        is_first[buyer == 0] = 0
        before = np.concatenate(([0], np.cumsum(is_first)))
        start = self._window_start(window_seconds)
        own_first = first_positions[pair]
        own = (buyer > 0) & (own_first < self._positions) & (own_first >= start)
        return self._by_order(before[self._positions] - before[start] - own)

    def known_events(self, known_seconds: Integers, is_event: NDArray[np.bool_]) -> Integers:
        """Events (chargebacks) on the key's orders that were known before the order, each from its own second on."""
        has_event = is_event[self._rows]
        # A moment beyond the key's part of the line is after every order: moved to its end, it still counts for none.
        known = np.clip(known_seconds[self._rows][has_event] - self._first_second, 0, self._span - 1)
        events = np.sort(self._codes[has_event] * self._span + known)
        until = np.searchsorted(events, self._line, side="left")
        return self._by_order(until - np.searchsorted(events, self._codes * self._span, side="left"))

    def _window_start(self, window_seconds: int) -> Integers:
        return np.searchsorted(self._line, self._line - window_seconds, side="left")

    def _by_order(self, values: Integers) -> Integers:
        by_order = np.zeros(self._count, dtype=np.int64)
        by_order[self._rows] = values
        return by_order
