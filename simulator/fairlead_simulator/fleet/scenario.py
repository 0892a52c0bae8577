"""What a fleet run is made of: pods, routers, classes, streams of requests."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import count
from random import Random

from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.rules import DEFAULT_RULES, ClassRules, QueueLimits
from fairlead_router.decisions.types import Slo
from fairlead_simulator.arrivals import Arrivals, Poisson
from fairlead_simulator.fleet.peers import PEERS
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.setup import Setup
from fairlead_simulator.workload import LengthSource, ShareGpt


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """A service class."""

    name: str
    slo: Slo = field(default_factory=Slo)
    rules: ClassRules = DEFAULT_RULES


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one class: their share of the rate, their lengths, when they come, and from whom."""

    service_class: str
    share: float = 1.0
    lengths: LengthSource = field(default_factory=ShareGpt)
    arrivals: Arrivals = field(default_factory=Poisson)
    tenants: tuple[tuple[str, float], ...] = (("", 1.0),)
    """Names and weights: a tenant's share of the stream is its weight over all."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it arrives."""

    seconds: float
    number: int
    stream: Stream = field(compare=False)
    tenant: str = field(compare=False)
    lengths: Lengths = field(compare=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """A pod that is gone from `start` until `end`, in seconds."""

    pod: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class PodSpec:
    """An engine, and how many times slower than its profile it is."""

    setup: Setup
    slowness: float = 1.0


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A routing policy, and whether requests are admitted and wait by SLAI before it."""

    name: str
    admission: bool

    @property
    def label(self) -> str:
        """How the command line has it."""
        return self.name + ("" if self.admission == (self.name == RAD) else "+slai" if self.admission else "-slai")

    @classmethod
    def parse(cls, text: str) -> "PolicySpec":
        """Read NAME, NAME+slai or NAME-slai; rad comes with SLAI, and others as their authors ship them.

        Raises
        ------
        ValueError
            There is no such policy.

        """
        name = text.removesuffix("+slai").removesuffix("-slai")
        if name not in NAMES:
            raise ValueError(f"policy {text!r} is unknown; choose from {', '.join(NAMES)}, with +slai or -slai behind")
        return cls(name, text.endswith("+slai") or (name == RAD and not text.endswith("-slai")))


RAD = "rad"
NAMES = (*POLICIES, *PEERS)
"""Policies that can be simulated: the router's, and peers'."""


@dataclass(frozen=True, slots=True)
class FleetScenario:
    """One run; the same scenario gives the same figures, bit for bit."""

    pods: tuple[PodSpec, ...]
    policy: PolicySpec
    classes: tuple[ClassSpec, ...]
    streams: tuple[Stream, ...]
    qps: float
    seconds: float
    """How long requests arrive."""
    seed: int = 42
    routers: int = 1
    failures: tuple[Failure, ...] = ()
    queue: QueueLimits = field(default_factory=QueueLimits)
    scrape_seconds: float = 0.05
    """Between two looks at the engines' own metrics, for policies that go by them."""
    drain_seconds: float = 120.0
    """How long the pool may work on after the last arrival; what has not ended then has missed."""

    def arrivals(self) -> Iterator[Arrival]:
        """Yield the requests of all streams in the order of their arrival."""
        numbers = count()
        streams = [self._of(index, stream) for index, stream in enumerate(self.streams)]
        for seconds, _, stream, tenant, lengths in merge(*streams, key=lambda each: each[:2]):
            yield Arrival(seconds, next(numbers), stream, tenant, lengths)

    def _of(self, index: int, stream: Stream) -> Iterator[tuple[float, int, Stream, str, Lengths]]:
        """Yield one stream; arrivals, lengths and tenants draw from sources of their own."""
        lengths = stream.lengths.lengths(self.random(f"lengths/{index}"))
        random = self.random(f"tenants/{index}")
        names, weights = zip(*stream.tenants, strict=True)
        for seconds in stream.arrivals.times(self.qps * stream.share, self.random(f"arrivals/{index}")):
            if seconds >= self.seconds:
                return
            yield seconds, index, stream, random.choices(names, weights)[0], next(lengths)

    def random(self, what: str) -> Random:
        """Return a source of chance of its own for everything that draws."""
        return Random(f"{what}/{self.seed}")  # noqa: S311 - a workload, not secrets
