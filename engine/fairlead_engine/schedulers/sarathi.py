"""Sarathi-Serve: stall-free batches by chunked prefills.

Source: Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", OSDI 2024, arXiv 2403.02310;
decode priority, work-conserving (arXiv 2504.07347, Table 1). The token budget is the paper's chunk size.

Rules
1. Every running decode gets one token, in the order of arrival. Where no block is free, the newest running request that
   is not in the batch yet is preempted, be it a decode or an unfinished prompt.
2. Unfinished prompts take what is left of the budget, in the order of arrival.
3. Requests are admitted while budget, running limit and memory last; the first that does not fit stops it.

With `order="spf"` requests are admitted shortest prompt first, as in the comparison of arXiv 2508.01002.
"""

from fairlead_engine.draft import BatchDraft
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.state import State
from fairlead_engine.types import Batch
from fairlead_engine.waiting import ORDERS


class SarathiServe(Scheduler):
    """Decodes first, then chunks of prompts up to the token budget."""

    def __init__(self, order: str = "fcfs") -> None:
        self.waiting_order = ORDERS[order]

    def schedule(self, state: State, now: float) -> Batch:
        """Decode, prefill, admit."""
        draft = BatchDraft(state)
        draft.decode(state.decoding)
        draft.prefill_running()
        draft.admit_waiting()
        return draft.batch()
