"""The words of a routing decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead_router.contract import EndpointState, Reason


@dataclass(frozen=True, slots=True)
class RequestView:
    """What a decision may know of a request."""

    request_id: str
    model: str
    service_class: str
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EndpointView:
    """What a decision may know of an endpoint: its identity, its state and the router's own ledger of it."""

    uid: str
    address: str
    state: EndpointState
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that holds a place on an endpoint until `Decider.end`."""

    request: RequestView
    endpoint: EndpointView


@dataclass(frozen=True, slots=True)
class Placement:
    """The request runs on the ticket's endpoint; `scores` maps endpoint uid to the score it was picked by."""

    ticket: Ticket
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejection:
    """The request is not run."""

    reason: Reason
    message: str


Decision = Placement | Rejection
Endpoints = Sequence[EndpointView]
