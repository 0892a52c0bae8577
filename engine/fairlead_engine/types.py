"""The words of the engine core: requests, batches and the tokens that they yield."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the batch loop knows it: so many prompt tokens in, exactly `output_tokens` tokens out."""

    request_id: str
    prompt_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1:
            raise ValueError(f"request {self.request_id}: prompt_tokens must be at least 1, not {self.prompt_tokens}")
        if self.output_tokens < 1:
            raise ValueError(f"request {self.request_id}: output_tokens must be at least 1, not {self.output_tokens}")


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """`tokens` of a prompt computed in one batch, after `processed_tokens` of it in earlier batches."""

    request_id: str
    tokens: int
    processed_tokens: int


@dataclass(frozen=True, slots=True)
class Decode:
    """One token of a request whose KV cache holds `context_tokens` before the batch."""

    request_id: str
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The work of one iteration. `admitted` left the waiting list for it, `preempted` went back there for want of memory."""

    decodes: tuple[Decode, ...] = ()
    prefills: tuple[PrefillChunk, ...] = ()
    admitted: tuple[str, ...] = ()
    preempted: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens that the batch computes."""
        return len(self.decodes) + sum(chunk.tokens for chunk in self.prefills)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that a batch yielded; `finished` marks the request's last."""

    request_id: str
    finished: bool
