"""What requests ask of an engine, learnt from what those before them have used.

Nobody tokenises a prompt here: at a millisecond per thousand tokens that would hold up every stream. The tokens of a
prompt are its bytes times a ratio that every reported usage corrects; the tokens of an answer are those that requests of
the same class and model have had, cut at what the request allows.
"""

from collections.abc import Mapping, Set
from typing import Final

from fairlead_router.decisions.output_lengths import OutputLengths
from fairlead_router.decisions.prefix_index import PrefixIndex
from fairlead_router.decisions.sessions import Sessions
from fairlead_router.decisions.types import NOTHING_CACHED, Demand, RequestView, Usage

BYTES_PER_TOKEN: Final = 4.0
"""Of English text and of JSON, before anything else is known."""
_WEIGHT: Final = 0.05
"""Of one request in the ratio of bytes to tokens."""
_MOST_KEYS: Final = 1000
"""Models, or classes and models, that are told apart; a client may send any name."""


class Demands:
    """Estimates of one pool."""

    def __init__(self) -> None:
        self.prefixes = PrefixIndex()
        """Where which prompts have been."""
        self.sessions = Sessions()
        """And which conversations."""
        self._adapters: set[str] = set()
        self._bytes_per_token: dict[str, float] = {}
        self._output_tokens: dict[tuple[str, str], OutputLengths] = {}

    def of(self, request: RequestView) -> Demand:
        """Estimate what a request asks for."""
        prompt_tokens = request.prompt_tokens
        if prompt_tokens is None:
            prompt_tokens = int(request.prompt_bytes / self._bytes_per_token.get(request.model, BYTES_PER_TOKEN)) + 1
        lengths = self._output_tokens.get((request.service_class, request.model))
        output_tokens = (lengths or _UNKNOWN).mean
        if request.max_output_tokens is not None and request.max_output_tokens < output_tokens:
            output_tokens = request.max_output_tokens
        cached: Mapping[str, int] = (
            self.prefixes.cached_tokens(request, prompt_tokens) if request.prefix else NOTHING_CACHED
        )
        if request.session is not None:
            cached = self.sessions.cached_tokens(request.session, prompt_tokens, cached)
        if request.taken_from and request.taken_from in cached:  # it was sent there, and not computed
            cached = {uid: tokens for uid, tokens in cached.items() if uid != request.taken_from}
        return Demand(request, prompt_tokens, int(output_tokens), cached, request.model in self._adapters)

    def note_adapters(self, names: Set[str]) -> None:
        """Note names that engines say are those of LoRA adapters."""
        if not names <= self._adapters and len(self._adapters) < _MOST_KEYS:
            self._adapters |= names

    def placed(self, demand: Demand, uid: str) -> None:
        """Note that an endpoint gets a request, and will have its prompt."""
        request = demand.request
        if request.prefix:
            self.prefixes.note(uid, request.prefix)
        if request.session is not None:
            self.sessions.note(request.session, uid, demand.prompt_tokens)

    def learn(self, request: RequestView, usage: Usage, uid: str | None) -> None:
        """Learn from an answer that has completed; 0 tokens are those that nobody has counted.

        `uid` names the endpoint, if that keeps what it has computed.
        """
        prompt_tokens, output_tokens = usage
        if request.session is not None and prompt_tokens and uid is not None:
            self.sessions.note(request.session, uid, prompt_tokens + output_tokens)
        if prompt_tokens and request.prompt_bytes:
            known = self._bytes_per_token.get(request.model)
            if known is not None or len(self._bytes_per_token) < _MOST_KEYS:
                known = known or BYTES_PER_TOKEN
                self._bytes_per_token[request.model] = known + _WEIGHT * (request.prompt_bytes / prompt_tokens - known)
        if output_tokens:
            key = request.service_class, request.model
            lengths = self._output_tokens.get(key)
            if lengths is None and len(self._output_tokens) < _MOST_KEYS:
                lengths = self._output_tokens[key] = OutputLengths()
            if lengths is not None:
                lengths.add(output_tokens)


_UNKNOWN: Final = OutputLengths()
