"""Read from a request's body the little that the router needs."""

from typing import Any, NamedTuple

import orjson

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError


class Asked(NamedTuple):
    """What a request asks for, as far as the router cares; `model` is empty where it names none."""

    model: str
    streamed: bool


def asked_of(body: bytes, *, needs_model: bool, max_depth: int) -> Asked:
    """Read what a request asks for.

    Raises
    ------
    RequestError
        The body is not a JSON object, is nested deeper than `max_depth`, or does not name a model as it should.

    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(Reason.INVALID_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        kind = type(request).__name__
        raise RequestError(Reason.INVALID_REQUEST, f"the body must be a JSON object, not {kind}")
    if body.count(b"{") + body.count(b"[") > max_depth and deeper_than(request, max_depth):
        raise RequestError(Reason.INVALID_REQUEST, f"the body is nested deeper than {max_depth} levels")
    model = request.get("model")
    if type(model) is str and model:
        return Asked(model, request.get("stream") is True)
    if model is None and not needs_model:
        return Asked("", request.get("stream") is True)
    if "model" not in request:
        raise RequestError(Reason.INVALID_REQUEST, "model is required: the name of the model to run", param="model")
    raise RequestError(Reason.INVALID_REQUEST, f"model must be a non-empty string, not {model!r:.100}", param="model")


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
