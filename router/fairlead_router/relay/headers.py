"""Which headers pass, which stay, and which the router sets."""

import re
import uuid
from collections.abc import Iterable

from fairlead_router.contract import Header

RawHeaders = Iterable[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1 and its predecessors: about one connection, not about the message."""

_NOT_TO_ENGINE = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"accept-encoding", b"x-request-id"}
"""Set anew by the client side. Of `accept-encoding` nothing is passed on: in a compressed stream no token is visible."""

_NOT_TO_CLIENT = _HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"x-fairlead-endpoint", b"x-fairlead-reason"}
"""Set anew by the server side."""

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
"""A client's request id goes into logs and to the engine: printable, without blanks, bounded."""


def to_engine(headers: RawHeaders, request_id: str) -> list[tuple[str, str]]:
    """Return the headers that go to the engine with the request."""
    kept = _without(headers, _NOT_TO_ENGINE)
    passed = [(name.decode("latin-1"), _text(value)) for name, value in kept]
    return [*passed, (Header.REQUEST_ID, request_id)]


def to_client(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the headers that go to the client with the engine's answer."""
    return _without(headers, _NOT_TO_CLIENT)


def find(headers: RawHeaders, name: str) -> bytes | None:
    """Return the first value of a header; names in `headers` are in lower case."""
    wanted = name.encode()
    return next((value for key, value in headers if key == wanted), None)


def request_id_of(headers: RawHeaders) -> str:
    """Return the client's request id, or a new one where it sent none or one that cannot be logged."""
    value = find(headers, Header.REQUEST_ID)
    return value.decode("ascii") if value and _REQUEST_ID.fullmatch(value) else uuid.uuid4().hex


def _text(value: bytes) -> str:
    """Decode a value so that HTTP clients, which encode in UTF-8, send the same bytes again where they can."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _without(headers: RawHeaders, dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    lowered = [(name.lower(), value) for name, value in headers]
    named_by_connection = {
        token.strip().lower() for name, value in lowered if name == b"connection" for token in value.split(b",")
    }
    return [(name, value) for name, value in lowered if name not in dropped and name not in named_by_connection]
