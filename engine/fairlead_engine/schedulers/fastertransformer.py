"""FasterTransformer: one group of requests from its prompts to its last token, then the next group.

Source: NVIDIA FasterTransformer's request-level batching, as modelled by Dai, Deng, Li and Peng (arXiv 2504.07347, Table 1:
decode priority, not work-conserving) and as implemented for comparison in the engine of arXiv 2508.01002.

Rules
1. While any request decodes, the batch is all decodes and nothing is admitted.
2. Otherwise whole prompts are admitted first come first served, as budget, running limit and memory allow; that batch has
   prompts only.
3. No chunking and no preemption: every request reserves memory for the longest sequence.
"""

from fairlead_engine.draft import BatchDraft
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers.scheduler import Scheduler, whole_prompt_refusal
from fairlead_engine.state import State
from fairlead_engine.types import Batch, Request


class FasterTransformer(Scheduler):
    """Decodes everything that was admitted together before it admits again."""

    def schedule(self, state: State, now: float) -> Batch:
        """Decode, or admit where nobody decodes."""
        draft = BatchDraft(state)
        if state.decoding:
            draft.decode(state.decoding)
        else:
            draft.admit_whole_prompts()
        return draft.batch()

    def refusal(self, request: Request, limits: Limits) -> str | None:
        """Refuse prompts longer than the budget: they would wait for ever."""
        return whole_prompt_refusal(request, limits)
