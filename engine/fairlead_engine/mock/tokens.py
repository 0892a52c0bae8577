"""The mock's tokeniser: four UTF-8 bytes are one token.

Counts are near those of real tokenisers for English text, need no vocabulary, and can be reckoned by anyone who writes
a test: `ceil(bytes / 4)`.
"""

from collections.abc import Sequence

TOKEN_BYTES = 4
_MARK = b"\x01"
"""Leads the bytes of a token in its id, so that a piece shorter than four bytes, or with leading zeros, survives."""


def count_tokens(text: str) -> int:
    """Return the number of tokens of `text`."""
    return -(-len(text.encode()) // TOKEN_BYTES)


def encode(text: str) -> list[int]:
    """Return the token ids of `text`."""
    data = text.encode()
    return [int.from_bytes(_MARK + data[i : i + TOKEN_BYTES], "big") for i in range(0, len(data), TOKEN_BYTES)]


def decode(tokens: Sequence[int]) -> str:
    """Return the text of token ids that `encode` made.

    Raises
    ------
    ValueError
        An id is not one that `encode` makes.

    """
    return b"".join(_piece(token) for token in tokens).decode("utf-8", "replace")


def _piece(token: int) -> bytes:
    if token > 0:
        data = token.to_bytes((token.bit_length() + 7) // 8, "big")
        if data[:1] == _MARK and len(data) <= TOKEN_BYTES + 1:
            return data[1:]
    raise ValueError(f"{token} is not a token id of the mock engine")
