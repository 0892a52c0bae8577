"""KV memory in blocks, as PagedAttention allots it (Kwon et al., arXiv 2309.06180).

A request gets the blocks of its whole prompt on admission, or a fixed reservation where memory is not paged, and one
block more whenever a decode crosses a block boundary. Blocks are counted, not numbered: which block it is decides nothing.
"""

from fairlead_engine.blocks import BLOCK_TOKENS, blocks_for
from fairlead_engine.limits import Limits
from fairlead_engine.prefix_cache import PrefixCache
from fairlead_engine.sequences import Sequence


class KvMemory:
    """The blocks of one engine, and which request holds how many."""

    def __init__(self, limits: Limits, prefix_cache: PrefixCache | None = None) -> None:
        self.total_blocks = limits.num_gpu_blocks
        self.watermark_blocks = limits.watermark_blocks
        self.prefix_cache = prefix_cache
        self.free_blocks = self.total_blocks
        """Blocks that can be taken: unused ones, and cached ones that nobody holds."""
        self._reserved_blocks = None if limits.reserved_tokens is None else blocks_for(limits.reserved_tokens)

    @property
    def used_blocks(self) -> int:
        """Blocks that requests hold."""
        return self.total_blocks - self.free_blocks

    @property
    def grows(self) -> bool:
        """Whether decodes take blocks: not where every request has reserved what it can need."""
        return self._reserved_blocks is None

    def can_admit(self, sequence: Sequence) -> bool:
        """Whether the blocks for a waiting request are there, and the watermark stays free."""
        _, taken_blocks = self._admission(sequence)
        return self.free_blocks - taken_blocks >= self.watermark_blocks

    def admit(self, sequence: Sequence) -> None:
        """Give a request its first blocks; tokens found in the prefix cache count as computed."""
        cached_blocks, taken_blocks = self._admission(sequence)
        if self.prefix_cache is not None:
            for block_hash in sequence.request.block_hashes[:cached_blocks]:
                self.prefix_cache.hold(block_hash)
                sequence.held_hashes.append(block_hash)
            self.prefix_cache.queried_tokens += sequence.prefill_tokens
            self.prefix_cache.hit_tokens += cached_blocks * BLOCK_TOKENS
        self._take(taken_blocks)
        sequence.blocks = self._reserved_blocks or blocks_for(sequence.prefill_tokens)
        sequence.capacity_tokens = sequence.blocks * BLOCK_TOKENS
        sequence.blocks_looked_up = cached_blocks
        sequence.computed_tokens = cached_blocks * BLOCK_TOKENS

    def grow(self, sequence: Sequence) -> None:
        """Give a request one more block; there must be a free one."""
        self._take(1)
        sequence.blocks += 1
        sequence.capacity_tokens += BLOCK_TOKENS

    def keep(self, sequence: Sequence) -> None:
        """Offer the full blocks that a request has computed to the prefix cache, where there is one."""
        if self.prefix_cache is None:
            return
        hashes = sequence.request.block_hashes[: sequence.computed_tokens // BLOCK_TOKENS]
        for block_hash in hashes[sequence.blocks_looked_up :]:
            # What another request computed at the same time stays a private copy.
            if self.prefix_cache.insert(block_hash):
                sequence.held_hashes.append(block_hash)
        sequence.blocks_looked_up = max(sequence.blocks_looked_up, len(hashes))

    def release(self, sequence: Sequence) -> None:
        """Take back all blocks of a request."""
        self.free_blocks += sequence.blocks - len(sequence.held_hashes)
        if self.prefix_cache is not None:
            # The end of a prefix goes first: without its beginning it can never be found again.
            for block_hash in reversed(sequence.held_hashes):
                self.free_blocks += self.prefix_cache.drop(block_hash)
            sequence.held_hashes.clear()
        sequence.blocks = sequence.capacity_tokens = sequence.computed_tokens = sequence.blocks_looked_up = 0

    def _admission(self, sequence: Sequence) -> tuple[int, int]:
        """Return how many blocks of a request are cached, and how many free ones its admission takes."""
        if self._reserved_blocks is not None:
            return 0, self._reserved_blocks
        needed_blocks = blocks_for(sequence.prefill_tokens)
        if self.prefix_cache is None:
            return 0, needed_blocks
        # At least one token is computed: the next one is sampled from it.
        most_blocks = (sequence.prefill_tokens - 1) // BLOCK_TOKENS
        hashes = sequence.request.block_hashes
        cached_blocks = self.prefix_cache.match(hashes, most_blocks)
        return cached_blocks, needed_blocks - cached_blocks + self.prefix_cache.idle_among(hashes[:cached_blocks])

    def _take(self, blocks: int) -> None:
        if blocks > self.free_blocks:
            raise ValueError(f"{blocks} blocks asked for, {self.free_blocks} free")
        self.free_blocks -= blocks
        if self.prefix_cache is not None and self.prefix_cache.idle_blocks > self.free_blocks:
            self.prefix_cache.evict(self.prefix_cache.idle_blocks - self.free_blocks)
