"""One relayed request: from its placement to the exactly one end of its answer.

    place -> connect -> send -> (retry elsewhere while nothing was answered) -> relay the answer -> finish

Everything here is a callback, and runs to its end: no task, no await, and so no place at which a request could be
forgotten. Nothing goes to the client before the first bytes of an engine's body, so that until then every failure can
still be answered with a proper status. After that a failure ends a stream with one error event, and any other answer
with a connection that breaks: a client must never take a part for the whole.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec

from fairlead_router.contract import Header, Reason, RetryReason
from fairlead_router.deadlines import NEVER, SWEEP_SECONDS
from fairlead_router.decisions.types import Decision, Outcome, Placement, RequestView, Ticket
from fairlead_router.errors import RequestError
from fairlead_router.http1.answers import AnswerHead
from fairlead_router.relay.answers import Relayed, Stream, Whole, is_stream
from fairlead_router.relay.clock import StreamClock
from fairlead_router.relay.headers import to_client
from fairlead_router.relay.outbound import Outbound
from fairlead_router.relay.sse import EventTooLargeError
from fairlead_router.relay.usage import Usage
from fairlead_router.tracing import Trace
from fairlead_router.upstream.connection import EngineConnection
from fairlead_router.upstream.errors import ClosedError, ConnectError, LostError, NotAnsweredError, UpstreamError
from fairlead_router.upstream.pool import Connecting

if TYPE_CHECKING:
    from fairlead_router.relay.inbound import Admitted

logger = logging.getLogger(__name__)

UNAVAILABLE: Final = frozenset({502, 503, 504})
"""Statuses of an engine, or of something before it, that has not begun with the request."""

_INTERRUPTIONS: Final = {
    Reason.FIRST_BYTE_TIMEOUT: "the engine sent no byte of its stream within timeouts.firstByte",
    Reason.INTER_TOKEN_TIMEOUT: "the engine was silent inside its answer for longer than timeouts.interToken",
    Reason.TOTAL_TIMEOUT: "the request took longer than timeouts.total",
    Reason.SHUTTING_DOWN: "the router is stopping and could not wait for the end of this answer",
}
_REQUEST_ID: Final = Header.REQUEST_ID.encode()
_ENDPOINT: Final = Header.ENDPOINT.encode()
_PLACED: Final = (Header.REASON.encode(), Reason.PLACED.encode())
_ENGINE_ERROR: Final = (Header.REASON.encode(), Reason.ENGINE_ERROR.encode())

P = ParamSpec("P")
Step = Callable[Concatenate["Exchange", P], None]


def _fault() -> RequestError:
    return RequestError(Reason.INTERNAL_ERROR, "the router failed; see its log")


def guarded(step: Step[P]) -> Step[P]:
    """Turn a fault of the router into the end of one request: the guard of what timers and decisions call."""

    def guarded_step(self: "Exchange", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.over:
            return
        try:
            step(self, *args, **kwargs)
        except Exception:
            logger.exception("fault while relaying request %s", self.request.request_id)
            self.fail(_fault())

    guarded_step.__doc__ = step.__doc__
    return guarded_step


class Exchange:
    """Carries out one request; when it is `over`, its answer has ended and its place is given back."""

    __slots__ = (
        "_connecting", "_connection", "_fresh", "_outbound", "_paused", "_relayed", "_retry", "_services",
        "_silence", "_silence_reason", "_status", "_ticket", "_time", "_timer", "_total_at", "_tried", "admitted", "deadline",
        "endpoint_name", "outcome", "over", "request",
        "response", "retries",
        "trace",
    )  # fmt: skip

    def __init__(self, admitted: "Admitted", request: RequestView, outbound: Outbound, trace: Trace) -> None:
        services = admitted.services
        self.admitted = admitted
        self.request = request
        self.trace = trace
        self.response = admitted.response
        self._services = services
        self._outbound = outbound
        self._ticket: Ticket | None = None
        self._tried: frozenset[str] = frozenset()
        self._connecting: Connecting | None = None
        self._connection: EngineConnection | None = None
        self._retry: tuple[RetryReason, str] | None = None  # why the next place is a retry
        self._fresh = False  # only a new connection will do
        self._timer: asyncio.TimerHandle | None = None
        self._relayed: Relayed | None = None
        self._status = 0  # the engine's, once it has answered
        self._paused = False
        self._time = services.loop.time
        self._total_at = self._time() + services.router.limits.total
        self._silence = services.router.limits.total
        self._silence_reason = Reason.TOTAL_TIMEOUT
        self.deadline = self._total_at
        self.outcome: Outcome | None = None
        """How the last placement went; None while it runs and where there was none."""
        self.endpoint_name: str | None = None
        """The endpoint tried last."""
        self.retries = 0
        self.over = False

    @property
    def usage(self) -> Usage | None:
        """Token counts, where the engine reported them."""
        return self._relayed.usage if self._relayed else None

    @property
    def status(self) -> int:
        """The engine's status; 0 before it has answered."""
        return self._status

    # What the request's own side calls.

    def start(self) -> None:
        """Place the request, and go on from there."""
        self._services.began(self)
        self._place()

    def pause(self) -> None:
        """Read no more of the answer: the client takes none. That is not the engine's silence."""
        self._paused = True
        self.deadline = self._total_at
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._wait()
        if self._connection is not None:
            self._connection.resume()

    @guarded
    def client_gone(self) -> None:
        """Abort the request at the engine."""
        self._let_go()
        self._finish(Reason.CLIENT_DISCONNECTED)

    @guarded
    def expired(self, now: float) -> None:
        """End a request that takes too long."""
        self.interrupt(Reason.TOTAL_TIMEOUT if now >= self._total_at else self._silence_reason)

    def interrupt(self, reason: Reason) -> None:
        """End the request for a reason that is not its engine's."""
        self.fail(RequestError(reason, _INTERRUPTIONS[reason]))

    def fail(self, error: RequestError) -> None:
        """End the request, and its answer as well as it can still be ended."""
        if self.over:
            return
        self._let_go()
        reason = error.reason
        if not self.response.started:
            self.response.fail(error, self.identity(), self.admitted.route.dialect.errors)
        elif not self.response.ended:
            reason = self._break_off(error) or reason
        self._finish(reason)

    def _break_off(self, error: RequestError) -> Reason | None:
        if self._relayed is not None:
            return self._relayed.break_off(error)
        self.response.abort()
        return None

    def identity(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that say who answers: the request, this replica, the endpoint tried last."""
        headers = [(_REQUEST_ID, f"{self.request.request_id}@{self._services.router.replica}".encode())]
        if self.endpoint_name is not None:
            headers.append((_ENDPOINT, self.endpoint_name.encode()))
        return headers

    # Placing and sending.

    def _place(self) -> None:
        decision = self._services.place(self.request, self._tried, self._decided)
        if decision is not None:
            self._go(decision)

    def _decided(self, decision: Decision) -> None:
        if self.over:
            if isinstance(decision, Placement):
                self._services.end(decision.ticket, Reason.CLIENT_DISCONNECTED, 0)
        else:
            self._go_later(decision)

    @guarded
    def _go_later(self, decision: Decision) -> None:
        self._go(decision)

    def _go(self, decision: Decision) -> None:
        if isinstance(decision, Placement):
            self._ticket = decision.ticket
            self.endpoint_name = decision.ticket.endpoint.name
            self._fresh = False
            if self._retry is not None:
                self._count_retry(*self._retry)
            self.trace.placed(decision.ticket.endpoint)
            self._send()
        elif self._tried:
            tried = len(self._tried)
            self.fail(RequestError(Reason.ENGINE_UNREACHABLE, f"no engine answered: {tried} tried, no other is ready"))
        else:
            self.fail(RequestError(decision.reason, decision.message))

    def _send(self) -> None:
        services, ticket = self._services, self._ticket
        if ticket is None:
            raise AssertionError("sent without a place")
        limits = services.router.limits
        if self.request.streamed:  # the first byte of a whole answer comes after its last token
            self._limit_silence(limits.first_byte, Reason.FIRST_BYTE_TIMEOUT)
        address = ticket.endpoint.address
        connection = None if self._fresh else services.pool.take(address)
        if connection is None:
            self._connecting = services.pool.connect(address, limits.connect, self._connected)
        else:
            self._carry(connection)

    @guarded
    def _connected(self, result: EngineConnection | ConnectError) -> None:
        self._connecting = None
        if isinstance(result, ConnectError):
            self._not_answered(result)
        else:
            self._carry(result)

    def _carry(self, connection: EngineConnection) -> None:
        self._connection = connection
        self._outbound.carry(connection, self)

    # Trying again.

    def _not_answered(self, error: NotAnsweredError) -> None:
        """Send the request once more where that can do no harm."""
        self._connection = None
        if isinstance(error, ClosedError) and error.reused and self._outbound.repeatable:
            self._services.telemetry.retried(RetryReason.STALE_CONNECTION)
            self.trace.retried(RetryReason.STALE_CONNECTION)
            self._fresh = True
            self._send()
            return
        refused = isinstance(error, ConnectError)
        self._end_ticket(Reason.ENGINE_UNREACHABLE)
        if not self._again(RetryReason.CONNECT_FAILED if refused else RetryReason.CONNECTION_CLOSED, str(error)):
            self.fail(RequestError(Reason.ENGINE_UNREACHABLE, str(error)))

    def _again(self, reason: RetryReason, why: str) -> bool:
        """Place the request on another endpoint after a while; returns whether that may be done."""
        services = self._services
        wait = services.router.retries.next(self.retries) if self._outbound.repeatable else None
        if wait is None:
            return False
        self.retries += 1
        self._retry = (reason, why)
        self._timer = services.loop.call_later(wait, self._place_again)
        return True

    def _count_retry(self, reason: RetryReason, why: str) -> None:
        """Count a retry once it has a place, and so takes place."""
        self._retry = None
        self._services.telemetry.retried(reason)
        self.trace.retried(reason)
        logger.warning("request %s is sent elsewhere: %s", self.request.request_id, why)

    @guarded
    def _place_again(self) -> None:
        self._timer = None
        self._place()

    # What the connection to the engine calls.

    def answer_head(self, head: AnswerHead) -> None:
        self._status = head.status
        if head.status in UNAVAILABLE and self._taken_elsewhere(head.status):
            return
        self._outbound.answered()
        placed = _PLACED if head.status < 300 else _ENGINE_ERROR
        headers = [*to_client(head.headers, head.first), *self.identity(), placed]
        if is_stream(head):
            self._relayed = Stream(head, self.response, headers, self.admitted.route.dialect, self._stream_clock())
        else:
            self._relayed = Whole(head, self.response, headers)

    def answer_data(self, data: bytes) -> None:
        relayed = self._relayed
        if relayed is None:
            raise AssertionError("a body without a head")
        if self._silence_reason is not Reason.INTER_TOKEN_TIMEOUT:
            # The clock of the sweep is up to a sweep behind.
            self._silence = self._services.router.limits.inter_token + SWEEP_SECONDS
            self._silence_reason = Reason.INTER_TOKEN_TIMEOUT
        if not self._paused:
            self.deadline = min(self._total_at, self._services.deadlines.now + self._silence)
        try:
            relayed.data(data)
        except EventTooLargeError as error:
            self._lost(error)

    def answer_end(self) -> None:
        self._connection = None
        relayed = self._relayed
        if relayed is None:
            raise AssertionError("an end without a head")
        try:
            reason = relayed.end()
        except LostError as error:
            self._lost(error)
        else:
            self._finish(reason)

    def answer_lost(self, error: UpstreamError) -> None:
        self._connection = None
        if isinstance(error, NotAnsweredError):
            self._not_answered(error)
        else:
            self._lost(error)

    def answer_fault(self) -> None:
        self.fail(_fault())

    def pause_sending(self) -> None:
        self._outbound.pause_sending()

    def resume_sending(self) -> None:
        self._outbound.resume_sending()

    def _lost(self, error: Exception) -> None:
        self.fail(RequestError(Reason.ENGINE_DISCONNECTED, f"the engine was lost inside its answer: {error}"))

    def _taken_elsewhere(self, status: int) -> bool:
        """Leave an engine that is not available, if there is another and the request may be sent again."""
        ticket = self._ticket
        if ticket is None or not self._services.router.another_ready({*self._tried, ticket.endpoint.uid}):
            return False
        if not self._again(RetryReason.ENGINE_UNAVAILABLE, f"{ticket.endpoint.name} answers {status}"):
            return False
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        self._end_ticket(Reason.ENGINE_UNREACHABLE)
        self._status = 0
        return True

    def _stream_clock(self) -> StreamClock:
        services, ticket = self._services, self._ticket
        if ticket is None:
            raise AssertionError("an answer without a place")
        meters = services.telemetry.stream(self.request, ticket.endpoint.name)
        return StreamClock(services.router, ticket, meters, self.trace)

    # Time, and the end.

    def _limit_silence(self, seconds: float, reason: Reason) -> None:
        self._silence, self._silence_reason = seconds, reason
        self._wait()

    def _wait(self) -> None:
        """Wait for the engine from now on."""
        if not self._paused:
            self.deadline = min(self._total_at, self._time() + self._silence)

    def _let_go(self) -> None:
        """Give up whatever the request waits for."""
        if self._connecting is not None:
            self._connecting.forget()
            self._connecting = None
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self, reason: Reason) -> None:
        self.over = True
        self.deadline = NEVER
        self._outbound.release()
        self._end_ticket(reason)
        self._services.ended(self, reason)

    def _end_ticket(self, reason: Reason) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._tried |= {ticket.endpoint.uid}
            self.outcome = self._services.end(ticket, reason, self._status)
