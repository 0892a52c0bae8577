"""Watch a stream of server-sent events as it passes, without changing a byte.

The relay forwards whole events only: an event cut off at the end of a read waits for the rest of it. So whenever an
engine is lost, what the client has received ends between two events, and an error event can follow it. Clients lose
nothing by the wait, because nobody can use half an event.

Most events of a stream differ from the one before in the text of one string only. Such a one says the same as the one
before, and is not read again: to see that it is one takes a tenth of the time that reading it takes, and there is one
for every token of every stream.

Event format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from typing import Final

import orjson

from fairlead_router.decisions.types import Usage
from fairlead_router.http1.chunks import SMALL, SMALL_BEGIN_WITH, SMALL_DATA_AT
from fairlead_router.relay.dialects import NOTHING, TOKENS, Dialect, Says
from fairlead_router.relay.usage import usage_of

MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
"""An event that is longer is not an engine's token chunk; holding it back would only cost memory."""

_TEXT_OF: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)": ?"')
"""Where the text of a token begins. Inside of a string its quotes would be escaped, so that this is always a key."""
_TEXT: Final = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])++')
"""The inside of a JSON string that is not empty."""
_EVENT_END: Final = re.compile(rb"\n\r?\n|\r\r")
_END: Final = int(Says.END)
_FAILED: Final = int(Says.FAILED)


class EventTooLargeError(Exception):
    """An event is longer than `MAX_EVENT_BYTES`."""


class SseObserver:
    """Incremental: feed it every read in order; it keeps at most one incomplete event."""

    __slots__ = (
        "_after", "_after_bytes", "_before", "_before_bytes", "_chunk_after", "_read", "_said", "_says_end", "_tail",
        "done", "usage",
    )  # fmt: skip

    def __init__(self, dialect: Dialect) -> None:
        self._read = dialect.read
        self._says_end = dialect.says_end
        self._said = NOTHING
        self._tail = b""
        self._before: bytes | tuple[()] = ()
        """What stood before the text of the last event that was read, where it was a token's; `()` begins nothing."""
        self._after = b""
        self._chunk_after = b"\r\n"
        """What stood behind the text; and the same behind a chunk that is that event."""
        self._before_bytes = self._after_bytes = 0
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

    def repeats_in_chunk(self, read: bytes) -> bool:
        """Whether a read that begins between two chunks is one small chunk, and that an event like the last one read.

        Like: it differs in its text only. So it carries tokens, and says nothing else that is new.
        """
        length = len(read)
        if length >= SMALL or not read.startswith(SMALL_BEGIN_WITH[length]):
            return False
        data_at = SMALL_DATA_AT[length]
        return (
            read.startswith(self._before, data_at)
            and read.endswith(self._chunk_after)
            and _TEXT.fullmatch(read, data_at + self._before_bytes, length - 2 - self._after_bytes) is not None
        )

    def _repeats_until(self, data: bytes, start: int) -> int:
        """Return the end of an event that begins at `start` and is like the last one read, or 0."""
        if not data.startswith(self._before, start):
            return 0
        text = _TEXT.match(data, start + self._before_bytes)
        if text is None or not data.startswith(self._after, end := text.end()):
            return 0
        return end + self._after_bytes

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Take the bytes of one read; returns whole events to pass on, and how many of them carry tokens.

        Raises
        ------
        EventTooLargeError
            An event does not end within `MAX_EVENT_BYTES`.

        """
        token_events = start = 0
        while (end := self._repeats_until(data, start)) > 0:
            token_events += 1
            start = end
        if start == len(data):
            return data, token_events
        scanned = max(start, len(self._tail) - 2)  # an end of event may straddle the two reads
        data = self._tail + data if self._tail else data
        for end in _ends_of_events(data, scanned):
            token_events += self._observe(data[start:end])
            start = end
        self._tail = data[start:]
        if self._tail:
            self._before = ()  # what comes next is not the beginning of an event
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return data[:start], token_events

    def flush(self) -> tuple[bytes, int]:
        """Take the end of the body: an event without its blank line is passed on only if the answer is complete."""
        tail, self._tail = self._tail, b""
        token_events = self._observe(tail)
        return (tail if self.complete else b""), token_events

    def _observe(self, event: bytes) -> int:
        """Read one event; says whether it carries tokens, as 1 or 0."""
        self._before = ()
        data = _data_of(event)
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
        if said == TOKENS:
            self._learn(event)
        return said & TOKENS

    def _learn(self, event: bytes) -> None:
        """Note what stands around the text of an event, unless it is not clear which text that is."""
        texts = list(_TEXT_OF.finditer(event))
        text = _TEXT.match(event, texts[0].end()) if len(texts) == 1 else None
        if text is not None:
            self._before, self._after = event[: text.start()], event[text.end() :]
            self._chunk_after = self._after + b"\r\n"
            self._before_bytes, self._after_bytes = text.start(), len(self._after)


def _ends_of_events(data: bytes, start: int) -> list[int]:
    """Return where events end, as looked for from `start` on."""
    if b"\r" in data:
        return [match.end() for match in _EVENT_END.finditer(data, start)]
    ends = []
    while (end := data.find(b"\n\n", start)) >= 0:  # nearly always; takes a tenth of the time
        start = end + 2
        ends.append(start)
    return ends


def _data_of(event: bytes) -> bytes:
    if (
        event.startswith(b"data: ")
        and event.find(b"\n\n") == event.find(b"\n") == len(event) - 2
        and b"\r" not in event
    ):
        return event[6:-2]  # nearly always
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
