"""Messages between two processes of one router, over a stream socket.

A message is a list of what JSON knows, with its kind first. A frame is four bytes of length and a JSON list of
messages. What is sent in one turn of the event loop leaves as one frame, and so costs one system call on each side,
however much it is; a message that can wait a little leaves with the next one that cannot.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import orjson

Message = Sequence[Any]

MOST_DELAY_SECONDS: Final = 0.02
"""Of messages that can wait: to wake a process that sleeps costs more than all that it is told."""
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Nothing that is sent comes near; a length beyond it means that the stream is not one of ours."""
_LENGTH_BYTES: Final = 4


class Link(asyncio.Protocol):
    """One end of the connection, in the running event loop."""

    def __init__(self, receive: Callable[[Message], None], lost: Callable[[], None]) -> None:
        """Pass every message to `receive`; call `lost` once, when the other end is gone or `close` was called."""
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._outgoing: list[Message] = []
        self._due = False  # in this turn of the loop
        self._later: asyncio.TimerHandle | None = None
        self._incoming = bytearray()
        self._transport: asyncio.Transport | None = None

    async def attach(self, sock: socket.socket) -> None:
        """Begin, over one end of a socket pair; messages may arrive before this returns."""
        await self._loop.create_unix_connection(lambda: self, sock=sock)

    @property
    def closed(self) -> bool:
        """Whether nothing that is sent will arrive."""
        return self._transport is None or self._transport.is_closing()

    def send(self, message: Message) -> None:
        """Send with everything else of this turn; into a link that is closed, nothing."""
        if self.closed:
            return
        self._outgoing.append(message)
        if not self._due:
            self._due = True
            self._loop.call_soon(self.flush)

    def send_with_next(self, message: Message) -> None:
        """Send with the next message, or soon, if there is none."""
        if self.closed:
            return
        self._outgoing.append(message)
        if self._later is None and not self._due:
            self._later = self._loop.call_later(MOST_DELAY_SECONDS, self.flush)

    def flush(self) -> None:
        """Send what waits now."""
        self._due = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._outgoing and self._transport is not None:
            body = orjson.dumps(self._outgoing)
            self._outgoing.clear()
            self._transport.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)

    def close(self) -> None:
        """Send what waits, and hang up."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        incoming = self._incoming
        incoming += data
        start = 0
        while len(incoming) - start >= _LENGTH_BYTES:
            body = start + _LENGTH_BYTES
            end = body + int.from_bytes(incoming[start:body], "big")
            if end - body > MAX_FRAME_BYTES:
                self.abort()
                return
            if len(incoming) < end:
                break
            for message in orjson.loads(memoryview(incoming)[body:end]):
                self._receive(message)
            start = end
        del incoming[:start]

    def connection_lost(self, _exc: Exception | None) -> None:
        """End."""
        self._transport = None
        self._outgoing.clear()
        self.flush()
        self._lost()
