"""Bodies of OpenAI's /v1/responses."""

import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from fairlead_engine.mock.bodies.responses import ResponsesBody
from fairlead_engine.mock.generation import Answer
from fairlead_engine.mock.rendering.writer import Head, Usage, answer_logprobs, event, token_logprobs


class ResponsesWriter:
    """One response with one output item, a message or a function call: a stream of numbered events, or a whole body."""

    def __init__(
        self, head: Head, body: ResponsesBody, answers: Sequence[Answer], _prompt_tokens: Sequence[int]
    ) -> None:
        self._head = head
        self._body = body
        self._answer = answers[0]
        self._is_call = self._answer.tool is not None
        self._item_id = f"{'fc' if self._is_call else 'msg'}_{uuid.uuid4().hex[:16]}"
        self._call_id = f"call_{uuid.uuid4().hex[:16]}"
        self._pieces = self._answer.pieces()
        self._sent_events = 0
        self._delta_event = "response.function_call_arguments.delta" if self._is_call else "response.output_text.delta"

    def opening(self) -> bytes:
        """Return the events that open the response, its item and its part."""
        response = self._response("in_progress", None)
        events = [
            self._event("response.created", {"response": response}),
            self._event("response.in_progress", {"response": response}),
            self._event("response.output_item.added", {"output_index": 0, "item": self._item("in_progress", None)}),
        ]
        if not self._is_call:
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            events.append(self._event("response.content_part.added", self._place() | {"part": part}))
        return b"".join(events)

    def token(self, _choice: int, text: str, _sent_tokens: int) -> bytes:
        """Return the event of one token."""
        fields: dict[str, Any] = self._place() | {"delta": text}
        if not self._is_call:
            fields["logprobs"] = self._token_logprobs()
        return self._event(self._delta_event, fields)

    def closing(self, usage: Usage) -> bytes:
        """Return the events that close part, item and response."""
        text = self._answer.text()
        if self._is_call:
            done = {"arguments": text, "name": self._answer.tool}
            events = [self._event("response.function_call_arguments.done", self._place() | done)]
        else:
            events = [
                self._event("response.output_text.done", self._place() | {"text": text, "logprobs": []}),
                self._event("response.content_part.done", self._place() | {"part": self._part(text)}),
            ]
        item = self._item("completed", text)
        events.append(self._event("response.output_item.done", {"output_index": 0, "item": item}))
        # As vLLM: "completed" also where the answer was cut; its status says "incomplete".
        events.append(self._event("response.completed", {"response": self._response(self._status, usage)}))
        return b"".join(events)

    def whole(self, usage: Usage) -> bytes:
        """Return the body of a response that is not streamed."""
        return orjson.dumps(self._response(self._status, usage))

    @property
    def _status(self) -> str:
        return "incomplete" if self._answer.finish_reason == "length" else "completed"

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        number = self._sent_events
        self._sent_events += 1
        return event(name, {"type": name, "sequence_number": number, **fields})

    def _place(self) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self._item_id, "output_index": 0}
        return place if self._is_call else place | {"content_index": 0}

    def _token_logprobs(self) -> list[dict[str, Any]]:
        top = self._body.alternatives
        return [] if top is None else [token_logprobs(next(self._pieces), top)]

    def _part(self, text: str) -> dict[str, Any]:
        top = self._body.alternatives
        logprobs = None if top is None else answer_logprobs(self._answer, top)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def _item(self, status: str, text: str | None) -> dict[str, Any]:
        if self._is_call:
            call = {"call_id": self._call_id, "name": self._answer.tool, "arguments": text or ""}
            return {"id": self._item_id, "type": "function_call", "status": status, **call}
        content = [] if text is None else [self._part(text)]
        return {"id": self._item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _response(self, status: str, usage: Usage | None) -> dict[str, Any]:
        """Return the response as it is: without output and usage as long as `usage` is not known."""
        body = self._body
        is_cut = usage is not None and self._answer.finish_reason == "length"
        return {
            "id": self._head.response_id,
            "object": "response",
            "created_at": self._head.created_unix_seconds,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "error": None,
            "instructions": body.instructions,
            "metadata": body.metadata,
            "model": self._head.model,
            "output": [] if usage is None else [self._item("completed", self._answer.text())],
            "parallel_tool_calls": True,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "tool_choice": body.tool_choice or ("auto" if body.tools else "none"),
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "background": False,
            "max_output_tokens": body.max_output_tokens,
            "previous_response_id": None,
            "service_tier": "auto",
            "text": None,
            "top_logprobs": body.top_logprobs,
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
            "user": body.user,
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
