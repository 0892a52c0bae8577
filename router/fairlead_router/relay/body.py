"""Read a request's body, and read from it the little that the router needs."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.relay.headers import RawHeaders, find

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Room for long contexts with images; bounds what one client can make the router hold."""


class ClientGoneError(Exception):
    """The client hung up before its request was complete."""


async def read_body(headers: RawHeaders, receive: Receive) -> bytes:
    """Read the whole body.

    Raises
    ------
    RequestError
        The body is larger than `MAX_BODY_BYTES`.
    ClientGoneError
        The client hung up.

    """
    declared = find(headers, "content-length")
    if declared is not None and declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, as far as the router cares."""

    model: str
    streamed: bool


def asked_of(body: bytes) -> Asked:
    """Read what a request asks for.

    Raises
    ------
    RequestError
        The body is not a JSON object with a string `model`.

    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(Reason.INVALID_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        kind = type(request).__name__
        raise RequestError(Reason.INVALID_REQUEST, f"the body must be a JSON object, not {kind}")
    if "model" not in request:
        raise RequestError(Reason.INVALID_REQUEST, "model is required: the name of the model to run", param="model")
    model = request["model"]
    if not isinstance(model, str) or not model:
        raise RequestError(
            Reason.INVALID_REQUEST, f"model must be a non-empty string, not {model!r:.100}", param="model"
        )
    return Asked(model, streamed=request.get("stream") is True)


def _too_large() -> RequestError:
    return RequestError(Reason.REQUEST_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
