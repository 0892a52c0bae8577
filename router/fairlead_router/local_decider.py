"""Placing by a decider in this process.

What makes room, such as the end of a request, is told by somebody who is in the middle of something. What comes of it for
requests that wait is looked at in another turn of the event loop, once for everything that has happened in this one, so
that no request's end is inside another's beginning. Time alone matters as well: one timer is set for when it does next.
"""

import asyncio
from collections.abc import Callable, Set
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.types import Decision, Outcome, Placement, RequestView, Ticket, Usage
from fairlead_router.placing import Asker

SETTLED_AT_A_TIME: Final = 16
"""Requests that are told in one turn of the event loop; each is sent or refused at once, and streams wait meanwhile."""
_TICK_SECONDS: Final = 0.001
"""Resolution of the event loop's timers; one that is set for less may fire before it is due, again and again."""


class LocalDecider:
    """Decides at once or, where requests wait, when there is room for them."""

    def __init__(self, decider: Decider, clock: Callable[[], float]) -> None:
        self._decider = decider
        self._clock = clock
        self._waiting: dict[int, Asker] = {}
        """By the identity of the request."""
        self._looking = False  # in the next turn
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, request: RequestView, tried: Set[str], asker: Asker) -> Decision | None:
        """Decide, or let the request wait."""
        decision = self._decider.submit(request, self._clock(), tried)
        if decision is None:
            self._waiting[id(request)] = asker
            asker.queued()
            self._set_timer()
        elif type(decision) is Placement:
            decision.ticket.holder = asker
        return decision

    def cancel(self, request: RequestView) -> None:
        """Forget a request that waits."""
        if self._decider.cancel(request):
            del self._waiting[id(request)]
            self.look_again()

    def first_byte(self, ticket: Ticket) -> None:
        """Let the ledger learn."""
        self._decider.first_byte(ticket, self._clock())
        if self._waiting:
            self.look_again()

    def end(self, ticket: Ticket, reason: Reason, status: int, usage: Usage | None = None) -> Outcome:
        """Judge the request."""
        outcome = self._decider.end(ticket, reason, self._clock(), status, usage)
        if self._waiting:
            self.look_again()
        return outcome

    def look_again(self) -> None:
        """Look soon for room for requests that wait; called after everything that may have made some."""
        if self._waiting and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        """Tell some of the requests that wait what has been decided."""
        self._looking = False
        settled = self._decider.settle(self._clock(), SETTLED_AT_A_TIME)
        for request, decision in settled:
            asker = self._waiting.pop(id(request))
            if isinstance(decision, Placement):
                decision.ticket.holder = asker
            asker.decided(decision)
        if len(settled) == SETTLED_AT_A_TIME:
            self.look_again()
        elif self._waiting:
            self._recall()
        self._set_timer()

    def _recall(self) -> None:
        """Ask for a place that somebody more urgent should have."""
        ticket = self._decider.recall(self._clock())
        if ticket is not None and ticket.holder is not None:
            ticket.holder.recalled()

    def _set_timer(self) -> None:
        """Move the timer where something else is due next."""
        now = self._clock()
        due = self._decider.next_due(now)
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._timer = due, None
        if due is not None:
            seconds = max(_TICK_SECONDS, due - now)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._due = self._timer = None
        self._settle()
