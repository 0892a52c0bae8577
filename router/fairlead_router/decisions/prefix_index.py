"""Where which prompts have been: an estimate of what engines have in their prefix caches.

A prompt is named block by block by hashes that cover all blocks before, so two prompts share exactly the blocks whose
hashes agree. An engine is believed to hold the blocks of the prompts it was sent most recently, up to so many as its
memory may keep; what it has really evicted nobody tells. A wrong belief costs a little balance, never correctness.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from fairlead_router.decisions.types import RequestView

MOST_BLOCKS: Final = 16_384
"""Blocks remembered of one endpoint: of 16 tokens they fill the memory of a large GPU, of 64 more than that."""


class PrefixIndex:
    """Blocks of prompts by the endpoints that were sent them."""

    def __init__(self, most_blocks: int = MOST_BLOCKS) -> None:
        self._most_blocks = most_blocks
        self._holders: dict[int, int] = {}  # block -> bit mask of endpoints
        self._blocks: dict[str, OrderedDict[int, None]] = {}
        self._bits: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def cached_tokens(self, request: RequestView) -> dict[str, int]:
        """Return how many of the prompt's tokens each endpoint is believed to have computed; none is left out as 0.

        An engine computes at least the last token, whatever it holds.
        """
        holders, found = self._holders, 0
        matched: dict[str, int] = {}
        mask = -1
        for block in request.prefix:
            left = mask & holders.get(block, 0)
            if left != mask and found:
                self._note(matched, mask & ~left, found)
            mask = left
            if not mask:
                break
            found += 1
        if mask > 0:
            self._note(matched, mask, found)
        most = (request.prompt_tokens or request.prefix_block_tokens * len(request.prefix) + 1) - 1
        return {uid: min(most, blocks * request.prefix_block_tokens) for uid, blocks in matched.items()}

    def note(self, uid: str, blocks: Iterable[int]) -> None:
        """Note that an endpoint was sent a prompt of these blocks."""
        held = self._blocks.get(uid)
        if held is None:
            held = self._enter(uid)
        bit = self._bits[uid]
        for block in blocks:
            if block in held:
                held.move_to_end(block)
            else:
                held[block] = None
                self._holders[block] = self._holders.get(block, 0) | bit
        while len(held) > self._most_blocks:
            self._drop(held.popitem(last=False)[0], bit)

    def keep(self, uids: set[str]) -> None:
        """Forget all endpoints but these."""
        for uid in self._blocks.keys() - uids:
            bit = self._bits.pop(uid)
            del self._names[bit]
            for block in self._blocks.pop(uid):
                self._drop(block, bit)

    def _enter(self, uid: str) -> OrderedDict[int, None]:
        bit = 1
        while bit in self._names:
            bit <<= 1
        self._bits[uid], self._names[bit] = bit, uid
        held = self._blocks[uid] = OrderedDict()
        return held

    def _drop(self, block: int, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]

    def _note(self, matched: dict[str, int], mask: int, blocks: int) -> None:
        """Note endpoints of a mask, bit by bit."""
        while mask:
            bit = mask & -mask
            matched[self._names[bit]] = blocks
            mask ^= bit
