"""A request as it goes to an engine: a head, and a body that is there or still coming."""

from collections.abc import Callable
from typing import Final, Protocol

from fairlead_router.http1.chunks import LAST_CHUNK, chunk
from fairlead_router.upstream.connection import AnswerReceiver, EngineConnection

_ONE_WRITE_BYTES: Final = 64 * 1024
"""Copying this much is cheaper than another write."""


class Head:
    """Request line and header fields; the engine's address completes them."""

    __slots__ = ("_fields", "_line")

    def __init__(self, line: bytes, fields: bytes) -> None:
        """Take the line up to the engine's address, and the fields as lines."""
        self._line = line
        self._fields = fields

    def to(self, address: str) -> bytes:
        """Return the head for the engine at `address`."""
        return b"%b%b\r\n%b\r\n" % (self._line, address.encode(), self._fields)


class Outbound(Protocol):
    """A request on its way out."""

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent once more."""
        ...

    def carry(self, connection: EngineConnection, receiver: AnswerReceiver) -> None:
        """Send it, or what there is of it."""
        ...

    def answered(self) -> None:
        """Note that the engine has begun to answer: the request will not be sent again."""
        ...

    def release(self) -> None:
        """Drop what is left of it: the request is over."""
        ...

    def pause_sending(self) -> None:
        """Note that the engine takes no more for now."""
        ...

    def resume_sending(self) -> None:
        """Note that the engine takes more again."""
        ...


class Collected:
    """A request whose body is there; `released` is told when it is needed no more."""

    __slots__ = ("_body", "_head", "_released")

    def __init__(self, head: Head, body: bytes, released: Callable[[], None]) -> None:
        self._head = head
        self._body = body
        self._released: Callable[[], None] | None = released

    @property
    def repeatable(self) -> bool:
        """Until it is released."""
        return self._released is not None

    def carry(self, connection: EngineConnection, receiver: AnswerReceiver) -> None:
        """Send head and body."""
        head = self._head.to(connection.address)
        if len(self._body) <= _ONE_WRITE_BYTES:
            connection.carry(head + self._body, receiver)
        else:
            connection.carry(head, receiver)
            connection.send(self._body)

    def answered(self) -> None:
        """Let go of the body."""
        self.release()

    def release(self) -> None:
        """Let go of the body."""
        released, self._released = self._released, None
        if released is not None:
            self._body = b""
            released()

    def pause_sending(self) -> None:
        """Nothing more is sent: the transport has it all."""

    def resume_sending(self) -> None:
        """Nothing more is sent."""


class Uploader(Protocol):
    """The client of a request whose body is passed on as it comes."""

    def pause_receiving(self) -> None: ...  # noqa: D102 - hold the body back
    def resume_receiving(self) -> None: ...  # noqa: D102 - and go on


class Streamed:
    """A request whose body is passed on as it comes; the client is held back until there is a connection."""

    def __init__(self, head: Head, uploader: Uploader, *, chunked: bool) -> None:
        self._head = head
        self._uploader = uploader
        self._chunked = chunked
        self._waiting: list[bytes] = []
        self._connection: EngineConnection | None = None
        self._carried = False
        self._complete = False

    @property
    def repeatable(self) -> bool:
        """Until something was sent."""
        return not self._carried

    def carry(self, connection: EngineConnection, receiver: AnswerReceiver) -> None:
        """Send the head and what waits."""
        self._carried = True
        self._connection = connection
        connection.carry(self._head.to(connection.address), receiver, whole=False)
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            connection.send(data)
        if self._complete:
            connection.sent_whole()
        self._uploader.resume_receiving()

    def push(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._send(chunk(data) if self._chunked else data)

    def finish(self) -> None:
        """End the body."""
        self._complete = True
        if self._chunked:
            self._send(LAST_CHUNK)
        if self._connection is not None:
            self._connection.sent_whole()

    def pause_sending(self) -> None:
        """Hold the client back: the engine takes no more for now."""
        self._uploader.pause_receiving()

    def resume_sending(self) -> None:
        """Go on."""
        self._uploader.resume_receiving()

    def answered(self) -> None:
        """Go on: an engine may answer before it has read everything."""

    def release(self) -> None:
        """Drop what still comes: the answer has ended, or there will be none."""
        self._carried = True
        self._connection = None
        self._waiting = []

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.send(data)
        elif not self._carried:
            self._waiting.append(data)
            self._uploader.pause_receiving()
