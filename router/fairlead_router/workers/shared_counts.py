"""Requests in flight, counted by several processes in one piece of shared memory.

Rows are workers, columns are endpoints. Only its worker writes a row, so there is nothing to lock; everybody reads all
of them. A number is eight bytes on an eight-byte border and is written as one: a reader sees it before or after a
change, never between. When a worker has died, its row is cleared, and its requests with it.
"""

import mmap
import os
from collections.abc import Iterable, Mapping
from typing import Final

from fairlead_router.decisions.ledger import Account

SLOTS: Final = 4096
"""Columns: endpoints of a pool at one time, and those that are gone and still run requests."""
_NUMBER_BYTES: Final = 8


class SharedCounts:
    """The counts of `workers` workers, in memory that a file descriptor stands for."""

    def __init__(self, descriptor: int, workers: int) -> None:
        """Map what `create` has made."""
        self._map = mmap.mmap(descriptor, workers * SLOTS * _NUMBER_BYTES)
        numbers = memoryview(self._map).cast("q")
        self.rows = [numbers[worker * SLOTS : (worker + 1) * SLOTS] for worker in range(workers)]

    @staticmethod
    def create(workers: int) -> int:
        """Make the memory, all zero; it lives as long as a process has the descriptor, and has no name to leave behind."""
        descriptor = os.memfd_create("fairlead-router-counts", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, workers * SLOTS * _NUMBER_BYTES)
        return descriptor

    def total(self, slot: int) -> int:
        """Return the requests in flight on the endpoint in a slot."""
        return sum(row[slot] for row in self.rows)

    def totals(self, slots: int) -> list[int]:
        """Return those of the first `slots` slots."""
        return list(map(sum, zip(*(row[:slots].tolist() for row in self.rows), strict=True)))

    def clear(self, worker: int) -> None:
        """Forget the requests of a worker that has died."""
        self.rows[worker][:] = memoryview(bytes(SLOTS * _NUMBER_BYTES)).cast("q")


class SharedLedger:
    """The ledger of one worker: it writes its row and reads all. Without a row it only reads."""

    def __init__(self, counts: SharedCounts, worker: int | None) -> None:
        self._counts = counts
        self._row = None if worker is None else counts.rows[worker]
        self._slots: dict[str, int] = {}
        self._used = 0

    def assign(self, slots: Mapping[str, int]) -> None:
        """Follow which endpoint has which slot, by uid; one that is gone keeps its slot while requests run there."""
        kept = {uid: slot for uid, slot in self._slots.items() if self._counts.total(slot)}
        self._slots = {**kept, **slots}
        self._used = max(self._slots.values(), default=-1) + 1

    def note(self, account: Account) -> None:
        """Write to the row; an endpoint without a slot is one that no other process knows any more."""
        slot = self._slots.get(account.uid)
        if self._row is not None and slot is not None:
            self._row[slot] = account.own

    def refresh(self, accounts: Iterable[Account]) -> None:
        """Read all rows."""
        totals, slots = self._counts.totals(self._used), self._slots
        for account in accounts:
            slot = slots.get(account.uid)
            in_flight = account.own if slot is None else totals[slot]
            if in_flight != account.in_flight:
                account.in_flight = in_flight
                account.changed()
