"""A batch while a scheduler composes it: every step is checked against budget and memory, and done at once."""

from collections.abc import Callable

from fairlead_engine.sequences import Phase, Sequence
from fairlead_engine.state import State
from fairlead_engine.types import Batch, PrefillChunk

_NO_LIMIT = 1 << 62

MakeRoom = Callable[[Sequence], bool]
"""Finds a free block for a decode; False when the decode cannot be in this batch."""


class BatchDraft:
    """The next batch, request by request, over one `State`."""

    def __init__(self, state: State) -> None:
        limits = state.limits
        self._state = state
        self._memory = state.memory
        self._decodes: list[Sequence] = []
        self._context_tokens = 0
        self._prefills: list[PrefillChunk] = []
        self._prefilled: list[Sequence] = []
        self._admitted: list[str] = []
        self._preempted: list[Sequence] = []
        self.tokens_left = limits.max_num_batched_tokens or _NO_LIMIT
        """What is left of the token budget."""
        self.requests_left = limits.max_requests_per_batch or _NO_LIMIT
        """How many more requests the batch can have."""

    def __contains__(self, sequence: Sequence) -> bool:
        """Whether a request has work in this batch."""
        return sequence in self._prefilled or sequence in self._decodes

    @property
    def is_empty(self) -> bool:
        """Whether no request has work in this batch."""
        return not (self._decodes or self._prefills)

    @property
    def is_full(self) -> bool:
        """Whether the budget of tokens or of requests is used up."""
        return not (self.tokens_left and self.requests_left)

    def decode(self, sequences: list[Sequence], make_room: MakeRoom | None = None) -> None:
        """Give one token to each of `sequences`, in this order, as far as the budget goes.

        Where no block is free, `make_room` decides (default: `preempt_newest`).
        """
        most = min(len(sequences), self.tokens_left, self.requests_left)
        if self._memory.grows and self._memory.free_blocks < most:
            self._decode_with_care(sequences, most, make_room or self.preempt_newest)
            return
        chosen = sequences[:most]
        context_tokens = 0
        for sequence in chosen:
            computed_tokens = sequence.computed_tokens
            context_tokens += computed_tokens
            if computed_tokens == sequence.capacity_tokens:
                self._memory.grow(sequence)
        self._decodes += chosen
        self._context_tokens += context_tokens
        self.tokens_left -= most
        self.requests_left -= most

    def prefill(self, sequence: Sequence, most_tokens: int = _NO_LIMIT) -> int:
        """Compute as much of a running request's prompt as budget and `most_tokens` allow; return how many tokens."""
        tokens = min(sequence.prefill_left, self.tokens_left, most_tokens)
        if tokens == 0 or self.requests_left == 0:
            return 0
        processed_tokens = sequence.computed_tokens
        completes_prompt = tokens == sequence.prefill_left
        self._prefills.append(PrefillChunk(sequence.request_id, tokens, processed_tokens, completes_prompt))
        self._prefilled.append(sequence)
        self.tokens_left -= tokens
        self.requests_left -= 1
        return tokens

    def prefill_running(self) -> None:
        """Go on with the prompts under way, in the order of arrival, as far as the budget goes."""
        for sequence in self._state.prefilling:
            self.prefill(sequence)

    def can_admit(self, sequence: Sequence) -> bool:
        """Whether a waiting request could be admitted: running limit, memory and watermark.

        What this batch has preempted waits for the next one: it would take its memory back at once.
        """
        return (
            self._state.running < self._state.limits.max_num_seqs
            and sequence not in self._preempted
            and self._memory.can_admit(sequence)
        )

    def admit(self, sequence: Sequence, most_tokens: int = _NO_LIMIT) -> None:
        """Admit the head of the waiting list, and compute as much of its prompt as budget and `most_tokens` allow."""
        self._state.waiting.take(sequence)
        self._memory.admit(sequence)
        self._state.enter(sequence, Phase.PREFILLING)
        self._admitted.append(sequence.request_id)
        self.prefill(sequence, most_tokens)

    def admit_waiting(self) -> None:
        """Admit from the head of the waiting list while the budget lasts; the first that does not fit stops it."""
        while not self.is_full and (sequence := self._state.waiting.head()) and self.can_admit(sequence):
            self.admit(sequence)

    def admit_whole_prompts(self) -> None:
        """Like `admit_waiting`, for engines that cannot chunk: a prompt is in the batch as a whole, or waits."""
        while not self.is_full and (sequence := self._state.waiting.head()):
            if sequence.prefill_tokens > self.tokens_left or not self.can_admit(sequence):
                return
            self.admit(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Take a running request's memory; it recomputes its tokens so far once it is admitted again."""
        if sequence.phase is Phase.DECODING:
            sequence.prefill_tokens = sequence.request.prompt_tokens + sequence.generated_tokens
        self._state.leave(sequence)
        self._memory.keep(sequence)
        self._memory.release(sequence)
        self._state.waiting.add_first(sequence)
        self._preempted.append(sequence)

    def preempt_newest(self, sequence: Sequence) -> bool:
        """Preempt the newest running request without work in this batch until a block is free.

        Only requests that came later than `sequence` have to go; when there is none, it goes itself, unless prompts in
        this batch hold the memory: then it is merely left out.
        """
        while not self._memory.free_blocks:
            victim = self._newest_from(sequence)
            if victim is sequence and self._prefilled:
                return False
            self.preempt(victim)
            if victim is sequence:
                return False
        return True

    def batch(self) -> Batch:
        """Return what was composed."""
        return Batch(
            decodes=tuple([sequence.request_id for sequence in self._decodes]),
            context_tokens=self._context_tokens,
            prefills=tuple(self._prefills),
            admitted=tuple(self._admitted),
            preempted=tuple([sequence.request_id for sequence in self._preempted]),
        )

    def _decode_with_care(self, sequences: list[Sequence], most: int, make_room: MakeRoom) -> None:
        """Decode where blocks may run out on the way: whoever is next may be preempted before it is reached."""
        for sequence in list(sequences):
            if most == 0:
                return
            if sequence.phase is not Phase.DECODING or (not self._memory.free_blocks and not make_room(sequence)):
                continue
            if sequence.computed_tokens == sequence.capacity_tokens:
                self._memory.grow(sequence)
            self._decodes.append(sequence)
            self._context_tokens += sequence.computed_tokens
            self.tokens_left -= 1
            self.requests_left -= 1
            most -= 1

    def _newest_from(self, sequence: Sequence) -> Sequence:
        """Return the newest running request that came after `sequence` and has no work in this batch, or itself."""
        busy = {*self._decodes, *self._prefilled}
        newest = sequence
        for candidate in (*self._state.decoding, *self._state.prefilling):
            if candidate.number > newest.number and candidate not in busy:
                newest = candidate
        return newest
