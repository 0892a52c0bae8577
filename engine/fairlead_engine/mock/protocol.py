"""Request bodies of the OpenAI API, as vLLM reads them: what is used is checked, unknown fields are accepted."""

from abc import ABC, abstractmethod
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from fairlead_engine.mock.errors import bad_request, invalid_body, invalid_json
from fairlead_engine.mock.generation import Sampling
from fairlead_engine.mock.tokens import decode

MAX_CHOICES = 128
"""Answers that one request may ask for with `n`."""
COMPLETION_DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for /v1/completions; chat answers are bounded by the context length alone."""


class Body(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a body; a RequestError (400) names the field that is wrong."""
        try:
            return cls.model_validate(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise invalid_json(str(error)) from error
        except ValidationError as error:
            raise invalid_body(error) from error


class StreamOptions(Body):
    """`stream_options`."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class GenerationBody(Body, ABC):
    """What /v1/chat/completions and /v1/completions have in common."""

    model: str | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: str | list[str] | None = None
    n: int | None = None
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def choices(self) -> int:
        """Answers per prompt."""
        return 1 if self.n is None else self.n

    @abstractmethod
    def prompt_texts(self) -> list[str]:
        """Return the prompts as text; every one gets `choices` answers."""

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        return "max_tokens", self.max_tokens

    def sampling(self, *, prompt_tokens: int, max_model_len: int) -> Sampling:
        """Return the bounds of the answer to a prompt of `prompt_tokens`; RequestError (400) where there is none."""
        if prompt_tokens >= max_model_len:
            raise bad_request(
                f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
                f"{prompt_tokens} input tokens, which leaves no room for output. Shorten the prompt.",
                param="input_tokens",
                value=prompt_tokens,
            )
        param, requested = self.requested_tokens()
        max_tokens = max_model_len if requested is None else requested
        if max_tokens < 1:
            raise bad_request(f"{param} must be at least 1, got {max_tokens}.", param=param, value=max_tokens)
        if max_tokens > max_model_len:
            raise bad_request(
                f"{param}={max_tokens} cannot be greater than max_model_len={max_model_len}. "
                "Request fewer output tokens.",
                param=param,
                value=max_tokens,
            )
        # As vLLM: an answer that would outgrow the context ends there, with finish_reason "length".
        max_tokens = min(max_tokens, max_model_len - prompt_tokens)
        if not 0 <= self.min_tokens <= max_tokens:
            raise bad_request(
                f"min_tokens must be between 0 and max_tokens={max_tokens}, got {self.min_tokens}.",
                param="min_tokens",
                value=self.min_tokens,
            )
        return Sampling(max_tokens, self.min_tokens, self.ignore_eos, self._stop_strings())

    def check(self) -> None:
        """Refuse (RequestError, 400) what does not depend on the prompt."""
        if not 1 <= self.choices <= MAX_CHOICES:
            raise bad_request(f"n must be between 1 and {MAX_CHOICES}, got {self.n}.", param="n", value=self.n)
        if self.stream_options is not None and not self.stream:
            raise bad_request("Stream options can only be defined when `stream=True`.", param="stream_options")

    def _stop_strings(self) -> tuple[str, ...]:
        strings = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if "" in strings:
            raise bad_request("stop cannot contain an empty string.", param="stop")
        return strings


class ContentPart(Body):
    """One part of a message's content; the mock reads text only."""

    type: str
    text: str | None = None


class Message(Body):
    """One message of a conversation."""

    role: str
    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        """Return the message's text; RequestError (400) for images, audio and the like."""
        if isinstance(self.content, str) or self.content is None:
            return self.content or ""
        for part in self.content:
            if part.type != "text":
                raise bad_request(f"The mock engine reads text only, not content of type {part.type!r}.")
        return "\n".join(part.text or "" for part in self.content)


class ChatBody(GenerationBody):
    """Body of POST /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None

    def prompt_texts(self) -> list[str]:
        """Return the conversation as the one prompt that the mock's chat template makes of it."""
        if not self.messages:
            raise bad_request("The conversation is empty: provide at least one message.", param="messages")
        return [render_chat(self.messages)]

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return super().requested_tokens()


class CompletionBody(GenerationBody):
    """Body of POST /v1/completions."""

    prompt: list[str | list[int]] = []
    max_tokens: int | None = COMPLETION_DEFAULT_MAX_TOKENS

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt_is_a_list_of_one(cls, value: object) -> object:
        if isinstance(value, str) or (isinstance(value, list) and value and all(type(v) is int for v in value)):
            return [value]
        return [] if value is None else value

    def prompt_texts(self) -> list[str]:
        """Return the prompts, given as text or as token ids of this engine."""
        if not self.prompt or not all(self.prompt):
            raise bad_request("A prompt must be provided and must not be empty.", param="prompt")
        return [prompt if isinstance(prompt, str) else decode_tokens(prompt) for prompt in self.prompt]


class TokenizeBody(Body):
    """Body of POST /tokenize: a prompt, or the messages of a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None

    def text(self) -> str:
        """Return the text to tokenise."""
        if self.messages is not None:
            return render_chat(self.messages)
        if self.prompt is None:
            raise bad_request("Either prompt or messages must be provided.", param="prompt")
        return self.prompt


class DetokenizeBody(Body):
    """Body of POST /detokenize."""

    model: str | None = None
    tokens: list[int]


def render_chat(messages: list[Message]) -> str:
    """Return the prompt that a conversation becomes: a line per message, and the assistant's turn."""
    lines = [f"{message.role}: {message.text()}\n" for message in messages]
    return "".join([*lines, "assistant:"])


def decode_tokens(tokens: list[int]) -> str:
    """Return the text of token ids; RequestError (400) where one is unknown."""
    try:
        return decode(tokens)
    except ValueError as error:
        raise bad_request(f"{error}.") from error
