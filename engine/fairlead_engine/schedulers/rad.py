"""RAD: resource-aware dynamic scheduling, throughput-optimal by full tiles.

Source: Bari, Hegde, de Veciana, "Optimal Scheduling Algorithms for LLM Inference: Theory and Practice", POMACS 9(3) 2025, arXiv
2508.01002, Algorithm 1. A GeMM costs the same for a partly filled tile as for a full one, so every batch fills tiles:

Rules
1. Decode mode, when a full tile of requests decodes or no prompt may be prefilled: one token for every decode.
2. Prefill mode otherwise: one chunk of whole tiles of the oldest request's prompt, and no decode.
3. Once `cycle_prefills` (the paper's N) prompts have been taken no more are taken until nobody decodes; then the next
   cycle begins. None is an infinite N: one endless cycle. A finite N lets the engine empty itself again and again, which
   the proof of Theorem 2 rests on.

Our reading where the paper leaves it open: requests that arrive within a cycle may enter it while N allows; a prompt
that is not a multiple of the chunk ends with a shorter one, whose time is that of its tiles; a request that memory
has no room for is as good as absent. So at most `tile_tokens` requests decode, and memory should hold as many
(Assumption 4); where it does not, the newest running request is preempted.
"""

from fairlead_engine.draft import BatchDraft
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.state import State
from fairlead_engine.types import Batch


class Rad(Scheduler):
    """Full tiles of decodes, or whole tiles of one prompt."""

    def __init__(
        self, tile_tokens: int = 128, chunk_tokens: int | None = None, cycle_prefills: int | None = None
    ) -> None:
        for name, value in (("tile", tile_tokens), ("chunk", chunk_tokens), ("cycle", cycle_prefills)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self._tile_tokens = tile_tokens
        self._chunk_tokens = tile_tokens if chunk_tokens is None else chunk_tokens
        self._cycle_prefills = cycle_prefills
        self._taken = 0

    def schedule(self, state: State, now: float) -> Batch:
        """Prefill the oldest prompt while the tile of decodes is not full, decode otherwise."""
        draft = BatchDraft(state)
        if not state.running:
            self._taken = 0
        if len(state.decoding) < self._tile_tokens:
            self._prefill_oldest(state, draft)
        if draft.is_empty:
            draft.decode(state.decoding)
        return draft.batch()

    def _prefill_oldest(self, state: State, draft: BatchDraft) -> None:
        if state.prefilling:
            draft.prefill(state.prefilling[0], self._chunk_tokens)
            return
        if self._cycle_prefills is not None and self._taken >= self._cycle_prefills:
            return
        sequence = state.waiting.head()
        if sequence is not None and draft.can_admit(sequence):
            draft.admit(sequence, self._chunk_tokens)
            self._taken += 1
