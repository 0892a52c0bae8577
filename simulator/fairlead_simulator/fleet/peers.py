"""Policies as other projects ship them, for comparison: on metrics that are scraped from engines, and so a little old."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from fairlead_router.decisions.policies.policy import Policy, Scored
from fairlead_router.decisions.types import Candidate, Demand


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine says of itself."""

    waiting: int = 0
    kv_share: float = 0.0


Scraped = Mapping[str, EngineStats]
"""What was scraped last, by uid."""

_NOTHING: Final = EngineStats()


class WeightedScorers:
    """The default profile of the Gateway API inference extension, from which llm-d's comes.

    Three scorers from 0 to 1, weighted and added: requests that wait at the engine (2), free KV memory (2), share of the
    prompt's blocks that it is believed to hold (3); the highest sum gets the request, chance decides between equals.
    Source: kubernetes-sigs/gateway-api-inference-extension, default plugins of the endpoint picker.
    """

    def __init__(self, scraped: Scraped) -> None:
        self._scraped = scraped

    def __call__(self, demand: Demand, candidates: Sequence[Candidate]) -> Sequence[float]:
        """Score by the weighted sum."""
        stats = [self._scraped.get(each.uid, _NOTHING) for each in candidates]
        most, fewest = max(each.waiting for each in stats), min(each.waiting for each in stats)
        prefix, ends = demand.request.prefix, demand.request.prefix_ends
        whole = ends[len(prefix) - 1] if prefix else 0
        return [
            2.0 * ((most - each.waiting) / (most - fewest) if most > fewest else 1.0)
            + 2.0 * (1.0 - each.kv_share)
            + (3.0 * demand.cached.get(candidate.uid, 0) / whole if whole else 0.0)
            for candidate, each in zip(candidates, stats, strict=True)
        ]


PEERS: Final[Mapping[str, Callable[[Scraped, Random], Policy]]] = MappingProxyType(
    {"llm-d": lambda scraped, random: Scored(WeightedScorers(scraped), random.choice, weighs=False)}
)
"""By the name that `--policy` takes."""
