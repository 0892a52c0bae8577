"""Prefix cache: full blocks of prompts by a hash chain, shared by reference counts, forgotten least recently used first.

As vLLM's automatic prefix caching does it: a block's hash covers all blocks before it, so equal hashes mean equal
prefixes; a block that no request holds any more stays until its memory is needed.
"""

from collections import OrderedDict


class PrefixCache:
    """Which blocks are cached, and who holds them. It counts blocks; the memory that they take is its owner's affair."""

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self.queried_tokens = 0
        """Prompt tokens of admitted requests that were looked up."""
        self.hit_tokens = 0
        """Of these, tokens that were found."""

    @property
    def idle_blocks(self) -> int:
        """Cached blocks that nobody holds."""
        return len(self._idle)

    def match(self, hashes: tuple[int, ...], most_blocks: int) -> int:
        """Return how many of the first `most_blocks` hashes are cached without a gap."""
        matched = 0
        for block_hash in hashes[:most_blocks]:
            if block_hash not in self._holders and block_hash not in self._idle:
                break
            matched += 1
        return matched

    def idle_among(self, hashes: tuple[int, ...]) -> int:
        """Return how many of these cached blocks nobody holds."""
        return sum(block_hash in self._idle for block_hash in hashes)

    def hold(self, block_hash: int) -> None:
        """Count one more holder of a cached block."""
        self._idle.pop(block_hash, None)
        self._holders[block_hash] = self._holders.get(block_hash, 0) + 1

    def insert(self, block_hash: int) -> bool:
        """Cache a block that a request holds; False when such a block is cached already."""
        if block_hash in self._holders or block_hash in self._idle:
            return False
        self._holders[block_hash] = 1
        return True

    def drop(self, block_hash: int) -> bool:
        """Count one holder less; True when it was the last one, and the block may be forgotten."""
        holders = self._holders[block_hash] - 1
        if holders:
            self._holders[block_hash] = holders
            return False
        del self._holders[block_hash]
        self._idle[block_hash] = None
        return True

    def evict(self, blocks: int) -> None:
        """Forget the `blocks` blocks that have been idle for longest."""
        for _ in range(blocks):
            self._idle.popitem(last=False)
