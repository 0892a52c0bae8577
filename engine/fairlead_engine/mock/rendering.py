"""Response bodies in vLLM's shapes.

A stream renders what its chunks share once per request; a token then costs one JSON string and a join.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from fairlead_engine.mock.generation import Answer

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class _Shape:
    """What differs between the two APIs."""

    id_prefix: str
    object_name: str
    chunk_object_name: str
    before_text: bytes
    after_text: bytes
    after_finish: bytes
    stop_reason_always: bool


class Api(Enum):
    """The two generating APIs."""

    CHAT = _Shape(
        id_prefix="chatcmpl-",
        object_name="chat.completion",
        chunk_object_name="chat.completion.chunk",
        before_text=b',"delta":{"content":',
        after_text=b'},"logprobs":null,"finish_reason":',
        after_finish=b',"token_ids":null}]',
        stop_reason_always=False,
    )
    COMPLETION = _Shape(
        id_prefix="cmpl-",
        object_name="text_completion",
        chunk_object_name="text_completion",
        before_text=b',"text":',
        after_text=b',"logprobs":null,"finish_reason":',
        after_finish=b',"prompt_token_ids":null,"token_ids":null}]',
        stop_reason_always=True,
    )


@dataclass(frozen=True, slots=True)
class Head:
    """What every body of one answer carries."""

    response_id: str
    created_unix_seconds: int
    model: str


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return the `usage` object."""
    total_tokens = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "total_tokens": total_tokens, "completion_tokens": completion_tokens}


class Stream:
    """The chunks of one streamed answer."""

    def __init__(self, api: Api, head: Head, *, continuous_usage: bool) -> None:
        self._shape = api.value
        self._continuous_usage = continuous_usage
        shared = orjson.dumps(
            {
                "id": head.response_id,
                "object": self._shape.chunk_object_name,
                "created": head.created_unix_seconds,
                "model": head.model,
            }
        )
        self._open = b"data: " + shared[:-1] + b',"choices":['
        self._unfinished = b'null,"stop_reason":null' if self._shape.stop_reason_always else b"null"

    def role(self, choice: int, *, prompt_tokens: int) -> bytes:
        """Return the chunk that opens a choice of a chat."""
        body = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]' % choice
        return self._open + body + self._usage(prompt_tokens, 0) + b"}\n\n"

    def token(self, choice: int, text: str, *, end: Answer | None, prompt_tokens: int, completion_tokens: int) -> bytes:
        """Return the chunk of one token; `end` is the answer that it finishes."""
        finish = self._unfinished
        if end is not None:
            finish = b'"%s","stop_reason":%s' % (end.finish_reason.encode(), orjson.dumps(end.stop_reason))
        shape = self._shape
        return b"".join(
            (
                self._open,
                b'{"index":%d' % choice,
                shape.before_text,
                orjson.dumps(text),
                shape.after_text,
                finish,
                shape.after_finish,
                self._usage(prompt_tokens, completion_tokens) if self._continuous_usage else b"",
                b"}\n\n",
            )
        )

    def final_usage(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """Return the chunk without choices that `stream_options.include_usage` asks for."""
        return self._open + b'],"usage":' + orjson.dumps(usage(prompt_tokens, completion_tokens)) + b"}\n\n"

    def _usage(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        if not self._continuous_usage:
            return b""
        return b',"usage":' + orjson.dumps(usage(prompt_tokens, completion_tokens))


def whole(api: Api, head: Head, answers: list[Answer], *, prompt_tokens: int) -> bytes:
    """Return the body of an answer that is not streamed."""
    completion_tokens = sum(answer.tokens for answer in answers)
    return orjson.dumps(
        {
            "id": head.response_id,
            "object": api.value.object_name,
            "created": head.created_unix_seconds,
            "model": head.model,
            "choices": [_choice(api, index, answer) for index, answer in enumerate(answers)],
            "usage": usage(prompt_tokens, completion_tokens),
        }
    )


def _choice(api: Api, index: int, answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = (
        {"message": {"role": "assistant", "content": answer.text()}} if api is Api.CHAT else {"text": answer.text()}
    )
    return {
        "index": index,
        **content,
        "logprobs": None,
        "finish_reason": answer.finish_reason,
        "stop_reason": answer.stop_reason,
    }
