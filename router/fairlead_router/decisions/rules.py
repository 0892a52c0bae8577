"""What the SLO declaration says of service classes beside their limits, and what the queue may hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class OnUnreachable(StrEnum):
    """What becomes of a request whose TTFT limit cannot be met any more."""

    REJECT = "reject"
    """It is refused at once, and told when to come back: nobody waits for an answer that is late for sure."""
    QUEUE = "queue"
    """It waits behind those whose limits can be met."""


@dataclass(frozen=True, slots=True)
class ClassRules:
    """How a class is treated where requests compete."""

    priority: int = 0
    """Higher is served first."""
    share: float = 0.0
    """Share of the tokens that the class gets at least, whatever the priority of others; 0 is no guarantee."""
    on_unreachable: OnUnreachable = OnUnreachable.REJECT


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds of the pool's queue."""

    requests: int = 5000
    size_bytes: int = 1 << 30
    wait_seconds: float = 60.0


DEFAULT_RULES = ClassRules()


def yielding(rules: Mapping[str, ClassRules]) -> frozenset[str]:
    """Return the classes that have one above them, to which a request may have to give its place."""
    highest = max((each.priority for each in rules.values()), default=0)
    return frozenset(name for name, each in rules.items() if each.priority < highest)
