"""Bodies of /v1/chat/completions and /v1/completions.

A stream renders what its chunks share once per request; a token then costs one JSON string and a join.
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from fairlead_engine.mock.bodies.openai import ChatBody, CompletionBody, OpenAiBody
from fairlead_engine.mock.generation import Answer, logprobs
from fairlead_engine.mock.rendering.writer import DONE, Head, Usage, answer_logprobs, token_logprobs


def stream_usage(usage: Usage) -> dict[str, Any]:
    """Return `usage` as chunks have it: without what is not known."""
    document: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        document["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return document


def whole_usage(usage: Usage) -> dict[str, Any]:
    """Return `usage` as whole bodies have it."""
    return {"prompt_tokens_details": None, "completion_tokens_details": None} | stream_usage(usage)


class OpenAiWriter:
    """What the two APIs have in common."""

    object_name: str
    chunk_object_name: str

    def __init__(self, head: Head, body: OpenAiBody, answers: Sequence[Answer], prompt_tokens: Sequence[int]) -> None:
        self._head = head
        self._body = body
        self._answers = answers
        self._prompt_tokens = prompt_tokens
        shared: dict[str, Any] = {"id": head.response_id, "object": self.chunk_object_name}
        shared |= {"created": head.created_unix_seconds, "model": head.model}
        self._open = b"data: " + orjson.dumps(shared)[:-1] + b',"choices":['
        self._pieces: list[Iterator[str]] = []
        if body.alternatives is not None:
            self._pieces = [answer.pieces() for answer in answers]

    def closing(self, usage: Usage) -> bytes:
        """Return the chunk that `stream_options.include_usage` asks for, and the end mark."""
        if not self._body.include_usage:
            return DONE
        return self._open + b'],"usage":' + orjson.dumps(stream_usage(usage)) + b"}\n\n" + DONE

    def whole(self, usage: Usage) -> bytes:
        """Return the body of an answer that is not streamed."""
        return orjson.dumps(
            {
                "id": self._head.response_id,
                "object": self.object_name,
                "created": self._head.created_unix_seconds,
                "model": self._head.model,
                "choices": [
                    {
                        "index": choice,
                        **self._content(choice, answer),
                        "logprobs": self._whole_logprobs(answer),
                        "finish_reason": self._finish_reason(answer),
                        "stop_reason": answer.stop_reason,
                    }
                    for choice, answer in enumerate(self._answers)
                ],
                "service_tier": None,
                "system_fingerprint": None,
                "usage": whole_usage(usage),
            }
        )

    def _content(self, choice: int, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError

    def _whole_logprobs(self, answer: Answer) -> dict[str, Any] | None:
        raise NotImplementedError

    def _finish_reason(self, answer: Answer) -> str:
        # As OpenAI and vLLM: a call that the request named by its function ends with "stop".
        tool = self._body.forced_tool
        return "tool_calls" if tool and not tool.by_name and answer.finish_reason == "stop" else answer.finish_reason

    def _finish(self, answer: Answer) -> bytes:
        return b'"%s","stop_reason":%s' % (self._finish_reason(answer).encode(), orjson.dumps(answer.stop_reason))

    def _usage(self, choice: int, sent_tokens: int) -> bytes:
        if not self._body.continuous_usage:
            return b""
        return b',"usage":' + orjson.dumps(stream_usage(Usage(self._prompt_tokens[choice], sent_tokens)))


class ChatWriter(OpenAiWriter):
    """Bodies of /v1/chat/completions."""

    object_name = "chat.completion"
    chunk_object_name = "chat.completion.chunk"

    def __init__(self, head: Head, body: ChatBody, answers: Sequence[Answer], prompt_tokens: Sequence[int]) -> None:
        super().__init__(head, body, answers, prompt_tokens)
        self._call_ids = [f"chatcmpl-tool-{uuid.uuid4().hex[:16]}" if answer.tool else "" for answer in answers]
        self._before_text, self._after_text = b',"delta":{"content":', b"}"
        if body.forced_tool is not None:
            self._before_text = b',"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
            self._after_text = b"}}]}"

    def opening(self) -> bytes:
        """Return the chunks that open the choices. As vLLM: they come with the first token, not before it."""
        return b"".join(self._open_choice(choice) for choice in range(len(self._answers)))

    def _open_choice(self, choice: int) -> bytes:
        tail = b'"logprobs":null,"finish_reason":null}]' + self._usage(choice, 0) + b"}\n\n"
        opened = self._open + b'{"index":%d,"delta":{"role":"assistant","content":""},' % choice + tail
        answer = self._answers[choice]
        if answer.tool is None:
            return opened
        call: dict[str, Any] = {"index": 0, "id": self._call_ids[choice], "type": "function"}
        call["function"] = {"name": answer.tool, "arguments": ""}
        return opened + self._open + b'{"index":%d,"delta":{"tool_calls":[%s]},' % (choice, orjson.dumps(call)) + tail

    def token(self, choice: int, text: str, sent_tokens: int) -> bytes:
        """Return the chunk of one token."""
        answer = self._answers[choice]
        return b"".join(
            (
                self._open,
                b'{"index":%d' % choice,
                self._before_text,
                orjson.dumps(text),
                self._after_text,
                b',"logprobs":',
                self._logprobs(choice),
                b',"finish_reason":',
                self._finish(answer) if sent_tokens == answer.tokens else b"null",
                b',"token_ids":null}]',
                self._usage(choice, sent_tokens),
                b"}\n\n",
            )
        )

    def _logprobs(self, choice: int) -> bytes:
        if self._body.alternatives is None:
            return b"null"
        return orjson.dumps({"content": [token_logprobs(next(self._pieces[choice]), self._body.alternatives)]})

    def _content(self, choice: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text(),
            "refusal": None,
            "annotations": None,
            "audio": None,
        }
        message |= {"function_call": None, "reasoning": None}
        if answer.tool is not None:
            call: dict[str, Any] = {"id": self._call_ids[choice], "type": "function"}
            call["function"] = {"name": answer.tool, "arguments": answer.text()}
            message |= {"content": "", "tool_calls": [call]}
        return {"message": message}

    def _whole_logprobs(self, answer: Answer) -> dict[str, Any] | None:
        if self._body.alternatives is None:
            return None
        return {"content": answer_logprobs(answer, self._body.alternatives)}


class CompletionWriter(OpenAiWriter):
    """Bodies of /v1/completions."""

    object_name = "text_completion"
    chunk_object_name = "text_completion"

    def __init__(
        self, head: Head, body: CompletionBody, answers: Sequence[Answer], prompt_tokens: Sequence[int]
    ) -> None:
        super().__init__(head, body, answers, prompt_tokens)
        self._shown_characters = [0] * len(answers)

    def opening(self) -> bytes:
        """Return nothing: the first token opens a completion."""
        return b""

    def token(self, choice: int, text: str, sent_tokens: int) -> bytes:
        """Return the chunk of one token."""
        answer = self._answers[choice]
        return b"".join(
            (
                self._open,
                b'{"index":%d,"text":' % choice,
                orjson.dumps(text),
                b',"logprobs":',
                self._logprobs(choice),
                b',"finish_reason":',
                self._finish(answer) if sent_tokens == answer.tokens else b'null,"stop_reason":null',
                b',"prompt_token_ids":null,"token_ids":null}]',
                self._usage(choice, sent_tokens),
                b"}\n\n",
            )
        )

    def _logprobs(self, choice: int) -> bytes:
        if self._body.alternatives is None:
            return b"null"
        piece = next(self._pieces[choice])
        document = _completion_logprobs([piece], self._body.alternatives, self._shown_characters[choice])
        self._shown_characters[choice] += len(piece)
        return orjson.dumps(document)

    def _content(self, _choice: int, answer: Answer) -> dict[str, Any]:
        return {"text": answer.text()}

    def _whole_logprobs(self, answer: Answer) -> dict[str, Any] | None:
        if self._body.alternatives is None:
            return None
        return _completion_logprobs(list(answer.pieces()), self._body.alternatives, 0)


def _completion_logprobs(pieces: list[str], top: int, offset: int) -> dict[str, Any]:
    """Return log probabilities as the completions API has them: lists by kind; the token itself is always in the top."""
    offsets = []
    for piece in pieces:
        offsets.append(offset)
        offset += len(piece)
    tops = [dict(logprobs(piece, top + 1)[: max(1, top)]) for piece in pieces]
    values = [top_of_token[piece] for piece, top_of_token in zip(pieces, tops, strict=True)]
    return {"text_offset": offsets, "token_logprobs": values, "tokens": pieces, "top_logprobs": tops}
