"""When a request may be sent once more, and how long it waits before.

Retries are worth most when one engine has failed, and do most harm when all have: then each of them is load on top of
load. So they are paid from a budget that requests earn, as in Finagle and tower: every request earns a fraction of a
retry, every retry costs a whole one. A pool is sent at most that fraction more than what it is asked, in the long run.

The wait is drawn evenly between nothing and twice the mean ("full jitter"), so that requests that failed together do
not come back together.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

BURST: Final = 10.0
"""Retries that a router may spend before it has earned any."""
MOST_SAVED: Final = 100.0
"""Retries that can be saved up: about what one engine has running when it is lost."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """`config.Retries` in numbers."""

    attempts: int = 3
    budget: float = 0.2
    backoff_seconds: float = 0.025


class RetryPolicy:
    """The retries of one process."""

    __slots__ = ("_random", "_saved", "_settings", "exhausted")

    def __init__(self, settings: RetrySettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._saved = BURST
        self.exhausted = 0
        """Retries that the budget did not allow, since the beginning."""

    def use(self, settings: RetrySettings) -> None:
        """Follow other settings; what is saved stays."""
        self._settings = settings

    def requested(self) -> None:
        """Earn for a request that is sent for the first time."""
        if self._saved < MOST_SAVED:
            self._saved += self._settings.budget

    def next(self, retries: int) -> float | None:
        """Spend a retry of a request that has had `retries`; returns the seconds to wait before it, or None."""
        if retries + 1 >= self._settings.attempts:
            return None
        if self._saved < 1.0:
            self.exhausted += 1
            return None
        self._saved -= 1.0
        return self._random.uniform(0.0, 2.0 * self._settings.backoff_seconds * 2.0**retries)
