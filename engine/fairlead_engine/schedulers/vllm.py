"""Vanilla vLLM: batches of prompts whenever a prompt can be admitted, batches of decodes otherwise.

Source: vLLM before chunked prefill (Kwon et al., arXiv 2309.06180); prefill priority, not work-conserving (arXiv 2504.07347,
Table 1).

Rules
1. If the head of the waiting list can be admitted, the batch is whole prompts, first come first served, while their sum
   keeps to the token budget; no decode is in that batch.
2. Otherwise every running decode gets one token. Where no block is free, the latest arrived is preempted and recomputed.
"""

from fairlead_engine.draft import BatchDraft
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers.scheduler import Scheduler, whole_prompt_refusal
from fairlead_engine.state import State
from fairlead_engine.types import Batch, Request


class VanillaVllm(Scheduler):
    """Prompts before decodes, never both."""

    def schedule(self, state: State, now: float) -> Batch:
        """Admit; decode where nobody can be admitted."""
        draft = BatchDraft(state)
        draft.admit_whole_prompts()
        if draft.is_empty:
            draft.decode(state.decoding)
        return draft.batch()

    def refusal(self, request: Request, limits: Limits) -> str | None:
        """Refuse what could outgrow the budget: after a preemption, generated tokens are part of the prompt."""
        return whole_prompt_refusal(request, limits, recomputed_tokens=request.output_tokens - 1)
