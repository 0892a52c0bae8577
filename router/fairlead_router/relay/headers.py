"""Which headers pass, which stay, and which the router sets."""

import re
from collections.abc import Iterable
from functools import cache
from random import Random
from typing import Final

from fairlead_router.contract import Header
from fairlead_router.http1.messages import RawHeaders, list_of

_HOP_BY_HOP: Final = frozenset(
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

NOT_TO_ENGINE: Final = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"accept-encoding", b"x-request-id"}
"""Set anew by the client side. Of `accept-encoding` nothing is passed on: in a compressed stream no token is visible."""

_NOT_TO_CLIENT: Final = _HOP_BY_HOP | {
    b"content-length",
    b"date",
    b"server",
    b"x-request-id",
    b"x-fairlead-endpoint",
    b"x-fairlead-reason",
}
"""Set anew by the server side."""

_HARMLESS: Final = frozenset({b"close", b"keep-alive"})
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
"""A client's request id goes into logs and to the engine: printable, without blanks, bounded."""


def to_engine(headers: RawHeaders, dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the client's headers that go to the engine; `dropped` holds at least `NOT_TO_ENGINE`."""
    return _without(headers, dropped)


@cache
def not_to_engine(of_caller: frozenset[bytes], of_tracer: frozenset[bytes]) -> frozenset[bytes]:
    """Return all names that must not go to an engine: also those that depend on who asks, and on who traces."""
    return NOT_TO_ENGINE | of_caller | of_tracer


def to_client(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the headers that go to the client with the engine's answer."""
    return _without(headers, _NOT_TO_CLIENT)


def find(headers: RawHeaders, name: bytes) -> bytes | None:
    """Return the first value of a header; names are in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


def request_id_of(headers: RawHeaders, random: Random) -> str:
    """Return the client's request id, or a new one where it sent none or one that cannot be logged."""
    value = find(headers, _REQUEST_ID_HEADER)
    return value.decode("ascii") if value and _REQUEST_ID.fullmatch(value) else f"{random.getrandbits(128):032x}"


_REQUEST_ID_HEADER: Final = Header.REQUEST_ID.encode()


def _without(headers: RawHeaders, dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    kept = [field for field in headers if field[0] not in dropped]
    named = _named_by_connection(headers)
    return [field for field in kept if field[0] not in named] if named else kept


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection" and value not in _HARMLESS:
            named.update(list_of(value))
    return named - _HARMLESS
