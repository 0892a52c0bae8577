"""What an engine says of itself, and for how long that is believed."""

from dataclasses import dataclass
from typing import Final

FRESH_SECONDS: Final = 5.0
"""After so long without another word, what an engine said is not what it is: that is unknown, and not idle."""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One look at an engine; what it does not say is None."""

    running: int | None = None
    """Requests in its batches."""
    waiting: int | None = None
    """Requests that it has and that do not run yet."""
    kv_usage: float | None = None
    """Share of its KV memory that is taken, from 0 to 1; of several ranks that of the fullest."""
    kv_tokens: int | None = None
    """Tokens that its KV memory holds, of all ranks together."""
    adapters: frozenset[str] = frozenset()
    """LoRA adapters that run, or that wait."""
    most_adapters: int | None = None
    """LoRA adapters that can be in one batch."""
    caches_prefixes: bool | None = None
    """Whether it keeps what it has computed of prompts for others that begin alike."""


NO_REPORT: Final = EngineReport()
"""Of an engine that says nothing."""
