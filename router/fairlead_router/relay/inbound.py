"""Requests on their way in: from a head that was let in to an exchange that carries them out."""

import asyncio
import logging
from functools import partial
from typing import Final
from zlib import crc32

from fairlead_router.contract import Header, Reason
from fairlead_router.decisions.types import RequestView
from fairlead_router.edge.response import Response
from fairlead_router.errors import RequestError
from fairlead_router.http1.messages import lines_of
from fairlead_router.http1.requests import RequestHead
from fairlead_router.relay.asked import Asked, asked_of
from fairlead_router.relay.engine_priority import with_priority
from fairlead_router.relay.entry import Entry
from fairlead_router.relay.exchange import Exchange
from fairlead_router.relay.headers import identity_of, request_id_of
from fairlead_router.relay.outbound import Collected, Head, Streamed, Uploader
from fairlead_router.relay.prompt_blocks import BLOCK_ENDS
from fairlead_router.relay.services import Services
from fairlead_router.tracing import Trace

logger = logging.getLogger(__name__)

INLINE_BYTES: Final = 256 * 1024
"""A larger body takes longer than a millisecond to read, and is read by another thread."""

_ONWARD: Final = f"%b%b{Header.REQUEST_ID}: %b\r\n%b".encode()
"""The client's fields, those of the trace, the request's id, the framing."""
_LENGTH: Final = b"content-length: %d\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"


class Admitted:
    """A request whose head was let in: what is known before its body."""

    __slots__ = (
        "arrived_at",
        "entry",
        "head",
        "request_id",
        "response",
        "services",
    )

    def __init__(self, services: Services, entry: Entry, head: RequestHead, response: Response) -> None:
        self.services = services
        self.entry = entry
        self.head = head
        self.response = response
        self.arrived_at = services.router.clock()
        self.request_id = request_id_of(head.first, services.random)

    def view(self, asked: Asked, prompt_bytes: int) -> RequestView:
        """Return the request as decisions see it."""
        entry = self.entry
        return RequestView(  # by place: by name takes twice as long
            self.request_id,
            asked.model,
            entry.service_class,
            self.arrived_at,
            entry.slo,
            asked.streamed,
            prompt_bytes,
            None,
            asked.max_output_tokens,
            asked.prefix,
            BLOCK_ENDS,
            entry.caller.tenant,
            entry.session,
            entry.explained or self.services.tracer.explains,
            entry.quota,
            "",
            0,
            entry.wait_seconds,
        )

    def begin_trace(self, view: RequestView) -> Trace:
        """Begin the trace of the request, as of its arrival."""
        services, head = self.services, self.head
        seconds_ago = services.router.clock() - self.arrived_at
        return services.tracer.begin(head.headers, head.method, self.entry.target.path, view, seconds_ago)

    def outbound_head(self, trace: Trace, framing: bytes) -> Head:
        """Return the head that goes to the engine; `framing` is a line, or nothing where there is no body."""
        entry = self.entry
        fields = (entry.fields, lines_of(trace.headers_out()), self.request_id.encode(), framing)
        return Head(entry.line, _ONWARD % fields)

    def refuse(self, error: RequestError) -> None:
        """Answer with an error, and account for it."""
        if self.response.started:
            self.response.abort()
        else:
            identity = identity_of(self.request_id, self.services.router.replica)
            self.response.fail(error, identity, self.entry.route.dialect.errors)
        self.services.not_placed(self, error.reason)


