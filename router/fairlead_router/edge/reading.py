"""Read a client's connection or let it wait, and notice even then that the client has hung up.

A connection is not read while its client is held back: its body cannot be passed on, or it has sent requests ahead. An
event loop tells of a connection's end only to who reads it, and whoever waits for nothing must not hold a GPU. So
while it is not read, the kernel is asked for the connection's state, once a second.
"""

import asyncio
import socket
from typing import Final

from fairlead_router.deadlines import NEVER, Deadlines

LOOK_SECONDS: Final = 1.0
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
"""Of Linux. Elsewhere the hang-up of a client that is held back is noticed when it is read again."""
_HUNG_UP: Final = frozenset({7, 8})
"""`TCP_CLOSE` (broken by the client) and `TCP_CLOSE_WAIT` (closed or half-closed by it), as in linux/tcp_states.h."""


class Reading:
    """Of one connection."""

    __slots__ = ("_deadlines", "_loop", "_transport", "deadline", "paused")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        self._transport = transport
        self._loop = loop
        self._deadlines = deadlines
        self.paused = False
        self.deadline = NEVER
        """While it is paused: when to look after the client."""

    def pause(self) -> None:
        """Read no more for now."""
        if not self.paused:
            self.paused = True
            self._transport.pause_reading()
            self.deadline = self._loop.time() + LOOK_SECONDS
            self._deadlines.add(self)

    def resume(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            self._deadlines.discard(self)
            self._transport.resume_reading()

    def end(self) -> None:
        """Look no more: the connection is gone."""
        self._deadlines.discard(self)

    def expired(self, now: float) -> None:
        """Break the connection if its client has hung up."""
        self.deadline = now + LOOK_SECONDS
        if not self._transport.is_closing() and _has_hung_up(self._transport):
            self._transport.abort()


def _has_hung_up(transport: asyncio.Transport) -> bool:
    if _TCP_INFO is None:
        return False
    state: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
    return state[0] in _HUNG_UP
