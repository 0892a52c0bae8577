"""Bodies of Anthropic's /v1/messages and /v1/messages/count_tokens."""

from typing import Any, Literal

from pydantic import Field

from fairlead_engine.mock.bodies.base import Body, GenerationBody, ModelBody, as_strings
from fairlead_engine.mock.bodies.conversation import render_chat
from fairlead_engine.mock.bodies.tools import Tool
from fairlead_engine.mock.errors import bad_request


class Block(Body):
    """A block of content. The mock reads text, thoughts, calls of tools and their results."""

    type: str
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    content: str | list[dict[str, Any]] | None = None

    def as_text(self) -> str:
        """Return the block as text; RequestError (400) for images and the like."""
        match self.type:
            case "text":
                return self.text or ""
            case "thinking" | "redacted_thinking":
                return self.thinking or ""
            case "tool_use":
                return f"{self.name}({self.input or {}})"
            case "tool_result":
                return self._result_text()
            case _:
                raise bad_request(f"The mock engine reads text only, not content of type {self.type!r}.")

    def _result_text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class AnthropicMessage(Body):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class AnthropicTool(Body):
    """A tool."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any]


class ToolChoice(Body):
    """`tool_choice`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class CountTokensBody(ModelBody):
    """Body of POST /v1/messages/count_tokens."""

    messages: list[AnthropicMessage]
    system: str | list[Block] | None = None

    def prompt(self) -> str:
        """Return the prompt that the conversation becomes."""
        return _prompt(self.system, self.messages)


class MessagesBody(GenerationBody):
    """Body of POST /v1/messages."""

    messages: list[AnthropicMessage]
    max_tokens: int = Field(gt=0)
    system: str | list[Block] | None = None
    stop_sequences: list[str] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoice | None = None

    def prompt_texts(self) -> list[str]:
        """Return the conversation as one prompt."""
        return [_prompt(self.system, self.messages)]

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        return "max_tokens", self.max_tokens

    def stop_strings(self) -> tuple[str, ...]:
        """Return the strings that end an answer."""
        return as_strings(self.stop_sequences)

    @property
    def forced_tool(self) -> Tool | None:
        """The tool that `tool_choice` makes the answer call."""
        choice = self.tool_choice
        if choice is None or choice.type in ("auto", "none"):
            return None
        for tool in self.tools or ():
            if choice.type == "any" or tool.name == choice.name:
                return Tool(tool.name, tool.input_schema, by_name=choice.type == "tool")
        raise bad_request("`tool_choice` asks for a tool that is not among `tools`.", param="tool_choice")


def _prompt(system: str | list[Block] | None, messages: list[AnthropicMessage]) -> str:
    if not messages:
        raise bad_request("The conversation is empty: provide at least one message.", param="messages")
    turns = [] if system is None else [("system", _text(system))]
    return render_chat([*turns, *((message.role, _text(message.content)) for message in messages)])


def _text(content: str | list[Block]) -> str:
    return content if isinstance(content, str) else "\n".join(block.as_text() for block in content)
