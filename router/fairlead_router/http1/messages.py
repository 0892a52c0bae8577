"""The words of HTTP/1.1 as this router reads and writes them."""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Header fields in their order; names in lower case."""

MAX_FIELDS: Final = 256
"""Header fields of one message: more than any client or engine sends, few enough to walk through."""


class End(Enum):
    """The proper end of a message."""

    MESSAGE = auto()


END: Final = End.MESSAGE


class HttpError(Exception):
    """Bytes that are not HTTP/1.1, or that two parsers could take for different messages."""


class HeadTooLargeError(HttpError):
    """A head is larger than allowed."""


class NotImplementedInHttpError(HttpError):
    """Something that HTTP has and this router does not do."""


def check_transfer_coding(value: bytes) -> None:
    """Refuse every transfer coding but chunked, alone: only its framing is the same for everybody.

    Raises
    ------
    NotImplementedInHttpError
        The message is coded in another way.

    """
    if value.lower() != b"chunked":
        raise NotImplementedInHttpError(f"transfer-encoding must be chunked, not {value!r:.50}")


def list_of(value: bytes) -> list[bytes]:
    """Split the value of a header that is a list, such as `connection`, in lower case."""
    return [token for token in (part.strip().lower() for part in value.split(b",")) if token]


def check_not_repeated(fields: list[tuple[bytes, bytes]]) -> None:
    """Refuse two of a field by which a message is framed or routed: two readers could choose differently.

    Raises
    ------
    HttpError
        There are two.

    """
    names = [name for name, _ in fields if name in _ONCE]
    if len(set(names)) != len(names):
        raise HttpError(f"one of {b', '.join(sorted(_ONCE)).decode()} is repeated")


_ONCE: Final = frozenset({b"content-length", b"host", b"transfer-encoding"})


def lines_of(fields: RawHeaders) -> bytes:
    """Return header fields as they are sent, each with the end of its line."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def with_length(fields: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """Return the fields with another length of the body."""
    value = b"%d" % length
    return [(name, value) if name == b"content-length" else (name, old) for name, old in fields]


def first_values(fields: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Index header fields by name; of a name that comes several times, the first value counts."""
    return dict(reversed(fields))
