"""The decider: places requests and owns the ledger of what runs where.

Everything a routing decision depends on changes here and nowhere else, in one thread, with the time passed in. The
relay tells it of the end of every placed request, exactly once and however the request went, because a place that is
not given back is capacity lost for ever. Tokens are noted on the ticket alone.

A decision costs microseconds and is made for every request, so nothing is built anew for it: the endpoints that may get
a request stay one list until something about them changes.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from operator import attrgetter
from typing import Final

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.breaker import Breaker, BreakerSettings, Sign, sign_of
from fairlead_router.decisions.demand import Demands
from fairlead_router.decisions.ledger import Account, Ledger, OwnLedger
from fairlead_router.decisions.pace import Pace
from fairlead_router.decisions.policies import Policy
from fairlead_router.decisions.room import has_room
from fairlead_router.decisions.types import (
    Decision,
    Demand,
    EndpointView,
    Outcome,
    Placement,
    Rejection,
    RequestView,
    Slo,
    Ticket,
    Usage,
)
from fairlead_router.decisions.window import Window

DEFAULT_BREAKER: Final = BreakerSettings()
# A member of an enumeration costs more to look up than to compare with.
_COMPLETED: Final = Reason.COMPLETED
_ANSWERED: Final = Sign.ANSWERED


class Decider:
    """Places requests by a policy; `now` is always seconds of one monotonic clock."""

    def __init__(
        self,
        policy: Policy,
        breaker: BreakerSettings = DEFAULT_BREAKER,
        ledger: Ledger | None = None,
        admission: Admission | None = None,
    ) -> None:
        """Begin without endpoints.

        Without a `ledger`, nobody else has requests on them; without an `admission`, no request waits or is refused
        while there is an endpoint.
        """
        self._policy = policy
        self._demands = Demands()
        self._pace = Pace()
        """Of the pool: what is expected of an endpoint that nothing is known of."""
        self._breaker = breaker
        self._ledger = ledger or OwnLedger()
        self._accounts: dict[str, Account] = {}
        self._ready: list[Account] = []
        """Those that discovery says take requests, in order of uid."""
        self._admission = admission
        self._window = Window()
        self._freed: dict[str, Account] = {}
        """Endpoints that may have room since the queue was looked at."""
        self._anew = False
        """Whether somebody else may stand first in it since then."""
        self._tripped = False
        """Whether any breaker is not closed."""

    def set_policy(self, policy: Policy) -> None:
        """Use another policy from the next request on."""
        self._policy = policy

    def set_breaker(self, settings: BreakerSettings) -> None:
        """Use other settings of the circuit breakers from the next failure on."""
        self._breaker = settings
        for account in self._accounts.values():
            account.breaker.use(settings)

    def set_endpoints(self, endpoints: Iterable[EndpointView]) -> None:
        """Replace what discovery knows; an endpoint that is gone stays until its requests have ended."""
        found = {endpoint.uid: endpoint for endpoint in endpoints}
        for uid, account in self._accounts.items():
            if uid not in found:
                account.endpoint = replace(account.endpoint, state=EndpointState.GONE)
        for uid, endpoint in found.items():
            if uid in self._accounts:
                self._accounts[uid].endpoint = endpoint
            else:
                self._accounts[uid] = Account(endpoint, Breaker(self._breaker), Pace(self._pace))
        self._ledger.refresh(self._accounts.values())
        self._forget_gone()
        ready = [account for account in self._accounts.values() if account.endpoint.state is EndpointState.READY]
        self._ready = sorted(ready, key=attrgetter("uid"))
        self._anew = True

    def endpoints(self, now: float) -> tuple[EndpointView, ...]:
        """Every endpoint with its ledger."""
        self._ledger.refresh(self._accounts.values())
        self._forget_gone()
        return tuple(account.view(now) for account in self._accounts.values())

    def submit(self, request: RequestView, now: float, tried: Set[str] = frozenset()) -> Decision | None:
        """Place the request on an endpoint whose uid is not in `tried`, or say why not.

        None says that it waits: `settle` will tell of it.
        """
        candidates = self._candidates(now, tried) if tried or self._tripped else self._ready
        if not candidates:
            return Rejection(Reason.NO_ENDPOINT, self._why_none(tried))
        self._ledger.refresh(candidates)
        demand = self._demands.of(request)
        admission = self._admission
        if admission is None:
            among = self._window.of(candidates, demand.cached) if self._policy.weighs else candidates
            return self._choose(demand, among, now)
        if not admission.queue or admission.queue.outranks(demand):
            among = self._window.of(candidates, demand.cached)
            roomy = [each for each in among if has_room(each, demand)]
            if not roomy and len(among) < len(candidates) and not admission.queue:
                roomy = [each for each in candidates if has_room(each, demand)]
        elif demand.cached and not admission.queue.outranked(demand):
            # Behind others of its class it would be computed anew: it is less work where it has been.
            roomy = [each for each in candidates if each.uid in demand.cached and has_room(each, demand)]
        else:
            roomy = []
        if roomy:
            admission.queue.served(request.service_class, demand.tokens, now)
            return self._choose(demand, roomy, now)
        return admission.enter(demand, frozenset(tried), candidates, now)

    def settle(self, now: float) -> list[tuple[RequestView, Decision]]:
        """Return what has been decided of requests that wait; call it after everything that may make room."""
        admission = self._admission
        if admission is None or not admission.queue:
            return []
        settled: list[tuple[RequestView, Decision]] = [
            (entry.demand.request, refusal) for entry, refusal in admission.overdue(now)
        ]
        among: Sequence[Account] = list(self._freed.values())
        if settled or self._anew:  # who stands first now has been offered none of the other endpoints yet
            among = self._window.of(self._ready)
        while (placed := self._next_placed(admission, among, now)) is not None:
            settled.append(placed)
            among = self._window.of(self._ready)
        self._freed.clear()
        self._anew = False
        return settled

    def cancel(self, request_id: str) -> bool:
        """Forget a request that waits, because nobody wants it any more; returns whether it did."""
        self._anew = True
        return self._admission is not None and self._admission.queue.remove(request_id) is not None

    def next_due(self) -> float | None:
        """Return when `settle` has something to say even if nothing makes room; None while nothing waits."""
        return self._admission.queue.next_due() if self._admission is not None and self._admission.queue else None

    def place(self, request: RequestView, uid: str, now: float) -> Ticket | None:
        """Place the request on an endpoint that somebody else has chosen; None where there is none of that uid."""
        account = self._accounts.get(uid)
        return None if account is None else self._place(self._demands.of(request), account, now)

    def first_byte(self, ticket: Ticket, now: float) -> None:
        """Note that the engine has begun to answer well: the prompt is computed.

        Raises
        ------
        TicketError
            The ticket has ended.

        """
        if not ticket.open:
            raise ticket.ended_already()
        ticket.account.first_token(ticket, now)
        self._freed[ticket.account.uid] = ticket.account
        if ticket.account.breaker.worried:
            self._learn(ticket, _ANSWERED, now)

    def end(self, ticket: Ticket, reason: Reason, now: float, status: int = 0, usage: Usage | None = None) -> Outcome:
        """Give the place back, exactly once, and judge the request.

        `status` is the engine's, 0 before its answer; `usage` is what it says of the tokens.

        Raises
        ------
        TicketError
            The ticket has ended before.

        """
        if not ticket.open:
            raise ticket.ended_already()
        ticket.open = False
        account = ticket.account
        used = usage or Usage(0, ticket.token_chunks)
        account.own -= 1
        self._freed[account.uid] = account
        seen = account.finish(ticket, used.output_tokens, now)
        if seen is not None:
            self._pace.observe(*seen)
        if reason is _COMPLETED:
            self._demands.learn(ticket.request, used)
        self._ledger.note(account)
        sign = sign_of(reason, status)
        if sign is not _ANSWERED or account.breaker.worried:
            self._learn(ticket, sign, now)
        if not account.own and account.over:
            self._forget_gone()
        request = ticket.request
        return Outcome(
            reason,
            reason is _COMPLETED and meets(request.slo, ticket.ttft, ticket.worst_tbt),
            now - request.arrived_at,
            ticket.ttft,
            ticket.worst_tbt,
            ticket.token_chunks,
        )

    def _choose(self, demand: Demand, candidates: Sequence[Account], now: float) -> Placement:
        picked, weighed, scores = self._policy.choose(demand, candidates)
        return Placement(self._place(demand, picked, now), weighed, scores)

    def _next_placed(
        self, admission: Admission, among: Sequence[Account], now: float
    ) -> tuple[RequestView, Decision] | None:
        """Place the first in the queue that one of these endpoints has room for."""
        ready = [account for account in among if account.endpoint.state is EndpointState.READY]
        if self._tripped:
            ready = _advised(ready, now)
        heads = list(admission.queue.heads(now)) if ready else []
        for account in ready:
            entry = admission.queue.at_home(account.uid, heads, now)
            if entry is not None and account.uid not in entry.tried and has_room(account, entry.demand):
                admission.placed(entry, now)
                return entry.demand.request, self._choose(entry.demand, [account], now)
        for entry, owed in heads:
            roomy = [each for each in ready if each.uid not in entry.tried and has_room(each, entry.demand, owed=owed)]
            if roomy:
                admission.placed(entry, now)
                return entry.demand.request, self._choose(entry.demand, roomy, now)
        return None

    def _candidates(self, now: float, tried: Set[str]) -> list[Account]:
        """Leave out what was tried and what a breaker advises against."""
        return _advised([account for account in self._ready if account.uid not in tried], now)

    def _place(self, demand: Demand, account: Account, now: float) -> Ticket:
        trial = self._tripped and account.breaker.placed(now)
        ticket = Ticket(demand.request, account, trial=trial)
        account.own += 1
        account.begin(ticket, demand, now)
        self._ledger.note(account)
        if demand.request.prefix:
            self._demands.prefixes.note(account.uid, demand.request.prefix)
        return ticket

    def _learn(self, ticket: Ticket, sign: Sign, now: float) -> None:
        ticket.account.breaker.learn(sign, now, trial=ticket.trial)
        ticket.trial = ticket.trial and sign is not Sign.ANSWERED
        self._tripped = any(account.breaker.tripped for account in self._accounts.values())

    def _forget_gone(self) -> None:
        gone = [uid for uid, account in self._accounts.items() if account.over]
        for uid in gone:
            del self._accounts[uid]
        if gone:
            self._demands.prefixes.keep(set(self._accounts))

    def _why_none(self, tried: Set[str]) -> str:
        states = [account.endpoint.state for account in self._accounts.values()]
        if not states:
            return "the pool has no engine"
        counts = ", ".join(
            f"{states.count(state)} {state.replace('_', ' ')}" for state in EndpointState if state in states
        )
        return f"no engine can take the request: {counts}" + (f"; {len(tried)} tried" if tried else "")


def _advised(accounts: list[Account], now: float) -> list[Account]:
    """Leave out what a breaker advises against; where breakers advise against all, take them all."""
    return [account for account in accounts if account.breaker.advises(now)] or accounts


def meets(slo: Slo, ttft_seconds: float | None, worst_tbt_seconds: float | None) -> bool:
    """Judge a completed request; what was not measured (no stream, a single token) breaks no limit."""
    return _within(ttft_seconds, slo.ttft_seconds) and _within(worst_tbt_seconds, slo.tbt_seconds)


def _within(measured: float | None, limit: float | None) -> bool:
    return measured is None or limit is None or measured <= limit
