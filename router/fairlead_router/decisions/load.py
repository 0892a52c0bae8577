"""What runs on an endpoint, in tokens, as far as this router has placed it: the resource ledger.

Every request is in one of two phases. Until its first token its prompt is to be computed; from then on it is one of the
decodes, a token in every batch. Where an answer is not streamed nobody sees the first token, and the request counts as a
decode from the start.
"""

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead_router.decisions.types import Demand, Ticket


class Load:
    """The requests of one endpoint; times are in seconds of the caller's clock and never go back."""

    __slots__ = (
        "_computed_tokens",
        "_computing_since",
        "_decode_seconds",
        "_prompts",
        "_since",
        "decodes",
        "kv_tokens",
        "prefill_tokens",
        "tbt_limits",
    )

    def __init__(self) -> None:
        self.prefill_tokens = 0
        """Tokens of prompts that are to be computed."""
        self.decodes = 0
        """Requests that get a token with every batch."""
        self.kv_tokens = 0
        """Tokens of prompts and of expected answers that running requests keep in memory; what is cached is shared."""
        self.tbt_limits: dict[float, int] = {}
        """How many running requests have which TBT limit, in seconds."""
        self._decode_seconds = 0.0  # decodes integrated over time
        self._computed_tokens = 0  # of prompts that were computed to their end
        self._since = 0.0
        self._prompts: dict[Ticket, None] = {}  # that are to be computed, in the order in which they came
        self._computing_since = 0.0  # the first of them

    def tightest_tbt_seconds(self, least: float) -> float | None:
        """Return the strictest TBT limit of a running request that is not below `least`; None where there is none."""
        tightest = None
        for limit in self.tbt_limits:
            if limit >= least and (tightest is None or limit < tightest):
                tightest = limit
        return tightest

    def begin(self, ticket: "Ticket", demand: "Demand", now: float) -> None:
        """Note what a request takes, from its placement on."""
        tokens = demand.tokens_to_compute(ticket.account.uid)
        ticket.kv_tokens = tokens + demand.output_tokens
        self.kv_tokens += ticket.kv_tokens
        limit = demand.request.slo.tbt_seconds
        if limit is not None:
            self.tbt_limits[limit] = self.tbt_limits.get(limit, 0) + 1
        if demand.request.streamed:
            ticket.prefill_tokens = tokens
            self.prefill_tokens += tokens
            if not self._prompts:
                self._computing_since = now
            self._prompts[ticket] = None
        else:
            self._add_decodes(1, now)

    def prefill_left(self, now: float, tokens_per_second: float) -> float:
        """Return the prompt tokens that are still to be computed if the first prompt is computed at such a pace."""
        first = next(iter(self._prompts), None)
        if first is None:
            return self.prefill_tokens
        computed = max(0.0, now - self._computing_since) * tokens_per_second
        return self.prefill_tokens - min(first.prefill_tokens - 1, computed)

    def prompt_done(self, ticket: "Ticket", now: float) -> bool:
        """Note a first token; returns False where it has been noted before, or cannot be seen."""
        if not ticket.prefill_tokens:
            return False
        self._computed_tokens += ticket.prefill_tokens
        self._next_prompt(ticket, now)
        self._add_decodes(1, now)
        ticket.first_at = now
        ticket.seen = self._decode_seconds, self._computed_tokens
        return True

    def end(self, ticket: "Ticket", now: float) -> None:
        """Give back what a request has taken."""
        if ticket.prefill_tokens:
            self._next_prompt(ticket, now)
        else:
            self._add_decodes(-1, now)
        self.kv_tokens -= ticket.kv_tokens
        ticket.kv_tokens = 0
        limit = ticket.request.slo.tbt_seconds
        if limit is not None:
            left = self.tbt_limits[limit] - 1
            if left:
                self.tbt_limits[limit] = left
            else:
                del self.tbt_limits[limit]

    def without(self, ticket: "Ticket") -> "Load":
        """Return what there would be without a request."""
        left = Load()
        left.decodes = self.decodes if ticket.prefill_tokens else self.decodes - 1
        left.prefill_tokens = self.prefill_tokens - ticket.prefill_tokens
        left.kv_tokens = self.kv_tokens - ticket.kv_tokens
        own = ticket.request.slo.tbt_seconds
        left.tbt_limits = {limit: count - (limit == own) for limit, count in self.tbt_limits.items()}
        left.tbt_limits = {limit: count for limit, count in left.tbt_limits.items() if count}
        left._prompts = {each: None for each in self._prompts if each is not ticket}
        is_first = ticket is next(iter(self._prompts), None)
        left._computing_since = inf if is_first else self._computing_since
        return left

    def tokens_per_batch(self, ticket: "Ticket", now: float, batches: int) -> float:
        """Return the mean tokens of the endpoint's batches since the request's first token, if there were so many."""
        decode_seconds, computed_tokens = ticket.seen
        self._add_decodes(0, now)
        decodes = (self._decode_seconds - decode_seconds) / (now - ticket.first_at)
        return decodes + (self._computed_tokens - computed_tokens) / batches

    def _next_prompt(self, ticket: "Ticket", now: float) -> None:
        """Note that a prompt is computed, or is not to be computed any more."""
        self.prefill_tokens -= ticket.prefill_tokens
        ticket.prefill_tokens = 0
        del self._prompts[ticket]
        self._computing_since = now

    def _add_decodes(self, more: int, now: float) -> None:
        self._decode_seconds += self.decodes * (now - self._since)
        self._since = now
        self.decodes += more
