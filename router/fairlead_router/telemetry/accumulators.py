"""Counters and histograms that cost next to nothing to write; they are read at a scrape.

The instruments of prometheus_client look labels up and take a lock each time, which is dear per token. These have
neither: they belong to one thread, and whoever counts holds on to the object. `families` turns them into
prometheus_client's families, so that the text format stays the library's.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Count `amount` more; not negative."""
        self.value += amount


class Histogram:
    """How often a value lay between which `edges`, and the sum of all values.

    `counts[i]` is for values up to and including `edges[i]`, and above the edge before; the last is for those above
    all edges.
    """

    __slots__ = ("counts", "edges", "sum")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value


class StreamMeters:
    """TTFT and TBT of streams of one class and model on one endpoint: looked up once, then only written.

    The histograms of a class and those of an endpoint have the same edges, so that one search serves both.
    """

    __slots__ = ("_class_tbt", "_class_ttft", "_endpoint_tbt", "_endpoint_ttft", "_tbt_edges", "_ttft_edges")

    def __init__(self, by_class: tuple[Histogram, Histogram], by_endpoint: tuple[Histogram, Histogram]) -> None:
        self._class_ttft, self._class_tbt = by_class
        self._endpoint_ttft, self._endpoint_tbt = by_endpoint
        self._ttft_edges = self._class_ttft.edges
        self._tbt_edges = self._class_tbt.edges

    def first(self, ttft_seconds: float) -> None:
        """Observe the TTFT."""
        bucket = bisect_left(self._ttft_edges, ttft_seconds)
        by_class, by_endpoint = self._class_ttft, self._endpoint_ttft
        by_class.counts[bucket] += 1
        by_class.sum += ttft_seconds
        by_endpoint.counts[bucket] += 1
        by_endpoint.sum += ttft_seconds

    def gap(self, seconds_before: float, chunks: int) -> None:
        """Observe `chunks` that arrived together: the gap before the first, and none before the others."""
        bucket = bisect_left(self._tbt_edges, seconds_before)
        by_class, by_endpoint = self._class_tbt, self._endpoint_tbt
        by_class.counts[bucket] += 1
        by_class.sum += seconds_before
        by_endpoint.counts[bucket] += 1
        by_endpoint.sum += seconds_before
        if chunks > 1:
            self.together(chunks - 1)

    def together(self, chunks: int) -> None:
        """Observe chunks that arrived at the same moment as the one before."""
        self._class_tbt.counts[0] += chunks
        self._endpoint_tbt.counts[0] += chunks
