"""Policies that spread requests and look at little or nothing."""

from collections.abc import Sequence
from random import Random

from fairlead_router.decisions.policies.policy import C, Choice, Rotation
from fairlead_router.decisions.types import Demand


class InTurn:
    """Gives every endpoint a request in turn."""

    weighs = False

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation

    def choose(self, _demand: Demand, candidates: Sequence[C]) -> Choice[C]:
        """Choose the next."""
        return Choice(self._rotation.pick(candidates))


class AnyEndpoint:
    """Gives a request to any endpoint, each as likely as any other."""

    weighs = False

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, _demand: Demand, candidates: Sequence[C]) -> Choice[C]:
        """Choose any."""
        return Choice(self._random.choice(candidates))


class LessLoadedOfTwo:
    """Draws two endpoints and gives the request to the one with fewer requests in flight (Mitzenmacher, 2001)."""

    weighs = False

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, _demand: Demand, candidates: Sequence[C]) -> Choice[C]:
        """Choose among two, or the only one there is."""
        if len(candidates) == 1:
            return Choice(candidates[0])
        weighed = self._random.sample(candidates, 2)
        scores = [-each.in_flight for each in weighed]
        return Choice(weighed[0 if scores[0] >= scores[1] else 1], weighed, scores)
