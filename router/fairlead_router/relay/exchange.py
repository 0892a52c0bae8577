"""One relayed request: from its placement to the exactly one end of its answer.

    place -> send -> (retry elsewhere while nothing was answered) -> relay the answer -> end the ticket

Nothing goes to the client before the first bytes of an engine's body, so that until then every failure can still be
answered with a proper status. After that a failure ends a stream with one error event, and any other answer with a
connection that breaks: a client must never take a part for the whole.
"""

import asyncio
import logging

from fairlead_router.contract import Header, Reason, RetryReason
from fairlead_router.decisions.types import Outcome, Placement, RequestView, Ticket
from fairlead_router.errors import RequestError
from fairlead_router.relay.answers import Relayed, Stream, Whole, is_stream
from fairlead_router.relay.client import ClientSide, Headers
from fairlead_router.relay.guard import Guard, Interrupted
from fairlead_router.relay.headers import to_client
from fairlead_router.relay.sse import EventTooLargeError, Usage
from fairlead_router.relay.upstream import (
    Answer,
    ClosedError,
    ConnectError,
    LostError,
    NotAnsweredError,
    Upstream,
    UpstreamRequest,
)
from fairlead_router.router import Router
from fairlead_router.telemetry import StreamMeters

logger = logging.getLogger(__name__)

MAX_ENDPOINTS = 3
"""Endpoints that a request is sent to before it is given up: one that kills engines must not kill them all."""
FAREWELL_SECONDS = 5.0
"""What a client gets to take the error that ends its answer."""

_INTERRUPTIONS = {
    Reason.FIRST_BYTE_TIMEOUT: "the engine sent no byte of its stream within timeouts.firstByte",
    Reason.INTER_TOKEN_TIMEOUT: "the engine was silent inside its answer for longer than timeouts.interToken",
    Reason.TOTAL_TIMEOUT: "the request took longer than timeouts.total",
    Reason.SHUTTING_DOWN: "the router is stopping and could not wait for the end of this answer",
    Reason.CLIENT_DISCONNECTED: "the client hung up",
}


