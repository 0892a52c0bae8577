"""The pool's queue: requests that no endpoint has room for, in the order in which they should get it.

    class: by priority, as long as every class gets its share
      tenant: the one that has had the fewest tokens (fair queueing by work: VTC, arXiv 2401.00588)
        request: can still meet its TTFT limit; then its deadline, in windows; shortest prompt inside a window

A request that comes back from an endpoint may not go there again. So those that have been at the same endpoints have a line
of their own in each class: none waits behind one that cannot use the room that it could.

Within a class that is earliest deadline first, so nothing starves: what came later has the later deadline. Shortest first
inside a window costs nobody more than the window, and shortens the mean wait. A request that cannot meet its limit any
more goes behind those that can: before them it would only take others with it.

Entering, leaving and the next in line cost O(log n).
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from math import exp, floor, inf
from operator import itemgetter
from typing import Final

from fairlead_router.decisions.class_queue import ClassQueue, Keyed, Waiting, drop_stale, push
from fairlead_router.decisions.rules import DEFAULT_RULES, ClassRules, QueueLimits, yielding
from fairlead_router.decisions.types import Demand, RequestView

WINDOW_SHARE: Final = 0.25
"""Width of a window of deadlines, as a share of the TTFT limit."""
SHARE_SECONDS: Final = 60.0
"""Time over which classes have their shares."""
STARVED: Final = 0.75
"""A class that has had less than this of its share goes before everybody."""
_NOWHERE: Final[frozenset[str]] = frozenset()


class Queue:
    """Everything that waits for room in one pool."""

    def __init__(self, rules: Mapping[str, ClassRules], limits: QueueLimits) -> None:
        self.limits = limits
        self.yielding = yielding(rules)
        """Classes whose requests may have to give their place to one that waits here."""
        self._rules = rules
        self._has_shares = _has_shares(rules)
        self._lines: dict[tuple[str, frozenset[str]], ClassQueue] = {}
        """By class, and by the endpoints that have been tried."""
        self._entries: dict[int, Waiting] = {}
        """By the identity of the request: what clients call theirs may not be unique."""
        self._timers: list[tuple[float, int, Waiting]] = []
        """In the order of their times."""
        self._at_home: dict[str, list[Keyed]] = {}
        self._order = count()
        self._bytes = 0
        self._served: dict[str, float] = {}
        self._served_at = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def use(self, rules: Mapping[str, ClassRules], limits: QueueLimits) -> None:
        """Follow other rules and limits; what waits goes on waiting, also of a class that is not declared any more."""
        self.limits = limits
        self.yielding = yielding(rules)
        self._rules = rules
        self._has_shares = _has_shares(rules)
        self._lines = {key: line for key, line in self._lines.items() if line.waiting}
        for (name, _), line in self._lines.items():
            line.rules = rules.get(name, DEFAULT_RULES)
        for entry in self._entries.values():
            self._set_timer(entry)

    @property
    def full(self) -> bool:
        """Whether nothing more may wait."""
        return len(self._entries) >= self.limits.requests or self._bytes >= self.limits.size_bytes

    def depths(self) -> dict[str, int]:
        """Return how many requests of each class wait."""
        depths: dict[str, int] = {}
        for (name, _), line in self._lines.items():
            depths[name] = depths.get(name, 0) + line.waiting
        return depths

    def add(self, entry: Waiting) -> None:
        """Let a request wait."""
        request = entry.demand.request
        self._entries[id(request)] = entry
        self._bytes += request.prompt_bytes
        self._enter(entry)
        self._set_timer(entry)

    def remove(self, request: RequestView) -> Waiting | None:
        """Take a request out that is not wanted any more; None where this very request does not wait."""
        entry = self._entries.get(id(request))
        if entry is not None:
            self._depart(entry)
        return entry

    def placed(self, entry: Waiting, now: float) -> None:
        """Take out a request that has got its place."""
        if not entry.demand.request.taken_from:
            self._line_of(entry).served(entry)
        self._depart(entry)
        self.served(entry.demand, now)

    def served(self, demand: Demand, now: float) -> None:
        """Note what was placed, from the queue or past it: once, also where the first place was taken back."""
        if not self._has_shares or demand.request.taken_from:
            return
        service_class = demand.request.service_class
        fade = exp((self._served_at - now) / SHARE_SECONDS)
        for name in self._served:
            self._served[name] *= fade
        self._served_at = now
        self._served[service_class] = self._served.get(service_class, 0.0) + demand.tokens

    def can_spare(self, service_class: str, tokens: int) -> bool:
        """Whether a class has had its share also without these tokens."""
        share = self.rules_of_class(service_class).share
        return not share or self._served.get(service_class, 0.0) - tokens >= share * sum(self._served.values())

    def heads(self, now: float) -> Iterator[tuple[Waiting, bool]]:
        """Yield the next of every line in the order in which classes are served, and whether it is owed its share.

        A class that has had much less than its share goes first: that bounds its wait. Then come those that have had
        less, and those whose next must start soon; then the others: so a class is made to wait for another's share only
        as long as it has time. Among equals priority decides.
        """
        total = sum(self._served.values())
        ranked = []
        for (name, tried), line in self._lines.items():
            head = line.head() if line.waiting else None
            if head is not None:
                rules, had = line.rules, self._served.get(name, 0.0)
                starved = had < STARVED * rules.share * total
                pressing = had < rules.share * total or _is_urgent(head, now)
                ranked.append((not starved, not pressing, -rules.priority, name, not tried, head))
        for unstarved, *_, head in sorted(ranked, key=itemgetter(0, 1, 2, 3, 4)):
            yield head, not unstarved

    def first(self, now: float) -> Waiting | None:
        """Return the one that room is for, wherever it comes up."""
        return next((entry for entry, _ in self.heads(now)), None)

    def at_home(self, uid: str, heads: Sequence[tuple[Waiting, bool]], now: float) -> Waiting | None:
        """Return the first request that has most of its prompt cached at an endpoint, unless one of `heads` must not wait.

        It is much less work there than anywhere else; that is worth an exception from the order, not a missed limit.
        """
        heap = self._at_home.get(uid)
        if not heap:
            return None
        drop_stale(heap)
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
        """Whether a request that has just come goes before everything that waits and may be placed anywhere."""
        if not self._entries:
            return True
        priority = self.rules_of(demand).priority
        return all(
            line.rules.priority < priority for (_, tried), line in self._lines.items() if line.waiting and not tried
        )

    def outranked(self, demand: Demand) -> bool:
        """Whether something waits that goes before a request that has just come, whatever that has cached."""
        priority = self.rules_of(demand).priority
        return any(line.rules.priority > priority for line in self._lines.values() if line.waiting)

    def tokens_before(self, demand: Demand) -> float:
        """Return the tokens that will be served before a request that comes now: of its class so many that tenants are even."""
        request, priority = demand.request, self.rules_of(demand).priority
        return sum(
            line.tokens_before(request.tenant) if name == request.service_class else line.tokens
            for (name, _), line in self._lines.items()
            if line.rules.priority >= priority
        )

    def tenants_of(self, service_class: str) -> int:
        """Return how many tenants take turns in a class; one where nobody waits."""
        line = self._lines.get((service_class, _NOWHERE))
        return 1 if line is None else max(1, line.tenants)

    def due(self, now: float) -> Iterator[Waiting]:
        """Yield requests that have waited too long, each once; one that was late and may wait on goes behind."""
        while self._timers and self._timers[0][0] <= now:
            _, _, entry = self._timers.pop(0)
            entry.timer = None
            yield entry

    def next_due(self) -> float | None:
        """Return when `due` will have something to say; None while nothing waits."""
        return self._timers[0][0] if self._timers else None

    def demote(self, entry: Waiting) -> None:
        """Let a request wait on that cannot meet its limit any more."""
        self._line_of(entry).leave(entry)
        entry.late, entry.latest_start = True, inf
        self._enter(entry)
        self._set_timer(entry)

    def patience_over(self, entry: Waiting, now: float) -> bool:
        """Whether a request has waited as long as any may."""
        return now >= self._patience(entry)

    def _patience(self, entry: Waiting) -> float:
        most, own = self.limits.wait_seconds, entry.demand.request.wait_seconds
        return entry.entered_at + (most if own is None else min(most, own))

    def _set_timer(self, entry: Waiting) -> None:
        self._drop_timer(entry)
        entry.timer = at, order = min(entry.latest_start, self._patience(entry)), next(self._order)
        insort(self._timers, (at, order, entry))

    def _drop_timer(self, entry: Waiting) -> None:
        """Take a timer out: to move what is behind it takes microseconds, and nothing is left to be cleared away."""
        if entry.timer is not None:
            del self._timers[bisect_left(self._timers, entry.timer)]
            entry.timer = None

    def _enter(self, entry: Waiting) -> None:
        limit = entry.demand.request.slo.ttft_seconds or self.limits.wait_seconds
        window = floor(entry.deadline / (WINDOW_SHARE * limit))
        entry.key = (entry.late, window, entry.demand.prompt_tokens, next(self._order))
        self._line_of(entry).add(entry)
        home = entry.demand.home
        if home is not None:
            push(self._at_home.setdefault(home, []), entry, len(self._entries))

    def _depart(self, entry: Waiting) -> None:
        """Take a request out for good."""
        request = entry.demand.request
        entry.gone = True
        self._drop_timer(entry)
        line = self._line_of(entry)
        line.leave(entry)
        if entry.tried and not line.waiting:
            del self._lines[request.service_class, entry.tried]
        del self._entries[id(request)]
        self._bytes -= request.prompt_bytes
        if not self._entries:
            self._at_home.clear()

    def _line_of(self, entry: Waiting) -> ClassQueue:
        key = entry.demand.request.service_class, entry.tried
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = ClassQueue(self.rules_of(entry.demand))
        return line

    def rules_of(self, demand: Demand) -> ClassRules:
        """Return how the class of a request is treated."""
        return self.rules_of_class(demand.request.service_class)

    def rules_of_class(self, service_class: str) -> ClassRules:
        """Return how a class is treated; one that is not declared any more as if nothing were said of it."""
        return self._rules.get(service_class, DEFAULT_RULES)


def _has_shares(rules: Mapping[str, ClassRules]) -> bool:
    """Whether it matters what classes have had."""
    return any(each.share for each in rules.values())


def _is_urgent(entry: Waiting, now: float) -> bool:
    """Whether a request has used up half of the time in which it may wait."""
    return now >= entry.urgent_at
