"""The endpoints of a pool: who is there, who may get a request, and whom its breaker advises against."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from operator import attrgetter

from fairlead_router.contract import EndpointState, Role
from fairlead_router.decisions.board import Board
from fairlead_router.decisions.breaker import Breaker, BreakerSettings, Sign
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.ledger import Account, Ledger
from fairlead_router.decisions.pace import USUAL_LIMITS, EngineLimits, Pace
from fairlead_router.decisions.types import EndpointView, Ticket


class Endpoints:
    """What discovery has found, each with its account."""

    def __init__(self, breaker: BreakerSettings, ledger: Ledger) -> None:
        """Begin without any."""
        self.ledger = ledger
        self.pace = Pace()
        """Of the pool: what is expected of an endpoint that nothing is known of."""
        self.accounts: dict[str, Account] = {}
        """By uid; one that is gone stays until its requests have ended."""
        self.ready = Board()
        """Those that discovery says take requests, in order of uid."""
        self.tripped = False
        """Whether any breaker is not closed."""
        self._breaker = breaker
        self._limits = USUAL_LIMITS

    def use_breaker(self, settings: BreakerSettings) -> None:
        """Use other settings of the circuit breakers from the next failure on."""
        self._breaker = settings
        for account in self.accounts.values():
            account.breaker.use(settings)

    def use_limits(self, limits: EngineLimits) -> None:
        """Take engines to be able to do this, where discovery does not know them better."""
        self._limits = limits
        for account in self.accounts.values():
            account.discovered(account.endpoint, limits)

    def discovered(self, endpoints: Iterable[EndpointView]) -> None:
        """Replace what discovery knows."""
        found = {endpoint.uid: endpoint for endpoint in endpoints}
        for uid, account in self.accounts.items():
            if uid not in found:
                account.discovered(replace(account.endpoint, state=EndpointState.GONE), self._limits)
        for uid, endpoint in found.items():
            if uid in self.accounts:
                self.accounts[uid].discovered(endpoint, self._limits)
            else:
                self.accounts[uid] = Account(endpoint, Breaker(self._breaker), Pace(self.pace), self._limits)
        self.ready = Board(sorted(filter(takes_requests, self.accounts.values()), key=attrgetter("uid")))

    def reported(self, reports: Mapping[str, EngineReport], now: float) -> None:
        """Note what engines say of themselves, by uid; who says nothing is believed for a while."""
        for uid, account in self.accounts.items():
            report = reports.get(uid)
            if report is None:
                account.check_freshness(now)
            else:
                account.reported(report, now)

    def views(self, now: float) -> tuple[EndpointView, ...]:
        """Every endpoint with its ledger."""
        return tuple(account.view(now) for account in self.accounts.values())

    def forget_gone(self) -> list[str]:
        """Forget endpoints that are gone and run nothing any more; returns their uids."""
        self.ledger.refresh(self.accounts.values())
        gone = [uid for uid, account in self.accounts.items() if account.over]
        for uid in gone:
            del self.accounts[uid]
        return gone

    def candidates(self, now: float, tried: Set[str]) -> Sequence[Account]:
        """Return who may get a request that was sent to those in `tried`."""
        if not tried and not self.tripped:
            return self.ready
        return self.advised([account for account in self.ready if account.uid not in tried], now)

    def advised(self, accounts: Sequence[Account], now: float) -> Sequence[Account]:
        """Leave out what a breaker advises against; where breakers advise against all, take them all."""
        return [account for account in accounts if account.breaker.advises(now)] or accounts

    def unharmed(self, accounts: Sequence[Account], now: float) -> Sequence[Account]:
        """Leave out what a breaker advises against, unless they advise against everybody in the pool.

        An endpoint that fails has room all the time, and would draw the whole queue.
        """
        if self.tripped and any(account.breaker.advises(now) for account in self.ready):
            return [account for account in accounts if account.breaker.advises(now)]
        return accounts

    def next_trial_at(self, now: float) -> float | None:
        """Return when the next endpoint that a breaker advises against may be tried; None where none is."""
        trials = (account.breaker.trial_at for account in self.ready if account.breaker.tripped)
        return min((at for at in trials if at > now), default=None)

    def learn(self, ticket: Ticket, sign: Sign, now: float) -> None:
        """Note whether an endpoint did well by a request."""
        ticket.account.breaker.learn(sign, now, trial=ticket.trial)
        ticket.trial = ticket.trial and sign is not Sign.ANSWERED
        self.tripped = any(account.breaker.tripped for account in self.accounts.values())

    def why_none(self, tried: Set[str]) -> str:
        """Say why there is nobody to send a request to."""
        states = [account.endpoint.state for account in self.accounts.values()]
        if not states:
            return "the pool has no engine"
        counts = ", ".join(
            f"{states.count(state)} {state.replace('_', ' ')}" for state in EndpointState if state in states
        )
        return f"no engine can take the request: {counts}" + (f"; {len(tried)} tried" if tried else "")


def takes_requests(account: Account) -> bool:
    """Whether discovery says that an endpoint takes requests."""
    endpoint = account.endpoint
    return endpoint.state is EndpointState.READY and endpoint.role is not Role.PREFILL
