"""Carries faults out: an ASGI application around the engine's that delays, cuts and refuses what `faults.py` says.

Only requests for work are hit: never `/health` (which has a fault of its own), `/metrics` or `/admin`.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead_engine.mock.errors import RequestError, error_response, internal_error, too_many_requests
from fairlead_engine.mock.faults import Fault, FaultName, Faults

TRANSPORT = "fairlead.transport"
"""ASGI extension that holds a request's connection, which a reset needs."""

_LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 seconds: closing sends RST and drops what is buffered."""


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which lets the application see the connection."""

    def on_message_begin(self) -> None:
        """Begin a request, whose scope then names its connection."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}


class FaultyApp:
    """The engine's application as long as no fault hits."""

    def __init__(
        self, app: ASGIApp, faults: Faults, *, worked_on: frozenset[str], crash: Callable[[int], None] = os._exit
    ) -> None:
        self._app = app
        self._faults = faults
        self._worked_on = worked_on
        self._crash = crash
        self._hung: set[asyncio.Transport] = set()

    def release(self) -> None:
        """Close the connections that a fault keeps open, for the engine to end."""
        for transport in self._hung:
            transport.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or what a fault makes of it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._worked_on:
            await self._app(scope, receive, send)
            return
        fault = self._faults.of_request()
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.name in (FaultName.ERROR, FaultName.TOO_MANY_REQUESTS):
            await error_response(_refusal(fault), scope["path"])(scope, receive, send)
        else:
            faulty = _FaultyAnswer(fault, scope, receive, send, hung=self._hung, crash=self._crash)
            await faulty.serve(self._app)


def _refusal(fault: Fault) -> RequestError:
    if fault.name is FaultName.ERROR:
        return internal_error(int(fault.amount))
    return too_many_requests(retry_after_seconds=int(fault.amount))


class _FaultyAnswer:
    """One answer that ends as its fault says."""

    def __init__(
        self,
        fault: Fault,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        hung: set[asyncio.Transport],
        crash: Callable[[int], None],
    ) -> None:
        self._fault = fault
        self._scope = scope
        self._receive = receive
        self._send = send
        self._hung = hung
        self._crash = crash
        self._client_left = asyncio.Event()
        self._sent_chunks = 0
        self._is_over = False

    async def serve(self, app: ASGIApp) -> None:
        """Run the application until the fault ends the answer."""
        if self._fault.chunks_before == 0 and self._fault.name in _ENDS_BEFORE_THE_ANSWER:
            await _ENDS_BEFORE_THE_ANSWER[self._fault.name](self)
        else:
            await app(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        """Pass on what the client sends, and notice when it leaves."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._client_left.set()
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends, up to the chunk that the fault hits."""
        if self._is_over:
            return
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if message["type"] != "http.response.body" or (self._sent_chunks < self._fault.chunks_before and not is_last):
            self._sent_chunks += message["type"] == "http.response.body"
            await self._send(message)
            return
        self._is_over = True
        await _ENDS[self._fault.name](self, message.get("body", b""))

    async def truncate(self, body: bytes) -> None:
        """Send half of a chunk and close the connection."""
        await self._send_half(body)
        self._transport.close()

    async def reset(self, body: bytes) -> None:
        """Reset the connection; what is left of the answer is never sent."""
        await self._send_half(body)
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    async def hang(self, _body: bytes = b"") -> None:
        """Send nothing more, until the client leaves."""
        with self._counted_as_hung():
            await self._client_left.wait()

    async def hang_at_once(self) -> None:
        """Take the request, and send nothing until the client leaves."""
        with self._counted_as_hung():
            while not self._client_left.is_set():
                await self.receive()

    async def crash(self, _body: bytes = b"") -> None:
        """End the process; connections are closed by the kernel."""
        self._crash(int(self._fault.amount))

    @contextmanager
    def _counted_as_hung(self) -> Iterator[None]:
        self._hung.add(self._transport)
        try:
            yield
        finally:
            self._hung.discard(self._transport)

    async def _send_half(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

    @property
    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self._scope["extensions"][TRANSPORT]["transport"]
        return transport


_ENDS: dict[FaultName, Callable[[_FaultyAnswer, bytes], Awaitable[None]]] = {
    FaultName.TRUNCATE: _FaultyAnswer.truncate,
    FaultName.RESET: _FaultyAnswer.reset,
    FaultName.HANG: _FaultyAnswer.hang,
    FaultName.CRASH: _FaultyAnswer.crash,
}
_ENDS_BEFORE_THE_ANSWER: dict[FaultName, Callable[[_FaultyAnswer], Awaitable[None]]] = {
    FaultName.HANG: _FaultyAnswer.hang_at_once,
    FaultName.CRASH: _FaultyAnswer.crash,
}


def describe(faults: Faults) -> dict[str, object]:
    """Return the faults in force, and what they have hit, as `/admin/faults` shows them."""
    rules = [
        {
            "name": fault.name.value,
            "value": fault.value,
            "probability": fault.probability,
            "next": fault.next,
            "after": fault.after,
            "hits": hits,
        }
        for fault, hits in zip(faults.faults, faults.hits, strict=True)
    ]
    return {"seed": faults.seed, "requests": faults.requests, "faults": rules}
