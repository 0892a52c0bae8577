"""Relay one engine's answer, streamed or whole, and learn from it what there is to learn."""

from typing import Final, Protocol

from fairlead_router.contract import Reason
from fairlead_router.decisions.types import Usage
from fairlead_router.edge.response import Response
from fairlead_router.errors import RequestError
from fairlead_router.http1.answers import AnswerHead
from fairlead_router.relay.dialects import Dialect
from fairlead_router.relay.sse import SseObserver
from fairlead_router.relay.usage import MAX_READ_BYTES, usage_in
from fairlead_router.upstream.errors import LostError

_EVENT_STREAM: Final = b"text/event-stream"
_TYPE_ENDS: Final = (b"", b";", b" ")


class TokenClock(Protocol):
    """Is told when chunks that carry tokens arrive."""

    def tokens(self, chunks: int) -> float:
        """Note `chunks` that arrived now and together, at least one; returns the time."""
        ...


class Relayed(Protocol):
    """An answer on its way to the client."""

    @property
    def usage(self) -> Usage | None:
        """Token counts that the engine reported, once it has."""
        ...

    @property
    def heard_at(self) -> float:
        """Seconds of the clock when the last token came past `data`; 0 before."""
        ...

    def data(self, data: bytes) -> None:
        """Relay the bytes of one read."""
        ...

    def end(self) -> Reason:
        """End the answer as the engine has ended it; says how it went.

        Raises
        ------
        LostError
            The engine has ended its answer too early.

        """
        ...

    def break_off(self, error: RequestError) -> Reason | None:
        """End an answer that has begun and cannot go on; a reason says that it is complete all the same."""
        ...


def is_stream(head: AnswerHead) -> bool:
    """Whether the engine answers with server-sent events."""
    content_type = head.first.get(b"content-type", b"")
    return head.status < 300 and content_type[:17].lower() == _EVENT_STREAM and content_type[17:18] in _TYPE_ENDS


class Stream:
    """A stream of server-sent events: relayed event by event."""

    __slots__ = ("_clock", "_errors", "_lines", "_observer", "_response", "_status", "_takes_chunks", "heard_at")

    def __init__(self, head: AnswerHead, response: Response, lines: bytes, dialect: Dialect, clock: TokenClock) -> None:
        self._status = head.status
        self._response = response
        self._lines = lines
        self._errors = dialect.errors
        self._clock = clock
        self._observer = SseObserver(dialect)
        self._takes_chunks = False
        self.heard_at = 0.0

    @property
    def usage(self) -> Usage | None:
        """The last usage that the engine reported."""
        return self._observer.usage

    def chunk(self, read: bytes) -> bool:
        """Relay a read that has begun between two chunks, if it is one chunk with one more token; else leave it.

        That is what nearly every read is. It is passed on as it is: taken out of its frame it would get the same one.
        """
        if not (self._takes_chunks and self._observer.repeats_in_chunk(read)):
            return False
        self._response.write_chunk(read)
        self.heard_at = self._clock.tokens(1)
        return True

    def data(self, data: bytes) -> None:
        """Relay whole events, as `Relayed.data` promises."""
        events, with_tokens = self._observer.feed(data)
        if with_tokens:
            self._clock.tokens(with_tokens)
        if events:
            if not self._response.started:
                self._start()
            self._response.write(events)
            self._takes_chunks = self._response.takes_chunks

    def end(self) -> Reason:
        """End the stream, as `Relayed.end` promises."""
        rest, with_tokens = self._observer.flush()
        if with_tokens:
            self._clock.tokens(with_tokens)
        if not self._observer.complete:
            raise LostError("the stream ended without saying that it is complete")
        if not self._response.started:
            self._start()
        self._response.end(rest)
        return Reason.ENGINE_ERROR if self._observer.failed else Reason.COMPLETED

    def break_off(self, error: RequestError) -> Reason | None:
        """End the body with an error event, between two events; after [DONE] nothing is missing."""
        done = self._observer.done
        self._response.end(b"" if done else error.event(self._errors))
        return Reason.COMPLETED if done else None

    def _start(self) -> None:
        # Without the length that an engine may have announced: it would forbid the event that tells of its loss.
        self._response.start(self._status, self._lines)


class Whole:
    """An answer that is not streamed, or an error: relayed as it comes."""

    heard_at = 0.0
    __slots__ = ("_length", "_lines", "_response", "_seen", "_seen_bytes", "_status", "usage")

    def __init__(self, head: AnswerHead, response: Response, lines: bytes) -> None:
        self.usage: Usage | None = None
        """The usage in the answer, once it has been relayed."""
        self._status = head.status
        self._length = head.length
        self._response = response
        self._lines = lines
        self._seen: list[bytes] = []
        self._seen_bytes = 0

    def data(self, data: bytes) -> None:
        """Relay read by read, as `Relayed.data` promises."""
        self._seen_bytes += len(data)
        if self._seen_bytes > MAX_READ_BYTES + len(data) and len(self._seen) > 1:
            del self._seen[:-1]  # only the end of a large answer is looked at
        self._seen.append(data)
        self._start_if_needed()
        self._response.write(data)

    def end(self) -> Reason:
        """End the answer, as `Relayed.end` promises."""
        self._start_if_needed()
        self._response.end()
        if self._status >= 300:
            return Reason.ENGINE_ERROR
        self.usage = usage_in(b"".join(self._seen), whole=self._seen_bytes <= MAX_READ_BYTES)
        return Reason.COMPLETED

    def break_off(self, _error: RequestError) -> Reason | None:
        """Leave the body unfinished: the connection breaks, and the client cannot take a part for the whole."""
        self._response.abort()
        return None

    def _start_if_needed(self) -> None:
        if not self._response.started:
            self._response.start(self._status, self._lines, length=self._length)
