"""Body of OpenAI's /v1/responses."""

from typing import Any

from fairlead_engine.mock.bodies.base import Body, GenerationBody, check_top_logprobs
from fairlead_engine.mock.bodies.conversation import ContentPart, content_text, render_chat
from fairlead_engine.mock.bodies.tools import FunctionSpec, Tool, forced_tool
from fairlead_engine.mock.errors import RequestError, bad_request

_LOGPROBS = "message.output_text.logprobs"


class InputItem(Body):
    """An item of `input`: a message, a function call or its output."""

    type: str = "message"
    role: str = ""
    content: str | list[ContentPart] | None = None
    name: str = ""
    arguments: str = ""
    output: str | list[ContentPart] | None = None

    def turn(self) -> tuple[str, str]:
        """Return (role, text); RequestError (400) for an item that the mock cannot read."""
        match self.type:
            case "message" if self.role:
                return self.role, content_text(self.content)
            case "function_call":
                return "assistant", f"{self.name}({self.arguments})"
            case "function_call_output":
                return "tool", content_text(self.output)
            case "reasoning":
                return "assistant", content_text(self.content)
            case _:
                raise bad_request(f"The mock engine reads no input item of type {self.type!r}.", param="input")


class ResponseTool(FunctionSpec):
    """A tool of the Responses API; only functions can be called."""

    name: str = ""
    type: str = "function"


class ResponsesBody(GenerationBody):
    """Body of POST /v1/responses."""

    input: str | list[InputItem]
    instructions: str | None = None
    max_output_tokens: int | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    background: bool | None = False
    metadata: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None

    def prompt_texts(self) -> list[str]:
        """Return instructions and input as one prompt."""
        if not self.input:
            raise bad_request("input must not be empty.", param="input")
        turns = [("system", self.instructions)] if self.instructions else []
        given = [("user", self.input)] if isinstance(self.input, str) else [item.turn() for item in self.input]
        return [render_chat([*turns, *given])]

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        return "max_output_tokens", self.max_output_tokens

    @property
    def alternatives(self) -> int | None:
        """Alternatives per token to give log probabilities of."""
        return (self.top_logprobs or 0) if _LOGPROBS in (self.include or ()) else None

    @property
    def forced_tool(self) -> Tool | None:
        """The function that `tool_choice` makes the answer call."""
        functions: list[FunctionSpec] = [tool for tool in self.tools or () if tool.type == "function"]
        return forced_tool(self.tool_choice, functions)

    def check(self) -> None:
        """Refuse (RequestError) what needs answers of the past: none is stored, as vLLM by default."""
        if self.previous_response_id is not None:
            raise response_not_found(self.previous_response_id)
        if self.background:
            raise RequestError(
                400, "Responses are not stored, so none can run in the background.", kind=_INVALID, param="background"
            )
        if self.top_logprobs is not None:
            check_top_logprobs(self.top_logprobs)


_INVALID = "invalid_request_error"


def response_not_found(response_id: str) -> RequestError:
    """Return the error for a response of the past."""
    message = f"Response with id '{response_id}' not found."
    return RequestError(404, message, kind=_INVALID, param="response_id")
