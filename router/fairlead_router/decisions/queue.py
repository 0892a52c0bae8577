"""The pool's queue: requests that no endpoint has room for, in the order in which they should get it.

    class: by priority, as long as every class gets its share
      tenant: the one that has had the fewest tokens (fair queueing by work: VTC, arXiv 2401.00588)
        request: can still meet its TTFT limit; then its deadline, in windows; shortest prompt inside a window

Within a class that is earliest deadline first, so nothing starves: what came later has the later deadline. Shortest first
inside a window costs nobody more than the window, and shortens the mean wait. A request that cannot meet its limit any
more goes behind those that can: before them it would only take others with it.

Entering, leaving and the next in line cost O(log n).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from math import exp, floor
from operator import itemgetter
from typing import Final

from fairlead_router.decisions.rules import DEFAULT_RULES, ClassRules, QueueLimits
from fairlead_router.decisions.types import Demand

WINDOW_SHARE: Final = 0.25
"""Width of a window of deadlines, as a share of the TTFT limit."""
_SHARE_SECONDS: Final = 60.0
"""Time over which classes have their shares."""
_STARVED: Final = 0.75
"""A class that has had less than this of its share goes before everybody."""
_MANY_TENANTS: Final = 1000
_MANY_TIMERS: Final = 1000


class Waiting:
    """A request in the queue."""

    __slots__ = ("deadline", "demand", "entered_at", "gone", "key", "late", "latest_start", "tried")

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


@dataclass(slots=True)
class _Tenant:
    """One tenant's requests of one class."""

    name: str
    served_tokens: float = 0.0
    waiting: int = 0
    in_order: bool = False
    """Whether it has its one place among the tenants of its class."""
    heap: list[tuple[tuple[float, ...], Waiting]] = field(default_factory=list)


class _OfClass:
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
        name = entry.demand.request.tenant
        tenant = self._tenants.get(name) or self._enter(name)
        heappush(tenant.heap, (entry.key, entry))
        tenant.waiting += 1
        if tenant.waiting == 1:  # who comes back has not saved up what it did not ask for
            tenant.served_tokens = max(tenant.served_tokens, self._floor)
        if not tenant.in_order:
            tenant.in_order = True
            heappush(self._order, (tenant.served_tokens, name))
        self.waiting += 1
        self.tokens += entry.demand.tokens

    def leave(self, entry: Waiting) -> None:
        tenant = self._tenants[entry.demand.request.tenant]
        tenant.waiting -= 1
        if not tenant.waiting:
            tenant.heap.clear()
        self.waiting -= 1
        self.tokens -= entry.demand.tokens

    def served(self, entry: Waiting) -> None:
        tenant = self._tenants[entry.demand.request.tenant]
        before = tenant.served_tokens
        tenant.served_tokens += entry.demand.tokens
        # Whoever comes next begins where those are that wait, or where the last one was when nobody does.
        self._floor = max(self._floor, before if self.waiting > 1 else tenant.served_tokens)

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
                _drop_stale(tenant.heap)
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


