"""End a relayed request from outside: by a limit on time, by its client's hang-up, by the router's stop.

All of these cancel the same `asyncio.timeout`, and the first one says why. Limits cost one timer per request, not one
per chunk: the timer looks at when the engine was last heard and, if that is recent, sets itself anew. Only waiting
for the engine counts as silence; a client that reads slowly does not.
"""

import asyncio
from types import TracebackType
from typing import Self

from fairlead_router.contract import Reason


class Interrupted(Exception):  # noqa: N818 - not an error of the program
    """The guarded block was ended from outside, for `reason`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Guard:
    """Async context manager around one request; raises `Interrupted` at its end if it was interrupted."""

    def __init__(self, total_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._total_at = self._loop.time() + total_seconds
        self._limit_seconds = total_seconds
        self._limit_reason = Reason.TOTAL_TIMEOUT
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reason: Reason | None = None
        self._open = False

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._open = True
        self._timer = self._loop.call_at(self._total_at, self._check)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            if self._reason is None:
                raise
            raise Interrupted(self._reason) from timeout

    def limit_silence(self, seconds: float, reason: Reason) -> None:
        """From now on interrupt for `reason` when the engine is waited for longer than `seconds`."""
        self._limit_seconds, self._limit_reason = seconds, reason
        self._set_timer()

    def waiting(self) -> None:
        """Note that from now on the engine is waited for."""
        self._waiting_since = self._loop.time()

    def heard(self) -> None:
        """Note that the engine was heard and is not waited for."""
        self._waiting_since = None

    def interrupt(self, reason: Reason) -> None:
        """End the block for `reason`; without effect on a block that has ended or is interrupted already."""
        if self._open and self._reason is None:
            self._reason = reason
            self._scope.reschedule(self._loop.time())

    def _check(self) -> None:
        now = self._loop.time()
        if now >= self._total_at:
            self.interrupt(Reason.TOTAL_TIMEOUT)
        elif self._waiting_since is not None and now >= self._waiting_since + self._limit_seconds:
            self.interrupt(self._limit_reason)
        else:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        since = self._waiting_since if self._waiting_since is not None else self._loop.time()
        self._timer = self._loop.call_at(min(self._total_at, since + self._limit_seconds), self._check)
