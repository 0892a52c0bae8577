"""What a process has counted, as plain data that can be sent, added up and exposed.

A snapshot maps the name of a metric to its series; a series is its label values and its numbers: one for a counter or
a gauge, and for a histogram the count of each bucket followed by the sum. Numbers of one series add up element by
element, whatever they are.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TypedDict

from fairlead_router.contract import Metric
from fairlead_router.telemetry.declarations import DECLARATIONS, Kind

OneSeries = tuple[Sequence[str], Sequence[float]]
"""Label values, and numbers."""


class Series(TypedDict):
    """All series of one metric; `edges` are those of a histogram's buckets."""

    edges: Sequence[float]
    series: Sequence[OneSeries]


def series(each: Iterable[OneSeries], edges: Iterable[float] = ()) -> Series:
    """Put together the series of one metric."""
    return {"edges": tuple(edges), "series": tuple(each)}


Snapshot = Mapping[str, Series]
Edges = Mapping[Metric, Sequence[float]]
"""The edges of every histogram's buckets."""

_OF_ENDPOINTS = tuple(metric for metric, declared in DECLARATIONS.items() if "endpoint" in declared.labels)


def merge(snapshots: Iterable[Snapshot], edges: Edges) -> Snapshot:
    """Add snapshots up, series by series.

    A histogram whose edges are not those of `edges` is left out: it comes from a process that follows another
    configuration than the one in use, and its buckets mean something else.
    """
    taken = tuple(snapshots)
    return {metric.value: _total(metric, taken, list(edges.get(metric, ()))) for metric in DECLARATIONS}


def _total(metric: Metric, snapshots: Iterable[Snapshot], edges: Sequence[float]) -> Series:
    total: dict[tuple[str, ...], Sequence[float]] = {}
    for snapshot in snapshots:
        found = snapshot.get(metric)
        if found is None or list(found["edges"]) != edges:
            continue
        for labels, numbers in found["series"]:
            key = tuple(labels)
            before = total.get(key)
            total[key] = numbers if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
    return {"edges": edges, "series": list(total.items())}


def growing(snapshot: Snapshot) -> Snapshot:
    """Leave out what a process that is gone holds no more; what it counted stays."""
    return {
        metric.value: snapshot[metric]
        for metric, declared in DECLARATIONS.items()
        if metric in snapshot and declared.kind is not Kind.GAUGE
    }


def without_others(snapshot: Snapshot, endpoints: Set[str]) -> Snapshot:
    """Leave out the series of endpoints that are not among `endpoints`."""
    return {**snapshot, **{m.value: _only(m, snapshot[m], endpoints) for m in _OF_ENDPOINTS if m in snapshot}}


def _only(metric: Metric, found: Series, endpoints: Set[str]) -> Series:
    at = DECLARATIONS[metric].labels.index("endpoint")
    return {"edges": found["edges"], "series": [each for each in found["series"] if each[0][at] in endpoints]}


class WorkerCounts:
    """What the workers of one supervisor have counted, those that have died among them.

    A sum must never fall, or Prometheus takes it for a restart; so the last counts of a worker that has died stay in.
    """

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._last: dict[int, Snapshot] = {}
        self._ended: Snapshot = {}

    def follow(self, edges: Edges) -> None:
        """Start histograms with other edges anew."""
        self._edges = edges

    def update(self, worker: int, snapshot: Snapshot) -> None:
        """Note what a worker has counted since it began."""
        self._last[worker] = snapshot

    def lost(self, worker: int) -> None:
        """Keep what a worker had counted when it was last heard; another may begin under its number."""
        last = self._last.pop(worker, None)
        if last is not None:
            self._ended = merge((self._ended, growing(last)), self._edges)

    def keep(self, endpoints: Set[str]) -> None:
        """Forget the series of all other endpoints."""
        self._ended = without_others(self._ended, endpoints)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return what is to be added up."""
        return (self._ended, *self._last.values())
