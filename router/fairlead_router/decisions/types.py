"""The words of a routing decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead_router.contract import EndpointState, Reason


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that make a request good; None is no limit."""

    ttft_seconds: float | None = None
    tbt_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RequestView:
    """What a decision may know of a request; `arrived_at` is in seconds of the caller's monotonic clock."""

    request_id: str
    model: str
    service_class: str
    arrived_at: float
    slo: Slo = Slo()
    streamed: bool = False
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EndpointView:
    """What a decision may know of an endpoint: its identity, its state and the router's own ledger of it.

    Discovery fills the first four; the ledger (`in_flight`, `suspect`) is the decider's. `suspect` says that the
    endpoint has just refused a connection.
    """

    uid: str
    address: str
    state: EndpointState
    name: str
    in_flight: int = 0
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that holds a place on an endpoint until `Decider.end`."""

    number: int
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a placed request went; times are seconds since it arrived at the router.

    `good`: it completed, and met the TTFT limit and every TBT limit of its class. An answer that is not streamed has
    neither, and is good when it completes.
    """

    reason: Reason
    good: bool
    duration_seconds: float
    ttft_seconds: float | None
    worst_tbt_seconds: float | None
    token_chunks: int


Decision = Placement | Rejection
Endpoints = Sequence[EndpointView]
