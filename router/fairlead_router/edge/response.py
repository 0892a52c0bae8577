"""One answer to a client: begun at most once, ended exactly once, framed exactly."""

import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from fairlead_router.errors import ErrorShape, RequestError
from fairlead_router.http1.chunks import LAST_CHUNK, SMALL_DATA_AT, chunk
from fairlead_router.http1.messages import lines_of

_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})


class Sink(Protocol):
    """Where an answer goes: a client's connection."""

    def answer_ended(self, *, keep_alive: bool) -> None:
        """Take the next request, or close the connection where the answer's end is the connection's."""
        ...

    def break_off(self) -> None:
        """Break the connection, so that the client cannot take a part of the answer for the whole."""
        ...


class _Date:
    """The field `date`, made anew once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = f"date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self._line


_date = _Date()


class Response:
    """Writes head and body; the body is framed by its length where there is one, else by chunks."""

    __slots__ = (
        "_chunked",
        "_has_body",
        "_head",
        "_http_1_1",
        "_is_head",
        "_keep_alive",
        "_keep_alive_if_refused",
        "_left",
        "_send",
        "_sink",
        "ended",
        "sent_bytes",
        "started",
        "status",
    )

    def __init__(
        self, sink: Sink, send: Callable[[bytes], None], *, version: str, method: str, keep_alive: bool
    ) -> None:
        self._sink = sink
        self._send = send
        self._http_1_1 = version == "1.1"
        self._is_head = method == "HEAD"
        self._keep_alive = keep_alive
        self._keep_alive_if_refused = True
        self._has_body = True
        self._chunked = False
        self._left: int | None = None
        self._head = b""
        self.started = False
        """The head has been written, perhaps together with bytes that are not yet there."""
        self.ended = False
        self.status = 0
        self.sent_bytes = 0

    def close_after(self) -> None:
        """Close the connection behind this answer; the client is told unless the answer has started."""
        self._keep_alive = False

    def close_if_refused(self) -> None:
        """Close the connection behind an error: the body is too long to be read for nothing."""
        self._keep_alive_if_refused = False

    def start(self, status: int, fields: bytes, *, length: int | None = None) -> None:
        """Set status and header fields; they are sent with the first bytes of the body.

        `fields` are lines, and must not be about the connection or the framing; `length` is that of the body, if known.
        """
        self.started = True
        self.status = status
        self._has_body = not self._is_head and status not in _WITHOUT_BODY
        lines = [_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, _date.line(), fields]
        if status in _WITHOUT_BODY:
            self._left = 0
        elif length is not None:
            self._left = length
            lines.append(b"content-length: %d\r\n" % length)
        elif self._http_1_1:
            self._chunked = self._has_body
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            self._keep_alive = False
        if not self._keep_alive:
            lines.append(b"connection: close\r\n")
        elif not self._http_1_1:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def write(self, data: bytes) -> None:
        """Send bytes of the body, behind the head if that has not been sent."""
        head = self._head
        if self._chunked and data and not head:  # nearly always
            self.sent_bytes += len(data)
            self._send(chunk(data))
            return
        self._head = b""
        if data and self._has_body:
            self.sent_bytes += len(data)
            self._send(head + self._framed(data))
        elif head:
            self._send(head)

    @property
    def takes_chunks(self) -> bool:
        """Whether `write_chunk` may be called: the body is framed by chunks, and has begun."""
        return self._chunked and not self._head

    def write_chunk(self, small: bytes) -> None:
        """Send bytes of the body that are framed already, as a small chunk."""
        length = len(small)
        self._send(small)
        self.sent_bytes += length - 2 - SMALL_DATA_AT[length]

    def end(self, data: bytes = b"") -> None:
        """Send the last bytes of the body, and end the answer.

        A body that turns out shorter than its announced length breaks the connection.
        """
        self.ended = True
        head, self._head = self._head, b""
        if self._has_body:
            self.sent_bytes += len(data)
            body = self._framed(data) if data else b""
            if self._chunked:
                body += LAST_CHUNK
            if head or body:
                self._send(head + body)
            if self._left:
                self._sink.break_off()
                return
        elif head:
            self._send(head)
        self._sink.answer_ended(keep_alive=self._keep_alive)

    def fail(
        self,
        error: RequestError,
        fields: bytes = b"",
        shape: ErrorShape = ErrorShape.OPENAI,
    ) -> None:
        """Answer with an error, as long as nothing was sent; `fields` are lines that go with it."""
        body = error.body(shape)
        self._keep_alive = self._keep_alive and self._keep_alive_if_refused
        self.start(error.status, lines_of(error.headers()) + fields, length=len(body))
        self.end(body)

    def abort(self) -> None:
        """End an answer that cannot be completed: the connection breaks."""
        self.ended = True
        self._sink.break_off()

    def _framed(self, data: bytes) -> bytes:
        if self._chunked:
            return chunk(data)
        if self._left is not None:
            data = data[: self._left]  # an engine that sends more than it announced must not write the next answer
            self._left -= len(data)
        return data
