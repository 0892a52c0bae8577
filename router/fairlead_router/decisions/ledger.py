"""What runs where: an account of every endpoint, and the seam to counts that other processes share.

A decision looks at `Account.in_flight`, the requests that run on an endpoint. For a process that does all the work
itself these are its own (`OwnLedger`). With several workers each has a ledger that also reads the others' counts; it
is an edge, and lives elsewhere.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from fairlead_router.contract import EndpointState, TelemetryState
from fairlead_router.decisions.adapters import LoadedAdapters
from fairlead_router.decisions.breaker import Breaker
from fairlead_router.decisions.engine_report import FRESH_SECONDS, NO_REPORT, EngineReport
from fairlead_router.decisions.load import Load
from fairlead_router.decisions.pace import USUAL_LIMITS, EngineLimits, Pace
from fairlead_router.decisions.price import Price, price_of
from fairlead_router.decisions.types import Demand, EndpointView, Ticket

if TYPE_CHECKING:
    from fairlead_router.decisions.board import Board

_GONE: Final = EndpointState.GONE


class Standing(NamedTuple):
    """An endpoint, and what was there at some moment."""

    endpoint: EndpointView
    in_flight: int
    prefill_tokens: int
    decodes: int
    kv_tokens: int


class Account:
    """An endpoint as discovery last showed it, what runs there, and its breaker."""

    __slots__ = (
        "_board", "_reported_at", "_standing", "adapters", "breaker", "caches_prefixes", "endpoint", "followed", "in_flight", "limits",
        "load", "own", "pace", "place", "report", "telemetry", "uid",
    )  # fmt: skip

    def __init__(
        self, endpoint: EndpointView, breaker: Breaker, pace: Pace, limits: EngineLimits = USUAL_LIMITS
    ) -> None:
        """Begin with an endpoint; `limits` are those of the pool's engines."""
        self.uid = endpoint.uid
        self.endpoint = endpoint
        self.limits = endpoint.limits or limits
        """What the endpoint can do at a time."""
        self.report = NO_REPORT
        """What it says of itself, as long as that is fresh."""
        self.telemetry = TelemetryState.NONE
        self.caches_prefixes = True
        """Whether a prompt that was there may be cached there: so it is supposed until the engine says otherwise."""
        self._reported_at = 0.0
        self.breaker = breaker
        self.pace = pace
        self.own = 0
        """Requests in flight that this process has placed."""
        self.in_flight = 0
        """Requests in flight as decisions see them: those of all processes that share a ledger."""
        self.adapters = LoadedAdapters()
        """LoRA adapters that it has, by what this process has placed there."""
        self.load = Load()
        """What this process has placed there, in tokens."""
        self.place = 0
        """Among the endpoints that may get a request."""
        self.followed = False
        """Whether who keeps them side by side knows of all changes."""
        self._board: Board | None = None
        self._standing: Standing | None = None

    @property
    def price(self) -> Price:
        """What another request costs there."""
        board = self._board
        return price_of(self.load, self.pace, self.limits) if board is None else board.prices[self.place]

    @property
    def standing(self) -> Standing:
        """How many requests and tokens there are."""
        return self._standing or self._counted()

    def changed(self) -> None:
        """Work out anew what follows from the rest, when somebody wants to know it."""
        self._standing = None
        if self.followed and self._board is not None:
            self.followed = False
            self._board.changed.append(self)

    def stands(self, place: int, board: "Board") -> None:
        """Note where it stands among others."""
        self.place, self._board, self.followed = place, board, True

    def discovered(self, endpoint: EndpointView, limits: EngineLimits) -> None:
        """Follow what discovery knows; `limits` are those of the pool's engines."""
        self.endpoint = endpoint
        known = endpoint.limits or limits
        self.limits = replace(known, kv_tokens=self.limits.kv_tokens if known.kv_tokens is None else known.kv_tokens)
        self.changed()

    def reported(self, report: EngineReport, now: float) -> None:
        """Note what the engine says; the size of its memory stays true when it says no more."""
        self.report, self.telemetry, self._reported_at = report, TelemetryState.FRESH, now
        if report.caches_prefixes is not None:
            self.caches_prefixes = report.caches_prefixes
        if report.kv_tokens is not None and report.kv_tokens != self.limits.kv_tokens:
            self.limits = replace(self.limits, kv_tokens=report.kv_tokens)
        self.changed()

    def check_freshness(self, now: float) -> None:
        """Forget what the engine said too long ago."""
        if self.telemetry is TelemetryState.FRESH and now - self._reported_at > FRESH_SECONDS:
            self.report, self.telemetry = NO_REPORT, TelemetryState.STALE

    def begin(self, ticket: Ticket, demand: Demand, now: float) -> None:
        """Note a request that is placed there, and predict its first token."""
        load = self.load
        load.begin(ticket, demand, now)
        if demand.adapted:
            ticket.adapted = True
            self.adapters.begin(demand.request.model, self.report.most_adapters)
        if ticket.prefill_tokens:
            ticket.placed_at = now
            pace, batch_tokens = self.pace, self.limits.batch_tokens
            left = load.prefill_left(now, pace.prefill_rate(load.decodes, batch_tokens))
            ticket.predicted_seconds = pace.prefill_seconds(left, load.decodes, batch_tokens)
        self.changed()

    def resume(self, ticket: Ticket, now: float, *, answers: bool) -> None:
        """Note that a request that has just been begun has run for a while."""
        ticket.placed_at = ticket.predicted_seconds = 0.0
        if answers:
            self.load.prompt_done(ticket, now)
            ticket.first_at = 0.0
        self.changed()

    def first_token(self, ticket: Ticket, now: float) -> None:
        """Note that a request gets tokens from now on."""
        if self.load.prompt_done(ticket, now):
            self.pace.predicted(ticket.predicted_seconds, now - ticket.placed_at)
        self.changed()

    def finish(self, ticket: Ticket, output_tokens: int, now: float) -> None:
        """Note that a request has ended, and learn from what its batches were."""
        batches = output_tokens - 1
        if ticket.first_at and batches > 0 and now > ticket.first_at:
            tokens = self.load.tokens_per_batch(ticket, now, batches)
            self.pace.observe(tokens, (now - ticket.first_at) / batches, batches)
        self.load.end(ticket, now)
        if ticket.adapted:
            self.adapters.end(ticket.request.model)
        self.changed()

    @property
    def over(self) -> bool:
        """Whether discovery has lost the endpoint and nothing runs there any more."""
        return self.endpoint.state is _GONE and not self.own and not self.in_flight

    def view(self, now: float) -> EndpointView:
        """Return what others may know of it."""
        return replace(
            self.endpoint,
            in_flight=self.in_flight,
            breaker=self.breaker.state(now),
            limits=self.limits,
            telemetry=self.telemetry,
            kv_usage=self.report.kv_usage,
            prediction_error=self.pace.error,
            engine_running=self.report.running,
            engine_waiting=self.report.waiting,
        )

    def _counted(self) -> Standing:
        load = self.load
        self._standing = standing = Standing(
            self.endpoint, self.in_flight, load.prefill_tokens, load.decodes, load.kv_tokens
        )
        return standing


class Ledger(Protocol):
    """Keeps `Account.in_flight`."""

    def note(self, account: Account) -> None:
        """Take over `account.own`, which has changed."""
        ...

    def refresh(self, accounts: Iterable[Account]) -> None:
        """Bring `in_flight` of the accounts up to date."""
        ...


class OwnLedger:
    """The ledger of a process that does all the work itself."""

    def note(self, account: Account) -> None:
        """Nobody else has requests there."""
        account.in_flight = account.own

    def refresh(self, accounts: Iterable[Account]) -> None:
        """Nothing changes behind this ledger's back."""
