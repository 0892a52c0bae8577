"""Read an engine's answers by the same rules as requests: bytes of one connection in, events out."""

from typing import Any, Self

import httptools

from fairlead_router.http1.messages import (
    END,
    MAX_FIELDS,
    End,
    HeadTooLargeError,
    HttpError,
    check_not_repeated,
    check_transfer_coding,
    first_values,
    with_length,
)
from fairlead_router.http1.repeats import Repeats

MAX_HEAD_BYTES = 64 * 1024
"""Of an engine's answer; also of whatever else comes without a byte of its body."""
_GOOD = b"HTTP/1.1 200 "
"""How an answer begins that has a body and none before it."""


class AnswerHead:
    """Status and header fields of one answer."""

    __slots__ = ("derived", "first", "headers", "length", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        """Names in lower case."""
        self.first = first_values(headers)
        """First value of every field by its name."""
        self.length: int | None = None
        """Length of the body where the engine announces it."""
        self.derived: dict[str, Any] = {}
        """What others have worked out from all of this but the length; heads that repeat this one share it."""

    def of_length(self, length: int) -> Self:
        """Return the head of an answer that differs from this one in the length of its body only."""
        if length == self.length:
            return self
        head = type(self)(self.status, with_length(self.headers, length))
        head.length, head.derived = length, self.derived
        return head


AnswerEvent = AnswerHead | bytes | End | HttpError


class AnswerParser:
    """Reads the answers of one connection; they must not overlap with requests not yet sent."""

    __slots__ = (
        "_events",
        "_fields",
        "_fresh",
        "_fruitless_bytes",
        "_in_head",
        "_interim",
        "_parser",
        "_repeats",
        "_until_eof",
        "_wanted",
        "between_chunks",
        "keep_alive",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._repeats: Repeats[AnswerHead] = Repeats(MAX_HEAD_BYTES)
        self._fresh = False  # an answer is expected, and nothing of it has come
        self._events: list[AnswerEvent] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._fruitless_bytes = 0  # of a head, of interim heads, of trailers, of chunk extensions: since the last event
        self._in_head = True
        self._interim = False
        self._until_eof = False
        self._wanted = False
        self.keep_alive = False
        """Whether the connection may carry another request after the last answer."""
        self.between_chunks = False
        """The last read ended with a chunk that was not the body's last: another may be taken past this parser."""

    def expect(self) -> None:
        """Allow one answer: a request has been sent."""
        self._wanted = self._fresh = True
        self.keep_alive = False

    def feed(self, data: bytes) -> list[AnswerEvent]:
        """Take the bytes of one read, body bytes joined; an `HttpError` is the last event of the connection."""
        if not self._fresh:
            return _joined(self._read(data))
        self._fresh = False
        whole = self._recognised(data)
        if whole is None:
            whole = _joined(self._read(data))
            if len(whole) == 3:
                self._learn(data, whole)
        return whole

    def eof(self) -> AnswerEvent:
        """Say what the end of the connection means: the end of a body without framing, or a loss."""
        if self._until_eof:
            self._until_eof = False
            return END
        return HttpError("the connection was closed inside the answer")

    def close(self) -> None:
        """Read no more; must be called, as this and its parser hold each other."""
        del self._parser

    def _recognised(self, data: bytes) -> list[AnswerEvent] | None:
        """Take an answer past the parser whose head repeats an earlier one, if this read is all of it."""
        match = self._repeats.match(data)
        if match is None:
            return None
        head, head_bytes = match
        if len(data) == head_bytes or len(data) - head_bytes != head.length:
            return None
        self._wanted = False
        self.keep_alive = True
        self._fruitless_bytes = 0
        return [head, data[head_bytes:], END]

    def _learn(self, read: bytes, events: list[AnswerEvent]) -> None:
        """Note the head of an answer that was whole, and that of an engine which keeps the connection."""
        head, body, end = events
        if type(head) is AnswerHead and type(body) is bytes and end is END and self.keep_alive and read[:13] == _GOOD:
            self._repeats.learn(read, head)

    def _read(self, data: bytes) -> list[AnswerEvent]:
        """Have the parser read what has come."""
        events: list[AnswerEvent] = []
        self._events = events
        self.between_chunks = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as wrapped:
            if not isinstance(wrapped.__context__, HttpError):
                raise
            self.keep_alive = False
            events.append(wrapped.__context__.with_traceback(None))  # its frames hold the events, and so itself
        except httptools.HttpParserError as error:
            self.keep_alive = False
            events.append(HttpError(str(error)))
        except httptools.HttpParserUpgrade:
            events.append(HttpError("the engine changes the protocol, which nobody asked for"))
        if self.between_chunks and data[-1:] != b"\n":  # the next chunk has begun, with a part of its size
            self.between_chunks = False
        if events:
            self._fruitless_bytes = 0
        else:
            self._fruitless_bytes += len(data)
            if self._fruitless_bytes > MAX_HEAD_BYTES:
                events.append(HeadTooLargeError(f"more than {MAX_HEAD_BYTES} bytes that are no body"))
        return events

    # What httptools calls.

    def on_message_begin(self) -> None:
        if not self._wanted:
            raise HttpError("the engine answers a request that was not sent")
        self._fields = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if not 100 <= status < 600 or version not in {"1.1", "1.0"}:
            raise HttpError(f"HTTP/{version} {status} is no answer")
        self._interim = status < 200
        if self._interim:
            return
        head = AnswerHead(status, self._fields)
        if len(self._fields) > MAX_FIELDS:
            raise HeadTooLargeError(f"the head has more than {MAX_FIELDS} fields")
        if len(head.first) != len(head.headers):
            check_not_repeated(head.headers)
        framed = status in {204, 304}
        if (length := head.first.get(b"content-length")) is not None:
            head.length = int(length)
            framed = True
        if (coding := head.first.get(b"transfer-encoding")) is not None:
            if version != "1.1":
                raise HttpError("HTTP/1.0 has no transfer-encoding")
            check_transfer_coding(coding)
            framed = True
        self._until_eof = not framed
        self._events.append(head)

    def on_body(self, data: bytes) -> None:
        self._events.append(data)

    def on_chunk_header(self) -> None:
        self.between_chunks = False

    def on_chunk_complete(self) -> None:
        self.between_chunks = True

    def on_message_complete(self) -> None:
        if self._interim:
            return
        self.keep_alive = self._parser.should_keep_alive()  # later it is false, whatever the engine said
        self._until_eof = self._wanted = self.between_chunks = False
        self._in_head = True
        self._events.append(END)


def _joined(events: list[AnswerEvent]) -> list[AnswerEvent]:
    """Join the body's pieces, of which a read brings one per chunk."""
    if len(events) < 3:
        return events
    pieces = [event for event in events if type(event) is bytes]
    if len(pieces) < 2:
        return events
    whole = b"".join(pieces)
    at = next(index for index, event in enumerate(events) if type(event) is bytes)
    rest = [event for event in events[at:] if type(event) is not bytes]
    return [*events[:at], whole, *rest]
