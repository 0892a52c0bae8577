"""Routing policies: filter -> score -> pick.

What filters is the same for all of them and is the decider's: it leaves out endpoints that are not ready, those that
were tried, and those whose breaker is open. A policy is the rest: a score that ranks the candidates (higher is better),
and a picker that chooses among the best. `POLICIES` names the policies; a new one is one more line there.

| policy | score | loses when |
|---|---|---|
| least-loaded | fewest requests of this router in flight | requests differ much in length |
| round-robin | none: every endpoint in turn | engines differ in speed, or requests in length |
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from operator import attrgetter, eq
from random import Random
from typing import Protocol, TypeVar

from fairlead_router.decisions.types import Candidate, RequestView

C = TypeVar("C", bound=Candidate)


class Score(Protocol):
    """Ranks candidates for a request, one number for each; higher is better."""

    def __call__(self, request: RequestView, candidates: Sequence[Candidate], /) -> Sequence[float]: ...  # noqa: D102


class Picker(Protocol):
    """Chooses one of the candidates that share the best score, of which there is at least one, in order of uid."""

    def __call__(self, best: Sequence[C], /) -> C: ...  # noqa: D102 - the class says it


@dataclass(frozen=True, slots=True)
class Policy:
    """One score, one picker."""

    score: Score
    pick: Picker

    def choose(self, request: RequestView, candidates: Sequence[C]) -> tuple[C, Sequence[float]]:
        """Choose one of at least one candidate, given in order of uid; returns it and the scores of all."""
        scores = self.score(request, candidates)
        highest = max(scores)
        best = list(compress(candidates, map(partial(eq, highest), scores)))
        return self.pick(best), scores


def fewest_in_flight(_request: RequestView, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score by this router's own ledger, which is never stale."""
    return [-each.in_flight for each in candidates]


def equal(_request: RequestView, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score every endpoint alike."""
    return [0.0] * len(candidates)


_uid = attrgetter("uid")


class Rotation:
    """Pick the next endpoint after the last one picked, in the order of their uids.

    Shares evenly among equals and keeps its place when endpoints come and go. The first pick is random, so that
    router replicas that start together do not all start with the same endpoint.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._last_uid: str | None = None

    def __call__(self, best: Sequence[C]) -> C:
        """Pick one of `best`."""
        if self._last_uid is None:
            picked = self._random.choice(best)
        else:
            after = bisect_right(best, self._last_uid, key=_uid)
            picked = best[after if after < len(best) else 0]
        self._last_uid = picked.uid
        return picked


POLICIES: Mapping[str, Callable[[Random], Policy]] = {
    "least-loaded": lambda random: Policy(fewest_in_flight, Rotation(random)),
    "round-robin": lambda random: Policy(equal, Rotation(random)),
}
