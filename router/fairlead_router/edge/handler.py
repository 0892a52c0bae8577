"""The seam between a client's connection and what carries out its requests."""

from typing import Protocol

from fairlead_router.errors import RequestError


class Handler(Protocol):
    """Carries out one request; never called after its answer has ended or after `client_gone`."""

    def body(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        ...

    def body_end(self) -> None:
        """Note that the request is complete."""
        ...

    def fail(self, error: RequestError) -> None:
        """End the request with an error that its connection found: answer with it, or break the connection."""
        ...

    def pause(self) -> None:
        """Hold back further bytes of the answer: the client takes none."""
        ...

    def resume(self) -> None:
        """Go on: the client takes bytes again."""
        ...

    def client_gone(self) -> None:
        """Note that the client has hung up before the end of the answer."""
        ...
