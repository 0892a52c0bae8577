"""Read requests: bytes of one connection in, heads, pieces of bodies and ends out.

llhttp refuses bare line feeds, folded lines, blanks before a colon, control characters, repeated or unreadable
lengths, a length beside a transfer coding, and sizes that overflow. Added here: exactly one Host, transfer codings other
than chunked, HTTP/1.0 with a transfer coding, HTTP/0.9, sizes of heads.

Nothing is done inside the parser's callbacks but to note events. httptools turns whatever a callback raises into its
own error, and a fault of ours must not pass for one of the client's.
"""

from typing import Any, Final, Self

import httptools

from fairlead_router.http1.messages import (
    END,
    MAX_FIELDS,
    End,
    HeadTooLargeError,
    HttpError,
    NotImplementedInHttpError,
    check_not_repeated,
    check_transfer_coding,
    first_values,
    list_of,
    with_length,
)
from fairlead_router.http1.repeats import Repeats

_ABOUT_THE_MESSAGE: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"expect"})
_BODY_FRAMING: Final = b"POST / HTTP/1.1\r\nhost: -\r\n%b\r\n\r\n"


class RequestHead:
    """Method, target and header fields of one request."""

    __slots__ = (
        "body_bytes", "derived", "expects_continue", "first", "headers", "keep_alive", "method", "target", "version",
    )  # fmt: skip

    def __init__(self, method: str, target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        """As the client sent it: path and query, or a whole URL."""
        self.version = version
        """`1.1` or `1.0`."""
        self.headers = headers
        """Names in lower case."""
        self.body_bytes: int | None = 0
        """Length of the body; None where it is chunked, and its length not known."""
        self.keep_alive = version == "1.1"
        self.expects_continue = False
        self.first = first_values(headers)
        """First value of every field by its name."""
        self.derived: dict[str, Any] = {}
        """What others have worked out from all of this but the length of the body; heads that repeat this one share it."""

    def of_length(self, length: int) -> Self:
        """Return the head of a request that differs from this one in the length of its body only."""
        if length == self.body_bytes:
            return self
        head = type(self)(self.method, self.target, self.version, with_length(self.headers, length))
        head.body_bytes, head.keep_alive, head.derived = length, self.keep_alive, self.derived
        return head


RequestEvent = RequestHead | bytes | End | Exception


class RequestParser:
    """Reads the requests of one connection, any number of them in a row."""

    __slots__ = (
        "_body_left",
        "_events",
        "_fields",
        "_fruitless_bytes",
        "_in_head",
        "_max_head_bytes",
        "_may_be_large",
        "_offer",
        "_parser",
        "_repeats",
        "_target",
        "in_message",
    )

    def __init__(self, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._repeats: Repeats[RequestHead] = Repeats(max_head_bytes)
        self._body_left = 0  # bytes of a request whose head was recognised, of which the parser sees nothing
        self._events: list[RequestEvent] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._fruitless_bytes = 0  # of a head, of trailers, of chunk extensions: since the last event
        self._in_head = True
        self._may_be_large = False  # the head that is being read, for all that is known before it is measured
        self._offer: RequestHead | None = None  # a head that offers another protocol, until its body is read
        self.in_message = False
        """Whether a request has begun and not ended."""

    def feed(self, data: bytes) -> list[RequestEvent]:
        """Take the bytes of one read; an exception is the last event of the connection.

        It is an `HttpError` where the client is to blame, and anything else where this program is.
        """
        self._events = []
        if self._body_left or not self.in_message:
            data = self._recognised(data)
        if data:
            self._read(data)
        return self._events

    def close(self) -> None:
        """Read no more; must be called, as this and its parser hold each other."""
        del self._parser

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._fields = []
        self._target = b""
        self._in_head = self.in_message = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer, which nobody asked for
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._offer is not None:
            self._in_head = False
            return
        parser = self._parser
        head = RequestHead(parser.get_method().decode(), self._target, parser.get_http_version(), self._fields)
        if len(head.headers) > MAX_FIELDS or (self._may_be_large and _size(head) > self._max_head_bytes):
            raise self._too_large()
        self._in_head = False
        if len(head.first) != len(head.headers):
            check_not_repeated(head.headers)
        _read_fields(head)
        _check(head)
        if parser.should_upgrade():
            self._offer = head
        if not head.keep_alive:
            self._repeats.stop()
        self._events.append(head)

    def on_body(self, data: bytes) -> None:
        self._events.append(data)

    def on_message_complete(self) -> None:
        if self._offer is None:
            self._in_head = True
            self.in_message = False
            self._events.append(END)

    def _recognised(self, data: bytes) -> bytes:
        """Take requests whose heads repeat an earlier one past the parser; returns what is left for it."""
        events = self._events
        while data:
            if not self._body_left:
                match = self._repeats.match(data)
                if match is None:
                    return data
                head, head_bytes = match
                data = data[head_bytes:]
                events.append(head)
                self._body_left = head.body_bytes or 0
            if self._body_left and data:
                piece = data[: self._body_left]  # no copy where it is all
                data = data[len(piece) :]
                events.append(piece)
                self._body_left -= len(piece)
            self._fruitless_bytes = 0
            self.in_message = self._body_left > 0
            if not self._body_left:
                events.append(END)
        return b""

    def _read(self, data: bytes) -> None:
        """Have the parser read what has come."""
        events, read, begins = self._events, data, not self.in_message
        before, size = len(events), len(data)
        self._may_be_large = size > self._max_head_bytes or (self.in_message and self._in_head)
        try:
            while data:
                data = self._parsed(data)
        except httptools.HttpParserCallbackError as wrapped:
            events.append(_raised(wrapped))
        except httptools.HttpParserError as error:
            events.append(HttpError(str(error)))
        if len(events) > before:
            self._fruitless_bytes = 0
            if begins and type(head := events[before]) is RequestHead and _may_repeat(head, read):
                self._repeats.learn(read, head)
        elif self.in_message:  # llhttp has no bound of its own on what it collects or skips
            self._fruitless_bytes += size
            if self._fruitless_bytes > self._max_head_bytes:
                events.append(self._too_large())

    def _parsed(self, data: bytes) -> bytes:
        """Parse; returns what is left behind a head that offers another protocol, where llhttp stops."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_offer()
            rest: bytes = data[upgrade.args[0] :]
            return rest
        return b""

    def _decline_offer(self) -> None:
        """Have the body read by another parser, which is told its framing only."""
        offer, length = self._offer, self._offer.body_bytes if self._offer else 0
        self._parser = httptools.HttpRequestParser(self)
        if length != 0:
            framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
            self._parser.feed_data(_BODY_FRAMING % framing)
        self._offer = None
        if offer is not None and length == 0:
            self.on_message_complete()

    def _too_large(self) -> HttpError:
        if self._in_head:
            return HeadTooLargeError(f"the head is larger than {self._max_head_bytes} bytes or {MAX_FIELDS} fields")
        return HttpError(f"trailers or a chunk extension are larger than {self._max_head_bytes} bytes")


def _raised(wrapped: httptools.HttpParserCallbackError) -> Exception:
    """Return what a callback has raised: httptools wraps it, and who takes all its errors for the client's hides faults."""
    raised = wrapped.__context__
    if isinstance(raised, HttpError):
        return raised.with_traceback(None)  # its frames hold the events of the read, and so itself
    return raised if isinstance(raised, Exception) else wrapped


def _may_repeat(head: RequestHead, read: bytes) -> bool:
    """Whether a request may be taken past the parser: nothing follows from its head but the length of its body."""
    plain = head.body_bytes is not None and not head.expects_continue and b"upgrade" not in head.first
    return plain and read[:1].isalpha()  # llhttp skips empty lines before a request


def _size(head: RequestHead) -> int:
    return len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)


def _read_fields(head: RequestHead) -> None:
    """Note what the fields say about the message; llhttp has refused repeated lengths and transfer codings."""
    first = head.first
    if first.keys() & _ABOUT_THE_MESSAGE:
        if (length := first.get(b"content-length")) is not None:
            head.body_bytes = int(length)
        if (coding := first.get(b"transfer-encoding")) is not None:
            _check_coding(head, coding)
        if b"connection" in first:
            head.keep_alive = _keeps_alive(head)
        if (expected := first.get(b"expect")) is not None:
            _check_expect(head, expected)


def _check_coding(head: RequestHead, coding: bytes) -> None:
    if head.version != "1.1":
        raise HttpError("HTTP/1.0 has no transfer-encoding")
    check_transfer_coding(coding)
    head.body_bytes = None


def _keeps_alive(head: RequestHead) -> bool:
    if head.first[b"connection"] == b"keep-alive" and len(head.first) == len(head.headers):
        return True  # nearly always
    tokens = [token for name, value in head.headers if name == b"connection" for token in list_of(value)]
    return b"close" not in tokens and (head.version == "1.1" or b"keep-alive" in tokens)


def _check_expect(head: RequestHead, expected: bytes) -> None:
    if expected.lower() != b"100-continue":
        raise NotImplementedInHttpError(f"expect must be 100-continue, not {expected!r:.50}")
    head.expects_continue = head.version == "1.1"


def _check(head: RequestHead) -> None:
    """Refuse what llhttp lets pass."""
    if head.version not in {"1.1", "1.0"}:
        raise HttpError(f"HTTP/1.1 is spoken here, not HTTP/{head.version}")
    if b"host" not in head.first and head.version == "1.1":
        raise HttpError("a host header is needed")
    if head.method == "CONNECT":
        raise NotImplementedInHttpError("CONNECT is not for this server")
