"""How long answers are: a distribution that is learnt and forgets, in a few hundred bytes."""

from bisect import bisect_left
from itertools import accumulate
from typing import Final

_RATIO: Final = 1.25
_MOST_TOKENS: Final = 2**20
_BEFORE: Final = (256, 8)
"""What is taken for known before the first answer: so many tokens, as if that many answers had been so long."""
_MEMORY: Final = 4096
"""Answers after which the older half of what is known weighs half as much."""


def _edges() -> tuple[int, ...]:
    """Return upper bounds of the buckets, each a quarter above the last."""
    edges = [1]
    while edges[-1] < _MOST_TOKENS:
        edges.append(max(edges[-1] + 1, int(edges[-1] * _RATIO)))
    return tuple(edges)


_EDGES: Final = _edges()


class OutputLengths:
    """Lengths of answers in tokens."""

    __slots__ = ("_counts", "_total", "mean")

    def __init__(self) -> None:
        self._counts = [0.0] * len(_EDGES)
        tokens, answers = _BEFORE
        self._counts[bisect_left(_EDGES, tokens)] = float(answers)
        self._total = float(answers)
        self.mean = float(tokens)
        """Expected tokens of an answer."""

    def add(self, tokens: int) -> None:
        """Learn from one answer of at least one token."""
        self._counts[min(bisect_left(_EDGES, tokens), len(_EDGES) - 1)] += 1.0
        self._total += 1.0
        self.mean += (tokens - self.mean) / self._total
        if self._total >= _MEMORY:
            self._counts = [count / 2 for count in self._counts]
            self._total /= 2

    def quantile(self, share: float) -> int:
        """Return the tokens that so large a share of the answers stay within, rounded up to the edge of a bucket."""
        wanted = share * sum(self._counts)
        sums = accumulate(self._counts)
        return next((edge for edge, total in zip(_EDGES, sums, strict=True) if total >= wanted), _EDGES[-1])
