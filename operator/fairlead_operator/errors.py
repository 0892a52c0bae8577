"""What can go wrong with the API server, told by what the operator does about it.

ApiError
├── UnavailableError    it did not answer, or asked to wait: try again later, with back-off
├── ConflictError       the object changed or is being deleted: look again, then plan again
├── RefusedError        it will not have this object: say so in the status, try again slowly
│   └── NotFoundError   there is no such object, or no such place for it
└── NameTakenError      an object of that name exists and belongs to somebody else
"""


class ApiError(Exception):
    """The API server did not do what was asked; `str()` is its own message."""


class UnavailableError(ApiError):
    """Nothing is wrong with the request."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ConflictError(ApiError):
    """The object is not what the request assumed."""


class RefusedError(ApiError):
    """Validation, admission, quota or rights stand against the request."""


class NotFoundError(RefusedError):
    """There is no such object, or no such place for it."""


class NameTakenError(ApiError):
    """A child's name belongs to an object that the pool does not own."""
