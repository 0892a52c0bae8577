"""The highest rate at which a condition holds, found by a sweep upwards and bisection to 0.01 requests per second."""

import operator
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from types import MappingProxyType

from fairlead_simulator.results import Json, RunResult, flat

STEPS_PER_QPS = 100
"""Bisection ends between two neighbouring hundredths of a request per second."""

BOUNDED_BACKLOG = "bounded backlog"

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
)
_TERM = re.compile(r"([a-z_][\w.]*)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?(?:e-?\d+)?)", re.IGNORECASE)

Rounds = Generator[list[float], list[RunResult], "Capacity"]
"""A search: yields rates to try, is sent a result for each in the same order, returns the capacity."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of the result, by its path in the JSON, against a number; a figure that is missing does not hold."""

    path: str
    sign: str
    value: float

    def holds(self, result: Json) -> bool:
        """Whether the result fulfils it."""
        figure = result[self.path]
        return figure is not None and _COMPARISONS[self.sign](figure, self.value)


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparisons that must all hold and, where it is asked for, a backlog that does not grow."""

    text: str
    comparisons: tuple[Comparison, ...]
    bounded_backlog: bool

    def holds(self, result: RunResult) -> bool:
        """Whether a run fulfils the condition."""
        if self.bounded_backlog and not result.figures.in_system.is_bounded:
            return False
        figures = flat(result.as_json())
        return all(comparison.holds(figures) for comparison in self.comparisons)


def parse_condition(text: str, users: Sequence[str]) -> Condition:
    """Read terms joined by `and`: `PATH < NUMBER` (also <=, >, >=) or `bounded backlog`; ValueError names a bad term."""
    comparisons: list[Comparison] = []
    bounded = False
    for term in re.split(r"\s+and\s+|,", text.strip()):
        if term.strip() == BOUNDED_BACKLOG:
            bounded = True
            continue
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise ValueError(
                f"--capacity: {term.strip()!r} is neither a comparison, as in ttft.p50<0.5, nor {BOUNDED_BACKLOG!r}"
            )
        path, sign, value = match.groups()
        if path not in (known := paths(users)):
            raise ValueError(f"--capacity: a result has no figure {path!r}; it has {', '.join(known)}")
        comparisons.append(Comparison(path, sign, float(value)))
    return Condition(text, tuple(comparisons), bounded)


def paths(users: Sequence[str]) -> list[str]:
    """Give the figures that a condition can compare."""
    summary = ("mean", "p50", "p90", "p99")
    return [
        "completed",
        "tokens_per_second",
        "output_tokens_per_second",
        *(f"{figure}.{share}" for figure in ("ttft", "first_token") for share in summary),
        *(f"ttft_by_user.{user}.{share}" for user in users for share in summary),
        *(f"tbt.{user}.{figure}" for user in users for figure in ("p50", "p99", "share_over")),
        "preemptions",
        *("kv_used.mean", "kv_used.max"),
        *("in_system.mean", "in_system.max", "in_system.end"),
        "batches.mean_seconds",
    ]


@dataclass(frozen=True, slots=True)
class Capacity:
    """`qps` is the highest rate at which the condition holds, a hundredth above it does not.

    It held at every rate of the grid below; with `exceeds_grid` it held at all of them and `qps` is the grid's last.
    """

    qps: float
    condition: str
    exceeds_grid: bool
    runs: tuple[RunResult, ...]
    """Every run of the search, by rate."""

    def as_json(self) -> Json:
        """Give the capacity as nested JSON."""
        return {
            "scheduler": self.runs[0].scheduler,
            "capacity": {"qps": self.qps, "condition": self.condition, "exceeds_grid": self.exceeds_grid},
            "runs": [run.as_json() for run in self.runs],
        }


def search(grid: Sequence[float], condition: Condition) -> Rounds:
    """Search: first the whole grid, then bisection below the lowest rate of it at which the condition fails."""
    runs = yield list(grid)
    failing = next((index for index, run in enumerate(runs) if not condition.holds(run)), None)
    if failing is None:
        return Capacity(grid[-1], condition.text, exceeds_grid=True, runs=tuple(runs))
    low = floor(round(grid[failing - 1] * STEPS_PER_QPS, 6)) if failing else 0
    high = ceil(round(grid[failing] * STEPS_PER_QPS, 6))
    while high - low > 1:
        middle = (low + high) // 2
        result = (yield [middle / STEPS_PER_QPS])[0]
        runs.append(result)
        low, high = (middle, high) if condition.holds(result) else (low, middle)
    ordered = tuple(sorted(runs, key=lambda run: run.qps))
    return Capacity(low / STEPS_PER_QPS, condition.text, exceeds_grid=False, runs=ordered)
