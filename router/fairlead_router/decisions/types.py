"""The words of a routing decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from fairlead_router.contract import BreakerState, EndpointState, Reason, Role, TelemetryState
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.load import Load
from fairlead_router.decisions.pace import EngineLimits, Pace
from fairlead_router.decisions.price import Price

if TYPE_CHECKING:
    from fairlead_router.decisions.adapters import LoadedAdapters
    from fairlead_router.decisions.journal import Record
    from fairlead_router.decisions.ledger import Account


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant may ask of a class in a minute; None is no limit."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that make a request good; None is no limit."""

    ttft_seconds: float | None = None
    tbt_seconds: float | None = None

    def met_by(self, ttft_seconds: float | None, worst_tbt_seconds: float | None) -> bool:
        """Judge a completed request; what was not measured (no stream, a single token) breaks no limit."""
        ttft_met = ttft_seconds is None or self.ttft_seconds is None or ttft_seconds <= self.ttft_seconds
        return ttft_met and (
            worst_tbt_seconds is None or self.tbt_seconds is None or worst_tbt_seconds <= self.tbt_seconds
        )


class RequestView(NamedTuple):
    """What a decision may know of a request; `arrived_at` is in seconds of the caller's monotonic clock."""

    request_id: str
    model: str
    service_class: str
    arrived_at: float
    slo: Slo = Slo()
    streamed: bool = False
    prompt_bytes: int = 0
    prompt_tokens: int | None = None
    """Where somebody has counted them; else they are estimated."""
    max_output_tokens: int | None = None
    prefix: tuple[int, ...] = ()
    """Names of the prompt's blocks in their order, each covering all blocks before."""
    prefix_ends: Sequence[int] = ()
    """Tokens from the prompt's beginning to the end of each of at least as many blocks."""
    tenant: str = ""
    session: int | None = None
    """A number for the conversation that it says it belongs to."""
    explained: bool = False
    """Whether its placement is to be explained at once."""
    quota: Quota | None = None
    """What its tenant may ask of its class in a minute; None is no limit."""
    taken_from: str = ""
    """Uid of the endpoint at which its place was taken back; empty where none was. That happens once at most."""
    fingerprint: int = 0
    """Of the body, where somebody may ask whether the request came before; else 0."""
    wait_seconds: float | None = None
    """As long as it may wait for room, where it asks for less than any may."""


NOTHING_CACHED: Final[Mapping[str, int]] = {}
"""Of a prompt that no endpoint has."""


class Demand(NamedTuple):
    """A request, and what it is expected to ask of an engine."""

    request: RequestView
    prompt_tokens: int
    output_tokens: int
    cached: Mapping[str, int]
    """Tokens of the prompt that an endpoint is believed to have computed before, by uid."""
    adapted: bool = False
    """Whether the model is a LoRA adapter."""

    @property
    def tokens(self) -> int:
        """Those of the prompt and of the expected answer: the work that the request is."""
        return self.prompt_tokens + self.output_tokens

    @property
    def home(self) -> str | None:
        """The endpoint that has at least half of the prompt cached, and more than others; None where none has."""
        uid = max(self.cached, key=self.cached.__getitem__, default=None)
        return uid if uid is not None and 2 * self.cached[uid] >= self.prompt_tokens else None

    def tokens_to_compute(self, uid: str) -> int:
        """Return the tokens of the prompt that an endpoint has to compute; at least one."""
        return max(1, self.prompt_tokens - self.cached.get(uid, 0))


@dataclass(frozen=True, slots=True)
class EndpointView:
    """What may be known of an endpoint: its identity, its state and the router's own ledger of it.

    Discovery fills identity, state, limits, revision and role; the rest is the decider's.
    """

    uid: str
    address: str
    state: EndpointState
    name: str
    in_flight: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    limits: EngineLimits | None = None
    """What it can do at a time; None where discovery does not know it, and it is as all of the pool."""
    revision: str = ""
    """What it is made from; empty where that is not known."""
    role: Role = Role.BOTH
    telemetry: TelemetryState = TelemetryState.NONE
    kv_usage: float | None = None
    """Share of its KV memory that is taken, as it says; None while that is not known."""
    prediction_error: float = 0.0
    """Relative error of the TTFTs predicted for it, as of late."""
    engine_running: int | None = None
    """Requests in its batches, as it says, whoever has sent them; None while that is not known."""
    engine_waiting: int | None = None
    """Requests that it has and does not run yet, as it says."""


