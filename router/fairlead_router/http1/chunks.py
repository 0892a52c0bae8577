"""Frame bytes as chunks, and recognise a chunk that is all that one read has brought (RFC 9112 section 7.1).

Nearly every chunk of a stream of tokens is small, and comes in a read of its own. So the beginning of every small chunk
is written down once: to look one up costs less than to write or to parse a number.
"""

from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"
_SMALL: Final = 4096
_SIZE_LINES: Final = tuple(b"%x\r\n" % size for size in range(_SMALL))


def chunk(data: bytes) -> bytes:
    """Frame data, which must not be empty, as a chunk."""
    size = len(data)
    return b"".join((_SIZE_LINES[size] if size < _SMALL else b"%x\r\n" % size, data, b"\r\n"))


def _size_lines_by_length() -> list[tuple[bytes, ...]]:
    """Return how a small chunk begins, in either case of its digits, by the length of all of it."""
    lines: list[tuple[bytes, ...]] = [()] * _SMALL
    for size, line in enumerate(_SIZE_LINES[1:], start=1):
        length = len(line) + size + 2
        if length < _SMALL:
            lines[length] = (line, line.upper())
    return lines


_BY_LENGTH: Final = _size_lines_by_length()
_DATA_AT: Final = [len(lines[0]) if lines else 0 for lines in _BY_LENGTH]


def data_at(read: bytes) -> int:
    """Return where the data begins in a read that is one whole small chunk and nothing else, before its last two bytes.

    0 where it is anything else, or a chunk that is not written in the usual way: for the parser to read.
    """
    length = len(read)
    if length < _SMALL and read.startswith(_BY_LENGTH[length]) and read.endswith(b"\r\n"):
        return _DATA_AT[length]
    return 0
