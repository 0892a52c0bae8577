"""One connection to an engine: a request out, its answer in, then perhaps the next."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol, cast

from fairlead_router.deadlines import NEVER
from fairlead_router.http1.answers import AnswerEvent, AnswerHead, AnswerParser
from fairlead_router.http1.messages import END
from fairlead_router.upstream.errors import ClosedError, LostError, UpstreamError

logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS: Final = 4.0
"""Shorter than the 5 s after which uvicorn, and so vLLM, closes an idle connection."""


class AnswerReceiver(Protocol):
    """Receives one answer: a head, any pieces of a body, then its end or its loss."""

    def answer_head(self, head: AnswerHead) -> None: ...
    def answer_chunk(self, read: bytes) -> bool: ...  # whether it has taken a read that begins between two chunks
    def answer_data(self, data: bytes) -> None: ...
    def answer_end(self) -> None: ...
    def answer_lost(self, error: UpstreamError) -> None: ...
    def answer_fault(self) -> None: ...  # it has raised: a fault of the router itself
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...


class Owner(Protocol):
    """Keeps idle connections."""

    def released(self, connection: "EngineConnection") -> None: ...
    def lost(self, connection: "EngineConnection") -> None: ...


class EngineConnection(asyncio.Protocol):
    """Carries one request at a time."""

    __slots__ = (
        "_heard",
        "_owner",
        "_parser",
        "_paused",
        "_receiver",
        "_sent_whole",
        "_transport",
        "address",
        "deadline",
        "reused",
    )

    def __init__(self, address: str, owner: Owner) -> None:
        self.address = address
        self.reused = False
        """It has carried an earlier request."""
        self.deadline = NEVER
        """While it is idle: when to close it."""
        self._owner = owner
        self._parser = AnswerParser()
        self._receiver: AnswerReceiver | None = None
        self._heard = False
        self._sent_whole = False
        self._paused = False
        self._transport: asyncio.Transport

    @property
    def closing(self) -> bool:
        """Whether it cannot carry a request any more."""
        return self._transport.is_closing()

    def carry(self, request: bytes, receiver: AnswerReceiver, *, whole: bool = True) -> None:
        """Send a request, or unless it is `whole` its beginning, and give its answer to `receiver`."""
        self._receiver = receiver
        self._sent_whole = whole
        self._heard = False
        self.deadline = NEVER
        self._parser.expect()
        self._transport.write(request)

    def send(self, data: bytes) -> None:
        """Send further bytes of the request."""
        self._transport.write(data)

    def sent_whole(self) -> None:
        """Note that the request has been sent to its end."""
        self._sent_whole = True

    def pause(self) -> None:
        """Read no more of the answer."""
        self._paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._transport.resume_reading()

    def abandon(self) -> None:
        """Close it: the engine sees its client hang up, and the receiver hears nothing more."""
        self._receiver = None
        self._transport.abort()

    def expired(self, _now: float) -> None:
        """Close it after too long an idleness."""
        self.abandon()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # as TCP and TLS both are

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self._transport.abort()  # nobody asked
            return
        try:
            if not (self._parser.between_chunks and receiver.answer_chunk(data)):
                self._heard = True
                self._tell(self._parser.feed(data), receiver)
        except Exception:
            _fault_of(receiver)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        receiver, self._receiver = self._receiver, None
        self._owner.lost(self)
        self._parser.close()
        if receiver is None:
            return
        try:
            self._tell([self._loss(exc)], receiver)
        except Exception:
            _fault_of(receiver)

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.pause_sending()

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.resume_sending()

    def _tell(self, events: Sequence[AnswerEvent | UpstreamError], receiver: AnswerReceiver) -> None:
        """Tell the receiver what has happened."""
        for event in events:
            if type(event) is bytes:
                receiver.answer_data(event)
            elif type(event) is AnswerHead:
                receiver.answer_head(event)
            elif event is END:
                self._release(clean=event is events[-1])
                receiver.answer_end()
                return
            else:
                self._lose(event, receiver)
            if self._receiver is not receiver:  # it has given the answer up
                return

    def _lose(self, event: object, receiver: AnswerReceiver) -> None:
        self.abandon()
        if isinstance(event, UpstreamError):
            receiver.answer_lost(event)
        else:
            receiver.answer_lost(LostError(f"{self.address} does not answer in HTTP: {event}"))

    def _loss(self, exc: Exception | None) -> AnswerEvent | UpstreamError:
        """Say what the end of the connection is for the answer: perhaps its proper end."""
        how = exc or "end"
        if not self._heard:
            return ClosedError(f"{self.address} closed the connection: {how}", reused=self.reused)
        if self._parser.eof() is END:
            return END
        return LostError(f"{self.address} closed the connection inside its answer: {how}")

    def _release(self, *, clean: bool) -> None:
        """Let the next request have it, unless there may be bytes left in it, in either direction."""
        self._receiver = None
        rest = not self._sent_whole or self._transport.get_write_buffer_size()
        if clean and self._parser.keep_alive and not rest:
            self.reused = True
            if self._paused:  # by the bytes that came with the end
                self.resume()
            self._owner.released(self)
        else:
            self._transport.abort()


def _fault_of(receiver: AnswerReceiver) -> None:
    """End the one request that a fault of the router was met in."""
    logger.exception("fault while relaying an answer")
    receiver.answer_fault()
