"""Headers by which a caller claims who it is or how important it is.

Nobody may choose an identity by writing a header. These headers are believed, and go on to the engine, only with a
key that is marked `trusted`: that of a gateway which has checked its own callers.
"""

from typing import Final

from fairlead_router.contract import Header
from fairlead_router.http1.messages import RawHeaders
from fairlead_router.identity.credentials import CREDENTIALS

_TENANT: Final = (
    Header.TENANT.encode(),
    b"x-llm-d-inference-fairness-id",
    b"x-gateway-inference-fairness-id",
)
"""Headers that name a tenant; the first one that is there counts. The last two are llm-d's."""

_OBJECTIVE: Final = (b"x-llm-d-inference-objective", b"x-gateway-inference-objective")
"""llm-d's names of an importance; an objective that is called as a class of the pool means that class."""

IDENTITY_HEADERS: Final = frozenset({*_TENANT, *_OBJECTIVE})

MAX_TENANT_BYTES: Final = 128


def dropped_headers(*, auth: bool, trusted: bool) -> frozenset[bytes]:
    """Return the headers that must not go to an engine; `auth` says whether this router checks keys.

    Where it does, keys end here. Where it does not, they pass as they came: the engine may want them.
    """
    return _DROPPED[auth, trusted]


_DROPPED: Final = {
    (auth, trusted): (CREDENTIALS if auth else frozenset()) | (frozenset() if trusted else IDENTITY_HEADERS)
    for auth in (False, True)
    for trusted in (False, True)
}


def claimed_tenant(headers: RawHeaders) -> str | None:
    """Return the tenant that headers name, or None where they name none that can be logged.

    A name is printable ASCII, without blanks at its ends, of at most `MAX_TENANT_BYTES`. Of a header that comes
    twice the last one counts: it is the one that the gateway added.
    """
    return _claimed(headers, _TENANT)


def claimed_objective(headers: RawHeaders) -> str | None:
    """Return the objective that headers name, by the same rules."""
    return _claimed(headers, _OBJECTIVE)


def _claimed(headers: RawHeaders, names: tuple[bytes, ...]) -> str | None:
    named = {name: value for name, value in headers if name in names}
    for name in names:
        value = named.get(name, b"").strip()
        if value and len(value) <= MAX_TENANT_BYTES and value.isascii() and value.decode("ascii").isprintable():
            return value.decode("ascii")
    return None
