"""Turn snapshots into prometheus_client's families, and those into text."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from fairlead_router.contract import Metric
from fairlead_router.telemetry.declarations import DECLARATIONS, Kind
from fairlead_router.telemetry.snapshot import Series, Snapshot

SLICE_SAMPLES: Final = 50
"""Rendered at one go: about 8 us each, and every stream waits meanwhile."""
_MORE_OF_A_HISTOGRAM: Final = 3
"""A histogram has a sample for each edge, and for +Inf, count and sum."""


def families(snapshot: Snapshot) -> Iterator[Family]:
    """Return the family of every metric, those without series among them."""
    return (_family(metric, snapshot[metric]) for metric in DECLARATIONS if metric in snapshot)


async def rendered(snapshot: Snapshot) -> bytes:
    """Return a snapshot in Prometheus' text format; lets the event loop do other things all the while."""
    text = []
    for metric in DECLARATIONS:
        if metric not in snapshot:
            continue
        for number, part in enumerate(_parts(snapshot[metric])):
            said = generate_latest(_Fixed(_family(metric, part)))
            text.append(said.split(b"\n", 2)[2] if number else said)  # HELP and TYPE are said once
            await asyncio.sleep(0)
    return b"".join(text)


def _parts(found: Series) -> Iterator[Series]:
    edges, series = found["edges"], found["series"]
    at_a_time = max(1, SLICE_SAMPLES // (len(edges) + _MORE_OF_A_HISTOGRAM)) if edges else SLICE_SAMPLES
    for start in range(0, max(1, len(series)), at_a_time):
        yield {"edges": edges, "series": series[start : start + at_a_time]}


def _family(metric: Metric, found: Series) -> Family:
    declared = DECLARATIONS[metric]
    if declared.kind is Kind.HISTOGRAM:
        return _histogram(metric, found)
    of_kind = CounterMetricFamily if declared.kind is Kind.COUNTER else GaugeMetricFamily
    numbers = of_kind(metric, declared.text, labels=declared.labels)
    for labels, (value,) in found["series"]:
        numbers.add_metric(labels, value)
    return numbers


def _histogram(metric: Metric, found: Series) -> Family:
    declared = DECLARATIONS[metric]
    histogram = HistogramMetricFamily(metric, declared.text, labels=declared.labels)
    bounds = [*map(floatToGoString, found["edges"]), "+Inf"]
    for labels, (*counts, total) in found["series"]:
        histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
    return histogram


class _Fixed(Collector):
    """Collects what it is given."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return (self._family,)
