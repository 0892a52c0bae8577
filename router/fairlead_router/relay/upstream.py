"""The seam between a relayed request and the HTTP client that carries it to an engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class UpstreamError(Exception):
    """An engine failed to answer. The tree below says when.

    UpstreamError
    ├── NotAnsweredError      before the first byte: the request may be sent again
    │   ├── ConnectError          no connection could be opened
    │   └── ClosedError           the connection was closed; `reused` tells a stale one
    └── LostError             inside the answer
    """


class NotAnsweredError(UpstreamError):
    """No byte of an answer arrived."""


class ConnectError(NotAnsweredError):
    """No connection to the engine could be opened."""


class ClosedError(NotAnsweredError):
    """The engine closed the connection before the first byte of its answer."""

    def __init__(self, message: str, *, reused: bool) -> None:
        super().__init__(message)
        self.reused = reused
        """The connection had carried an earlier request, so the engine may just have closed it for idleness."""


class LostError(UpstreamError):
    """The answer broke off, or is not HTTP."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request as it goes to an engine; `path` includes the query."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


class Answer(Protocol):
    """An engine's answer whose head has arrived."""

    @property
    def status(self) -> int: ...  # noqa: D102 - the HTTP status

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...  # noqa: D102 - as the engine sent them

    async def read(self) -> bytes:
        """Wait for the next bytes of the body, at least one; b"" is its proper end.

        Raises
        ------
        LostError
            The connection was lost before the proper end.

        """
        ...

    def close(self) -> None:
        """Give the answer up: an unread rest makes the engine see its client hang up."""
        ...


class Upstream(Protocol):
    """Carries requests to engines; cancelling `send` makes the engine see its client hang up."""

    async def send(
        self, address: str, request: UpstreamRequest, *, connect_seconds: float, fresh: bool = False
    ) -> Answer:
        """Send the request to `host:port` and wait for the head of the answer; `fresh` uses a new connection.

        Raises
        ------
        NotAnsweredError
            No byte of an answer arrived.
        LostError
            What arrived is not HTTP.

        """
        ...
