"""An engine that answers with whatever bytes a case has, and reads requests through h11.

What the router sends must be HTTP whatever its clients have sent: h11 judges that, and a few rules of our own.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

import h11

from fuzzing.cases import Afterwards, Reply

_SILENT = Reply(())


@dataclass
class HostileEngine:
    """One or more listening addresses with the same replies."""

    heads: list[h11.Request] = field(default_factory=list)
    """Of the requests that arrived since `begin`."""
    wrongs: list[str] = field(default_factory=list)
    """What the router sent and must not send."""
    connections: "set[_Connection]" = field(default_factory=set)
    _replies: Iterator[Reply] = field(default_factory=lambda: cycle([_SILENT]))

    def begin(self, replies: tuple[Reply, ...]) -> None:
        """Reply in this way from now on."""
        self._replies = cycle(replies or (_SILENT,))
        self.heads.clear()
        self.wrongs.clear()

    def next_reply(self) -> Reply:
        """Return the reply to the next request."""
        return next(self._replies)

    async def listen(self) -> tuple[asyncio.Server, str]:
        """Serve on another address."""
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        return server, f"{host}:{port}"


class _Connection(asyncio.Protocol):
    def __init__(self, engine: HostileEngine) -> None:
        self._engine = engine
        self._reader = h11.Connection(h11.SERVER)
        self._reply: Reply | None = None
        self._gone = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._engine.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._engine.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.receive_data(data)
            self._take_events()
        except h11.RemoteProtocolError as error:
            self._engine.wrongs.append(f"the router sends an engine what is no HTTP: {error}: {data!r:.200}")
            self.transport.abort()

    def _take_events(self) -> None:
        while (event := self._reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self._engine.heads.append(event)
                self._engine.wrongs.extend(_wrong_with(event))
                self._reply = self._engine.next_reply()
                if self._reply.early:
                    self._send(list(self._reply.pieces))
            elif isinstance(event, h11.EndOfMessage):
                if self._reply is not None and not self._reply.early:
                    self._send(list(self._reply.pieces))
                self._await_next(self._reader.trailing_data[0])

    def _await_next(self, rest: bytes) -> None:
        self._reader = h11.Connection(h11.SERVER)
        if rest:
            self._reader.receive_data(rest)

    def _send(self, pieces: list[bytes]) -> None:
        if self._gone:
            return
        if pieces:
            self.transport.write(pieces.pop(0))
            asyncio.get_running_loop().call_soon(self._send, pieces)
        elif self._reply is not None and self._reply.afterwards is Afterwards.CLOSES:
            self.transport.close()
        elif self._reply is not None and self._reply.afterwards is Afterwards.RESETS:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


def _wrong_with(request: h11.Request) -> Iterator[str]:
    names = [name for name, _ in request.headers]
    path, _, _ = request.target.partition(b"?")
    if names.count(b"host") != 1:
        yield f"not one host: {names}"
    if names.count(b"x-request-id") != 1 and request.target != b"/v1/models":  # asked by the router itself
        yield f"not one x-request-id: {names}"
    if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
        yield f"framed twice: {names}"
    if not path.startswith(b"/") or b"//" in path or b"/./" in path or b"/../" in path:
        yield f"a path that is not normalised: {path!r}"
    if forbidden := {b"connection", b"upgrade", b"te", b"trailer", b"expect", b"keep-alive"} & set(names):
        yield f"headers of the client's connection: {forbidden}"
