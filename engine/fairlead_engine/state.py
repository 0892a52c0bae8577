"""What a scheduler sees: who waits, who runs, what memory is left, and what the last batch did."""

from bisect import bisect_left, insort
from dataclasses import dataclass
from operator import attrgetter

from fairlead_engine.kv_memory import KvMemory
from fairlead_engine.limits import Limits
from fairlead_engine.sequences import Phase, Sequence
from fairlead_engine.types import Batch
from fairlead_engine.waiting import WaitingList

_number = attrgetter("number")


@dataclass(frozen=True, slots=True)
class Completed:
    """A batch that has been computed, and the requests of it that are still there."""

    batch: Batch
    start: float
    end: float
    decoded: list[Sequence]
    prefilled: list[Sequence]


class State:
    """The engine as a scheduler sees it. A scheduler reads it, and changes it only through a `BatchDraft`."""

    def __init__(self, limits: Limits, memory: KvMemory, waiting: WaitingList) -> None:
        self.limits = limits
        self.memory = memory
        self.waiting = waiting
        self.prefilling: list[Sequence] = []
        """Admitted requests whose prompt is not complete, in the order of arrival."""
        self.decoding: list[Sequence] = []
        """Requests whose prompt is complete and that owe tokens, in the order of arrival."""
        self.last_batch: Completed | None = None
        """What has been computed since the last call, None after an idle time."""

    @property
    def running(self) -> int:
        """Requests that hold memory."""
        return len(self.prefilling) + len(self.decoding)

    def enter(self, sequence: Sequence, phase: Phase) -> None:
        """Move a request to one of the running lists."""
        self.leave(sequence)
        sequence.phase = phase
        insort(self.prefilling if phase is Phase.PREFILLING else self.decoding, sequence, key=_number)

    def leave(self, sequence: Sequence) -> None:
        """Take a request off the running list it is on, if any."""
        if sequence.phase is Phase.PREFILLING:
            _remove(self.prefilling, sequence)
        elif sequence.phase is Phase.DECODING:
            _remove(self.decoding, sequence)


def _remove(running: list[Sequence], sequence: Sequence) -> None:
    del running[bisect_left(running, sequence.number, key=_number)]
