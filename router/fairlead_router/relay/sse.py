"""Watch a stream of server-sent events as it passes, without changing a byte.

The relay forwards whole events only: an event cut off at the end of a read waits for the rest of it. So whenever an
engine is lost, what the client has received ends between two events, and an error event can follow it. Clients lose
nothing by the wait, because nobody can use half an event.

Event format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from typing import Final

import orjson

from fairlead_router.relay.dialects import NOTHING, TOKENS, Dialect, Says
from fairlead_router.relay.usage import Usage, usage_of

MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
"""An event that is longer is not an engine's token chunk; holding it back would only cost memory."""

_EVENT_END: Final = re.compile(rb"\n\r?\n|\r\r")
_END: Final = int(Says.END)
_FAILED: Final = int(Says.FAILED)


class EventTooLargeError(Exception):
    """An event is longer than `MAX_EVENT_BYTES`."""


class SseObserver:
    """Incremental: feed it every read in order; it keeps at most one incomplete event."""

    __slots__ = ("_glance", "_read", "_said", "_says_end", "_tail", "done", "usage")

    def __init__(self, dialect: Dialect) -> None:
        self._read = dialect.read
        self._glance = dialect.glance
        self._says_end = dialect.says_end
        self._said = NOTHING
        self._tail = b""
        self.done = False
        """`[DONE]` was seen."""
        self.usage: Usage | None = None
        """The last usage that the engine reported."""

    @property
    def complete(self) -> bool:
        """Whether the answer may end here, provided that the engine ended it properly."""
        return self.done or not self._says_end or self._said & (_END | _FAILED) != 0

    @property
    def failed(self) -> bool:
        """Whether the engine itself reported an error inside the stream."""
        return self._said & _FAILED != 0

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Take the bytes of one read; returns whole events to pass on, and how many of them carry tokens.

        Raises
        ------
        EventTooLargeError
            An event does not end within `MAX_EVENT_BYTES`.

        """
        if (
            data[:6] == b"data: "
            and data[-2:] == b"\n\n"
            and not self._tail
            and data.count(b"\n") == 2
            and b"\r" not in data
        ):
            return data, self._observe(data[6:-2])  # one event, one read: nearly always
        scanned = max(0, len(self._tail) - 2)  # an end of event may straddle the two reads
        data = self._tail + data if self._tail else data
        token_events = start = 0
        for match in _EVENT_END.finditer(data, scanned):
            token_events += self._observe(_data_of(data[start : match.start()]))
            start = match.end()
        self._tail = data[start:]
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return data[:start], token_events

    def flush(self) -> tuple[bytes, int]:
        """Take the end of the body: an event without its blank line is passed on only if the answer is complete."""
        tail, self._tail = self._tail, b""
        token_events = self._observe(_data_of(tail))
        return (tail if self.complete else b""), token_events

    def _observe(self, data: bytes) -> int:
        """Read the data of one event; says whether it carries tokens, as 1 or 0."""
        said = self._glance(data)
        if said is not None:
            self._said |= said
            return said & TOKENS
        if not data:
            return 0
        if data == b"[DONE]":
            self.done = True
            return 0
        try:
            content = orjson.loads(data)
        except orjson.JSONDecodeError:
            return 0  # not for us to judge: the client gets it as it is
        if not isinstance(content, dict):
            return 0
        if b'"usage"' in data:
            self.usage = usage_of(content, self.usage)
        said = self._read(content)
        self._said |= said
        return said & TOKENS


def _data_of(event: bytes) -> bytes:
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
