"""Errors that a client sees, in vLLM's shape.

RequestError          any refusal: {"error": {"message", "type", "param", "code"}}
  bad_request         400, a value out of range
  invalid_body        400, not JSON, or a field missing or of the wrong kind
  model_not_found     404
  too_many_requests   429, with Retry-After
  internal_error      500 and its like
  shutting_down       503
GenerationStoppedError     inside the server: the answer will never be complete
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

ANTHROPIC_PATHS = "/v1/messages"
"""Errors of these paths have Anthropic's shape."""


class RequestError(Exception):
    """A request that is refused with an HTTP status and an error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """Return the response body in OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}}

    def anthropic_body(self) -> dict[str, Any]:
        """Return the response body in Anthropic's shape."""
        return {"type": "error", "error": {"type": self.kind, "message": self.message}}


class GenerationStoppedError(Exception):
    """The batch loop gave a request up: its client left, or the engine is stopping."""


def error_response(error: RequestError, path: str) -> Response:
    """Return the response for a request to `path` that is refused."""
    body = error.anthropic_body() if path.startswith(ANTHROPIC_PATHS) else error.body()
    headers = None if error.headers is None else dict(error.headers)
    return Response(orjson.dumps(body), status_code=error.status, headers=headers, media_type="application/json")


def bad_request(message: str, *, param: str | None = None, value: object = None) -> RequestError:
    """Return the error for a value that the engine cannot honour."""
    if param is not None:
        message += f" (parameter={param})" if value is None else f" (parameter={param}, value={value})"
    return RequestError(400, message, kind="BadRequestError", param=param)


def invalid_body(error: ValidationError) -> RequestError:
    """Return the error for a body whose fields are missing or of the wrong kind."""
    details = error.errors(include_url=False, include_context=False)
    places = [".".join(str(part) for part in ("body", *detail["loc"])) for detail in details]
    lines = [
        f"  {{'type': {detail['type']!r}, 'loc': {place!r}, 'msg': {detail['msg']!r}, 'input': {_brief(detail['input'])!r}}}"
        for place, detail in zip(places, details, strict=True)
    ]
    count = f"{len(lines)} validation error{'s' if len(lines) > 1 else ''}:"
    return RequestError(400, "\n".join([count, *lines]), kind="Bad Request", param=places[0])


def invalid_json(message: str) -> RequestError:
    """Return the error for a body that is not JSON."""
    line = f"  {{'type': 'json_invalid', 'loc': 'body', 'msg': {f'JSON decode error: {message}'!r}}}"
    return RequestError(400, f"1 validation error:\n{line}", kind="Bad Request", param="body")


def model_not_found(model: str, served_model_names: tuple[str, ...]) -> RequestError:
    """Return the error for a model that is not served."""
    names = ", ".join(served_model_names)
    message = f"The model `{model}` does not exist. Valid aliases: {names}."
    return RequestError(404, message, kind="NotFoundError", param="model")


def too_many_requests(*, retry_after_seconds: int) -> RequestError:
    """Return the error for a request that comes at a bad time."""
    message = f"The engine takes no more requests; try again in {retry_after_seconds} s."
    headers = {"retry-after": str(retry_after_seconds)}
    return RequestError(429, message, kind=HTTPStatus.TOO_MANY_REQUESTS.phrase, headers=headers)


def internal_error(status: int) -> RequestError:
    """Return an error that is the engine's own, with a status of 500 to 599."""
    kind = {500: "InternalServerError", 503: "ServiceUnavailableError"}.get(status)
    known = status in {entry.value for entry in HTTPStatus}
    return RequestError(
        status, "The engine failed.", kind=kind or (HTTPStatus(status).phrase if known else "InternalServerError")
    )


def shutting_down() -> RequestError:
    """Return the error for a request that comes, or is cut, while the engine stops."""
    return RequestError(503, "The engine is shutting down.", kind="ServiceUnavailableError")


def _brief(value: object) -> str:
    """Say what was given without repeating a whole body."""
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)[:100]
