"""Tools that a request offers, and the call that it forces.

The mock calls a function only where the request says that one must be called: a named one, or any (then the first).
With `auto` it answers with text, so that a client's loop over tool calls always ends.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from fairlead_engine.mock.errors import bad_request


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an answer may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    by_name: bool = False
    """Whether the request named it, rather than asking for any call."""


class FunctionSpec(BaseModel):
    """`function` of a tool, or a tool of the Responses API."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatTool(BaseModel):
    """A tool of the chat API."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = "function"
    function: FunctionSpec


def forced_tool(choice: str | dict[str, Any] | None, tools: list[FunctionSpec] | None) -> Tool | None:
    """Return the tool that OpenAI's `tool_choice` forces; RequestError (400) where it makes no sense."""
    if choice in (None, "none", "auto"):
        return None
    if not tools:
        raise bad_request("When using `tool_choice`, `tools` must be set.", param="tool_choice")
    if choice == "required":
        return _tool(tools[0], by_name=False)
    name = _named(choice)
    if name is None:
        raise bad_request(
            f"Invalid value for `tool_choice`: {choice}. Use a named tool, none, auto or required.", param="tool_choice"
        )
    for tool in tools:
        if tool.name == name:
            return _tool(tool, by_name=True)
    raise bad_request(f"`tool_choice` names {name!r}, which is not among `tools`.", param="tool_choice")


def _named(choice: str | dict[str, Any] | None) -> str | None:
    """Return the name in {"function": {"name"}} (chat) or {"name"} (Responses)."""
    if not isinstance(choice, dict):
        return None
    function = choice.get("function", choice)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _tool(spec: FunctionSpec, *, by_name: bool) -> Tool:
    return Tool(spec.name, spec.parameters or {}, by_name)
