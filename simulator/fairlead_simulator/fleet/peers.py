"""Policies as other projects ship them, for comparison: on metrics that are scraped from engines, and so a little old."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from fairlead_router.decisions.policies.policy import C, Choice, Policy
from fairlead_router.decisions.types import Demand


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

    weighs = False

    def __init__(self, scraped: Scraped, random: Random) -> None:
        self._scraped = scraped
        self._random = random

    def choose(self, demand: Demand, candidates: Sequence[C]) -> Choice[C]:
        """Choose by the weighted sum."""
        stats = [self._scraped.get(each.uid, _NOTHING) for each in candidates]
        most, fewest = max(each.waiting for each in stats), min(each.waiting for each in stats)
        blocks = len(demand.request.prefix) * demand.request.prefix_block_tokens
        scores = [
            2.0 * ((most - each.waiting) / (most - fewest) if most > fewest else 1.0)
            + 2.0 * (1.0 - each.kv_share)
            + (3.0 * demand.cached.get(candidate.uid, 0) / blocks if blocks else 0.0)
            for candidate, each in zip(candidates, stats, strict=True)
        ]
        highest = max(scores)
        best = [each for each, score in zip(candidates, scores, strict=True) if score == highest]
        return Choice(self._random.choice(best), candidates, scores)


PEERS: Final[Mapping[str, Callable[[Scraped, Random], Policy]]] = MappingProxyType({"llm-d": WeightedScorers})
"""By the name that `--policy` takes."""
