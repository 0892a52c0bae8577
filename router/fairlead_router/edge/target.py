"""One spelling for every path, before anything is decided by it.

A path that is checked in one spelling and served in another is a way around the check. So the target of a request is
normalised once, at the edge; authentication, routing and the engine all see the result.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError

_ABSOLUTE = re.compile(rb"^https?://[^/?#]*", re.IGNORECASE)
_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)+")
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class Target(NamedTuple):
    """Path and query of a request; `path` is normalised, `query` is as the client sent it, without its `?`."""

    path: str
    query: bytes = b""

    @property
    def line(self) -> bytes:
        """Path and query as they stand in a request line."""
        path = self.path.encode("ascii")
        return path + b"?" + self.query if self.query else path


def target_of(raw: bytes) -> Target:
    """Normalise the target of a request.

    Escapes of characters that need none are undone, empty and dot segments resolved, a trailing slash dropped. Other
    escapes stay, in capitals: `%2F` is part of a name and no slash.

    Raises
    ------
    RequestError
        The target is no path, leads above the root, or has an escape that is none.

    """
    path, _, query = _ABSOLUTE.sub(b"", raw, count=1).partition(b"?")
    if _PLAIN.fullmatch(path) and b"#" not in query:
        return Target(path.decode("ascii"), query)
    path = path or b"/"
    if not path.startswith(b"/") or b"#" in raw or len(_ESCAPE.findall(path)) != path.count(b"%"):
        raise _refused(raw)
    segments: list[bytes] = []
    for segment in _ESCAPE.sub(_unescaped, path).split(b"/"):
        if segment == b"..":
            if not segments:
                raise _refused(raw)
            segments.pop()
        elif segment not in {b"", b"."}:
            segments.append(segment)
    try:
        return Target("/" + b"/".join(segments).decode("ascii"), query)
    except UnicodeDecodeError:
        raise _refused(raw) from None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    character = unquote_to_bytes(escape.group())
    return character if character[0] in _UNRESERVED else escape.group().upper()


def _refused(raw: bytes) -> RequestError:
    return RequestError(Reason.INVALID_REQUEST, f"the request's target must be a path, not {raw!r:.100}")
