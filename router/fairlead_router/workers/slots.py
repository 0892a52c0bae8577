"""Which endpoint has which column of the shared counts."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping


class NoSlotError(Exception):
    """There are more endpoints than slots."""


class SlotTable:
    """Gives slots to endpoints, and takes them back when an endpoint is gone and nothing runs there any more.

    The slot that has been free for longest is given first, so that a worker that has not heard yet that an endpoint is
    gone does not count its last request on another endpoint.
    """

    def __init__(self, slots: int) -> None:
        self._free = deque(range(slots))
        self._slots: dict[str, int] = {}

    def assign(self, uids: Iterable[str], in_flight: Callable[[int], int]) -> Mapping[str, int]:
        """Return the slots of `uids` and of others that still run requests; `in_flight` counts those in a slot.

        Raises
        ------
        NoSlotError
            There are not enough; nothing has changed.

        """
        wanted = dict.fromkeys(uids)
        over = [uid for uid, slot in self._slots.items() if uid not in wanted and not in_flight(slot)]
        new = [uid for uid in wanted if uid not in self._slots]
        if len(new) > len(self._free) + len(over):
            raise NoSlotError(f"{len(wanted)} endpoints are more than a router with several workers can count")
        for uid in over:
            self._free.append(self._slots.pop(uid))
        for uid in new:
            self._slots[uid] = self._free.popleft()
        return dict(self._slots)
