"""Where which prompts have been: an estimate of what engines have in their prefix caches.

A prompt is named block by block by names that cover all blocks before, so two prompts share exactly the blocks whose
names agree. An engine is believed to hold the blocks of the prompts it was sent most recently, up to so many as its
memory may keep; what it has really evicted nobody tells. A wrong belief costs a little balance, never correctness.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from fairlead_router.decisions.types import RequestView

MOST_BLOCKS: Final = 16_384
"""Blocks remembered of one endpoint: of 16 tokens they fill the memory of a large GPU, of 64 more than that."""
_MOST_MASKS: Final = 1024


class PrefixIndex:
    """Blocks of prompts by the endpoints that were sent them."""

    def __init__(self, most_blocks: int = MOST_BLOCKS) -> None:
        self._most_blocks = most_blocks
        self._holders: dict[int, int] = {}  # block -> bit mask of endpoints
        self._blocks: dict[str, OrderedDict[int, None]] = {}
        self._bits: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._holding: dict[int, tuple[str, ...]] = {}
        """Endpoints by the mask of some: nearly always one that was seen before."""

    def cached_tokens(self, request: RequestView, prompt_tokens: int) -> dict[str, int]:
        """Return how many of the prompt's tokens each endpoint is believed to have computed; none is left out as 0.

        An engine computes at least the last token, whatever it holds.
        """
        matched: dict[str, int] = {}
        blocks, ends, holders = request.prefix, request.prefix_ends, self._holders
        left = holders.get(blocks[0], 0) if blocks else 0
        most = prompt_tokens - 1
        for place in range(len(blocks) - 1, -1, -1):  # from the end: most prompts that were there at all were so far
            if not left:
                break
            if here := left & holders.get(blocks[place], 0):
                left ^= here
                self._note(matched, here, min(most, ends[place]))
        return matched

    def note(self, uid: str, blocks: Sequence[int]) -> None:
        """Note that an endpoint was sent a prompt of these blocks."""
        held = self._blocks.get(uid)
        if held is None:
            held = self._enter(uid)
        if blocks[-1] in held and blocks[0] in held:  # and so are those between: this very prompt was there
            held.move_to_end(blocks[0])
            held.move_to_end(blocks[-1])
            return
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
            self._holding.clear()
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

    def _note(self, matched: dict[str, int], mask: int, tokens: int) -> None:
        """Note that the endpoints of a mask have so many tokens of a prompt."""
        uids = self._holding.get(mask)
        if uids is None:
            if len(self._holding) >= _MOST_MASKS:
                self._holding.clear()
            uids = self._holding[mask] = tuple(self._uids_in(mask))
        for uid in uids:
            matched[uid] = tokens

    def _uids_in(self, mask: int) -> Iterator[str]:
        while mask:
            bit = mask & -mask
            yield self._names[bit]
            mask ^= bit
