"""When requests arrive: arrival processes, each drawn from a random source that is passed in.

`times` yields arrival times in seconds, never decreasing and without end (a replayed trace ends). `qps` is the nominal
rate in requests per second; a process that does not keep it says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import cos, exp, log, pi
from random import Random
from types import MappingProxyType
from typing import Protocol


class Arrivals(Protocol):
    """An arrival process."""

    def times(self, qps: float, random: Random) -> Iterator[float]:
        """Yield arrival times, in seconds from the start."""
        ...


def _exponential(random: Random) -> float:
    """Draw an exponential of mean 1 by inversion: one uniform number each, the same on every version of Python."""
    return -log(1.0 - random.random())


@dataclass(frozen=True, slots=True)
class Poisson:
    """Exponential gaps."""

    def times(self, qps: float, random: Random) -> Iterator[float]:
        """Yield arrival times, in seconds from the start."""
        now = 0.0
        while True:
            now += _exponential(random) / qps
            yield now


@dataclass(frozen=True, slots=True)
class Clipped:
    """Exponential gaps cut at `clip` mean gaps, as in the evaluation of arXiv 2508.01002.

    The cut raises the rate: to 1 / (1 - e^-3) = 1.052 times the nominal one where it is at 3.
    """

    clip: float = 3.0

    def __post_init__(self) -> None:
        if self.clip <= 0:
            raise ValueError(f"clip must be above 0, not {self.clip:g}")

    @property
    def rate_factor(self) -> float:
        """True rate over nominal rate."""
        return 1 / (1 - exp(-self.clip))

    def times(self, qps: float, random: Random) -> Iterator[float]:
        """Yield arrival times, in seconds from the start."""
        now = 0.0
        while True:
            now += min(_exponential(random), self.clip) / qps
            yield now


@dataclass(frozen=True, slots=True)
class Deterministic:
    """One request every 1 / qps seconds, the first at 0."""

    def times(self, qps: float, random: Random) -> Iterator[float]:  # noqa: ARG002 - nothing is drawn
        """Yield arrival times, in seconds from the start."""
        index = 0
        while True:
            yield index / qps
            index += 1


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma-distributed gaps with coefficient of variation `cv`: bursts above 1, 1 is Poisson, regular below."""

    cv: float = 2.0

    def __post_init__(self) -> None:
        if self.cv <= 0:
            raise ValueError(f"cv must be above 0, not {self.cv:g}")

    def times(self, qps: float, random: Random) -> Iterator[float]:
        """Yield arrival times, in seconds from the start."""
        shape = 1 / self.cv**2
        now = 0.0
        while True:
            now += random.gammavariate(shape, 1 / (shape * qps))
            yield now


@dataclass(frozen=True, slots=True)
class Mmpp:
    """A Markov-modulated Poisson process of two states: calm, and bursts `ratio` times as fast.

    Bursts last `burst` seconds on average and take `share` of the time; the mean rate is qps.
    """

    ratio: float = 5.0
    burst: float = 10.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.ratio < 1:
            raise ValueError(f"ratio must be at least 1, not {self.ratio:g}")
        if self.burst <= 0:
            raise ValueError(f"burst must be above 0 seconds, not {self.burst:g}")
        if not 0 < self.share < 1:
            raise ValueError(f"share must be between 0 and 1, not {self.share:g}")

    def times(self, qps: float, random: Random) -> Iterator[float]:
        """Yield arrival times, in seconds from the start."""
        calm_rate = qps / (1 - self.share + self.share * self.ratio)
        rates = (calm_rate, calm_rate * self.ratio)
        stays = (self.burst * (1 - self.share) / self.share, self.burst)
        now, bursting = 0.0, random.random() < self.share
        change = stays[bursting] * _exponential(random)
        while True:
            arrival = now + _exponential(random) / rates[bursting]
            if arrival < change:
                now = arrival
                yield now
            else:  # exponential gaps have no memory: the rest of the gap is drawn anew at the other rate
                now, bursting = change, not bursting
                change = now + stays[bursting] * _exponential(random)


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A Poisson process whose rate swings by `amplitude` (0 to 1) around qps every `period` seconds, lowest at the start."""

    amplitude: float = 0.8
    period: float = 86_400.0

    def __post_init__(self) -> None:
        if not 0 <= self.amplitude <= 1:
            raise ValueError(f"amplitude must be between 0 and 1, not {self.amplitude:g}")
        if self.period <= 0:
            raise ValueError(f"period must be above 0 seconds, not {self.period:g}")

    def times(self, qps: float, random: Random) -> Iterator[float]:
        """Yield arrival times, in seconds from the start, by thinning a process at the highest rate."""
        highest = 1 + self.amplitude
        now = 0.0
        while True:
            now += _exponential(random) / (qps * highest)
            if random.random() * highest < 1 - self.amplitude * cos(2 * pi * now / self.period):
                yield now


@dataclass(frozen=True, slots=True)
class Replay:
    """Recorded arrival times in seconds, not decreasing; stretched so that their mean rate is the qps asked for."""

    recorded: tuple[float, ...]

    @property
    def qps(self) -> float:
        """Mean rate as recorded."""
        seconds = self.recorded[-1] - self.recorded[0]
        return (len(self.recorded) - 1) / seconds if seconds > 0 else 0.0

    def times(self, qps: float, random: Random) -> Iterator[float]:  # noqa: ARG002 - nothing is drawn
        """Yield arrival times, in seconds from the start; as many as were recorded."""
        start, stretch = self.recorded[0], self.qps / qps
        for time in self.recorded:
            yield (time - start) * stretch


ARRIVALS: Mapping[str, type[Arrivals]] = MappingProxyType(
    {
        "clipped": Clipped,
        "poisson": Poisson,
        "deterministic": Deterministic,
        "gamma": Gamma,
        "mmpp": Mmpp,
        "diurnal": Diurnal,
    }
)
"""Arrival processes by the name that `--arrivals` takes, beside `trace`, which replays the trace's own."""
