"""What every scheduler is: an order of waiting, and a rule that composes the next batch."""

from abc import ABC, abstractmethod

from fairlead_engine.limits import Limits
from fairlead_engine.sequences import Sequence
from fairlead_engine.state import State
from fairlead_engine.types import Batch, Request
from fairlead_engine.waiting import Order, first_come_first_served


class Scheduler(ABC):
    """Composes batches: no clock, no I/O, no randomness. One instance serves one engine."""

    waiting_order: Order = staticmethod(first_come_first_served)
    """In which order requests wait. It may read anything of a request that does not change while it waits."""

    @abstractmethod
    def schedule(self, state: State, now: float) -> Batch:
        """Compose the next batch with a `BatchDraft` of `state`; `now` is in seconds, of any clock that only grows."""

    def refusal(self, request: Request, limits: Limits) -> str | None:
        """Say why this scheduler could never run `request`; None when it could."""
        return None

    def aborted(self, sequence: Sequence) -> None:  # noqa: B027 - most schedulers remember nothing
        """Forget a running request whose client is gone."""


def whole_prompt_refusal(request: Request, limits: Limits, recomputed_tokens: int = 0) -> str | None:
    """Refuse a prompt that no batch can take as a whole, with the tokens that a preemption may add to it."""
    tokens = request.prompt_tokens + recomputed_tokens
    if limits.max_num_batched_tokens is None or tokens <= limits.max_num_batched_tokens:
        return None
    return (
        f"this scheduler does not chunk: {tokens} tokens to prefill, and max_num_batched_tokens is "
        f"{limits.max_num_batched_tokens}"
    )
