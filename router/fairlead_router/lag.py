"""Measure how late the event loop is: how long something that is ready waits until its turn comes.

Every 25 ms a timer is due, and how late it fires is what any other event would have waited that became due at that
moment: the rest of what the loop was doing then, and whatever came before it in the queue. A loop that is held up for
longer misses timers; each of them is counted with what it would have waited, or else the worst moments would be the
least counted. So a share of the observations is a share of time.

uvloop keeps time in milliseconds. A loop that is busy looks at the clock all the time and loses nothing by it; an idle
one wakes up to 1 ms late, and that is what it shows: the figure is never too good.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

INTERVAL_SECONDS: Final = 0.025
_MOST_MISSED: Final = 1000
"""Timers counted at once: 25 seconds of them. A machine that slept for hours was not late that often."""


class LagMeter:
    """Observes the lag of the running event loop, in seconds, from `start` to `stop`."""

    def __init__(self, observe: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Take what is told every observation, and a clock that runs with the event loop's but is finer."""
        self._observe = observe
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; called in the event loop."""
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._due)

    def stop(self) -> None:
        """Observe nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        if self._timer is None:
            raise AssertionError("a timer that was not set")
        for waited in missed(self._clock() - self._timer.when()):
            self._observe(waited)
        self.start()


def missed(late_seconds: float) -> list[float]:
    """Return what the timers waited that were due since: the one that was this late, and those after it."""
    late = max(0.0, late_seconds)
    count = 1 + min(int(late / INTERVAL_SECONDS), _MOST_MISSED)
    return [max(0.0, late - number * INTERVAL_SECONDS) for number in range(count)]
