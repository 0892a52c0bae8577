"""The seam between relayed requests and whoever places them: a decider in this process, or one that is asked."""

from collections.abc import Set
from typing import Protocol

from fairlead_router.contract import Reason
from fairlead_router.decisions.types import Decision, Holder, Outcome, RequestView, Ticket, Usage


class Asker(Holder, Protocol):
    """Who has asked for a place, and was not answered at once."""

    def queued(self) -> None:
        """Note that the request waits, because no endpoint has room for it."""
        ...

    def decided(self, decision: Decision) -> None:
        """Take the answer, which comes once; one that was on its way comes even if the request was cancelled."""
        ...


class Placing(Protocol):
    """Places requests; every placement is followed by exactly one `end`."""

    def submit(self, request: RequestView, tried: Set[str], asker: Asker) -> Decision | None:
        """Ask for a place on an endpoint whose uid is not in `tried`; None says that `asker` is told later."""
        ...

    def cancel(self, request: RequestView) -> None:
        """Give up a request, this very object, of which its asker has not been told yet."""
        ...

    def first_byte(self, ticket: Ticket) -> None:
        """Note that the engine has begun to answer well."""
        ...

    def end(self, ticket: Ticket, reason: Reason, status: int, usage: Usage | None = None) -> Outcome:
        """Give a place back; `status` is the engine's, 0 where it has not answered, as `usage` is."""
        ...
