"""Recognise a head that repeats an earlier one of its connection, but for the length of the body.

Clients and engines that keep a connection write the same head on it again and again. What the parser has read once it
need not read again: a head is known by its bytes, so nothing is taken for what the parser would not take it for, and
whatever was worked out from its fields holds for the next one too.
"""

import re
from typing import Final, Generic, Protocol, Self, TypeVar

_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,10})\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 10
_HEAD_END: Final = b"\r\n\r\n"
_TRIES: Final = 8
"""Heads in a row that are learnt for nothing, before no more are: some clients never write the same one twice."""


class Head(Protocol):
    """The head of a message whose body has a length."""

    def of_length(self, length: int) -> Self:
        """Return the head of a message that differs from this one in the length of its body only."""
        ...


H = TypeVar("H", bound=Head)


class Repeats(Generic[H]):
    """The last head of a connection, and the bytes that it was read from."""

    __slots__ = ("_after", "_after_bytes", "_before", "_before_bytes", "_head", "_most_bytes", "_tries")

    def __init__(self, most_bytes: int) -> None:
        """Recognise heads of up to `most_bytes`."""
        self._most_bytes = most_bytes
        self._before: bytes | tuple[()] = ()
        """What stands before the length in it; `()` begins nothing."""
        self._after = b""
        self._before_bytes = self._after_bytes = 0
        self._tries = _TRIES
        self._head: H

    def learn(self, read: bytes, head: H) -> None:
        """Note that a read which begins with a message has brought this head, unless it may not be recognised."""
        if not self._tries:
            return
        self._tries -= 1
        end = read.find(_HEAD_END) + len(_HEAD_END)
        length = _LENGTH.search(read, 0, end)
        if length is not None and end + _MOST_DIGITS <= self._most_bytes:
            self._before, self._after = read[: length.start(1)], read[length.end(1) : end]
            self._before_bytes, self._after_bytes = len(self._before), len(self._after)
            self._head = head

    def stop(self) -> None:
        """Recognise nothing any more: what still comes is not the next message."""
        self._before = ()
        self._tries = 0

    def match(self, data: bytes) -> tuple[H, int] | None:
        """Return the head that `data` begins with, and where it ends; None where it is another, or not all of it."""
        if not data.startswith(self._before):
            return None
        start = self._before_bytes
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        length = data[start:end] if end > 0 else b""
        if not (length.isdigit() and data.startswith(self._after, end)):
            return None
        self._tries = _TRIES
        return self._head.of_length(int(length)), end + self._after_bytes
