"""Errors that a client sees, in vLLM's shape.

RequestError          any refusal: {"error": {"message", "type", "param", "code"}}
  bad_request         400, a value out of range
  invalid_body        400, not JSON, or a field missing or of the wrong kind
  model_not_found     404
  shutting_down       503
GenerationStoppedError     inside the server: the answer will never be complete
"""

from typing import Any

from pydantic import ValidationError


class RequestError(Exception):
    """A request that is refused with an HTTP status and an OpenAI error body."""

    def __init__(self, status: int, message: str, *, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the response body."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}}


class GenerationStoppedError(Exception):
    """The batch loop gave a request up: its client left, or the engine is stopping."""


def bad_request(message: str, *, param: str | None = None, value: object = None) -> RequestError:
    """Return the error for a value that the engine cannot honour."""
    if param is not None:
        message += f" (parameter={param})" if value is None else f" (parameter={param}, value={value})"
    return RequestError(400, message, kind="BadRequestError", param=param)


def invalid_body(error: ValidationError) -> RequestError:
    """Return the error for a body whose fields are missing or of the wrong kind."""
    details = error.errors(include_url=False, include_context=False)
    places = [".".join(str(part) for part in ("body", *detail["loc"])) for detail in details]
    lines = [f"  {place}: {detail['msg']} ({detail['type']})" for place, detail in zip(places, details, strict=True)]
    count = f"{len(lines)} validation error{'s' if len(lines) > 1 else ''}:"
    return RequestError(400, "\n".join([count, *lines]), kind="Bad Request", param=places[0])


def invalid_json(message: str) -> RequestError:
    """Return the error for a body that is not JSON."""
    return RequestError(400, f"1 validation error:\n  body: {message} (json_invalid)", kind="Bad Request", param="body")


def model_not_found(model: str, served_model_names: tuple[str, ...]) -> RequestError:
    """Return the error for a model that is not served."""
    names = ", ".join(served_model_names)
    message = f"The model `{model}` does not exist. Valid aliases: {names}."
    return RequestError(404, message, kind="NotFoundError", param="model")


def shutting_down() -> RequestError:
    """Return the error for a request that comes, or is cut, while the engine stops."""
    return RequestError(503, "The engine is shutting down.", kind="ServiceUnavailableError")
