"""Orca: decodes and prompts in the same batch.

Source: Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022. Two forms of it
are compared with in the literature, and they differ.

`Orca`, as in the engine of arXiv 2508.01002
1. Every running decode gets one token.
2. Whole prompts are admitted beside them, first come first served, as many as running limit and memory allow. That engine
   has no token budget; where `Limits` has one, a prompt that does not fit waits.
3. No chunking and no preemption: every request reserves memory for the longest sequence.

`OrcaChunked`, as in arXiv 2504.07347 (Table 1: prefill priority, work-conserving)
1. The budget is filled with prompt tokens, first come first served, chunked where they do not fit.
2. Decodes get what is left, first come first served.
"""

from fairlead_engine.draft import BatchDraft
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers.scheduler import Scheduler, whole_prompt_refusal
from fairlead_engine.state import State
from fairlead_engine.types import Batch, Request


class Orca(Scheduler):
    """Every decode, and whole prompts beside them."""

    def schedule(self, state: State, now: float) -> Batch:
        """Decode, then admit."""
        draft = BatchDraft(state)
        draft.decode(state.decoding)
        draft.admit_whole_prompts()
        return draft.batch()

    def refusal(self, request: Request, limits: Limits) -> str | None:
        """Refuse prompts longer than the budget: they would wait for ever."""
        return whole_prompt_refusal(request, limits)


class OrcaChunked(Scheduler):
    """Prompt tokens first, decodes with what is left of the budget."""

    def schedule(self, state: State, now: float) -> Batch:
        """Prefill, admit, then decode."""
        draft = BatchDraft(state)
        draft.prefill_running()
        draft.admit_waiting()
        draft.decode(state.decoding)
        return draft.batch()
