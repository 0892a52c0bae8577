"""Routing policies: filter -> score -> pick.

A policy is three small functions. Filters drop endpoints, the score ranks what is left (higher is better), the picker
chooses among the best. `POLICIES` names the policies; a new one is one more line there.

| policy | score | loses when |
|---|---|---|
| least-loaded | fewest requests of this router in flight | requests differ much in length |
| round-robin | none: every endpoint in turn | engines differ in speed, or requests in length |
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from fairlead_router.contract import EndpointState
from fairlead_router.decisions.types import Endpoints, EndpointView, RequestView


class Filter(Protocol):
    """Drops endpoints that must not, or should not, get the request."""

    def __call__(self, endpoints: Endpoints, /) -> Endpoints: ...  # noqa: D102 - the class says it


class Score(Protocol):
    """Ranks an endpoint for a request; higher is better."""

    def __call__(self, request: RequestView, endpoint: EndpointView, /) -> float: ...  # noqa: D102


class Picker(Protocol):
    """Chooses one of the endpoints that share the best score; there is at least one."""

    def __call__(self, best: Sequence[EndpointView], /) -> EndpointView: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Choice:
    """The endpoint picked, and the scores of all that were eligible by uid."""

    endpoint: EndpointView
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Policy:
    """Filters in order, one score, one picker."""

    filters: tuple[Filter, ...]
    score: Score
    pick: Picker

    def choose(self, request: RequestView, endpoints: Endpoints) -> Choice | None:
        """Choose an endpoint, or None when the filters leave none."""
        for keep in self.filters:
            endpoints = keep(endpoints)
        if not endpoints:
            return None
        scores = {endpoint.uid: self.score(request, endpoint) for endpoint in endpoints}
        highest = max(scores.values())
        best = [endpoint for endpoint in endpoints if scores[endpoint.uid] == highest]
        return Choice(self.pick(best), scores)


def ready(endpoints: Endpoints) -> Endpoints:
    """Keep the endpoints that take new requests."""
    return [endpoint for endpoint in endpoints if endpoint.state is EndpointState.READY]


def trusted_first(endpoints: Endpoints) -> Endpoints:
    """Leave out suspects while there is any other: an engine that is gone has the fewest requests of all."""
    return [endpoint for endpoint in endpoints if not endpoint.suspect] or endpoints


def fewest_in_flight(_request: RequestView, endpoint: EndpointView) -> float:
    """Score by this router's own ledger, which is never stale."""
    return -endpoint.in_flight


def equal(_request: RequestView, _endpoint: EndpointView) -> float:
    """Score every endpoint alike."""
    return 0.0


class Rotation:
    """Pick the next endpoint after the last one picked, in the order of their uids.

    Shares evenly among equals and keeps its place when endpoints come and go. The first pick is random, so that
    router replicas that start together do not all start with the same endpoint.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._last_uid: str | None = None

    def __call__(self, best: Sequence[EndpointView]) -> EndpointView:
        """Pick one of `best`."""
        endpoint = self._random.choice(best) if self._last_uid is None else self._next(best, self._last_uid)
        self._last_uid = endpoint.uid
        return endpoint

    @staticmethod
    def _next(best: Iterable[EndpointView], last_uid: str) -> EndpointView:
        return min(best, key=lambda endpoint: (endpoint.uid <= last_uid, endpoint.uid))


POLICIES: Mapping[str, Callable[[Random], Policy]] = {
    "least-loaded": lambda random: Policy((ready, trusted_first), fewest_in_flight, Rotation(random)),
    "round-robin": lambda random: Policy((ready, trusted_first), equal, Rotation(random)),
}
