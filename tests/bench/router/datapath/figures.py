"""What is computed from measurements: medians with their spread, ratios round by round, the highest rate that was held.

Everything here is pure: what was measured comes in as cells, and nothing is read, run or timed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeVar

LATENCY_HELD_MS = 50.0
"""A rate is held while the p99 of token latency stays below this..."""
SHARE_HELD = 0.97
"""... and at least this share of the tokens offered arrives."""
MEASURING_SIDE_FULL = 0.97
ROUTER_FULL = 0.95
"""Where the cores of the measuring side are busy to the one share, and the router's core is not to the other, it is the
measuring side that limits a figure."""

DISTURBED = 0.03
"""Share of the cores from which on what others take shows in figures."""

Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one case of a scenario gave for one target in one round."""

    scenario: str
    case: str
    target: str
    round: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a figure over rounds, and between what it lay."""

    median: float
    least: float
    most: float
    rounds: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return median and spread of the values that are known, or None where none is."""
    known = [value for value in values if value is not None]
    return Spread(median(known), min(known), max(known), len(known)) if known else None


def rotated(names: Sequence[str], round_number: int) -> list[str]:
    """Return the order of a round: each begins with another name, so that no target always comes first."""
    start = round_number % len(names) if names else 0
    return [*names[start:], *names[:start]]


class Measured:
    """All cells of a run, by what they are asked for."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = tuple(cells)
        self._found = {(cell.scenario, cell.case, cell.target, cell.round): cell for cell in self.cells}

    def targets(self, scenario: str) -> list[str]:
        """Return the targets that a scenario has cells of, in the order of the first round."""
        return list(dict.fromkeys(cell.target for cell in self.cells if cell.scenario == scenario))

    def all_targets(self) -> list[str]:
        """Return all targets, in the order of the first round."""
        return list(dict.fromkeys(cell.target for cell in self.cells))

    def cases(self, scenario: str) -> list[str]:
        """Return the cases of a scenario, in the order in which they were measured."""
        return list(dict.fromkeys(cell.case for cell in self.cells if cell.scenario == scenario))

    def rounds(self) -> list[int]:
        """Return the numbers of the rounds."""
        return sorted({cell.round for cell in self.cells})

    def value(self, scenario: str, case: str, target: str, round_number: int, figure: str) -> float | None:
        """Return one figure, or None where it was not measured."""
        cell = self._found.get((scenario, case, target, round_number))
        return cell.figures.get(figure) if cell else None

    def values(self, scenario: str, case: str, target: str, figure: str) -> list[float | None]:
        """Return one figure of each round."""
        return [self.value(scenario, case, target, number, figure) for number in self.rounds()]

    def added(self, scenario: str, case: str, target: str, figure: str, *, base: str = "direct") -> list[float | None]:
        """Return by how much a figure is above that of `base` in the same round; None where either is missing."""
        pairs = zip(self.values(scenario, case, target, figure), self.values(scenario, case, base, figure), strict=True)
        return [None if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]

    def ratios(self, scenario: str, case: str, target: str, figure: str, *, to: str) -> list[float | None]:
        """Return a figure divided by that of target `to` in the same round; None where either is missing."""
        pairs = zip(self.values(scenario, case, target, figure), self.values(scenario, case, to, figure), strict=True)
        return [None if ours is None or not theirs else ours / theirs for ours, theirs in pairs]


def holds(figures: Mapping[str, float | None]) -> bool:
    """Whether a router held the rate that it was offered, without an error."""
    p99, share = figures["token_p99_ms"], figures["delivered_share"]
    in_time = p99 is not None and share is not None and p99 < LATENCY_HELD_MS and share >= SHARE_HELD
    return in_time and not figures["errors"]


def limited_by_measuring(figures: Mapping[str, float | None]) -> bool:
    """Whether the measuring side was full and the router was not, so that the router may be able to do more."""
    measuring, router = figures.get("measuring_share"), figures.get("router_share")
    return (measuring or 0.0) >= MEASURING_SIDE_FULL and (router or 0.0) < ROUTER_FULL


def next_rate(rates: Sequence[int], held: Mapping[int, bool]) -> int | None:
    """Bisect: return the rate to try next, or None where the highest one that is held is known.

    `rates` rise. A rate below one that was held counts as held, and one above a rate that was not as not.
    """
    lowest = max((rates.index(rate) + 1 for rate, was_held in held.items() if was_held), default=0)
    highest = min((rates.index(rate) for rate, was_held in held.items() if not was_held), default=len(rates))
    return rates[(lowest + highest) // 2] if lowest < highest else None


def with_highest_held(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells with one more for each round and target that had rates tried: the highest that was held.

    Its figures are those at that rate, and the rate itself as `held_per_second`; with `limited` 1 where the measuring
    side was full, or no higher rate was tried, so that the router may hold more.
    """
    tried: dict[tuple[str, int], list[Cell]] = {}
    rest: list[Cell] = []
    for cell in cells:
        if cell.scenario == "rates":
            tried.setdefault((cell.target, cell.round), []).append(cell)
        rest.append(cell)
    return [*rest, *(_highest_held(target, number, probes) for (target, number), probes in tried.items())]


def _highest_held(target: str, round_number: int, probes: Sequence[Cell]) -> Cell:
    held = [probe for probe in probes if holds(probe.figures)]
    failed = [probe for probe in probes if not holds(probe.figures)]
    best = max(held, key=lambda probe: int(probe.case), default=None)
    if best is None:
        return Cell("held", "held", target, round_number, {"held_per_second": 0.0, "limited": 0.0})
    above = min(failed, key=lambda probe: int(probe.case), default=None)
    limited = above is None or limited_by_measuring(above.figures)
    figures: Figures = {**best.figures, "held_per_second": float(best.case), "limited": float(limited)}
    return Cell("held", "held", target, round_number, figures)


class Shared(Protocol):
    """Something measured on cores of which others may take a share."""

    @property
    def others_share(self) -> float:
        """What others took of the cores."""


Measurement = TypeVar("Measurement", bound=Shared)


def least_disturbed(measure: Callable[[], Measurement], settle: Callable[[], None], patience: int) -> Measurement:
    """Measure, and where others disturbed that, settle and measure again, so many times at most.

    Returned is the least disturbed measurement, whatever its figures.
    """
    best = measure()
    for _ in range(patience):
        if best.others_share <= DISTURBED:
            break
        settle()
        best = min(best, measure(), key=lambda each: each.others_share)
    return best


Buckets = Mapping[float, float]
"""A histogram as Prometheus has it: how many observations were at most each edge, summed over its other labels."""


def buckets(exposition: str, metric: str) -> Buckets:
    """Return the buckets of a histogram in Prometheus' text format; empty where it has none of that name."""
    found: dict[float, float] = {}
    for edge, count in re.findall(rf'^{metric}_bucket{{[^}}]*le="([^"]+)"[^}}]*}} (\S+)', exposition, re.MULTILINE):
        found[float(edge)] = found.get(float(edge), 0.0) + float(count)
    return found


def quantile_between(before: Buckets, after: Buckets, share: float) -> float | None:
    """Return the edge of the bucket that holds a quantile of what was observed between two readings.

    The true quantile is at most that: the figure is never too good. None where nothing was observed.
    """
    gained = {edge: count - before.get(edge, 0.0) for edge, count in sorted(after.items())}
    total = max(gained.values(), default=0.0)
    if total <= 0:
        return None
    return next(edge for edge, count in gained.items() if count >= share * total)
