"""What every API's writer does: it turns tokens into the bytes of one response."""

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from fairlead_engine.mock.generation import Answer, logprobs

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What every body of one answer carries."""

    response_id: str
    created_unix_seconds: int
    model: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer has cost. `cached_tokens` of the prompt came from the prefix cache; None where there is none."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


class Writer(Protocol):
    """The bytes of one response: a stream's in the order of the methods, or a whole body."""

    def opening(self) -> bytes:
        """Return what a stream sends before its first token, together with it."""

    def token(self, choice: int, text: str, sent_tokens: int) -> bytes:
        """Return a choice's next token as its `sent_tokens`-th; `text` is what it adds to the answer that is shown."""

    def closing(self, usage: Usage) -> bytes:
        """Return what a stream sends after its last token."""

    def whole(self, usage: Usage) -> bytes:
        """Return the body of an answer that is not streamed."""


def event(name: str, document: dict[str, Any]) -> bytes:
    """Return a server-sent event with a name."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(document))


def token_logprobs(piece: str, top: int) -> dict[str, Any]:
    """Return a token's log probability with `top` alternatives, itself among them, as the chat API has it."""
    entries = [
        {"token": text, "logprob": logprob, "bytes": list(text.encode())} for text, logprob in logprobs(piece, top)
    ]
    return {**entries[0], "top_logprobs": entries[:top]}


def answer_logprobs(answer: Answer, top: int) -> list[dict[str, Any]]:
    """Return `token_logprobs` of all tokens of an answer."""
    return [token_logprobs(piece, top) for piece in answer.pieces()]