class Queue:
    """Everything that waits for room in one pool."""

    def __init__(self, rules: Mapping[str, ClassRules], limits: QueueLimits) -> None:
        self.limits = limits
        self._rules = rules
        self._classes: dict[str, _OfClass] = {}
        self._entries: dict[str, Waiting] = {}
        self._timers: list[tuple[float, int, Waiting]] = []
        self._at_home: dict[str, list[tuple[tuple[float, ...], Waiting]]] = {}
        self._order = count()
        self._bytes = 0
        self._served: dict[str, float] = {}
        self._served_at = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether nothing more may wait."""
        return len(self._entries) >= self.limits.requests or self._bytes >= self.limits.size_bytes

    def depths(self) -> dict[str, int]:
        """Return how many requests of each class wait."""
        return {name: of_class.waiting for name, of_class in self._classes.items()}

    def add(self, entry: Waiting) -> None:
        """Let a request wait."""
        request = entry.demand.request
        self._entries[request.request_id] = entry
        self._bytes += request.prompt_bytes
        self._enter(entry)
        if len(self._timers) > 2 * len(self._entries) + _MANY_TIMERS:  # nearly all of them of requests that are gone
            self._timers = [timer for timer in self._timers if not timer[2].gone]
            heapify(self._timers)
        heappush(self._timers, (min(entry.latest_start, self._patience(entry)), next(self._order), entry))

    def remove(self, request_id: str) -> Waiting | None:
        """Take a request out that is not wanted any more."""
        entry = self._entries.pop(request_id, None)
        if entry is not None:
            self._leave(entry)
        return entry

    def placed(self, entry: Waiting, now: float) -> None:
        """Take out a request that has got its place."""
        request = entry.demand.request
        del self._entries[request.request_id]
        self._classes[request.service_class].served(entry)
        self._leave(entry)
        self.served(request.service_class, entry.demand.tokens, now)

    def served(self, service_class: str, tokens: int, now: float) -> None:
        """Note tokens of a class that were placed, from the queue or past it."""
        fade = exp((self._served_at - now) / _SHARE_SECONDS)
        for name in self._served:
            self._served[name] *= fade
        self._served_at = now
        self._served[service_class] = self._served.get(service_class, 0.0) + tokens

    def heads(self, now: float) -> Iterator[tuple[Waiting, bool]]:
        """Yield the next of every class in the order in which classes are served, and whether it is owed its share.

        A class that has had much less than its share goes first: that bounds its wait. Then come those that have had
        less, and those whose next must start soon; then the others: so a class is made to wait for another's share only
        as long as it has time. Among equals priority decides.
        """
        total = sum(self._served.values())
        ranked = []
        for name, of_class in self._classes.items():
            head = of_class.head() if of_class.waiting else None
            if head is not None:
                rules, had = of_class.rules, self._served.get(name, 0.0)
                starved = had < _STARVED * rules.share * total
                pressing = had < rules.share * total or _is_urgent(head, now)
                ranked.append((not starved, not pressing, -rules.priority, name, head))
        for unstarved, _, _, _, head in sorted(ranked, key=itemgetter(0, 1, 2, 3)):
            yield head, not unstarved

    def at_home(self, uid: str, heads: Sequence[tuple[Waiting, bool]], now: float) -> Waiting | None:
        """Return the first request that has most of its prompt cached at an endpoint, unless one of `heads` must not wait.

        It is much less work there than anywhere else; that is worth an exception from the order, not a missed limit.
        """
        heap = self._at_home.get(uid)
        if not heap:
            return None
        _drop_stale(heap)
        if not heap:
            del self._at_home[uid]
            return None
        entry = heap[0][1]
        priority = self.rules_of(entry.demand).priority
        for head, owed in heads:
            if owed or _is_urgent(head, now) or self.rules_of(head.demand).priority > priority:
                return None
        return entry

    def outranks(self, demand: Demand) -> bool:
        """Whether a request that has just come goes before everything that waits."""
        priority = self.rules_of(demand).priority
        return all(of_class.rules.priority < priority for of_class in self._classes.values() if of_class.waiting)

    def outranked(self, demand: Demand) -> bool:
        """Whether something waits that goes before a request that has just come, whatever that has cached."""
        priority = self.rules_of(demand).priority
        return any(of_class.rules.priority > priority for of_class in self._classes.values() if of_class.waiting)

    def tokens_before(self, demand: Demand) -> int:
        """Return the tokens that will be served before a request that comes now."""
        priority = self.rules_of(demand).priority
        return sum(of_class.tokens for of_class in self._classes.values() if of_class.rules.priority >= priority)

    def due(self, now: float) -> Iterator[Waiting]:
        """Yield requests that have waited too long, each once; one that was late and may wait on goes behind."""
        while self._timers and self._timers[0][0] <= now:
            _, _, entry = heappop(self._timers)
            if not entry.gone:
                yield entry

    def next_due(self) -> float | None:
        """Return when `due` will have something to say; None while nothing waits."""
        return self._timers[0][0] if self._timers else None

    def demote(self, entry: Waiting) -> None:
        """Let a request wait on that cannot meet its limit any more."""
        self._leave(entry)
        entry.gone, entry.late = False, True
        self._enter(entry)
        heappush(self._timers, (self._patience(entry), next(self._order), entry))

    def patience_over(self, entry: Waiting, now: float) -> bool:
        """Whether a request has waited as long as any may."""
        return now >= self._patience(entry)

    def _patience(self, entry: Waiting) -> float:
        return entry.entered_at + self.limits.wait_seconds

    def _enter(self, entry: Waiting) -> None:
        limit = entry.demand.request.slo.ttft_seconds or self.limits.wait_seconds
        window = floor(entry.deadline / (WINDOW_SHARE * limit))
        entry.key = (entry.late, window, entry.demand.prompt_tokens, next(self._order))
        name = entry.demand.request.service_class
        of_class = self._classes.get(name)
        if of_class is None:
            of_class = self._classes[name] = _OfClass(self.rules_of(entry.demand))
        of_class.add(entry)
        home = entry.demand.home
        if home is not None:
            heappush(self._at_home.setdefault(home, []), (entry.key, entry))

    def _leave(self, entry: Waiting) -> None:
        entry.gone = True
        self._classes[entry.demand.request.service_class].leave(entry)
        if entry.demand.request.request_id not in self._entries:
            self._bytes -= entry.demand.request.prompt_bytes

    def rules_of(self, demand: Demand) -> ClassRules:
        """Return how the class of a request is treated."""
        return self._rules.get(demand.request.service_class, DEFAULT_RULES)


def _is_urgent(entry: Waiting, now: float) -> bool:
    """Whether a request has used up half of the time in which it may wait."""
    return not entry.late and now - entry.entered_at >= (entry.latest_start - entry.entered_at) / 2


def _drop_stale(heap: list[tuple[tuple[float, ...], Waiting]]) -> None:
    """Take away from the top what has left, or stands elsewhere by now."""
    while heap and (heap[0][1].gone or heap[0][0] is not heap[0][1].key):
        heappop(heap)
