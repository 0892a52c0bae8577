"""One relayed request: from its placement to the exactly one end of its answer.

    attempts (place -> connect -> send -> perhaps elsewhere) -> relay the answer -> finish

Everything here is a callback, and runs to its end: no task, no await, and so no place at which a request could be
forgotten. Nothing goes to the client before the first bytes of an engine's body, so that until then every failure can
still be answered with a proper status. After that a failure ends a stream with one error event, and any other answer
with a connection that breaks: a client must never take a part for the whole.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fairlead_router.contract import Header, Reason
from fairlead_router.deadlines import NEVER, SWEEP_SECONDS
from fairlead_router.decisions.types import RequestView
from fairlead_router.errors import RequestError
from fairlead_router.http1.answers import AnswerHead
from fairlead_router.relay.answers import Relayed, Stream, Whole, is_stream
from fairlead_router.relay.attempts import UNAVAILABLE, Attempts
from fairlead_router.relay.clock import StreamClock
from fairlead_router.relay.guard import fault, guarded
from fairlead_router.relay.headers import identity_of, to_client
from fairlead_router.relay.outbound import Outbound
from fairlead_router.relay.sse import EventTooLargeError
from fairlead_router.tracing import Trace
from fairlead_router.upstream.errors import LostError, NotAnsweredError, UpstreamError

if TYPE_CHECKING:
    from fairlead_router.relay.inbound import Admitted

_INTERRUPTIONS: Final = {
    Reason.FIRST_BYTE_TIMEOUT: "the engine sent no byte of its stream within timeouts.firstByte",
    Reason.INTER_TOKEN_TIMEOUT: "the engine was silent inside its answer for longer than timeouts.interToken",
    Reason.TOTAL_TIMEOUT: "the request took longer than timeouts.total",
    Reason.SHUTTING_DOWN: "the router is stopping and could not wait for the end of this answer",
}
_DECISION: Final = f"{Header.DECISION}: %b\r\n".encode()
_PLACED: Final = f"{Header.REASON}: {Reason.PLACED}\r\n".encode()
_ENGINE_ERROR: Final = f"{Header.REASON}: {Reason.ENGINE_ERROR}\r\n".encode()


def _not_a_stream(_read: bytes) -> bool:
    return False


class Exchange:
    """Carries out one request; when it is `over`, its answer has ended and its place is given back."""

    __slots__ = (
        "_heard_at", "_outbound", "_paused", "_relayed", "_silence", "_silence_reason", "_total_at", "admitted",
        "answer_chunk", "attempts", "deadline", "over", "request", "response", "services", "status", "trace",
    )  # fmt: skip

    def __init__(self, admitted: "Admitted", request: RequestView, outbound: Outbound, trace: Trace) -> None:
        services = admitted.services
        self.admitted = admitted
        self.request = request
        self.trace = trace
        self.response = admitted.response
        self.services = services
        self.attempts = Attempts(self, outbound)
        self._outbound = outbound
        self._relayed: Relayed | None = None
        self.status = 0
        """The engine's; 0 before it has answered."""
        self._paused = False
        self.answer_chunk: Callable[[bytes], bool] = _not_a_stream
        self._heard_at = services.loop.time()
        self._total_at = self._heard_at + services.router.limits.total
        self._silence = services.router.limits.total
        self._silence_reason = Reason.TOTAL_TIMEOUT
        self.deadline = self._total_at
        """Not later than when to act: `expired` looks at when the engine was last heard, which is noted for nothing."""
        self.over = False

    # What the request's own side calls.

    def start(self) -> None:
        """Place the request, and go on from there."""
        self.services.began(self)
        self.attempts.place()

    def sending(self) -> None:
        """Wait for the engine's first byte from now on, unless that comes after the answer's last token."""
        if self.request.streamed:
            self._silence, self._silence_reason = self.services.router.limits.first_byte, Reason.FIRST_BYTE_TIMEOUT
            self._wait()

    def not_sent(self) -> None:
        """Wait for no engine: the request is with none."""
        self._silence, self._silence_reason = self.services.router.limits.total, Reason.TOTAL_TIMEOUT
        self._wait()

    def taken_back(self, uid: str) -> None:
        """Begin anew: the place on the endpoint was given to another, which has answered with a head at most."""
        self.request = request = self.request._replace(taken_from=uid)
        self.status, self._relayed, self.answer_chunk = 0, None, _not_a_stream
        self.services.telemetry.taken_back(request.service_class)
        self.trace.taken_back()
        self.not_sent()

    def pause(self) -> None:
        """Read no more of the answer: the client takes none. That is not the engine's silence."""
        self._paused = True
        if self.attempts.connection is not None:
            self.attempts.connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._wait()
        if self.attempts.connection is not None:
            self.attempts.connection.resume()

    @guarded
    def client_gone(self) -> None:
        """Abort the request at the engine."""
        self.attempts.let_go()
        self._finish(Reason.CLIENT_DISCONNECTED)

    @guarded
    def expired(self, now: float) -> None:
        """End a request that takes too long."""
        self.deadline = self._due()
        if now >= self.deadline:
            self.interrupt(Reason.TOTAL_TIMEOUT if now >= self._total_at else self._silence_reason)

    def interrupt(self, reason: Reason) -> None:
        """End the request for a reason that is not its engine's."""
        self.fail(RequestError(reason, _INTERRUPTIONS[reason]))

    def fail(self, error: RequestError) -> None:
        """End the request, and its answer as well as it can still be ended."""
        if self.over:
            return
        self.attempts.let_go()
        reason = error.reason
        if not self.response.started:
            self.response.fail(error, self._identity(), self.admitted.entry.route.dialect.errors)
        elif not self.response.ended:
            reason = self._break_off(error) or reason
        self._finish(reason)

    def _break_off(self, error: RequestError) -> Reason | None:
        if self._relayed is not None:
            return self._relayed.break_off(error)
        self.response.abort()
        return None

    def _identity(self) -> bytes:
        attempts = self.attempts
        lines = identity_of(self.request.request_id, self.services.router.replica, attempts.endpoint_name)
        if attempts.explanation:
            lines += _DECISION % attempts.explanation.encode()
        return lines

    # What the connection to the engine calls.

    def answer_head(self, head: AnswerHead) -> None:
        if head.status in UNAVAILABLE and self.attempts.taken_elsewhere(head.status):
            return
        self.status = head.status
        stream = is_stream(head)
        if not (stream and self.request.service_class in self.services.router.yielding):
            self._outbound.answered()  # else not before its body: engines send heads of streams long before
        placed = _PLACED if head.status < 300 else _ENGINE_ERROR
        lines = to_client(head) + self._identity() + placed
        if stream:
            dialect, clock = self.admitted.entry.route.dialect, self._stream_clock()
            self._relayed = relayed = Stream(head, self.response, lines, dialect, clock)
            self.answer_chunk = relayed.chunk
        else:
            self._relayed = Whole(head, self.response, lines)

    def answer_data(self, data: bytes) -> None:
        relayed = self._relayed
        if relayed is None:
            raise AssertionError("a body without a head")
        self._heard_at = self.services.deadlines.now
        if self._silence_reason is not Reason.INTER_TOKEN_TIMEOUT:
            # The clock of the sweep is up to a sweep behind.
            self._silence = self.services.router.limits.inter_token + SWEEP_SECONDS
            self._silence_reason = Reason.INTER_TOKEN_TIMEOUT
            self.deadline = self._due()
            self._outbound.answered()
        try:
            relayed.data(data)
        except EventTooLargeError as error:
            self._lost(error)

    def answer_end(self) -> None:
        self.attempts.connection = None
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
        self.attempts.connection = None
        if isinstance(error, NotAnsweredError):
            self.attempts.not_answered(error)
        else:
            self._lost(error)

    def answer_fault(self) -> None:
        self.fail(fault())

    def pause_sending(self) -> None:
        self._outbound.pause_sending()

    def resume_sending(self) -> None:
        self._outbound.resume_sending()

    def _lost(self, error: Exception) -> None:
        self.fail(RequestError(Reason.ENGINE_DISCONNECTED, f"the engine was lost inside its answer: {error}"))

    def _stream_clock(self) -> StreamClock:
        services, ticket = self.services, self.attempts.ticket
        if ticket is None:
            raise AssertionError("an answer without a place")
        meters = services.telemetry.stream(self.request, ticket.endpoint.name)
        return StreamClock(services.router, ticket, meters, self.trace)

    # Time, and the end.

    def _wait(self) -> None:
        """Wait for the engine from now on."""
        self._heard_at = self.services.loop.time()
        self.deadline = self._due()

    def _due(self) -> float:
        """Return when the request has taken too long, unless the engine is heard before."""
        if self._paused:
            return self._total_at
        heard_at = max(self._heard_at, self._relayed.heard_at) if self._relayed else self._heard_at
        return min(self._total_at, heard_at + self._silence)

    def _finish(self, reason: Reason) -> None:
        self.over = True
        self.deadline = NEVER
        self._outbound.release()
        usage = self._relayed.usage if self._relayed else None
        self.attempts.end_ticket(reason, self.status, usage)
        self.services.ended(self, reason, usage)
        self.attempts.close()
