"""What follows from the head of a request alone: who asks, where it goes, in which class.

As clients repeat their heads, it is worked out once for all requests whose heads are the same, and anew when the keys or
the configuration are others.
"""

from dataclasses import dataclass
from typing import Final

from fairlead_router.config import RouterConfig
from fairlead_router.contract import Header, Reason
from fairlead_router.decisions.types import Slo
from fairlead_router.edge.target import Target
from fairlead_router.errors import RequestError
from fairlead_router.http1.requests import RequestHead
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import Principal
from fairlead_router.relay.routes import Route
from fairlead_router.router import Router

_ENTRY: Final = "entry"
_SLO_CLASS: Final = Header.SLO_CLASS.encode()


@dataclass(frozen=True, slots=True)
class Entry:
    """Of a request that is relayed."""

    route: Route
    target: Target
    caller: Principal
    service_class: str
    slo: Slo
    gate: Gate
    """By which the caller was identified."""
    config: RouterConfig
    """By which the rest was decided."""


def known_entry(head: RequestHead, router: Router) -> Entry | None:
    """Return the entry of a head that repeats one which was let in, if all still holds."""
    entry: Entry | None = head.derived.get(_ENTRY)
    return entry if entry is not None and entry.gate is router.gate and entry.config is router.config else None


def entry_of(head: RequestHead, target: Target, caller: Principal, route: Route, router: Router) -> Entry:
    """Let a head in.

    Raises
    ------
    RequestError
        The path takes other methods; or the class of the request is not declared, or not allowed to the caller.

    """
    if head.method not in route.methods:
        allowed = sorted(route.methods)
        message = f"{head.method} {target.path}: use {' or '.join(allowed)}"
        raise RequestError(Reason.METHOD_NOT_ALLOWED, message, allow=", ".join(allowed))
    service_class = router.class_of(head.first.get(_SLO_CLASS), caller)
    slo = router.slos[service_class]
    entry = Entry(route, target, caller, service_class, slo, router.gate, router.config)
    head.derived[_ENTRY] = entry
    return entry
