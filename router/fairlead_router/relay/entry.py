"""What follows from the head of a request alone: who asks, where it goes, in which class.

As clients repeat their heads, it is worked out once for all requests whose heads are the same, and anew when the keys or
the configuration are others.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from fairlead_router.config import RouterConfig
from fairlead_router.contract import Header, Reason
from fairlead_router.decisions.types import Quota, Slo
from fairlead_router.edge.target import Target
from fairlead_router.errors import RequestError
from fairlead_router.http1.requests import RequestHead
from fairlead_router.identity.claims import claimed_objective
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import ANYONE, Principal
from fairlead_router.relay.headers import to_engine
from fairlead_router.relay.own_limits import limits_of, wait_of
from fairlead_router.relay.routes import Route
from fairlead_router.relay.services import Services
from fairlead_router.router import Router
from fairlead_router.tracing import Tracer

_ENTRY: Final = "entry"
_SLO_CLASS: Final = Header.SLO_CLASS.encode()
_SESSION: Final = Header.SESSION.encode()
_EXPLAIN: Final = Header.EXPLAIN.encode()
_SESSION_BYTES: Final = 6
"""Of a number that JSON holds exactly; two conversations that share one are only balanced a little worse."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Of a request that is relayed."""

    route: Route
    target: Target
    caller: Principal
    service_class: str
    slo: Slo
    session: int | None
    """A number for the conversation that the request says it belongs to."""
    wait_seconds: float | None
    """As long as the request would wait for room; None: as any."""
    quota: Quota | None
    """What the caller may ask of the class."""
    explained: bool
    """Whether the answer is to say how its endpoint was chosen."""
    line: bytes
    """How the request to the engine begins, up to the engine's address."""
    fields: bytes
    """The client's header fields that go to the engine, as lines."""
    gate: Gate
    config: RouterConfig
    tracer: Tracer
    """By which all this was worked out."""

    def holds(self, services: Services) -> bool:
        """Whether it would be worked out as the same."""
        router = services.router
        return self.gate is router.gate and self.config is router.config and self.tracer is services.tracer


def known_entry(head: RequestHead, services: Services) -> Entry | None:
    """Return the entry of a head that repeats one which was let in, if it still holds."""
    entry: Entry | None = head.derived.get(_ENTRY)
    return entry if entry is not None and entry.holds(services) else None


def entry_of(head: RequestHead, target: Target, caller: Principal, route: Route, services: Services) -> Entry:
    """Let a head in.

    Raises
    ------
    RequestError
        The path takes other methods; the class of the request is not declared, or not allowed to the caller; or its own
        limits are none, or not allowed.

    """
    if head.method not in route.methods:
        allowed = sorted(route.methods)
        message = f"{head.method} {target.path}: use {' or '.join(allowed)}"
        raise RequestError(Reason.METHOD_NOT_ALLOWED, message, allow=", ".join(allowed))
    router = services.router
    service_class = router.class_of(_class_named(head, caller, router), caller)
    slo = limits_of(head.first, router.slos[service_class], caller)
    session = _session_of(head.first.get(_SESSION), caller)
    explained = _EXPLAIN in head.first and (caller.trusted or caller is ANYONE)
    line = b"%b %b HTTP/1.1\r\nhost: " % (head.method.encode(), target.line)
    gate, tracer = router.gate, services.tracer
    fields = to_engine(head.headers, head.first, gate.dropped(caller) | tracer.replaces)
    entry = Entry(
        route, target, caller, service_class, slo, session, wait_of(head.first), caller.quotas.get(service_class), explained,
        line, fields, gate, router.config, tracer,
    )  # fmt: skip
    head.derived[_ENTRY] = entry
    return entry


def _class_named(head: RequestHead, caller: Principal, router: Router) -> bytes | None:
    """Return the class that a head names: by its own header, or as an objective of a gateway that is believed."""
    named = head.first.get(_SLO_CLASS)
    if named is None and caller.trusted:
        objective = claimed_objective(head.headers)
        return objective.encode() if objective in router.slos else None
    return named


def _session_of(name: bytes | None, caller: Principal) -> int | None:
    """Return a number for a conversation: the same in every process, and another for every tenant."""
    if not name:
        return None
    return int.from_bytes(blake2b(caller.tenant.encode() + b"\0" + name, digest_size=_SESSION_BYTES).digest())
