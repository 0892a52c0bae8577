"""What the metrics of a pool's routers say of a stretch of time: per class and per endpoint."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from fairlead_router.contract import Metric, Verdict

_Labels = frozenset[tuple[str, str]]
_ABOUT_THE_POOL: Final = "pool"


class Scrape:
    """The samples of one moment, summed over all routers."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take what `/metrics` of each router says."""
        self._samples: defaultdict[tuple[str, _Labels], float] = defaultdict(float)
        for text in texts:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = frozenset((k, v) for k, v in sample.labels.items() if k != _ABOUT_THE_POOL)
                    self._samples[sample.name, labels] += sample.value

    def values(self, name: str, label: str) -> set[str]:
        """Return the values of a label that a metric has."""
        return {dict(labels)[label] for sample, labels in self._samples if sample == name and label in dict(labels)}

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for (sample, has), value in self._samples.items() if sample == name and wanted <= has)

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """Return the cumulative counts of a histogram by upper edge, of all series that have these labels."""
        wanted = set(labels.items())
        counts: dict[float, float] = {}
        for (sample, has), value in self._samples.items():
            if sample == f"{name}_bucket" and wanted <= has:
                edge = float(dict(has)["le"])
                counts[edge] = counts.get(edge, 0.0) + value
        return counts


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class in a stretch of time; a share or quantile of nothing is None."""

    name: str
    offered_per_second: float
    good: float | None
    """Share of the requests that have ended meanwhile, refused ones among them."""
    rejected: float | None
    """Share of the same."""
    queued: int
    """Now."""
    ttft_p95: float | None
    tbt_p99: float | None


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """One endpoint in a stretch of time."""

    name: str
    ttft_p95: float | None
    tbt_p99: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Two moments; without a `before`, all since the routers began."""

    now: Scrape
    before: Scrape | None
    seconds: float | None
    """Between them, where both are known."""

    def classes(self) -> list[ClassFigures]:
        """Return the figures of every class that was asked for, or waits."""
        names = self.now.values(f"{Metric.OFFERED_REQUESTS}_total", "class") | self.now.values(
            Metric.QUEUE_DEPTH, "class"
        )
        return [self._of_class(name) for name in sorted(names)]

    def endpoint(self, name: str) -> EndpointFigures:
        """Return the figures of an endpoint."""
        of = {"endpoint": name}
        return EndpointFigures(
            name, self._quantile(Metric.ENDPOINT_TTFT, 0.95, of), self._quantile(Metric.ENDPOINT_TBT, 0.99, of)
        )

    def _of_class(self, name: str) -> ClassFigures:
        of = {"class": name}
        offered = self._grown(f"{Metric.OFFERED_REQUESTS}_total", of)
        ended = self._grown(f"{Metric.REQUESTS}_total", of)
        rejected = self._grown(f"{Metric.REQUESTS}_total", {**of, "verdict": Verdict.REJECT.value})
        return ClassFigures(
            name,
            offered / self.seconds if self.seconds else 0.0,
            self._grown(f"{Metric.GOOD_REQUESTS}_total", of) / ended if ended else None,
            rejected / ended if ended else None,
            int(self.now.total(Metric.QUEUE_DEPTH, **of)),
            self._quantile(Metric.TTFT, 0.95, of),
            self._quantile(Metric.TBT, 0.99, of),
        )

    def _grown(self, name: str, labels: Mapping[str, str]) -> float:
        now = self.now.total(name, **labels)
        before = self.before.total(name, **labels) if self.before else 0.0
        return now - before if now >= before else now  # a router that began anew counts from zero

    def _quantile(self, metric: Metric, share: float, labels: Mapping[str, str]) -> float | None:
        now = self.now.buckets(metric.value, **labels)
        before = self.before.buckets(metric.value, **labels) if self.before else {}
        counts = {edge: count - before.get(edge, 0.0) for edge, count in now.items()}
        return quantile(counts if all(count >= 0 for count in counts.values()) else now, share)


def quantile(cumulative: Mapping[float, float], share: float) -> float | None:
    """Estimate a quantile as Prometheus does: evenly spread inside the bucket that it is in; None of nothing."""
    edges = sorted(cumulative)
    if not edges or cumulative[edges[-1]] <= 0:
        return None
    wanted = share * cumulative[edges[-1]]
    for lower, upper in pairwise([0.0, *edges]):
        if cumulative[upper] >= wanted:
            below = cumulative.get(lower, 0.0)
            if upper == inf:
                return lower
            return lower + (upper - lower) * (wanted - below) / max(cumulative[upper] - below, 1e-12)
    return edges[-1]
