"""The decider: places requests and owns the ledger of what runs where.

Everything a routing decision depends on changes here and nowhere else, in one thread, with the time passed in. The
relay tells it of the end of every placed request, exactly once and however the request went, because a place that is
not given back is capacity lost for ever. Tokens are noted on the ticket alone.

A decision costs microseconds and is made for every request, so nothing is built anew for it: the endpoints that may get
a request stay one list until something about them changes.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.breaker import BreakerSettings, Sign, sign_of
from fairlead_router.decisions.canary import Canary
from fairlead_router.decisions.class_queue import Waiting
from fairlead_router.decisions.demand import Demands
from fairlead_router.decisions.endpoints import Endpoints, takes_requests
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.journal import Journal, in_one_line, weighed_now
from fairlead_router.decisions.ledger import Account, Ledger, OwnLedger
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import Choice, Policy
from fairlead_router.decisions.queue import Queue
from fairlead_router.decisions.quotas import Quotas
from fairlead_router.decisions.recalls import Recalls
from fairlead_router.decisions.room import has_room
from fairlead_router.decisions.rules import ClassRules, QueueLimits
from fairlead_router.decisions.types import (
    Decision,
    Demand,
    EndpointView,
    Outcome,
    Placement,
    Rejection,
    RequestView,
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
        journal: Journal | None = None,
    ) -> None:
        """Begin without endpoints.

        Without a `ledger`, nobody else has requests on them; without an `admission`, no request waits or is refused
        while there is an endpoint; without a `journal`, no decision is kept.
        """
        self._policy = policy
        self._demands = Demands()
        self._endpoints = Endpoints(breaker, ledger or OwnLedger())
        self._canary: Canary | None = None
        self._admission = admission
        self._journal = journal
        self._recalls = _recalls_of(admission, None)
        """None where nobody may have to give its place to another: that is not looked at then."""
        self._quotas = Quotas()
        self._window = Window()
        self._freed: dict[str, Account] = {}
        """Endpoints that may have room since the queue was looked at."""
        self._anew = False
        """Whether somebody else may stand first in it since then."""

    def set_policy(self, policy: Policy, name: str) -> None:
        """Use another policy from the next request on."""
        self._policy = policy
        if self._journal is not None:
            self._journal.policy = name

    def set_breaker(self, settings: BreakerSettings) -> None:
        """Use other settings of the circuit breakers from the next failure on."""
        self._endpoints.use_breaker(settings)

    def set_engine_limits(self, limits: EngineLimits) -> None:
        """Take engines to be able to do this, where discovery does not know them better."""
        self._endpoints.use_limits(limits)

    def set_canary(self, canary: Canary | None) -> None:
        """Try engines of a revision with a share of the requests, from the next one on."""
        self._canary = canary

    def set_admission(self, rules: Mapping[str, ClassRules], limits: QueueLimits) -> None:
        """Follow other rules of the classes and other bounds of the queue, where there is one."""
        if self._admission is not None:
            self._admission.use(rules, limits)
            self._recalls = _recalls_of(self._admission, self._recalls)
            self._anew = True

    def set_endpoints(self, endpoints: Iterable[EndpointView]) -> None:
        """Replace what discovery knows; an endpoint that is gone stays until its requests have ended."""
        self._endpoints.discovered(endpoints)
        self._forget_gone()
        self._anew = True

    def note_reports(self, reports: Mapping[str, EngineReport], now: float) -> None:
        """Note what engines say of themselves, by uid; call it often, also where none of them says anything."""
        self._endpoints.reported(reports, now)
        for report in reports.values():
            self._demands.note_adapters(report.adapters)
        self._anew = True  # there may be room that nobody has given back

    def endpoints(self, now: float) -> tuple[EndpointView, ...]:
        """Every endpoint with its ledger."""
        self._forget_gone()
        return self._endpoints.views(now)

    def submit(self, request: RequestView, now: float, tried: Set[str] = frozenset()) -> Decision | None:
        """Place the request on an endpoint whose uid is not in `tried`, or say why not.

        None says that it waits: `settle` will tell of it.
        """
        endpoints = self._endpoints
        candidates = endpoints.candidates(now, tried)
        if not candidates:
            return self._noted(request, Rejection(Reason.NO_ENDPOINT, endpoints.why_none(tried)), now)
        if self._canary is not None:
            candidates = self._canary.side_of(request, candidates)
        endpoints.ledger.refresh(candidates)
        demand = self._demands.of(request)
        if request.quota is not None and (refusal := self._quotas.charge(demand, now)) is not None:
            return self._noted(request, refusal, now, demand)
        return self._decide(demand, frozenset(tried), candidates, now)

    def settle(self, now: float, most: int = sys.maxsize) -> list[tuple[RequestView, Decision]]:
        """Return what has been decided of requests that wait; call it after everything that may make room.

        Where it returns as many as `most`, there may be more: call it again.
        """
        admission = self._admission
        if admission is None or not admission.queue:
            return []
        settled = [self._refused(entry, refusal, now) for entry, refusal in islice(admission.overdue(now), most)]
        among: Sequence[Account] = list(self._freed.values())
        if (
            settled or self._anew or self._endpoints.tripped
        ):  # who stands first has been offered none of the other endpoints yet
            among = self._window.of(self._endpoints.ready)
        while len(settled) < most and (decided := self._next_decided(admission, among, now)) is not None:
            settled.append(decided)
            among = self._window.of(self._endpoints.ready)
        self._freed.clear()
        self._anew = len(settled) >= most
        return settled

    def recall(self, now: float) -> Ticket | None:
        """Return a place that a more urgent request should have: its holder may still `end` it, and submit again.

        Call it after `settle`.
        """
        admission, recalls = self._admission, self._recalls
        first = None if admission is None or recalls is None else admission.queue.first(now)
        if recalls is None or first is None or first.tried or now < recalls.ask_at(first):
            return None
        working = self._endpoints.advised(self._endpoints.ready, now)
        ticket = recalls.ask(first, set(self._may_have(first, working)), now)
        if ticket is not None and ticket.record is not None:
            ticket.record.recalled_for = first.demand.request.request_id
        return ticket

    def cancel(self, request: RequestView) -> bool:
        """Forget a request that waits, because nobody wants it any more; returns whether this very one did."""
        self._anew = True
        entry = None if self._admission is None else self._admission.queue.remove(request)
        if entry is None:
            return False
        self._quotas.give_back(entry.demand)
        return True

    def next_due(self, now: float) -> float | None:
        """Return when `settle` has something to say even if nothing makes room; None while nothing waits."""
        queue = None if self._admission is None else self._admission.queue
        due = queue.next_due() if queue else None
        if queue and due is not None and self._recalls is not None:
            first = queue.first(now)
            recall_at = due if first is None else self._recalls.ask_at(first)
            due = min(due, recall_at) if recall_at > now else due
        trial_at = self._endpoints.next_trial_at(now) if due is not None and self._endpoints.tripped else None
        return due if due is None or trial_at is None else min(due, trial_at)

    def place(self, request: RequestView, uid: str, now: float) -> Ticket | None:
        """Place the request on an endpoint that somebody else has chosen; None where there is none of that uid."""
        account = self._endpoints.accounts.get(uid)
        return None if account is None else self._place(self._demands.of(request), account, now)

    def resume(self, request: RequestView, uid: str, now: float, *, answers: bool) -> Ticket | None:
        """Note a request that has run for a while, placed by somebody else; None where there is no endpoint of that uid.

        Nobody knows how far its prompt is, or, where its engine `answers`, since when: nothing is to be learnt from that.
        """
        ticket = self.place(request, uid, now)
        if ticket is not None:
            ticket.account.resume(ticket, now, answers=answers)
        return ticket

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
        if self._admission is not None:
            self._admission.began(ticket, now)
        if self._recalls is not None:
            self._recalls.over(ticket)
        self._freed[ticket.account.uid] = ticket.account
        if ticket.account.breaker.worried:
            self._endpoints.learn(ticket, _ANSWERED, now)

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
        if self._recalls is not None:
            self._recalls.over(ticket)
        account = ticket.account
        used = usage or Usage(0, ticket.token_chunks)
        account.own -= 1
        self._freed[account.uid] = account
        account.finish(ticket, used.output_tokens, now)
        if reason is _COMPLETED:
            self._demands.learn(ticket.request, used, account.uid if account.caches_prefixes else None)
        self._endpoints.ledger.note(account)
        if ticket.charged_tokens:
            self._quotas.settle(ticket, reason, usage)
        sign = sign_of(reason, status)
        if sign is not _ANSWERED or account.breaker.worried:
            self._endpoints.learn(ticket, sign, now)
        if not account.own and account.over:
            self._forget_gone()
        request = ticket.request
        outcome = Outcome(
            reason,
            reason is _COMPLETED and request.slo.met_by(ticket.ttft, ticket.worst_tbt),
            now - request.arrived_at,
            ticket.ttft,
            ticket.worst_tbt,
            ticket.token_chunks,
        )
        if self._journal is not None and ticket.record is not None:
            self._journal.ended(ticket.record, outcome)
        return outcome

    def _decide(
        self, demand: Demand, tried: frozenset[str], candidates: Sequence[Account], now: float
    ) -> Decision | None:
        admission = self._admission
        expected = False
        if admission is not None and admission.appointments.number and not tried:
            expected = admission.appointments.keep(demand.request, now)
        if admission is None or not admission.queue:
            # Nearly always the best has room: the others are looked at only where it has none.
            among = self._window.of(candidates, demand.cached) if self._policy.weighs else candidates
            choice = self._policy.choose(demand, among)
            if admission is None:
                return self._placement(demand, choice, now)
            if has_room(choice.picked, demand, now):
                admission.queue.served(demand, now)
                return self._placement(demand, choice, now)
        roomy = self._roomy(admission.queue, demand, candidates, now)
        if roomy:
            admission.queue.served(demand, now)
            return self._placement(demand, self._policy.choose(demand, roomy), now)
        refusal = admission.enter(demand, tried, candidates, now, expected=expected)
        if refusal is None:
            return None
        self._quotas.give_back(demand)
        return self._noted(demand.request, refusal, now, demand)

    def _roomy(self, queue: Queue, demand: Demand, candidates: Sequence[Account], now: float) -> Sequence[Account]:
        """Return the endpoints that have room for a request that has just come, and that nobody in the queue is to get."""
        if queue.outranks(demand):
            among = self._window.of(candidates, demand.cached)
            roomy = [each for each in among if has_room(each, demand, now)]
            if roomy or len(among) == len(candidates) or queue:
                return roomy
            return [each for each in candidates if has_room(each, demand, now)]
        if demand.cached and not queue.outranked(demand):
            # Behind others of its class it would be computed anew: it is less work where it has been.
            accounts = self._endpoints.accounts
            homes = [accounts[uid] for uid in demand.cached if uid in accounts and has_room(accounts[uid], demand, now)]
            return [each for each in candidates if each in homes] if homes else ()
        return ()

    def _placement(self, demand: Demand, choice: Choice[Account], now: float, waited_seconds: float = 0.0) -> Placement:
        picked, weighed, scores = choice
        if self._journal is None:
            return Placement(self._place(demand, picked, now), weighed, scores)
        before = weighed_now(weighed or (picked,), scores)
        ticket = self._place(demand, picked, now)
        record = self._journal.placed(ticket, demand, before, now, waited_seconds)
        return Placement(ticket, weighed, scores, in_one_line(record) if demand.request.explained else "")

    def _noted(
        self,
        request: RequestView,
        refusal: Rejection,
        now: float,
        demand: Demand | None = None,
        waited_seconds: float = 0.0,
    ) -> Rejection:
        if self._journal is not None:
            self._journal.refused(request, refusal, now, demand, waited_seconds)
        return refusal

    def _next_decided(
        self, admission: Admission, among: Sequence[Account], now: float
    ) -> tuple[RequestView, Decision] | None:
        """Place the first in the queue that one of these endpoints has room for, or refuse one that has nobody left."""
        heads = list(admission.queue.heads(now))
        for head, _ in heads:
            if head.tried and all(account.uid in head.tried for account in self._endpoints.ready):
                admission.queue.remove(head.demand.request)
                return self._refused(head, Rejection(Reason.NO_ENDPOINT, self._endpoints.why_none(head.tried)), now)
        # Most that are full are so in number, which is soon seen.
        open_ = [each for each in among if each.in_flight < each.limits.max_num_seqs and takes_requests(each)]
        ready = self._endpoints.unharmed(open_, now)
        for account in ready:
            at_home = admission.queue.at_home(account.uid, heads, now)
            if at_home is not None and self._may_have(at_home, [account]) and has_room(account, at_home.demand, now):
                return self._from_queue(admission, at_home, [account], now)
        for entry, owed in heads:
            roomy = [each for each in self._may_have(entry, ready) if has_room(each, entry.demand, now, owed=owed)]
            if roomy:
                return self._from_queue(admission, entry, roomy, now)
        return None

    def _from_queue(
        self, admission: Admission, entry: Waiting, roomy: Sequence[Account], now: float
    ) -> tuple[RequestView, Decision]:
        admission.placed(entry, now)
        demand = entry.demand
        choice = self._policy.choose(demand, roomy)
        return demand.request, self._placement(demand, choice, now, now - entry.entered_at)

    def _may_have(self, entry: Waiting, ready: Sequence[Account]) -> Sequence[Account]:
        """Return those of some endpoints that a request which waits may be given to."""
        if entry.tried:
            ready = [account for account in ready if account.uid not in entry.tried]
        if self._canary is None:
            return ready
        side = set(self._canary.side_of(entry.demand.request, self._endpoints.ready))
        return [account for account in ready if account in side]

    def _refused(self, entry: Waiting, refusal: Rejection, now: float) -> tuple[RequestView, Decision]:
        """Tell a request that has waited for nothing why, which may be that there is nobody to wait for."""
        if not self._endpoints.ready:
            refusal = Rejection(Reason.NO_ENDPOINT, self._endpoints.why_none(entry.tried))
        request = entry.demand.request
        self._quotas.give_back(entry.demand)
        return request, self._noted(request, refusal, now, entry.demand, now - entry.entered_at)

    def _place(self, demand: Demand, account: Account, now: float) -> Ticket:
        trial = self._endpoints.tripped and account.breaker.placed(now)
        ticket = Ticket(demand.request, account, trial=trial)
        if demand.request.quota is not None:
            ticket.charged_tokens = demand.tokens
        account.own += 1
        account.begin(ticket, demand, now)
        self._endpoints.ledger.note(account)
        if self._recalls is not None:
            self._recalls.placed(ticket)
        if account.caches_prefixes:
            self._demands.placed(demand, account.uid)
        return ticket

    def _forget_gone(self) -> None:
        gone = self._endpoints.forget_gone()
        for uid in gone:
            self._freed.pop(uid, None)
        if gone:
            self._demands.prefixes.keep(set(self._endpoints.accounts))


def _recalls_of(admission: Admission | None, before: Recalls | None) -> Recalls | None:
    if admission is None or not admission.queue.yielding:
        return None
    return before or Recalls(admission.queue)
