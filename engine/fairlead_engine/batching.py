"""The batch loop: which requests share the next batch, and what each has once it is done.

Continuous batching with chunked prefill, as Sarathi-Serve does it (Agrawal et al., arXiv 2403.02310): every running
decode gets one token, prompts under way take what is left of the token budget, then requests are admitted first come
first served. Memory is reserved for the whole prompt on admission and grows block by block after that. Where a decode
cannot grow, the newest running request is preempted: it gives up its memory and recomputes prompt and tokens so far
when it is admitted again (vLLM's recomputation).

Pure: no clock, no I/O, one caller. A driver asks `next_batch`, lets the batch's time pass, and calls `complete`; a
simulator does the same under a virtual clock.
"""

from collections import OrderedDict
from dataclasses import dataclass

from fairlead_engine.kv_memory import BlockPool, blocks_for
from fairlead_engine.types import Batch, Decode, PrefillChunk, Request, Token

WATERMARK_SHARE = 0.01
"""Share of the blocks that an admission leaves free, so that running requests can grow (vLLM's and Sarathi's 1 %)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batch and the memory can hold, by vLLM's names."""

    max_num_batched_tokens: int = 512
    max_num_seqs: int = 128
    num_gpu_blocks: int = 14_733
    """Default: Mistral-7B on a 48 GB card at 90 % memory utilisation (arXiv 2508.01002)."""

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1:
            raise ValueError(f"max_num_seqs must be at least 1, not {self.max_num_seqs}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            # Each running decode needs a token of the budget, or the newest would starve.
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least max_num_seqs ({self.max_num_seqs})"
            )
        if self.num_gpu_blocks < 1:
            raise ValueError(f"num_gpu_blocks must be at least 1, not {self.num_gpu_blocks}")

    @property
    def watermark_blocks(self) -> int:
        """Blocks that an admission leaves free."""
        return int(self.num_gpu_blocks * WATERMARK_SHARE)

    def fits(self, tokens: int) -> bool:
        """Whether a request of `tokens` tokens, prompt and output together, can run when it is alone."""
        return blocks_for(tokens) <= self.num_gpu_blocks - self.watermark_blocks


@dataclass(slots=True)
class _Sequence:
    """A request's progress. `known_tokens` = prompt plus generated; `computed_tokens` of them are in the KV cache."""

    request: Request
    known_tokens: int
    computed_tokens: int = 0
    prefill_tokens: int = 0
    blocks: int = 0

    @property
    def is_prefill(self) -> bool:
        return self.computed_tokens < self.prefill_tokens

    @property
    def is_finished(self) -> bool:
        return self.known_tokens == self.request.prompt_tokens + self.request.output_tokens


