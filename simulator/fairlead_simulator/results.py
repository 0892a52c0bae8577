"""What a run yields: the figures of one scheduler at one rate, as typed values and as nested JSON."""

from dataclasses import asdict, dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds over the completed requests; None where there were none."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class TbtSummary:
    """Seconds between tokens of the users of one kind, all tokens pooled; None where there were none."""

    p50: float | None
    p99: float | None
    share_over: float | None
    """Share of the gaps above the users' limit, exact."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of a run, and their means."""

    count: int
    mean_seconds: float | None
    mean_tokens: float | None


@dataclass(frozen=True, slots=True)
class KvUsed:
    """Share of the KV blocks that requests hold: its time average over the run, and the highest."""

    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class InSystem:
    """Requests that have arrived and not ended: time average over the run, highest, and at the end of the arrivals.

    A run that was stopped before all had arrived has its `end` where it was stopped, and fewer than four quarters:
    `quarters` are the time averages while each quarter of the requests arrived.
    """

    mean: float
    max: int
    end: int
    quarters: tuple[float, ...]

    @property
    def is_bounded(self) -> bool:
        """Whether all arrived and the backlog did not grow: in the last quarter at most 1.2 times that of the second."""
        return len(self.quarters) == 4 and self.quarters[3] <= 1.2 * self.quarters[1]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples over time, a few thousand at most, for plots."""

    seconds: tuple[float, ...]
    in_system: tuple[int, ...]
    running: tuple[int, ...]
    kv_used: tuple[float, ...]
    batch_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured in one run, in virtual time; the same for the same scenario on every machine."""

    completed: int
    sim_seconds: float
    tokens_per_second: float
    """Prompt and output tokens of the completed requests."""
    output_tokens_per_second: float
    ttft: Summary
    """Arrival to the end of the batch that completed the prompt, after a preemption the last one that did."""
    first_token: Summary
    """Arrival to the end of the batch that yielded the first output token."""
    ttft_by_user: dict[str, Summary]
    tbt: dict[str, TbtSummary]
    preemptions: int
    cached_tokens: int
    """Prompt tokens that were found in the prefix cache."""
    kv_used: KvUsed
    in_system: InSystem
    batches: Batches
    ttft_curve: tuple[float, ...]
    """TTFT at 0, 0.5 ... 100 % of the completed requests, for plots."""
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run: what was simulated, what came out, and how long that took."""

    scheduler: str
    profile: str
    qps: float
    seed: int
    requests: int
    wall_seconds: float
    figures: Figures

    def as_json(self) -> Json:
        """Give the result as nested JSON, without what is for plots only."""
        figures = asdict(self.figures)
        del figures["ttft_curve"], figures["timeline"]
        wanted = ("scheduler", "profile", "qps", "seed", "requests")
        head = {name: getattr(self, name) for name in wanted}
        return {
            **head,
            "completed": figures.pop("completed"),
            "sim_seconds": figures.pop("sim_seconds"),
            "wall_seconds": self.wall_seconds,
            **figures,
        }


def flat(nested: Json, prefix: str = "") -> Json:
    """Flatten nested JSON: the path of a value, joined by dots, is its name."""
    result: Json = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            result |= {f"{prefix}{name}.{index}": item for index, item in enumerate(value)}
        else:
            result[prefix + name] = value
    return result
