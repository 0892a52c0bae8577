"""The work queue: keys to reconcile, each by one worker at a time, with back-off after failures."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from fairlead_operator.types import Key

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Again:
    """When to reconcile a key again without an event."""

    seconds: float
    """The least wait."""
    failed: bool = True
    """Consecutive failures of a key back off beyond that wait."""


def backoff_seconds(failures: int, random: Random) -> float:
    """Give the wait after so many failures in a row: doubling, bounded, and half of it random.

    The random half keeps pools that failed together, because the API server was away, from coming back together.
    """
    bound = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10))
    return bound * (0.5 + 0.5 * random.random())


class WorkQueue:
    """Keys that wait for a worker; a key woken while it is being worked on is worked on once more afterwards."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def wake(self, key: Key) -> None:
        """Have a key reconciled soon."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def wake_after(self, key: Key, seconds: float) -> None:
        """Have a key reconciled later; a later call replaces an earlier one."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.wake(key)

    async def work(self, reconcile: Callable[[Key], Awaitable[Again | None]]) -> None:
        """Reconcile keys as they come, for ever; run as many of these as there should be workers.

        `reconcile` gives None when the key is done with until the next event.
        """
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._running.add(key)
            try:
                again = await reconcile(key)
            finally:
                self._running.discard(key)
            if again is not None and again.failed:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                self.wake_after(key, max(again.seconds, backoff_seconds(failures, self._random)))
            else:
                self._failures.pop(key, None)
                if again is not None:
                    self.wake_after(key, again.seconds)
            if key in self._again:
                self._again.discard(key)
                self.wake(key)
