"""Deadlines of many things by one timer.

A timer per connection, per request and per token would cost more than the rest of their work. Here each thing holds its
own deadline as a plain number that costs nothing to move, and one sweep looks at all of them every quarter of a
second, which is how much later than asked a deadline may take effect.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 0.25
_AT_A_TIME: Final = 2000
"""Members looked at before other work gets its turn: about 0.1 ms."""

NEVER: Final = math.inf


class Timed(Protocol):
    """Something with a deadline, in seconds of the event loop's clock."""

    deadline: float

    def expired(self, now: float) -> None:
        """Act on the deadline; called again with every sweep until it is moved or the thing is removed."""
        ...


class Deadlines:
    """Everything of one event loop that has a deadline."""

    def __init__(self) -> None:
        self.now = time.monotonic()  # the clock of asyncio and of uvloop
        """Seconds of the loop's clock at the last sweep: late by up to a sweep, and free."""
        self._members: set[Timed] = set()
        self.add = self._members.add
        self.discard = self._members.discard

    async def run(self) -> None:
        """Sweep for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.now = loop.time()
            members = iter(tuple(self._members))
            while self._sweep(members, loop.time()):  # noqa: ASYNC110 - to let others run, not to wait
                await asyncio.sleep(0)

    def _sweep(self, members: Iterator[Timed], now: float) -> int:
        looked_at = 0
        for member in islice(members, _AT_A_TIME):
            looked_at += 1
            if member.deadline <= now and member in self._members:
                self._expire(member, now)
        return looked_at

    def _expire(self, member: Timed, now: float) -> None:
        try:
            member.expired(now)
        except Exception:  # a fault in one must not take their deadlines from all others
            logger.exception("fault while acting on a deadline")
            self._members.discard(member)
