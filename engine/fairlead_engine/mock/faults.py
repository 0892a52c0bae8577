"""Which fault hits which request: decisions only, the same for the same seed and order of requests.

A fault is a rule. Rules are asked in their order, and the first that hits a request decides. `fault_edge.py` carries out
what is decided here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType


class FaultName(StrEnum):
    """The faults by the name that `--fault` and `/admin/faults` take."""

    SLOW_START = "slow-start"
    """Connections are refused for VALUE seconds after the start, as while a model loads."""
    UNHEALTHY = "unhealthy"
    """The health endpoints answer 503; requests are served."""
    ERROR = "error"
    """The request is answered with status VALUE."""
    TOO_MANY_REQUESTS = "too-many-requests"
    """The request is answered with 429 and `Retry-After: VALUE`."""
    HANG = "hang"
    """The answer stops, and the connection stays open."""
    RESET = "reset"
    """The connection is reset (RST) within the answer."""
    TRUNCATE = "truncate"
    """Half a chunk is sent, then the connection is closed (FIN)."""
    CRASH = "crash"
    """The process exits with status VALUE, at once and without a word."""
    SLOWDOWN = "slowdown"
    """Every batch takes 1 + VALUE * t times as long, t seconds after the fault was set."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a fault's options may be."""

    value: str | None
    """What its value means; None where it has none."""
    default: float | None = None
    least: float = 0.0
    most: float = math.inf
    is_whole: bool = False
    chosen: bool = True
    """Whether it hits some requests (or probes) and not others."""
    default_after: int | None = None
    """Chunks of the answer before it hits; None where it comes instead of an answer."""


_RULES: Mapping[FaultName, _Rules] = MappingProxyType(
    {
        FaultName.SLOW_START: _Rules("seconds", chosen=False),
        FaultName.UNHEALTHY: _Rules(None),
        FaultName.ERROR: _Rules("a status", default=500, least=500, most=599, is_whole=True),
        FaultName.TOO_MANY_REQUESTS: _Rules("seconds", default=1, is_whole=True),
        FaultName.HANG: _Rules(None, default_after=0),
        FaultName.RESET: _Rules(None, default_after=1),
        FaultName.TRUNCATE: _Rules(None, default_after=1),
        FaultName.CRASH: _Rules("an exit status", default=1, most=255, is_whole=True, default_after=0),
        FaultName.SLOWDOWN: _Rules("growth per second", chosen=False),
    }
)

_OF_REQUESTS = frozenset(FaultName) - {FaultName.SLOW_START, FaultName.UNHEALTHY, FaultName.SLOWDOWN}


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule. ValueError where an option is out of range or is not the fault's."""

    name: FaultName
    value: float | None = None
    probability: float = 1.0
    next: int | None = None
    """Hits after which the fault is spent; None: never."""
    after: int | None = None
    """Chunks of the answer that are sent first; an answer that has fewer is hit in its last."""

    def __post_init__(self) -> None:
        rules = _RULES[self.name]
        self._check_value(rules)
        if not rules.chosen and (self.probability, self.next) != (1.0, None):
            raise ValueError(
                f"{self.name}: probability and next are for faults of requests and probes, not for this one"
            )
        if not 0 < self.probability <= 1:
            raise ValueError(f"{self.name}: probability must be above 0 and at most 1, not {self.probability:g}")
        if self.next is not None and self.next < 1:
            raise ValueError(f"{self.name}: next must be at least 1, not {self.next}")
        if rules.default_after is None and self.after is not None:
            raise ValueError(f"{self.name}: after is for faults within an answer, not for this one")
        if self.after is not None and self.after < 0:
            raise ValueError(f"{self.name}: after must be at least 0, not {self.after}")

    def _check_value(self, rules: _Rules) -> None:
        if rules.value is None:
            if self.value is not None:
                raise ValueError(f"{self.name} takes no value, not {self.value:g}")
            return
        if self.value is None:
            if rules.default is None:
                raise ValueError(f"{self.name} needs a value ({rules.value}): {self.name}=...")
            return
        if not rules.least <= self.value <= rules.most or not math.isfinite(self.value):
            most = "" if math.isinf(rules.most) else f" and at most {rules.most:g}"
            raise ValueError(
                f"{self.name}: the value ({rules.value}) must be at least {rules.least:g}{most}, not {self.value:g}"
            )
        if rules.is_whole and self.value != int(self.value):
            raise ValueError(f"{self.name}: the value ({rules.value}) must be a whole number, not {self.value:g}")

    @property
    def amount(self) -> float:
        """The value, or the fault's default; 0 where it has none."""
        default = _RULES[self.name].default
        return self.value if self.value is not None else default if default is not None else 0.0

    @property
    def chunks_before(self) -> int:
        """Chunks of the answer that are sent before the fault hits."""
        default = _RULES[self.name].default_after
        return self.after if self.after is not None else default if default is not None else 0


