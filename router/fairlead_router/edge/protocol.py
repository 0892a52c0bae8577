"""A client's connection: requests in, one after another, answers out in the same order.

uvicorn makes one of these per connection in place of its own protocol. All requests of a connection, relayed or not,
go through the same parser and the same checks; what differs is only who carries them out.

    reading -> (head) -> receiving its body -> answering -> reading the next ...

Requests that a client sends ahead (pipelining) wait as parsed events, and no more is read from it until their turn.
A client that half-closes its connection has hung up: the end of input cannot be told from that of a process that
died, and whoever waits for nothing must not hold a GPU.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from typing import Final, cast

from fairlead_router.contract import Reason
from fairlead_router.deadlines import NEVER
from fairlead_router.edge.edge import Edge
from fairlead_router.edge.handler import Handler
from fairlead_router.edge.reading import Reading
from fairlead_router.edge.response import Response
from fairlead_router.errors import RequestError
from fairlead_router.http1.messages import END, HeadTooLargeError, HttpError, NotImplementedInHttpError
from fairlead_router.http1.requests import RequestEvent, RequestHead, RequestParser

logger = logging.getLogger(__name__)

LINGER_SECONDS: Final = 2.0
"""How long what a refused client still sends is read and dropped, so that it gets to read why it was refused."""
MAX_SKIPPED_BYTES: Final = 256 * 1024
"""Of a body that is not wanted any more: reading this much is cheaper than another connection."""
_AT_A_TIME: Final = 16 * 1024
"""Bytes that are parsed at a time, unless they are all of a body: parsed, a tiny request takes forty times its size."""
_RESET: Final = struct.pack("ii", 1, 0)  # on, 0 s
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class EdgeProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_answering",
        "_body_left",
        "_closing",
        "_edge",
        "_events",
        "_handler",
        "_head",
        "_holding",
        "_loop",
        "_parser",
        "_reading",
        "_receiving",
        "_response",
        "_router",
        "_skipped",
        "_total_at",
        "_unparsed",
        "_writing_paused",
        "deadline",
        "transport",
    )

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._router = edge.router
        self._loop = edge.loop
        self._parser = RequestParser(edge.router.edge_limits.header_bytes)
        self._events: deque[RequestEvent] = deque()
        self._head: RequestHead | None = None  # of the current or last request
        self._handler: Handler | None = None
        self._response: Response | None = None
        self._receiving = False  # the body of the current request
        self._body_left = 0  # bytes of it, where it is known how many
        self._unparsed = b""  # what was read and has to wait
        self._answering = False
        self._holding = False  # a body that cannot be passed on
        self._writing_paused = False
        self._closing = False  # nothing that arrives is looked at any more
        self._skipped = 0
        self._total_at = NEVER
        self._reading: Reading
        self.transport: asyncio.Transport
        """As uvicorn's own protocols have it."""
        self.deadline = NEVER
        """Seconds of the loop's clock at which the client must have done what is waited for."""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # as TCP and TLS both are
        self._reading = Reading(self.transport, self._loop, self._edge.deadlines)
        self.deadline = self._loop.time() + self._router.edge_limits.keep_alive
        refused = self._edge.connected(self)
        if refused is not None:
            self._refuse(refused)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._closing = True
        self._events.clear()
        self._reading.end()
        self._edge.disconnected(self)
        handler, self._handler = self._handler, None
        self._response = None
        self._parser.close()
        if handler is not None:
            self._answering = False
            handler.client_gone()

    def eof_received(self) -> bool:
        return False  # closes the transport; see the module's docstring

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._receiving:
            self._set_deadline()
        elif not (self._answering or self._parser.in_message):
            self.deadline = self._loop.time() + self._router.edge_limits.header_timeout
        if self._unparsed or _AT_A_TIME < len(data) > self._body_left:
            self._unparsed += data
            self._parse_on()
        else:
            self._events.extend(self._parser.feed(data))
            self._advance()

    def pause_writing(self) -> None:
        self._writing_paused = True
        self.deadline = self._loop.time() + self._router.edge_limits.send_timeout
        if self._handler is not None:
            self._handler.pause()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._set_deadline()
        if self._handler is not None:
            self._handler.resume()
        elif self._events:
            self._advance()

    # What uvicorn calls.

    def shutdown(self) -> None:
        """Close the connection as soon as no request is being carried out."""
        if self._answering and self._response is not None:
            self._response.close_after()
        elif not self._closing:
            self._close()

    # What the handler and its response call.

    def answer_ended(self, *, keep_alive: bool) -> None:
        """Take the next request, or close."""
        self._handler = self._response = None
        self._answering = self._holding = False
        if self._receiving and keep_alive and not self._router.shutting_down:
            self._answering = True  # until the rest of the body, which nobody wants any more, has come
            self._skipped = 0
            self._read_on()  # the body may have been held back
        elif self._receiving:
            self._linger()
        elif not keep_alive or self._router.shutting_down:
            self._close()
        else:
            self._set_deadline()
            if self._events:
                self._loop.call_soon(self._advance)  # not from here: a pipeline would nest as deep as it is long
            else:
                self._read_on()

    def break_off(self) -> None:
        """Break the connection, by a reset: a mere end would complete an answer that has neither length nor chunks."""
        self._handler = None
        self._answering = False
        self._closing = True
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def pause_receiving(self) -> None:
        """Read no more of a body that cannot be passed on yet; the client is not to blame for the time."""
        self._holding = True
        self._set_deadline()
        self._reading.pause()

    def resume_receiving(self) -> None:
        """Read on."""
        self._holding = False
        self._set_deadline()
        if not self._events:
            self._read_on()

    # Deadlines.

    def expired(self, _now: float) -> None:
        """Act on the client's silence, by what was waited for."""
        if self._closing or self._writing_paused:
            self._closing = True
            self.transport.abort()
        elif self._receiving or self._parser.in_message:
            self._refuse(RequestError(Reason.REQUEST_TIMEOUT, "the request did not arrive in time"))
        else:
            self._close()

    def _set_deadline(self) -> None:
        limits = self._router.edge_limits
        if self._writing_paused:
            return  # what it has to do first is to take the bytes that wait for it
        if self._holding:
            self.deadline = self._total_at
        elif self._receiving:
            self.deadline = min(self._loop.time() + limits.body_timeout, self._total_at)
        elif self._answering:
            self.deadline = NEVER
        else:
            self.deadline = self._loop.time() + limits.keep_alive

    # The requests of this connection.

    def _advance(self) -> None:
        """Deal with parsed events up to the end of the current request; with the next once the client takes answers."""
        events = self._events
        while events and not self._closing and (self._receiving or not (self._answering or self._writing_paused)):
            try:
                self._take(events.popleft())
            except RequestError as error:
                self._refuse(error)
            except Exception:  # the guard of what clients send
                logger.exception("fault while taking a request")
                self._refuse(RequestError(Reason.INTERNAL_ERROR, "the router failed; see its log"))
        if self._closing or self._holding:
            return
        if events:
            self._reading.pause()
        elif self._unparsed or self._reading.paused:
            self._read_on()

    def _read_on(self) -> None:
        """Go on with what has been read already, then with what the connection brings."""
        if not self._unparsed:
            self._reading.resume()
        elif len(self._unparsed) <= self._body_left:
            self._parse_on()
        else:
            self._reading.pause()
            self._loop.call_soon(self._parse_on)  # others first

    def _parse_on(self) -> None:
        """Parse a part of what has been read, and deal with it."""
        if self._closing or self._holding or self._events:
            return
        data = self._unparsed
        size = len(data) if len(data) <= self._body_left else _AT_A_TIME
        self._unparsed = data[size:]
        self._events.extend(self._parser.feed(data[:size]))
        self._advance()

    def _take(self, event: RequestEvent) -> None:
        handler = self._handler
        if type(event) is RequestHead:
            self._begin(event)
        elif type(event) is bytes:
            self._body_left -= len(event)
            if handler is not None:
                handler.body(event)
            else:
                self._skip(event)
        elif event is END:
            self._receiving = False
            if not self._writing_paused:
                self.deadline = NEVER
            if handler is not None:
                handler.body_end()
            elif self._response is None:
                self.answer_ended(keep_alive=True)
        elif isinstance(event, Exception):
            if self._response is not None:
                self._response.close_after()
            raise _refusal(event) if isinstance(event, HttpError) else event

    def _skip(self, data: bytes) -> None:
        self._skipped += len(data)
        if self._skipped > MAX_SKIPPED_BYTES:
            self._linger()

    def _begin(self, head: RequestHead) -> None:
        edge = self._edge
        self._head = head
        self._receiving = self._answering = True
        self._body_left = head.body_bytes or 0
        keep_alive = head.keep_alive and not self._router.shutting_down
        response = self._response = Response(
            self, self.transport.write, version=head.version, method=head.method, keep_alive=keep_alive
        )
        now = self._loop.time()
        self._total_at = now + self._router.limits.total
        self.deadline = min(self._total_at, now + self._router.edge_limits.body_timeout)
        if head.expects_continue or head.body_bytes is None or head.body_bytes > MAX_SKIPPED_BYTES:
            response.close_if_refused()
        handler = edge.begin(head, response, self)
        if not response.ended:
            self._handler = handler
        if head.expects_continue and head.body_bytes != 0 and not response.started:
            self.transport.write(_CONTINUE)

    def _refuse(self, error: RequestError) -> None:
        """End the current request, or the connection where there is none, with an error."""
        handler = self._handler
        if handler is not None:
            handler.fail(error)
            return
        response = self._response
        if response is None and self._receiving:  # what is wrong is in the rest of a request that was answered
            self._linger()
            return
        if response is None:
            response = self._response = Response(
                self, self.transport.write, version="1.1", method="GET", keep_alive=False
            )
            self._answering = self._receiving = True
        if response.started:  # it has ended, and this is what came behind it
            self._close()
        else:
            self._edge.refused(response, error, self._head)

    def _linger(self) -> None:
        """Close, but read on for a while: closing with bytes unread would reset the answer away."""
        if self.transport.can_write_eof():
            self._closing = True
            self._events.clear()
            self.transport.write_eof()
            self._reading.resume()
            self.deadline = self._loop.time() + LINGER_SECONDS
        else:
            self._close()

    def _close(self) -> None:
        """Close once the answer is written."""
        self._closing = True
        self._events.clear()
        self.deadline = self._loop.time() + self._router.edge_limits.send_timeout
        self.transport.close()


def _refusal(error: HttpError) -> RequestError:
    """Say in an answer what is wrong with a client's HTTP."""
    if isinstance(error, HeadTooLargeError):
        return RequestError(Reason.HEADERS_TOO_LARGE, str(error))
    if isinstance(error, NotImplementedInHttpError):
        return RequestError(Reason.NOT_IMPLEMENTED, str(error))
    return RequestError(Reason.INVALID_REQUEST, f"this is not HTTP/1.1 as it should be: {error}")
