"""Watch a stream of server-sent events as it passes, without changing a byte.

The relay forwards whole events only: an event cut off at the end of a read waits for the rest of it. So whenever an
engine is lost, what the client has received ends between two events, and an error event can follow it. Clients lose
nothing by the wait, because nobody can use half an event.

Event format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""An event that is longer is not an engine's token chunk; holding it back would only cost memory."""

_EVENT_END = re.compile(rb"\n\r?\n|\r\r")
_TOKEN_FIELDS = ("content", "reasoning_content", "reasoning", "tool_calls", "function_call", "refusal")


class EventTooLargeError(Exception):
    """An event is longer than `MAX_EVENT_BYTES`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the engine reports them."""

    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Observed:
    """Bytes of whole events to pass on, and how many of these events carry tokens."""

    whole: bytes
    token_chunks: int


class SseObserver:
    """Incremental: feed it every read in order; it keeps at most one incomplete event."""

    def __init__(self) -> None:
        self.done = False
        """`[DONE]` was seen."""
        self.finished = False
        """A `finish_reason` was seen."""
        self.failed = False
        """The engine itself reported an error inside the stream."""
        self.usage: Usage | None = None
        """The last usage that the engine reported."""
        self._tail = b""

    @property
    def complete(self) -> bool:
        """Whether the answer may end here, provided that the engine ended it properly."""
        return self.done or self.finished or self.failed

    def feed(self, data: bytes) -> Observed:
        """Take the bytes of one read.

        Raises
        ------
        EventTooLargeError
            An event does not end within `MAX_EVENT_BYTES`.

        """
        scanned = max(0, len(self._tail) - 2)  # an end of event may straddle the two reads
        data = self._tail + data if self._tail else data
        token_chunks = start = 0
        for match in _EVENT_END.finditer(data, scanned):
            token_chunks += self._observe(data[start : match.start()])
            start = match.end()
        self._tail = data[start:]
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return Observed(data[:start], token_chunks)

    def flush(self) -> Observed:
        """Take the end of the body: an event without its blank line is passed on only if the answer is complete."""
        tail, self._tail = self._tail, b""
        token_chunks = self._observe(tail)
        return Observed(tail if self.complete else b"", token_chunks)

    def _observe(self, event: bytes) -> bool:
        """Read one event; says whether it carries tokens."""
        data = _data_of(event)
        if not data:
            return False
        if data == b"[DONE]":
            self.done = True
            return False
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False  # not for us to judge: the client gets it as it is
        if not isinstance(chunk, dict):
            return False
        self.failed = self.failed or chunk.get("error") is not None
        self.usage = usage_of(chunk) or self.usage
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return False
        choices = [choice for choice in choices if isinstance(choice, dict)]
        self.finished = self.finished or any(choice.get("finish_reason") for choice in choices)
        return any(_carries_tokens(choice) for choice in choices)


def usage_of(answer: dict[str, Any]) -> Usage | None:
    """Read the `usage` of an answer or a chunk, if it has one that makes sense."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt_tokens, output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not (_is_count(prompt_tokens) and _is_count(output_tokens)):
        return None
    return Usage(prompt_tokens, output_tokens)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _carries_tokens(choice: dict[str, Any]) -> bool:
    """Whether a choice has text, reasoning or a tool call; the first chat chunk has a role and no content."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return any(delta.get(field) for field in _TOKEN_FIELDS)
    return bool(choice.get("text"))


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
