"""Embeddings without a model: texts that share words are near one another.

Feature hashing (Weinberger et al., arXiv 0902.2206): every word adds +1 or -1 at positions that its hash names. The
cosine of two texts then grows with the words that they share, which is all that a test of reranking needs.
"""

import re
from collections.abc import Sequence
from hashlib import shake_128
from math import sqrt
from struct import iter_unpack

DIMENSIONS = 768
"""Of an embedding, where the request does not say."""
_POSITIONS_PER_WORD = 16


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return the embedding of `text`, a vector of length 1; the same text gives the same."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        for (number,) in iter_unpack(">H", shake_128(word.encode()).digest(2 * _POSITIONS_PER_WORD)):
            vector[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    length = sqrt(sum(value * value for value in vector))
    if not length:
        return [1.0, *vector[1:]]
    return [value / length for value in vector]


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(first, second, strict=True))
