"""Bodies of /v1/chat/completions and /v1/completions."""

from typing import Any

from pydantic import Field, field_validator

from fairlead_engine.mock.bodies.base import (
    Body,
    GenerationBody,
    as_strings,
    check_top_logprobs,
    decode_tokens,
)
from fairlead_engine.mock.bodies.conversation import Message, as_turns, render_chat
from fairlead_engine.mock.bodies.tools import ChatTool, Tool, forced_tool
from fairlead_engine.mock.errors import bad_request

MAX_CHOICES = 128
"""Answers that one request may ask for with `n`."""
COMPLETION_DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for /v1/completions; chat answers are bounded by the context length alone."""


class StreamOptions(Body):
    """`stream_options`."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class OpenAiBody(GenerationBody):
    """What /v1/chat/completions and /v1/completions have in common."""

    max_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    stream_options: StreamOptions | None = None

    @property
    def choices(self) -> int:
        """Answers per prompt."""
        return 1 if self.n is None else self.n

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk carries the usage so far."""
        options = self.stream_options
        return options is not None and bool(options.include_usage and options.continuous_usage_stats)

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        return "max_tokens", self.max_tokens

    def stop_strings(self) -> tuple[str, ...]:
        """Return the strings that end an answer."""
        return as_strings(self.stop)

    def check(self) -> None:
        """Refuse (RequestError, 400) what does not depend on the prompt."""
        if not 1 <= self.choices <= MAX_CHOICES:
            raise bad_request(f"n must be between 1 and {MAX_CHOICES}, got {self.n}.", param="n", value=self.n)
        if self.stream_options is not None and not self.stream:
            raise bad_request("Stream options can only be defined when `stream=True`.", param="stream_options")


class ChatBody(OpenAiBody):
    """Body of POST /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    tools: list[ChatTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = None

    @property
    def alternatives(self) -> int | None:
        """Alternatives per token to give log probabilities of."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def forced_tool(self) -> Tool | None:
        """The function that `tool_choice` makes the answer call."""
        return forced_tool(self.tool_choice, [tool.function for tool in self.tools or ()])

    def check(self) -> None:
        """Refuse (RequestError, 400) what does not depend on the prompt."""
        super().check()
        if self.top_logprobs is not None:
            check_top_logprobs(self.top_logprobs)
            if self.top_logprobs and not self.logprobs:
                raise bad_request("when using `top_logprobs`, `logprobs` must be set to true.", param="top_logprobs")

    def prompt_texts(self) -> list[str]:
        """Return the conversation as the one prompt that the mock's chat template makes of it."""
        if not self.messages:
            raise bad_request("The conversation is empty: provide at least one message.", param="messages")
        return [render_chat(as_turns(self.messages))]

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return super().requested_tokens()


class CompletionBody(OpenAiBody):
    """Body of POST /v1/completions."""

    prompt: list[str | list[int]] = Field(default_factory=list)
    max_tokens: int | None = COMPLETION_DEFAULT_MAX_TOKENS
    logprobs: int | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt_is_a_list_of_one(cls, value: object) -> object:
        if isinstance(value, str) or (isinstance(value, list) and value and all(type(v) is int for v in value)):
            return [value]
        return [] if value is None else value

    @property
    def alternatives(self) -> int | None:
        """Alternatives per token to give log probabilities of."""
        return self.logprobs

    def check(self) -> None:
        """Refuse (RequestError, 400) what does not depend on the prompt."""
        super().check()
        if self.logprobs is not None:
            check_top_logprobs(self.logprobs)

    def prompt_texts(self) -> list[str]:
        """Return the prompts, given as text or as token ids of this engine."""
        if not self.prompt or not all(self.prompt):
            raise bad_request("A prompt must be provided and must not be empty.", param="prompt")
        return [prompt if isinstance(prompt, str) else decode_tokens(prompt) for prompt in self.prompt]
