"""What a fleet run yields."""

from dataclasses import asdict, dataclass

from fairlead_simulator.results import Json


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class: counts of requests, shares, and seconds over the requests that completed.

    `goodput` and `ttft_attainment` are shares of the requests offered: whatever was rejected or lost has missed.
    `tbt_attainment` is a share of those that completed, by the largest gap of each.
    """

    offered: int
    completed: int
    good: int
    rejected: int
    failed: int
    goodput: float | None
    ttft_attainment: float | None
    tbt_attainment: float | None
    ttft_mean: float | None
    ttft_p50: float | None
    ttft_p95: float | None
    ttft_p99: float | None
    worst_tbt_p50: float | None
    worst_tbt_p99: float | None


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """All classes together; None where nothing was offered."""

    offered: int
    good: int
    goodput: float | None
    good_per_second: float
    fairness: float | None
    """Jain's index over the tenants, of the share of their tokens that was served."""
    waste: float | None
    """Share of the tokens computed that went to requests which missed."""
    busy: tuple[float, ...]
    """Share of the time in which each pod ran a batch."""
    classes: dict[str, ClassFigures]


@dataclass(frozen=True, slots=True)
class FleetResult:
    """One run: what was simulated, and what came out."""

    policy: str
    scheduler: str
    pods: int
    routers: int
    qps: float
    load: float | None
    """The rate over the pool's measured capacity, where that was asked for."""
    seed: int
    seconds: float
    wall_seconds: float
    figures: FleetFigures

    def as_json(self) -> Json:
        """Give the result as nested JSON."""
        document = asdict(self)
        return {**{name: value for name, value in document.items() if name != "figures"}, **document["figures"]}