def parse_fault(text: str) -> Fault:
    """Read `NAME[=VALUE][,probability=P][,next=N][,after=CHUNKS]`; ValueError says what is wrong with it."""
    first, *rest = text.split(",")
    name, _, value = first.partition("=")
    if name not in set(FaultName):
        raise ValueError(f"unknown fault {name!r}; choose from {', '.join(FaultName)}")
    options: dict[str, str] = {}
    for part in rest:
        option, equals, given = part.partition("=")
        if option not in ("probability", "next", "after") or not equals or option in options:
            raise ValueError(f"{text!r}: {part!r} is not one of probability=P, next=N, after=CHUNKS, each at most once")
        options[option] = given
    return Fault(
        FaultName(name),
        value=None if "=" not in first else _number(name, "the value", value),
        probability=_number(name, "probability", options.get("probability", "1")),
        next=None if "next" not in options else _count(name, "next", options["next"]),
        after=None if "after" not in options else _count(name, "after", options["after"]),
    )


class Faults:
    """The rules in force and what they have hit. The clock is the caller's: seconds of any one clock."""

    def __init__(self, faults: Sequence[Fault] = (), *, seed: int = 0, now: float = 0.0) -> None:
        self.replace(faults, seed=seed, now=now)

    def replace(self, faults: Sequence[Fault], *, seed: int, now: float) -> None:
        """Put `faults` into force instead of all others, and count requests from 0 again."""
        self.faults = tuple(faults)
        self.seed = seed
        self.hits = [0] * len(self.faults)
        self.requests = 0
        self._probes = 0
        self._since = now
        self._growth_per_second = sum(fault.amount for fault in self.faults if fault.name is FaultName.SLOWDOWN)

    @property
    def start_delay_seconds(self) -> float:
        """How long connections are refused after the start."""
        return sum(fault.amount for fault in self.faults if fault.name is FaultName.SLOW_START)

    def slowdown(self, now: float) -> float:
        """By what every batch time is multiplied at `now`; 1 is none."""
        return 1.0 + self._growth_per_second * max(0.0, now - self._since) if self._growth_per_second else 1.0

    def of_request(self) -> Fault | None:
        """Count a request and return the fault that hits it."""
        self.requests += 1
        return self._hit(_OF_REQUESTS, self.requests)

    def fails_probe(self) -> bool:
        """Count a health probe and return whether it is told that the engine is ill."""
        self._probes += 1
        return self._hit(frozenset({FaultName.UNHEALTHY}), self._probes) is not None

    def _hit(self, names: frozenset[FaultName], number: int) -> Fault | None:
        for rule, fault in enumerate(self.faults):
            if fault.name not in names or self.hits[rule] == fault.next:
                continue
            if fault.probability == 1 or self._draw(rule, number) < fault.probability:
                self.hits[rule] += 1
                return fault
        return None

    def _draw(self, rule: int, number: int) -> float:
        """Return a number in [0, 1) that depends on seed, rule and request alone: rules do not disturb one another."""
        digest = blake2b(f"{self.seed} {rule} {number}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def _number(name: str, what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: {what} must be a number, not {text!r}") from None


def _count(name: str, what: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}: {what} must be a whole number, not {text!r}") from None
