"""What one engine can hold: tokens and requests per batch, requests at a time, KV memory."""

from dataclasses import dataclass

from fairlead_engine.blocks import blocks_for


@dataclass(frozen=True, slots=True)
class Limits:
    """The engine's limits, by vLLM's names where vLLM has the limit."""

    max_num_batched_tokens: int | None = 512
    """Token budget of a batch: decodes and chunks of prompts together. None: no budget, as Orca's engine has none."""
    max_num_seqs: int = 128
    """Requests that hold memory at the same time."""
    num_gpu_blocks: int = 14_733
    """KV blocks. Default: Mistral-7B on a 48 GB card at 90 % memory utilisation (arXiv 2508.01002)."""
    max_requests_per_batch: int | None = None
    """Requests in one batch: k_max of arXiv 2504.07347, section 6. None: no such limit."""
    watermark_share: float = 0.01
    """Share of the blocks that an admission leaves free, so that running requests can grow (vLLM's and Sarathi's)."""
    reserved_tokens: int | None = None
    """Tokens that every request reserves on admission, as engines before PagedAttention do. None: memory is paged."""

    def __post_init__(self) -> None:
        for name in ("max_num_batched_tokens", "max_num_seqs", "num_gpu_blocks", "max_requests_per_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 <= self.watermark_share < 1:
            raise ValueError(f"watermark_share must be at least 0 and below 1, not {self.watermark_share}")
        if self.reserved_tokens is not None and not 1 <= blocks_for(self.reserved_tokens) <= self.num_gpu_blocks:
            raise ValueError(
                f"reserved_tokens ({self.reserved_tokens}) must fit into num_gpu_blocks ({self.num_gpu_blocks})"
            )

    @property
    def watermark_blocks(self) -> int:
        """Blocks that an admission leaves free.

        At least one where memory is paged: a decode asks for a free block whether it needs one or not, and a request
        that is alone has to find it.
        """
        if self.reserved_tokens is not None:
            return 0
        return max(1, int(self.num_gpu_blocks * self.watermark_share))

    def fits(self, tokens: int) -> bool:
        """Whether a request of `tokens` tokens, prompt and output together, can run when it is alone."""
        return self.refusal(tokens) is None

    def refusal(self, tokens: int) -> str | None:
        """Say why a request of `tokens` tokens can never run; None when it can."""
        if self.reserved_tokens is not None:
            if tokens <= self.reserved_tokens:
                return None
            return f"{tokens} tokens, and every request has room for {self.reserved_tokens}"
        most_blocks = self.num_gpu_blocks - self.watermark_blocks
        if blocks_for(tokens) <= most_blocks:
            return None
        return f"{tokens} tokens need {blocks_for(tokens)} KV blocks, and a request can have {most_blocks}"
