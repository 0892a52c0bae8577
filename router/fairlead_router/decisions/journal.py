"""What was decided of the last requests, and by what: so that a decision can be explained afterwards.

A decision is noted as numbers, in microseconds; sentences are made of them when somebody asks. Requests that ended well make
room for all that come after them; those that were refused, failed or missed a limit only for their like, because they
are what people ask about.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from typing import Any, Final, NamedTuple

from fairlead_router.contract import Reason, Verdict
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.types import Demand, EndpointView, Outcome, Rejection, RequestView, Ticket

MOST_KEPT: Final = 2048
"""Decisions of either kind."""
MOST_SHOWN: Final = 16
"""Endpoints of one decision: of more, those with the highest scores."""


class Weighed(NamedTuple):
    """An endpoint as it was when a request might have gone there."""

    endpoint: EndpointView
    score: float | None
    in_flight: int
    prefill_tokens: int
    decodes: int
    kv_tokens: int
    cached_tokens: int
    """Of this request's prompt."""


class Record:
    """One decision; `outcome` is there once a placed request has ended."""

    __slots__ = (
        "at", "demand", "endpoint", "outcome", "policy", "predicted_ttft", "recalled_for", "refusal", "request",
        "waited_seconds", "weighed", "weighed_number",
    )  # fmt: skip

    def __init__(self, request: RequestView, at: float) -> None:
        self.request = request._replace(prefix=()) if request.prefix else request
        self.at = at
        """Seconds of the decider's clock."""
        self.demand: tuple[int, int] | None = None
        """Expected tokens of the prompt and of the answer, where they were looked at."""
        self.policy = ""
        self.endpoint: EndpointView | None = None
        """Where the request was placed."""
        self.waited_seconds = 0.0
        """For room at an endpoint."""
        self.weighed: Sequence[Weighed] = ()
        self.weighed_number = 0
        """How many there were, with those that are not in `weighed`."""
        self.refusal: Rejection | None = None
        self.predicted_ttft: float | None = None
        """Seconds from the request's arrival."""
        self.outcome: Outcome | None = None
        self.recalled_for: str | None = None
        """Id of the more urgent request for which its place was asked back."""

    def placed(self, ticket: Ticket, waited_seconds: float) -> None:
        """Note where the request is."""
        ticket.record = self
        self.endpoint = ticket.endpoint
        self.waited_seconds = waited_seconds
        if ticket.predicted_seconds:
            self.predicted_ttft = ticket.placed_at + ticket.predicted_seconds - self.request.arrived_at

    @property
    def notable(self) -> bool:
        """Whether the request was refused, or ended and was not good."""
        return self.refusal is not None or (self.outcome is not None and not self.outcome.good)


class Journal:
    """The records of one decider."""

    def __init__(self, policy: str = "", most_kept: int = MOST_KEPT) -> None:
        """Begin empty; `policy` is the name of the one that chooses."""
        self.policy = policy
        self._recent: deque[Record] = deque(maxlen=most_kept)
        self._notable: deque[Record] = deque(maxlen=most_kept)

    def weigh(self, demand: Demand, weighed: Sequence[Account], scores: Sequence[float], now: float) -> Record:
        """Note a decision that is being made, as long as the endpoints are as it sees them."""
        record = Record(demand.request, now)
        record.demand = demand.prompt_tokens, demand.output_tokens
        record.policy = self.policy
        record.weighed_number = len(weighed)
        cached = demand.cached
        record.weighed = [
            Weighed(
                account.endpoint,
                score,
                account.in_flight,
                account.load.prefill_tokens,
                account.load.decodes,
                account.load.kv_tokens,
                cached.get(account.uid, 0),
            )
            for account, score in _best(weighed, scores)
        ]
        self._recent.append(record)
        return record

    def refused(
        self, request: RequestView, refusal: Rejection, now: float, demand: Demand | None, waited_seconds: float
    ) -> None:
        """Note a request that is not run."""
        record = Record(request, now)
        record.waited_seconds = waited_seconds
        record.demand = None if demand is None else (demand.prompt_tokens, demand.output_tokens)
        record.refusal = refusal
        self._notable.append(record)

    def ended(self, ticket: Ticket, outcome: Outcome) -> None:
        """Note how a placed request went."""
        record = ticket.record
        if record is not None:  # else somebody else has placed it
            record.outcome = outcome
            if not outcome.good:
                self._notable.append(record)

    def records(self) -> Iterator[Record]:
        """Return all records, the newest first."""
        kept = {id(record): record for record in (*self._recent, *self._notable)}
        yield from sorted(kept.values(), key=lambda record: record.at, reverse=True)

    def of(self, request_id: str) -> list[Record]:
        """Return what was decided of one request, the newest first: several where it was sent again."""
        return [record for record in self.records() if record.request.request_id == request_id]


