"""What a routing policy is, and the usual one: score the candidates, pick among the best."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from random import Random
from typing import Generic, NamedTuple, Protocol, TypeVar

from fairlead_router.decisions.types import Candidate, Demand

C = TypeVar("C", bound=Candidate)
_uid = attrgetter("uid")


class Choice(NamedTuple, Generic[C]):
    """The candidate that gets the request, and those that were weighed, with what each was worth; higher is better."""

    picked: C
    weighed: Sequence[C] = ()
    scores: Sequence[float] = ()


class Policy(Protocol):
    """Chooses an endpoint; one that `weighs` them is shown a few of a large pool."""

    @property
    def weighs(self) -> bool: ...  # noqa: D102 - the class says it

    def choose(self, demand: Demand, candidates: Sequence[C], /) -> Choice[C]:
        """Choose one of at least one candidate, given in order of uid."""
        ...


class Score(Protocol):
    """Ranks candidates for a demand, one number for each; higher is better."""

    def __call__(self, demand: Demand, candidates: Sequence[Candidate], /) -> Sequence[float]: ...  # noqa: D102


class Rotation:
    """Picks the next endpoint after the last one picked, in the order of their uids.

    Shares evenly among equals and keeps its place when endpoints come and go. The first pick is random, so that
    router replicas that start together do not all start with the same endpoint.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._last_uid: str | None = None

    def pick(self, best: Sequence[C]) -> C:
        """Pick one of at least one endpoint, given in order of uid."""
        if self._last_uid is None:
            picked = self._random.choice(best)
        else:
            after = bisect_right(best, self._last_uid, key=_uid)
            picked = best[after if after < len(best) else 0]
        self._last_uid = picked.uid
        return picked


class Picker(Protocol):
    """Picks one of at least one candidate, given in order of uid."""

    def __call__(self, best: Sequence[C], /) -> C: ...  # noqa: D102 - the class says it


class Scored:
    """Gives the request to one of the candidates with the highest score."""

    def __init__(self, score: Score, pick: Picker, *, weighs: bool = True) -> None:
        self.weighs = weighs
        self._score = score
        self._pick = pick

    def choose(self, demand: Demand, candidates: Sequence[C]) -> Choice[C]:
        """Choose one of at least one candidate, given in order of uid."""
        scores = self._score(demand, candidates)
        highest = max(scores)
        equals = scores.count(highest)
        if equals == len(candidates):
            best: Sequence[C] = candidates
        elif equals == 1:
            best = (candidates[scores.index(highest)],)
        else:
            best = [each for each, score in zip(candidates, scores, strict=True) if score == highest]
        return Choice(self._pick(best), candidates, scores)
