"""What all request bodies have in common, and what all generating ones have."""

from abc import ABC, abstractmethod
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairlead_engine.mock.bodies.tools import Tool
from fairlead_engine.mock.errors import bad_request, invalid_body, invalid_json
from fairlead_engine.mock.generation import Sampling
from fairlead_engine.mock.tokens import decode

MAX_TOP_LOGPROBS = 20
"""vLLM's default of --max-logprobs."""


class Body(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a body; a RequestError (400) names the field that is wrong."""
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise invalid_json(str(error)) from error
        return cls.of(document)

    @classmethod
    def of(cls, document: Any) -> Self:
        """Check a parsed document; a RequestError (400) names the field that is wrong."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise invalid_body(error) from error


class ModelBody(Body):
    """A body that may name a model."""

    model: str | None = None


class GenerationBody(ModelBody, ABC):
    """What the generating APIs have in common."""

    stream: bool | None = False
    seed: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    priority: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
    cache_salt: str | None = None

    @abstractmethod
    def prompt_texts(self) -> list[str]:
        """Return the prompts as text; every one gets `choices` answers."""

    @abstractmethod
    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""

    @property
    def choices(self) -> int:
        """Answers per prompt."""
        return 1

    @property
    def forced_tool(self) -> Tool | None:
        """The function that the answer has to call; None where it is text."""
        return None

    @property
    def alternatives(self) -> int | None:
        """Alternatives per token to give log probabilities of; None: no log probabilities at all."""
        return None

    def stop_strings(self) -> tuple[str, ...]:
        """Return the strings that end an answer."""
        return ()

    def check(self) -> None:
        """Refuse (RequestError, 400) what does not depend on the prompt."""

    def sampling(self, *, prompt_tokens: int, max_model_len: int) -> Sampling:
        """Return the bounds of the answer to a prompt of `prompt_tokens`; RequestError (400) where there is none."""
        if prompt_tokens >= max_model_len:
            raise prompt_too_long(prompt_tokens, max_model_len)
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
        return Sampling(max_tokens, self.min_tokens, self.ignore_eos, self.stop_strings())


def prompt_too_long(prompt_tokens: int, max_model_len: int) -> Exception:
    """Return the error for a prompt that fills the context."""
    return bad_request(
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
        f"{prompt_tokens} input tokens, which leaves no room for output. Shorten the prompt.",
        param="input_tokens",
        value=prompt_tokens,
    )


def check_top_logprobs(top_logprobs: int) -> None:
    """Refuse (RequestError, 400) a number of alternatives that no engine gives."""
    if top_logprobs < 0:
        raise bad_request("`top_logprobs` must not be negative.", param="top_logprobs", value=top_logprobs)
    if top_logprobs > MAX_TOP_LOGPROBS:
        raise bad_request(
            f"Requested sample logprobs of {top_logprobs}, which is greater than max allowed: {MAX_TOP_LOGPROBS}",
            param="logprobs",
            value=top_logprobs,
        )


def as_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    """Return stop strings given as one or several; RequestError (400) for an empty one."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if "" in strings:
        raise bad_request("stop cannot contain an empty string.", param="stop")
    return strings


def decode_tokens(tokens: list[int]) -> str:
    """Return the text of token ids; RequestError (400) where one is unknown."""
    try:
        return decode(tokens)
    except ValueError as error:
        raise bad_request(f"{error}.") from error
