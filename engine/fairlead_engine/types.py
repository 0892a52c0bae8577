"""The words of the engine core: requests, batches and the tokens that they yield."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the batch loop knows it: so many prompt tokens in, exactly `output_tokens` tokens out."""

    request_id: str
    prompt_tokens: int
    output_tokens: int
    slo_class: str = ""
    tbt_limit_seconds: float | None = None
    """Most seconds that may lie between two of its tokens; None where nobody promised any."""
    priority: int = 0
    """Lower is served earlier, as in vLLM; schedulers that know no priority ignore it."""
    block_hashes: tuple[int, ...] = ()
    """For the prefix cache: one hash per full block of the prompt (and of the output, where it is known in advance).

    A hash names its block and all blocks before it, so two requests share exactly the blocks whose hashes agree.
    """

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1:
            raise ValueError(f"request {self.request_id}: prompt_tokens must be at least 1, not {self.prompt_tokens}")
        if self.output_tokens < 1:
            raise ValueError(f"request {self.request_id}: output_tokens must be at least 1, not {self.output_tokens}")
        if self.tbt_limit_seconds is not None and not 0 < self.tbt_limit_seconds < math.inf:
            raise ValueError(
                f"request {self.request_id}: tbt_limit_seconds must be a number greater than 0, "
                f"not {self.tbt_limit_seconds}"
            )


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """`tokens` of a prompt computed in one batch, after `processed_tokens` of it in earlier batches or in the cache."""

    request_id: str
    tokens: int
    processed_tokens: int
    completes_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """The work of one iteration, by request ids, and the sums that a batch-time model asks for."""

    decodes: tuple[str, ...] = ()
    """Requests that get one token each."""
    context_tokens: int = 0
    """Tokens that the KV cache holds for the decodes before the batch, all together."""
    prefills: tuple[PrefillChunk, ...] = ()
    admitted: tuple[str, ...] = ()
    """Requests that left the waiting list for this batch."""
    preempted: tuple[str, ...] = ()
    """Requests that went back to the waiting list for want of memory."""

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens that the batch computes."""
        tokens = 0
        for chunk in self.prefills:
            tokens += chunk.tokens
        return tokens

    @property
    def tokens(self) -> int:
        """Tokens that the batch computes."""
        return len(self.decodes) + self.prefill_tokens


@dataclass(frozen=True, slots=True)
class Token:
    """A token that a batch yielded; `finished` marks the request's last."""

    request_id: str
    finished: bool
