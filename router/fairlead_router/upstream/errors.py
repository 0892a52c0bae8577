"""How an engine can fail to answer."""


class UpstreamError(Exception):
    """An engine failed to answer. The tree below says when.

    UpstreamError
    ├── NotAnsweredError      before the first byte: the request may be sent again
    │   ├── ConnectError          no connection could be opened
    │   └── ClosedError           the connection was closed; `reused` tells a stale one
    └── LostError             inside the answer, or what arrived is not HTTP
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
