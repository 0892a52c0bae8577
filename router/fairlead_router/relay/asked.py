"""Read from a request's body the little that the router needs."""

from typing import Any, Final, NamedTuple

import orjson

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.relay.prompt_blocks import SHORTEST_BYTES, blocks_of

MAX_BRACKETS: Final = 500_000
MAX_COMMAS: Final = 4_000_000
"""More of either is refused unread: as objects of Python, `{}` takes 24 times its bytes, and seconds to read.

No prompt comes near, in text or in tokens. Brackets and commas inside strings count as well, as it would take as long to
tell them apart as to read them.
"""
_SHORT_BYTES: Final = 4096
_LIMITS_OF_OUTPUT: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Of chats, of completions and Anthropic's messages, of responses."""


class Asked(NamedTuple):
    """What a request asks for, as far as the router cares; `model` is empty where it names none."""

    model: str
    streamed: bool
    max_output_tokens: int | None = None
    prefix: tuple[int, ...] = ()


def asked_of(body: bytes, needs_model: bool, max_depth: int, with_prefix: bool) -> Asked:
    """Read what a request asks for; `with_prefix` has the blocks of its prompt named.

    Raises
    ------
    RequestError
        The body is not a JSON object, is nested deeper than `max_depth` or of too many parts, or does not name a model
        as it should.

    """
    nests = _has_more_brackets(body, max_depth)
    if (nests and _is_of_too_many_parts(body)) or (len(body) > MAX_COMMAS and body.count(b",") > MAX_COMMAS):
        raise RequestError(
            Reason.INVALID_REQUEST, f"the body has more than {MAX_BRACKETS} brackets or {MAX_COMMAS} commas"
        )
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(Reason.INVALID_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        kind = type(request).__name__
        raise RequestError(Reason.INVALID_REQUEST, f"the body must be a JSON object, not {kind}")
    if nests and deeper_than(request, max_depth):
        raise RequestError(Reason.INVALID_REQUEST, f"the body is nested deeper than {max_depth} levels")
    model = request.get("model")
    if (type(model) is str and model) or (model is None and not needs_model):
        prefix = blocks_of(body, request) if with_prefix and len(body) >= SHORTEST_BYTES else ()
        return Asked(model or "", request.get("stream") is True, _most_output_tokens(request), prefix)
    if "model" not in request:
        raise RequestError(Reason.INVALID_REQUEST, "model is required: the name of the model to run", param="model")
    raise RequestError(Reason.INVALID_REQUEST, f"model must be a non-empty string, not {model!r:.100}", param="model")


def _has_more_brackets(body: bytes, number: int) -> bool:
    """Whether there are more opening brackets than that; in long prose, to look for each takes a tenth of counting them."""
    if len(body) < _SHORT_BYTES:
        return body.count(b"{") + body.count(b"[") > number
    for bracket in (b"{", b"["):
        place = body.find(bracket)
        while place >= 0:
            number -= 1
            if number < 0:
                return True
            place = body.find(bracket, place + 1)
    return False


def _is_of_too_many_parts(body: bytes) -> bool:
    return len(body) > MAX_BRACKETS and body.count(b"{") + body.count(b"[") > MAX_BRACKETS


def _most_output_tokens(request: dict[str, Any]) -> int | None:
    """Return the limit that a request sets to its answer; an engine judges whether it makes sense."""
    for name in _LIMITS_OF_OUTPUT:
        if type(limit := request.get(name)) is int and limit > 0:
            return limit
    return None


def deeper_than(value: Any, limit: int) -> bool:
    """Whether a JSON value is nested deeper than `limit` levels; looks at one level after another."""
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
