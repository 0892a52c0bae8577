"""The seam between relayed requests and whoever places them: a decider in this process, or one that is asked."""

from collections.abc import Callable, Set
from typing import Protocol

from fairlead_router.contract import Reason
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.types import Decision, Outcome, RequestView, Ticket, Usage

Decided = Callable[[Decision], None]


class Placing(Protocol):
    """Places requests; every placement is followed by exactly one `end`."""

    def submit(self, request: RequestView, tried: Set[str], decided: Decided) -> Decision | None:
        """Ask for a place on an endpoint whose uid is not in `tried`; None says that `decided` is told later."""
        ...

    def first_byte(self, ticket: Ticket) -> None:
        """Note that the engine has begun to answer well."""
        ...

    def end(self, ticket: Ticket, reason: Reason, status: int, usage: Usage | None = None) -> Outcome:
        """Give a place back; `status` is the engine's, 0 where it has not answered, as `usage` is."""
        ...


class LocalDecider:
    """Decides in this process, at once."""

    def __init__(self, decider: Decider, clock: Callable[[], float]) -> None:
        self._decider = decider
        self._clock = clock

    def submit(self, request: RequestView, tried: Set[str], _decided: Decided) -> Decision | None:
        """Decide."""
        return self._decider.submit(request, self._clock(), tried)

    def first_byte(self, ticket: Ticket) -> None:
        """Let the ledger learn."""
        self._decider.first_byte(ticket, self._clock())

    def end(self, ticket: Ticket, reason: Reason, status: int, usage: Usage | None = None) -> Outcome:
        """Judge the request."""
        return self._decider.end(ticket, reason, self._clock(), status, usage)