class Occupied(Protocol):
    """An endpoint, and what runs there."""

    @property
    def uid(self) -> str: ...  # noqa: D102 - the class says it
    @property
    def in_flight(self) -> int: ...  # noqa: D102 - requests that run there
    @property
    def load(self) -> Load: ...  # noqa: D102 - and in tokens
    @property
    def pace(self) -> Pace: ...  # noqa: D102 - how fast it works
    @property
    def limits(self) -> EngineLimits: ...  # noqa: D102 - what it can do at a time
    @property
    def report(self) -> EngineReport: ...  # noqa: D102 - what it says of itself, as long as that is fresh
    @property
    def telemetry(self) -> TelemetryState: ...  # noqa: D102 - whether it does


class Candidate(Occupied, Protocol):
    """An endpoint as policies see it: one that may get the request."""

    @property
    def price(self) -> Price: ...  # noqa: D102 - what another request costs there
    @property
    def adapters(self) -> "LoadedAdapters": ...  # noqa: D102 - the LoRA adapters that it has


class TicketError(Exception):
    """A ticket was used after its end."""


class Holder(Protocol):
    """Who holds a place."""

    def recalled(self) -> None:
        """Give the place back for a more urgent request, and ask for another; but not once the engine has begun to answer."""
        ...


class Ticket:
    """A request that holds a place on an endpoint until `Decider.end`, and how far it has come.

    Times are in seconds since the request arrived.
    """

    __slots__ = (
        "_arrived_at", "account", "adapted", "charged_tokens", "endpoint", "first_at", "holder", "kv_tokens", "last_token", "open", "placed_at",
        "predicted_seconds", "prefill_tokens", "record", "request", "seen", "token_chunks", "trial", "ttft", "worst_tbt",
    )  # fmt: skip

    def __init__(self, request: RequestView, account: "Account", *, trial: bool) -> None:
        self.request = request
        self._arrived_at = request.arrived_at
        self.endpoint = account.endpoint
        """As it was when the request was placed."""
        self.account = account
        """The decider's; nobody else looks at it."""
        self.trial = trial
        """The endpoint's breaker was not closed: how this request goes tells whether it can be."""
        self.open = True
        # The decider's books.
        self.adapted = False
        self.charged_tokens = 0
        self.placed_at = 0.0
        self.predicted_seconds = 0.0  # from the placement to the first token
        self.first_at = 0.0
        self.seen = (0.0, 0)
        self.prefill_tokens = 0
        self.kv_tokens = 0
        self.holder: Holder | None = None
        """Who can be asked to give the place back."""
        self.record: Record | None = None
        """Of the decision that has placed it, where one is kept."""
        self.ttft: float | None = None
        self.last_token = 0.0
        self.worst_tbt: float | None = None
        self.token_chunks = 0

    def first_token(self, now: float) -> float:
        """Note the first chunk that carries tokens; returns the TTFT.

        Raises
        ------
        TicketError
            The ticket has ended.

        """
        if not self.open:
            raise self.ended_already()
        self.ttft = self.last_token = now - self._arrived_at
        self.token_chunks = 1
        return self.ttft

    def further_tokens(self, chunks: int, now: float) -> float:
        """Note chunks that carry tokens and arrived together; returns the gap before them.

        Raises
        ------
        TicketError
            The ticket has ended.

        """
        if not self.open:
            raise self.ended_already()
        since_arrival = now - self._arrived_at
        gap = since_arrival - self.last_token
        self.last_token = since_arrival
        self.token_chunks += chunks
        if self.worst_tbt is None or gap > self.worst_tbt:
            self.worst_tbt = gap
        return gap

    def ended_already(self) -> TicketError:
        """Return the error for whoever uses the ticket after its end."""
        return TicketError(f"the ticket of request {self.request.request_id} has ended already")


class Placement(NamedTuple):
    """The request runs on the ticket's endpoint; it was picked among `weighed` by their `scores`."""

    ticket: Ticket
    weighed: Sequence[Candidate] = ()
    scores: Sequence[float] = ()
    explanation: str = ""
    """In one line, where the request asks for it."""

    @property
    def scores_by_uid(self) -> Mapping[str, float]:
        """What each endpoint that was weighed was worth."""
        return {each.uid: score for each, score in zip(self.weighed, self.scores, strict=True)}


@dataclass(frozen=True, slots=True)
class Rejection:
    """The request is not run."""

    reason: Reason
    message: str
    retry_after_seconds: int | None = None
    """When it may be worth to come back."""


class Usage(NamedTuple):
    """Tokens of a prompt and of its answer, as an engine has counted them."""

    prompt_tokens: int
    output_tokens: int


class Outcome(NamedTuple):
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
