"""Messages of a conversation, and the prompt that they become."""

from typing import Any

from fairlead_engine.mock.bodies.base import Body
from fairlead_engine.mock.errors import bad_request

TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking"})
"""Types of content that are text: of chats, of the Responses API, of Anthropic's messages."""


class ContentPart(Body):
    """One part of a message's content; the mock reads text only."""

    type: str
    text: str | None = None
    thinking: str | None = None
    refusal: str | None = None


class Message(Body):
    """One message of a conversation."""

    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: list[dict[str, Any]] | None = None

    def text(self) -> str:
        """Return the message's text; RequestError (400) for images, audio and the like."""
        calls = [_call_text(call) for call in self.tool_calls or ()]
        return "\n".join([text for text in (content_text(self.content),) if text or not calls] + calls)


def content_text(content: str | list[ContentPart] | None) -> str:
    """Return the text of a content; RequestError (400) for images, audio and the like."""
    if isinstance(content, str) or content is None:
        return content or ""
    for part in content:
        if part.type not in TEXT_PARTS:
            raise bad_request(f"The mock engine reads text only, not content of type {part.type!r}.")
    return "\n".join(part.text or part.thinking or part.refusal or "" for part in content)


def render_chat(turns: list[tuple[str, str]]) -> str:
    """Return the prompt that (role, text) turns become: a line per turn, and the assistant's turn.

    Generated text begins with a space. A turn that does, too, follows its role at once: so the prompt of a
    conversation's next turn begins with this turn's prompt and answer, and the prefix cache holds both.
    """
    lines = [f"{role}:{'' if text.startswith(' ') else ' '}{text}\n" for role, text in turns]
    return "".join([*lines, "assistant:"])


def as_turns(messages: list[Message]) -> list[tuple[str, str]]:
    """Return messages as (role, text)."""
    return [(message.role, message.text()) for message in messages]


def _call_text(call: dict[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return ""
    return f"{function.get('name', '')}({function.get('arguments', '')})"
