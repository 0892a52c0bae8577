"""Scores that rank endpoints by the router's own ledger, which is never stale; higher is better."""

from collections.abc import Sequence

from fairlead_router.decisions.types import Candidate, Demand


def fewest_in_flight(_demand: Demand, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score by the number of requests in flight."""
    return [-each.in_flight for each in candidates]


def least_kv(_demand: Demand, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score by the KV memory that running requests will need: their prompts and their expected answers, in tokens."""
    return [-each.load.kv_tokens for each in candidates]


def prefill_times_batch(demand: Demand, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score by prompt tokens to compute, this request's among them, times requests in the batch.

    LMetric (arXiv 2603.15202): the first factor is what a new request waits for and knows of cached prefixes, the second
    what slows everything that decodes; their product needs no weights.
    """
    return [
        -(each.load.prefill_tokens + demand.tokens_to_compute(each.uid)) * (each.in_flight + 1) for each in candidates
    ]