class Exchange:
    """Carries out one request; when `run` is over, its answer has ended and its place is given back."""

    def __init__(
        self, router: Router, upstream: Upstream, request: RequestView, carried: UpstreamRequest, client: ClientSide
    ) -> None:
        self._router = router
        self._upstream = upstream
        self._request = request
        self._carried = carried
        self._client = client
        self._ticket: Ticket | None = None
        self._relayed: Relayed | None = None
        self.answer: Answer | None = None
        """The engine's answer, once its head has arrived."""
        self.outcome: Outcome | None = None
        """How the last placement went; None while it runs and where there was none."""
        self.endpoint_name: str | None = None
        """The endpoint tried last."""

    @property
    def usage(self) -> Usage | None:
        """Token counts, where the engine reported them."""
        return self._relayed.usage if self._relayed else None

    async def run(self, guard: Guard) -> None:
        """Place, send and relay.

        Raises
        ------
        RequestError
            Nothing was sent to the client: this is what to answer.

        """
        reason = Reason.INTERNAL_ERROR
        try:
            reason = await self._guarded(guard)
        except RequestError as error:
            reason = error.reason
            raise
        except asyncio.CancelledError:
            reason = Reason.SHUTTING_DOWN
            raise
        finally:
            self._end_ticket(reason)
            if self.answer is not None:
                self.answer.close()

    async def _guarded(self, guard: Guard) -> Reason:
        try:
            async with guard:
                return await self._exchange(guard)
        except Interrupted as interruption:
            return await self._fail(interruption.reason, _INTERRUPTIONS[interruption.reason])
        except NotAnsweredError as error:
            return await self._fail(Reason.ENGINE_UNREACHABLE, str(error))
        except (LostError, EventTooLargeError) as error:
            return await self._fail(Reason.ENGINE_DISCONNECTED, f"the engine was lost inside its answer: {error}")

    async def _exchange(self, guard: Guard) -> Reason:
        ticket, answer = await self._answered(guard)
        self.answer = answer
        first = await answer.read()
        guard.heard()
        guard.limit_silence(self._router.limits.inter_token, Reason.INTER_TOKEN_TIMEOUT)
        relayed = self._relayed = self._relayed_of(ticket, answer)
        return await relayed.relay(first, guard)

    async def _answered(self, guard: Guard) -> tuple[Ticket, Answer]:
        """Send to one endpoint after another until one answers."""
        tried: set[str] = set()
        failure: NotAnsweredError | None = None
        while True:
            ticket = self._placed(tried)
            if failure is not None:
                self._note_retry(failure)
            guard.waiting()
            if self._request.streamed:  # the first byte of a whole answer comes after its last token
                guard.limit_silence(self._router.limits.first_byte, Reason.FIRST_BYTE_TIMEOUT)
            try:
                return ticket, await self._sent(ticket.endpoint.address)
            except NotAnsweredError as error:
                failure = error
                tried.add(ticket.endpoint.uid)
                self._end_ticket(Reason.ENGINE_UNREACHABLE)
                if len(tried) == MAX_ENDPOINTS:
                    raise

    def _placed(self, tried: set[str]) -> Ticket:
        decision = self._router.decider.submit(self._request, self._router.clock(), tried)
        if isinstance(decision, Placement):
            self._ticket = decision.ticket
            self.endpoint_name = decision.ticket.endpoint.name
            return decision.ticket
        if tried:
            raise RequestError(Reason.ENGINE_UNREACHABLE, f"no engine answered: {len(tried)} tried, no other is ready")
        raise RequestError(decision.reason, decision.message)

    async def _sent(self, address: str) -> Answer:
        """Send once, or twice where the first went into a kept-alive connection that was closed already."""
        connect_seconds = self._router.limits.connect
        try:
            return await self._upstream.send(address, self._carried, connect_seconds=connect_seconds)
        except ClosedError as error:
            if not error.reused:
                raise
            self._router.telemetry.retried(RetryReason.STALE_CONNECTION)
            return await self._upstream.send(address, self._carried, connect_seconds=connect_seconds, fresh=True)

    def _note_retry(self, failure: NotAnsweredError) -> None:
        refused = isinstance(failure, ConnectError)
        self._router.telemetry.retried(RetryReason.CONNECT_FAILED if refused else RetryReason.CONNECTION_CLOSED)
        logger.warning("request %s is sent elsewhere: %s", self._request.request_id, failure)

    def _headers(self, answer: Answer) -> Headers:
        reason = Reason.PLACED if answer.status < 300 else Reason.ENGINE_ERROR
        return [
            *to_client(answer.headers),
            *self.identity(),
            (Header.REASON.encode(), reason.encode()),
        ]

    def identity(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that say who answers: the request, this replica, the endpoint tried last."""
        name = self._request.request_id
        headers = [(Header.REQUEST_ID.encode(), f"{name}@{self._router.replica}".encode())]
        if self.endpoint_name is not None:
            headers.append((Header.ENDPOINT.encode(), self.endpoint_name.encode()))
        return headers

    def _relayed_of(self, ticket: Ticket, answer: Answer) -> Relayed:
        headers = self._headers(answer)
        if not is_stream(answer):
            return Whole(answer, self._client, headers)
        clock = _TokenClock(self._router, ticket, self._router.telemetry.stream(self._request))
        return Stream(answer, self._client, headers, clock)

    async def _fail(self, reason: Reason, message: str) -> Reason:
        """End the answer as well as it can still be ended; returns how the request ended."""
        if reason is Reason.CLIENT_DISCONNECTED:
            return reason
        error = RequestError(reason, message)
        if not self._client.started or self._relayed is None:
            raise error
        if self._client.finished:
            return reason
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                return await self._relayed.break_off(error.event()) or reason
        except TimeoutError:
            return reason

    def _end_ticket(self, reason: Reason) -> None:
        if self._ticket is not None:
            self.outcome = self._router.decider.end(self._ticket, reason, self._router.clock())
            self._ticket = None


class _TokenClock:
    """Times the chunks of one stream that carry tokens, for the ledger and the histograms alike."""

    def __init__(self, router: Router, ticket: Ticket, meters: StreamMeters) -> None:
        self._router = router
        self._ticket = ticket
        self._meters = meters
        self._begun = False

    def tokens(self, chunks: int) -> None:
        """Note `chunks` that arrived now and together."""
        now = self._router.clock()
        decider = self._router.decider
        if self._begun:
            self._meters.gap(decider.progress(self._ticket, chunks, now), chunks)
            return
        self._begun = True
        self._meters.first(decider.first_byte(self._ticket, now))
        if chunks > 1:
            self._meters.gap(decider.progress(self._ticket, chunks - 1, now), chunks - 1)
