"""Which headers pass, which stay, and which the router sets."""

import re
from collections.abc import Mapping
from random import Random
from typing import Final

from fairlead_router.contract import Header
from fairlead_router.http1.answers import AnswerHead
from fairlead_router.http1.messages import lines_of, list_of

Fields = list[tuple[bytes, bytes]]
First = Mapping[bytes, bytes]
"""First value of every field by its name."""

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

_NOT_TO_ENGINE: Final = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"accept-encoding", b"x-request-id"}
"""Set anew by the client side. Of `accept-encoding` nothing is passed on: in a compressed stream no token is visible."""

_NOT_TO_CLIENT: Final = _HOP_BY_HOP | {
    b"content-length",
    b"date",
    b"server",
    b"x-request-id",
    b"x-fairlead-endpoint",
    b"x-fairlead-reason",
    b"x-fairlead-decision",
}
"""Set anew by the server side."""

_TO_CLIENT: Final = "to client"

_WHO: Final = f"{Header.REQUEST_ID}: %b@%b\r\n".encode()
_WHO_AND_WHERE: Final = _WHO + f"{Header.ENDPOINT}: %b\r\n".encode()
_HARMLESS: Final = frozenset({b"close", b"keep-alive"})
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
"""A client's request id goes into logs and to the engine: printable, without blanks, bounded."""


def to_engine(headers: Fields, first: First, further: frozenset[bytes] = frozenset()) -> bytes:
    """Return the client's headers that go to the engine, as lines; without those named in `further`, too."""
    return lines_of(_without(headers, first, _NOT_TO_ENGINE | further))


def to_client(head: AnswerHead) -> bytes:
    """Return the headers that go to the client with the engine's answer, as lines."""
    lines: bytes | None = head.derived.get(_TO_CLIENT)
    if lines is None:
        lines = head.derived[_TO_CLIENT] = lines_of(_without(head.headers, head.first, _NOT_TO_CLIENT))
    return lines


def request_id_of(first: First, random: Random) -> str:
    """Return the client's request id, or a new one where it sent none or one that cannot be logged."""
    value = first.get(_REQUEST_ID_HEADER)
    return value.decode("ascii") if value and _REQUEST_ID.fullmatch(value) else f"{random.getrandbits(128):032x}"


def identity_of(request_id: str, replica: str, endpoint: str | None = None) -> bytes:
    """Return the lines that say who answers: the request, this replica, and the endpoint that was tried last."""
    if endpoint is None:
        return _WHO % (request_id.encode(), replica.encode())
    return _WHO_AND_WHERE % (request_id.encode(), replica.encode(), endpoint.encode())


_REQUEST_ID_HEADER: Final = Header.REQUEST_ID.encode()


def _without(headers: Fields, first: First, dropped: frozenset[bytes]) -> Fields:
    kept = [field for field in headers if field[0] not in dropped]
    connection = first.get(b"connection")
    if connection is None or (connection in _HARMLESS and len(first) == len(headers)):
        return kept
    named = {token for name, value in headers if name == b"connection" for token in list_of(value)}
    return [field for field in kept if field[0] not in named]
