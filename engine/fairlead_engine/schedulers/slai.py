"""SLAI: decodes wait until their TBT limit comes near, prompts get the time.

Source: Bari, Hegde, de Veciana, arXiv 2508.01002, sections 6 and 7 and eq. (8), with the details of the authors' engine.

The last schedulable time of a request's next token is

    Y = end of the batch of its previous token + its TBT limit - offset * mean batch time

where the mean is over all batches since the start. A batch is composed so:
1. critical decodes, whose Y has passed, in the order of Y;
2. unfinished prompts, in the order in which they were left unfinished;
3. new requests, in the waiting order (`fcfs`, `spf`: shortest prompt first, `priority`: priority, then shortest prompt);
4. the other decodes, in the order of Y, as far as the budget goes.
So decodes wait only while prompts fill the budget: within the budget SLAI is work-conserving.

The offset is `offset`, and `offset_when_full` while at least `full_share` of the KV blocks are in use: a larger one decodes
earlier and so frees memory sooner. The paper's dynamic variant is 5 and 10 at 96 %, its fixed one 10 throughout.
Where no block is free for a decode, the last unfinished prompt is preempted and, when there is none, that decode itself.
"""

import heapq
import math
from operator import attrgetter

from fairlead_engine.draft import BatchDraft
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.sequences import Phase, Sequence
from fairlead_engine.state import Completed, State
from fairlead_engine.types import Batch
from fairlead_engine.waiting import ORDERS

_arrival = attrgetter("number")


class Slai(Scheduler):
    """Defers decodes to their last schedulable time, and prefills meanwhile."""

    def __init__(
        self,
        *,
        order: str = "spf",
        offset: float = 5.0,
        offset_when_full: float = 10.0,
        full_share: float = 0.96,
        most_decodes: int = 128,
        default_tbt_limit_seconds: float = 0.2,
    ) -> None:
        self.waiting_order = ORDERS[order]
        self._offset = offset
        self._offset_when_full = offset_when_full
        self._full_share = full_share
        self._most_decodes = most_decodes
        self._default_tbt_limit_seconds = default_tbt_limit_seconds
        self._batches = 0
        self._mean_batch_seconds = 0.0
        self._paused: list[Sequence] = []
        self._deferred = _Deferred()

    def schedule(self, state: State, now: float) -> Batch:
        """Compose critical decodes, unfinished prompts, new requests and other decodes, in this order."""
        if state.last_batch is not None:
            self._account_for(state.last_batch, state)
        draft = BatchDraft(state)
        decodes_left = self._decode(draft, state, self._most_decodes, until=now)
        for sequence in self._paused:
            draft.prefill(sequence)
        draft.admit_waiting()
        self._decode(draft, state, decodes_left, until=math.inf)
        return draft.batch()

    def aborted(self, sequence: Sequence) -> None:
        """Forget a running request whose client is gone."""
        if sequence in self._paused:
            self._paused.remove(sequence)
        self._deferred.forget(sequence)

    def _account_for(self, batch: Completed, state: State) -> None:
        """Learn the batch's duration, and note for each of its requests what it waits for now."""
        self._batches += 1
        self._mean_batch_seconds += (batch.end - batch.start - self._mean_batch_seconds) / self._batches
        decodes = list(batch.decoded)
        self._paused = [sequence for sequence in self._paused if sequence.phase is Phase.PREFILLING]
        for sequence in batch.prefilled:
            if sequence.phase is Phase.DECODING:
                decodes.append(sequence)
            elif sequence.phase is Phase.PREFILLING and sequence not in self._paused:
                self._paused.append(sequence)
        is_full = state.memory.used_blocks >= self._full_share * state.memory.total_blocks
        offset = self._offset_when_full if is_full else self._offset
        now = batch.end - offset * self._mean_batch_seconds
        by_limit: dict[float | None, list[Sequence]] = {}
        for sequence in decodes:
            if sequence.phase is not Phase.GONE:
                by_limit.setdefault(sequence.request.tbt_limit_seconds, []).append(sequence)
        for limit_seconds, group in by_limit.items():
            self._deferred.add(
                now + (self._default_tbt_limit_seconds if limit_seconds is None else limit_seconds), group
            )

    def _decode(self, draft: BatchDraft, state: State, most: int, until: float) -> int:
        """Decode at most `most` requests whose last schedulable time is not after `until`; return what is left of `most`."""

        def make_room(sequence: Sequence) -> bool:
            while not state.memory.free_blocks:
                victim = next((paused for paused in reversed(self._paused) if paused not in draft), sequence)
                draft.preempt(victim)
                if victim is sequence:
                    return False
                self._paused.remove(victim)
            return True

        while most and not draft.is_full and self._deferred.is_due(until):
            chosen = self._deferred.take(min(most, draft.tokens_left, draft.requests_left))
            draft.decode(chosen, make_room)
            most -= len(chosen)
        return most


class _Deferred:
    """Decodes by their last schedulable time, ties by arrival.

    Requests with one TBT limit that were in one batch have one last schedulable time, so they are kept as one group: the
    heap has an entry per group, not per request.
    """

    def __init__(self) -> None:
        self._due: list[float] = []
        self._groups: dict[float, list[Sequence]] = {}

    def is_due(self, until: float) -> bool:
        """Whether there is a request whose last schedulable time is not after `until`."""
        return bool(self._due) and self._due[0] <= until

    def add(self, due: float, sequences: list[Sequence]) -> None:
        """Defer `sequences` until `due`."""
        if due in self._groups:
            sequences = self._groups[due] + sequences
        else:
            heapq.heappush(self._due, due)
        sequences.sort(key=_arrival)
        self._groups[due] = sequences

    def take(self, most: int) -> list[Sequence]:
        """Take up to `most` requests of the earliest group."""
        due = self._due[0]
        group = self._groups[due]
        if len(group) > most:
            self._groups[due] = group[most:]
            return group[:most]
        heapq.heappop(self._due)
        return self._groups.pop(due)

    def forget(self, sequence: Sequence) -> None:
        """Drop a request wherever it is."""
        for due, group in self._groups.items():
            if sequence in group:
                group.remove(sequence)
                if not group:
                    del self._groups[due]
                    self._due.remove(due)
                    heapq.heapify(self._due)
                return
