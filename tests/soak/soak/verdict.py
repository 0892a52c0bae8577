"""What must hold of everything that was seen together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

from soak.answers import Outcome
from soak.client import Record
from soak.pool import WorkerDeath
from soak.turmoil import Damage

RSS_TOLERANCE = 0.05
"""By how much the memory of a process may differ between the first and the last third of a soak."""
_BLAME_SECONDS = 1.0
"""How long after its death an engine may still be why a request is refused: until its connections are seen to break."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: which rule it breaks, and what was seen."""

    rule: str
    what: str


def findings_of(records: Iterable[Record], finished: set[str], damage: Damage) -> list[Finding]:
    """Return which requests ended as they must not; `finished` are those that an engine has sent to the end."""
    findings = []
    for record in records:
        if record.outcome is None:
            findings.append(_finding("every request ends", record))
        elif record.outcome is Outcome.WRONG:
            findings.append(_finding("every byte is the engine's", record))
        elif record.outcome in (Outcome.WHOLE, Outcome.HUNG_UP) or _worker_died(record, damage.worker_deaths):
            continue
        elif record.request_id in finished:
            findings.append(_finding("no answer is lost that its engine finished", record))
        elif record.outcome is Outcome.BROKEN:
            found = _finding("a connection breaks only with its worker", record)
            findings.append(replace(found, what=f"{found.what}; {_nearest(record, damage.worker_deaths)}"))
        elif not _engine_died(record, damage.engine_deaths):
            findings.append(_finding("an answer fails only with an engine", record))
    return findings


def _worker_died(record: Record, deaths: Iterable[WorkerDeath]) -> bool:
    """Whether the connection went down with a worker: it was that worker's, or was just being made."""
    return record.outcome is Outcome.BROKEN and any(
        (record.port in death.ports or not record.port)
        and record.connected_at <= death.at <= record.ended_at + _BLAME_SECONDS
        for death in deaths
    )


def _nearest(record: Record, deaths: Iterable[WorkerDeath]) -> str:
    """Say how long before and after the death of a worker a connection was begun and broken."""
    nearest = min(deaths, key=lambda death: abs(record.ended_at - death.at), default=None)
    if nearest is None:
        return "no worker died"
    begun, broken = record.connected_at - nearest.at, record.ended_at - nearest.at
    return f"begun {begun:+.3f} s and broken {broken:+.3f} s after a worker's death, port {record.port}"


def _engine_died(record: Record, deaths: Iterable[tuple[str, float]]) -> bool:
    """Whether an engine died that this request was at; the header names only the last one tried."""
    return any(record.sent_at - _BLAME_SECONDS <= at <= record.ended_at for _, at in deaths)


def _finding(rule: str, record: Record) -> Finding:
    how = f"{record.outcome or 'no end'} {record.code}".strip()
    what = (
        f"{record.request_id}: {how}, {'streamed' if record.streamed else 'whole'}, at {record.endpoint or 'no engine'}"
    )
    return Finding(rule, what)


@dataclass(frozen=True, slots=True)
class Memory:
    """Mean resident memory of one process in the first and in the last third of the load, in MB of a million bytes."""

    process: str
    first_mb: float
    last_mb: float


def memory_of(samples: Sequence[Mapping[str, int]]) -> list[Memory]:
    """Return the memory of each process that lived through all samples."""
    third = len(samples) // 3
    if not third:
        return []
    lived = set.intersection(*(set(sample) for sample in samples))
    first, last = samples[:third], samples[-third:]
    return [Memory(process, _mean_mb(first, process), _mean_mb(last, process)) for process in sorted(lived)]


def growth(memory: Iterable[Memory]) -> list[Finding]:
    """Return which processes have grown."""
    return [
        Finding("memory is flat", f"{each.process}: {each.first_mb:.1f} MB, at the end {each.last_mb:.1f} MB")
        for each in memory
        if each.last_mb > each.first_mb * (1 + RSS_TOLERANCE)
    ]


def _mean_mb(samples: Sequence[Mapping[str, int]], process: str) -> float:
    return round(fmean(sample[process] for sample in samples) / 1e6, 2)


def counts(records: Iterable[Record]) -> dict[str, int]:
    """Return how many requests ended how."""
    return dict(Counter(f"{r.outcome or 'running'} {r.code}".strip() for r in records).most_common())


def quantile(buckets: Mapping[float, float], earlier: Mapping[float, float], share: float) -> float:
    """Return the upper edge of the bucket in which a share of the observations since `earlier` ends."""
    edges = sorted(buckets)
    counts = [buckets[edge] - earlier.get(edge, 0.0) for edge in edges]
    if any(later < sooner for sooner, later in pairwise(counts)):
        raise ValueError(f"not cumulative: {counts}")
    return next(edge for edge, count in zip(edges, counts, strict=True) if count >= share * counts[-1])
