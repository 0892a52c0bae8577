"""Token counts as engines report them, in whichever API."""

from typing import Any, NamedTuple

import orjson

MAX_READ_BYTES = 256 * 1024
"""A whole answer that is larger (embeddings, mostly) is not parsed; its last bytes hold the usage, if it has one."""
_TAIL_BYTES = 1024


class Usage(NamedTuple):
    """Tokens of the prompt and of the answer."""

    prompt_tokens: int
    output_tokens: int


def usage_of(answer: dict[str, Any], before: Usage | None = None) -> Usage | None:
    """Read the `usage` of an answer or of an event; what it leaves out is as it was `before`.

    OpenAI's chat says `prompt_tokens` and `completion_tokens`; its responses and Anthropic's messages say
    `input_tokens` and `output_tokens`, and hold them one level deeper in events.
    """
    usage = answer.get("usage")
    if usage is None:
        inner = answer.get("response") or answer.get("message")
        usage = inner.get("usage") if isinstance(inner, dict) else None
    if not isinstance(usage, dict):
        return before
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    output = usage.get("completion_tokens", usage.get("output_tokens"))
    if prompt is None and output is None:
        return before
    known = before or Usage(0, 0)
    prompt = known.prompt_tokens if prompt is None else prompt
    output = known.output_tokens if output is None else output
    return Usage(prompt, output) if _is_count(prompt) and _is_count(output) else before


def usage_in(body: bytes, *, whole: bool = True) -> Usage | None:
    """Read the usage of an answer, or of the end of one that is not there as a `whole`."""
    if not whole:
        body = _object_behind(body[-_TAIL_BYTES:], b'"usage"')
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return usage_of(answer) if isinstance(answer, dict) else None


def _object_behind(tail: bytes, key: bytes) -> bytes:
    at = tail.rfind(key)
    return b"{" + tail[at:] if at >= 0 else b""


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
