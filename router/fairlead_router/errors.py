"""Errors that are answered to clients, in OpenAI's shape, and the HTTP status of each reason.

Shape: https://platform.openai.com/docs/guides/error-codes and the SDKs, which read `error.message`, `type`, `code`
and `param`.
"""

from collections.abc import Mapping
from enum import Enum, auto

import orjson

from fairlead_router.contract import Header, Reason

STATUS: Mapping[Reason, int] = {
    Reason.INVALID_REQUEST: 400,
    Reason.UNKNOWN_CLASS: 400,
    Reason.INVALID_API_KEY: 401,
    Reason.CLASS_NOT_ALLOWED: 403,
    Reason.MODEL_NOT_ALLOWED: 403,
    Reason.NOT_FOUND: 404,
    Reason.MODEL_NOT_FOUND: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.REQUEST_TOO_LARGE: 413,
    Reason.QUEUE_FULL: 429,
    Reason.QUEUE_TIMEOUT: 429,
    Reason.QUOTA_EXCEEDED: 429,
    Reason.SLO_UNREACHABLE: 429,
    Reason.HEADERS_TOO_LARGE: 431,
    Reason.INTERNAL_ERROR: 500,
    Reason.NOT_IMPLEMENTED: 501,
    Reason.ENGINE_UNREACHABLE: 502,
    Reason.ENGINE_DISCONNECTED: 502,
    Reason.NO_ENDPOINT: 503,
    Reason.OVERLOADED: 503,
    Reason.SHUTTING_DOWN: 503,
    Reason.FIRST_BYTE_TIMEOUT: 504,
    Reason.INTER_TOKEN_TIMEOUT: 504,
    Reason.TOTAL_TIMEOUT: 504,
}
"""Status of an answer that the router itself makes; reasons that only end a relayed answer have none."""

DROPPED: Mapping[Reason, str] = {
    Reason.QUEUE_FULL: "rejected-saturated",
    Reason.SLO_UNREACHABLE: "rejected-saturated",
    Reason.QUEUE_TIMEOUT: "rejected-ttl-expired",
    Reason.NO_ENDPOINT: "rejected-no-endpoints",
    Reason.SHUTTING_DOWN: "rejected-shutting-down",
}
"""llm-d's words for requests that were dropped, by which its clients and batch gateways tell what to do."""

RETRY_AFTER_SECONDS: Mapping[Reason, int] = {Reason.NO_ENDPOINT: 5, Reason.OVERLOADED: 1, Reason.SHUTTING_DOWN: 1}
"""A pod that becomes ready is seen within seconds; another replica of a stopping router answers at once."""


class ErrorShape(Enum):
    """How the API that a client speaks writes errors."""

    OPENAI = auto()
    ANTHROPIC = auto()
    """https://docs.anthropic.com/en/api/errors; `code` and `param` are there as well."""


_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class RequestError(Exception):
    """A request that the router answers itself.

    `param` names the field of the request that is wrong, `allow` the methods that would do, `retry_after` the seconds after
    which it may be worth to come back, where more is known of them than the reason.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        param: str | None = None,
        *,
        allow: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.allow = allow
        self.retry_after = RETRY_AFTER_SECONDS.get(reason) if retry_after is None else retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]

    def body(self, shape: ErrorShape = ErrorShape.OPENAI) -> bytes:
        """Return the JSON body."""
        return orjson.dumps(self._content(shape))

    def event(self, shape: ErrorShape = ErrorShape.OPENAI) -> bytes:
        """Return the error as an event of a stream."""
        name = b"event: error\n" if shape is ErrorShape.ANTHROPIC else b""
        return name + b"data: " + self.body(shape) + b"\n\n"

    def _content(self, shape: ErrorShape) -> dict[str, object]:
        error = {"message": self.message, "type": self._kind(shape), "code": self.reason, "param": self.param}
        return {"type": "error", "error": error} if shape is ErrorShape.ANTHROPIC else {"error": error}

    def _kind(self, shape: ErrorShape) -> str:
        if shape is ErrorShape.ANTHROPIC:
            return _ANTHROPIC_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that go with the body."""
        headers = [(b"content-type", b"application/json"), (Header.REASON.encode(), self.reason.encode())]
        if self.retry_after is not None:
            headers.append((Header.RETRY_AFTER.encode(), b"%d" % self.retry_after))
        if self.reason in DROPPED:
            headers.append((Header.DROPPED_REASON.encode(), DROPPED[self.reason].encode()))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 section 15.5.2
        if self.allow is not None:
            headers.append((b"allow", self.allow.encode()))  # RFC 9110 section 15.5.6
        return headers
