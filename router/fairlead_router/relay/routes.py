"""Which paths are relayed to engines, and what the router must know of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from fairlead_router.relay.dialects import ANY, CHAT, MESSAGES, RESPONSES, Dialect


class Body(Enum):
    """How the body of a request is treated."""

    JSON = auto()
    """Read whole, and looked into: model, and whether the answer is streamed."""
    STREAMED = auto()
    """Passed on as it comes, unread: large, or of an unknown kind."""


@dataclass(frozen=True, slots=True)
class Route:
    """A relayed path; `needs_model` refuses a body that names no model."""

    body: Body = Body.JSON
    needs_model: bool = False
    dialect: Dialect = ANY
    takes_priority: bool = False
    """Whether engines take the field `priority` of such a request."""
    methods: frozenset[str] = frozenset({"POST"})


_CHAT = Route(needs_model=True, dialect=CHAT, takes_priority=True)
_WITH_MODEL = Route(needs_model=True)
_ANY_MODEL = Route()
_AUDIO = Route(body=Body.STREAMED)
PASSTHROUGH: Final = Route(body=Body.STREAMED, methods=frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"}))
"""For a path under `/v1/` that the router does not know."""

ROUTES: Final[Mapping[str, Route]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _CHAT,
    "/v1/responses": Route(needs_model=True, dialect=RESPONSES),
    "/v1/messages": Route(needs_model=True, dialect=MESSAGES),
    "/v1/messages/count_tokens": Route(needs_model=True, dialect=MESSAGES),
    "/v1/embeddings": _WITH_MODEL,
    "/v1/rerank": _ANY_MODEL,
    "/rerank": _ANY_MODEL,
    "/v1/score": _ANY_MODEL,
    "/score": _ANY_MODEL,
    "/tokenize": _ANY_MODEL,
    "/detokenize": _ANY_MODEL,
    "/v1/audio/transcriptions": _AUDIO,
    "/v1/audio/translations": _AUDIO,
}
"""Relayed paths. A model that is named must be one of the pool's, wherever it may be left out."""
