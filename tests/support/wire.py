"""A client that writes bytes as they are, and reads answers through h11, which knows nothing of this router.

h11 is the judge of framing: an answer that is cut off, longer than announced, or begun twice is an error here, and so
is a byte that belongs to no answer.
"""

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

import h11

READ_BYTES = 65536
DEADLINE_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """One whole answer; names of headers in lower case, the last value of each."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: tuple[int, ...] = ()


class BrokenOffError(Exception):
    """The connection ended inside an answer, or where one was awaited."""


@dataclass
class Judge:
    """Takes the bytes of one connection, and gives its answers; raises `h11.RemoteProtocolError` for wrong framing."""

    rest: bytes = b""
    """Bytes behind the last answer that was given."""
    _interim: list[int] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)
    _head: h11.Response | None = None
    _connection: h11.Connection | None = None

    def take(self, data: bytes, method: str = "GET") -> Answer | None:
        """Read on; returns the answer, to a request by `method`, once it is whole."""
        if self._connection is None:
            data, self.rest = self.rest + data, b""
            if not data:
                return None
            self._connection = _asking(method)
        if data:
            self._connection.receive_data(data)
        return self._next_answer(self._connection)

    def end(self) -> Answer | None:
        """Take the end of the connection, which ends an answer that has neither length nor chunks.

        Raises
        ------
        BrokenOffError
            It lies inside an answer.

        """
        if self._connection is None:
            return None
        try:
            self._connection.receive_data(b"")
            return self._next_answer(self._connection)
        except h11.RemoteProtocolError as error:
            raise BrokenOffError(f"the connection ended inside an answer: {error}") from error

    def header(self, name: str) -> str | None:
        """Return a header of the answer that has begun and not ended."""
        fields = self._head.headers if self._head else ()
        return next((value.decode("latin-1") for key, value in fields if key.decode() == name), None)

    def _next_answer(self, connection: h11.Connection) -> Answer | None:
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                return self._answer(connection)
            self._note(event)
        return None

    def _note(self, event: object) -> None:
        if isinstance(event, h11.InformationalResponse):
            self._interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            self._head = event
        elif isinstance(event, h11.Data):
            self._parts.append(bytes(event.data))
        else:
            raise BrokenOffError(f"no answer, but {event!r}")

    def _answer(self, connection: h11.Connection) -> Answer:
        assert self._head is not None
        headers = {name.decode(): value.decode("latin-1") for name, value in self._head.headers}
        answer = Answer(self._head.status_code, headers, b"".join(self._parts), tuple(self._interim))
        self.rest = bytes(connection.trailing_data[0])
        self._connection = self._head = None
        self._parts, self._interim = [], []
        return answer


def _asking(method: str) -> h11.Connection:
    """Return an h11 connection that awaits one answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    return connection


class Client:
    """One connection to a server."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._judge = Judge()

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, url: str, *, receive_buffer: int | None = None) -> AsyncIterator[Self]:
        """Connect to `http://host:port`; `receive_buffer` bytes are taken in before the client reads."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.socket() as sock:
            sock.setblocking(False)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
            yield cls(sock)

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, size: int = READ_BYTES) -> bytes:
        """Read what there is; nothing at the end."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await asyncio.get_running_loop().sock_recv(self.socket, size)

    def has_something_to_read(self) -> bool:
        """Whether bytes, or the end of the connection, have arrived."""
        return bool(select.select([self.socket], [], [], 0)[0])

    async def answer(self, method: str = "GET") -> Answer:
        """Read the next answer to its end.

        Raises
        ------
        BrokenOffError
            The connection ends before.
        h11.RemoteProtocolError
            The answer is not framed as it should be.

        """
        data = b""
        while (answer := self._judge.take(data, method)) is None:
            data = await self.read()
            if not data:
                if (answer := self._judge.end()) is None:
                    raise BrokenOffError("the connection ended where an answer was awaited")
                return answer
        return answer

    async def asked(self, request: bytes, method: str = "GET") -> Answer:
        """Send a request and read its answer."""
        await self.send(request)
        return await self.answer(method)

    async def closed(self) -> bool:
        """Wait for the end of the connection; returns whether nothing came before it that belongs to no answer."""
        with contextlib.suppress(ConnectionResetError):
            rest = self._judge.rest
            while data := await self.read():
                rest += data
            return not rest
        return not rest

    async def reset_by_server(self) -> bool:
        """Wait for the end of the connection; returns whether it was broken by a TCP reset."""
        try:
            while await self.read():
                pass
        except ConnectionResetError:
            return True
        return False

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def get(path: str = "/health", *fields: str) -> bytes:
    """Return a request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: x", *fields, "", ""]).encode()


def post(path: str = "/v1/completions", body: bytes = b'{"model": "m"}', *fields: str) -> bytes:
    """Return a request with a body of known length."""
    head = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *fields, "", ""]
    return "\r\n".join(head).encode() + body
