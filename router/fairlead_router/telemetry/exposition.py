"""Turn snapshots into prometheus_client's families, and families into text."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from fairlead_router.contract import Metric
from fairlead_router.telemetry.declarations import DECLARATIONS, Kind
from fairlead_router.telemetry.snapshot import Series, Snapshot

SLICE_SAMPLES = 100
"""Rendered at one go: about 6 us each, and every stream waits meanwhile."""


def families(snapshot: Snapshot) -> Iterator[Family]:
    """Return the family of every metric, those without series among them."""
    return (_family(metric, snapshot[metric]) for metric in DECLARATIONS if metric in snapshot)


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


class Fixed(Collector):
    """Collects what it is given."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """Return the families."""
        return self._families


async def rendered(families: Iterable[Family]) -> bytes:
    """Return families in Prometheus' text format; lets the event loop do other things every `SLICE_SAMPLES`."""
    text = []
    for family in families:
        for part in _parts(family):
            text.append(part)
            await asyncio.sleep(0)
    return b"".join(text)


def _parts(family: Family) -> Iterator[bytes]:
    for start in range(0, max(1, len(family.samples)), SLICE_SAMPLES):
        part = Family(family.name, family.documentation, family.type)
        part.samples = family.samples[start : start + SLICE_SAMPLES]
        text = generate_latest(Fixed((part,)))
        yield text if start == 0 else text.split(b"\n", 2)[2]  # HELP and TYPE are said once
