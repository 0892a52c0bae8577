"""Where a request carries its API key: the headers that clients of the usual APIs send."""

from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.http1.messages import RawHeaders

CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"api-key"})
"""`authorization: Bearer KEY` (OpenAI), `x-api-key: KEY` (Anthropic) and `api-key: KEY` (Azure)."""

_SCHEME: Final = b"bearer "


def key_of(headers: RawHeaders) -> bytes | None:
    """Return the key that a request carries, or None where it carries none; names of headers are in lower case.

    Raises
    ------
    RequestError
        It carries two different keys: which of them counts would be a guess.

    """
    found: bytes | None = None
    for name, value in headers:
        if name in CREDENTIALS:
            key = _key_in(name, value)
            if key and found is not None and key != found:
                raise RequestError(Reason.INVALID_API_KEY, "the request carries two different API keys; send one")
            found = key or found
    return found


def _key_in(name: bytes, value: bytes) -> bytes:
    """Return the key in one header, empty where there is none."""
    if name != b"authorization":
        return value.strip()
    return value[len(_SCHEME) :].strip() if value[: len(_SCHEME)].lower() == _SCHEME else b""