def _best(weighed: Sequence[Account], scores: Sequence[float]) -> Sequence[tuple[Account, float | None]]:
    if not scores:
        return [(account, None) for account in weighed[:MOST_SHOWN]]
    if len(weighed) <= MOST_SHOWN:
        return list(zip(weighed, scores, strict=True))
    return nlargest(MOST_SHOWN, zip(weighed, scores, strict=True), key=lambda pair: pair[1])


@dataclass(frozen=True, slots=True)
class Question:
    """Which records somebody wants to see: of one request, or the last ones."""

    request_id: str | None = None
    notable: bool = True
    """Without a request: only of those that were refused, failed or missed a limit."""
    last: int = 20

    def answer(self, journal: Journal, clock_began_at: float) -> list[dict[str, Any]]:
        """Return them as `shown`, the newest first."""
        if self.request_id is not None:
            records: Iterable[Record] = journal.of(self.request_id)
        else:
            kept = (record for record in journal.records() if record.notable or not self.notable)
            records = islice(kept, self.last)
        return [shown(record, clock_began_at) for record in records]


def shown(record: Record, clock_began_at: float) -> dict[str, Any]:
    """Return a record as the admin port shows it; times are seconds of Unix time, `clock_began_at` that of the clock's zero."""
    request, refusal = record.request, record.refusal
    return {
        "requestId": request.request_id,
        "time": clock_began_at + record.at,
        "class": request.service_class,
        "model": request.model,
        "tenant": request.tenant,
        "streamed": request.streamed,
        "limits": {"ttftSeconds": request.slo.ttft_seconds, "tbtSeconds": request.slo.tbt_seconds},
        "promptTokens": record.demand[0] if record.demand else None,
        "outputTokens": record.demand[1] if record.demand else None,
        "verdict": (Verdict.RUN if refusal is None else Verdict.REJECT).value,
        "reason": (Reason.PLACED if refusal is None else refusal.reason).value,
        "message": None if refusal is None else refusal.message,
        "retryAfterSeconds": None if refusal is None else refusal.retry_after_seconds,
        "waitedSeconds": record.waited_seconds,
        "policy": record.policy or None,
        "endpoint": record.endpoint.name if record.endpoint else None,
        "candidates": [_shown(weighed) for weighed in record.weighed],
        "candidatesNotShown": record.weighed_number - len(record.weighed),
        "predictedTtftSeconds": record.predicted_ttft,
        "outcome": None if record.outcome is None else _shown_outcome(record.outcome),
        "recalledFor": record.recalled_for,
    }


def in_one_line(record: Record) -> str:
    """Tell a placement as a header does: `policy=rad; waited=0.012; engine-1=-0.41; engine-0=-0.63`, the best first."""
    ranked = sorted(record.weighed, key=lambda each: -(each.score or 0.0))
    scores = [f"{each.endpoint.name}={each.score:.4g}" for each in ranked if each.score is not None]
    return "; ".join([f"policy={record.policy}", f"waited={record.waited_seconds:.3f}", *scores])


def _shown(weighed: Weighed) -> dict[str, Any]:
    return {
        "endpoint": weighed.endpoint.name,
        "score": weighed.score,
        "inFlight": weighed.in_flight,
        "prefillTokens": weighed.prefill_tokens,
        "decodes": weighed.decodes,
        "kvTokens": weighed.kv_tokens,
        "cachedTokens": weighed.cached_tokens,
    }


def _shown_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "reason": outcome.reason.value,
        "good": outcome.good,
        "ttftSeconds": outcome.ttft_seconds,
        "worstTbtSeconds": outcome.worst_tbt_seconds,
        "durationSeconds": outcome.duration_seconds,
        "tokenChunks": outcome.token_chunks,
    }
