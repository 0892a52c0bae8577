"""The batch loop's core: requests in, batches by a scheduler's choice, tokens out.

Continuous batching (Orca, OSDI 2022): requests join and leave between any two batches. Which ones share a batch is the
scheduler's decision; the core keeps the books: who waits, who runs, who holds which memory, and what a batch yields.

Pure: no clock, no I/O, one caller. A driver asks `next_batch`, lets the batch's time pass, and calls `complete`; the
mock engine does so in real time, a simulator under a virtual clock.
"""

from fairlead_engine.kv_memory import KvMemory
from fairlead_engine.limits import Limits
from fairlead_engine.prefix_cache import PrefixCache
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.sequences import Phase, Sequence
from fairlead_engine.state import Completed, State
from fairlead_engine.types import Batch, Request, Token
from fairlead_engine.waiting import WaitingList

__all__ = ["Core", "Limits"]


class Core:
    """The state of one engine's batch loop.

    `first_token_with_prefill` says which batch yields a request's first token: the one that completes its prompt, as in
    vLLM, or the next decode, as in the engine of arXiv 2508.01002 and the model of arXiv 2504.07347. A request with n
    output tokens is in n - 1 decode batches in the first case and in n in the second.
    """

    def __init__(
        self, limits: Limits, scheduler: Scheduler, *, first_token_with_prefill: bool = True, prefix_cache: bool = False
    ) -> None:
        if prefix_cache and limits.reserved_tokens is not None:
            raise ValueError("prefix_cache needs paged memory; these limits reserve memory per request")
        self.limits = limits
        self.scheduler = scheduler
        self.first_token_with_prefill = first_token_with_prefill
        memory = KvMemory(limits, PrefixCache() if prefix_cache else None)
        self.state = State(limits, memory, WaitingList(scheduler.waiting_order))
        self._sequences: dict[str, Sequence] = {}
        self._arrivals = 0
        self._in_flight: Batch | None = None
        self._in_flight_since = 0.0

    @property
    def waiting(self) -> int:
        """Requests that are not admitted."""
        return len(self.state.waiting)

    @property
    def running(self) -> int:
        """Requests that are admitted and not finished."""
        return self.state.running

    @property
    def used_blocks(self) -> int:
        """KV blocks that running requests hold."""
        return self.state.memory.used_blocks

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """The prefix cache, None when it is off."""
        return self.state.memory.prefix_cache

    def add(self, request: Request, now: float) -> None:
        """Put `request`, which arrives at `now`, into the waiting list; ties of time are served in the order of calls.

        Raises
        ------
        ValueError
            The id is in use, or the request could never end: too large for the memory, or for what this scheduler does.

        """
        if request.request_id in self._sequences:
            raise ValueError(f"request {request.request_id} is in the engine already")
        tokens = request.prompt_tokens + request.output_tokens
        refusal = self.limits.refusal(tokens) or self.scheduler.refusal(request, self.limits)
        if refusal is not None:
            raise ValueError(f"request {request.request_id}: {refusal}")
        self._arrivals += 1
        sequence = Sequence(request, self._arrivals, now, end_tokens=tokens - self.first_token_with_prefill)
        self._sequences[request.request_id] = sequence
        self.state.waiting.add(sequence)

    def abort(self, request_id: str) -> bool:
        """Forget a request and free its memory at once; return whether it was there."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return False
        if sequence.phase is Phase.WAITING:
            self.state.waiting.forget(sequence)
        else:
            self._end(sequence)
            self.scheduler.aborted(sequence)
        return True

    def next_batch(self, now: float) -> Batch | None:
        """Return the next batch, or None when there is nothing to do; `complete` must follow before the next call."""
        if self._in_flight is not None:
            raise RuntimeError("the last batch is not complete")
        batch = self.scheduler.schedule(self.state, now)
        self.state.last_batch = None
        if not (batch.decodes or batch.prefills):
            if batch.preempted:
                raise RuntimeError(f"{type(self.scheduler).__name__} preempted requests for an empty batch")
            return None
        self._in_flight = batch
        self._in_flight_since = now
        return batch

    def complete(self, batch: Batch, now: float) -> list[Token]:
        """Account for a batch that ended at `now`; return its tokens, decodes first.

        Requests aborted meanwhile yield none. One without an abort or a preemption yields exactly its output tokens.
        """
        if batch is not self._in_flight:
            raise RuntimeError("this batch is not the one in flight")
        self._in_flight = None
        tokens: list[Token] = []
        decoded = self._complete_decodes(batch, tokens)
        prefilled = self._complete_prefills(batch, tokens)
        self.state.last_batch = Completed(batch, self._in_flight_since, now, decoded, prefilled)
        return tokens

    def _complete_decodes(self, batch: Batch, tokens: list[Token]) -> list[Sequence]:
        """Count one token for each decode; return those that owe more. This loop runs once per output token."""
        sequences = self._sequences
        unfinished: list[Sequence] = []
        for request_id in batch.decodes:
            sequence = sequences.get(request_id)
            if sequence is None or sequence.phase is not Phase.DECODING:
                continue  # aborted, and perhaps another request came under its id
            sequence.computed_tokens += 1
            if sequence.computed_tokens == sequence.end_tokens:
                tokens.append(sequence.last_token)
                self._finish(sequence)
            else:
                tokens.append(sequence.token)
                unfinished.append(sequence)
        return unfinished

    def _complete_prefills(self, batch: Batch, tokens: list[Token]) -> list[Sequence]:
        unfinished: list[Sequence] = []
        for chunk in batch.prefills:
            sequence = self._sequences.get(chunk.request_id)
            if sequence is None or sequence.phase is not Phase.PREFILLING:
                continue
            sequence.computed_tokens += chunk.tokens
            self.state.memory.keep(sequence)
            if chunk.completes_prompt and sequence.computed_tokens == sequence.end_tokens:
                tokens.append(sequence.last_token)
                self._finish(sequence)
                continue
            if chunk.completes_prompt:
                self.state.enter(sequence, Phase.DECODING)
                if self.first_token_with_prefill:
                    tokens.append(sequence.token)
            unfinished.append(sequence)
        return unfinished

    def _finish(self, sequence: Sequence) -> None:
        del self._sequences[sequence.request_id]
        self.state.memory.keep(sequence)
        self._end(sequence)

    def _end(self, sequence: Sequence) -> None:
        self.state.leave(sequence)
        self.state.memory.release(sequence)
        sequence.phase = Phase.GONE
