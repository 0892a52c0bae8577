"""Shapes of batch-time models. Times in seconds; n = tokens in the batch, prompts and decodes together."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Protocol

from fairlead_engine.types import Batch


class BatchTime(Protocol):
    """A batch-time model."""

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention over what was processed before: T = prefill_pair * sum k(x + k/2) + context_token * sum L.

    For prefill chunks of k tokens after x, and decodes with L tokens of context: the products that a chunk computes, and the
    keys and values that a decode reads.
    """

    prefill_pair_seconds: float = 0.0
    context_token_seconds: float = 0.0

    def seconds(self, batch: Batch) -> float:
        """Return how long the attention of `batch` takes, in seconds."""
        pairs = 0.0
        for chunk in batch.prefills:
            pairs += chunk.tokens * (chunk.processed_tokens + chunk.tokens / 2)
        return self.prefill_pair_seconds * pairs + self.context_token_seconds * batch.context_tokens


NO_ATTENTION = Attention()


@dataclass(frozen=True, slots=True)
class Linear:
    """A fixed time per batch plus a time per token; T = base + token * n.

    Where `decode_token_seconds` is given, decodes cost that and `token_seconds` is for prompts alone. With
    `attention.context_token_seconds` it is the model of arXiv 2504.11320.
    """

    base_seconds: float
    token_seconds: float
    decode_token_seconds: float | None = None
    attention: Attention = NO_ATTENTION

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        decode_seconds = self.token_seconds if self.decode_token_seconds is None else self.decode_token_seconds
        return (
            self.base_seconds
            + self.token_seconds * batch.prefill_tokens
            + decode_seconds * len(batch.decodes)
            + self.attention.seconds(batch)
        )


@dataclass(frozen=True, slots=True)
class Staircase:
    """Tiles: a partly filled one costs as much as a full one; T = base + tile * ceil(n / tile_tokens) + token * n.

    With token = 0 it is eq. (4) of arXiv 2504.07347, with base = 0 eq. (7) of arXiv 2508.01002.
    """

    base_seconds: float
    tile_seconds: float
    tile_tokens: int = 128
    token_seconds: float = 0.0
    attention: Attention = NO_ATTENTION

    def __post_init__(self) -> None:
        if self.tile_tokens < 1:
            raise ValueError(f"tile_tokens must be at least 1, not {self.tile_tokens}")

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        tokens = batch.tokens
        tiles = -(-tokens // self.tile_tokens)
        return (
            self.base_seconds + self.tile_seconds * tiles + self.token_seconds * tokens + self.attention.seconds(batch)
        )


@dataclass(frozen=True, slots=True)
class Roofline:
    """Linear layers bound by memory, then by compute; a fixed overhead; attention over what was processed before.

    T = max(floor, token * padded n) + overhead + prefill_pair * sum k(x + k/2) + context_token * sum L

    for n tokens padded to a multiple of `pad_tokens`, prefill chunks of k tokens after x, and decodes with L tokens of
    context.
    """

    floor_seconds: float
    token_seconds: float
    pad_tokens: int
    overhead_seconds: float
    prefill_pair_seconds: float
    context_token_seconds: float

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        tokens = len(batch.decodes)
        pairs = 0.0
        for chunk in batch.prefills:
            tokens += chunk.tokens
            pairs += chunk.tokens * (chunk.processed_tokens + chunk.tokens / 2)
        linear_seconds = self.token_seconds * (-(-tokens // self.pad_tokens) * self.pad_tokens)
        return (
            max(self.floor_seconds, linear_seconds)
            + self.overhead_seconds
            + self.prefill_pair_seconds * pairs
            + self.context_token_seconds * batch.context_tokens
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Measured times by tokens in the batch, linear in between and beyond, never below the first."""

    tokens: tuple[int, ...]
    times_seconds: tuple[float, ...]
    attention: Attention = NO_ATTENTION

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.times_seconds) or len(self.tokens) < 2:
            raise ValueError("tokens and times_seconds must be equally many, and at least two")
        if any(later <= earlier for earlier, later in zip(self.tokens, self.tokens[1:], strict=False)):
            raise ValueError(f"tokens must increase, not {self.tokens}")

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        tokens = max(batch.tokens, self.tokens[0])
        right = min(bisect_right(self.tokens, tokens), len(self.tokens) - 1)
        left_tokens, right_tokens = self.tokens[right - 1], self.tokens[right]
        left_seconds, right_seconds = self.times_seconds[right - 1], self.times_seconds[right]
        slope_seconds = (right_seconds - left_seconds) / (right_tokens - left_tokens)
        return left_seconds + slope_seconds * (tokens - left_tokens) + self.attention.seconds(batch)
