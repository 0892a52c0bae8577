"""How long to wait before asking again somebody who does not answer."""

from random import Random

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 15.0


class Backoff:
    """Exponential with full jitter, so that many routers do not all come back at the same moment.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0

    def failed(self) -> float:
        """Note a failure; returns the seconds to wait."""
        ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return self._random.uniform(0.0, ceiling)

    def succeeded(self) -> None:
        """Note a success: the next failure waits the shortest again."""
        self._failures = 0
