"""What was decided of the last requests, and by what: so that a decision can be explained afterwards.

A decision is noted as numbers, in microseconds; sentences are made of them when somebody asks. Requests that ended well make
room for all that come after them; those that were refused, failed or missed a limit only for their like, because they
are what people ask about.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice, repeat
from typing import Any, Final, NamedTuple

from fairlead_router.contract import Reason, Verdict
from fairlead_router.decisions.board import standings_of
from fairlead_router.decisions.ledger import Account, Standing
from fairlead_router.decisions.types import (
    NOTHING_CACHED,
    Demand,
    EndpointView,
    Outcome,
    Rejection,
    RequestView,
    Ticket,
)

MOST_KEPT: Final = 2048
"""Decisions of either kind."""
MOST_SHOWN: Final = 16
"""Endpoints of one decision: of more, those with the highest scores."""


class Weighed(NamedTuple):
    """The endpoints that a request might have gone to, as they were; of many, those with the highest scores."""

    standings: Sequence[Standing]
    scores: Sequence[float]
    """Of each; none where the policy gives none."""
    number: int
    """How many there were, with those that are left out."""


class Record:
    """One decision, of a request that was placed or refused. It has nothing of the prompt, not even hashes."""

    __slots__ = (
        "arrived_at", "at", "cached", "endpoint", "model", "outcome", "output_tokens", "policy", "predicted_seconds",
        "prompt_tokens", "recalled_for", "refusal", "request_id", "service_class", "slo", "streamed", "tenant", "waited_seconds", "weighed",
    )  # fmt: skip

    def __init__(self, request: RequestView, at: float, waited_seconds: float) -> None:
        self.request_id = request.request_id
        self.model = request.model
        self.service_class = request.service_class
        self.tenant = request.tenant
        self.slo = request.slo
        self.streamed = request.streamed
        self.arrived_at = request.arrived_at
        self.at = at
        """Seconds of the decider's clock, as of `arrived_at`."""
        self.waited_seconds = waited_seconds
        """For room at an endpoint."""
        self.prompt_tokens: int | None = None
        """Expected, as `output_tokens`; None where nobody has looked at them."""
        self.output_tokens: int | None = None
        self.refusal: Rejection | None = None
        # Of a request that was placed.
        self.policy = ""
        self.endpoint: EndpointView | None = None
        self.predicted_seconds = 0.0
        """From there to the first token; 0 where that is not known."""
        self.weighed: Weighed = NOBODY
        self.cached: Mapping[str, int] = NOTHING_CACHED
        """Tokens of the prompt that endpoints had, by uid."""
        self.outcome: Outcome | None = None
        """None before its end."""
        self.recalled_for: str | None = None
        """Id of the more urgent request for which its place was asked back."""

    @property
    def predicted_ttft(self) -> float | None:
        """Seconds from the request's arrival."""
        return self.at + self.predicted_seconds - self.arrived_at if self.predicted_seconds else None

    @property
    def notable(self) -> bool:
        """Whether the request was refused, or ended and was not good."""
        return self.refusal is not None or (self.outcome is not None and not self.outcome.good)


NOBODY: Final = Weighed((), (), 0)