class JsonRequest:
    """A request whose body is read whole before it is placed."""

    __slots__ = ("_admitted", "_exchange", "_held", "_over", "_parts", "_size")

    def __init__(self, admitted: Admitted) -> None:
        self._admitted = admitted
        self._parts: list[bytes] = []
        self._size = 0
        self._held = 0
        self._exchange: Exchange | None = None
        self._over = False

    def body(self, data: bytes) -> None:
        """Collect a piece, within what a request and what all of them together may hold."""
        services = self._admitted.services
        limits = services.router.config.limits
        self._size += len(data)
        services.buffered_bytes += len(data)
        self._held += len(data)
        self._parts.append(data)
        if self._size > limits.body_bytes:
            self.fail(too_large(limits.body_bytes))
        elif services.buffered_bytes > limits.buffered_bytes:
            self.fail(RequestError(Reason.OVERLOADED, "the router holds as many bytes of requests as it may"))

    def body_end(self) -> None:
        """Read the body, elsewhere if it is large, and go on."""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        admitted = self._admitted
        router = admitted.services.router
        how = (admitted.entry.route.needs_model, router.config.limits.json_depth, router.names_prefixes)
        if self._size > INLINE_BYTES:
            reading = admitted.services.loop.run_in_executor(None, asked_of, body, *how)
            reading.add_done_callback(partial(self._read_elsewhere, body))
            return
        try:
            asked = asked_of(body, *how)
        except RequestError as error:
            self.fail(error)
        else:
            self._take(body, asked)

    def fail(self, error: RequestError) -> None:
        """End the request with an error."""
        if self._exchange is not None:
            self._exchange.fail(error)
        elif not self._over:
            self._let_go()
            self._admitted.refuse(error)

    def pause(self) -> None:
        """Hold the answer back."""
        if self._exchange is not None:
            self._exchange.pause()

    def resume(self) -> None:
        """Go on with the answer."""
        if self._exchange is not None:
            self._exchange.resume()

    def client_gone(self) -> None:
        """Give the request up."""
        if self._exchange is not None:
            self._exchange.client_gone()
        elif not self._over:
            self._let_go()
            self._admitted.services.not_placed(self._admitted, Reason.CLIENT_DISCONNECTED)

    def _read_elsewhere(self, body: bytes, reading: "asyncio.Future[Asked]") -> None:
        """Go on with a body that another thread has read: the guard of what that does."""
        if self._over:
            return
        try:
            self._take(body, reading.result())
        except RequestError as error:
            self.fail(error)
        except Exception:
            logger.exception("fault while reading request %s", self._admitted.request_id)
            self.fail(RequestError(Reason.INTERNAL_ERROR, "the router failed; see its log"))

    def _take(self, body: bytes, asked: Asked) -> None:
        """Carry out a request whose body is there."""
        admitted = self._admitted
        services = admitted.services
        try:
            services.router.check_model(asked.model, admitted.entry.caller)
            services.router.check_running()
        except RequestError as error:
            self.fail(error)
            return
        entry, priorities = admitted.entry, services.router.engine_priorities
        view = admitted.view(asked, len(body))
        if services.deadlines.now < services.come_back_until:
            view = view._replace(fingerprint=crc32(body))
        if priorities and entry.route.takes_priority:
            body = with_priority(body, priorities.get(entry.service_class, 0))
        trace = admitted.begin_trace(view)
        head = admitted.outbound_head(trace, _LENGTH % len(body))
        exchange = Exchange(admitted, view, Collected(head, body, self._release), trace)
        self._exchange = exchange
        exchange.start()

    def _let_go(self) -> None:
        self._over = True
        self._parts.clear()
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, 0
        self._admitted.services.buffered_bytes -= held


class UploadRequest:
    """A request whose body is passed on as it comes: placed by its head alone."""

    def __init__(self, admitted: Admitted, client: Uploader) -> None:
        """Let the request in.

        Raises
        ------
        RequestError
            The caller may use some models only, and this one cannot be seen.

        """
        admitted.services.router.check_model("", admitted.entry.caller)
        length = admitted.head.body_bytes
        framing = _CHUNKED if length is None else _LENGTH % length
        has_body = admitted.head.method in {"POST", "PUT", "PATCH"} or length != 0
        self._limit = admitted.services.router.config.limits.body_bytes
        self._size = 0
        view = admitted.view(Asked("", streamed=False), length or 0)
        trace = admitted.begin_trace(view)
        outbound_head = admitted.outbound_head(trace, framing if has_body else b"")
        self._outbound = Streamed(outbound_head, client, chunked=length is None)
        self._exchange = Exchange(admitted, view, self._outbound, trace)

    def start(self) -> None:
        """Place the request."""
        self._exchange.start()

    def body(self, data: bytes) -> None:
        """Pass a piece on."""
        self._size += len(data)
        if self._size > self._limit:
            self.fail(too_large(self._limit))
        else:
            self._outbound.push(data)

    def body_end(self) -> None:
        """Tell the engine that this is all."""
        self._outbound.finish()

    def fail(self, error: RequestError) -> None:
        """End the request with an error."""
        self._exchange.fail(error)

    def pause(self) -> None:
        """Hold the answer back."""
        self._exchange.pause()

    def resume(self) -> None:
        """Go on with the answer."""
        self._exchange.resume()

    def client_gone(self) -> None:
        """Give the request up."""
        self._exchange.client_gone()


def too_large(limit: int) -> RequestError:
    """Refuse a body."""
    return RequestError(Reason.REQUEST_TOO_LARGE, f"the body is larger than {limit} bytes")
