"""Measures a fleet run: per class what was offered, what met its SLO, and how long things took."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence

from fairlead_router.contract import Reason
from fairlead_router.decisions.types import Outcome
from fairlead_simulator.fleet.results import ClassFigures, FleetFigures
from fairlead_simulator.fleet.scenario import Arrival, ClassSpec
from fairlead_simulator.histogram import quantile
from fairlead_simulator.metrics import ratio


class _OfClass:
    """Counts of one class."""

    def __init__(self, spec: ClassSpec) -> None:
        self.slo = spec.slo
        self.offered = self.completed = self.good = self.rejected = self.failed = 0
        self.met_ttft = self.met_tbt = 0
        self.ttft = array("d")
        self.worst_tbt = array("d")

    def figures(self) -> ClassFigures:
        ttft, tbt = sorted(self.ttft), sorted(self.worst_tbt)
        return ClassFigures(
            offered=self.offered,
            completed=self.completed,
            good=self.good,
            rejected=self.rejected,
            failed=self.failed,
            goodput=ratio(self.good, self.offered),
            ttft_attainment=ratio(self.met_ttft, self.offered),
            tbt_attainment=ratio(self.met_tbt, self.completed),
            ttft_mean=sum(ttft) / len(ttft) if ttft else None,
            ttft_p50=_quantile(ttft, 0.5),
            ttft_p95=_quantile(ttft, 0.95),
            ttft_p99=_quantile(ttft, 0.99),
            worst_tbt_p50=_quantile(tbt, 0.5),
            worst_tbt_p99=_quantile(tbt, 0.99),
        )


class FleetMeter:
    """Is told of every arrival and of what became of it."""

    def __init__(self, classes: Iterable[ClassSpec]) -> None:
        self._classes = {spec.name: _OfClass(spec) for spec in classes}
        self._good_tokens = self._all_tokens = 0
        self._of_tenant: dict[str, int] = defaultdict(int)
        self._asked_by: dict[str, int] = defaultdict(int)

    def offered(self, arrival: Arrival) -> None:
        """Count a request."""
        self._classes[arrival.stream.service_class].offered += 1
        self._asked_by[arrival.tenant] += arrival.lengths.prompt_tokens + arrival.lengths.output_tokens

    def rejected(self, arrival: Arrival) -> None:
        """Count a request that was not run."""
        self._classes[arrival.stream.service_class].rejected += 1

    def ended(self, arrival: Arrival, outcome: Outcome) -> None:
        """Count a request that was placed and has ended; a router judged it."""
        counts = self._classes[arrival.stream.service_class]
        completed = outcome.reason is Reason.COMPLETED
        tokens = outcome.token_chunks + (arrival.lengths.prompt_tokens if outcome.token_chunks else 0)
        self._all_tokens += tokens
        if not completed:
            counts.failed += 1
            return
        counts.completed += 1
        self._of_tenant[arrival.tenant] += tokens
        slo, ttft, worst = counts.slo, outcome.ttft_seconds, outcome.worst_tbt_seconds
        if ttft is not None:
            counts.ttft.append(ttft)
            counts.met_ttft += slo.met_by(ttft, None)
        if worst is not None:
            counts.worst_tbt.append(worst)
        counts.met_tbt += slo.met_by(None, worst)
        if outcome.good:
            counts.good += 1
            self._good_tokens += tokens

    def figures(self, seconds: float, busy_seconds: Sequence[float]) -> FleetFigures:
        """Sum up."""
        classes = {name: counts.figures() for name, counts in self._classes.items()}
        offered = sum(figures.offered for figures in classes.values())
        good = sum(figures.good for figures in classes.values())
        served = [self._of_tenant[tenant] / asked for tenant, asked in self._asked_by.items() if asked]
        return FleetFigures(
            offered=offered,
            good=good,
            goodput=ratio(good, offered),
            good_per_second=good / seconds,
            fairness=jain(served),
            waste=None if not self._all_tokens else 1 - self._good_tokens / self._all_tokens,
            busy=tuple(busy / seconds for busy in busy_seconds),
            classes=classes,
        )


def jain(shares: Sequence[float]) -> float | None:
    """Return Jain's index: 1 where all have the same, 1/n where one has everything; None without anybody."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else None


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return quantile(ordered, share) if ordered else None