class Journal:
    """The records of one decider."""

    def __init__(self, policy: str = "", most_kept: int = MOST_KEPT) -> None:
        """Begin empty; `policy` is the name of the one that chooses."""
        self.policy = policy
        self._recent: deque[Record] = deque(maxlen=most_kept)
        self._notable: deque[Record] = deque(maxlen=most_kept)

    def placed(self, ticket: Ticket, demand: Demand, weighed: Weighed, now: float, waited_seconds: float) -> Record:
        """Note where a request has gone; `weighed` as it was before."""
        record = ticket.record = Record(ticket.request, now, waited_seconds)
        record.prompt_tokens = demand.prompt_tokens
        record.output_tokens = demand.output_tokens
        record.policy = self.policy
        record.endpoint = ticket.endpoint
        record.predicted_seconds = ticket.predicted_seconds
        record.weighed = weighed
        record.cached = demand.cached
        self._recent.append(record)
        return record

    def refused(
        self, request: RequestView, refusal: Rejection, now: float, demand: Demand | None, waited_seconds: float
    ) -> None:
        """Note a request that is not run."""
        record = Record(request, now, waited_seconds)
        if demand is not None:
            record.prompt_tokens, record.output_tokens = demand.prompt_tokens, demand.output_tokens
        record.refusal = refusal
        self._notable.append(record)

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Note how a placed request went."""
        record.outcome = outcome
        if not outcome.good:
            self._notable.append(record)

    def records(self) -> Iterator[Record]:
        """Return all records, the newest first."""
        kept = {id(record): record for record in (*self._recent, *self._notable)}
        yield from sorted(kept.values(), key=lambda record: record.at, reverse=True)

    def of(self, request_id: str) -> list[Record]:
        """Return what was decided of one request, the newest first: several where it was sent again."""
        return [record for record in self.records() if record.request_id == request_id]


def weighed_now(candidates: Sequence[Account], scores: Sequence[float]) -> Weighed:
    """Return endpoints as they are, for the journal."""
    number = len(candidates)
    if number > MOST_SHOWN:
        if scores:
            best = nlargest(MOST_SHOWN, range(number), key=scores.__getitem__)
            candidates, scores = [candidates[place] for place in best], [scores[place] for place in best]
        else:
            candidates = candidates[:MOST_SHOWN]
    return Weighed(standings_of(candidates), scores, number)


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
    refusal = record.refusal
    return {
        "requestId": record.request_id,
        "time": clock_began_at + record.at,
        "class": record.service_class,
        "model": record.model,
        "tenant": record.tenant,
        "streamed": record.streamed,
        "limits": {"ttftSeconds": record.slo.ttft_seconds, "tbtSeconds": record.slo.tbt_seconds},
        "promptTokens": record.prompt_tokens,
        "outputTokens": record.output_tokens,
        "verdict": (Verdict.RUN if refusal is None else Verdict.REJECT).value,
        "reason": (Reason.PLACED if refusal is None else refusal.reason).value,
        "message": None if refusal is None else refusal.message,
        "retryAfterSeconds": None if refusal is None else refusal.retry_after_seconds,
        "waitedSeconds": record.waited_seconds,
        "policy": record.policy or None,
        "endpoint": record.endpoint.name if record.endpoint else None,
        "candidates": [_shown(record, *each) for each in _scored(record)],
        "candidatesNotShown": record.weighed.number - len(record.weighed.standings),
        "predictedTtftSeconds": record.predicted_ttft,
        "outcome": None if record.outcome is None else _shown_outcome(record.outcome),
        "recalledFor": record.recalled_for,
    }


def in_one_line(record: Record) -> str:
    """Tell a placement as a header does: `policy=rad; waited=0.012; engine-1=-0.41; engine-0=-0.63`, the best first."""
    ranked = sorted(_scored(record), key=lambda each: -(each[1] or 0.0))
    scores = [f"{standing.endpoint.name}={score:.4g}" for standing, score in ranked if score is not None]
    return "; ".join([f"policy={record.policy}", f"waited={record.waited_seconds:.3f}", *scores])


def _scored(record: Record) -> Iterator[tuple[Standing, float | None]]:
    standings, scores, _ = record.weighed
    return zip(standings, scores or repeat(None), strict=False)


def _shown(record: Record, standing: Standing, score: float | None) -> dict[str, Any]:
    return {
        "endpoint": standing.endpoint.name,
        "score": score,
        "inFlight": standing.in_flight,
        "prefillTokens": standing.prefill_tokens,
        "decodes": standing.decodes,
        "kvTokens": standing.kv_tokens,
        "cachedTokens": record.cached.get(standing.endpoint.uid, 0),
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
