"""Get one request to an engine: placed, connected, sent; and elsewhere, as long as nothing was answered.

    place (perhaps after a while in the queue) -> connect -> send
      ^                                                         |
      +---------------------- wait a little <-------------------+  the engine is not there, or has not begun
      +---------------------------------------------------------+  the place is wanted for a more urgent request

Sending a request once more is safe while no engine has begun with it. That is known of an engine that refused the
connection, closed it without a byte, or says itself that it is not available.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from fairlead_router.contract import Reason, RetryReason
from fairlead_router.decisions.types import Decision, Outcome, Placement, Ticket, Usage
from fairlead_router.errors import RequestError
from fairlead_router.relay.guard import guarded
from fairlead_router.relay.outbound import Outbound
from fairlead_router.upstream.connection import EngineConnection
from fairlead_router.upstream.errors import ClosedError, ConnectError, NotAnsweredError
from fairlead_router.upstream.pool import Connecting

if TYPE_CHECKING:
    from fairlead_router.relay.exchange import Exchange

logger = logging.getLogger(__name__)

UNAVAILABLE: Final = frozenset({502, 503, 504})
"""Statuses of an engine, or of something before it, that has not begun with the request."""


class Attempts:
    """The attempts of one exchange."""

    __slots__ = (
        "_asked", "_connecting", "_exchange", "_fresh", "_outbound", "_queued_at", "_retry", "_services", "_timer",
        "_tried", "connection", "endpoint_name", "explanation", "outcome", "over", "queue_seconds", "retries", "ticket",
    )  # fmt: skip

    def __init__(self, exchange: "Exchange", outbound: Outbound) -> None:
        self._exchange = exchange
        self._services = exchange.services
        self._outbound = outbound
        self._tried: frozenset[str] = frozenset()
        self._asked = False  # for a place, and not answered yet
        self._queued_at: float | None = None
        self._connecting: Connecting | None = None
        self._fresh = False  # only a new connection will do
        self._retry: tuple[RetryReason, str] | None = None  # why the next place is a retry
        self._timer: asyncio.TimerHandle | None = None
        self.connection: EngineConnection | None = None
        """What carries the request now."""
        self.ticket: Ticket | None = None
        """The place that the request holds."""
        self.outcome: Outcome | None = None
        """How the last placement went; None while it runs and where there was none."""
        self.endpoint_name: str | None = None
        """The endpoint tried last."""
        self.explanation = ""
        """How it was chosen, where the client asks for it."""
        self.retries = 0
        self.queue_seconds: float | None = None
        """How long the request has waited for room; None if it has not."""
        self.over = False
        """The request has ended."""

    def fail(self, error: RequestError) -> None:
        """End the request."""
        self._exchange.fail(error)

    def place(self) -> None:
        """Ask for a place, and go on from there."""
        decision = self._services.place(self._exchange.request, self._tried, self)
        if decision is None:
            self._asked = True
        else:
            self._go(decision, 0.0)

    def queued(self) -> None:
        """Wait for room."""
        if self._queued_at is None:
            self._queued_at = self._services.router.clock()
            self._services.telemetry.queued(self._exchange.request.service_class)
            self._exchange.trace.queued()

    def decided(self, decision: Decision) -> None:
        """Go on, unless the request has ended meanwhile."""
        if self.over and isinstance(decision, Placement):
            self._services.end(decision.ticket, Reason.CLIENT_DISCONNECTED, 0)
        self._take(decision)

    @guarded
    def recalled(self) -> None:
        """Give the place to a more urgent request and wait for another, unless the engine has begun to answer.

        The engine aborts a request whose connection is gone, so that it does not run twice.
        """
        ticket = self.ticket
        if ticket is None or self._exchange.request.taken_from or not self._outbound.repeatable:
            return
        self.let_go()
        self.ticket = None
        self.outcome = self._services.end(ticket, Reason.TAKEN_BACK, 0)  # until there is a better one
        self._exchange.taken_back(ticket.endpoint.uid)
        self.place()

    def not_answered(self, error: NotAnsweredError) -> None:
        """Send the request once more where that can do no harm."""
        self.connection = None
        if isinstance(error, ClosedError) and error.reused and self._outbound.repeatable:
            self._services.telemetry.retried(RetryReason.STALE_CONNECTION)
            self._exchange.trace.retried(RetryReason.STALE_CONNECTION)
            self._fresh = True
            self._send()
            return
        refused = isinstance(error, ConnectError)
        self.end_ticket(Reason.ENGINE_UNREACHABLE, 0)
        if not self._again(RetryReason.CONNECT_FAILED if refused else RetryReason.CONNECTION_CLOSED, str(error)):
            self.fail(RequestError(Reason.ENGINE_UNREACHABLE, str(error)))

    def taken_elsewhere(self, status: int) -> bool:
        """Leave an engine that says it is not available, if there is another and the request may be sent again."""
        ticket = self.ticket
        if ticket is None or not self._services.router.another_ready({*self._tried, ticket.endpoint.uid}):
            return False
        if not self._again(RetryReason.ENGINE_UNAVAILABLE, f"{ticket.endpoint.name} answers {status}"):
            return False
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None
        self.end_ticket(Reason.ENGINE_UNREACHABLE, status)
        return True

    def let_go(self) -> None:
        """Give up whatever the request waits for."""
        if self._asked:
            self._asked = False
            self._leave_queue()
            self._services.cancel(self._exchange.request)
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None
        if self._connecting is not None:
            self._connecting.forget()
            self._connecting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """End: the exchange, which holds this, is held no more, so that both are freed without the garbage collector."""
        self.over = True
        del self._exchange

    def end_ticket(self, reason: Reason, status: int, usage: Usage | None = None) -> None:
        """Give the place back, if the request has one; `status` is the engine's, 0 where it has not answered."""
        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            self._tried |= {ticket.endpoint.uid}
            self.outcome = self._services.end(ticket, reason, status, usage)

    @guarded
    def _take(self, decision: Decision) -> None:
        self._asked = False
        self._go(decision, self._leave_queue())

    def _leave_queue(self) -> float:
        """Return how long the request has waited for room since it last began to."""
        queued_at, self._queued_at = self._queued_at, None
        if queued_at is None:
            return 0.0
        waited = self._services.router.clock() - queued_at
        self.queue_seconds = waited + (self.queue_seconds or 0.0)
        self._services.telemetry.unqueued(self._exchange.request.service_class)
        return waited

    def _go(self, decision: Decision, waited_seconds: float) -> None:
        if isinstance(decision, Placement):
            self.ticket = decision.ticket
            self._services.telemetry.placed(self._exchange.request, waited_seconds)
            self.endpoint_name = decision.ticket.endpoint.name
            if self._exchange.admitted.entry.explained:
                self.explanation = decision.explanation
            self._fresh = False
            if self._retry is not None:
                self._count_retry(*self._retry)
            self._exchange.trace.placed(decision.ticket.endpoint, decision.explanation)
            self._send()
        elif self._tried and decision.reason is Reason.NO_ENDPOINT:
            tried = len(self._tried)
            self.fail(RequestError(Reason.ENGINE_UNREACHABLE, f"no engine answered: {tried} tried, no other is ready"))
        else:
            retry_after = decision.retry_after_seconds
            if retry_after is not None:
                self._services.told_to_come_back(retry_after)
            self.fail(RequestError(decision.reason, decision.message, retry_after=retry_after))

    def _send(self) -> None:
        services, ticket = self._services, self.ticket
        if ticket is None:
            raise AssertionError("sent without a place")
        self._exchange.sending()
        address = ticket.endpoint.address
        connection = None if self._fresh else services.pool.take(address)
        if connection is None:
            self._connecting = services.pool.connect(address, services.router.limits.connect, self._connected)
        else:
            self._carry(connection)

    @guarded
    def _connected(self, result: EngineConnection | ConnectError) -> None:
        self._connecting = None
        if isinstance(result, ConnectError):
            self.not_answered(result)
        else:
            self._carry(result)

    def _carry(self, connection: EngineConnection) -> None:
        self.connection = connection
        self._outbound.carry(connection, self._exchange)

    def _again(self, reason: RetryReason, why: str) -> bool:
        """Place the request on another endpoint after a while; returns whether that may be done."""
        wait = self._services.router.retries.next(self.retries) if self._outbound.repeatable else None
        if wait is None:
            return False
        self.retries += 1
        self._retry = (reason, why)
        self._timer = self._services.loop.call_later(wait, self._place_again)
        return True

    def _count_retry(self, reason: RetryReason, why: str) -> None:
        """Count a retry once it has a place, and so takes place."""
        self._retry = None
        self._services.telemetry.retried(reason)
        self._exchange.trace.retried(reason)
        logger.warning("request %s is sent elsewhere: %s", self._exchange.request.request_id, why)

    @guarded
    def _place_again(self) -> None:
        self._timer = None
        self._exchange.not_sent()
        self.place()
