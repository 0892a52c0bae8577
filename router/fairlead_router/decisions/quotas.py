"""How much a tenant may ask of a class in a minute: token buckets.

A request takes one from the bucket of requests, and its tokens (those of the prompt and those expected of the answer) from
the bucket of tokens; when the engine has counted them, the difference goes back or is taken too. A bucket holds a minute's
worth, so that a minute's quota may be used at once, and fills evenly.
"""

from collections import OrderedDict
from math import ceil
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.decisions.types import Demand, Quota, Rejection, RequestView, Ticket, Usage

_MINUTE: Final = 60.0
_MOST_BUCKETS: Final = 10_000
_ROUNDING: Final = 1e-6
"""Seconds: what has come back by so much is there."""


class _Bucket:
    __slots__ = ("at", "requests", "tokens")

    def __init__(self, quota: Quota, now: float) -> None:
        self.requests = float(quota.requests or 0)
        self.tokens = float(quota.tokens or 0)
        self.at = now

    def fill(self, quota: Quota, now: float) -> None:
        minutes = (now - self.at) / _MINUTE
        self.at = now
        self.requests = min(quota.requests or 0.0, self.requests + minutes * (quota.requests or 0))
        self.tokens = min(quota.tokens or 0.0, self.tokens + minutes * (quota.tokens or 0))


class Quotas:
    """The buckets of all tenants and classes."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def charge(self, demand: Demand, now: float) -> Rejection | None:
        """Take what a request needs; returns why it is refused where there is not enough, and then nothing was taken.

        A request that needs more tokens than a minute's worth may have all of them. One whose place was taken back is not
        refused: it has got back what it had taken before.
        """
        request, quota = demand.request, demand.request.quota
        if quota is None:
            return None
        bucket = self._bucket(request, quota, now)
        wait = 0.0
        if quota.requests is not None:
            wait = max(0.0, 1.0 - bucket.requests) / quota.requests * _MINUTE
        if quota.tokens is not None:
            wait = max(wait, (min(demand.tokens, quota.tokens) - bucket.tokens) / quota.tokens * _MINUTE)
        if wait > _ROUNDING and not request.taken_from:
            message = f"{request.tenant} has asked as much of the class {request.service_class} as it may in a minute"
            return Rejection(Reason.QUOTA_EXCEEDED, message, ceil(wait))
        bucket.requests -= 1.0
        bucket.tokens -= demand.tokens
        return None

    def give_back(self, demand: Demand) -> None:
        """Give back all that a request has taken: it was not run."""
        self._change(demand.request, 1.0, demand.tokens)

    def settle(self, ticket: Ticket, reason: Reason, usage: Usage | None) -> None:
        """Put right what a request has taken, now that it is known what it has used."""
        if usage is not None and usage.prompt_tokens:
            self._change(ticket.request, 0.0, ticket.charged_tokens - usage.prompt_tokens - usage.output_tokens)
        elif reason is not Reason.COMPLETED and ticket.ttft is None:
            self._change(ticket.request, 1.0, ticket.charged_tokens)

    def _change(self, request: RequestView, requests: float, tokens: int) -> None:
        bucket = self._buckets.get((request.tenant, request.service_class))
        if bucket is not None and request.quota is not None:
            bucket.requests += requests
            bucket.tokens += tokens

    def _bucket(self, request: RequestView, quota: Quota, now: float) -> _Bucket:
        key = request.tenant, request.service_class
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(quota, now)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(
                    last=False
                )  # of who has asked for nothing for longest: it is full again, or nearly
        else:
            bucket.fill(quota, now)
        self._buckets.move_to_end(key)
        return bucket
