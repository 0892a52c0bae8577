"""The requests of one class that wait, and which of them is next.

tenant: the one that has had the fewest tokens (fair queueing by work: VTC, arXiv 2401.00588)
  request: by its key, which the queue of the pool gives it
"""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from fairlead_router.decisions.rules import ClassRules
from fairlead_router.decisions.types import Demand

_MANY_TENANTS: Final = 1000
_MANY_WAITING: Final = 64
"""Tenants: of more not every one is looked at for an estimate."""
_MANY_STALE: Final = 200

Keyed = tuple[tuple[float, ...], "Waiting"]
"""A place in a heap, which is stale once the request has gone or has another key."""


class Waiting:
    """A request in the queue."""

    __slots__ = ("deadline", "demand", "entered_at", "gone", "key", "late", "latest_start", "timer", "tried")

    def __init__(self, demand: Demand, tried: frozenset[str], entered_at: float, deadline: float) -> None:
        self.demand = demand
        self.tried = tried
        self.entered_at = entered_at
        self.deadline = deadline
        """When its first token is due, in seconds of the clock."""
        self.latest_start = deadline
        """When it must be placed for that."""
        self.late = False
        self.gone = False
        self.key: tuple[float, ...] = ()
        self.timer: tuple[float, int] | None = None
        """When the queue looks at it again, and a number that no other has."""

    @property
    def urgent_at(self) -> float:
        """When half of the time is used up in which it may wait; never where it has no limit, or has missed it."""
        return self.entered_at + (self.latest_start - self.entered_at) / 2


@dataclass(slots=True)
class _Tenant:
    """One tenant's requests of one class."""

    name: str
    served_tokens: float = 0.0
    waiting: int = 0
    tokens: int = 0
    """Of its requests that wait."""
    in_order: bool = False
    """Whether it has its one place among the tenants of its class."""
    heap: list[Keyed] = field(default_factory=list)


class ClassQueue:
    """The requests of one class."""

    def __init__(self, rules: ClassRules) -> None:
        self.rules = rules
        self.waiting = 0
        self.tokens = 0
        """Of the requests that wait: prompts and expected answers."""
        self._tenants: dict[str, _Tenant] = {}
        self._order: list[tuple[float, str]] = []  # tenants with requests, by tokens served
        self._floor = 0.0

    def add(self, entry: Waiting) -> None:
        """Let a request wait."""
        name = entry.demand.request.tenant
        tenant = self._tenants.get(name) or self._enter(name)
        push(tenant.heap, entry, tenant.waiting)
        tenant.waiting += 1
        tenant.tokens += entry.demand.tokens
        if tenant.waiting == 1:  # who comes back has not saved up what it did not ask for
            tenant.served_tokens = max(tenant.served_tokens, self._floor)
        if not tenant.in_order:
            tenant.in_order = True
            heappush(self._order, (tenant.served_tokens, name))
        self.waiting += 1
        self.tokens += entry.demand.tokens

    def leave(self, entry: Waiting) -> None:
        """Take a request out."""
        tenant = self._tenants[entry.demand.request.tenant]
        tenant.waiting -= 1
        tenant.tokens -= entry.demand.tokens
        if not tenant.waiting:
            tenant.heap.clear()
        self.waiting -= 1
        self.tokens -= entry.demand.tokens

    def served(self, entry: Waiting) -> None:
        """Note that a request has got its place; it has yet to `leave`."""
        tenant = self._tenants[entry.demand.request.tenant]
        before = tenant.served_tokens
        tenant.served_tokens += entry.demand.tokens
        # Whoever comes next begins where those are that wait, or where the last one was when nobody does.
        self._floor = max(self._floor, before if self.waiting > 1 else tenant.served_tokens)

    @property
    def tenants(self) -> int:
        """Tenants that have requests here, or had until lately."""
        return len(self._order)

    def tokens_before(self, name: str) -> float:
        """Return the tokens that will be served before a request that a tenant sends now.

        Those are its own, and of every other tenant what brings that to the same level.
        """
        own = self._tenants.get(name)
        own_tokens = own.tokens if own is not None else 0
        if self.tokens == own_tokens:
            return own_tokens
        if len(self._order) > _MANY_WAITING:
            return min(self.tokens, own_tokens * len(self._order))
        level = own_tokens + (self._floor if own is None else max(self._floor, own.served_tokens))
        others = (self._tenants[other] for _, other in self._order if other != name)
        return own_tokens + sum(min(other.tokens, max(0.0, level - other.served_tokens)) for other in others)

    def head(self) -> Waiting | None:
        """Return the next of the tenant that has had the least."""
        while self._order:
            served, name = self._order[0]
            tenant = self._tenants[name]
            if not tenant.waiting:
                heappop(self._order)
                tenant.in_order = False
            elif served != tenant.served_tokens:
                heappop(self._order)
                heappush(self._order, (tenant.served_tokens, name))
            else:
                drop_stale(tenant.heap)
                return tenant.heap[0][1]
        return None

    def _enter(self, name: str) -> _Tenant:
        """Note a new tenant; others of whom nothing need be known are forgotten before there are too many."""
        if len(self._tenants) >= _MANY_TENANTS:
            for other in [*self._tenants.values()]:
                if not other.in_order and other.served_tokens <= self._floor:
                    del self._tenants[other.name]
        tenant = self._tenants[name] = _Tenant(name)
        return tenant


def push(heap: list[Keyed], entry: Waiting, waiting: int) -> None:
    """Put a request in; where nearly all of a heap is stale, and only `waiting` of it is not, that goes first."""
    if len(heap) > 2 * waiting + _MANY_STALE:
        heap[:] = [each for each in heap if not _is_stale(each)]
        heapify(heap)
    heappush(heap, (entry.key, entry))


def drop_stale(heap: list[Keyed]) -> None:
    """Take away from the top what has left, or stands elsewhere by now."""
    while heap and _is_stale(heap[0]):
        heappop(heap)


def _is_stale(place: Keyed) -> bool:
    key, entry = place
    return entry.gone or key is not entry.key
