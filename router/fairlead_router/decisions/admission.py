"""SLAI at the router: run a request now, let it wait, or say at once that its SLO cannot be met.

A request that finds no room is compared with what waits before it: so many tokens at the rate at which the pool takes
them, then its own prompt. Where its first token would come too late, its class says whether it is refused (and told when
to come back) or waits behind those that are not late. Where nothing has been learnt or measured nobody is refused for a
guess, but waits as long as the limit allows.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import exp, inf
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.decisions.appointments import Appointments
from fairlead_router.decisions.class_queue import Waiting
from fairlead_router.decisions.first_tokens import DEVIATIONS, FirstTokens
from fairlead_router.decisions.queue import Queue
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits
from fairlead_router.decisions.types import Candidate, Demand, Rejection, RequestView, Ticket

_RATE_SECONDS: Final = 10.0
"""Time over which the pool's rate is measured."""
_LEAST_SECONDS: Final = 1.0
"""Of a backlog, before its rate says anything."""
_THEORY_SECONDS: Final = 0.25
"""How long what the endpoints' paces promise is not added up anew."""


class Drain:
    """The rate at which the pool takes tokens from its queue."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0
        self._last_at = 0.0
        self._theory = 0.0
        self._theory_at = -inf

    def backlog_begins(self, now: float) -> None:
        """Note that requests wait from now on."""
        self._last_at = now

    def took(self, tokens: int, now: float) -> None:
        """Note tokens that left the queue for an endpoint."""
        passed = now - self._last_at
        fade = exp(-passed / _RATE_SECONDS)
        self._tokens = self._tokens * fade + tokens
        self._seconds = self._seconds * fade + passed
        self._last_at = now

    def tokens_per_second(self, endpoints: Sequence[Candidate], now: float) -> float:
        """Return what was measured, or what full batches would be; 0 where nobody knows."""
        if self._seconds >= _LEAST_SECONDS:
            return self._tokens / self._seconds
        if now - self._theory_at > _THEORY_SECONDS:
            self._theory_at = now
            known = [
                each.limits.batch_tokens / each.pace.batch_seconds(each.limits.batch_tokens)
                for each in endpoints
                if each.pace.trusted
            ]
            self._theory = sum(known) / len(known) * len(endpoints) if known else 0.0
        return self._theory


class Admission:
    """The queue of one pool, and who may enter it."""

    def __init__(self, rules: Mapping[str, ClassRules], limits: QueueLimits) -> None:
        self.queue = Queue(rules, limits)
        self.appointments = Appointments()
        """Of those who were refused."""
        self._drain = Drain()
        self._first_tokens = FirstTokens()
        self._rate = 0.0
        """Tokens per second of the pool, when somebody last wanted to wait."""

    def use(self, rules: Mapping[str, ClassRules], limits: QueueLimits) -> None:
        """Follow other rules and limits; what waits goes on waiting."""
        self.queue.use(rules, limits)

    def enter(
        self,
        demand: Demand,
        tried: frozenset[str],
        endpoints: Sequence[Candidate],
        now: float,
        *,
        expected: bool = False,
    ) -> Rejection | None:
        """Let a request wait that found no room, or say why not; one that was taken back has been let in before.

        One that was `expected` has been refused before, and comes when it was told to.
        """
        queue, request = self.queue, demand.request
        self._rate = rate = self._drain.tokens_per_second(endpoints, now)
        own_rate = self._rate_of(request)
        wait_seconds = queue.tokens_before(demand) / rate if rate > 0 else 0.0
        if queue.full and not request.taken_from:
            retry_after = self.appointments.make(demand, own_rate, now + wait_seconds, now)
            return Rejection(Reason.QUEUE_FULL, "the pool's queue is full", retry_after)
        service_seconds = min(self._service_seconds(each, demand) for each in endpoints[:_LOOKED_AT])
        limit = request.slo.ttft_seconds
        deadline = request.arrived_at + (queue.limits.wait_seconds if limit is None else limit)
        entry = Waiting(demand, tried, now, deadline)
        entry.latest_start = deadline - service_seconds if limit is not None else inf
        if self.appointments.number and not expected and not self._waits_late(demand):
            others = self.appointments.expected_tokens(request, own_rate, entry.latest_start, now)
            wait_seconds += others / own_rate if others else 0.0
        late_by = now + wait_seconds - entry.latest_start
        if late_by > 0:
            if not self._waits_late(demand):
                return unreachable(demand, late_by, self.appointments.make(demand, own_rate, now + late_by, now))
            entry.late, entry.latest_start = True, inf
        if not queue:
            self._drain.backlog_begins(now)
        queue.add(entry)
        return None

    def placed(self, entry: Waiting, now: float) -> None:
        """Note that a request has left the queue for an endpoint."""
        self._drain.took(entry.demand.tokens, now)
        self.queue.placed(entry, now)

    def overdue(self, now: float) -> Iterator[tuple[Waiting, Rejection]]:
        """Yield the requests that have waited for nothing, and why; those that may wait on go behind."""
        for entry in self.queue.due(now):
            request = entry.demand.request
            if self.queue.patience_over(entry, now):
                refusal = Rejection(Reason.QUEUE_TIMEOUT, "the request has waited as long as any may", 1)
            elif self._waits_late(entry.demand):
                self.queue.demote(entry)
                continue
            else:
                refusal = unreachable(
                    entry.demand, 0.0, self.appointments.make(entry.demand, self._rate_of(request), now, now)
                )
            self.queue.remove(request)
            yield entry, refusal

    def began(self, ticket: Ticket, now: float) -> None:
        """Note a first token."""
        if ticket.placed_at:
            self._first_tokens.note(ticket.request.service_class, now - ticket.placed_at)

    def _service_seconds(self, endpoint: Candidate, demand: Demand) -> float:
        """Return the time that a request should have from its placement to its first token; 0 before that was learnt."""
        if endpoint.pace.trusted:
            return _prefill_seconds(endpoint, demand)
        return self._first_tokens.late(demand.request.service_class) if endpoint.pace.learnt else 0.0

    def _rate_of(self, request: RequestView) -> float:
        """Return the tokens per second that a tenant gets in a class."""
        return self._rate / self.queue.tenants_of(request.service_class)

    def _waits_late(self, demand: Demand) -> bool:
        """Whether a request waits on whose limit cannot be met: also one that has lost its place for another's limit."""
        return demand.request.taken_from != "" or self.queue.rules_of(demand).on_unreachable is OnUnreachable.QUEUE


_LOOKED_AT: Final = 16
"""Endpoints whose pace is looked at for an estimate: in a large pool some are as good as all."""


def _prefill_seconds(endpoint: Candidate, demand: Demand) -> float:
    """Predict how long a prompt takes at an endpoint, with as much to spare as late predictions were wrong by."""
    pace, limits = endpoint.pace, endpoint.limits
    # As far as it has room while they are there.
    before = min(endpoint.load.prefill_tokens, limits.batch_tokens)
    seconds = pace.prefill_seconds(before + demand.prompt_tokens, endpoint.load.decodes, limits.batch_tokens)
    return seconds * (1.0 + DEVIATIONS * pace.error)


def unreachable(demand: Demand, late_by_seconds: float, retry_after_seconds: int) -> Rejection:
    """Refuse a request whose first token would come too late."""
    missed = f": it would be missed by {late_by_seconds:.1f} s" if late_by_seconds else " any more"
    message = f"the TTFT limit of class {demand.request.service_class} cannot be met{missed}"
    return Rejection(Reason.SLO_UNREACHABLE, message, retry_after_seconds)
