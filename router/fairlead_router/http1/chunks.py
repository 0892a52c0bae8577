"""Frame bytes as chunks, and recognise a chunk that is all that one read has brought (RFC 9112 section 7.1).

Nearly every chunk of a stream of tokens is small, and comes in a read of its own. So the beginning of every small chunk
is written down once: to look one up costs less than to write a number or to parse it.
"""

from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"
SMALL: Final = 4096
"""A chunk is small if all of it is shorter."""
_SIZE_LINES: Final = tuple(b"%x\r\n" % size for size in range(SMALL))


def chunk(data: bytes) -> bytes:
    """Frame data, which must not be empty, as a chunk."""
    size = len(data)
    return b"".join((_SIZE_LINES[size] if size < SMALL else b"%x\r\n" % size, data, b"\r\n"))


def _size_lines_by_length() -> list[tuple[bytes, ...]]:
    lines: list[tuple[bytes, ...]] = [()] * SMALL
    for size, line in enumerate(_SIZE_LINES[1:], start=1):
        length = len(line) + size + 2
        if length < SMALL:
            lines[length] = (line, line.upper())
    return lines


SMALL_BEGIN_WITH: Final = _size_lines_by_length()
"""How a small chunk begins, in either case of its digits, by the length of all of it; nothing where there is none."""
SMALL_DATA_AT: Final = [len(lines[0]) if lines else 0 for lines in SMALL_BEGIN_WITH]
"""Where its data begins, by the same length; it ends two bytes before the end."""
