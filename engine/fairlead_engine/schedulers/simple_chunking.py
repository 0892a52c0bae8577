"""Simple chunking: prompts and decodes take turns.

Source: the engine of Bari, Hegde and de Veciana, arXiv 2508.01002, where it is one of the schedulers to compare with.

Rules
1. A prefill turn: unfinished prompts, then new ones, chunked to the token budget; no decode.
2. A decode turn: one token for every decode; no prompt.
3. The turns alternate. A turn that has nothing to do is skipped.
"""

from fairlead_engine.draft import BatchDraft
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.state import State
from fairlead_engine.types import Batch


class SimpleChunking(Scheduler):
    """Strict alternation of prefill and decode batches."""

    def __init__(self) -> None:
        self._decodes_are_next = False

    def schedule(self, state: State, now: float) -> Batch:
        """Take the turn that is due, or the other one where it is empty."""
        draft = BatchDraft(state)
        decodes = self._decodes_are_next and bool(state.decoding)
        if not decodes:
            draft.prefill_running()
            draft.admit_waiting()
            decodes = draft.is_empty
        if decodes:
            draft.decode(state.decoding)
        self._decodes_are_next = not decodes
        return draft.batch()
