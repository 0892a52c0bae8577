"""What the events of a stream say, in each API that engines stream in.

| dialect | streamed by | tokens | end |
|---|---|---|---|
| CHAT | `/v1/chat/completions`, `/v1/completions` | text, reasoning or a tool call in a choice | `[DONE]` or a `finish_reason` |
| RESPONSES | `/v1/responses` | events `response.*.delta` | `response.completed`, `.incomplete`, `.failed` |
| MESSAGES | `/v1/messages` (Anthropic) | `content_block_delta` | `message_stop` |
| ANY | everything else | any event | nothing: whatever ends properly is complete |
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

from fairlead_router.errors import ErrorShape


class Says(IntFlag):
    """What an event says."""

    NOTHING = 0
    TOKENS = 1
    END = 2
    FAILED = 4


NOTHING: Final = int(Says.NOTHING)
TOKENS: Final = int(Says.TOKENS)
_END: Final = int(Says.END)
_FAILED: Final = int(Says.FAILED)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to read one event's JSON, whether a stream says by itself that it is complete, and the shape of errors.

    Of strings called `content`, `text` and the like (`relay.sse`), `read` cares only whether they are empty.
    """

    read: Callable[[Event], int]
    says_end: bool = True
    errors: ErrorShape = ErrorShape.OPENAI


_OTHER_TOKENS: Final = ("reasoning_content", "reasoning", "tool_calls", "function_call", "refusal")


def _read_chat(event: Event) -> int:
    said = _FAILED if event.get("error") is not None else NOTHING
    choices = event.get("choices")
    if type(choices) is not list:
        return said
    for choice in choices:
        if type(choice) is not dict:
            continue
        if choice.get("finish_reason"):
            said |= _END
        delta = choice.get("delta")
        if type(delta) is not dict:  # text of a completion; a chat's first chunk has a role and no content
            said |= TOKENS if choice.get("text") else NOTHING
        elif delta.get("content") or any(delta.get(field) for field in _OTHER_TOKENS):
            said |= TOKENS
    return said


_RESPONSE_ENDS: Final = {
    "response.completed": _END,
    "response.incomplete": _END,
    "response.failed": _END | _FAILED,
    "error": _FAILED,
}


def _read_responses(event: Event) -> int:
    kind = event.get("type")
    if not isinstance(kind, str):
        return _FAILED if event.get("error") is not None else NOTHING
    return TOKENS if kind.endswith(".delta") else _RESPONSE_ENDS.get(kind, NOTHING)


_MESSAGE_KINDS: Final = {"content_block_delta": TOKENS, "message_stop": _END, "error": _FAILED}


def _read_messages(event: Event) -> int:
    kind = event.get("type")
    return _MESSAGE_KINDS.get(kind, NOTHING) if isinstance(kind, str) else NOTHING


def _read_any(event: Event) -> int:
    return _FAILED if event.get("error") is not None else TOKENS


CHAT: Final = Dialect(_read_chat)
RESPONSES: Final = Dialect(_read_responses)
MESSAGES: Final = Dialect(_read_messages, errors=ErrorShape.ANTHROPIC)
ANY: Final = Dialect(_read_any, says_end=False)
