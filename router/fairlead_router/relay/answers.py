"""Relay one engine's answer, streamed or whole, and learn from it what there is to learn."""

from typing import Protocol

import orjson

from fairlead_router.contract import Reason
from fairlead_router.relay.client import ClientSide, Headers
from fairlead_router.relay.guard import Guard
from fairlead_router.relay.headers import find
from fairlead_router.relay.sse import Observed, SseObserver, Usage, usage_of
from fairlead_router.relay.upstream import Answer, LostError

MAX_PARSED_BYTES = 4 * 1024 * 1024
"""An answer that is not streamed is read for its `usage` up to this size."""


class TokenClock(Protocol):
    """Is told when chunks that carry tokens arrive."""

    def tokens(self, chunks: int) -> None:
        """Note `chunks` that arrived now and together; at least one."""
        ...


class Relayed(Protocol):
    """An answer on its way to the client."""

    @property
    def usage(self) -> Usage | None:
        """Token counts that the engine reported, once it has."""
        ...

    async def relay(self, first: bytes, guard: Guard) -> Reason:
        """Relay to the proper end, `first` being the first read; says how the answer ended.

        Raises
        ------
        LostError
            The engine was lost before the end of its answer.

        """
        ...

    async def break_off(self, event: bytes) -> Reason | None:
        """End an answer that has begun and cannot go on; a reason says that it is complete all the same."""
        ...


def is_stream(answer: Answer) -> bool:
    """Whether the engine answers with server-sent events."""
    content_type = find([(name.lower(), value) for name, value in answer.headers], "content-type") or b""
    return answer.status < 300 and content_type.split(b";")[0].strip().lower() == b"text/event-stream"


class Stream:
    """A stream of server-sent events."""

    def __init__(self, answer: Answer, client: ClientSide, headers: Headers, clock: TokenClock) -> None:
        self._answer = answer
        self._client = client
        # The length that an engine may have announced would forbid the event that tells of its loss.
        self._head = (answer.status, [header for header in headers if header[0] != b"content-length"])
        self._clock = clock
        self._observer = SseObserver()

    @property
    def usage(self) -> Usage | None:
        """The last usage that the engine reported."""
        return self._observer.usage

    async def relay(self, first: bytes, guard: Guard) -> Reason:
        """Relay event by event, as `Relayed.relay` promises."""
        data = first
        while data:
            observed = self._observed(self._observer.feed(data))
            if observed.whole:
                await self._client.write(self._head, observed.whole)
            guard.waiting()
            data = await self._answer.read()
            guard.heard()
        rest = self._observed(self._observer.flush())
        if not self._observer.complete:
            raise LostError("the stream ended without [DONE] and without a finish_reason")
        await self._client.finish(self._head, rest.whole)
        return Reason.ENGINE_ERROR if self._observer.failed else Reason.COMPLETED

    async def break_off(self, event: bytes) -> Reason | None:
        """End the body with `event`, between two events; after [DONE] nothing is missing."""
        done = self._observer.done
        await self._client.finish(self._head, b"" if done else event)
        return Reason.COMPLETED if done else None

    def _observed(self, observed: Observed) -> Observed:
        if observed.token_chunks:
            self._clock.tokens(observed.token_chunks)
        return observed


class Whole:
    """An answer that is not streamed, or an error: relayed as it comes."""

    def __init__(self, answer: Answer, client: ClientSide, headers: Headers) -> None:
        self._usage: Usage | None = None
        self._answer = answer
        self._client = client
        self._head = (answer.status, headers)

    @property
    def usage(self) -> Usage | None:
        """The usage in the answer, once it has been relayed."""
        return self._usage

    async def relay(self, first: bytes, guard: Guard) -> Reason:
        """Relay read by read, as `Relayed.relay` promises."""
        data = first
        seen: list[bytes] = []
        seen_bytes = 0
        while data:
            seen_bytes += len(data)
            if seen_bytes <= MAX_PARSED_BYTES:
                seen.append(data)
            await self._client.write(self._head, data)
            guard.waiting()
            data = await self._answer.read()
            guard.heard()
        await self._client.finish(self._head)
        if self._answer.status >= 300:
            return Reason.ENGINE_ERROR
        if seen_bytes <= MAX_PARSED_BYTES:
            self._usage = _usage_in(b"".join(seen))
        return Reason.COMPLETED

    async def break_off(self, _event: bytes) -> Reason | None:
        """Leave the body unfinished: the connection breaks, and the client cannot take a part for the whole."""
        return None


def _usage_in(body: bytes) -> Usage | None:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return usage_of(answer) if isinstance(answer, dict) else None
