"""KV memory in blocks, as PagedAttention allots it (Kwon et al., arXiv 2309.06180)."""

BLOCK_TOKENS = 16
"""Tokens per block: the default of vLLM and of the engine of arXiv 2508.01002."""


def blocks_for(tokens: int) -> int:
    """Return how many blocks hold the keys and values of `tokens` tokens."""
    return -(-tokens // BLOCK_TOKENS)


class BlockPool:
    """A fixed number of blocks, taken and given back by count."""

    def __init__(self, total_blocks: int) -> None:
        if total_blocks < 1:
            raise ValueError(f"total_blocks must be at least 1, not {total_blocks}")
        self.total_blocks = total_blocks
        self.free_blocks = total_blocks

    @property
    def used_blocks(self) -> int:
        """Blocks that are taken."""
        return self.total_blocks - self.free_blocks

    def take(self, blocks: int) -> None:
        """Take `blocks`; asking for more than are free is an error of the caller (ValueError)."""
        if blocks > self.free_blocks:
            raise ValueError(f"{blocks} blocks asked for, {self.free_blocks} free")
        self.free_blocks -= blocks

    def give(self, blocks: int) -> None:
        """Give `blocks` back."""
        if blocks > self.used_blocks:
            raise ValueError(f"{blocks} blocks given back, {self.used_blocks} taken")
        self.free_blocks += blocks
