"""Take-back: a request that has a place and no token yet gives it to one that is more urgent.

A place is given late, and yet sometimes too early: a long prompt of a class that has time fills an endpoint's batches for
seconds, and then comes a request that must begin within one. Such a place is asked back

  when   the first in the queue has waited for half of the time that it has, and no endpoint has room for it,
  from   a request of a class of lower priority that has no first token, if that alone makes room, costs no limit that
         would have been met, and leaves its class its share; of several from the latest, which an engine has done
         least for,
  once   in the life of a request, and from one request at a time: the room that comes of it is looked at first.

Only streams show whether their prompt is computed; other requests keep their places. To ask is not to have: an engine may
have begun to answer in the meantime, and then its request stays where it is.
"""

from collections.abc import Collection
from itertools import islice
from math import inf
from typing import Final

from fairlead_router.contract import TelemetryState
from fairlead_router.decisions.class_queue import Waiting
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.load import Load
from fairlead_router.decisions.pace import EngineLimits, Pace
from fairlead_router.decisions.queue import Queue
from fairlead_router.decisions.room import has_room
from fairlead_router.decisions.types import Demand, Ticket

ANSWER_SECONDS: Final = 0.1
"""After so long without one, whoever was asked has kept its place."""
_LOOKED_AT: Final = 64
"""Places, the latest first: in a large pool some are as good as all."""


class Recalls:
    """Who may be asked for its place, and who is."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._open: dict[Ticket, None] = {}
        """Places without a first token that may be asked back, the latest last."""
        self._asked: Ticket | None = None
        self._answer_at = -inf

    def placed(self, ticket: Ticket) -> None:
        """Note a place that was given."""
        request = ticket.request
        if request.streamed and request.service_class in self._queue.yielding and not request.taken_from:
            self._open[ticket] = None

    def over(self, ticket: Ticket) -> None:
        """Note a first token, or an end."""
        self._open.pop(ticket, None)
        if ticket is self._asked:
            self._asked = None

    def ask_at(self, first: Waiting) -> float:
        """Return from when on somebody may be asked for the first in the queue; never where nobody has such a place."""
        if not self._open:
            return inf
        return max(first.urgent_at, self._answer_at) if self._asked is not None else first.urgent_at

    def ask(self, urgent: Waiting, among: Collection[Account], now: float) -> Ticket | None:
        """Return the place to ask back for a request that is first in the queue; None where none would do."""
        self._asked = ticket = next(
            (ticket for ticket in islice(reversed(self._open), _LOOKED_AT) if self._yields(ticket, urgent, among, now)),
            None,
        )
        if ticket is not None:
            del self._open[ticket]
            self._answer_at = now + ANSWER_SECONDS
        return ticket

    def _yields(self, ticket: Ticket, urgent: Waiting, among: Collection[Account], now: float) -> bool:
        request, queue = ticket.request, self._queue
        return (
            ticket.account in among
            and queue.rules_of_class(request.service_class).priority < queue.rules_of(urgent.demand).priority
            and not _costs_a_limit(ticket, urgent.demand, now)
            and queue.can_spare(request.service_class, ticket.kv_tokens)
            and has_room(_Without(ticket), urgent.demand, now)
        )


def _costs_a_limit(ticket: Ticket, urgent: Demand, now: float) -> bool:
    """Whether a request would meet its TTFT limit where it is, and not behind all that is there and the urgent one."""
    limit, account = ticket.request.slo.ttft_seconds, ticket.account
    if limit is None:
        return False
    deadline = ticket.request.arrived_at + limit
    before = account.load.prefill_tokens + urgent.tokens_to_compute(account.uid)
    behind = now + account.pace.prefill_seconds(before, account.load.decodes, account.limits.batch_tokens)
    return ticket.placed_at + ticket.predicted_seconds <= deadline < behind


class _Without:
    """An endpoint as it would be without one of its requests."""

    def __init__(self, ticket: Ticket) -> None:
        account = ticket.account
        self.uid: str = account.uid
        self.in_flight: int = account.in_flight - 1
        self.load: Load = account.load.without(ticket)
        self.pace: Pace = account.pace
        self.limits: EngineLimits = account.limits
        self.report: EngineReport = account.report
        self.telemetry: TelemetryState = account.telemetry
