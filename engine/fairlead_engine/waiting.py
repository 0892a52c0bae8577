"""The waiting list, in the order that a scheduler asks for."""

import heapq
from collections.abc import Callable, Mapping
from types import MappingProxyType

from fairlead_engine.sequences import Phase, Sequence

Order = Callable[[Sequence], tuple[int, ...]]
"""Sort key of a waiting request; `Sequence.position` as its last part makes it unique."""


def first_come_first_served(sequence: Sequence) -> tuple[int, ...]:
    """Order by arrival; what was preempted comes first, the latest victim before all."""
    return (sequence.position,)


def shortest_prompt_first(sequence: Sequence) -> tuple[int, ...]:
    """Order by tokens to prefill: after a preemption, the tokens generated so far are among them."""
    return (sequence.prefill_tokens, sequence.position)


def priority_first(sequence: Sequence) -> tuple[int, ...]:
    """Order by priority, lower first, then by tokens to prefill."""
    return (sequence.request.priority, sequence.prefill_tokens, sequence.position)


ORDERS: Mapping[str, Order] = MappingProxyType(
    {"fcfs": first_come_first_served, "spf": shortest_prompt_first, "priority": priority_first}
)
"""Waiting orders by the name that schedulers' `order` option takes."""


class WaitingList:
    """A heap of waiting requests: adding, taking and forgetting one is O(log n), whatever the order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._heap: list[tuple[tuple[int, ...], Sequence]] = []
        self._waiting = 0
        self._next_front = -1

    def __len__(self) -> int:
        return self._waiting

    def add(self, sequence: Sequence) -> None:
        """Put a request at the place that its order gives it."""
        sequence.phase = Phase.WAITING
        self._waiting += 1
        heapq.heappush(self._heap, (self._order(sequence), sequence))

    def add_first(self, sequence: Sequence) -> None:
        """Put a preempted request before all others that the order does not tell from it."""
        sequence.position = self._next_front
        self._next_front -= 1
        self.add(sequence)

    def head(self) -> Sequence | None:
        """Return the request that is next, None when nobody waits."""
        while self._heap and self._heap[0][1].phase is not Phase.WAITING:
            heapq.heappop(self._heap)  # aborted
        return self._heap[0][1] if self._heap else None

    def take(self, sequence: Sequence) -> None:
        """Take the request that `head` returned."""
        if not self._heap or self._heap[0][1] is not sequence:
            raise ValueError(f"{sequence.request_id} is not the next of the waiting list")
        heapq.heappop(self._heap)
        self._waiting -= 1

    def forget(self, sequence: Sequence) -> None:
        """Give up a waiting request."""
        sequence.phase = Phase.GONE
        self._waiting -= 1
        if len(self._heap) > 2 * self._waiting + 64:
            self._heap = [entry for entry in self._heap if entry[1].phase is Phase.WAITING]
            heapq.heapify(self._heap)
