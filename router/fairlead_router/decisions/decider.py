"""The decider: places requests and owns the ledger of what runs where.

Everything a routing decision depends on changes here and nowhere else, in one thread, with the time passed in. The
relay tells it four things about a placed request: its first token, every further token chunk, and its end - the end
exactly once, however the request went, because a place that is not given back is capacity lost for ever.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.policies import Policy
from fairlead_router.decisions.types import (
    Decision,
    EndpointView,
    Outcome,
    Placement,
    Rejection,
    RequestView,
    Slo,
    Ticket,
)

SUSPECT_SECONDS = 5.0
"""How long an endpoint that refused a connection is avoided: discovery notices a dead engine within about that."""


class TicketError(Exception):
    """A ticket was used after its end, or is not this decider's."""


@dataclass(slots=True)
class _Running:
    """Progress of one placed request; times are seconds since it arrived."""

    ttft: float | None = None
    last_token: float = 0.0
    worst_tbt: float | None = None
    token_chunks: int = 0


@dataclass(slots=True)
class _Account:
    """An endpoint as discovery last showed it, and the ledger of this router."""

    endpoint: EndpointView
    in_flight: int = 0
    suspect_until: float = float("-inf")

    def view(self, now: float) -> EndpointView:
        return replace(self.endpoint, in_flight=self.in_flight, suspect=now < self.suspect_until)


class Decider:
    """Places requests by a policy; `now` is always seconds of one monotonic clock."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._accounts: dict[str, _Account] = {}
        self._running: dict[int, _Running] = {}
        self._tickets = 0

    def set_policy(self, policy: Policy) -> None:
        """Use another policy from the next request on."""
        self._policy = policy

    def set_endpoints(self, endpoints: Iterable[EndpointView]) -> None:
        """Replace what discovery knows; an endpoint that is gone stays, draining, until its requests have ended."""
        found = {endpoint.uid: endpoint for endpoint in endpoints}
        for uid, account in list(self._accounts.items()):
            if uid in found:
                continue
            if account.in_flight:
                account.endpoint = replace(account.endpoint, state=EndpointState.GONE)
            else:
                del self._accounts[uid]
        for uid, endpoint in found.items():
            if uid in self._accounts:
                self._accounts[uid].endpoint = endpoint
            else:
                self._accounts[uid] = _Account(endpoint)

    def endpoints(self, now: float) -> tuple[EndpointView, ...]:
        """Every endpoint with its ledger."""
        return tuple(account.view(now) for account in self._accounts.values())

    def submit(self, request: RequestView, now: float, tried: Set[str] = frozenset()) -> Decision:
        """Place the request on an endpoint whose uid is not in `tried`, or say why not."""
        eligible = [account.view(now) for uid, account in self._accounts.items() if uid not in tried]
        choice = self._policy.choose(request, eligible)
        if choice is None:
            return Rejection(Reason.NO_ENDPOINT, self._why_none(tried))
        self._tickets += 1
        ticket = Ticket(self._tickets, request, choice.endpoint)
        self._accounts[choice.endpoint.uid].in_flight += 1
        self._running[ticket.number] = _Running()
        return Placement(ticket, choice.scores)

    def first_byte(self, ticket: Ticket, now: float) -> float:
        """Note the first chunk that carries tokens; returns the TTFT in seconds."""
        running = self._open(ticket)
        running.ttft = running.last_token = now - ticket.request.arrived_at
        running.token_chunks = 1
        return running.ttft

    def progress(self, ticket: Ticket, chunks: int, now: float) -> float:
        """Note further chunks that carry tokens and arrived together; returns the gap before them in seconds."""
        running = self._open(ticket)
        since_arrival = now - ticket.request.arrived_at
        gap = since_arrival - running.last_token
        running.last_token = since_arrival
        running.token_chunks += chunks
        if running.worst_tbt is None or gap > running.worst_tbt:
            running.worst_tbt = gap
        return gap

    def end(self, ticket: Ticket, reason: Reason, now: float) -> Outcome:
        """Give the place back, exactly once, and judge the request.

        Raises
        ------
        TicketError
            The ticket has ended before.

        """
        running = self._open(ticket)
        del self._running[ticket.number]
        uid = ticket.endpoint.uid
        account = self._accounts[uid]
        account.in_flight -= 1
        if reason is Reason.ENGINE_UNREACHABLE:
            account.suspect_until = now + SUSPECT_SECONDS
        if account.endpoint.state is EndpointState.GONE and not account.in_flight:
            del self._accounts[uid]
        return Outcome(
            reason=reason,
            good=reason is Reason.COMPLETED and meets(ticket.request.slo, running.ttft, running.worst_tbt),
            duration_seconds=now - ticket.request.arrived_at,
            ttft_seconds=running.ttft,
            worst_tbt_seconds=running.worst_tbt,
            token_chunks=running.token_chunks,
        )

    def _open(self, ticket: Ticket) -> _Running:
        running = self._running.get(ticket.number)
        if running is None:
            raise TicketError(f"ticket {ticket.number} of request {ticket.request.request_id} has ended already")
        return running

    def _why_none(self, tried: Set[str]) -> str:
        states = [account.endpoint.state for account in self._accounts.values()]
        if not states:
            return "the pool has no engine"
        counts = ", ".join(
            f"{states.count(state)} {state.replace('_', ' ')}" for state in EndpointState if state in states
        )
        return f"no engine can take the request: {counts}" + (f"; {len(tried)} tried" if tried else "")


def meets(slo: Slo, ttft_seconds: float | None, worst_tbt_seconds: float | None) -> bool:
    """Judge a completed request; what was not measured (no stream, a single token) breaks no limit."""
    return _within(ttft_seconds, slo.ttft_seconds) and _within(worst_tbt_seconds, slo.tbt_seconds)


def _within(measured: float | None, limit: float | None) -> bool:
    return measured is None or limit is None or measured <= limit