class Core:
    """The batch loop's state: a waiting list, a running list and the KV memory."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._pool = BlockPool(limits.num_gpu_blocks)
        self._waiting: OrderedDict[str, _Sequence] = OrderedDict()
        self._running: OrderedDict[str, _Sequence] = OrderedDict()
        self._in_flight: Batch | None = None

    @property
    def waiting(self) -> int:
        """Requests that are not admitted."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that are admitted and not finished."""
        return len(self._running)

    @property
    def used_blocks(self) -> int:
        """KV blocks that running requests hold."""
        return self._pool.used_blocks

    def add(self, request: Request) -> None:
        """Put `request` at the end of the waiting list.

        Raises
        ------
        ValueError
            The id is in use, or the request is larger than the memory and could never end.

        """
        if request.request_id in self._waiting or request.request_id in self._running:
            raise ValueError(f"request {request.request_id} is in the engine already")
        tokens = request.prompt_tokens + request.output_tokens
        if not self.limits.fits(tokens):
            raise ValueError(
                f"request {request.request_id}: {tokens} tokens need {blocks_for(tokens)} KV blocks, and a request "
                f"can have {self.limits.num_gpu_blocks - self.limits.watermark_blocks}"
            )
        self._waiting[request.request_id] = _Sequence(request, known_tokens=request.prompt_tokens)

    def abort(self, request_id: str) -> bool:
        """Forget a request and free its memory at once; return whether it was there."""
        if self._waiting.pop(request_id, None) is not None:
            return True
        sequence = self._running.pop(request_id, None)
        if sequence is None:
            return False
        self._pool.give(sequence.blocks)
        return True

    def next_batch(self) -> Batch | None:
        """Return the next batch, or None when there is no request; `complete` must follow before the next call."""
        if self._in_flight is not None:
            raise RuntimeError("the last batch is not complete")
        preempted: list[str] = []
        decodes = self._decodes(preempted)
        prefills = self._prefills_under_way(self.limits.max_num_batched_tokens - len(decodes))
        # What was just preempted waits at the head: admitting it into the same batch would take the memory back.
        admitted = () if preempted else self._admit(decodes, prefills)
        if decodes or prefills:
            self._in_flight = Batch(tuple(decodes), tuple(prefills), tuple(admitted), tuple(preempted))
        return self._in_flight

    def complete(self, batch: Batch) -> list[Token]:
        """Account for a batch that has been computed; return its tokens. Requests aborted meanwhile yield none."""
        if batch is not self._in_flight:
            raise RuntimeError("this batch is not the one in flight")
        self._in_flight = None
        tokens: list[Token] = []
        for decode in batch.decodes:
            self._advance(decode.request_id, 1, tokens)
        for chunk in batch.prefills:
            self._advance(chunk.request_id, chunk.tokens, tokens)
        return tokens

    def _decodes(self, preempted: list[str]) -> list[Decode]:
        decodes: list[Decode] = []
        for request_id, sequence in list(self._running.items()):
            if request_id not in self._running or sequence.is_prefill:
                continue
            if self._grow(sequence, preempted):
                decodes.append(Decode(request_id, sequence.computed_tokens))
        return decodes

    def _grow(self, sequence: _Sequence, preempted: list[str]) -> bool:
        """Make room for one more token of a decode; False when the decode itself had to be preempted."""
        needed = blocks_for(sequence.computed_tokens + 1) - sequence.blocks
        while needed > self._pool.free_blocks:
            victim_id, victim = self._running.popitem()
            self._pool.give(victim.blocks)
            victim.blocks = victim.computed_tokens = 0
            self._waiting[victim_id] = victim
            self._waiting.move_to_end(victim_id, last=False)
            preempted.append(victim_id)
            if victim is sequence:
                return False
        self._pool.take(needed)
        sequence.blocks += needed
        return True

    def _prefills_under_way(self, budget_tokens: int) -> list[PrefillChunk]:
        chunks: list[PrefillChunk] = []
        for request_id, sequence in self._running.items():
            if budget_tokens == 0:
                break
            if sequence.is_prefill:
                chunks.append(_chunk(request_id, sequence, budget_tokens))
                budget_tokens -= chunks[-1].tokens
        return chunks

    def _admit(self, decodes: list[Decode], prefills: list[PrefillChunk]) -> list[str]:
        """Admit from the head of the waiting list while budget and memory last, and give each its first chunk."""
        admitted: list[str] = []
        budget_tokens = self.limits.max_num_batched_tokens - len(decodes) - sum(chunk.tokens for chunk in prefills)
        while self._waiting and budget_tokens > 0 and self.running < self.limits.max_num_seqs:
            request_id, sequence = next(iter(self._waiting.items()))
            needed = blocks_for(sequence.known_tokens)
            if self._pool.free_blocks - needed < self.limits.watermark_blocks:
                break
            del self._waiting[request_id]
            self._pool.take(needed)
            sequence.blocks = needed
            sequence.prefill_tokens = sequence.known_tokens
            self._running[request_id] = sequence
            prefills.append(_chunk(request_id, sequence, budget_tokens))
            budget_tokens -= prefills[-1].tokens
            admitted.append(request_id)
        return admitted

    def _advance(self, request_id: str, computed_tokens: int, tokens: list[Token]) -> None:
        sequence = self._running.get(request_id)
        if sequence is None:
            return
        sequence.computed_tokens += computed_tokens
        if sequence.is_prefill:
            return
        sequence.known_tokens += 1
        finished = sequence.is_finished
        if finished:
            del self._running[request_id]
            self._pool.give(sequence.blocks)
        tokens.append(Token(request_id, finished))


def _chunk(request_id: str, sequence: _Sequence, budget_tokens: int) -> PrefillChunk:
    left_tokens = sequence.prefill_tokens - sequence.computed_tokens
    return PrefillChunk(request_id, min(left_tokens, budget_tokens), sequence.computed_tokens)
