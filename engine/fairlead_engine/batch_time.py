"""Batch-time models: how long one batch takes on some hardware.

Named profiles are fits to measurements, so that a figure in a result can be traced to the hardware it stands for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from fairlead_engine.types import Batch


class BatchTime(Protocol):
    """A batch-time model."""

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Linear:
    """A fixed time per batch plus a time per token."""

    base_seconds: float
    token_seconds: float

    def seconds(self, batch: Batch) -> float:
        """Return how long `batch` takes, in seconds."""
        return self.base_seconds + self.token_seconds * batch.tokens


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
        padded_tokens = -(-batch.tokens // self.pad_tokens) * self.pad_tokens
        pairs = sum(chunk.tokens * (chunk.processed_tokens + chunk.tokens / 2) for chunk in batch.prefills)
        context_tokens = sum(decode.context_tokens for decode in batch.decodes)
        return (
            max(self.floor_seconds, self.token_seconds * padded_tokens)
            + self.overhead_seconds
            + self.prefill_pair_seconds * pairs
            + self.context_token_seconds * context_tokens
        )


MISTRAL_7B_RTX6000_ADA = Roofline(
    floor_seconds=15.6e-3,
    token_seconds=0.0825e-3,
    pad_tokens=8,
    overhead_seconds=6.7e-3,
    prefill_pair_seconds=8e-9,
    context_token_seconds=131_072 / 768e9,
)
"""Mistral-7B in fp16 on one RTX 6000 Ada.

Fitted to the measurements published with Bari, Hegde and de Veciana, arXiv 2508.01002 (TTFT and mean batch time of a
2048-token prompt, chunks of 64 to 1024 tokens): weights read once bound small batches, 87-98 % of the peak rate large
ones. A decode reads 131 072 bytes of keys and values per token of context (32 layers, 8 KV heads of 128, fp16) at
768 GB/s, 80 % of the card's 960 GB/s.
"""

FAST = Linear(base_seconds=2e-3, token_seconds=50e-6)
"""No hardware: quick enough for tests and a laptop, and still slower the more tokens share a batch."""

PROFILES: Mapping[str, BatchTime] = MappingProxyType({"fast": FAST, "mistral-7b-rtx6000-ada": MISTRAL_7B_RTX6000_ADA})
"""Batch-time models by the name that `--profile` takes."""
