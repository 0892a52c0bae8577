"""Token counts as engines report them, in whichever API."""

from typing import Any, Final

import orjson

from fairlead_router.decisions.types import Usage

MAX_READ_BYTES: Final = 256 * 1024
"""Of a whole answer that is larger (embeddings, mostly) only the end is looked at."""
_USAGE: Final = b'"usage":'


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
    """Read the usage of an answer, or of the end of one that is not there as a `whole`.

    Engines write it at the end, and what stands before it can be long: so the end is read first, as an object of its
    own. The key cannot be part of a text, in which its quotes would be escaped.
    """
    at = body.rfind(_USAGE)
    if at < 0:
        return None
    answer = _object(b"{" + body[at:])
    if answer is None and whole:
        answer = _object(body)
    return None if answer is None else usage_of(answer)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
