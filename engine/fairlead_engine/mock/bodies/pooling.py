"""Bodies of /v1/embeddings, /rerank and /score."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from fairlead_engine.mock.bodies.base import ModelBody, decode_tokens
from fairlead_engine.mock.bodies.conversation import Message, as_turns, render_chat
from fairlead_engine.mock.embedding import DIMENSIONS
from fairlead_engine.mock.errors import bad_request


class PoolingBody(ModelBody):
    """What the APIs have in common that compute one result per prompt."""

    priority: int = Field(default=0, ge=-(2**63), le=2**63 - 1)


class EmbeddingsBody(PoolingBody):
    """Body of POST /v1/embeddings: texts, token ids of this engine, or the messages of a conversation."""

    input: list[str | list[int]] = Field(default_factory=list)
    messages: list[Message] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _one_input_is_a_list_of_one(cls, value: object) -> object:
        if isinstance(value, str) or (isinstance(value, list) and value and all(type(v) is int for v in value)):
            return [value]
        return value

    def texts(self) -> list[str]:
        """Return the texts to embed."""
        if self.messages is not None:
            return [render_chat(as_turns(self.messages))]
        if not self.input or not all(self.input):
            raise bad_request("An input must be provided and must not be empty.", param="input")
        return [text if isinstance(text, str) else decode_tokens(text) for text in self.input]

    def check(self) -> None:
        """Refuse (RequestError, 400) a number of dimensions that the mock has not."""
        if self.dimensions is not None and not 1 <= self.dimensions <= DIMENSIONS:
            raise bad_request(
                f"dimensions must be between 1 and {DIMENSIONS}, got {self.dimensions}.",
                param="dimensions",
                value=self.dimensions,
            )


class RerankBody(PoolingBody):
    """Body of POST /rerank: Cohere's and Jina's API."""

    query: str
    documents: list[str]
    top_n: int = Field(default=0, ge=0)

    def check(self) -> None:
        """Refuse (RequestError, 400) a list of no documents."""
        if not self.documents:
            raise bad_request("At least one document must be given.", param="documents")


class ScoreBody(PoolingBody):
    """Body of POST /score: one text with one or many, or as many pairs as there are on either side."""

    text_1: list[str]
    text_2: list[str]

    @model_validator(mode="before")
    @classmethod
    def _by_any_of_its_names(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        named = dict(data)
        for field, names in {"text_1": ("queries", "data_1"), "text_2": ("documents", "items", "data_2")}.items():
            given = next((named[name] for name in (field, *names) if name in named), None)
            if given is not None:
                named[field] = [given] if isinstance(given, str) else given
        return named

    def pairs(self) -> list[tuple[int, int]]:
        """Return pairs of indices into `text_1` and `text_2`."""
        first, second = len(self.text_1), len(self.text_2)
        if not first or not second:
            raise bad_request("At least one text must be given on either side.", param="text_2")
        if first not in (1, second):
            raise bad_request(f"Input lengths must be either 1:1, 1:N or N:N, not {first}:{second}.", param="text_1")
        return [(0 if first == 1 else number, number) for number in range(second)]
