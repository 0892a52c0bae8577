"""Quantiles of many durations in little memory."""

from bisect import bisect_right
from collections.abc import Sequence
from math import exp, floor, log

BUCKETS_PER_E = 500
"""Buckets of equal width on a logarithmic scale; a quantile is within exp(1 / 1000) - 1 = 0.1 % of the exact one."""


CLOCK_ERROR_SECONDS = 1e-9
"""What the difference of two virtual times may be off by: a duration equal to the limit is not above it."""


class Durations:
    """Counts of durations in logarithmic buckets, and exactly how many were above one limit.

    Holds as many entries as there are buckets between the shortest and the longest duration (5 800 from 1 microsecond
    to 1 day), however many durations there are.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.count = 0
        self.over = 0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration (above 0) that occurred so many times."""
        bucket = floor(log(seconds) * BUCKETS_PER_E)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + times
        self.count += times
        if seconds > self.limit_seconds + CLOCK_ERROR_SECONDS:
            self.over += times

    def quantile(self, share: float) -> float | None:
        """Give the duration, within 0.1 %, that `share` (0 to 1) of the durations do not exceed; None without any."""
        if self.count == 0:
            return None
        buckets = sorted(self._buckets)
        cumulative: list[int] = []
        total = 0
        for bucket in buckets:
            total += self._buckets[bucket]
            cumulative.append(total)
        rank = share * (self.count - 1)
        place = bisect_right(cumulative, floor(rank))
        return _middle(buckets[min(place, len(buckets) - 1)])

    @property
    def share_over(self) -> float | None:
        """Exact share of the durations above the limit; None without any."""
        return self.over / self.count if self.count else None


def _middle(bucket: int) -> float:
    return exp((bucket + 0.5) / BUCKETS_PER_E)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give a quantile of sorted values, linear between neighbours (NumPy's and Excel's definition)."""
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
