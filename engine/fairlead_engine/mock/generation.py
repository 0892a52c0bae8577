"""What the mock answers: a text that depends on the request alone, known in full before the first token.

The length is drawn from the request too, so that answers differ in length as a model's do. A stop string is looked for
when the answer is planned; the batch loop then only needs a number of tokens. A call of a tool is an answer whose text
is the call's arguments.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from math import log
from typing import Literal

from fairlead_engine.mock.tokens import TOKEN_BYTES

_WORDS = (
    "act add age air all and any arm art ask bay bed big bit box bus buy can car cup day dig dry eat end "
    "eye far few fit fly for fun gas get hat hot ice ink job joy key lab law let lie log lot low map may "
    "mix net new nor now oak odd oil old one our out own pan"
)
PIECES = tuple(f" {word}" for word in _WORDS.split())
"""64 pieces of text, four bytes each: every generated token is also one token to the mock's tokeniser."""

NATURAL_TOKENS = range(32, 288)
"""Lengths of answers that neither `max_tokens` nor a stop string ends."""

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The request's parameters that decide how long its answer is."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    exact_tokens: int | None = None
    """Length of the answer where it is known, as that of a transcript is; at most `max_tokens`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A planned answer of `tokens` tokens; `characters` of its text are shown where a stop string cut it."""

    seed: int
    tokens: int
    finish_reason: FinishReason
    stop_reason: str | None = None
    characters: int | None = None
    held_characters: int = 0
    """Characters that a stream holds back, because they may turn out to begin a stop string."""
    tool: str | None = None
    """The function that the answer calls."""
    arguments: str = ""
    """With `tool`: the arguments, in JSON. They are the answer's text, as far as `tokens` allow."""

    def pieces(self) -> Iterator[str]:
        """Yield the text of each token, in turn; what of it is shown is for `deltas` to say."""
        if self.tool is None:
            return islice(_pieces(self.seed), self.tokens)
        return (self.arguments[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES] for at in range(self.tokens))

    def deltas(self) -> Iterator[str]:
        """Yield the text that each token adds to a stream, in turn."""
        pieces = self.pieces()
        if not self.held_characters and self.characters is None:
            yield from pieces
            return
        text, shown = "", 0
        for number, piece in enumerate(pieces, start=1):
            text += piece
            if number == self.tokens:
                end = len(text) if self.characters is None else self.characters
            else:
                end = max(shown, len(text) - self.held_characters)
            yield text[shown:end]
            shown = end

    def text(self) -> str:
        """Return the whole text."""
        return "".join(self.deltas())


def answer_seed(prompt: str, seed: int | None, choice: int) -> int:
    """Return the number from which choice `choice` of a request is generated."""
    identity = f"{seed}\0{choice}\0{prompt}".encode()
    return int.from_bytes(blake2b(identity, digest_size=8).digest(), "big")


def plan_answer(seed: int, sampling: Sampling) -> Answer:
    """Plan the answer that `sampling` allows; the same arguments give the same answer."""
    tokens, reason = _length(seed, sampling)
    return _cut_at_stop(Answer(seed, tokens, reason), sampling) if sampling.stop else Answer(seed, tokens, reason)


def plan_call(seed: int, tool: str, arguments: str, max_tokens: int) -> Answer:
    """Plan a call of `tool` with `arguments` (ASCII), cut where `max_tokens` end."""
    tokens = -(-len(arguments) // TOKEN_BYTES)
    if tokens > max_tokens:
        return Answer(seed, max_tokens, "length", tool=tool, arguments=arguments)
    return Answer(seed, tokens, "stop", tool=tool, arguments=arguments)


def logprobs(piece: str, alternatives: int) -> list[tuple[str, float]]:
    """Return (text, log probability) of a generated token and of the `alternatives` - 1 next likely ones.

    The mock always takes the likeliest token: 1/2 for it, 1/4 for the next, and so on.
    """
    at = PIECES.index(piece) if piece in PIECES else 0
    others = ((PIECES[(at + rank) % len(PIECES)], -(rank + 1) * log(2)) for rank in range(1, alternatives))
    return [(piece, -log(2)), *others]


def _length(seed: int, sampling: Sampling) -> tuple[int, FinishReason]:
    if sampling.exact_tokens is not None:
        return sampling.exact_tokens, "stop"
    if not sampling.ignore_eos:
        natural = max(NATURAL_TOKENS[seed % len(NATURAL_TOKENS)], sampling.min_tokens)
        if natural <= sampling.max_tokens:
            return natural, "stop"
    return sampling.max_tokens, "length"


def _cut_at_stop(answer: Answer, sampling: Sampling) -> Answer:
    """End the answer at the first token that completes a stop string after the first `min_tokens` tokens."""
    held = max(map(len, sampling.stop)) - 1
    text, checked = "", 0
    for number, piece in enumerate(islice(_pieces(answer.seed), answer.tokens), start=1):
        text += piece
        if number <= sampling.min_tokens:
            checked = len(text)
            continue
        found = [(text.find(stop, max(0, checked - len(stop) + 1)), stop) for stop in sampling.stop]
        at, stop = min((match for match in found if match[0] >= 0), default=(-1, ""))
        if at >= 0:
            return Answer(answer.seed, number, "stop", stop, at, held)
        checked = len(text)
    return Answer(answer.seed, answer.tokens, answer.finish_reason, held_characters=held)


def _pieces(seed: int) -> Iterator[str]:
    """Yield pieces without end: Knuth's 64-bit linear congruential generator, whose high bits choose the piece."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFF_FFFF_FFFF_FFFF
        yield PIECES[state >> 58]
