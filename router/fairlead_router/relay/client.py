"""The client's side of a relayed answer: begun at most once, ended exactly once."""

from collections.abc import Awaitable, Callable, Sequence

from fairlead_router.relay.body import Message

Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


class ClientSide:
    """Sends the head with the first bytes of the body, so that before these the status is still open.

    An answer that is never finished makes the server break the connection, and the client sees an incomplete body.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.finished = False

    async def write(self, head: tuple[int, Headers], data: bytes) -> None:
        """Send bytes of the body, after the head if it has not been sent."""
        await self._start(head)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, head: tuple[int, Headers], data: bytes = b"") -> None:
        """Send the last bytes of the body, after the head if it has not been sent."""
        await self._start(head)
        self.finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, head: tuple[int, Headers]) -> None:
        if not self.started:
            self.started = True
            status, headers = head
            await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})
