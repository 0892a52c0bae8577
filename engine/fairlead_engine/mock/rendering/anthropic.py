"""Bodies of Anthropic's /v1/messages."""

import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from fairlead_engine.mock.bodies.anthropic import MessagesBody
from fairlead_engine.mock.generation import Answer
from fairlead_engine.mock.rendering.writer import Head, Usage, event


class MessagesWriter:
    """One message: a stream of named events, or a whole body."""

    def __init__(
        self, head: Head, _body: MessagesBody, answers: Sequence[Answer], prompt_tokens: Sequence[int]
    ) -> None:
        self._head = head
        self._answer = answers[0]
        self._prompt_tokens = prompt_tokens[0]
        self._call_id = f"toolu_{uuid.uuid4().hex[:24]}"
        kind, name = ("text_delta", "text") if self._answer.tool is None else ("input_json_delta", "partial_json")
        self._before_text = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"%s","%s":'
            % (kind.encode(), name.encode())
        )

    def opening(self) -> bytes:
        """Return the events that open the message and its one block."""
        usage = {"input_tokens": self._prompt_tokens, "output_tokens": 0}
        message = self._message([]) | {"stop_reason": None, "stop_sequence": None, "usage": usage}
        start = {"type": "content_block_start", "index": 0, "content_block": self._block("", {})}
        return event("message_start", {"type": "message_start", "message": message}) + event(
            "content_block_start", start
        )

    def token(self, _choice: int, text: str, _sent_tokens: int) -> bytes:
        """Return the event of one token."""
        return self._before_text + orjson.dumps(text) + b"}}\n\n"

    def closing(self, usage: Usage) -> bytes:
        """Return the events that close the block and the message."""
        delta = {"stop_reason": self._stop_reason, "stop_sequence": self._answer.stop_reason}
        return b"".join(
            (
                event("content_block_stop", {"type": "content_block_stop", "index": 0}),
                event("message_delta", {"type": "message_delta", "delta": delta, "usage": _usage(usage)}),
                event("message_stop", {"type": "message_stop"}),
            )
        )

    def whole(self, usage: Usage) -> bytes:
        """Return the body of a message that is not streamed."""
        text = self._answer.text()
        block = self._block(text, _as_object(text) if self._answer.tool else {})
        ended = {"stop_reason": self._stop_reason, "stop_sequence": self._answer.stop_reason, "usage": _usage(usage)}
        return orjson.dumps(self._message([block]) | ended)

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        fixed = {"id": self._head.response_id, "type": "message", "role": "assistant"}
        return {**fixed, "model": self._head.model, "content": content}

    def _block(self, text: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._answer.tool is None:
            return {"type": "text", "text": text}
        return {"type": "tool_use", "id": self._call_id, "name": self._answer.tool, "input": arguments}

    @property
    def _stop_reason(self) -> str:
        if self._answer.finish_reason == "length":
            return "max_tokens"
        if self._answer.tool is not None:
            return "tool_use"
        return "end_turn" if self._answer.stop_reason is None else "stop_sequence"


def _as_object(arguments: str) -> dict[str, Any]:
    """Return a call's arguments; none where `max_tokens` cut them."""
    try:
        document = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _usage(usage: Usage) -> dict[str, int]:
    """Return `usage`: Anthropic counts cached tokens apart from the others."""
    if usage.cached_tokens is None:
        return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
    }
